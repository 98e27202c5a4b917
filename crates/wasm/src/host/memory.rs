//! Reading and writing a guest's memory. Pointers and lengths are unsigned, and any access outside the memory traps.
//!
//! What the host does for a guest is paid for with the guest's fuel, just like the guest's own instructions: otherwise a loop of calls
//! could occupy the scheduling thread indefinitely.

use super::Host;
use serde::de::DeserializeOwned;
use wasmtime::{Caller, Error, Extern, Memory, Result, Trap};

/// Maximum size of a text or list that a guest may pass at once.
const BYTES_MAX: u32 = 16 << 20;
/// Fuel for an access to the guest's memory, equivalent to that many instructions; each byte that is copied or produced costs one more.
const LOOK_FUEL: u64 = 100;
/// Maximum number of entries in a list that a guest may pass at once: as many as there may be nodes. Each entry is a separate string on the
/// host's side, which the guest's memory limit does not cover.
const LIST_ENTRIES_MAX: usize = 1 << 20;
/// Fuel for each such entry.
const LIST_ENTRY_FUEL: u64 = 50;
/// Fuel for each byte of JSON that is read.
const JSON_BYTE_FUEL: u64 = 10;

/// Takes fuel from the guest.
///
/// # Errors
/// It does not have that much; after that it has none.
pub(super) fn spend(caller: &mut Caller<'_, Host>, fuel: u64) -> Result<()> {
    let left = caller.get_fuel()?;
    caller.set_fuel(left.saturating_sub(fuel))?;
    if left < fuel { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}

fn spend_for(caller: &mut Caller<'_, Host>, bytes: usize) -> Result<()> {
    spend(caller, LOOK_FUEL.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)))
}

fn memory(caller: &mut Caller<'_, Host>) -> Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    // A module may call its imports while it is being instantiated.
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Error::msg("the guest exports no memory")),
    }
}

fn outside(pointer: u32, length: u32) -> Error {
    Error::msg(format!("{length} bytes at {pointer} are outside of the guest's memory"))
}

fn range(pointer: u32, length: u32) -> std::ops::Range<usize> {
    let start = usize::try_from(pointer).unwrap_or(usize::MAX);
    start..start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
}

/// A copy of what the guest points to.
pub(super) fn read(caller: &mut Caller<'_, Host>, pointer: u32, length: u32) -> Result<Vec<u8>> {
    if length > BYTES_MAX {
        return Err(Error::msg(format!("{length} bytes are more than a guest may hand over at once")));
    }
    spend(caller, LOOK_FUEL + u64::from(length))?;
    let memory = memory(caller)?;
    let bytes = memory.data(&*caller).get(range(pointer, length));
    Ok(bytes.ok_or_else(|| outside(pointer, length))?.to_vec())
}

/// The text that the guest points to.
pub(super) fn read_text(caller: &mut Caller<'_, Host>, pointer: u32, length: u32) -> Result<String> {
    Ok(String::from_utf8_lossy(&read(caller, pointer, length)?).into_owned())
}

/// What the guest wrote as JSON.
///
/// # Errors
/// It is not valid: `what`, with the reason.
pub(super) fn read_json<T: DeserializeOwned>(
    caller: &mut Caller<'_, Host>,
    pointer: u32,
    length: u32,
    what: &str,
) -> Result<T> {
    let bytes = read(caller, pointer, length)?;
    spend(caller, JSON_BYTE_FUEL * u64::from(length))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::msg(format!("{what}: {error}")))
}

/// A list of texts, each terminated by a zero byte; empty ones do not count.
pub(super) fn read_list(caller: &mut Caller<'_, Host>, pointer: u32, length: u32) -> Result<Vec<String>> {
    let bytes = read(caller, pointer, length)?;
    let count = bytes.iter().filter(|byte| **byte == 0).count();
    if count > LIST_ENTRIES_MAX {
        return Err(Error::msg(format!("a list of {count} entries, more than {LIST_ENTRIES_MAX}")));
    }
    spend(caller, LIST_ENTRY_FUEL * count as u64)?;
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    Ok(entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect())
}

/// Writes bytes to where the guest says.
pub(super) fn write(caller: &mut Caller<'_, Host>, pointer: u32, bytes: &[u8]) -> Result<()> {
    spend_for(caller, bytes.len())?;
    put(caller, pointer, bytes)
}

fn put(caller: &mut Caller<'_, Host>, pointer: u32, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let memory = memory(caller)?;
    let target = memory.data_mut(&mut *caller).get_mut(range(pointer, length));
    target.ok_or_else(|| outside(pointer, length))?.copy_from_slice(bytes);
    Ok(())
}

/// [Hands over](hand_over) a value that belongs to the host, without copying it.
pub(super) fn hand_over_own(
    caller: &mut Caller<'_, Host>,
    buffer: u32,
    limit: u32,
    of: impl Fn(&Host) -> &[u8],
) -> Result<u32> {
    let length = of(caller.data()).len();
    spend_for(caller, length)?;
    let memory = memory(caller)?;
    let (data, host) = memory.data_and_store_mut(&mut *caller);
    let bytes = of(host);
    let length = length_of(bytes)?;
    if length > 0 && length <= limit {
        let target = data.get_mut(range(buffer, length));
        target.ok_or_else(|| outside(buffer, length))?.copy_from_slice(bytes);
    }
    Ok(length)
}

fn length_of(bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| Error::msg("the value has more than 4 GiB"))
}

/// Hands over a value: its length is returned in any case, and it is written if it fits; otherwise the guest asks again with more room.
pub(super) fn hand_over(caller: &mut Caller<'_, Host>, buffer: u32, limit: u32, bytes: &[u8]) -> Result<u32> {
    let length = length_of(bytes)?;
    // Charged even if it does not fit: it was produced for the guest.
    spend_for(caller, bytes.len())?;
    if length > 0 && length <= limit {
        put(caller, buffer, bytes)?;
    }
    Ok(length)
}
