//! What kind of world a history has.

use serde::{Deserialize, Serialize};

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// Nothing.
    #[default]
    Nothing,
    /// Effects, a line each.
    Brief,
    /// Whole effects.
    Full,
    /// Actions, inputs and effects, a line each.
    Story,
}

/// What a world has. All off: one scheduler in peace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Nodes at the beginning; 0 means four.
    #[serde(skip_serializing_if = "is_default")]
    pub nodes: u8,
    /// Bindings are refused, lost, or carried out without an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub bind_faults: bool,
    /// Watches, writes and answers lag, each on its own; answers overtake each other.
    #[serde(skip_serializing_if = "is_default")]
    pub lag: bool,
    /// Watches are listed anew from a state that is older than what they have shown.
    #[serde(skip_serializing_if = "is_default")]
    pub stale_lists: bool,
    /// Other schedulers are at work, and nodes shrink.
    #[serde(skip_serializing_if = "is_default")]
    pub foreign: bool,
    /// Pods have priorities and budgets, and room is made for them.
    #[serde(skip_serializing_if = "is_default")]
    pub preemption: bool,
    /// A plugin lets pods wait on permit and does work in PreBind.
    #[serde(skip_serializing_if = "is_default")]
    pub slow_plugins: bool,
    /// Pods spread over zones and repel their likes.
    #[serde(skip_serializing_if = "is_default")]
    pub topology: bool,
    /// An extender binds the pods that ask for a GPU.
    #[serde(skip_serializing_if = "is_default")]
    pub extender: bool,
    /// The scheduler crashes and starts anew, and loses its leadership.
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: bool,
    /// The cluster lives: two other schedulers decide by what they have seen, kubelets admit and reject, controllers replace the
    /// pods of workloads, budgets follow the pods, and what leaves is cleaned up.
    #[serde(skip_serializing_if = "is_default")]
    pub living: bool,
    /// Two names of ours are tenants with namespaces and nodes of their own.
    #[serde(skip_serializing_if = "is_default")]
    pub tenants: bool,
    /// Every bind of every scheduler is asked of the bind guard.
    #[serde(skip_serializing_if = "is_default")]
    pub guard: bool,
    /// Nodes are found by the plain pass instead of the standing evaluation, of which a class is made at first sight.
    #[serde(skip_serializing_if = "is_default")]
    pub plain: bool,
    /// Evictions in vain are repeated at once, as kube-scheduler does: such ones are counted, where else they would be a broken rule.
    #[serde(skip_serializing_if = "is_default")]
    pub loops_unbroken: bool,
    /// Controllers and other schedulers act before we hear of what happened.
    #[serde(skip_serializing_if = "is_default")]
    pub hasty_others: bool,
    /// What the core does is measured, by a clock that jumps.
    #[serde(skip)]
    pub measured: bool,
    /// What is logged.
    #[serde(skip)]
    pub log: Log,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
