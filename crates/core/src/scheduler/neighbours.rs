//! Other schedulers on the same nodes: they see our pods only once these are bound, so they may take the room that a pod of ours
//! is waiting to use. The room is checked again when a pod that we did not place arrives, and once more just before the binding
//! is sent; if it is scarce, after the node's pods were read (see [`reads`](super::reads)). If the node's object has changed
//! meanwhile, the other things that a kubelet checks, such as labels and taints, are checked again too, and whether the node is
//! still one of the tenant's.

use super::binding::{Event, Room};
use super::bindings::Binding;
use super::{Scheduler, plain_context};
use crate::port::{Effect, Observation};
use secondmate_cycle::evaluation::{still_admitted, still_fits};
use secondmate_framework::{Code, Status};
use secondmate_model::{Atom, Pod, Timestamp};
use std::borrow::Cow;
use std::sync::Arc;

impl Scheduler {
    /// Whether the pod can still be bound: the node exists, and the profile's own filters still let the pod onto it. If not, the
    /// status says why.
    pub(super) fn look_once_more(&mut self, binding: &Binding, now: Timestamp) -> Result<Room, Status> {
        let Err((status, observation)) = self.can_be_bound(binding, now) else {
            return Ok(self.room(binding, now));
        };
        self.effects.extend(observation.map(Effect::Observed));
        Err(status)
    }

    /// A pod that we did not place is on the node: our pods that have not been bound there yet give way if they no longer fit,
    /// the least important first.
    pub(super) fn give_way(&mut self, node: &Atom, now: Timestamp) {
        for uid in self.bindings.held_for(node) {
            let Some(Err((status, observation))) =
                self.bindings.get(&uid).map(|binding| self.can_be_bound(binding, now))
            else {
                continue;
            };
            self.effects.extend(observation.map(Effect::Observed));
            self.binding_event(&uid, Event::NoRoom(status), now);
        }
    }

    fn can_be_bound(&self, binding: &Binding, now: Timestamp) -> Result<(), (Status, Option<Observation>)> {
        let node = binding.node.as_str();
        let Some(info) = self.cache.node_info(&binding.node) else {
            let message = format!("node {node:?} was deleted before the pod was bound to it");
            return Err((Status::error(message), None));
        };
        // If nothing else came meanwhile, this is the node as it was when it was chosen.
        let chosen = self.snapshot.node(&binding.node);
        let chosen = chosen.filter(|chosen| info.is_with_pod(chosen, &binding.pod.uid));
        let without = match chosen {
            Some(chosen) => Cow::Borrowed(&**chosen),
            None => Cow::Owned(info.without_pod(&binding.pod.uid)),
        };
        let cx = plain_context(&self.snapshot, &self.nominator, now);
        let status = still_fits(&binding.profile, &cx, &binding.state, &binding.pod, &without);
        if status.is_success() {
            let unchanged = binding.chosen.as_ref().is_some_and(|chosen| Arc::ptr_eq(chosen, info.node()));
            if unchanged {
                return Ok(());
            }
            let status = still_admitted(&binding.profile, &cx, &binding.state, &binding.pod, &without);
            return if status.is_success() { Ok(()) } else { Err(node_changed(binding, &status)) };
        }
        if status.code() == Code::Error {
            return Err((status, None));
        }
        let why = status.message();
        let has_come =
            |pod: &Pod| self.cache.arrival(&pod.uid).is_some_and(|arrival| arrival > binding.chosen_at);
        let foreign =
            info.pods().iter().any(|p| !self.profiles.contains_key(&p.scheduler_name) && has_come(p));
        let message = if foreign {
            format!("another scheduler took the room on node {node:?} before the pod was bound to it: {why}")
        } else {
            format!("node {node:?} lost the room for the pod before it was bound to it: {why}")
        };
        let profile = binding.profile.name().clone();
        Err((Status::error(message), Some(Observation::RoomTaken { profile, foreign })))
    }
}

/// The node's object has changed since it was chosen, and the pod no longer belongs there.
fn node_changed(binding: &Binding, status: &Status) -> (Status, Option<Observation>) {
    if status.code() == Code::Error {
        return (status.clone(), None);
    }
    let (node, why) = (binding.node.as_str(), status.message());
    let message = format!("node {node:?} changed before the pod was bound to it: {why}");
    let profile = binding.profile.name().clone();
    (Status::error(message), Some(Observation::NodeChanged { profile }))
}
