//! Pods that a gate holds back.

use super::*;

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
