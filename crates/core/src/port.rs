//! What goes into the core and what comes out: inputs and effects.

use secondmate_framework::ApiWrite;
use secondmate_model::objects::{Object, ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, Pod, Uid};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Which watch a pod comes from. The core does not rely on any order between the watches, though the shell preserves that of the
/// API server because it leads to better decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodWatch {
    /// Pods with one of our scheduler names that have no node.
    Pending,
    /// Pods of all schedulers that are on nodes, except those that have finished.
    Assigned,
    /// Pods of other schedulers that are nominated to a node and not yet bound.
    ForeignNominated,
    /// Pods of other schedulers that have no node, count for no nomination, and have not been found unschedulable: they may have been
    /// assigned to a node that nobody else knows yet.
    ForeignWaiting,
}

/// An input to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A watch shows a new or changed pod.
    Pod(PodWatch, Arc<Pod>),
    /// A pod left a watch: it was deleted, or no longer matches the watch's selector.
    PodGone(PodWatch, Uid),
    /// A node is new or has changed.
    Node(Arc<Node>),
    /// A node was deleted.
    NodeGone(Atom),
    /// Another object is new or has changed.
    Object(Object),
    /// Another object was deleted.
    ObjectGone(ObjectKind, ObjectName),
    /// The node's kubelet rejected a pod after it was bound, for lack of room: the pod has failed before it started.
    PodRejected(Uid),
    /// Answer to [`Effect::Bind`].
    BindFinished(Uid, BindOutcome),
    /// Answer to [`Effect::Write`].
    WriteFinished(Uid, Result<(), String>),
    /// Answer to [`Effect::Verify`].
    Verified(Uid, Verified),
    /// Answer to [`Effect::ReadNode`].
    NodeRead {
        /// The node.
        node: Atom,
        /// The pods that are bound to it and have not finished, no matter who bound them; or why they could not be read.
        pods: Result<Vec<Arc<Pod>>, String>,
    },
    /// Answer to [`Effect::Evict`].
    EvictFinished {
        /// The pod that room is being made for.
        preemptor: Uid,
        /// The pod being evicted.
        victim: Uid,
        /// The result.
        result: Result<Evicted, EvictError>,
    },
}

impl Input {
    /// Whether it comes from a watch; otherwise it is the answer to an effect.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        match self {
            Self::Pod(..)
            | Self::PodGone(..)
            | Self::Node(_)
            | Self::NodeGone(_)
            | Self::Object(_)
            | Self::ObjectGone(..)
            | Self::PodRejected(_) => true,
            Self::BindFinished(..)
            | Self::WriteFinished(..)
            | Self::Verified(..)
            | Self::NodeRead { .. }
            | Self::EvictFinished { .. } => false,
        }
    }
}

/// How an eviction succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The victim was deleted.
    Deleted,
    /// There was nothing to delete: the victim had already gone.
    Gone,
}

/// Why an eviction did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvictError {
    /// It was not carried out: the victim stays.
    #[error("{0}")]
    NotDone(String),
    /// The outcome is unknown: the victim may or may not have been deleted.
    #[error("{0}")]
    Unknown(String),
}

/// How a binding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The API server accepted the binding.
    Bound,
    /// The API server refused the binding: this call did not bind the pod.
    Refused {
        /// HTTP status code.
        code: u16,
        /// Its message.
        message: String,
    },
    /// The outcome is unknown: the binding may or may not have been carried out.
    Unknown {
        /// What happened.
        message: String,
    },
    /// An extender was asked to bind the pod and failed or did not answer: only the pod itself shows whether it is bound.
    ExtenderFailed {
        /// What happened.
        message: String,
        /// Whether the extender is ignorable: if the pod is not bound, the Bind plugins are asked.
        ignorable: bool,
    },
    /// The binding was never sent: the process lost leadership or is shutting down.
    NotSent,
}

impl BindOutcome {
    /// Whether the pod may be bound, by this call or by another one.
    pub(crate) fn may_be_bound(&self) -> bool {
        match self {
            Self::Bound | Self::Unknown { .. } | Self::ExtenderFailed { .. } => true,
            Self::Refused { code, .. } => *code == 409,
            Self::NotSent => false,
        }
    }
}

/// The result of reading a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Verified {
    /// The current pod.
    Found(Arc<Pod>),
    /// There is no pod with that name, or it has a different UID.
    Gone,
    /// The read failed; the core requests another one later.
    Failed(String),
}

/// A condition of type `PodScheduled` to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledCondition {
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// Message, not truncated.
    pub message: String,
    /// `metadata.generation` of the pod that was tried.
    pub observed_generation: i64,
}

/// A change of `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NominationPatch {
    /// No change.
    Keep,
    /// Set it to this node, or clear it.
    Set(Option<Atom>),
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// An event to be written (`events.k8s.io/v1`).
#[derive(Clone, Debug)]
pub struct PodEvent {
    /// The pod that the event is about.
    pub regarding: Arc<Pod>,
    /// Another pod involved, if any.
    pub related: Option<Arc<Pod>>,
    /// Type.
    pub kind: EventType,
    /// Reason.
    pub reason: Cow<'static, str>,
    /// Action.
    pub action: Cow<'static, str>,
    /// Note, not truncated.
    pub note: String,
    /// Profile that reports it.
    pub profile: Atom,
}

/// Something that the shell has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Bind the pod, with its UID as precondition. Answered by [`Input::BindFinished`].
    Bind {
        /// The pod as of the attempt.
        pod: Arc<Pod>,
        /// The node.
        node: Atom,
        /// Annotations to be merged into the pod.
        annotations: BTreeMap<String, String>,
    },
    /// Bind the pod through a plugin's own write. Answered by [`Input::BindFinished`].
    BindBy {
        /// The pod.
        pod: Arc<Pod>,
        /// The write.
        write: ApiWrite,
    },
    /// Have the extender that binds such pods bind the pod. Answered by [`Input::BindFinished`].
    BindByExtender {
        /// The pod.
        pod: Arc<Pod>,
        /// The node.
        node: Atom,
    },
    /// Send writes in order before a pod is bound. Answered by [`Input::WriteFinished`].
    Write {
        /// The pod that the writes are for.
        pod: Uid,
        /// The writes.
        writes: Vec<ApiWrite>,
    },
    /// Read the pod: it is not known whether it is bound. Answered by [`Input::Verified`].
    Verify {
        /// The pod.
        pod: Arc<Pod>,
    },
    /// Read the current pods of the node: it is nearly full, others are binding pods too, and the watch lags. Answered by
    /// [`Input::NodeRead`], soon, because our pods wait for the answer before they are bound.
    ReadNode {
        /// The node.
        node: Atom,
    },
    /// Write the condition and the nomination to the pod's status. Not answered.
    PatchStatus {
        /// The pod as of the attempt.
        pod: Arc<Pod>,
        /// Condition, if it changed.
        condition: Option<ScheduledCondition>,
        /// Nomination.
        nomination: NominationPatch,
    },
    /// Write an event. Not answered, and never waited for.
    Event(PodEvent),
    /// Make room: mark the victim as disrupted and delete it. Answered by [`Input::EvictFinished`].
    Evict {
        /// The pod to evict.
        victim: Arc<Pod>,
        /// The pod that room is being made for.
        preemptor: Arc<Pod>,
        /// Profile of the pod that room is being made for.
        profile: Atom,
    },
    /// For metrics and log.
    Observed(Observation),
}

/// What happened, for metrics and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A pod was bound.
    Scheduled {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The node it was bound to.
        node: Atom,
        /// Profile.
        profile: Atom,
        /// Number of attempts.
        attempts: u32,
        /// Time since it first became ready to be tried.
        since_first_attempt: Duration,
        /// Time since it was last popped.
        since_popped: Duration,
        /// Whether it was retried only because it had waited too long, which means that an event must have been missed.
        after_flush: bool,
    },
    /// An attempt ended in a rejection.
    Unschedulable {
        /// Profile.
        profile: Atom,
    },
    /// An attempt failed.
    Error {
        /// Profile.
        profile: Atom,
    },
    /// A preemption was tried.
    Preemption {
        /// Number of victims; 0 if none were found.
        victims: usize,
        /// How many of them are protected by a PodDisruptionBudget.
        budget_violations: usize,
    },
    /// A preemption that evicts pods has finished.
    PreemptionCarriedOut {
        /// Time from the order to evict the first victim until the last one was answered, or until the pod got its room without
        /// it.
        took: Duration,
        /// Whether the eviction of every victim was ordered, except for one that had left by then, and none failed. Otherwise
        /// the last victim was spared.
        succeeded: bool,
    },
    /// A preemption was put off; reported once each time the reason comes up.
    PreemptionPutOff {
        /// `victims_came_back`, `room_taken` or `budget`.
        reason: &'static str,
    },
    /// A pod's wait on permit ended.
    PermitWait {
        /// How long it waited.
        waited: Duration,
        /// `allowed`, `rejected`, `timeout` or `preempted`.
        result: &'static str,
    },
    /// The API server refused a binding.
    BindRefused {
        /// HTTP status code.
        code: u16,
    },
    /// It is not known whether a binding was carried out.
    BindUnknown,
    /// A pod of ours was bound by another party, to a different node than we chose.
    BoundElsewhere,
    /// The pods of a node with little room were read before pods were bound there.
    NodeRead {
        /// `nothing_new`, `new_pods` (not yet shown by the watch) or `failed` (the pods are bound as if there had been no read).
        result: &'static str,
        /// Number of pods that are not bound there because they turned out not to fit; they are retried.
        averted: usize,
    },
    /// A pod waited before it was bound to a node, because others might have been about to fill it.
    Yielded {
        /// How long it waited.
        waited: Duration,
        /// `quiet` (that is over), `time_is_up` (it is not, and the pod is bound all the same), `room_taken`, or `preempted` (by a pod
        /// of ours).
        result: &'static str,
    },
    /// When the pod was about to be bound, its node had changed in a way that would make its kubelet reject the pod, or had left
    /// the pod's tenant: the pod is retried.
    NodeChanged {
        /// Profile.
        profile: Atom,
    },
    /// When the pod was about to be bound, its node no longer had room for it: the pod is retried.
    RoomTaken {
        /// Profile.
        profile: Atom,
        /// Whether a pod of another scheduler has come to the node since it was chosen; otherwise the node itself has shrunk, or
        /// pods that were there have grown.
        foreign: bool,
    },
}
