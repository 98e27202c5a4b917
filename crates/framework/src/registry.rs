//! How plugins come into a scheduler.

use crate::plugin::Plugin;
use secondmate_model::{Atom, Pod, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether known quirks of kube-scheduler are reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// As kube-scheduler does it, quirks included.
    #[default]
    Strict,
    /// Where a quirk of kube-scheduler hurts users, the sensible thing is done instead.
    Sensible,
}

/// What a plugin asks of a pod that waits on permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingPodCommand {
    /// This plugin lets it go on.
    Allow {
        /// The pod.
        pod: Uid,
        /// The plugin that waited.
        plugin: Atom,
    },
    /// It is rejected.
    Reject {
        /// The pod.
        pod: Uid,
        /// The plugin that rejects.
        plugin: Atom,
        /// Why.
        reason: String,
    },
}

/// An event that a plugin wants written about a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginEvent {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Type `Warning`; else `Normal`.
    pub warning: bool,
    /// Reason, a word in upper camel case.
    pub reason: String,
    /// What was done.
    pub action: String,
    /// Text.
    pub note: String,
}

/// What a plugin gets at construction.
#[derive(Clone, Default)]
pub struct Handle {
    /// Whether quirks are reproduced.
    pub parity: Parity,
    /// The profile's scheduler name.
    pub profile: Atom,
    /// Preemption may evict pods of these schedulers only; `None`: of any, as kube-scheduler does.
    pub victims_of: Option<Arc<[Atom]>>,
    commands: Arc<Commands>,
}

/// Most commands that may wait for the core: more pods than wait on permit in any cluster. What comes while it is full is refused.
pub const COMMANDS_MAX: usize = 1 << 16;

/// Most events of plugins that may wait for the core. What comes while it is full is refused.
pub const EVENTS_MAX: usize = 1 << 10;

/// Commands of the plugins of one profile. Plugins may give them from any thread; the core looks before every cycle, so that it
/// finds nothing must cost next to nothing.
#[derive(Default)]
struct Commands {
    waiting: Mutex<VecDeque<WaitingPodCommand>>,
    /// Number of those that wait.
    count: AtomicUsize,
    /// Number of those that were refused, ever.
    refused: AtomicU64,
    /// Events that wait to be written.
    events: Mutex<Vec<PluginEvent>>,
    events_count: AtomicUsize,
    /// Pods that wait on permit.
    pods: Mutex<BTreeMap<Uid, Arc<Pod>>>,
    /// Failures of plugins, ever, and their sum.
    failures: Mutex<BTreeMap<Atom, u64>>,
    failures_count: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// A handle for the plugins of one profile.
    #[must_use]
    pub fn new(profile: Atom, parity: Parity) -> Self {
        Self { parity, profile, victims_of: None, commands: Arc::default() }
    }

    /// Lets a pod that waits on permit go on, as far as this plugin is concerned. Carried out before the next cycle. Says whether the
    /// command was taken: it is not when [`COMMANDS_MAX`] are waiting, and then the pod waits until its time is up.
    pub fn allow(&self, pod: &Uid, plugin: &str) -> bool {
        self.push(WaitingPodCommand::Allow { pod: pod.clone(), plugin: Atom::new(plugin) })
    }

    /// Rejects a pod that waits on permit. Carried out before the next cycle. Says whether the command was taken, as
    /// [`Handle::allow`] does.
    pub fn reject(&self, pod: &Uid, plugin: &str, reason: impl Into<String>) -> bool {
        self.push(WaitingPodCommand::Reject {
            pod: pod.clone(),
            plugin: Atom::new(plugin),
            reason: reason.into(),
        })
    }

    /// Has an event written about a pod. Says whether it was taken: it is not when [`EVENTS_MAX`] are waiting.
    pub fn event(&self, event: PluginEvent) -> bool {
        let mut events = lock(&self.commands.events);
        if events.len() >= EVENTS_MAX {
            self.commands.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        events.push(event);
        self.commands.events_count.store(events.len(), Ordering::Release);
        true
    }

    /// A pod that waits on permit.
    #[must_use]
    pub fn waiting_pod(&self, pod: &Uid) -> Option<Arc<Pod>> {
        lock(&self.commands.pods).get(pod).cloned()
    }

    /// Counts a failure of a plugin that runs what others have written, such as a WebAssembly guest: a call that trapped, say. Says how
    /// many there are of it now.
    pub fn count_failure(&self, plugin: &Atom) -> u64 {
        let mut failures = lock(&self.commands.failures);
        let of_plugin = failures.entry(plugin.clone()).or_default();
        *of_plugin += 1;
        self.commands.failures_count.fetch_add(1, Ordering::Release);
        *of_plugin
    }

    /// Failures so far by plugin, of those that have any.
    #[must_use]
    pub fn failures(&self) -> Vec<(Atom, u64)> {
        if self.commands.failures_count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        lock(&self.commands.failures).iter().map(|(plugin, count)| (plugin.clone(), *count)).collect()
    }

    /// For the core: the pod waits on permit from now on.
    pub fn waits(&self, pod: &Arc<Pod>) {
        lock(&self.commands.pods).insert(pod.uid.clone(), Arc::clone(pod));
    }

    /// For the core: the pod does not wait on permit any more.
    pub fn waits_no_more(&self, pod: &Uid) {
        lock(&self.commands.pods).remove(pod);
    }

    /// For the core: takes the events that wait.
    #[must_use]
    pub fn take_events(&self) -> Vec<PluginEvent> {
        if self.commands.events_count.swap(0, Ordering::AcqRel) == 0 {
            return Vec::new();
        }
        std::mem::take(&mut lock(&self.commands.events))
    }

    /// For the core: takes the commands that wait.
    #[must_use]
    pub fn take_commands(&self) -> VecDeque<WaitingPodCommand> {
        if self.commands.count.load(Ordering::Acquire) == 0 {
            return VecDeque::new();
        }
        let mut waiting = lock(&self.commands.waiting);
        self.commands.count.store(0, Ordering::Release);
        std::mem::take(&mut waiting)
    }

    /// Number of commands and events that were refused so far, since too many were waiting.
    #[must_use]
    pub fn commands_refused(&self) -> u64 {
        self.commands.refused.load(Ordering::Relaxed)
    }

    fn push(&self, command: WaitingPodCommand) -> bool {
        let mut waiting = lock(&self.commands.waiting);
        if waiting.len() >= COMMANDS_MAX {
            self.commands.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        waiting.push_back(command);
        self.commands.count.store(waiting.len(), Ordering::Release);
        true
    }
}

/// A plugin that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// Nobody registered the name.
    #[error(
        "plugin {0:?} is not registered: correct the name in the profile, or build a scheduler that registers it"
    )]
    Unknown(String),
    /// The name is taken.
    #[error("plugin {0:?} is registered twice: give one of the two another name")]
    Duplicate(String),
    /// Its arguments are wrong.
    #[error("arguments of plugin {plugin:?} (pluginConfig): {reason}")]
    Arguments {
        /// Plugin.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
}

/// Makes a plugin from its arguments (the `args` of its `pluginConfig`; `null` where there are none).
pub type Factory =
    Arc<dyn Fn(&serde_json::Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync>;

/// Makes a plugin of any name, where its arguments say how; `None` where they do not.
pub type AnyFactory = Arc<
    dyn Fn(&str, &serde_json::Value, &Handle) -> Option<Result<Arc<dyn Plugin>, PluginError>> + Send + Sync,
>;

/// Factories by plugin name.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
    /// For names that have no factory.
    others: Option<AnyFactory>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register<F>(&mut self, name: &str, factory: F) -> Result<(), PluginError>
    where
        F: Fn(&serde_json::Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync + 'static,
    {
        if self.factories.contains_key(name) {
            return Err(PluginError::Duplicate(name.to_owned()));
        }
        self.factories.insert(name.to_owned(), Arc::new(factory));
        Ok(())
    }

    /// The same registry; plugins of other names are made by this, where it can.
    #[must_use]
    pub fn with_others(mut self, others: AnyFactory) -> Self {
        self.others = Some(others);
        self
    }

    /// Makes a plugin.
    ///
    /// # Errors
    /// The name is unknown, or the arguments are wrong.
    pub fn make(
        &self,
        name: &str,
        args: &serde_json::Value,
        handle: &Handle,
    ) -> Result<Arc<dyn Plugin>, PluginError> {
        if let Some(factory) = self.factories.get(name) {
            return factory(args, handle);
        }
        let made = self.others.as_ref().and_then(|others| others(name, args, handle));
        made.unwrap_or_else(|| Err(PluginError::Unknown(name.to_owned())))
    }

    /// Names of all plugins, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }
}
