//! The kind of world that a history has.

use serde::{Deserialize, Serialize};

/// What to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// Nothing.
    #[default]
    Nothing,
    /// Effects, one line each.
    Brief,
    /// Whole effects.
    Full,
    /// Actions, inputs and effects, one line each.
    Story,
}

/// What a world has. With everything off: one undisturbed scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Nodes at the beginning; 0 means four.
    #[serde(skip_serializing_if = "is_default")]
    pub nodes: u8,
    /// Bindings are refused, lost, or carried out without an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub bind_faults: bool,
    /// Watches, writes and answers lag, each independently; answers overtake each other.
    #[serde(skip_serializing_if = "is_default")]
    pub lag: bool,
    /// Watches are relisted from a state that is older than what they have shown.
    #[serde(skip_serializing_if = "is_default")]
    pub stale_lists: bool,
    /// Other schedulers are at work, and nodes shrink.
    #[serde(skip_serializing_if = "is_default")]
    pub foreign: bool,
    /// Pods have priorities and budgets, and preempt others.
    #[serde(skip_serializing_if = "is_default")]
    pub preemption: bool,
    /// A plugin makes pods wait on permit and does work in PreBind.
    #[serde(skip_serializing_if = "is_default")]
    pub slow_plugins: bool,
    /// Pods spread over zones and repel pods of the same kind.
    #[serde(skip_serializing_if = "is_default")]
    pub topology: bool,
    /// An extender binds the pods that request a GPU.
    #[serde(skip_serializing_if = "is_default")]
    pub extender: bool,
    /// The scheduler crashes and restarts, and loses its leadership.
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: bool,
    /// The cluster is alive: two other schedulers decide by what they have seen, kubelets admit and reject, controllers replace the
    /// pods of workloads, budgets follow the pods, and what is deleted is cleaned up.
    #[serde(skip_serializing_if = "is_default")]
    pub living: bool,
    /// Two of our names are tenants with their own namespaces and nodes.
    #[serde(skip_serializing_if = "is_default")]
    pub tenants: bool,
    /// The bind guard is called for every bind of every scheduler.
    #[serde(skip_serializing_if = "is_default")]
    pub guard: bool,
    /// Nodes are found by the plain pass, instead of by the standing evaluation, which here makes a class at first sight.
    #[serde(skip_serializing_if = "is_default")]
    pub plain: bool,
    /// Futile evictions are repeated at once, as kube-scheduler does. They are counted, while otherwise they would break an invariant.
    #[serde(skip_serializing_if = "is_default")]
    pub loops_unbroken: bool,
    /// Controllers and other schedulers act before we learn what happened.
    #[serde(skip_serializing_if = "is_default")]
    pub hasty_others: bool,
    /// The core is measured, by a clock that jumps.
    #[serde(skip)]
    pub measured: bool,
    /// What to log.
    #[serde(skip)]
    pub log: Log,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
