//! Pods of ours that are bound by something else: noticed while this process leads, counted, and reported to [`crate::rivals`], which finds
//! out by whom.

use crate::rivals::Sightings;
use crate::write::Leading;
use secondmate_core::Scheduler;
use secondmate_core::port::{Input, PodWatch, Verified};
use secondmate_model::{Atom, Pod};
use secondmate_telemetry::Counter;

/// Looks at inputs before the core takes them.
pub(crate) struct OtherBinders {
    names: Vec<Atom>,
    leading: Leading,
    sightings: Sightings,
    count: Counter,
}

impl OtherBinders {
    pub fn new(names: Vec<Atom>, leading: Leading, sightings: Sightings, count: Counter) -> Self {
        Self { names, leading, sightings, count }
    }

    /// Looks at an input. Until all lists are complete (`synced`), it cannot be known who bound what.
    pub fn look(&mut self, input: &Input, core: &Scheduler, synced: bool) {
        if let Input::Pod(PodWatch::Assigned, pod) | Input::Verified(_, Verified::Found(pod)) = input {
            self.look_at(pod, core, synced);
        }
    }

    fn look_at(&mut self, pod: &Pod, core: &Scheduler, synced: bool) {
        let Some(node) = &pod.node_name else { return };
        // A pod that is known or assumed to be there was bound by us, or has already been counted.
        let known = core.cache().pod(&pod.uid).is_some_and(|known| known.node_name.as_ref() == Some(node));
        if known || !self.names.contains(&pod.scheduler_name) {
            return;
        }
        let waited = core.queue().get(&pod.uid).is_some();
        // A standby sees the leader's work, and so does a new leader for a while after taking over.
        if waited && synced && self.leading.is_settled() {
            self.count.inc();
            self.sightings.tell(pod.full_name(), node);
        }
    }
}
