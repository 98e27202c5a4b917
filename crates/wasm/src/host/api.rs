//! Module `k8s.io/api`.

use super::{Host, memory};
use std::sync::PoisonError;
use wasmtime::{Caller, Linker, Result};

const MODULE: &str = "k8s.io/api";

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "node", node)?;
    linker.func_wrap(MODULE, "nodeList", node_list)?;
    Ok(())
}

/// Whether the import needs the nodes: this module's functions and `nodeImageStates` do.
pub(crate) fn needs_nodes(import: &wasmtime::ImportType<'_>) -> bool {
    import.module() == MODULE || import.name() == "nodeImageStates"
}

fn node(mut caller: Caller<'_, Host>, name: u32, name_length: u32, buffer: u32, limit: u32) -> Result<u32> {
    let name = memory::read_text(&mut caller, name, name_length)?;
    let shared = &caller.data().shared;
    let bytes = shared.mirror.lock().unwrap_or_else(PoisonError::into_inner).node(&name);
    memory::hand_over(&mut caller, buffer, limit, &bytes)
}

fn node_list(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    let shared = &caller.data().shared;
    let bytes = shared.mirror.lock().unwrap_or_else(PoisonError::into_inner).list();
    memory::hand_over(&mut caller, buffer, limit, &bytes)
}
