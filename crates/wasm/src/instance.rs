//! One instance of a guest, and calls into it.

use crate::LoadError;
use crate::exports::Export;
use crate::guest::Guest;
use crate::host::{CallContext, Done, Exit, Host, Results};
use crate::status::{high, low};
use secondmate_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wasmtime::{Error, Store, StoreLimitsBuilder, Trap, TypedFunc, WasmResults};

/// Most tables of an instance, and elements of each.
const TABLES_MAX: usize = 16;
const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// Longest key of a reading: it is kept for each kind of pods.
const KEY_BYTES_MAX: usize = 4096;

/// A call that did not return: the instance must not be used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wasm: {export} error: {output}\n{cause}")]
pub(crate) struct CallError {
    export: &'static str,
    /// What the guest had written to standard output and error.
    output: String,
    cause: String,
}

impl CallError {
    /// An error that is the host's.
    fn new(export: Export, cause: impl Into<String>) -> Self {
        Self { export: export.name(), output: String::new(), cause: cause.into() }
    }
}

/// A guest in memory. Whoever has it calls it; after an error it is of no use any more.
pub(crate) struct Instance {
    store: Store<Host>,
    functions: Functions,
}

/// The exported functions by what they return, each at the place of its [`Export`].
#[derive(Default)]
struct Functions {
    plain: Vec<Option<TypedFunc<(), ()>>>,
    narrow: Vec<Option<TypedFunc<(), i32>>>,
    wide: Vec<Option<TypedFunc<(), i64>>>,
}

impl Instance {
    /// Makes an instance and lets it prepare itself.
    pub fn new(guest: &Guest) -> Result<Self, LoadError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(guest.memory_bytes_max)
            .memories(1)
            .instances(1)
            .tables(TABLES_MAX)
            .table_elements(TABLE_ELEMENTS_MAX)
            .build();
        let mut store = Store::new(guest.compiled.engine(), Host::new(Arc::clone(&guest.shared), limits));
        store.limiter(|host| &mut host.limits);
        let started = Self::start(guest, &mut store);
        let functions = started.map_err(|error| {
            let output = String::from_utf8_lossy(&store.data().output).into_owned();
            LoadError::Instantiate(format!("{output}\n{}", cause(&error, guest.fuel_per_call)))
        })?;
        Ok(Self { store, functions })
    }

    fn start(guest: &Guest, store: &mut Store<Host>) -> wasmtime::Result<Functions> {
        store.set_fuel(guest.fuel_per_call)?;
        let instance = guest.compiled.module.instantiate(&mut *store)?;
        store.data_mut().memory = instance.get_memory(&mut *store, "memory");
        // A library of Go prepares itself by `_initialize`, a program of TinyGo by `_start`.
        for name in ["_initialize", "_start"] {
            let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, name) else { continue };
            match start.call(&mut *store, ()) {
                Ok(()) => {}
                // A program that has come to its end is as good as one that has returned.
                Err(error) if error.downcast_ref::<Exit>() == Some(&Exit(0)) => {}
                Err(error) => return Err(error),
            }
            break;
        }
        let mut functions = Functions::default();
        for export in Export::ALL {
            let name = export.name();
            functions.plain.push(instance.get_typed_func(&mut *store, name).ok());
            functions.narrow.push(instance.get_typed_func(&mut *store, name).ok());
            functions.wide.push(instance.get_typed_func(&mut *store, name).ok());
        }
        Ok(functions)
    }

    /// Calls an export. One that is not there succeeds.
    pub fn call(&mut self, export: Export, guest: &Guest, of: Given<'_>) -> Result<Reply, CallError> {
        let at = export as usize;
        let (value, results) = if let Some(function) = self.functions.narrow[at].clone() {
            let (status, results) = self.run(export, &function, guest, of)?;
            (i64::from(status), results)
        } else if let Some(function) = self.functions.wide[at].clone() {
            self.run(export, &function, guest, of)?
        } else if let Some(function) = self.functions.plain[at].clone() {
            (0, self.run(export, &function, guest, of)?.1)
        } else {
            return Ok(Reply::default());
        };
        let mut reply = Reply { value, results, ..Reply::default() };
        match export {
            Export::ScoreNodes => reply.numbers = self.numbers(export, value)?,
            Export::Reading => reply.key = self.key(export, value)?,
            _ => {}
        }
        Ok(reply)
    }

    /// The list of numbers at a place in the guest's memory: pointer in the upper half, length in bytes in the lower.
    fn numbers(&self, export: Export, at: i64) -> Result<Vec<i32>, CallError> {
        let bytes = self.memory(high(at), low(at));
        let bytes = bytes.ok_or_else(|| CallError::new(export, "the scores are outside of its memory"))?;
        let (numbers, _) = bytes.as_chunks::<4>();
        if numbers.is_empty() {
            return Err(CallError::new(export, "there is no status"));
        }
        Ok(numbers.iter().map(|number| i32::from_le_bytes(*number)).collect())
    }

    /// The key at a place in the guest's memory, likewise; nothing for -1.
    fn key(&self, export: Export, at: i64) -> Result<Option<Vec<u8>>, CallError> {
        if at == -1 {
            return Ok(None);
        }
        let bytes = self.memory(high(at), low(at));
        let bytes = bytes.ok_or_else(|| CallError::new(export, "the key is outside of its memory"))?;
        if bytes.len() > KEY_BYTES_MAX {
            let text = format!("the key has {} bytes, and {KEY_BYTES_MAX} are allowed", bytes.len());
            return Err(CallError::new(export, text));
        }
        Ok(Some(bytes.to_vec()))
    }

    /// What the guest did since this was last asked.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.store.data_mut().done)
    }

    fn run<R: WasmResults>(
        &mut self,
        export: Export,
        function: &TypedFunc<(), R>,
        guest: &Guest,
        of: Given<'_>,
    ) -> Result<(R, Results), CallError> {
        let host = self.store.data_mut();
        host.context.clone_from(of.context);
        // A binding has no time of its own, and a clock does not go back.
        host.now = host.now.max(of.now);
        host.slept = 0;
        host.results = Results::default();
        host.output.clear();
        let called =
            self.store.set_fuel(guest.fuel_per_call).and_then(|()| function.call(&mut self.store, ()));
        let host = self.store.data_mut();
        match called {
            Ok(result) => Ok((result, std::mem::take(&mut host.results))),
            Err(error) => Err(CallError {
                export: export.name(),
                output: String::from_utf8_lossy(&host.output).into_owned(),
                cause: cause(&error, guest.fuel_per_call),
            }),
        }
    }

    /// What the guest has at this place in its memory; nothing where that is outside.
    fn memory(&self, pointer: i32, length: i32) -> Option<&[u8]> {
        let unsigned = |number: i32| usize::try_from(u32::from_le_bytes(number.to_le_bytes())).ok();
        let (start, length) = (unsigned(pointer)?, unsigned(length)?);
        self.store.data().memory?.data(&self.store).get(start..start.checked_add(length)?)
    }
}

/// What came back from a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// What the export returned: a status alone, or two numbers in one.
    pub value: i64,
    /// The list that it returned the place of: a status, and a score for each node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i32>,
    /// The key that it returned the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<u8>>,
    #[serde(flatten)]
    pub results: Results,
}

/// What a call is about.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub context: &'a CallContext,
    /// The time of the cycle.
    pub now: Timestamp,
}

/// Why a guest stopped, without the list of its functions that led there.
fn cause(error: &Error, fuel: u64) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => format!(
            "it used more than {fuel} units of fuel in one call: it loops, or needs a larger fuelPerCall"
        ),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}
