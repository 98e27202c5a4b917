//! Pods of ours that somebody else binds: noticed while this process leads, counted, and told to [`crate::rivals`], which finds out who.

use crate::rivals::Sightings;
use crate::write::Leading;
use secondmate_core::Scheduler;
use secondmate_core::port::{Input, PodWatch, Verified};
use secondmate_model::{Atom, Pod};
use secondmate_telemetry::Counter;

/// Looks at what comes in before the core takes it.
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

    /// Looks at an input. Before every list is in (`synced`) nobody knows who bound what.
    pub fn look(&mut self, input: &Input, core: &Scheduler, synced: bool) {
        if let Input::Pod(PodWatch::Assigned, pod) | Input::Verified(_, Verified::Found(pod)) = input {
            self.look_at(pod, core, synced);
        }
    }

    fn look_at(&mut self, pod: &Pod, core: &Scheduler, synced: bool) {
        let Some(node) = &pod.node_name else { return };
        // What is known to be there, or assumed to be, came there through us or has been counted.
        let known = core.cache().pod(&pod.uid).is_some_and(|known| known.node_name.as_ref() == Some(node));
        if known || !self.names.contains(&pod.scheduler_name) {
            return;
        }
        let waited = core.queue().get(&pod.uid).is_some();
        // To a standby, and for a while after it took over, it is the leader's work that it sees.
        if waited && synced && self.leading.is_settled() {
            self.count.inc();
            self.sightings.tell(pod.full_name(), node);
        }
    }
}
