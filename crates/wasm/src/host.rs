//! The guest's view: its imports, and the state behind them.

mod api;
mod klog;
mod memory;
mod mirror;
mod results;
mod scheduler;
mod wasi;

pub(crate) use api::needs_nodes;
pub(crate) use mirror::Mirror;
pub(crate) use scheduler::repeat;
pub(crate) use wasi::Exit;

use crate::protobuf;
use secondmate_framework::Handle;
use secondmate_model::{Atom, Pod, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use wasmtime::{Engine, Linker, Memory, StoreLimits};

/// How much is kept of what a guest writes to standard output and error in one call: the beginning.
const OUTPUT_BYTES_MAX: usize = 4096;

/// What all instances of a guest share.
pub(crate) struct Shared {
    /// Name of the plugin.
    pub name: Atom,
    /// `guestConfig`.
    pub config: String,
    /// Command line.
    pub args: Vec<String>,
    /// Minimum severity that is logged.
    pub log_severity: i32,
    /// The profile in which it runs.
    pub handle: Handle,
    /// The nodes of the snapshot.
    pub mirror: Mutex<Mirror>,
}

/// What a call is about; what is not set reads as empty.
#[derive(Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// The time of the cycle.
    pub now: Timestamp,
    /// The pod being scheduled.
    pub pod: Option<&'a Arc<Pod>>,
    /// The pod being added or removed.
    pub target: Option<&'a Arc<Pod>>,
    /// The node being judged, or the chosen node.
    pub node: Option<&'a Atom>,
    /// JSON list of the feasible nodes' names.
    pub feasible: Option<&'a Arc<str>>,
    /// JSON object from node to status code.
    pub statuses: Option<&'a str>,
    /// JSON object from node to score.
    pub scores: Option<&'a str>,
}

/// What an instance can ask for during a call.
#[derive(Default)]
struct Asked {
    pod: Option<Arc<Pod>>,
    target: Option<Arc<Pod>>,
    /// A string rather than an atom: most calls differ only in the node, and the reference counts of atoms are shared between threads.
    node: String,
    feasible: Option<Arc<str>>,
    statuses: String,
    scores: String,
}

impl Asked {
    /// Sets the subject of the next call. What is the same as in the last call is kept.
    fn set(&mut self, of: &About<'_>) {
        set_shared(&mut self.pod, of.pod);
        set_shared(&mut self.target, of.target);
        set_text(&mut self.node, of.node.map_or("", Atom::as_str));
        set_shared(&mut self.feasible, of.feasible);
        set_text(&mut self.statuses, of.statuses.unwrap_or_default());
        set_text(&mut self.scores, of.scores.unwrap_or_default());
    }
}

fn set_shared<T: ?Sized>(old: &mut Option<Arc<T>>, new: Option<&Arc<T>>) {
    let same = match (&*old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    if !same {
        *old = new.cloned();
    }
}

fn set_text(old: &mut String, new: &str) {
    old.clear();
    old.push_str(new);
}

/// What a call produced besides its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// PreFilter: the only nodes worth considering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// Enqueue: resource and action of each event.
    #[serde(skip)]
    pub events: Vec<(u32, u32)>,
    /// PostFilter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nominated: String,
    /// NormalizeScore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<BTreeMap<String, i64>>,
}

/// Effects of a guest's call that are visible to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Done {
    /// It requested an event about one of the call's pods, identified here by its UID.
    Event { uid: String, warning: bool, reason: String, action: String, note: String },
    /// It rejected a pod that is waiting on permit.
    Reject(String),
}

/// The state behind the imports of one instance.
pub(crate) struct Host {
    pub shared: Arc<Shared>,
    pub limits: StoreLimits,
    /// The guest's memory, once it is instantiated.
    pub memory: Option<Memory>,
    /// For the current call.
    asked: Asked,
    /// For the current call.
    pub results: Results,
    /// What it has done since this was last taken; bounded by the handle's queues, which refuse any excess.
    pub done: Vec<Done>,
    /// What it wrote to standard output and error in this call.
    pub output: Vec<u8>,
    /// The time of the cycle.
    pub now: Timestamp,
    /// How long the guest has waited beyond that, in nanoseconds: nothing really waits.
    pub slept: u64,
    /// State of the random number generator: the same in every instance, so that the same calls give the same answers.
    pub random: u64,
    /// The pod that was encoded last.
    encoded: Option<(Arc<Pod>, Arc<[u8]>)>,
}

impl Host {
    pub fn new(shared: Arc<Shared>, limits: StoreLimits) -> Self {
        Self {
            shared,
            limits,
            memory: None,
            asked: Asked::default(),
            results: Results::default(),
            done: Vec::new(),
            output: Vec::new(),
            // Go considers a clock that reads zero broken.
            now: Timestamp { nanos: 1 },
            slept: 0,
            random: 0,
            encoded: None,
        }
    }

    /// The pod as protobuf; empty if there is none. It is encoded once as long as it remains the same.
    fn encoded(&mut self, pod: Option<Arc<Pod>>) -> Arc<[u8]> {
        let Some(pod) = pod else { return Arc::new([]) };
        if let Some((of, bytes)) = &self.encoded
            && Arc::ptr_eq(of, &pod)
        {
            return Arc::clone(bytes);
        }
        let bytes = protobuf::pod(&pod);
        self.encoded = Some((pod, Arc::clone(&bytes)));
        bytes
    }

    /// Prepares for a call.
    pub fn begin(&mut self, of: &About<'_>) {
        self.asked.set(of);
        // A binding has no time of its own, and a clock must not go backwards.
        self.now = self.now.max(of.now);
        self.slept = 0;
        self.results = Results::default();
        self.output.clear();
    }

    /// Keeps the guest's output, up to a limit.
    fn write_output(&mut self, bytes: &[u8]) {
        let left = OUTPUT_BYTES_MAX - self.output.len();
        self.output.extend_from_slice(&bytes[..bytes.len().min(left)]);
    }
}

/// All imports that this host provides.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    api::add(&mut linker)?;
    klog::add(&mut linker)?;
    scheduler::add(&mut linker)?;
    results::add(&mut linker)?;
    wasi::add(&mut linker)?;
    Ok(linker)
}
