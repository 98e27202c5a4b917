//! The imports through which a guest returns more than its exports' results.

use super::{Host, memory};
use wasmtime::{Caller, Linker, Result};

const MODULE: &str = "k8s.io/scheduler";

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "result.status_reason", reason)?;
    linker.func_wrap(MODULE, "result.node_names", nodes)?;
    linker.func_wrap(MODULE, "result.cluster_events", events)?;
    linker.func_wrap(MODULE, "result.nominated_node_name", nominated)?;
    linker.func_wrap(MODULE, "result.normalized_score_list", scores)?;
    Ok(())
}

fn reason(mut caller: Caller<'_, Host>, pointer: u32, length: u32) {
    // A reason that cannot be read from memory must not hide the status.
    let text = memory::read_text(&mut caller, pointer, length)
        .unwrap_or_else(|_| "BUG: out of memory reading message".to_owned());
    caller.data_mut().results.reason = text;
}

fn nodes(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<()> {
    let names = memory::read_list(&mut caller, pointer, length)?;
    caller.data_mut().results.nodes = Some(names);
    Ok(())
}

fn events(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<()> {
    let bytes = memory::read(&mut caller, pointer, length)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    let (pairs, _) = numbers.as_chunks::<2>();
    caller.data_mut().results.events =
        pairs.iter().map(|pair| (u32::from_le_bytes(pair[0]), u32::from_le_bytes(pair[1]))).collect();
    Ok(())
}

fn nominated(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<()> {
    let name = memory::read_text(&mut caller, pointer, length)?;
    caller.data_mut().results.nominated = name;
    Ok(())
}

fn scores(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<()> {
    let what = "the normalized scores are not as they should be";
    let scores = memory::read_json(&mut caller, pointer, length, what)?;
    // A guest that has changed nothing sends `null`.
    caller.data_mut().results.scores = scores;
    Ok(())
}
