//! What each input does.

use super::Scheduler;
use super::binding::{Event, Sent, Stage};
use crate::cache::Added;
use crate::changes;
use crate::port::{BindOutcome, Input, PodWatch, Verified};
use secondmate_framework::{ActionType, ClusterEvent, EventObject, EventResource, ObjectChange};
use secondmate_model::objects::{Object, ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, Pod, Timestamp, Uid};
use std::sync::Arc;

/// The input with amounts clamped to the bound.
fn bounded(input: Input) -> Input {
    match input {
        Input::Pod(watch, pod) => Input::Pod(watch, pod.bounded()),
        Input::Node(node) => Input::Node(node.bounded()),
        Input::Verified(uid, Verified::Found(pod)) => Input::Verified(uid, Verified::Found(pod.bounded())),
        Input::NodeRead { node, pods: Ok(pods) } => {
            Input::NodeRead { node, pods: Ok(pods.into_iter().map(|pod| pod.bounded()).collect()) }
        }
        other => other,
    }
}

impl Scheduler {
    /// Applies one input.
    pub fn apply(&mut self, input: Input, now: Timestamp) {
        self.handled.clear();
        let watched = input.is_watched();
        let began = self.probe.now();
        let input = if self.bounds_amounts { bounded(input) } else { input };
        self.audit_input(&input);
        self.take(input, now);
        self.audit_effects();
        if watched && !self.handled.is_empty() {
            let took = self.probe.now().since(began);
            for event in &self.handled {
                self.probe.event_handled(event, took);
            }
        }
    }

    /// Records for the probe that the current input is this event. An update can be several events; each is charged the whole
    /// time.
    fn note_event(&mut self, label: &'static str) {
        self.handled.push(label);
    }

    /// Records a pod update as upstream counts it: once under the general label and once under each specific one.
    fn note_pod_update(&mut self, general: &'static str, events: &[ClusterEvent]) {
        self.handled.push(general);
        self.handled.extend(events.iter().map(|e| e.label).filter(|label| *label != general));
    }

    fn take(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Pod(PodWatch::Pending, pod) => self.pending(pod, now),
            Input::Pod(PodWatch::Assigned, pod) => {
                self.reads.shown(&pod.uid);
                if pod.terminal {
                    self.left_node(&pod.uid, pod.node_name.as_ref(), now);
                } else {
                    self.assigned(pod, now);
                }
            }
            Input::Pod(PodWatch::ForeignNominated, pod) => self.foreign_nominated(&pod, now),
            Input::Pod(PodWatch::ForeignWaiting, pod) => self.foreign_waiting(&pod, now),
            Input::PodGone(PodWatch::Pending, uid) => self.pending_gone(&uid, now),
            Input::PodGone(PodWatch::Assigned, uid) => {
                self.reads.shown(&uid);
                self.assigned_gone(&uid, now);
            }
            Input::PodGone(PodWatch::ForeignNominated, uid) => self.foreign_gone(&uid, now),
            Input::PodGone(PodWatch::ForeignWaiting, uid) => self.others_waiting.waits_no_more(&uid),
            Input::Node(node) => self.node(node, now),
            Input::NodeGone(name) => self.node_gone(&name, now),
            Input::Object(object) => self.object(object, now),
            Input::ObjectGone(kind, name) => self.object_gone(kind, &name, now),
            Input::BindFinished(uid, outcome) => self.bind_finished(&uid, outcome, now),
            Input::WriteFinished(uid, result) => self.binding_event(&uid, Event::Written(result), now),
            Input::Verified(uid, verified) => self.verified(&uid, verified, now),
            Input::NodeRead { node, pods } => self.node_read(&node, pods, now),
            Input::PodRejected(uid) => {
                // It is bound, whatever the answer and the other watches are about to say.
                if let Some(binding) = self.bindings.get(&uid) {
                    self.loops.bound(&binding.pod, Some(&binding.node), now);
                }
                self.loops.rejected(&uid, now);
            }
            Input::EvictFinished { preemptor, victim, result } => {
                self.evict_finished(&preemptor, &victim, &result, now);
            }
        }
    }

    pub(super) fn pending(&mut self, pod: Arc<Pod>, now: Timestamp) {
        if pod.node_name.is_some() {
            self.assigned(pod, now);
            return;
        }
        // Seen on a node, now or earlier, or bound by us: this is stale information, whatever the order.
        if self.lingering.update(&pod) || !self.profiles.contains_key(&pod.scheduler_name) || pod.terminal {
            return;
        }
        if self.cache.is_added(&pod.uid) {
            // A stale list may make the assigned watch lose it before this watch does.
            let uid = pod.uid.clone();
            self.lingering.insert(pod);
            self.lingering.seen(&uid);
            return;
        }
        let on_its_way = self.bindings.contains(&pod.uid);
        let Some(entry) = self.queue.get(&pod.uid) else {
            if on_its_way {
                // A stale list made this watch lose the pod, and now it has found it again. The pod may have been seen on its
                // node, and have finished, before the binding is answered. If only its end was shown, that may have been because of
                // the same list, and the answer tells.
                let uid = pod.uid.clone();
                self.lingering.insert(pod);
                if matches!(self.bindings.stage(&uid), Some(Stage::Sent(Sent::Seen))) {
                    self.lingering.seen(&uid);
                }
            } else {
                self.note_event(changes::UNSCHEDULED_POD_ADD);
                // Before the PreEnqueue plugins are asked, and regardless of their answers.
                if let Some(node) = &pod.nominated_node_name
                    && !pod.deleting
                {
                    self.nominator.set(&pod, node);
                }
                let (queue, cx) = self.queue_at(now);
                queue.add(pod, cx);
            }
            return;
        };
        let old = Arc::clone(&entry.queued.pod);
        if !old.resource_version.is_empty() && old.resource_version == pod.resource_version {
            return;
        }
        let handled = changes::pod_events(&old, &pod, EventResource::UnscheduledPod);
        self.note_pod_update(changes::UNSCHEDULED_POD_UPDATE, &handled);
        let events = changes::pod_events(&old, &pod, EventResource::TargetPod);
        let (queue, cx) = self.queue_at(now);
        queue.update(&pod, &events, cx);
        if on_its_way {
            if pod.deleting && !old.deleting {
                self.binding_event(&pod.uid, Event::Deleted, now);
            }
        } else if pod.deleting {
            if !old.deleting {
                self.wants_no_room(&pod.uid, now);
            }
        } else if self.asked.is_late(&pod, now)
            || (old.nominated_node_name.is_none() && pod.nominated_node_name.is_none())
        {
            // A write that we have requested counts, even if the status does not show it yet.
            if let Some(node) = self.nominator.node_of(&pod.uid).cloned() {
                self.nominator.set(&pod, &node);
            }
        } else {
            match &pod.nominated_node_name {
                Some(node) => self.nominator.set(&pod, node),
                None => {
                    self.nominator.remove(&pod.uid);
                }
            }
            if old.nominated_node_name.is_some() && old.nominated_node_name != pod.nominated_node_name {
                self.announce_nomination_gone(&old, now);
            }
        }
    }

    /// A pod that waits is being deleted. It may not go for long, if a finalizer keeps it, but it will never use the room that was
    /// promised to it or is being made for it.
    fn wants_no_room(&mut self, uid: &Uid, now: Timestamp) {
        if let Some(nominated) = self.take_nomination(uid) {
            self.announce_nomination_gone(&nominated, now);
        }
        self.preempts_no_more(uid, now);
        let (queue, cx) = self.queue_at(now);
        queue.ungate(uid, false, cx);
    }

    /// Ends a pod's nomination; returns the pod with the nomination, which its status may not show yet: plugins go by that when
    /// they are asked whether room became free.
    fn take_nomination(&mut self, uid: &Uid) -> Option<Arc<Pod>> {
        let mut pod = self.nominator.pod(uid).cloned()?;
        let node = self.nominator.remove(uid);
        if pod.nominated_node_name != node {
            Arc::make_mut(&mut pod).nominated_node_name = node;
        }
        Some(pod)
    }

    fn pending_gone(&mut self, uid: &Uid, now: Timestamp) {
        self.note_event(changes::UNSCHEDULED_POD_DELETE);
        // If its binding has been sent, it is bound rather than gone.
        let binds = self.queue.get(uid).filter(|_| self.is_sent(uid));
        match binds.map(|entry| Arc::clone(&entry.queued.pod)) {
            Some(pod) => self.bound_after_preempting(&pod, now),
            None => self.preempts_no_more(uid, now),
        }
        self.lingering.gone(uid);
        self.binding_event(uid, Event::LeftPending, now);
        // Neither a binding in progress nor its answer needs the entry.
        let entry = self.queue.remove(uid);
        let nominated = self.take_nomination(uid);
        // Also if the nomination was cleared a moment ago and the pod's status does not show that yet, since upstream goes by the
        // status.
        let was_free = !self.bindings.contains(uid) && !self.cache.is_added(uid);
        let shown =
            entry.map(|entry| entry.queued.pod).filter(|pod| was_free && pod.nominated_node_name.is_some());
        if let Some(nominated) = nominated.or(shown) {
            self.announce_nomination_gone(&nominated, now);
        }
    }

    pub(super) fn assigned(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let Some(node) = pod.node_name.clone() else { return };
        self.was_on_a_node(&pod.uid);
        self.others_waiting.waits_no_more(&pod.uid);
        self.binding_seen(&pod, now);
        if !self.bindings.contains(&pod.uid) {
            self.queue.remove(&pod.uid);
        }
        self.promise_ends(&pod, &node, now);
        self.bound_after_preempting(&pod, now);
        let old = self.cache.pod(&pod.uid).cloned();
        if pod.deleting && old.as_ref().is_some_and(|old| !old.deleting) {
            self.budgets.disrupted(self.snapshot.objects(), &pod, now);
        }
        let new = Some(EventObject::Pod(Arc::clone(&pod)));
        let added = self.cache.add(Arc::clone(&pod));
        if added != Added::Updated {
            self.loops.arrived(&pod, &node, self.is_foreign(&pod));
        }
        if matches!(added, Added::New | Added::Elsewhere) {
            self.reads.others_bound(&node, now);
            // One that was created on its node does not have the condition yet.
            let was_bound = pod.scheduled_condition.as_ref().is_some_and(|c| &*c.status == "True");
            if was_bound && self.is_foreign(&pod) {
                self.others_waiting.bound(&pod.scheduler_name, now);
            }
        }
        match (added, old) {
            (Added::Updated, Some(old)) => {
                let change = ObjectChange { old: Some(EventObject::Pod(Arc::clone(&old))), new };
                let events = changes::pod_events(&old, &pod, EventResource::AssignedPod);
                self.note_pod_update(changes::ASSIGNED_POD_UPDATE, &events);
                for event in events {
                    self.announce(&event, &change, None, now);
                }
            }
            _ => {
                let change = ObjectChange { old: None, new };
                self.note_event(changes::ASSIGNED_POD_ADD.label);
                self.announce(&changes::ASSIGNED_POD_ADD, &change, None, now);
            }
        }
        if pod.deleting {
            self.victim_leaving(&pod.uid, now);
        }
        if added != Added::Confirmed {
            self.give_way(&node, now);
        }
        self.ask_waiting(EventResource::AssignedPod, now);
    }

    /// The pod was seen on a node: whatever becomes of its binding, it is never queued again.
    pub(super) fn was_on_a_node(&mut self, uid: &Uid) {
        if let Some(entry) = self.queue.get(uid) {
            self.lingering.insert(Arc::clone(&entry.queued.pod));
        }
        self.lingering.seen(uid);
    }

    pub(super) fn assigned_gone(&mut self, uid: &Uid, now: Timestamp) {
        self.left_node(uid, None, now);
    }

    /// A pod is no longer on its node: on this one, if a node is given.
    fn left_node(&mut self, uid: &Uid, node: Option<&Atom>, now: Timestamp) {
        if !self.cache.is_added(uid) {
            self.ended_unseen(uid, node, now);
            return;
        }
        let Ok(pod) = self.cache.remove(uid) else { return };
        self.note_event(changes::ASSIGNED_POD_DELETE.label);
        if !pod.deleting {
            self.budgets.disrupted(self.snapshot.objects(), &pod, now);
        }
        self.victim_leaving(uid, now);
        self.announce_pod_gone(&pod, None, now);
        self.last_victim_gone(uid, now);
        self.ask_waiting(EventResource::AssignedPod, now);
    }

    /// The watch shows the end of a pod that it has not shown before. If the pod was being bound, it may have been on its node, so
    /// no look that was requested earlier may bring it back. Whether it was there is certain only if its end names the node: the
    /// shell also reports pods in this way that were deleted before they were bound.
    fn ended_unseen(&mut self, uid: &Uid, node: Option<&Atom>, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid).filter(|_| self.is_sent(uid)) else { return };
        let event = node.map_or(Event::Ended, |node| Event::Seen { here: *node == binding.node });
        let (pod, node) = (Arc::clone(&binding.pod), node.unwrap_or(&binding.node).clone());
        self.was_on_a_node(uid);
        self.binding_event(uid, event, now);
        // Neither a binding in progress nor its answer needs the entry.
        self.queue.remove(uid);
        // Its kubelet may have rejected it.
        self.loops.bound(&pod, Some(&node), now);
        self.preempts_no_more(uid, now);
        self.victim_leaving(uid, now);
        if let Ok(Some(pod)) = self.cache.forget(uid) {
            self.note_event(changes::ASSIGNED_POD_DELETE.label);
            self.announce_pod_gone(&pod, None, now);
        }
        // Its room may have been freed, and that announced, while the pods whose last victim it was were held back.
        self.last_victim_gone(uid, now);
    }

    /// The answer to a binding. If only the end of the pod has been shown, it may have been on its node unless the answer says that
    /// it was not bound: then it is never queued again.
    fn bind_finished(&mut self, uid: &Uid, outcome: BindOutcome, now: Timestamp) {
        let has_ended = matches!(self.bindings.stage(uid), Some(Stage::Sent(Sent::Ended)));
        if has_ended && outcome.may_be_bound() {
            self.lingering.seen(uid);
        }
        self.binding_event(uid, Event::Answered(outcome), now);
    }

    /// Whether a binding of the pod has been sent, which may yet bind it or already has.
    pub(super) fn is_sent(&self, uid: &Uid) -> bool {
        matches!(self.bindings.stage(uid), Some(Stage::Sent(_)))
    }

    fn is_foreign(&self, pod: &Pod) -> bool {
        !self.profiles.contains_key(&pod.scheduler_name)
    }

    fn foreign_waiting(&mut self, pod: &Pod, now: Timestamp) {
        if self.is_foreign(pod) && !self.cache.is_added(&pod.uid) {
            self.others_waiting.waits(pod, now);
        }
    }

    fn foreign_nominated(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        if !self.is_foreign(pod) || self.cache.is_added(&pod.uid) {
            return;
        }
        match &pod.nominated_node_name {
            Some(node) if pod.node_name.is_none() && !pod.terminal => {
                let before = self.nominator.pod(&pod.uid).cloned();
                let moved = self.nominator.node_of(&pod.uid).is_some_and(|old| old != node);
                self.nominator.set(pod, node);
                if let Some(before) = before.filter(|_| moved) {
                    self.announce_nomination_gone(&before, now);
                }
            }
            _ => self.foreign_gone(&pod.uid, now),
        }
    }

    /// The pod is on a node. If a different node was promised to it and it belongs to another scheduler, room becomes free there,
    /// which nothing else would announce. For our own pods, upstream announces nothing either.
    fn promise_ends(&mut self, pod: &Arc<Pod>, node: &Atom, now: Timestamp) {
        let elsewhere = self.nominator.node_of(&pod.uid).is_some_and(|promised| promised != node);
        let promised = self.nominator.pod(&pod.uid).cloned().filter(|_| elsewhere && self.is_foreign(pod));
        self.nominator.remove(&pod.uid);
        if let Some(promised) = promised {
            self.announce_nomination_gone(&promised, now);
        }
    }

    fn foreign_gone(&mut self, uid: &Uid, now: Timestamp) {
        let Some(pod) = self.nominator.pod(uid).cloned().filter(|p| self.is_foreign(p)) else { return };
        self.nominator.remove(uid);
        self.announce_nomination_gone(&pod, now);
    }

    fn node(&mut self, node: Arc<Node>, now: Timestamp) {
        self.others_waiting.node_offers(&node.allocatable.resources, now);
        let new = Some(EventObject::Node(Arc::clone(&node)));
        match self.cache.set_node(Arc::clone(&node)) {
            None => {
                self.note_event(changes::NODE_ADD.label);
                self.announce(&changes::NODE_ADD, &ObjectChange { old: None, new }, None, now);
            }
            Some(old) => {
                let events = changes::node_events(&old, &node);
                let change = ObjectChange { old: Some(EventObject::Node(old)), new };
                if events.is_empty() {
                    return;
                }
                for event in events {
                    self.note_event(event.label);
                    self.announce(&event, &change, None, now);
                }
            }
        }
        self.ask_waiting(EventResource::Node, now);
    }

    fn node_gone(&mut self, name: &Atom, now: Timestamp) {
        if let Some(old) = self.cache.remove_node(name) {
            let change = ObjectChange { old: Some(EventObject::Node(old)), new: None };
            self.note_event(changes::NODE_DELETE.label);
            self.announce(&changes::NODE_DELETE, &change, None, now);
            self.ask_waiting(EventResource::Node, now);
        }
    }

    fn object(&mut self, object: Object, now: Timestamp) {
        let object = match object {
            Object::Own(own) => Object::Own(own.told_at(now)),
            Object::DisruptionBudget(name, budget) => {
                let objects = self.snapshot.objects();
                let (budget, settled) = self.budgets.written(objects, &name, budget, now);
                self.budgets_settled(settled, now);
                Object::DisruptionBudget(name, budget)
            }
            other => other,
        };
        let new = Arc::new(object.clone());
        let kind = object.kind();
        let old = self.snapshot.objects_mut().apply(object);
        let action = if old.is_some() { ActionType::UPDATE } else { ActionType::ADD };
        if let Some(event) = changes::object_event(kind, action) {
            let old = old.map(|o| EventObject::Other(Arc::new(o)));
            let change = ObjectChange { old, new: Some(EventObject::Other(new)) };
            self.object_event(&event, &change, now);
        }
    }

    /// An object other than a pod or node changed. If no plugin registered such events, it does not count as an event, not even
    /// for the metric.
    fn object_event(&mut self, event: &ClusterEvent, change: &ObjectChange, now: Timestamp) {
        if self.profiles.values().any(|profile| profile.registers(event)) {
            self.note_event(event.label);
            self.announce(event, change, None, now);
        }
        self.ask_waiting(event.resource, now);
    }

    fn object_gone(&mut self, kind: ObjectKind, name: &ObjectName, now: Timestamp) {
        let Some(old) = self.snapshot.objects_mut().remove(kind, name) else { return };
        if kind == ObjectKind::DisruptionBudget {
            let settled = self.budgets.gone(name);
            self.budgets_settled(settled, now);
        }
        if let Some(event) = changes::object_event(kind, ActionType::DELETE) {
            let change = ObjectChange { old: Some(EventObject::Other(Arc::new(old))), new: None };
            self.object_event(&event, &change, now);
        }
    }
}
