//! How plugins are registered and constructed.

use crate::plugin::Plugin;
use secondmate_model::{Atom, Pod, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether known quirks of kube-scheduler are reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// Like kube-scheduler, including its quirks.
    #[default]
    Strict,
    /// Where a quirk of kube-scheduler hurts users, behave sensibly instead.
    Sensible,
}

/// A plugin's command about a pod that waits on permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingPodCommand {
    /// This plugin allows the pod to proceed.
    Allow {
        /// The pod.
        pod: Uid,
        /// The plugin that made the pod wait.
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
    /// Type `Warning` instead of `Normal`.
    pub warning: bool,
    /// Reason, a word in upper camel case.
    pub reason: String,
    /// The action that was taken.
    pub action: String,
    /// Text.
    pub note: String,
}

/// What a plugin receives at construction.
#[derive(Clone, Default)]
pub struct Handle {
    /// Whether quirks are reproduced.
    pub parity: Parity,
    /// The profile's scheduler name.
    pub profile: Atom,
    /// Preemption may evict only pods of these schedulers; `None`: of any scheduler, like kube-scheduler.
    pub victims_of: Option<Arc<[Atom]>>,
    commands: Arc<Commands>,
}

/// Maximum number of commands waiting for the core: more than the pods that wait on permit in any cluster. Further commands are
/// refused.
pub const COMMANDS_MAX: usize = 1 << 16;

/// Maximum number of plugin events waiting for the core. Further events are refused.
pub const EVENTS_MAX: usize = 1 << 10;

/// Commands of the plugins of one profile. Plugins may send them from any thread. The core checks before every cycle, so the
/// check must cost next to nothing when there are none.
#[derive(Default)]
struct Commands {
    waiting: Mutex<VecDeque<WaitingPodCommand>>,
    /// Number of waiting commands.
    count: AtomicUsize,
    /// Total number of refused commands and events.
    refused: AtomicU64,
    /// Events waiting to be written.
    events: Mutex<Vec<PluginEvent>>,
    events_count: AtomicUsize,
    /// Pods that wait on permit.
    pods: Mutex<BTreeMap<Uid, Arc<Pod>>>,
    /// Total number of failures by plugin, and their sum.
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

    /// Lets a pod that waits on permit proceed, as far as this plugin is concerned. Takes effect before the next cycle. Returns
    /// whether the command was accepted: if [`COMMANDS_MAX`] are waiting it is refused, and the pod waits until its time-out.
    pub fn allow(&self, pod: &Uid, plugin: &str) -> bool {
        self.push(WaitingPodCommand::Allow { pod: pod.clone(), plugin: Atom::new(plugin) })
    }

    /// Rejects a pod that waits on permit. Takes effect before the next cycle. Returns whether the command was accepted, like
    /// [`Handle::allow`].
    pub fn reject(&self, pod: &Uid, plugin: &str, reason: impl Into<String>) -> bool {
        self.push(WaitingPodCommand::Reject {
            pod: pod.clone(),
            plugin: Atom::new(plugin),
            reason: reason.into(),
        })
    }

    /// Writes an event about a pod. Returns whether it was accepted: it is refused if [`EVENTS_MAX`] are waiting.
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

    /// The pod, if it waits on permit.
    #[must_use]
    pub fn waiting_pod(&self, pod: &Uid) -> Option<Arc<Pod>> {
        lock(&self.commands.pods).get(pod).cloned()
    }

    /// Counts a failure of a plugin that runs third-party code, such as a WebAssembly guest whose call trapped. Returns the
    /// plugin's number of failures so far.
    pub fn count_failure(&self, plugin: &Atom) -> u64 {
        let mut failures = lock(&self.commands.failures);
        let of_plugin = failures.entry(plugin.clone()).or_default();
        *of_plugin += 1;
        self.commands.failures_count.fetch_add(1, Ordering::Release);
        *of_plugin
    }

    /// Number of failures so far, by plugin; plugins without failures are left out.
    #[must_use]
    pub fn failures(&self) -> Vec<(Atom, u64)> {
        if self.commands.failures_count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        lock(&self.commands.failures).iter().map(|(plugin, count)| (plugin.clone(), *count)).collect()
    }

    /// For the core: the pod now waits on permit.
    pub fn waits(&self, pod: &Arc<Pod>) {
        lock(&self.commands.pods).insert(pod.uid.clone(), Arc::clone(pod));
    }

    /// For the core: the pod no longer waits on permit.
    pub fn waits_no_more(&self, pod: &Uid) {
        lock(&self.commands.pods).remove(pod);
    }

    /// For the core: takes the waiting events.
    #[must_use]
    pub fn take_events(&self) -> Vec<PluginEvent> {
        if self.commands.events_count.swap(0, Ordering::AcqRel) == 0 {
            return Vec::new();
        }
        std::mem::take(&mut lock(&self.commands.events))
    }

    /// For the core: takes the waiting commands.
    #[must_use]
    pub fn take_commands(&self) -> VecDeque<WaitingPodCommand> {
        if self.commands.count.load(Ordering::Acquire) == 0 {
            return VecDeque::new();
        }
        let mut waiting = lock(&self.commands.waiting);
        self.commands.count.store(0, Ordering::Release);
        std::mem::take(&mut waiting)
    }

    /// Number of commands and events refused so far because too many were waiting.
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

/// A plugin that could not be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// No plugin is registered under the name.
    #[error(
        "plugin {0:?} is not registered: correct the name in the profile, or build a scheduler that registers it"
    )]
    Unknown(String),
    /// The name is already taken.
    #[error("plugin {0:?} is registered twice: give one of the two another name")]
    Duplicate(String),
    /// The arguments are invalid.
    #[error("arguments of plugin {plugin:?} (pluginConfig): {reason}")]
    Arguments {
        /// Plugin.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
}

/// Creates a plugin from its arguments (the `args` of its `pluginConfig`; `null` if there are none).
pub type Factory =
    Arc<dyn Fn(&serde_json::Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync>;

/// Creates a plugin of any name if its arguments say how; otherwise returns `None`.
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
    /// If the name is already taken.
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

    /// Sets the fallback that creates plugins of other names, if it can.
    #[must_use]
    pub fn with_others(mut self, others: AnyFactory) -> Self {
        self.others = Some(others);
        self
    }

    /// Creates a plugin.
    ///
    /// # Errors
    /// If the name is unknown or the arguments are invalid.
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
