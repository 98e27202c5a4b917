//! One instance of a guest, and calls into it.

use crate::LoadError;
use crate::exports::Export;
use crate::guest::Guest;
use crate::host::{About, Done, Exit, Host, Results};
use crate::status::{high, low};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wasmtime::{Error, Store, StoreLimitsBuilder, Trap, TypedFunc};

/// Maximum number of tables in an instance, and of elements in each.
const TABLES_MAX: usize = 16;
const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// Maximum length of a reading's key: it is kept for each class of pods.
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
    /// An error on the host's side.
    fn new(export: Export, cause: impl Into<String>) -> Self {
        Self { export: export.name(), output: String::new(), cause: cause.into() }
    }
}

/// A guest in memory. Its owner calls it; after an error it must not be used again.
pub(crate) struct Instance {
    store: Store<Host>,
    /// Each at the index of its [`Export`].
    functions: Vec<Function>,
}

/// An exported function, by its result type.
enum Function {
    Missing,
    Plain(TypedFunc<(), ()>),
    Narrow(TypedFunc<(), i32>),
    Wide(TypedFunc<(), i64>),
}

impl Instance {
    /// Creates an instance and lets it initialise itself.
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

    fn start(guest: &Guest, store: &mut Store<Host>) -> wasmtime::Result<Vec<Function>> {
        store.set_fuel(guest.fuel_per_call)?;
        let instance = guest.compiled.module.instantiate(&mut *store)?;
        store.data_mut().memory = instance.get_memory(&mut *store, "memory");
        // Go libraries initialise themselves in `_initialize`, TinyGo programs in `_start`.
        for name in ["_initialize", "_start"] {
            let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, name) else { continue };
            match start.call(&mut *store, ()) {
                Ok(()) => {}
                // A program that exits successfully is as good as one that returns.
                Err(error) if error.downcast_ref::<Exit>() == Some(&Exit(0)) => {}
                Err(error) => return Err(error),
            }
            break;
        }
        let function = |export: Export| {
            let name = export.name();
            let plain = instance.get_typed_func(&mut *store, name).map(Function::Plain);
            let narrow = plain.or_else(|_| instance.get_typed_func(&mut *store, name).map(Function::Narrow));
            let wide = narrow.or_else(|_| instance.get_typed_func(&mut *store, name).map(Function::Wide));
            wide.unwrap_or(Function::Missing)
        };
        Ok(Export::ALL.into_iter().map(function).collect())
    }

    /// Calls an export. If it does not exist, the call succeeds.
    pub fn call(&mut self, export: Export, guest: &Guest, of: &About<'_>) -> Result<Reply, CallError> {
        if matches!(self.functions[export as usize], Function::Missing) {
            return Ok(Reply::default());
        }
        let value = self.run(export, guest, of)?;
        let results = std::mem::take(&mut self.store.data_mut().results);
        let mut reply = Reply { value, results, ..Reply::default() };
        match export {
            Export::ScoreNodes => reply.numbers = self.numbers(export, value)?,
            Export::Reading => reply.key = self.key(export, value)?,
            _ => {}
        }
        Ok(reply)
    }

    /// Calls an export of which only the result and the reason matter. This is what is called for each node, so it copies nothing else.
    pub fn number(
        &mut self,
        export: Export,
        guest: &Guest,
        of: &About<'_>,
    ) -> Result<(i64, String), CallError> {
        let value = self.run(export, guest, of)?;
        let host = self.store.data_mut();
        host.done.clear();
        Ok((value, std::mem::take(&mut host.results.reason)))
    }

    /// The list of numbers at a location in the guest's memory: pointer in the upper half, length in bytes in the lower.
    fn numbers(&self, export: Export, at: i64) -> Result<Vec<i32>, CallError> {
        let bytes = self.memory(high(at), low(at));
        let bytes = bytes.ok_or_else(|| CallError::new(export, "the scores are outside of its memory"))?;
        let (numbers, _) = bytes.as_chunks::<4>();
        if numbers.is_empty() {
            return Err(CallError::new(export, "there is no status"));
        }
        Ok(numbers.iter().map(|number| i32::from_le_bytes(*number)).collect())
    }

    /// The key at a location in the guest's memory, in the same form; `None` for -1.
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

    /// What the guest has done since this was last called.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.store.data_mut().done)
    }

    /// Returns the function's result; anything else that the guest reported is in the host.
    fn run(&mut self, export: Export, guest: &Guest, of: &About<'_>) -> Result<i64, CallError> {
        let Self { store, functions } = self;
        store.data_mut().begin(of);
        let called = store.set_fuel(guest.fuel_per_call).and_then(|()| match &functions[export as usize] {
            Function::Missing => Ok(0),
            Function::Plain(function) => function.call(&mut *store, ()).map(|()| 0),
            Function::Narrow(function) => function.call(&mut *store, ()).map(i64::from),
            Function::Wide(function) => function.call(&mut *store, ()),
        });
        called.map_err(|error| CallError {
            export: export.name(),
            output: String::from_utf8_lossy(&store.data().output).into_owned(),
            cause: cause(&error, guest.fuel_per_call),
        })
    }

    /// The contents of this part of the guest's memory; `None` if it is out of bounds.
    fn memory(&self, pointer: i32, length: i32) -> Option<&[u8]> {
        let unsigned = |number: i32| usize::try_from(u32::from_le_bytes(number.to_le_bytes())).ok();
        let (start, length) = (unsigned(pointer)?, unsigned(length)?);
        self.store.data().memory?.data(&self.store).get(start..start.checked_add(length)?)
    }
}

/// What a call returned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// What the export returned: a single status, or two numbers in one.
    pub value: i64,
    /// The list whose location it returned: a status, and a score for each node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i32>,
    /// The key whose location it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<u8>>,
    #[serde(flatten)]
    pub results: Results,
}

/// Why a guest stopped, without the backtrace.
fn cause(error: &Error, fuel: u64) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => format!(
            "it used more than {fuel} units of fuel in one call: it loops, or needs a larger fuelPerCall"
        ),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}
