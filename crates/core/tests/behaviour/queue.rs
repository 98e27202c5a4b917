//! The queue alone: order, backoff, events for waiting pods and for pods in flight, gates, time.

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
        let cx = QueueContext { now: self.now, profiles: &self.profiles, gates: &self.held };
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
        let popped = self.queue.pop(&self.profiles);
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

    /// Pops the pod, whatever is before it in the queue, and puts it back.
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

#[test]
fn pods_leave_by_priority_then_by_time_then_by_arrival() {
    let mut f = Fixture::new();
    for (text, at) in
        [("late", 3.0), ("first", 1.0), ("second", 1.0), ("high priority=5", 9.0), ("third", 1.0)]
    {
        f.now = secs(at);
        f.add(text);
    }
    let order: Vec<String> = (0..6).map(|_| f.pop()).collect();
    assert_eq!(order, ["high", "first", "second", "third", "late", "-"]);
}

#[test]
fn a_queue_sort_that_knows_no_difference_leaves_the_order_of_arrival() {
    let mut f = Fixture::with(&["Sort", "DefaultBinder"], Script::default());
    for text in ["c priority=1", "a priority=9", "b"] {
        f.add(text);
    }
    let order: Vec<String> = (0..3).map(|_| f.pop()).collect();
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn backoff_doubles_up_to_its_limit_and_ends_with_a_whole_second() {
    for rejectors in [&["A"][..], &[]] {
        let mut f = Fixture::new();
        f.add("p");
        let mut at = 1000.3;
        for backoff in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            f.now = secs(at);
            f.fail("p", rejectors);
            f.event(&DELETE);
            let place = if rejectors.is_empty() { Place::ErrorBackoff } else { Place::Backoff };
            assert_eq!(f.place("p"), Some(place));
            // From 1000.3 with 1 s: the expiry is cut to 1001, and over when second 1001 is.
            let over = (at + backoff).floor() + 1.0;
            assert_eq!(f.queue.next_tick(), Some(secs(over)));
            f.tick(over - 0.001);
            assert_eq!(f.place("p"), Some(place), "{backoff} s after {at}");
            f.tick(over);
            assert_eq!(f.place("p"), Some(Place::Active), "{backoff} s after {at}");
            at = over + 0.3;
        }
    }
}

#[test]
fn a_rejection_ends_a_row_of_errors_and_both_are_counted_apart() {
    let mut f = Fixture::new();
    f.add("p");
    for (rejectors, errors, rejections) in [(&[][..], 1, 0), (&[], 2, 0), (&["A"], 0, 1), (&[], 1, 1)] {
        let (queue, cx) = f.queue_now();
        queue.force_activate(&uid("p"), cx);
        f.fail("p", rejectors);
        let entry = f.queue.get(&uid("p")).expect("it is queued");
        assert_eq!((entry.errors_in_a_row, entry.unschedulable_count), (errors, rejections));
    }
}

#[test]
fn without_a_backoff_a_pod_is_ready_at_once() {
    let mut f = Fixture::new();
    f.queue = Queue::new(QueueConfig { max_backoff: std::time::Duration::ZERO, ..QueueConfig::default() });
    f.add("p");
    f.fail("p", &[]);
    assert_eq!(f.place("p"), Some(Place::Active));
}

#[test]
fn an_idle_scheduler_takes_rejected_pods_out_of_backoff_but_not_failed_ones() {
    let mut f = Fixture::new();
    f.add("failed");
    f.fail("failed", &[]);
    f.add("rejected");
    f.fail("rejected", &["A"]);
    assert!(!f.queue.has_ready());
    f.event(&DELETE);
    assert!(f.queue.has_ready());
    assert_eq!((f.place("failed"), f.place("rejected")), (Some(Place::ErrorBackoff), Some(Place::Backoff)));
    assert_eq!(f.pop(), "rejected");
    assert_eq!(f.pop(), "-");
    assert_eq!(f.queue.incoming()[&("active", "PopFromBackoffQ")], 1);
}

#[test]
fn of_backing_off_pods_the_one_that_expires_first_goes_first_and_in_a_second_the_more_important() {
    let mut f = Fixture::new();
    for text in ["low", "high priority=5"] {
        f.add(text);
    }
    f.fail("high", &["A"]);
    f.fail("low", &["A"]);
    f.now = secs(1001.2);
    f.add("later priority=9");
    f.fail("later", &["A"]);
    f.event(&DELETE);
    let order: Vec<String> = (0..4).map(|_| f.pop()).collect();
    assert_eq!(order, ["high", "low", "later", "-"]);
}

#[test]
fn an_event_moves_the_pods_whose_rejecting_plugin_asked_for_it() {
    let script = Script::default();
    let node = EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT);
    script.lines().events.insert("B".to_owned(), vec![node]);
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    for name in ["a", "b"] {
        f.add(name);
        f.fail(name, &[&name.to_uppercase()]);
    }
    f.tick(1010.0);
    f.script.calls();
    f.event(&NODE_ADD);
    assert_eq!((f.place("a"), f.place("b")), (Some(Place::Unschedulable), Some(Place::Active)));
    // Nobody was asked about a pod that the event cannot help.
    assert_eq!(f.script.calls(), ["hint B/b"]);
    f.script.lines().hints.insert("A".to_owned(), Hint::Skip);
    f.event(&DELETE);
    assert_eq!(f.place("a"), Some(Place::Unschedulable));
    f.script.lines().hints.remove("A");
    f.event(&DELETE);
    assert_eq!(f.place("a"), Some(Place::Active));
}

#[test]
fn an_event_must_not_be_broader_than_the_registration() {
    let registered = |actions| EventRegistration::new(EventResource::Node, actions);
    let label = ActionType::UPDATE_NODE_LABEL;
    let event = |actions| ClusterEvent::new(EventResource::Node, actions, "");
    for (incoming, registration, expected) in [
        (event(label), registered(label), true),
        (event(label), registered(label | ActionType::ADD), true),
        (event(ActionType::ADD), registered(label), false),
        (event(ActionType::UPDATE), registered(label), false),
        (event(ActionType::UPDATE), registered(ActionType::UPDATE), true),
        (event(label), EventRegistration::new(EventResource::Wildcard, ActionType::ALL), true),
        (event(label), EventRegistration::new(EventResource::Pod, ActionType::ALL), false),
        (DELETE, EventRegistration::new(EventResource::Pod, ActionType::DELETE), true),
        (DELETE, EventRegistration::new(EventResource::UnscheduledPod, ActionType::DELETE), false),
        (TARGET_LABEL, EventRegistration::new(EventResource::Pod, ActionType::UPDATE), true),
        (TARGET_LABEL, EventRegistration::new(EventResource::AssignedPod, ActionType::UPDATE), false),
        (NAMESPACE, EventRegistration::new(EventResource::Wildcard, ActionType::ALL), false),
        (NAMESPACE, EventRegistration::new(EventResource::Namespace, ActionType::UPDATE), true),
    ] {
        assert_eq!(incoming.is_named_by(&registration), expected, "{incoming:?} {registration:?}");
    }
}

#[test]
fn who_asks_for_new_nodes_does_not_hear_of_taints() {
    let script = Script::default();
    script
        .lines()
        .events
        .insert("A".to_owned(), vec![EventRegistration::new(EventResource::Node, ActionType::ADD)]);
    let mut f = Fixture::with(&["PrioritySort", "A", "TaintToleration", "DefaultBinder"], script);
    f.add("p");
    f.fail("p", &["A"]);
    f.event(&TAINT);
    assert_eq!(f.place("p"), Some(Place::Unschedulable));
    f.event(&NODE_ADD);
    assert_eq!(f.place("p"), Some(Place::Backoff));
}

#[test]
fn an_update_of_a_pod_in_flight_is_replayed_for_that_pod_alone() {
    let script = Script::default();
    let labels = EventRegistration::new(EventResource::Pod, ActionType::UPDATE_POD_LABEL);
    script.lines().events.insert("A".to_owned(), vec![labels]);
    let mut f = Fixture::with(&["PrioritySort", "A", "DefaultBinder"], script);
    for name in ["p", "q"] {
        f.add(name);
        assert_eq!(f.pop(), name);
    }
    let (queue, cx) = f.queue_now();
    queue.update(&pod("p label=x"), &[TARGET_LABEL], cx);
    f.put_back("q", &["A"], &[]);
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("p"), f.place("q")), (Some(Place::Backoff), Some(Place::Unschedulable)));
}

#[test]
fn what_happens_while_a_pod_is_in_flight_is_replayed_for_it() {
    let mut f = Fixture::new();
    f.add("p");
    f.event(&DELETE);
    assert_eq!(f.pop(), "p");
    f.put_back("p", &["A"], &[]);
    assert_eq!(f.place("p"), Some(Place::Unschedulable), "what was before does not count");
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    assert_eq!(f.pop(), "p");
    f.event(&NODE_ADD);
    f.event(&DELETE);
    assert_eq!(f.queue.in_flight_events(), 1, "nobody registered the other");
    f.put_back("p", &["A"], &[]);
    assert_eq!(f.place("p"), Some(Place::Backoff));
    assert_eq!(f.queue.in_flight_events(), 0);
}

#[test]
fn what_happened_before_a_pod_was_popped_is_not_replayed_though_it_is_kept_for_another() {
    let mut f = Fixture::new();
    f.add("a");
    f.add("b");
    assert_eq!(f.pop(), "a");
    f.event(&DELETE);
    assert_eq!(f.pop(), "b");
    f.put_back("b", &["A"], &[]);
    f.put_back("a", &["A"], &[]);
    assert_eq!((f.place("a"), f.place("b")), (Some(Place::Backoff), Some(Place::Unschedulable)));
}

#[test]
fn a_plugin_that_waits_for_something_known_brings_the_pod_back_without_backoff() {
    let mut f = Fixture::new();
    f.add("p");
    assert_eq!(f.pop(), "p");
    f.event(&DELETE);
    f.put_back("p", &["B"], &["A"]);
    assert_eq!(f.place("p"), Some(Place::Active));
    assert_eq!(f.pop(), "p");
    f.put_back("p", &["B"], &["A"]);
    assert_eq!(f.place("p"), Some(Place::Unschedulable));
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Active));
}

#[test]
fn events_are_kept_only_as_long_as_a_pod_in_flight_may_need_them() {
    let mut f = Fixture::new();
    f.add("a");
    f.add("b");
    assert_eq!((f.pop(), f.pop()), ("a".to_owned(), "b".to_owned()));
    f.event(&DELETE);
    f.event(&DELETE);
    assert_eq!(f.queue.in_flight_events(), 2);
    f.queue.done(&uid("a"));
    f.check();
    assert_eq!(f.queue.in_flight_events(), 2);
    f.event(&DELETE);
    f.put_back("a", &["A"], &[]);
    assert_eq!(f.place("a"), Some(Place::Unschedulable), "it was done with events");
    f.queue.remove(&uid("b"));
    f.check();
    assert_eq!(f.queue.in_flight_events(), 0);
}

#[test]
fn a_pod_activated_by_force_in_flight_is_tried_again_after_its_backoff() {
    let mut f = Fixture::new();
    for name in ["p", "q"] {
        f.add(name);
        assert_eq!(f.pop(), name);
    }
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    f.put_back("q", &["A"], &[]);
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("p"), f.place("q")), (Some(Place::Backoff), Some(Place::Unschedulable)));
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    assert_eq!(f.place("p"), Some(Place::Active));
}

#[test]
fn a_gated_pod_is_looked_at_only_for_what_its_gate_registered() {
    let script = Script::default();
    script.lines().held.insert("B/p".to_owned(), true);
    script
        .lines()
        .events
        .insert("B".to_owned(), vec![EventRegistration::new(EventResource::Node, ActionType::ADD)]);
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    f.add("p");
    assert_eq!(f.place("p"), Some(Place::Gated));
    assert_eq!(f.queue.get(&uid("p")).expect("it is queued").first_active, None);
    f.script.lines().held.clear();
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Gated));
    f.now = secs(1200.0);
    f.event(&NODE_ADD);
    assert_eq!(f.place("p"), Some(Place::Active));
    assert_eq!(f.queue.get(&uid("p")).expect("it is queued").first_active, Some(secs(1200.0)));
}

#[test]
fn the_gates_of_a_pod_are_asked_again_every_five_minutes() {
    let script = Script::default();
    script.lines().held.insert("B/p".to_owned(), true);
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    f.tick(1000.0);
    f.add("p");
    let flushes = |f: &Fixture| {
        f.queue.incoming().get(&("unschedulable", "UnschedulableTimeout")).copied().unwrap_or(0)
    };
    f.tick(1330.0);
    assert_eq!((f.place("p"), flushes(&f)), (Some(Place::Gated), 1));
    assert!(
        f.queue.get(&uid("p")).is_some_and(|e| !e.flushed),
        "what wakes it later is not to be taken for the flush"
    );
    f.tick(1600.0);
    assert_eq!(flushes(&f), 1, "five minutes from the last flush");
    f.tick(1660.0);
    assert_eq!(flushes(&f), 2);
    f.script.lines().held.clear();
    f.tick(1990.0);
    assert_eq!(f.place("p"), Some(Place::Active));
    assert!(f.queue.get(&uid("p")).is_some_and(|e| e.flushed));
    f.fail("p", &["A"]);
    let entry = f.queue.get(&uid("p")).expect("it is queued");
    assert_eq!((entry.flushed, entry.flushed_at), (false, None));
}

#[test]
fn a_pod_in_flight_during_a_flush_is_tried_again_after_its_backoff() {
    let mut f = Fixture::new();
    f.tick(1000.0);
    for name in ["late", "p"] {
        f.add(name);
    }
    f.fail("late", &["A"]);
    f.now = secs(1320.0);
    assert_eq!(f.pop(), "p");
    f.tick(1330.0);
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("late"), f.place("p")), (Some(Place::Active), Some(Place::Backoff)));
}

#[test]
fn pods_and_entities_that_come_into_queues_are_counted_as_upstream_counts_them() {
    let mut f = Fixture::new();
    let counts = |f: &Fixture, queue, event| {
        let of = |counts: &std::collections::BTreeMap<(&str, &str), u64>| {
            counts.get(&(queue, event)).copied().unwrap_or(0)
        };
        (of(f.queue.incoming()), of(f.queue.incoming_entities()))
    };
    // New: both. A pod that is gated at once comes into the unschedulable queue.
    f.script.lines().held.insert("A/gated".to_owned(), true);
    f.add("gated");
    f.add("p");
    assert_eq!(counts(&f, "unschedulable", "UnscheduledPodAdd"), (1, 1));
    assert_eq!(counts(&f, "active", "UnscheduledPodAdd"), (1, 1));
    // An event that leads to the queue that its hint means is no new entity there; another queue is.
    f.fail("p", &["A"]);
    assert_eq!(counts(&f, "unschedulable", "ScheduleAttemptFailure"), (1, 0));
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Backoff));
    assert_eq!(counts(&f, "backoff", "AssignedPodDelete"), (1, 0));
    // The event concerned the gated pod too, which has come into the unschedulable queue once more.
    assert_eq!(counts(&f, "unschedulable", "AssignedPodDelete"), (1, 1));
    f.tick(1002.0);
    assert_eq!(counts(&f, "active", "BackoffComplete"), (1, 1));
    f.fail("p", &["A"]);
    f.now = secs(1100.0);
    f.event(&DELETE);
    assert_eq!(counts(&f, "active", "AssignedPodDelete"), (1, 1));
    // An update of a gated pod that stays gated is none.
    let (queue, cx) = f.queue_now();
    queue.update(&pod("gated label=x"), &[TARGET_LABEL], cx);
    assert_eq!(
        (f.place("gated"), counts(&f, "unschedulable", TARGET_LABEL.label)),
        (Some(Place::Gated), (0, 0))
    );
}

#[test]
fn a_pod_activated_out_of_backoff_is_not_checked_by_the_gates_again() {
    let mut f = Fixture::new();
    f.add("p");
    f.fail("p", &["A"]);
    f.event(&DELETE);
    f.script.lines().held.insert("A/p".to_owned(), true);
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    assert_eq!(f.place("p"), Some(Place::Active));
}

#[test]
fn an_update_of_a_gated_pod_is_looked_at_though_its_gate_did_not_register_it() {
    let script = Script::default();
    script.lines().held.insert("B/p".to_owned(), true);
    script.lines().events.insert(
        "A".to_owned(),
        vec![
            EventRegistration::new(EventResource::AssignedPod, ActionType::DELETE),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_LABEL),
        ],
    );
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    f.script.lines().held.clear();
    f.add("p");
    assert_eq!(f.pop(), "p");
    f.event(&DELETE);
    f.script.lines().held.insert("B/p".to_owned(), true);
    f.put_back("p", &["A"], &[]);
    assert_eq!(f.place("p"), Some(Place::Gated));
    f.script.lines().held.clear();
    let (queue, cx) = f.queue_now();
    queue.update(&pod("p label=x"), &[TARGET_LABEL], cx);
    assert_eq!(f.place("p"), Some(Place::Backoff));
}

#[test]
fn the_gate_that_held_a_pod_is_asked_first_again() {
    let script = Script::default();
    script.lines().held.insert("B/p".to_owned(), true);
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    f.add("p");
    f.script.lines().held.insert("A/p".to_owned(), true);
    f.event(&DELETE);
    assert_eq!(f.queue.get(&uid("p")).expect("it is queued").gated_by, Some(atom("B")));
}

#[test]
fn a_pod_that_comes_back_is_checked_by_the_gates_on_its_way_into_backoff_and_not_again_on_its_way_out() {
    let mut f = Fixture::new();
    f.add("p");
    assert_eq!(f.pop(), "p");
    f.event(&DELETE);
    f.script.lines().held.insert("A/p".to_owned(), true);
    f.put_back("p", &["A"], &[]);
    assert_eq!(f.place("p"), Some(Place::Gated));
    f.script.lines().held.clear();
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Backoff));
    f.script.lines().held.insert("A/p".to_owned(), true);
    f.tick(1002.0);
    assert_eq!(f.place("p"), Some(Place::Active));
}

#[test]
fn a_pod_that_waited_longer_than_five_minutes_is_tried_again() {
    let mut f = Fixture::new();
    f.tick(1000.0);
    f.add("p");
    assert_eq!(f.queue.incoming()[&("active", "UnscheduledPodAdd")], 1);
    f.fail("p", &["A"]);
    f.tick(1300.0);
    assert_eq!(f.place("p"), Some(Place::Unschedulable), "exactly five minutes is not longer");
    f.tick(1329.9);
    assert_eq!(f.place("p"), Some(Place::Unschedulable), "it is looked for every 30 s");
    assert_eq!(f.queue.next_tick(), Some(secs(1330.0)));
    f.tick(1330.0);
    assert_eq!(f.place("p"), Some(Place::Active));
    assert_eq!(f.queue.incoming()[&("active", "UnschedulableTimeout")], 1);
    assert!(
        f.queue.get(&uid("p")).is_some_and(|e| e.flushed),
        "for the metric that tells of a missing event"
    );
    f.fail("p", &["A"]);
    assert!(f.queue.get(&uid("p")).is_some_and(|e| !e.flushed));
}

#[test]
fn a_pod_that_is_being_deleted_is_not_brought_back_by_time() {
    let mut f = Fixture::new();
    f.add("p deleting");
    assert_eq!(f.pop(), "p");
    let (queue, cx) = f.queue_now();
    queue.park(&uid("p"), cx);
    f.check();
    f.event(&DELETE);
    f.tick(3000.0);
    assert_eq!(f.place("p"), Some(Place::Unschedulable));
}

#[test]
fn an_update_reaches_the_pod_wherever_it_is() {
    let script = Script::default();
    let labels = EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_LABEL);
    script.lines().events.insert("A".to_owned(), vec![labels]);
    let mut f = Fixture::with(&["PrioritySort", "A", "B", "DefaultBinder"], script);
    let update = |f: &mut Fixture, text: &str| {
        let (queue, cx) = f.queue_now();
        queue.update(&pod(text), &[TARGET_LABEL], cx);
        f.check();
    };
    let labelled = |f: &Fixture| !f.queue.get(&uid("p")).expect("it is queued").queued.pod.labels.is_empty();
    // In activeQ: the pod that leaves is the new one, in the place of its new priority.
    f.add("other priority=3");
    f.add("p");
    update(&mut f, "p priority=5");
    assert_eq!(f.pop(), "p");
    // In flight: replayed when it comes back.
    update(&mut f, "p label=x");
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::Backoff), true));
    // In backoff: it stays there.
    update(&mut f, "p");
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::Backoff), false));
    assert_eq!((f.pop(), f.pop()), ("other".to_owned(), "p".to_owned()));
    // Unschedulable: only where a rejecting plugin asked for such a change.
    f.put_back("p", &["B"], &[]);
    update(&mut f, "p label=x");
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::Unschedulable), true));
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    f.fail("p", &["A"]);
    update(&mut f, "p");
    assert_eq!(f.place("p"), Some(Place::Backoff));
    // Failed by an error: an update does not hurry it.
    assert_eq!(f.pop(), "p");
    f.put_back("p", &[], &[]);
    update(&mut f, "p label=x");
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::ErrorBackoff), true));
}

#[test]
fn pods_are_counted_for_the_plugins_that_rejected_them_until_they_are_popped() {
    let mut f = Fixture::new();
    let count = |f: &Fixture, plugin| f.queue.rejected_gauge().get(&(atom(plugin), atom(OURS))).copied();
    f.add("p");
    f.fail("p", &["A", "B"]);
    assert_eq!((count(&f, "A"), count(&f, "B")), (Some(1), Some(1)));
    f.event(&DELETE);
    f.tick(1010.0);
    assert_eq!((f.place("p"), count(&f, "A")), (Some(Place::Active), Some(1)));
    assert_eq!(f.pop(), "p");
    assert_eq!(count(&f, "A"), Some(0));
    f.put_back("p", &["A"], &[]);
    f.queue.remove(&uid("p"));
    assert_eq!(count(&f, "A"), Some(0));
}

#[test]
fn many_updates_do_not_fill_the_heap_with_old_tickets() {
    let mut f = Fixture::new();
    f.add("p");
    for at in 0..1000 {
        let text = format!("p rv={at}");
        let (queue, cx) = f.queue_now();
        queue.update(&pod(&text), &[], cx);
    }
    f.check();
    assert!(f.queue.ticket_count() < 100, "{}", f.queue.ticket_count());
    assert_eq!((f.pop(), f.pop()), ("p".to_owned(), "-".to_owned()));
}

#[test]
fn a_gate_of_the_core_holds_a_pod_until_it_is_opened() {
    let mut f = Fixture::new();
    f.add("p");
    assert_eq!(f.pop(), "p");
    f.held.0.borrow_mut().insert(uid("p"));
    f.event(&DELETE);
    f.put_back("p", &["A"], &[]);
    assert_eq!(f.place("p"), Some(Place::Gated));
    f.held.0.borrow_mut().clear();
    let (queue, cx) = f.queue_now();
    queue.ungate(&uid("p"), false, cx);
    f.check();
    assert_eq!(f.place("p"), Some(Place::Unschedulable), "it waits for events again");
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Backoff));
}

#[test]
fn too_many_events_are_dropped_and_a_pod_that_missed_some_is_tried_again_after_its_backoff() {
    let mut f = Fixture::new();
    f.add("p");
    assert_eq!(f.pop(), "p");
    let update = ClusterEvent::new(EventResource::TargetPod, ActionType::UPDATE, "Update");
    let same = pod("p");
    for _ in 0..IN_FLIGHT_EVENTS_MAX {
        let (queue, cx) = f.queue_now();
        queue.update(&same, &[update], cx);
    }
    assert_eq!((f.queue.in_flight_events(), f.queue.in_flight_events_dropped()), (IN_FLIGHT_EVENTS_MAX, 0));
    let (queue, cx) = f.queue_now();
    queue.update(&same, &[update], cx);
    assert_eq!((f.queue.in_flight_events(), f.queue.in_flight_events_dropped()), (IN_FLIGHT_EVENTS_MAX, 1));
    f.check();
    // One that was popped later has missed nothing that concerns it.
    f.add("q");
    assert_eq!(f.pop(), "q");
    f.put_back("q", &["A"], &[]);
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("p"), f.place("q")), (Some(Place::Backoff), Some(Place::Unschedulable)));
    assert_eq!(f.queue.in_flight_events(), 0);
}
