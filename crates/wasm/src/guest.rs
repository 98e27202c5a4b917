//! Guests: read, checked and compiled once, however many plugins are made from them; or described by a record.

use crate::args::{self, GuestArgs};
use crate::exports::Exports;
use crate::host::{self, Host, Mirror, Shared};
use crate::plugin::{GuestPlugin, start};
use crate::record::GuestAnswers;
use crate::{GuestFault, LoadError, cache, fetch};
use secondmate_framework::{ExtensionPoint, Handle, Plugin, PluginError};
use secondmate_model::Atom;
use secondmate_record::Recorder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{Config, Engine, InstancePre, Linker, Module, Store, StoreLimits};

/// URL and checksum of a guest.
type Source = (String, Option<String>);

/// Loads guests and makes plugins from them.
pub struct Guests {
    from: Origin,
    recorder: Option<Arc<Recorder>>,
}

/// Where guests come from.
enum Origin {
    Files(Files),
    /// They are not available; their recorded answers are.
    Record(Arc<GuestAnswers>),
}

struct Files {
    engine: Engine,
    linker: Linker<Host>,
    cache: Option<PathBuf>,
    compiled: Mutex<BTreeMap<Source, Arc<Compiled>>>,
}

/// A module that is ready to be instantiated.
pub(crate) struct Compiled {
    pub module: InstancePre<Host>,
    pub exports: Exports,
    pub imports: Imports,
}

impl Compiled {
    pub fn engine(&self) -> &Engine {
        self.module.module().engine()
    }
}

/// What a guest may ask for: what it does not import does not have to be prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Imports {
    /// The nodes of the snapshot.
    pub nodes: bool,
    /// The names of the feasible nodes.
    pub feasible: bool,
    /// Any complete object.
    pub objects: bool,
}

/// A guest as one plugin of one profile.
pub(crate) struct Guest {
    pub compiled: Arc<Compiled>,
    pub shared: Arc<Shared>,
    pub memory_bytes_max: usize,
    pub fuel_per_call: u64,
}

impl Guests {
    /// Nothing has been loaded yet. Compiled guests are cached in the folder, if one is given.
    ///
    /// # Errors
    /// This machine cannot run compiled WebAssembly; the text says why.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, String> {
        let mut config = Config::new();
        config.consume_fuel(true);
        // The results are the same on every machine.
        config.cranelift_nan_canonicalization(true);
        config.relaxed_simd_deterministic(true);
        let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
        let linker = host::linker(&engine).map_err(|error| format!("{error:#}"))?;
        let files = Files { engine, linker, cache, compiled: Mutex::default() };
        Ok(Self { from: Origin::Files(files), recorder: None })
    }

    /// The same guests, but all their answers are recorded.
    #[must_use]
    pub fn recorded(self, recorder: Arc<Recorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// The guests of a record: they give the recorded answers, and no file is read.
    #[must_use]
    pub fn of_record(record: GuestAnswers) -> Self {
        Self { from: Origin::Record(Arc::new(record)), recorder: None }
    }

    /// The extension points that the guest with these arguments implements. It is loaded, started and asked for its events, as it is when a
    /// plugin is made from it.
    ///
    /// # Errors
    /// Everything that is wrong with the arguments, or what is wrong with the guest.
    pub fn check(&self, name: &str, args: &Value) -> Result<Vec<ExtensionPoint>, Vec<GuestFault>> {
        let (read, mut faults) = GuestArgs::read_in_part(args);
        // It may be known which guest is meant even if something else is wrong.
        let known = !read.url.is_empty() && !faults.iter().any(|fault| fault.is_of(args::CHECKSUM_FIELD));
        let mut points = Vec::new();
        match &self.from {
            Origin::Files(files) if known => {
                let checked = files.guest(name, read, &Handle::default()).and_then(|guest| {
                    points = guest.compiled.exports.points();
                    start(guest)
                });
                if let Err(error) = checked {
                    let field = args::field(args, error.field()).unwrap_or(error.field());
                    faults.push(GuestFault::of_field(field, error.to_string()));
                }
            }
            Origin::Files(_) => {}
            Origin::Record(record) => match record.guest(name, args, None) {
                Ok(guest) => points = guest.exports.points(),
                Err(reason) => faults.push(GuestFault::new(reason)),
            },
        }
        if faults.is_empty() { Ok(points) } else { Err(faults) }
    }

    /// Makes a plugin from the guest with these arguments. One instance is created at once, so that a guest that does not start is detected
    /// now.
    ///
    /// # Errors
    /// The arguments are wrong, or the guest cannot be loaded, started, or asked for its events.
    pub fn plugin(&self, name: &str, args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
        let refused = |reason| PluginError::Arguments { plugin: name.to_owned(), reason };
        let read = GuestArgs::read(args).map_err(|faults| {
            refused(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let files = match &self.from {
            Origin::Files(files) => files,
            Origin::Record(record) => {
                let of = record.guest(name, args, Some(&handle.profile)).map_err(refused)?;
                return Ok(Arc::new(GuestPlugin::of_record(of, Arc::clone(record), handle)));
            }
        };
        let recorder = self.recorder.as_ref().map(|recorder| (Arc::clone(recorder), args));
        let made = files.guest(name, read, handle).and_then(|guest| GuestPlugin::new(guest, recorder));
        Ok(Arc::new(made.map_err(|error| refused(error.to_string()))?))
    }
}

impl Files {
    fn guest(&self, name: &str, args: GuestArgs, handle: &Handle) -> Result<Guest, LoadError> {
        Ok(Guest {
            compiled: self.load(&args)?,
            memory_bytes_max: usize::try_from(u64::from(args.memory_mib) << 20).unwrap_or(usize::MAX),
            fuel_per_call: args.fuel_per_call,
            shared: Arc::new(Shared {
                name: Atom::new(name),
                config: args.config,
                args: args.args,
                log_severity: args.log_severity,
                handle: handle.clone(),
                mirror: Mutex::new(Mirror::default()),
            }),
        })
    }

    fn load(&self, args: &GuestArgs) -> Result<Arc<Compiled>, LoadError> {
        let key = (args.url.clone(), args.checksum.clone());
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known.get(&key) {
            return Ok(Arc::clone(compiled));
        }
        let bytes = fetch::fetch(&args.url, args.checksum.as_deref())?;
        let module = cache::compile(&self.engine, &bytes, self.cache.as_deref())
            .map_err(|error| LoadError::Compiling(error.root_cause().to_string()))?;
        let compiled = Arc::new(self.check(&module)?);
        known.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Checks that the module is a guest for this host.
    fn check(&self, module: &Module) -> Result<Compiled, LoadError> {
        let exports = Exports::of(module)?;
        let shared = Shared {
            name: Atom::default(),
            config: String::new(),
            args: Vec::new(),
            log_severity: 0,
            handle: Handle::default(),
            mirror: Mutex::new(Mirror::default()),
        };
        let mut store = Store::new(&self.engine, Host::new(Arc::new(shared), StoreLimits::default()));
        let unknown: Vec<String> = module
            .imports()
            .filter(|import| self.linker.get_by_import(&mut store, import).is_none())
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        if !unknown.is_empty() {
            return Err(LoadError::Imports(unknown));
        }
        let mut imports = Imports::default();
        for import in module.imports() {
            let name = import.name();
            let nodes = host::needs_nodes(&import);
            imports.nodes |= nodes;
            imports.feasible |= name == "filteredNodeList";
            imports.objects |= nodes || matches!(name, "currentPod" | "targetPod" | "handle.get_waiting_pod");
        }
        let module = self
            .linker
            .instantiate_pre(module)
            .map_err(|error| LoadError::Instantiate(format!("{error:#}")))?;
        Ok(Compiled { module, exports, imports })
    }
}
