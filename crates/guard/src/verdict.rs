//! The guard's questions and answers.

use crate::Shortage;
use secondmate_model::{Atom, Uid};
use std::fmt;
use std::time::Duration;

/// From this priority on, a pod is critical: its kubelet makes room for it by stopping others (upstream:
/// `SystemCriticalPriority`).
pub const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// A request to bind a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Namespace of the pod.
    pub namespace: Atom,
    /// Name of the pod.
    pub name: Box<str>,
    /// UID of the pod, if the Binding contains one.
    pub uid: Option<Uid>,
    /// The node.
    pub node: Atom,
    /// Whether the request is a dry run, which will not be carried out.
    pub dry_run: bool,
}

/// Whether the guard may refuse binds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads, and its knowledge is up to date.
    Decides,
    /// Another replica decides.
    NotLeading,
    /// The caches are not in sync, or they lag behind the API server.
    NotInSync,
}

/// Why a bind passes without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// See [`Standing::NotLeading`].
    NotLeading,
    /// See [`Standing::NotInSync`].
    NotInSync,
    /// The pod is critical: the kubelet makes room for it.
    Critical,
    /// The pod is not known.
    UnknownPod,
    /// The node is not known, or its kubelet has not reported yet what it offers.
    UnknownNode,
    /// The API server will refuse it by itself: the pod is already bound, is being deleted, or is not the one that the Binding
    /// names.
    Moot,
}

impl Pass {
    /// One word, for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotLeading => "not-leading",
            Self::NotInSync => "not-in-sync",
            Self::Critical => "critical",
            Self::UnknownPod => "unknown-pod",
            Self::UnknownNode => "unknown-node",
            Self::Moot => "moot",
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// May it be bound?
    pub verdict: Verdict,
    /// The pod's scheduler, if the pod is known.
    pub scheduler: Option<Atom>,
}

/// May the pod be bound?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is room.
    Approved,
    /// The bind passes without a decision.
    Passed(Pass),
    /// The kubelet would reject it.
    Refused(Box<Refusal>),
}

impl Verdict {
    /// One word, for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Passed(pass) => pass.word(),
            Self::Refused(_) => "refused",
        }
    }
}

/// Who took the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// `NAMESPACE/NAME`.
    pub pod: Box<str>,
    /// Its scheduler.
    pub scheduler: Atom,
    /// How long ago it was approved or, if its bind did not go through this guard, seen on the node.
    pub ago: Option<Duration>,
}

/// Why a pod cannot be bound to a node. Its text is what the scheduler receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node.
    pub node: Atom,
    /// `NAMESPACE/NAME`.
    pub pod: Box<str>,
    /// What the node lacks; at least one thing.
    pub shortages: Vec<Shortage>,
    /// The latest arrival among the pods that contribute to the shortage, if known.
    pub first: Option<First>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} has no room for {}: ", self.node, self.pod)?;
        for (index, shortage) in self.shortages.iter().enumerate() {
            write!(f, "{}{shortage}", if index == 0 { "" } else { ", " })?;
        }
        let Some(First { pod, scheduler, ago }) = &self.first else { return Ok(()) };
        write!(f, "; {pod} was bound by {scheduler}")?;
        match ago {
            Some(ago) => write!(f, " {} ago", Ago(*ago)),
            None => Ok(()),
        }
    }
}

/// A duration in one unit: `40 ms`, `3 s`, `5 min`, `2 h`.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            secs @ 1..=119 => write!(f, "{secs} s"),
            secs @ 120..=7199 => write!(f, "{} min", secs / 60),
            secs => write!(f, "{} h", secs / 3600),
        }
    }
}
