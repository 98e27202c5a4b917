//! The queue alone: order, backoff, events for waiting pods and for pods in flight, gates, time.

mod events;
mod gates;
mod order;
mod time;

use crate::fixture::{OURS, atom, pod, profile, secs, uid};
use crate::scripted::Script;
use secondmate_core::queue::{
    AttemptOutcome, Gates, IN_FLIGHT_EVENTS_MAX, Place, Profiles, Queue, QueueConfig, QueueContext,
};
use secondmate_framework::{
    ActionType, ClusterEvent, EventObject, EventRegistration, EventResource, Hint, ObjectChange,
};
use secondmate_model::{Atom, Timestamp, Uid};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

const DELETE: ClusterEvent =
    ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE, "AssignedPodDelete");
const NODE_ADD: ClusterEvent = ClusterEvent::new(EventResource::Node, ActionType::ADD, "NodeAdd");
const TAINT: ClusterEvent =
    ClusterEvent::new(EventResource::Node, ActionType::UPDATE_NODE_TAINT, "NodeUpdateNodeTaint");

const TARGET_LABEL: ClusterEvent =
    ClusterEvent::new(EventResource::TargetPod, ActionType::UPDATE_POD_LABEL, "TargetPodUpdatePodLabel");
const NAMESPACE: ClusterEvent =
    ClusterEvent::new(EventResource::Namespace, ActionType::UPDATE, "NamespaceUpdate");

/// Pods that the core holds back.
#[derive(Default)]
struct Held(RefCell<BTreeSet<Uid>>);
impl Gates for Held {
    fn holds(&self, pod: &Uid) -> Option<Atom> {
        self.0.borrow().contains(pod).then(|| atom("Core"))
    }
}

struct Fixture {
    queue: Queue,
    profiles: Profiles,
    script: Script,
    held: Held,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Self {
        Self::with(&["PrioritySort", "SchedulingGates", "A", "B", "DefaultBinder"], Script::default())
    }

    fn with(plugins: &[&str], script: Script) -> Self {
        let profiles = Profiles::from([(atom(OURS), Arc::new(profile(plugins, &script)))]);
        Self {
            queue: Queue::new(QueueConfig::default()),
            profiles,
            script,
            held: Held::default(),
            now: secs(1000.3),
        }
    }

    fn queue_now(&mut self) -> (&mut Queue, QueueContext<'_>) {
        let cx = QueueContext { now: self.now, profiles: &self.profiles, gates: &self.held, promises: &() };
        (&mut self.queue, cx)
    }

    fn check(&self) {
        self.queue.check(&self.profiles).expect("the queue is in order");
    }

    fn add(&mut self, text: &str) {
        let (queue, cx) = self.queue_now();
        queue.add(pod(text), cx);
        self.check();
    }

    fn pop(&mut self) -> String {
        let popped = self.queue.pop(&self.profiles, &|_| false);
        self.check();
        popped.map_or("-".to_owned(), |p| p.pod.name.to_string())
    }

    fn put_back(&mut self, name: &str, rejected_by: &[&str], pending_by: &[&str]) {
        let names = |list: &[&str]| list.iter().map(|n| atom(n)).collect();
        let outcome = AttemptOutcome { rejected_by: names(rejected_by), pending_by: names(pending_by) };
        let (queue, cx) = self.queue_now();
        queue.put_back(&uid(name), outcome, cx);
        self.check();
    }

    /// Pops the pod, which must be the next one, and puts it back.
    fn fail(&mut self, name: &str, rejected_by: &[&str]) {
        assert_eq!(self.pop(), name);
        self.put_back(name, rejected_by, &[]);
    }

    fn event(&mut self, event: &ClusterEvent) {
        let change = ObjectChange { old: Some(EventObject::Pod(pod("other node=n1"))), new: None };
        let (queue, cx) = self.queue_now();
        queue.on_event(event, &change, None, cx);
        self.check();
    }

    fn tick(&mut self, at: f64) {
        self.now = secs(at);
        let (queue, cx) = self.queue_now();
        queue.tick(cx);
        self.check();
    }

    fn place(&self, name: &str) -> Option<Place> {
        self.queue.get(&uid(name)).map(|e| e.place)
    }
}
