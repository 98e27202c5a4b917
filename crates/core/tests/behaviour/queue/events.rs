//! Events for waiting pods and for pods in flight.

use super::*;

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
    // No plugin was asked about a pod that the event cannot help.
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
    // A pod that was popped later has missed nothing that concerns it.
    f.add("q");
    assert_eq!(f.pop(), "q");
    f.put_back("q", &["A"], &[]);
    f.put_back("p", &["A"], &[]);
    assert_eq!((f.place("p"), f.place("q")), (Some(Place::Backoff), Some(Place::Unschedulable)));
    assert_eq!(f.queue.in_flight_events(), 0);
}
