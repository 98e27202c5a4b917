//! How plugins come into a scheduler.

use crate::plugin::Plugin;
use secondmate_model::{Atom, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Commands of the plugins of one profile. Plugins may give them from any thread; the core looks before every cycle, so that it
/// finds nothing must cost next to nothing.
#[derive(Default)]
struct Commands {
    waiting: Mutex<VecDeque<WaitingPodCommand>>,
    /// Number of those that wait.
    count: AtomicUsize,
    /// Number of those that were refused, ever.
    refused: AtomicU64,
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

    /// For the core: takes the commands that wait.
    #[must_use]
    pub fn take_commands(&self) -> VecDeque<WaitingPodCommand> {
        if self.commands.count.load(Ordering::Acquire) == 0 {
            return VecDeque::new();
        }
        let mut waiting = self.commands.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.commands.count.store(0, Ordering::Release);
        std::mem::take(&mut waiting)
    }

    /// Number of commands that were refused so far, since too many were waiting.
    #[must_use]
    pub fn commands_refused(&self) -> u64 {
        self.commands.refused.load(Ordering::Relaxed)
    }

    fn push(&self, command: WaitingPodCommand) -> bool {
        let mut waiting = self.commands.waiting.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Factories by plugin name.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
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
        let factory = self.factories.get(name).ok_or_else(|| PluginError::Unknown(name.to_owned()))?;
        factory(args, handle)
    }

    /// Names of all plugins, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }
}
