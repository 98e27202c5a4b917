//! WebAssembly guests: plugins compiled to WebAssembly against the ABI of kube-scheduler-wasm-extension, unmodified.
//!
//! A guest is a core module. It exports a function without parameters for each extension point that it implements (`filter`, `score`, …);
//! it calls imports to ask for what it wants to know, and to return anything beyond a number. [`Guests`] loads and compiles guests, and
//! makes a plugin from each.
//!
//! State: compiled guests, and for each plugin a pool of instances. An instance's memory holds the guest's state for a cycle, so an
//! instance belongs to one cycle, and to the binding that follows if the guest is called there (module `cycle`). Bounds: memory per
//! instance, instances per plugin, and fuel per call. Fuel counts what the guest executes, so a guest is stopped at the same place each
//! time; there is no clock here. What this crate must never know: how nodes are chosen, and clusters.
//!
//! The answers of guests can be recorded (`secondmate_record`); the [`GuestAnswers`] of a record stand in for the guests, so that decisions
//! made with a guest can be repeated without its file.
//!
//! A guest has no files, no network and no environment, and it sees the time of the cycle.

mod args;
mod cache;
mod cycle;
mod exports;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod host;
mod instance;
mod plugin;
mod pool;
mod protobuf;
mod record;
mod status;
#[cfg(test)]
mod tests;

pub use args::GuestArgs;
pub use cache::default_cache_folder;
pub use guest::Guests;
pub use plugin::GuestPlugin;
pub use record::GuestAnswers;

/// What is wrong with a guest's arguments, or with the guest itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFault {
    /// The argument field that is at fault, spelled as in the arguments; `None` if it is not a single one.
    pub field: Option<String>,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl GuestFault {
    fn new(reason: impl Into<String>) -> Self {
        Self { field: None, reason: reason.into() }
    }

    fn of_field(field: &str, reason: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), reason: reason.into() }
    }

    fn is_of(&self, field: &str) -> bool {
        self.field.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(field))
    }
}

impl std::fmt::Display for GuestFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.field {
            // Upstream's texts contain the field name themselves.
            Some(field) if !self.reason.starts_with("wasm: ") => write!(f, "{field}: {}", self.reason),
            _ => f.write_str(&self.reason),
        }
    }
}

/// Why a guest cannot be loaded. Where upstream has a text, it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Guests cannot be loaded from this URL.
    #[error("{0}; give guestURL as file://PATH, http://… or https://…")]
    Url(String),
    /// It cannot be read.
    #[error(
        "wasm: error reading guestURL {url}: {error}; give a guestURL at which the scheduler can read the guest"
    )]
    Reading {
        /// The URL, without credentials and query.
        url: String,
        /// What happened.
        error: String,
    },
    /// It is not the file that the configuration specifies.
    #[error(
        "wasm: error reading guestURL {url}: its checksum is sha256:{found}, not {wanted}: it is another file than the one that was meant; \
         correct guestURL, or guestChecksum where this file is the right one"
    )]
    Checksum {
        /// The URL, without credentials and query.
        url: String,
        /// The digest of what was found.
        found: String,
        /// `sha256:` and the digest that it should have.
        wanted: String,
    },
    /// It is not WebAssembly, or uses features that this host does not have.
    #[error("wasm: error compiling guest: {0}; build it as a core module (not a component)")]
    Compiling(String),
    /// It has no memory that the host could read.
    #[error("wasm: guest doesn't export memory[memory]; export its memory under the name `memory`")]
    NoMemory,
    /// An exported function has the wrong parameters or results.
    #[error("wasm: guest exports the wrong signature for func[{export}]. should be () -> {result}")]
    Signature {
        /// The function.
        export: &'static str,
        /// What it must return.
        result: &'static str,
    },
    /// It exports nothing that a scheduler calls.
    #[error(
        "wasm: guest does not export any plugin functions; export filter, score, reserve, permit or bind"
    )]
    NoPlugin,
    /// It exports only auxiliary functions.
    #[error("wasm: filter, score, reserve, permit or bind must be exported")]
    NoMainPoint,
    /// An export makes no sense without another one.
    #[error("wasm: guest exports {export} without {needed}; export that too")]
    Needs {
        /// What it exports.
        export: &'static str,
        /// What it lacks.
        needed: &'static str,
    },
    /// It imports functions that this host does not provide.
    #[error(
        "wasm: guest imports {}, which this host does not have: build it for kube-scheduler-wasm-extension after v0.1.0, and without file or network access",
        .0.join(", ")
    )]
    Imports(Vec<String>),
    /// It cannot be instantiated.
    #[error(
        "failed to create a guest pool: wasm: instantiate error: {0}\n(it fails before it is asked anything: correct the guest, or what its args hand to it)"
    )]
    Instantiate(String),
    /// It fails when asked for its events.
    #[error(
        "{0}\n(it fails when it is asked for its events: correct the guest, or what its args hand to it)"
    )]
    Enqueue(String),
}

impl LoadError {
    /// The argument field that is at fault.
    fn field(&self) -> &'static str {
        match self {
            Self::Checksum { .. } => args::CHECKSUM_FIELD,
            _ => args::URL_FIELD,
        }
    }
}
