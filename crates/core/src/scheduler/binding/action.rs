//! The actions that the machine requests.

use crate::port::Observation;
use secondmate_cycle::probe::Point;
use secondmate_framework::{ApiWrite, Code, Status};
use secondmate_model::{Atom, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why a binding is given up.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Cause {
    /// The status itself is the complete message.
    Told(Status),
    /// This plugin made the pod wait on permit for too long.
    TimedOut { plugin: Atom, waited: Duration },
    /// A PreBind plugin failed, or had to give up.
    PreBind { plugin: usize, status: Status },
    /// The pod was not bound.
    Bind(String),
}

impl Cause {
    /// The code of its status.
    pub fn code(&self) -> Code {
        match self {
            Self::Told(status) => status.code(),
            Self::TimedOut { .. } => Code::Unschedulable,
            Self::PreBind { status, .. } if status.is_rejected() => status.code(),
            Self::PreBind { .. } | Self::Bind(_) => Code::Error,
        }
    }

    /// Whether its status is a rejection rather than an error.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Told(status) | Self::PreBind { status, .. } => status.is_rejected(),
            Self::TimedOut { .. } => true,
            Self::Bind(_) => false,
        }
    }
}

/// What has to be done, in the given order.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Action {
    /// An extension point begins, for the probe.
    BeginPoint(Point),
    /// The running extension point has ended, for the probe.
    EndPoint(Code),
    /// For the metrics.
    Observe(Observation),
    /// Stop keeping events for the pod.
    StopEvents,
    /// Send a PreBind plugin's writes.
    Write(Vec<ApiWrite>),
    /// Send the binding.
    Send(BindCall),
    /// Look at the pod.
    Look,
    /// Read the node's pods.
    ReadNode,
    /// The pod is bound: notify the PostBind plugins, the owner and the metrics, and remove it from the queue.
    Placed,
    /// Forget the pod in the cache.
    FreeRoom,
    /// Notify the waiting pods that room has become free; if the pod was rejected, it is not notified itself.
    AnnounceRoom { but_itself: bool },
    /// Undo Reserve.
    Unreserve,
    /// Put the pod back into the queue. A pod that was rejected on permit waits for the events that its plugin registered; later,
    /// no events have been kept for it, so it is retried after a backoff.
    Retry { cause: Cause, on_permit: bool },
    /// The pod is gone or about to be: put it aside.
    Park,
    /// Treat the result of a look as if the assigned watch had shown it.
    TakeAsAssigned(Arc<Pod>),
}

/// The call that binds a pod.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum BindCall {
    /// A Binding, with annotations for the pod.
    Binding(BTreeMap<String, String>),
    /// A plugin's own write.
    Write(ApiWrite),
    /// A call to the extender that binds such pods.
    Extender,
}
