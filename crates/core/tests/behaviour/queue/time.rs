//! The effects of time alone, and what is counted.

use super::*;

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
    // A new pod counts as both. A pod that is gated at once enters the unschedulable queue.
    f.script.lines().held.insert("A/gated".to_owned(), true);
    f.add("gated");
    f.add("p");
    assert_eq!(counts(&f, "unschedulable", "UnscheduledPodAdd"), (1, 1));
    assert_eq!(counts(&f, "active", "UnscheduledPodAdd"), (1, 1));
    // If an event leads to the queue that its hint implies, the pod is not a new entity there; in another queue it is.
    f.fail("p", &["A"]);
    assert_eq!(counts(&f, "unschedulable", "ScheduleAttemptFailure"), (1, 0));
    f.event(&DELETE);
    assert_eq!(f.place("p"), Some(Place::Backoff));
    assert_eq!(counts(&f, "backoff", "AssignedPodDelete"), (1, 0));
    // The event concerned the gated pod too, which has entered the unschedulable queue once more.
    assert_eq!(counts(&f, "unschedulable", "AssignedPodDelete"), (1, 1));
    f.tick(1002.0);
    assert_eq!(counts(&f, "active", "BackoffComplete"), (1, 1));
    f.fail("p", &["A"]);
    f.now = secs(1100.0);
    f.event(&DELETE);
    assert_eq!(counts(&f, "active", "AssignedPodDelete"), (1, 1));
    // An update of a gated pod that stays gated does not count.
    let (queue, cx) = f.queue_now();
    queue.update(&pod("gated label=x"), &[TARGET_LABEL], cx);
    assert_eq!(
        (f.place("gated"), counts(&f, "unschedulable", TARGET_LABEL.label)),
        (Some(Place::Gated), (0, 0))
    );
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
