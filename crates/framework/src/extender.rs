//! Extenders as the cycle sees them: external programs that influence nodes, scores, victims and bindings.
//!
//! They are called synchronously from the scheduling thread during a cycle. The shell implements [`CallExtender`] (HTTP,
//! time-outs, connections); answers are plain data, so a cycle with the same answers gives the same result.
//!
//! Upstream: `pkg/scheduler/extender.go`.

use crate::plugin::PreemptionCandidate;
use secondmate_model::{Atom, Node, NodeInfo, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The plugin name under which rejections by extenders are reported (`ExtenderName`).
pub const EXTENDER_NAME: &str = "Extender";
/// The highest score that an extender can give (`MaxExtenderPriority`).
pub const MAX_EXTENDER_PRIORITY: i64 = 10;

/// An extender: what it is asked, and for which pods.
#[derive(Clone)]
pub struct Extender {
    /// The URL prefix of every verb, which upstream uses as its name.
    pub name: Arc<str>,
    /// If set, its failures do not fail the attempt.
    pub ignorable: bool,
    /// Weight of its scores.
    pub weight: i64,
    /// The extender is asked only about pods that request one of these resources; if empty, about all pods.
    pub managed_resources: BTreeSet<Atom>,
    /// Which calls it supports.
    pub verbs: ExtenderVerbs,
    /// Nodes and victims are sent as complete objects instead of by name or UID.
    pub wants_objects: bool,
    /// How it is called.
    pub calls: Arc<dyn CallExtender>,
}

/// Which calls an extender supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtenderVerbs {
    /// Filters nodes.
    pub filter: bool,
    /// Scores nodes.
    pub prioritize: bool,
    /// Confirms candidates for preemption.
    pub preempt: bool,
    /// Binds the pod.
    pub bind: bool,
}

impl fmt::Debug for Extender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extender")
            .field("name", &self.name)
            .field("verbs", &self.verbs)
            .finish_non_exhaustive()
    }
}

impl Extender {
    /// Whether the extender is asked about the pod.
    ///
    /// Upstream looks at requests and limits of the containers. The API server adds a request for each limit of an extended
    /// resource, so looking at the requests is enough.
    #[must_use]
    pub fn is_interested(&self, pod: &Pod) -> bool {
        self.managed_resources.is_empty()
            || pod.requests.on_node.scalars.iter().any(|(name, _)| self.managed_resources.contains(name))
    }
}

/// The extenders of a scheduler, in the order in which they are called. All profiles share them.
#[derive(Clone, Debug, Default)]
pub struct Extenders(Arc<[Extender]>);

impl Extenders {
    /// The extenders, as configured, with the ignorable ones last.
    #[must_use]
    pub fn new(mut extenders: Vec<Extender>) -> Self {
        extenders.sort_by_key(|extender| extender.ignorable);
        Self(extenders.into())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same extenders with other implementations of their calls.
    #[must_use]
    pub fn called_by(&self, calls: impl Fn(&Extender) -> Arc<dyn CallExtender>) -> Self {
        let extenders = self.0.iter().map(|extender| Extender { calls: calls(extender), ..extender.clone() });
        Self(extenders.collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Extender> {
        self.0.iter()
    }

    /// Those that are asked about the pod.
    pub fn interested<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Extender> {
        self.0.iter().filter(|extender| extender.is_interested(pod))
    }

    /// Whether one of them influences which node the pod goes to.
    #[must_use]
    pub fn choose(&self, pod: &Pod) -> bool {
        self.interested(pod).any(|extender| extender.verbs.filter || extender.verbs.prioritize)
    }

    /// The one that binds the pod, if any.
    #[must_use]
    pub fn binder<'a>(&'a self, pod: &'a Pod) -> Option<&'a Extender> {
        self.interested(pod).find(|extender| extender.verbs.bind)
    }
}

/// The error text of a failed call, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExtenderError(pub String);

/// An extender's verdict on the nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtenderVerdict {
    /// The nodes that pass the filter.
    pub passed: PassedNodes,
    /// Nodes that do not pass, with the reason; evictions may help.
    pub failed: BTreeMap<String, String>,
    /// Nodes that do not pass, with the reason; evictions cannot help. Takes precedence over [`Self::failed`].
    pub unresolvable: BTreeMap<String, String>,
}

/// The nodes that pass an extender's filter.
#[derive(Clone, Debug, PartialEq)]
pub enum PassedNodes {
    /// By name.
    Names(Vec<String>),
    /// As the extender sent them back.
    Nodes(Vec<Arc<Node>>),
}

impl Default for PassedNodes {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// An extender's verdict on the victims on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtenderVictims {
    /// UIDs of the pods to evict.
    pub uids: Vec<String>,
    /// How many of them are protected by a PodDisruptionBudget.
    pub budget_violations: i64,
}

/// Scores that have been requested. Calling it waits for the answer, a score per node name.
pub type AwaitScores<'a> = Box<dyn FnOnce() -> Result<Vec<(String, i64)>, ExtenderError> + 'a>;

/// The calls of an extender, except bind, which the shell makes when an effect tells it to.
pub trait CallExtender: Send + Sync {
    /// Which of the nodes pass.
    ///
    /// # Errors
    /// If there is no answer, or the answer is an error.
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError>;

    /// Requests scores of the nodes without waiting for them.
    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a>;

    /// Which of the candidates remain, and with which victims, by node.
    ///
    /// # Errors
    /// If there is no answer.
    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError>;
}
