//! The traits, one for each extension point. Guests have no PreEnqueue, no QueueSort and no queueing hints.

use crate::cycle::Cycle;
use crate::events::ClusterEvent;
use crate::objects::Pod;
use crate::status::Status;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Names the events that may help pods that the plugin rejected. Without it, any event does.
pub trait Enqueue {
    /// The events.
    fn events() -> Vec<ClusterEvent>;
}

/// Once per cycle, before the filters.
pub trait PreFilter {
    /// Prepares, or rejects the pod as a whole. The names are the only nodes worth looking at; `None` means all.
    fn pre_filter(&mut self, cycle: &Cycle) -> (Option<Vec<String>>, Status);
}

/// Says what the plugin's verdicts and scores follow from, so that secondmate keeps them from one pod to the next, and asks again only about
/// nodes that changed. Other hosts do not ask.
pub trait Reading {
    /// A key: for pods with the same key, Filter and Score say the same of a node as long as that node and the pods on it stay the same,
    /// whatever else happens in the cluster, and neither they nor PreScore look at the other nodes. `None` where that cannot be promised for
    /// the pod.
    ///
    /// At most 4096 bytes. Asked after PreFilter.
    fn reading(&mut self, cycle: &Cycle) -> Option<Vec<u8>>;
}

/// Once per node.
pub trait Filter {
    /// Whether the pod may run on the node.
    fn filter(&mut self, cycle: &Cycle, node: &str) -> Status;

    /// Another pod is added to the node, to see whether this one would fit then.
    fn add_pod(&mut self, _cycle: &Cycle, _added: &Pod, _node: &str) -> Status {
        Status::success()
    }

    /// Another pod is taken away from the node, to see whether this one would fit then.
    fn remove_pod(&mut self, _cycle: &Cycle, _removed: &Pod, _node: &str) -> Status {
        Status::success()
    }
}

/// Where no node passed the filters.
pub trait PostFilter {
    /// Tries to make the pod schedulable. `Some` overrides the pod's nomination: with a node, or with none where it is empty.
    /// `statuses` has the status codes of the nodes that were looked at.
    fn post_filter(&mut self, cycle: &Cycle, statuses: &[(String, i32)]) -> (Option<String>, Status);
}

/// Once per cycle, before scoring.
pub trait PreScore {
    /// Prepares what the score needs. The nodes that passed the filters are [`Cycle::feasible_nodes`].
    fn pre_score(&mut self, cycle: &Cycle) -> Status;
}

/// Once per feasible node. secondmate has all nodes scored by one call into the guest.
pub trait Score {
    /// The score of the node, 0 to 100 unless the plugin normalises.
    ///
    /// # Errors
    /// A status that fails the whole attempt.
    fn score(&mut self, cycle: &Cycle, node: &str) -> Result<i32, Status>;
}

/// Brings the scores into the range from 0 to 100.
pub trait NormalizeScore {
    /// Changes the scores, each with its node.
    fn normalize(&mut self, cycle: &Cycle, scores: &mut [(String, i64)]) -> Status;
}

/// Keeps books when a node is chosen, and undoes it where the attempt fails later.
pub trait Reserve {
    /// The pod is going to this node.
    fn reserve(&mut self, cycle: &Cycle, node: &str) -> Status;
    /// It is not, after all.
    fn unreserve(&mut self, cycle: &Cycle, node: &str);
}

/// Delays or prevents the binding.
pub trait Permit {
    /// Success, a rejection, or `Wait` with the longest wait.
    fn permit(&mut self, cycle: &Cycle, node: &str) -> (Status, Duration);
}

/// Before the pod is bound.
pub trait PreBind {
    /// Success, or the binding fails.
    fn pre_bind(&mut self, cycle: &Cycle, node: &str) -> Status;
}

/// Decides about the binding itself. A guest cannot bind: where it succeeds, secondmate binds the pod.
pub trait Bind {
    /// Success, `Skip`, or the binding fails.
    fn bind(&mut self, cycle: &Cycle, node: &str) -> Status;
}

/// Told when a pod was bound.
pub trait PostBind {
    /// For information only.
    fn post_bind(&mut self, cycle: &Cycle, node: &str);
}
