//! Attempts known to be futile are not repeated: attempts are counted by the calls to plugins.

use crate::fixture::Cluster;
use secondmate_core::port::PodWatch;
use secondmate_framework::Status;
use std::time::Duration;

/// Two full nodes, and `count` equivalent pods that do not fit; each was tried.
fn crowded(more: &[&str], count: usize) -> Cluster {
    let mut cluster = Cluster::new(more);
    for node in ["a", "b"] {
        cluster.node(&format!("{node} cpu=1"));
        cluster.assigned(&format!("on-{node} cpu=1 node={node}"));
    }
    for number in 0..count {
        cluster.pending(&format!("crowd-{number} cpu=1"));
        assert_eq!(cluster.step(), format!("crowd-{number}: unschedulable"));
    }
    cluster
}

/// Attempts that looked at the nodes, and the number of those that did not.
fn attempts(cluster: &mut Cluster) -> (Vec<String>, u64) {
    let repeated = cluster.core.attempts_repeated();
    let steps: Vec<String> = std::iter::from_fn(|| Some(cluster.step()).filter(|step| step != "-")).collect();
    (steps, cluster.core.attempts_repeated() - repeated)
}

#[test]
fn pods_that_are_alike_are_rejected_by_one_attempt_while_nothing_changes() {
    let mut cluster = crowded(&[], 1);
    let first = cluster.effects();
    for number in 1..5 {
        cluster.pending(&format!("crowd-{number} cpu=1"));
        assert_eq!(cluster.step(), format!("crowd-{number}: unschedulable"));
        assert_eq!(cluster.place(&format!("crowd-{number}")), "Unschedulable");
        let expected: Vec<String> =
            first.iter().map(|line| line.replace("crowd-0", &format!("crowd-{number}"))).collect();
        assert_eq!(cluster.effects(), expected, "event and condition are those of an attempt");
    }
    assert_eq!(cluster.core.attempts_repeated(), 4);
    // Another kind is not covered, nor is a pod after a change.
    cluster.pending("small cpu=100m");
    cluster.step();
    cluster.node("a cpu=1 label=x");
    cluster.pending("crowd-5 cpu=1");
    assert_eq!(cluster.step(), "crowd-5: unschedulable");
    assert_eq!(cluster.core.attempts_repeated(), 4);
}

#[test]
fn what_is_rejected_beyond_256_kinds_is_counted_and_tried_each_time() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("a cpu=1");
    for number in 1..=300 {
        cluster.pending(&format!("p{number} cpu={number}001m"));
        assert_eq!(cluster.step(), format!("p{number}: unschedulable"));
    }
    assert_eq!(cluster.core.queue().rejections_not_kept(), 44);
    let mut repeated = Vec::new();
    for number in [256, 257] {
        cluster.pending(&format!("again-{number} cpu={number}001m"));
        assert_eq!(cluster.step(), format!("again-{number}: unschedulable"));
        repeated.push(cluster.core.attempts_repeated());
    }
    assert_eq!(repeated, [1, 1]);
    assert_eq!(cluster.core.queue().rejections_not_kept(), 45);
    // After a change, kinds without waiting pods make room.
    cluster.node("a cpu=1 label=x");
    cluster.pending("last cpu=999001m");
    assert_eq!(cluster.step(), "last: unschedulable");
    assert_eq!(cluster.core.queue().rejections_not_kept(), 45);
}

#[test]
fn the_rejection_of_a_huge_pod_is_counted_and_not_kept() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("a cpu=1");
    for number in 0..3 {
        cluster.pending(&format!("huge-{number} cpu=9 labels=3000"));
        assert_eq!(cluster.step(), format!("huge-{number}: unschedulable"));
    }
    assert_eq!((cluster.core.queue().rejections_not_kept(), cluster.core.attempts_repeated()), (3, 0));
    for number in 0..3 {
        cluster.pending(&format!("large-{number} cpu=9 labels=300"));
        assert_eq!(cluster.step(), format!("large-{number}: unschedulable"));
    }
    assert_eq!((cluster.core.queue().rejections_not_kept(), cluster.core.attempts_repeated()), (3, 2));
}

#[test]
fn room_for_one_costs_one_attempt_more_than_that() {
    for more in [&[][..], &["DynamicResources", "DefaultPreemption"]] {
        let mut cluster = crowded(more, 50);
        cluster.wait(20.0);
        cluster.gone(PodWatch::Assigned, "on-a");
        assert_eq!(cluster.core.queue().size().active, 50, "all of them are woken, as in kube-scheduler");
        let (steps, repeated) = attempts(&mut cluster);
        assert_eq!(steps[..2], ["crowd-0 -> a", "crowd-1: unschedulable"]);
        assert_eq!((steps.len(), repeated), (50, 48), "{more:?}");
    }
}

#[test]
fn pods_that_may_fit_go_before_those_of_which_it_is_known_that_they_do_not() {
    let mut cluster = crowded(&[], 50);
    cluster.node("c cpu=0");
    cluster.wait(20.0);
    cluster.gone(PodWatch::Assigned, "on-a");
    assert_eq!(cluster.step(), "crowd-0 -> a");
    assert_eq!(cluster.step(), "crowd-1: unschedulable");
    // It came last, and does not take a place that another pod could have had.
    cluster.pending("none");
    assert_eq!(cluster.step(), "none -> c");
    // That was a change: the first of the crowd is really tried again, when its turn comes.
    cluster.pending("another");
    let repeated = cluster.core.attempts_repeated();
    assert_eq!(
        (cluster.step(), cluster.core.attempts_repeated()),
        ("crowd-2: unschedulable".to_owned(), repeated)
    );
    assert_eq!(cluster.step(), "another -> c");
    // Room for one pod: it goes to the one that has waited longest.
    cluster.gone(PodWatch::Assigned, "on-b");
    cluster.pending("late cpu=1");
    assert_eq!(cluster.step(), "crowd-3 -> b");
}

#[test]
fn a_pod_that_is_promised_a_node_is_like_no_other() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("a cpu=1");
    cluster.assigned("low cpu=1 node=a");
    cluster.pending("high-0 cpu=1 priority=5");
    assert_eq!(cluster.step(), "high-0: unschedulable");
    cluster.evicted("high-0", "low", Ok(()));
    cluster.pending("high-1 cpu=1 priority=5");
    assert_eq!(cluster.step(), "high-1: unschedulable");
    cluster.wait(20.0);
    cluster.gone(PodWatch::Assigned, "low");
    assert_eq!(cluster.step(), "high-0 -> a");
}

#[test]
fn who_would_be_rejected_again_is_not_taken_out_of_backoff_early() {
    let mut cluster = crowded(&[], 3);
    cluster.assigned("small cpu=0 node=a");
    cluster.assigned("other cpu=100m node=b");
    // More room, but not enough: all are woken, and the first one finds that out for the others.
    cluster.gone(PodWatch::Assigned, "other");
    assert_eq!(cluster.core.queue().size().backoff, 3);
    assert_eq!(cluster.step(), "crowd-0: unschedulable");
    assert_eq!(cluster.step(), "-");
    assert!(cluster.core.is_idle());
    assert_eq!((cluster.place("crowd-1"), cluster.place("crowd-2")), ("Backoff".into(), "Backoff".into()));
    // When their backoff ends, they get the answer.
    let repeated = cluster.core.attempts_repeated();
    cluster.wait(3.0);
    assert_eq!(cluster.step(), "crowd-1: unschedulable");
    assert_eq!(cluster.step(), "crowd-2: unschedulable");
    assert_eq!(cluster.core.attempts_repeated(), repeated + 2);
    // With room for one of them, the first is tried at once, as always.
    cluster.gone(PodWatch::Assigned, "on-b");
    assert!(!cluster.core.is_idle());
    assert_eq!(cluster.step(), "crowd-0 -> b");
    assert_eq!(cluster.step(), "crowd-1: unschedulable");
    assert_eq!(cluster.step(), "-");
    assert_eq!(cluster.place("crowd-2"), "Backoff");
    // Whether a change helps is known only after an attempt, even if it moves no pod.
    cluster.node("a cpu=1 label=x");
    assert!(!cluster.core.is_idle());
    assert_eq!(cluster.step(), "crowd-2: unschedulable");
    assert!(cluster.core.is_idle());
}

#[test]
fn a_pod_for_which_room_was_made_in_memory_is_tried_at_once_though_others_like_it_fit_nowhere() {
    let mut cluster = Cluster::new(&["DefaultPreemption", "OnlyPermits"]);
    let wait = (Status::wait(""), Duration::from_secs(60));
    cluster.script.lines().permit.insert("OnlyPermits/victim".to_owned(), wait);
    cluster.node("n1 cpu=1");
    cluster.assigned("big cpu=800m node=n1 priority=9");
    for name in ["high-0", "high-1", "high-2"] {
        cluster.pending(&format!("{name} cpu=800m priority=5"));
        assert_eq!(cluster.step(), format!("{name}: unschedulable"));
    }
    cluster.gone(PodWatch::Assigned, "big");
    cluster.pending("victim cpu=800m");
    assert_eq!(cluster.step(), "victim -> n1");
    // It stops the victim, which waits on permit, and backs off for longer than the others.
    assert_eq!(cluster.step(), "high-0: unschedulable");
    assert_eq!(cluster.step(), "high-1: unschedulable", "the room is promised");
    assert_eq!(cluster.step(), "high-0 -> n1");
}
