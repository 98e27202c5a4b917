//! Module `k8s.io/klog`: a guest's log messages go to the scheduler's log.

use super::{Host, memory};
use std::fmt::Write;
use tracing::{error, info, warn};
use wasmtime::{Caller, Linker, Result};

const MODULE: &str = "k8s.io/klog";
/// Maximum length of a message; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Fuel for a message that is written: the log is read by people.
const MESSAGE_FUEL: u64 = 10_000;

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "logs", logs)?;
    linker.func_wrap(MODULE, "severity", |caller: Caller<'_, Host>| caller.data().shared.log_severity)?;
    Ok(())
}

fn log(caller: Caller<'_, Host>, severity: i32, message: u32, length: u32) {
    tell(caller, severity, (message, length), (0, 0));
}

fn logs(caller: Caller<'_, Host>, severity: i32, message: u32, length: u32, pairs: u32, pairs_length: u32) {
    tell(caller, severity, (message, length), (pairs, pairs_length));
}

/// Drops messages below the configured severity, and, as upstream, those that are outside of the guest's memory. (Upstream's `log` compares
/// the severities the wrong way round, and loses errors.)
fn tell(mut caller: Caller<'_, Host>, severity: i32, message: (u32, u32), pairs: (u32, u32)) {
    if severity < caller.data().shared.log_severity {
        return;
    }
    if memory::spend(&mut caller, MESSAGE_FUEL).is_err() {
        // The guest's next instruction ends the call.
        return;
    }
    let Ok(mut text) = memory::read_text(&mut caller, message.0, message.1) else { return };
    let Ok(pairs) = memory::read_list(&mut caller, pairs.0, pairs.1) else { return };
    text.truncate(text.trim_end().len());
    for pair in pairs.chunks(2) {
        let _ = write!(text, " {}={:?}", pair[0], pair.get(1).map_or("", String::as_str));
    }
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push('…');
    }
    let guest = &caller.data().shared.name;
    match severity {
        ..=0 => info!(%guest, "{text}"),
        1 => warn!(%guest, "{text}"),
        _ => error!(%guest, "{text}"),
    }
}
