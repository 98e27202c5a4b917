//! What can happen to a binding.

use crate::port::BindOutcome;
use secondmate_framework::Status;
use secondmate_model::{Atom, Pod, Timestamp};
use std::sync::Arc;

/// Something that happens to a binding.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Event {
    /// A plugin no longer makes the pod wait on permit.
    Allowed(Atom),
    /// A plugin rejects the pod, which waits on permit.
    Rejected(Status),
    /// The pod is a victim of this plugin's preemption.
    Preempted(Atom),
    /// The room on the node is gone.
    NoRoom(Status),
    /// An object changed that the waiting PreBind plugin may be waiting for.
    ObjectChanged,
    /// Time has passed.
    Due,
    /// The writes of a PreBind plugin succeeded or failed.
    Written(Result<(), String>),
    /// The answer to the binding.
    Answered(BindOutcome),
    /// The result of a look at the pod.
    Looked(Sight),
    /// The node's pods were read, as requested at that time, and anything new has been applied; or the read failed.
    NodeRead { requested: Timestamp },
    /// The assigned watch shows the pod: here, or on another node.
    Seen { here: bool },
    /// The assigned watch shows that the pod is gone, and has not shown it on its node: it may have been there, or it was deleted
    /// before it was bound.
    Ended,
    /// The pod is being deleted.
    Deleted,
    /// The pending watch no longer shows the pod: it was bound or deleted.
    LeftPending,
}

/// The result of a look at a pod.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Sight {
    /// The look failed.
    Failed,
    /// There is no such pod.
    Gone,
    /// It is on the chosen node.
    Here(Arc<Pod>),
    /// It is on another node.
    Elsewhere(Arc<Pod>),
    /// It is on no node.
    Unbound,
}
