//! Extenders as the cycle sees them: programs outside the scheduler that have a say on nodes, scores, victims and bindings.
//!
//! They are called in the middle of a cycle, from the scheduling thread, and it waits for the answer. What stands behind
//! [`CallExtender`] is the shell's (HTTP, time-outs, connections); the answers are plain data, so a cycle with the same answers
//! comes to the same end.
//!
//! Upstream: `pkg/scheduler/extender.go`.

use crate::plugin::PreemptionCandidate;
use secondmate_model::{Atom, Node, NodeInfo, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The name by which a rejection by extenders stands among those of plugins (`ExtenderName`).
pub const EXTENDER_NAME: &str = "Extender";
/// The highest score that an extender gives (`MaxExtenderPriority`).
pub const MAX_EXTENDER_PRIORITY: i64 = 10;

/// An extender: what it is asked, and of which pods.
#[derive(Clone)]
pub struct Extender {
    /// The URL in front of every verb: what upstream calls it by.
    pub name: Arc<str>,
    /// Its failures are not those of the attempt.
    pub ignorable: bool,
    /// Factor of its scores.
    pub weight: i64,
    /// Only pods that name one of these resources concern it; empty: all pods do.
    pub managed_resources: BTreeSet<Atom>,
    /// What it is asked.
    pub verbs: ExtenderVerbs,
    /// Nodes and victims are sent whole, not by name or UID.
    pub wants_objects: bool,
    /// How it is called.
    pub calls: Arc<dyn CallExtender>,
}

/// Which calls an extender takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtenderVerbs {
    /// Which nodes pass.
    pub filter: bool,
    /// How good they are.
    pub prioritize: bool,
    /// Which candidates for preemption stand.
    pub preempt: bool,
    /// To bind the pod.
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
    /// Whether the pod concerns it.
    ///
    /// Upstream looks at requests and limits of the containers; the API server makes a request of each limit of an extended
    /// resource, so the requests say it all.
    #[must_use]
    pub fn is_interested(&self, pod: &Pod) -> bool {
        self.managed_resources.is_empty()
            || pod.requests.on_node.scalars.iter().any(|(name, _)| self.managed_resources.contains(name))
    }
}

/// The extenders of a scheduler, in the order of their calls. All profiles have the same.
#[derive(Clone, Debug, Default)]
pub struct Extenders(Arc<[Extender]>);

impl Extenders {
    /// The extenders, as configured: those that may be ignored are asked last.
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

    /// The same extenders, called in another way.
    #[must_use]
    pub fn called_by(&self, calls: impl Fn(&Extender) -> Arc<dyn CallExtender>) -> Self {
        let extenders = self.0.iter().map(|extender| Extender { calls: calls(extender), ..extender.clone() });
        Self(extenders.collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Extender> {
        self.0.iter()
    }

    /// Those that the pod concerns.
    pub fn interested<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Extender> {
        self.0.iter().filter(|extender| extender.is_interested(pod))
    }

    /// Whether one of them has a say on which node the pod goes to.
    #[must_use]
    pub fn choose(&self, pod: &Pod) -> bool {
        self.interested(pod).any(|extender| extender.verbs.filter || extender.verbs.prioritize)
    }

    /// The one that binds the pod, if one does.
    #[must_use]
    pub fn binder<'a>(&'a self, pod: &'a Pod) -> Option<&'a Extender> {
        self.interested(pod).find(|extender| extender.verbs.bind)
    }
}

/// A call that failed: the text, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExtenderError(pub String);

/// What an extender makes of the nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtenderVerdict {
    /// The nodes that pass.
    pub passed: PassedNodes,
    /// Nodes that do not, with the reason; evictions may help there.
    pub failed: BTreeMap<String, String>,
    /// Nodes that do not, with the reason; nothing helps there. It counts before [`Self::failed`].
    pub unresolvable: BTreeMap<String, String>,
}

/// The nodes that pass an extender.
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

/// What an extender makes of the victims on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtenderVictims {
    /// UIDs of the pods that have to go.
    pub uids: Vec<String>,
    /// How many of them a PodDisruptionBudget protects.
    pub budget_violations: i64,
}

/// Scores that have been asked for; calling it waits for the answer: a score for each named node.
pub type AwaitScores<'a> = Box<dyn FnOnce() -> Result<Vec<(String, i64)>, ExtenderError> + 'a>;

/// The calls of an extender but for bind, which the shell makes when it is told to by an effect.
pub trait CallExtender: Send + Sync {
    /// Which of the nodes pass.
    ///
    /// # Errors
    /// There is no answer, or the answer is an error.
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError>;

    /// Asks for scores of the nodes, without waiting.
    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a>;

    /// Which of the candidates stand, with which victims, by node.
    ///
    /// # Errors
    /// There is no answer.
    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError>;
}
