//! What the machine orders.

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
    /// The status says it in full.
    Told(Status),
    /// This plugin kept the pod waiting on permit for too long.
    TimedOut { plugin: Atom, waited: Duration },
    /// A PreBind plugin failed, or was made to.
    PreBind { plugin: usize, status: Status },
    /// The pod was not bound.
    Bind(String),
}

impl Cause {
    /// The code that its status has.
    pub fn code(&self) -> Code {
        match self {
            Self::Told(status) => status.code(),
            Self::TimedOut { .. } => Code::Unschedulable,
            Self::PreBind { status, .. } if status.is_rejected() => status.code(),
            Self::PreBind { .. } | Self::Bind(_) => Code::Error,
        }
    }

    /// Whether its status is a rejection, not an error.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Told(status) | Self::PreBind { status, .. } => status.is_rejected(),
            Self::TimedOut { .. } => true,
            Self::Bind(_) => false,
        }
    }
}

/// What has to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Action {
    /// An extension point begins, for the probe.
    BeginPoint(Point),
    /// The extension point that was begun has ended, for the probe.
    EndPoint(Code),
    /// For the metrics.
    Observe(Observation),
    /// Keep no more events for the pod.
    StopEvents,
    /// Send a PreBind plugin's writes.
    Write(Vec<ApiWrite>),
    /// Send the binding.
    Send(BindCall),
    /// Look at the pod.
    Look,
    /// Read the node's pods.
    ReadNode,
    /// The pod is bound: tell the PostBind plugins, the owner and the metrics, and take it out of the queue.
    Placed,
    /// Forget the pod in the cache.
    FreeRoom,
    /// Tell the waiting pods that room has become free; not the pod itself where it was rejected.
    AnnounceRoom { but_itself: bool },
    /// Undo Reserve.
    Unreserve,
    /// Put the pod back into the queue. One that was rejected on permit waits for the events that its plugin has asked for; after
    /// that no events have been kept for it, so it is tried again after a backoff.
    Retry { cause: Cause, on_permit: bool },
    /// The pod is gone, or about to be: put it aside.
    Park,
    /// Take what a look showed for the assigned watch's word.
    TakeAsAssigned(Arc<Pod>),
}

/// The call that binds a pod.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum BindCall {
    /// A Binding, with annotations for the pod.
    Binding(BTreeMap<String, String>),
    /// A plugin's own write.
    Write(ApiWrite),
    /// A call of the extender that binds.
    Extender,
}
