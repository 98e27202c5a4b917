//! Two schedulers whose evictions and replacements would go on endlessly, and how the loop is broken.

use crate::fixture::{Cluster, uid};
use secondmate_core::port::{BindOutcome, Effect, Input, PodWatch};
use secondmate_model::Timestamp;
use std::time::Duration;

/// One node, full with a pod of another scheduler whose controller replaces it; `p` needs the room.
fn full(break_loops: bool) -> Cluster {
    let mut cluster = Cluster::preempting(break_loops);
    cluster.node("n1 cpu=1");
    cluster.assigned("v0 cpu=1 node=n1 scheduler=other owner=rs");
    cluster.pending("p cpu=1 priority=100");
    cluster
}

/// The victim goes, and the other scheduler puts its replacement into the room before `p` is retried.
fn replace(cluster: &mut Cluster, victim: &str, replacement: &str) {
    cluster.evicted("p", victim, Ok(()));
    cluster.assigned(&format!("{victim} cpu=1 node=n1 scheduler=other owner=rs deleting"));
    cluster.wait(1.0);
    cluster.gone(PodWatch::Assigned, victim);
    cluster.assigned(&format!("{replacement} cpu=1 node=n1 scheduler=other owner=rs"));
}

/// When pods were evicted if this goes on for the given time, in seconds.
fn evictions(break_loops: bool, lasts: Duration) -> Vec<u64> {
    let mut cluster = full(break_loops);
    let began = cluster.now;
    let end = began + lasts;
    let mut times = Vec::new();
    loop {
        cluster.core.step(cluster.now);
        cluster.core.check().expect("the invariants hold");
        let evicted = cluster.core.take_effects().into_iter().find_map(|effect| match effect {
            Effect::Evict { victim, .. } => Some(victim.name.to_string()),
            _ => None,
        });
        match evicted {
            Some(victim) => {
                times.push(cluster.now.since(began).as_secs());
                replace(&mut cluster, &victim, &format!("v{}", times.len()));
            }
            None if cluster.core.is_idle() => {
                let next = cluster.core.next_wakeup().expect("the pod waits for its delay or its flush");
                cluster.now = next.max(cluster.now + Duration::from_millis(1));
            }
            None => {}
        }
        if cluster.now >= end {
            return times;
        }
    }
}

#[test]
fn without_the_breaker_evictions_go_on_without_bound() {
    let minutes = Duration::from_secs(5 * 60);
    let (one, two) = (evictions(false, minutes).len(), evictions(false, 2 * minutes).len());
    assert!(one > 25, "{one} evictions in five minutes");
    assert!(two >= 2 * one - 2, "{one} in five minutes, {two} in ten");
}

#[test]
fn with_the_breaker_there_are_as_many_as_the_logarithm_of_the_time() {
    let times = evictions(true, Duration::from_secs(20 * 3600));
    assert_eq!(times, [0, 10, 30, 70, 150, 310, 630, 1270, 2550, 5110, 10_230, 20_470, 40_950]);
    // At most a day passes between evictions, so the pod is not given up.
    let times = evictions(true, Duration::from_secs(10 * 24 * 3600));
    assert_eq!(times.len(), 23, "{times:?}");
}

#[test]
fn event_metric_and_message_say_why_the_pod_waits() {
    let mut cluster = full(true);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert!(cluster.effects().contains(&"evict v0 for p".to_owned()));
    replace(&mut cluster, "v0", "v1");
    cluster.effects();
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.all_effects();
    let why =
        "pods evicted from node n1 to make room came back (default/v1 of other): no pod is evicted again";
    let message =
        format!("0/1 nodes are available: 1 Insufficient cpu. preemption: {why} for 10s after the last time");
    assert_eq!(
        effects,
        [
            "observed PreemptionPutOff { reason: \"victims_came_back\" }".to_owned(),
            format!("event p PreemptionPutOff: {why} for this one for 10s after the last time"),
            "observed Preemption { victims: 0, budget_violations: 0 }".to_owned(),
            "observed Unschedulable { profile: \"my-scheduler\" }".to_owned(),
            format!("event p FailedScheduling: {message}"),
            format!("status p Unschedulable: {message} nominated=-"),
        ]
    );
    // It is reported once, however often the pod is tried.
    cluster.gone(PodWatch::Assigned, "elsewhere");
    cluster.node("n2 cpu=100m");
    while cluster.step() == "p: unschedulable" {}
    assert!(!cluster.effects().iter().any(|line| line.starts_with("event p PreemptionPutOff")));
    // When the time has come it is retried at once.
    assert_eq!(cluster.core.next_wakeup(), Some(Timestamp::from_secs(1010)));
    cluster.now = Timestamp::from_secs(1010);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert!(cluster.effects().contains(&"evict v1 for p".to_owned()));
    replace(&mut cluster, "v1", "v2");
    cluster.effects();
    assert_eq!(cluster.step(), "p: unschedulable");
    let told = cluster.effects().into_iter().find(|line| line.starts_with("event p PreemptionPutOff"));
    assert!(told.is_some_and(|line| line.contains("(default/v2 of other, for the 2nd time in a row)")));
}

#[test]
fn a_pod_that_fits_meanwhile_is_placed_and_forgotten() {
    let mut cluster = full(true);
    cluster.step();
    replace(&mut cluster, "v0", "v1");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.gone(PodWatch::Assigned, "v1");
    assert_eq!(cluster.step(), "p -> n1");
    cluster.answer("p", BindOutcome::Bound);
    assert_eq!(cluster.core.next_wakeup().filter(|at| *at < Timestamp::from_secs(1020)), None);
}

#[test]
fn a_preemption_after_which_nothing_came_is_followed_by_another_at_once() {
    let mut cluster = full(true);
    cluster.step();
    cluster.effects();
    cluster.evicted("p", "v0", Ok(()));
    cluster.gone(PodWatch::Assigned, "v0");
    // The node goes too, and another one is full.
    cluster.assigned("x cpu=1 node=n2 scheduler=other");
    cluster.node("n2 cpu=1");
    cluster.apply(Input::NodeGone("n1".into()));
    assert_eq!(cluster.step(), "p: unschedulable");
    assert!(cluster.effects().contains(&"evict x for p".to_owned()));
}

/// Two victims; the eviction of the second fails at first. Whether the first one is gone then or later, it counts as a victim.
fn tried_again(gone_before: bool) {
    let mut cluster = Cluster::preempting(true);
    cluster.node("n1 cpu=2");
    cluster.assigned("v cpu=1 node=n1 owner=rs priority=2");
    cluster.assigned("w cpu=1 node=n1 owner=other priority=1");
    cluster.pending("p cpu=2 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    let evicted = |cluster: &mut Cluster| -> Vec<String> {
        cluster.effects().into_iter().filter(|line| line.starts_with("evict ")).collect()
    };
    assert_eq!(evicted(&mut cluster), ["evict v for p"]);
    cluster.evicted("p", "v", Ok(()));
    assert_eq!(evicted(&mut cluster), ["evict w for p"]);
    cluster.assigned("v cpu=1 node=n1 owner=rs priority=2 deleting");
    if gone_before {
        cluster.gone(PodWatch::Assigned, "v");
    }
    cluster.evicted("p", "w", Err("500"));
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evicted(&mut cluster), ["evict w for p"], "the other one left");
    cluster.evicted("p", "w", Ok(()));
    cluster.gone(PodWatch::Assigned, "v");
    cluster.gone(PodWatch::Assigned, "w");
    cluster.assigned("v1 cpu=1 node=n1 owner=rs priority=2");
    cluster.wait(3.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evicted(&mut cluster), [""; 0], "its successor came back");
    cluster.wait(10.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evicted(&mut cluster), ["evict v1 for p"]);
}

#[test]
fn a_preemption_that_is_tried_again_is_one_with_what_follows() {
    tried_again(false);
    tried_again(true);
}

/// The pod is bound into the room, its kubelet rejects it because another scheduler was first, and its controller creates the
/// next pod. `rejection_first`: the rejection arrives before everything else. Returns when pods were evicted, in seconds.
fn through_rejections(rejection_first: bool) -> Vec<u64> {
    let mut cluster = Cluster::preempting(true);
    cluster.node("n1 cpu=1");
    cluster.assigned("v0 cpu=1 node=n1 scheduler=other owner=rs");
    let mut times = Vec::new();
    let began = cluster.now;
    for round in 0..5 {
        let (p, victim) = (format!("p{round}"), format!("v{round}"));
        cluster.pending(&format!("{p} cpu=1 priority=100 owner=mine"));
        // It waits for its delay, if there is one.
        while !cluster.effects().contains(&format!("evict {victim} for {p}")) {
            if cluster.step() == "-" {
                cluster.now = cluster.core.next_wakeup().expect("it waits for its delay").max(cluster.now);
            }
        }
        times.push(cluster.now.since(began).as_secs());
        cluster.evicted(&p, &victim, Ok(()));
        cluster.gone(PodWatch::Assigned, &victim);
        while !cluster.effects().contains(&format!("bind {p} to n1")) {
            cluster.step();
        }
        if rejection_first {
            cluster.apply(Input::PodRejected(uid(&p)));
            cluster.gone(PodWatch::Pending, &p);
        }
        cluster.assigned(&format!("v{} cpu=1 node=n1 scheduler=other owner=rs", round + 1));
        cluster.answer(&p, BindOutcome::Bound);
        cluster.gone(PodWatch::Pending, &p);
        cluster.assigned(&format!("{p} cpu=1 node=n1 priority=100 owner=mine"));
        if !rejection_first {
            cluster.apply(Input::PodRejected(uid(&p)));
        }
        cluster.gone(PodWatch::Assigned, &p);
        cluster.core.check().expect("the invariants hold");
    }
    times
}

#[test]
fn a_loop_through_rejections_of_the_kubelet_is_broken_as_well() {
    for rejection_first in [false, true] {
        assert_eq!(through_rejections(rejection_first), [0, 10, 30, 70, 150], "{rejection_first}");
    }
}

/// If a pod that has claimed the history of another pod of its controller is deleted before its binding is sent, the next pod can
/// claim it.
#[test]
fn a_pod_that_is_deleted_while_it_waits_for_the_last_room_leaves_what_it_has_claimed() {
    let mut cluster = Cluster::beside_others(false, Duration::from_secs(5));
    cluster.node("n1 cpu=1");
    cluster.assigned("v0 cpu=1 node=n1 scheduler=other owner=rs");
    cluster.pending("p0 cpu=1 priority=100 owner=mine");
    assert_eq!(cluster.step(), "p0: unschedulable");
    assert_eq!(evicted(&mut cluster), 1);
    cluster.evicted("p0", "v0", Ok(()));
    cluster.gone(PodWatch::Assigned, "v0");
    cluster.wait(3.0);
    assert_eq!(cluster.step(), "p0 -> n1");
    assert!(cluster.effects().contains(&"bind p0 to n1".to_owned()));
    cluster.answer("p0", BindOutcome::Bound);
    cluster.gone(PodWatch::Pending, "p0");
    cluster.assigned("v1 cpu=1 node=n1 scheduler=other owner=rs");
    cluster.apply(Input::PodRejected(uid("p0")));
    cluster.gone(PodWatch::Assigned, "p0");
    // The next one has to wait, and then finds room while others bind pods to the node.
    cluster.pending("p1 cpu=1 priority=100 owner=mine");
    assert_eq!(cluster.step(), "p1: unschedulable");
    assert_eq!(evicted(&mut cluster), 0);
    cluster.gone(PodWatch::Assigned, "v1");
    cluster.wait(1.0);
    assert_eq!(cluster.step(), "p1 -> n1");
    assert_eq!(cluster.core.sizes().bindings, 1);
    assert!(!cluster.effects().iter().any(|effect| effect.starts_with("bind")), "it yields");
    cluster.gone(PodWatch::Pending, "p1");
    assert_eq!(cluster.core.sizes().bindings, 0);
    cluster.assigned("v2 cpu=1 node=n1 scheduler=other owner=rs");
    cluster.pending("p2 cpu=1 priority=100 owner=mine");
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evicted(&mut cluster), 0, "it waits as p1 would have");
}

fn evicted(cluster: &mut Cluster) -> usize {
    cluster.effects().iter().filter(|effect| effect.starts_with("evict")).count()
}
