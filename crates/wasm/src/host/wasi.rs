//! Module `wasi_snapshot_preview1`: what the runtimes of Go and TinyGo need, and nothing that leads outside. There are no files, no network
//! and no environment; the time is that of the cycle, and random numbers are the same in every run.

use super::{Host, memory};
use wasmtime::{Caller, Error, FuncType, Linker, Result, Val, ValType};

const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const INVALID: i32 = 28;
const NOT_THERE: i32 = 52;
const ILLEGAL_SEEK: i32 = 70;
/// File type of standard input, output and error.
const CHARACTER_DEVICE: u8 = 2;
/// Types of subscriptions in `poll_oneoff`.
const CLOCK: u8 = 0;
/// Maximum length of a list of buffers or subscriptions.
const ENTRIES_MAX: u32 = 1024;

/// The guest exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest ended itself with exit code {0}")]
pub(crate) struct Exit(pub i32);

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", args_sizes)?;
    linker.func_wrap(MODULE, "args_get", args)?;
    linker.func_wrap(MODULE, "environ_sizes_get", environment_sizes)?;
    linker.func_wrap(MODULE, "environ_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(MODULE, "clock_time_get", clock_time)?;
    linker.func_wrap(MODULE, "clock_res_get", clock_resolution)?;
    linker.func_wrap(MODULE, "random_get", random)?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "fd_read", fd_read)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", fd_status)?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |_: i32, _: i32| SUCCESS)?;
    linker.func_wrap(MODULE, "fd_close", |_: i32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_seek", |_: i32, _: i64, _: i32, _: u32| ILLEGAL_SEEK)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_: i32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |_: i32, _: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    linker.func_wrap(MODULE, "poll_oneoff", poll)?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> { Err(Error::new(Exit(code))) })?;
    // The rest of the interface, so that any module linked against it loads; none of it is implemented.
    for (name, parameters) in ABSENT {
        let parameters = parameters.chars().map(|c| if c == 'l' { ValType::I64 } else { ValType::I32 });
        let of = FuncType::new(linker.engine(), parameters, [ValType::I32]);
        linker.func_new(MODULE, name, of, |_, _, results| {
            results[0] = Val::I32(NOT_THERE);
            Ok(())
        })?;
    }
    Ok(())
}

/// Functions that fail, with the types of their parameters: `i` has 32 bits, `l` has 64.
const ABSENT: [(&str, &str); 28] = [
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_pwrite", "iiili"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

fn count(value: usize) -> Result<[u8; 4]> {
    Ok(u32::try_from(value).map_err(|_| Error::msg("a count beyond 32 bits"))?.to_le_bytes())
}

fn args_sizes(mut caller: Caller<'_, Host>, number: u32, bytes: u32) -> Result<i32> {
    let args = &caller.data().shared.args;
    let (args, size) = (count(args.len())?, count(args.iter().map(|arg| arg.len() + 1).sum())?);
    memory::write(&mut caller, number, &args)?;
    memory::write(&mut caller, bytes, &size)?;
    Ok(SUCCESS)
}

fn args(mut caller: Caller<'_, Host>, mut pointers: u32, mut texts: u32) -> Result<i32> {
    let shared = std::sync::Arc::clone(&caller.data().shared);
    for arg in &shared.args {
        memory::write(&mut caller, pointers, &texts.to_le_bytes())?;
        memory::write(&mut caller, texts, arg.as_bytes())?;
        let end = texts.wrapping_add(u32::from_le_bytes(count(arg.len())?));
        memory::write(&mut caller, end, &[0])?;
        (pointers, texts) = (pointers.wrapping_add(4), end.wrapping_add(1));
    }
    Ok(SUCCESS)
}

fn environment_sizes(mut caller: Caller<'_, Host>, number: u32, bytes: u32) -> Result<i32> {
    memory::write(&mut caller, number, &[0; 4])?;
    memory::write(&mut caller, bytes, &[0; 4])?;
    Ok(SUCCESS)
}

fn clock_time(mut caller: Caller<'_, Host>, _clock: i32, _precision: i64, out: u32) -> Result<i32> {
    let host = caller.data();
    let now = u64::try_from(host.now.nanos).unwrap_or(0).saturating_add(host.slept);
    memory::write(&mut caller, out, &now.to_le_bytes())?;
    Ok(SUCCESS)
}

fn clock_resolution(mut caller: Caller<'_, Host>, _clock: i32, out: u32) -> Result<i32> {
    memory::write(&mut caller, out, &1_u64.to_le_bytes())?;
    Ok(SUCCESS)
}

/// SplitMix64: hash tables need numbers that look random; they must not be used as secrets.
fn random(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<i32> {
    let mut bytes = memory::read(&mut caller, pointer, length)?;
    let host = caller.data_mut();
    for chunk in bytes.chunks_mut(8) {
        host.random = host.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = host.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    memory::write(&mut caller, pointer, &bytes)?;
    Ok(SUCCESS)
}

fn number_at(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_le_bytes).ok_or_else(|| Error::msg("an entry that is cut off"))
}

fn fd_write(
    mut caller: Caller<'_, Host>,
    descriptor: i32,
    vectors: u32,
    number: u32,
    out: u32,
) -> Result<i32> {
    if !(1..=2).contains(&descriptor) {
        return Ok(BAD_DESCRIPTOR);
    }
    if number > ENTRIES_MAX {
        return Ok(INVALID);
    }
    let vectors = memory::read(&mut caller, vectors, number * 8)?;
    let mut written = 0;
    for vector in vectors.chunks_exact(8) {
        let bytes = memory::read(&mut caller, number_at(vector, 0)?, number_at(vector, 4)?)?;
        written += bytes.len();
        caller.data_mut().write_output(&bytes);
    }
    memory::write(&mut caller, out, &count(written)?)?;
    Ok(SUCCESS)
}

/// Standard input is at its end.
fn fd_read(
    mut caller: Caller<'_, Host>,
    descriptor: i32,
    _vectors: u32,
    _number: u32,
    out: u32,
) -> Result<i32> {
    if descriptor != 0 {
        return Ok(BAD_DESCRIPTOR);
    }
    memory::write(&mut caller, out, &[0; 4])?;
    Ok(SUCCESS)
}

fn fd_status(mut caller: Caller<'_, Host>, descriptor: i32, out: u32) -> Result<i32> {
    if !(0..=2).contains(&descriptor) {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut status = [0; 24];
    status[0] = CHARACTER_DEVICE;
    memory::write(&mut caller, out, &status)?;
    Ok(SUCCESS)
}

/// Waiting takes no time: the guest's clock advances by the shortest time that it asked to wait for.
fn poll(mut caller: Caller<'_, Host>, subscriptions: u32, events: u32, number: u32, out: u32) -> Result<i32> {
    if number == 0 || number > ENTRIES_MAX {
        return Ok(INVALID);
    }
    let bytes = memory::read(&mut caller, subscriptions, number * 48)?;
    let host = caller.data();
    let now = u64::try_from(host.now.nanos).unwrap_or(0).saturating_add(host.slept);
    let wait = |entry: &[u8]| {
        let time = u64::from_le_bytes(entry[24..32].try_into().expect("eight bytes"));
        let absolute = entry[40] & 1 != 0;
        if absolute { time.saturating_sub(now) } else { time }
    };
    let clocks = bytes.chunks_exact(48).filter(|entry| entry[8] == CLOCK);
    let shortest = clocks.map(wait).min();
    let mut told: u32 = 0;
    for entry in bytes.chunks_exact(48) {
        let is_clock = entry[8] == CLOCK;
        if is_clock && Some(wait(entry)) != shortest {
            continue;
        }
        let mut event = [0; 32];
        event[..8].copy_from_slice(&entry[..8]);
        if !is_clock {
            event[8..10].copy_from_slice(&BAD_DESCRIPTOR.to_le_bytes()[..2]);
        }
        event[10] = entry[8];
        memory::write(&mut caller, events.wrapping_add(told * 32), &event)?;
        told += 1;
    }
    let host = caller.data_mut();
    host.slept = host.slept.saturating_add(shortest.unwrap_or(0));
    memory::write(&mut caller, out, &told.to_le_bytes())?;
    Ok(SUCCESS)
}
