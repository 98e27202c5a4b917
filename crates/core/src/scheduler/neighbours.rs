//! Other schedulers on the same nodes: they see our pods only when these are bound, so they may take the room that a pod of ours
//! waits to use. The room is looked at again when a pod of somebody else arrives, and once more just before the binding is sent.

use super::Scheduler;
use super::binding::Event;
use super::bindings::Binding;
use crate::port::{Effect, Observation};
use secondmate_framework::Status;
use secondmate_model::{Atom, NodeInfo, Timestamp};

impl Scheduler {
    /// Whether the pod can still be bound: the node is there and has room. If not, the status says why.
    pub(super) fn look_once_more(&mut self, binding: &Binding) -> Result<(), Status> {
        let Err((status, observation)) = self.can_be_bound(binding) else { return Ok(()) };
        self.effects.extend(observation.map(Effect::Observed));
        Err(status)
    }

    /// A pod that we did not place is on the node: pods of ours that have not been bound there yet give way where they do not
    /// fit any more, the least important first.
    pub(super) fn give_way(&mut self, node: &Atom, now: Timestamp) {
        for uid in self.bindings.held_for(node) {
            let Some(Err((status, observation))) = self.bindings.get(&uid).map(|b| self.can_be_bound(b))
            else {
                continue;
            };
            self.effects.extend(observation.map(Effect::Observed));
            self.binding_event(&uid, Event::NoRoom(status), now);
        }
    }

    fn can_be_bound(&self, binding: &Binding) -> Result<(), (Status, Option<Observation>)> {
        let node = binding.node.as_str();
        let Some(info) = self.cache.node_info(&binding.node) else {
            let message = format!("node {node:?} was deleted before the pod was bound to it");
            return Err((Status::error(message), None));
        };
        let Some(lacking) = lacking(binding, info) else { return Ok(()) };
        let foreign = info.pods().iter().any(|p| !self.profiles.contains_key(&p.scheduler_name));
        let message = if foreign {
            format!(
                "another scheduler took the room on node {node:?} before the pod was bound to it: not enough {lacking}"
            )
        } else {
            format!("node {node:?} lost the room for the pod before it was bound to it: not enough {lacking}")
        };
        let profile = binding.profile.name().clone();
        Err((Status::error(message), Some(Observation::RoomTaken { profile, foreign })))
    }
}

/// What the node, on which the pod counts already, has not enough of; only what a filter of the profile looks at.
fn lacking(binding: &Binding, info: &NodeInfo) -> Option<String> {
    let filters = |name: &str| binding.profile.filter.iter().any(|p| p.name.as_str() == name);
    if filters("NodeResourcesFit")
        && let Some(resource) = lacking_resource(binding, info)
    {
        return Some(resource);
    }
    if !filters("NodePorts") {
        return None;
    }
    let (pod, others) = (&binding.pod, info.pods().iter().filter(|p| p.uid != binding.pod.uid));
    let taken = others.flat_map(|p| p.host_ports.iter());
    let mut clashes = taken.filter(|port| pod.host_ports.iter().any(|own| own.conflicts(port)));
    clashes.next().map(|port| format!("host ports ({} {})", port.protocol, port.port))
}

fn lacking_resource(binding: &Binding, info: &NodeInfo) -> Option<String> {
    let (room, used, wants) = (&info.node().allocatable, info.requested(), &binding.pod.requests.filter);
    if i64::try_from(info.pods().len()).is_ok_and(|pods| pods > room.pods) {
        return Some("pods".to_owned());
    }
    let has = &room.resources;
    let native = [
        ("cpu", wants.milli_cpu, used.milli_cpu, has.milli_cpu),
        ("memory", wants.memory, used.memory, has.memory),
        ("ephemeral-storage", wants.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage),
    ];
    let over = native.iter().find(|(_, wants, used, has)| *wants > 0 && used > has);
    if let Some((name, ..)) = over {
        return Some((*name).to_owned());
    }
    let scalar =
        wants.scalars.iter().find(|(name, wants)| *wants > 0 && used.scalar(name) > has.scalar(name));
    scalar.map(|(name, _)| name.to_string())
}
