//! What goes into the core and what comes out: inputs and effects.

use secondmate_framework::ApiWrite;
use secondmate_model::objects::{Object, ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, Pod, Uid};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a watched pod is. The core does not rely on an order between them, though the shell keeps the one of the API server: its
/// decisions are better for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodWatch {
    /// Pods of our names without a node.
    Pending,
    /// Pods of all schedulers on nodes, but those that have ended.
    Assigned,
    /// Pods of other schedulers that are nominated to a node and not bound yet.
    ForeignNominated,
}

/// Something that the core is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A watch shows a pod: new or changed.
    Pod(PodWatch, Arc<Pod>),
    /// A pod left a watch: deleted, or it does not match the watch's selector any more.
    PodGone(PodWatch, Uid),
    /// A node is new or changed.
    Node(Arc<Node>),
    /// A node was deleted.
    NodeGone(Atom),
    /// Another object is new or changed.
    Object(Object),
    /// Another object was deleted.
    ObjectGone(ObjectKind, ObjectName),
    /// The node's kubelet rejected a pod after it was bound, for want of room: it has failed before it began.
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
        /// The pods that are bound to it and have not ended, whoever bound them; or why they could not be read.
        pods: Result<Vec<Arc<Pod>>, String>,
    },
    /// Answer to [`Effect::Evict`].
    EvictFinished {
        /// The pod for which room is made.
        preemptor: Uid,
        /// The pod that is evicted.
        victim: Uid,
        /// What became of it.
        result: Result<Evicted, String>,
    },
}

impl Input {
    /// Whether it comes from a watch; otherwise it answers an effect.
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
    /// There was nothing to delete: it had gone by itself.
    Gone,
}

/// How a binding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The API server accepted the binding.
    Bound,
    /// The API server refused the binding: this call did not bind the pod.
    Refused {
        /// HTTP status.
        code: u16,
        /// Its message.
        message: String,
    },
    /// The outcome is unknown: the binding may or may not have been carried out.
    Unknown {
        /// What happened.
        message: String,
    },
    /// An extender was asked to bind the pod and did not, or did not answer: only the pod itself tells whether it is bound.
    ExtenderFailed {
        /// What happened.
        message: String,
        /// The extender may be ignored: where the pod is not bound, Bind plugins are asked.
        ignorable: bool,
    },
    /// The binding was never sent: the process lost its leadership, or is shutting down.
    NotSent,
}

/// What a look at a pod showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Verified {
    /// The pod as it is.
    Found(Arc<Pod>),
    /// There is no pod of that name, or another UID has it.
    Gone,
    /// The look failed; the core asks again later.
    Failed(String),
}

/// A condition of type `PodScheduled` to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledCondition {
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// Text, not shortened.
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
    /// Text, not shortened.
    pub note: String,
    /// Profile that reports it.
    pub profile: Atom,
}

/// Something that the shell is asked to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Bind the pod, with its UID as precondition. Answered by [`Input::BindFinished`].
    Bind {
        /// The pod as it was tried.
        pod: Arc<Pod>,
        /// The node.
        node: Atom,
        /// Annotations to be merged into the pod.
        annotations: BTreeMap<String, String>,
    },
    /// Bind the pod by a plugin's own write. Answered by [`Input::BindFinished`].
    BindBy {
        /// The pod.
        pod: Arc<Pod>,
        /// The write.
        write: ApiWrite,
    },
    /// Have the pod bound by the extender that binds. Answered by [`Input::BindFinished`].
    BindByExtender {
        /// The pod.
        pod: Arc<Pod>,
        /// The node.
        node: Atom,
    },
    /// Send writes in order, before a pod is bound. Answered by [`Input::WriteFinished`].
    Write {
        /// The pod for which they are made.
        pod: Uid,
        /// The writes.
        writes: Vec<ApiWrite>,
    },
    /// Look at the pod: it is not known whether it is bound. Answered by [`Input::Verified`].
    Verify {
        /// The pod.
        pod: Arc<Pod>,
    },
    /// Read the pods of the node as they are now: it is nearly full, others bind pods too, and the watch is late. Answered by
    /// [`Input::NodeRead`], soon: pods of ours wait for it before they are bound.
    ReadNode {
        /// The node.
        node: Atom,
    },
    /// Write the condition and the nomination into the pod's status. Not answered.
    PatchStatus {
        /// The pod as it was tried.
        pod: Arc<Pod>,
        /// Condition, where it changed.
        condition: Option<ScheduledCondition>,
        /// Nomination.
        nomination: NominationPatch,
    },
    /// Write an event. Not answered, and never waited for.
    Event(PodEvent),
    /// Make room: mark the victim as disrupted and delete it. Answered by [`Input::EvictFinished`].
    Evict {
        /// The pod that is evicted.
        victim: Arc<Pod>,
        /// The pod for which room is made.
        preemptor: Arc<Pod>,
        /// Profile of the pod for which room is made.
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
        /// Where it is.
        node: Atom,
        /// Profile.
        profile: Atom,
        /// Attempts that it took.
        attempts: u32,
        /// Since it first became ready to be tried.
        since_first_attempt: Duration,
        /// Since it was popped for the last time.
        since_popped: Duration,
        /// Whether it was tried again only because it had waited too long, so that an event must have been missed.
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
        /// Victims; 0 where it found none.
        victims: usize,
        /// How many of them a PodDisruptionBudget protects.
        budget_violations: usize,
    },
    /// A preemption that evicts pods has ended.
    PreemptionCarriedOut {
        /// From the order to evict the first victim to the answer about the last one, or until the pod has its room without it.
        took: Duration,
        /// Whether the eviction of every victim was ordered and none failed. Otherwise the last one was spared.
        succeeded: bool,
    },
    /// A preemption was put off, told once for each time that the reason comes up.
    PreemptionPutOff {
        /// `victims_came_back`, `room_taken` or `budget`.
        reason: &'static str,
    },
    /// A pod went on after it had waited on permit.
    PermitWait {
        /// How long.
        waited: Duration,
        /// `allowed`, `rejected`, `timeout` or `preempted`.
        result: &'static str,
    },
    /// The API server refused a binding.
    BindRefused {
        /// HTTP status.
        code: u16,
    },
    /// It is not known whether a binding was carried out.
    BindUnknown,
    /// A pod of ours was bound by somebody else, to a node other than the one that we chose.
    BoundElsewhere,
    /// The pods of a node that is nearly full were read before pods were bound there.
    NodeRead {
        /// `nothing_new`, `new_pods` (the watch had not shown them) or `failed` (the pods are bound as without the read).
        result: &'static str,
        /// Pods that are not bound there, since it was found that they do not fit: they are tried again.
        averted: usize,
    },
    /// A pod has waited before it was bound to a node that is nearly full, since others were binding pods there.
    Yielded {
        /// For how long.
        waited: Duration,
        /// `quiet` (the others had done), `time_is_up` (the pod is bound although they have not) or `room_taken`.
        result: &'static str,
    },
    /// The node had changed when the pod was about to be bound, so that its kubelet would reject the pod: the pod is tried again.
    NodeChanged {
        /// Profile.
        profile: Atom,
    },
    /// The node no longer had room for the pod when it was about to be bound: the pod is tried again.
    RoomTaken {
        /// Profile.
        profile: Atom,
        /// Whether a pod of another scheduler is on the node; otherwise the node itself shrank.
        foreign: bool,
    },
}
