//! The pods of a nearly full node are read before a pod is bound there, while others bind pods too.

use crate::fixture::{Cluster, uid};
use secondmate_core::port::{BindOutcome, Input, PodWatch, Verified};
use secondmate_framework::Status;
use std::time::Duration;

/// A node beside one to which another scheduler has just bound a pod.
fn beside_another(node: &str) -> Cluster {
    let mut cluster = Cluster::reading();
    cluster.node("elsewhere cpu=0 pods=1");
    cluster.assigned("f node=elsewhere scheduler=other");
    cluster.node(node);
    cluster
}

/// A pod that waits for a read of n1 before it is bound there.
fn reading(pod: &str) -> Cluster {
    let mut cluster = beside_another("n1 cpu=1");
    cluster.pending(pod);
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["read n1"]);
    cluster
}

#[test]
fn only_a_node_that_is_nearly_full_is_read() {
    for (node, pod, read) in [
        // A tenth or less of what there is is left.
        ("n1 cpu=10", "p cpu=1", false),
        ("n1 cpu=10", "p cpu=9", true),
        ("n1 cpu=10", "p cpu=9500m", true),
        ("n1 gpu=100", "p gpu=90", true),
        ("n1 gpu=20", "p gpu=2", false),
        // No room is left for another pod like it.
        ("n1 cpu=10", "p cpu=6", true),
        ("n1 cpu=10", "p cpu=5", false),
        // Resources that it does not request do not matter, but the number of pods does.
        ("n1 cpu=1 gpu=1", "p", false),
        ("n1 pods=1", "p", true),
        ("n1 pods=2", "p", false),
        // Each host port exists only once.
        ("n1", "p port=80", true),
    ] {
        let mut cluster = beside_another(node);
        cluster.pending(pod);
        assert_eq!(cluster.step(), "p -> n1");
        let expected = if read { "read n1" } else { "bind p to n1" };
        assert_eq!(cluster.effects(), [expected], "{node}, {pod}");
    }
}

#[test]
fn without_others_nothing_is_read() {
    let mut cluster = Cluster::reading();
    cluster.node("n1 cpu=1");
    cluster.pending("p cpu=1");
    assert_eq!((cluster.step(), cluster.effects()), ("p -> n1".to_owned(), vec!["bind p to n1".to_owned()]));
    // Pods that we have bound ourselves do not indicate other schedulers.
    cluster.answer("p", BindOutcome::Bound);
    cluster.assigned("p cpu=1 node=n1");
    cluster.effects();
    cluster.node("n2 cpu=1");
    cluster.pending("q cpu=1");
    assert_eq!((cluster.step(), cluster.effects()), ("q -> n2".to_owned(), vec!["bind q to n2".to_owned()]));
    // Nor do pods that others bound a while ago, or updates of pods that they bound.
    cluster.assigned("f node=n1 scheduler=other");
    cluster.wait(11.0);
    cluster.assigned("f node=n1 scheduler=other label=b");
    cluster.node("n3 cpu=1");
    cluster.pending("r cpu=1");
    assert_eq!((cluster.step(), cluster.effects()), ("r -> n3".to_owned(), vec!["bind r to n3".to_owned()]));
}

#[test]
fn a_pod_that_still_fits_is_bound_after_the_read() {
    let mut cluster = reading("p cpu=600m");
    cluster.read("n1", Ok(&["new cpu=400m node=n1 scheduler=other", "ended cpu=1 node=n1 terminal"]));
    assert_eq!(
        cluster.all_effects(),
        ["observed NodeRead new_pods averted=0", "bind p to n1"],
        "there is room for both"
    );
    // The next attempt knows what was found.
    cluster.pending("q cpu=100m");
    assert_eq!(cluster.step(), "q: unschedulable");
}

#[test]
fn a_pod_whose_room_is_taken_is_not_bound_and_is_tried_again_with_what_was_found() {
    let mut cluster = reading("p cpu=600m");
    cluster.read("n1", Ok(&["new cpu=500m node=n1 scheduler=other"]));
    let message =
        "another scheduler took the room on node \"n1\" before the pod was bound to it: Insufficient cpu";
    assert_eq!(
        cluster.all_effects(),
        [
            "observed RoomTaken foreign=true".to_owned(),
            "observed Error { profile: \"my-scheduler\" }".to_owned(),
            format!("event p FailedScheduling: {message}"),
            format!("status p SchedulerError: {message}"),
            "observed NodeRead new_pods averted=1".to_owned(),
        ]
    );
    cluster.wait(2.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.effects();
    // From now on what the watch shows counts: the pod has finished.
    cluster.gone(PodWatch::Assigned, "new");
    cluster.wait(10.0);
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn where_the_read_fails_the_pod_is_bound_as_without_it() {
    let mut cluster = reading("p cpu=600m");
    cluster.read("n1", Err("no answer"));
    assert_eq!(cluster.all_effects(), ["observed NodeRead failed averted=0", "bind p to n1"]);
}

#[test]
fn one_read_serves_all_pods_that_wait_for_the_node_and_the_least_important_gives_way() {
    let mut cluster = reading("p cpu=600m");
    for pod in ["high cpu=300m priority=9", "q cpu=100m"] {
        cluster.pending(pod);
        assert!(cluster.step().ends_with("-> n1"));
    }
    assert_eq!(cluster.effects(), Vec::<String>::new(), "the read is on the way");
    // An answer that was not requested is ignored.
    cluster.read("elsewhere", Ok(&["stray cpu=1 node=elsewhere scheduler=other"]));
    assert_eq!(cluster.effects(), Vec::<String>::new());
    cluster.read("n1", Ok(&["new cpu=100m node=n1 scheduler=other"]));
    let bound: Vec<String> = cluster.effects().into_iter().filter(|line| line.starts_with("bind")).collect();
    assert_eq!(bound, ["bind high to n1", "bind p to n1"]);
    assert_eq!(cluster.place("q"), "ErrorBackoff");
}

/// The answer may be older than the choice of the second pod.
#[test]
fn a_pod_that_comes_while_a_node_is_being_read_waits_for_the_next_read() {
    let come = || {
        let mut cluster = reading("p cpu=600m");
        cluster.wait(0.9);
        cluster.pending("q cpu=300m");
        assert_eq!(cluster.step(), "q -> n1");
        assert_eq!(cluster.effects(), Vec::<String>::new(), "a node is read once at a time");
        cluster
    };
    let mut cluster = come();
    cluster.read("n1", Ok(&[]));
    assert_eq!(cluster.effects(), ["bind p to n1", "read n1"]);
    cluster.read("n1", Ok(&["new cpu=200m node=n1 scheduler=other"]));
    assert!(!cluster.effects().contains(&"bind q to n1".to_owned()));
    assert_eq!(cluster.place("q"), "ErrorBackoff");
    // No pod waits for more than two reads, whatever their results.
    let mut cluster = come();
    cluster.read("n1", Err("no answer"));
    assert_eq!(cluster.effects(), ["bind p to n1", "read n1"]);
    cluster.wait(1.0);
    cluster.read("n1", Err("no answer"));
    assert_eq!(cluster.effects(), ["bind q to n1"]);
    // Nor is there another read if nobody needs it any more.
    let mut cluster = come();
    cluster.gone(PodWatch::Pending, "q");
    cluster.read("n1", Ok(&[]));
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn what_happens_while_a_node_is_read_settles_the_pod_and_the_answer_changes_nothing_then() {
    type Happens = fn(&mut Cluster);
    let happens: [(&str, Happens, &str); 4] = [
        ("deleted", |c| c.pending("p cpu=600m deleting rv=2"), "Unschedulable"),
        ("gone", |c| c.gone(PodWatch::Pending, "p"), "-"),
        ("bound by somebody", |c| c.assigned("p cpu=600m node=n1"), "-"),
        ("no room", |c| c.assigned("g cpu=900m node=n1 scheduler=other"), "ErrorBackoff"),
    ];
    for (what, happen, place) in happens {
        let mut cluster = reading("p cpu=600m");
        happen(&mut cluster);
        assert_eq!(cluster.place("p"), place, "{what}");
        cluster.effects();
        cluster.read("n1", Ok(&[]));
        assert_eq!(cluster.effects(), Vec::<String>::new(), "{what}");
        assert_eq!(cluster.place("p"), place, "{what}");
    }
}

#[test]
fn a_pod_of_ours_that_the_read_shows_there_is_settled() {
    let mut cluster = reading("p cpu=600m");
    // Another process with our scheduler name has bound it, and the watch has not shown that.
    cluster.read("n1", Ok(&["p cpu=600m node=n1"]));
    assert_eq!(cluster.all_effects(), ["observed NodeRead nothing_new averted=0"]);
    assert_eq!((cluster.place("p").as_str(), cluster.core.sizes().bindings), ("-", 0));
}

#[test]
fn a_pod_of_higher_priority_takes_the_room_of_one_that_waits_for_a_read() {
    let mut cluster = reading("p cpu=600m");
    cluster.pending("high cpu=1 priority=9");
    assert_eq!(cluster.step(), "high: unschedulable");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

#[test]
fn a_pod_that_waited_on_permit_is_bound_after_a_read_too() {
    let mut cluster = beside_another("n1 cpu=1");
    cluster.script.lines().permit.insert("A/p".to_owned(), (Status::wait(""), Duration::from_secs(60)));
    cluster.pending("p cpu=1");
    cluster.step();
    cluster.effects();
    cluster.script.handle().allow(&uid("p"), "A");
    cluster.step();
    assert_eq!(cluster.effects(), ["read n1"]);
    cluster.read("n1", Ok(&[]));
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn what_a_read_has_found_counts_no_longer_than_a_minute_without_the_watch() {
    for (seen, then) in [(false, "q -> n1"), (true, "q: unschedulable")] {
        let mut cluster = reading("p cpu=600m");
        cluster.read("n1", Ok(&["new cpu=400m node=n1 scheduler=other"]));
        cluster.answer("p", BindOutcome::Bound);
        cluster.assigned("p cpu=600m node=n1");
        if seen {
            cluster.assigned("new cpu=400m node=n1 scheduler=other");
        } else {
            assert_eq!(cluster.core.next_wakeup(), Some(cluster.now + Duration::from_secs(60)));
        }
        cluster.wait(60.0);
        assert_eq!(cluster.step(), "-");
        cluster.pending("q cpu=300m");
        assert_eq!(cluster.step(), then);
    }
}

/// The watch is silent for longer than the result of a read counts: pods that we have bound are still counted.
#[test]
fn a_pod_that_was_bound_counts_for_longer_than_what_a_read_has_found() {
    let mut cluster = reading("p cpu=600m");
    cluster.read("n1", Ok(&[]));
    cluster.answer("p", BindOutcome::Bound);
    cluster.pending("q cpu=300m");
    assert_eq!(cluster.step(), "q -> n1");
    cluster.effects();
    cluster.read("n1", Ok(&["p cpu=600m node=n1"]));
    assert_eq!(cluster.effects(), ["bind q to n1"]);
    cluster.wait(61.0);
    cluster.step();
    cluster.pending("r cpu=600m");
    assert_eq!(cluster.step(), "r: unschedulable");
}

/// It was on its node, whatever becomes of the binding: it is never queued again.
#[test]
fn a_pod_that_a_read_has_shown_on_its_node_and_that_is_gone_when_it_is_looked_at_is_not_queued_again() {
    let mut cluster = reading("p cpu=600m");
    cluster.read("n1", Ok(&[]));
    cluster.answer("p", BindOutcome::Unknown { message: "no answer".to_owned() });
    cluster.pending("q cpu=300m");
    assert_eq!(cluster.step(), "q -> n1");
    cluster.read("n1", Ok(&["p cpu=600m node=n1"]));
    cluster.apply(Input::Verified(uid("p"), Verified::Gone));
    assert_eq!((cluster.place("p").as_str(), cluster.core.cache().pod(&uid("p"))), ("-", None));
    // The pending watch lags.
    cluster.pending("p cpu=600m rv=2");
    assert_eq!(cluster.place("p"), "-");
    cluster.gone(PodWatch::Pending, "p");
}

#[test]
fn what_only_a_read_had_found_is_forgotten_with_it_and_an_old_list_brings_it_back() {
    let mut cluster = reading("p cpu=600m");
    // The read is older than the end of q, which arrives first.
    cluster.assigned("q cpu=300m node=n1");
    cluster.gone(PodWatch::Assigned, "q");
    cluster.read("n1", Ok(&["q cpu=300m node=n1"]));
    cluster.pending("q cpu=300m");
    assert_eq!(cluster.place("q"), "-", "it was seen on a node");
    cluster.gone(PodWatch::Pending, "q");
    cluster.wait(60.0);
    assert_eq!(cluster.step(), "-");
    cluster.pending("q cpu=300m");
    assert_eq!(cluster.step(), "q -> n1", "nobody remembers it");
}
