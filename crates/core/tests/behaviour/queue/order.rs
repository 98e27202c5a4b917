//! Which pod leaves first: order, backoff, updates of waiting pods.

use super::*;

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
            // From 1000.3 with 1 s: the expiry is truncated to 1001, and the backoff is over when second 1001 has passed.
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
    // In activeQ: the pod that leaves is the new one, at the position of its new priority.
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
    // Unschedulable: only if a rejecting plugin registered such a change.
    f.put_back("p", &["B"], &[]);
    update(&mut f, "p label=x");
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::Unschedulable), true));
    let (queue, cx) = f.queue_now();
    queue.force_activate(&uid("p"), cx);
    f.fail("p", &["A"]);
    update(&mut f, "p");
    assert_eq!(f.place("p"), Some(Place::Backoff));
    // Failed with an error: an update does not speed it up.
    assert_eq!(f.pop(), "p");
    f.put_back("p", &[], &[]);
    update(&mut f, "p label=x");
    assert_eq!((f.place("p"), labelled(&f)), (Some(Place::ErrorBackoff), true));
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
