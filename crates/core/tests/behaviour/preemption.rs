//! Preemption as carried out by the core: the order of evictions, the gate meanwhile, and what wakes the pod.

use crate::fixture::Cluster;
use secondmate_core::port::{BindOutcome, PodWatch};
use secondmate_framework::Status;
use std::time::Duration;

/// `victims` pods of 300m on n1; p needs all of it.
fn preempting(victims: usize) -> Cluster {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=900m");
    for at in 0..victims {
        cluster.assigned(&format!("v{at} cpu=300m node=n1 priority={at}"));
    }
    cluster.pending("p cpu=900m priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster
}

fn evictions(cluster: &mut Cluster) -> Vec<String> {
    cluster.effects().into_iter().filter(|line| line.starts_with("evict")).collect()
}

#[test]
fn all_victims_but_the_last_are_evicted_at_once_then_the_last() {
    let mut cluster = preempting(3);
    let effects = cluster.all_effects();
    assert_eq!(
        effects[..4],
        [
            "observed Preemption { victims: 3, budget_violations: 0 }",
            "evict v2 for p",
            "evict v1 for p",
            "observed Unschedulable { profile: \"my-scheduler\" }"
        ]
    );
    assert!(effects.last().is_some_and(|l| l.ends_with(" nominated=n1")), "{effects:?}");
    assert_eq!(cluster.place("p"), "Unschedulable");
    // An event that would wake it finds the gate closed.
    cluster.assigned("elsewhere node=n9");
    cluster.gone(PodWatch::Assigned, "elsewhere");
    assert_eq!(cluster.place("p"), "Gated");
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(cluster.effects(), ["event v1 Preempted: Preempted by pod p on node n1"]);
    cluster.evicted("p", "v2", Ok(()));
    assert_eq!(cluster.effects(), ["event v2 Preempted: Preempted by pod p on node n1", "evict v0 for p"]);
    assert_eq!(cluster.place("p"), "Gated");
    cluster.evicted("p", "v0", Ok(()));
    // The victims are still there: an attempt now would be futile.
    assert_eq!(cluster.place("p"), "Unschedulable");
    cluster.gone(PodWatch::Assigned, "v0");
    assert_eq!(cluster.place("p"), "Backoff");
}

/// What is reported about preemptions that have ended.
fn carried_out(cluster: &mut Cluster) -> Vec<String> {
    cluster.all_effects().into_iter().filter(|line| line.contains("PreemptionCarriedOut")).collect()
}

#[test]
fn it_is_told_how_long_the_evictions_took_and_whether_all_were_made() {
    let told =
        |took, succeeded| format!("observed PreemptionCarriedOut {{ took: {took}, succeeded: {succeeded} }}");
    let mut cluster = preempting(2);
    cluster.wait(0.2);
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(carried_out(&mut cluster), Vec::<String>::new());
    cluster.wait(0.1);
    cluster.evicted("p", "v0", Ok(()));
    assert_eq!(carried_out(&mut cluster), [told("300ms", true)]);

    let mut cluster = preempting(2);
    cluster.evicted("p", "v1", Err("500"));
    assert_eq!(carried_out(&mut cluster), [told("0ns", false)]);

    // The watch shows that the only victim is gone, and the pod is bound, before the eviction is answered.
    let mut cluster = preempting(1);
    cluster.gone(PodWatch::Assigned, "v0");
    cluster.step();
    cluster.answer("p", BindOutcome::Bound);
    cluster.assigned("p cpu=900m node=n1 priority=100");
    assert_eq!(carried_out(&mut cluster), [told("0ns", true)]);

    let mut cluster = preempting(2);
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(carried_out(&mut cluster), [told("0ns", false)]);
}

#[test]
fn victims_that_are_gone_before_the_answers_wake_the_pod_as_well() {
    let mut cluster = preempting(1);
    assert_eq!(evictions(&mut cluster), ["evict v0 for p"]);
    cluster.gone(PodWatch::Assigned, "v0");
    assert_eq!(cluster.place("p"), "Backoff");
    assert_eq!(cluster.step(), "p -> n1");
    cluster.effects();
    cluster.evicted("p", "v0", Ok(()));
    assert_eq!(cluster.effects(), ["event v0 Preempted: Preempted by pod p on node n1"]);
    assert_eq!(cluster.core.sizes().preemptions, 0);
}

#[test]
fn of_a_victim_that_was_gone_before_its_eviction_no_preemption_is_told() {
    let mut cluster = preempting(2);
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    cluster.gone_before_eviction("p", "v1");
    assert_eq!(cluster.effects(), ["evict v0 for p"]);
    cluster.gone(PodWatch::Assigned, "v1");
    cluster.gone_before_eviction("p", "v0");
    let told = cluster.effects();
    assert!(!told.iter().any(|line| line.contains("Preempted")), "{told:?}");
    cluster.gone(PodWatch::Assigned, "v0");
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_last_victim_that_went_by_itself_before_its_turn_does_not_leave_the_pod_waiting() {
    let mut cluster = preempting(2);
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    cluster.gone(PodWatch::Assigned, "v0");
    cluster.gone(PodWatch::Assigned, "v1");
    assert_eq!(cluster.place("p"), "Gated", "evictions are on the way");
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new(), "there is nobody left to evict");
    assert_eq!(cluster.core.sizes().preemptions, 0);
    assert_eq!(cluster.place("p"), "Backoff");
}

#[test]
fn a_last_victim_that_went_before_its_turn_wakes_a_pod_that_nothing_else_had_tried_to_wake() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    // It is going already, so it is not evicted. NodePorts alone rejects the pod, and waits for nobody else.
    cluster.assigned("holds-the-port cpu=200m port=80 node=n1 priority=3 deleting");
    cluster.assigned("first cpu=400m node=n1 priority=2");
    cluster.assigned("last cpu=400m node=n1 priority=1");
    cluster.pending("p cpu=1 port=80 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict first for p"]);
    cluster.gone(PodWatch::Assigned, "last");
    cluster.gone(PodWatch::Assigned, "first");
    assert_eq!(
        cluster.place("p"),
        "Unschedulable",
        "it is not held back, since no event has tried to wake it"
    );
    cluster.evicted("p", "first", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.core.sizes().preemptions, 0);
    assert_eq!(cluster.place("p"), "Backoff");
}

/// The binding of the last victim fails while the first one is being evicted.
fn last_victim_is_free_again() -> Cluster {
    let mut cluster = Cluster::new(&["DefaultPreemption", "A"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("first cpu=400m node=n1 priority=1");
    cluster.pending("last cpu=400m");
    assert_eq!(cluster.step(), "last -> n1");
    cluster.pending("p cpu=900m priority=5");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict first for p"]);
    cluster.answer("last", BindOutcome::Refused { code: 403, message: "no room".to_owned() });
    assert_eq!(cluster.place("last"), "ErrorBackoff");
    cluster
}

#[test]
fn a_last_victim_whose_binding_failed_before_its_turn_is_spared_while_it_waits() {
    let mut cluster = last_victim_is_free_again();
    cluster.evicted("p", "first", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.core.sizes().preemptions, 0);
    assert_eq!((cluster.place("last"), cluster.place("p")), ("ErrorBackoff".into(), "Backoff".into()));
    cluster.gone(PodWatch::Assigned, "first");
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_last_victim_that_was_placed_elsewhere_before_its_turn_stays_there() {
    // There it waits on permit, or its binding is sent.
    for on_permit in [true, false] {
        let mut cluster = last_victim_is_free_again();
        if on_permit {
            let wait = (Status::wait(""), Duration::from_secs(60));
            cluster.script.lines().permit.insert("A/last".to_owned(), wait);
        }
        cluster.node("n2 cpu=500m");
        cluster.wait(3.0);
        assert_eq!(cluster.step(), "last -> n2");
        cluster.effects();
        cluster.evicted("p", "first", Ok(()));
        assert_eq!(cluster.effects(), ["event first Preempted: Preempted by pod p on node n1"]);
        assert_eq!(cluster.core.sizes().preemptions, 0);
        assert_eq!((cluster.place("last"), cluster.place("p")), ("InFlight".into(), "Active".into()));
    }
}

#[test]
fn a_terminating_last_victim_opens_the_gate() {
    let mut cluster = preempting(1);
    cluster.assigned("v0 cpu=300m node=n1 deleting");
    assert_eq!(cluster.place("p"), "Unschedulable");
    cluster.gone(PodWatch::Assigned, "v0");
    assert_eq!(cluster.place("p"), "Backoff");
}

#[test]
fn a_last_victim_that_was_in_nobodys_way_wakes_the_pod_since_the_others_went_while_it_was_held_back() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("holds-the-port cpu=500m port=80 node=n1 priority=2");
    cluster.assigned("has-room cpu=500m node=n1 priority=1");
    // At first only the port is in its way: NodePorts rejects it before any plugin looks at its CPU request.
    cluster.pending("p cpu=1 port=80 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict holds-the-port for p"]);
    cluster.gone(PodWatch::Assigned, "holds-the-port");
    cluster.evicted("p", "holds-the-port", Ok(()));
    assert_eq!(evictions(&mut cluster), ["evict has-room for p"]);
    cluster.evicted("p", "has-room", Ok(()));
    cluster.assigned("has-room cpu=500m node=n1 priority=1 deleting");
    assert_eq!(cluster.place("p"), "Unschedulable", "an attempt now would be in vain");
    cluster.gone(PodWatch::Assigned, "has-room");
    assert_eq!(cluster.place("p"), "Backoff");
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_last_victim_whose_binding_was_under_way_and_fails_wakes_the_pod_as_well() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("holds-the-port cpu=500m port=80 node=n1 priority=2");
    cluster.pending("has-room cpu=500m priority=1");
    assert_eq!(cluster.step(), "has-room -> n1");
    cluster.pending("p cpu=1 port=80 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.gone(PodWatch::Assigned, "holds-the-port");
    cluster.evicted("p", "holds-the-port", Ok(()));
    assert_eq!(evictions(&mut cluster), ["evict holds-the-port for p", "evict has-room for p"]);
    cluster.evicted("p", "has-room", Ok(()));
    assert_eq!(cluster.place("p"), "Unschedulable");
    cluster.gone(PodWatch::Pending, "has-room");
    cluster.answer("has-room", BindOutcome::Refused { code: 404, message: "not found".to_owned() });
    assert_eq!(cluster.place("p"), "Backoff");
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_last_victim_whose_room_was_free_before_its_end_was_shown_wakes_the_pod_as_well() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.pending("v cpu=1");
    assert_eq!(cluster.step(), "v -> n1");
    cluster.pending("p cpu=1 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v for p"]);
    cluster.pending("v cpu=1 rv=2 deleting");
    assert_eq!(cluster.place("p"), "Gated", "the room is free, but its preemption is not over");
    cluster.gone(PodWatch::Pending, "v");
    cluster.gone(PodWatch::Assigned, "v");
    assert_eq!(cluster.place("p"), "Backoff");
    cluster.evicted("p", "v", Ok(()));
    assert_eq!(cluster.core.sizes().preemptions, 0);
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_failed_eviction_spares_the_last_victim_and_the_pod_tries_again_when_all_are_answered() {
    let mut cluster = preempting(3);
    cluster.effects();
    cluster.evicted("p", "v2", Err("500"));
    assert_eq!(cluster.place("p"), "Unschedulable", "another eviction is on the way");
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(cluster.effects(), ["event v1 Preempted: Preempted by pod p on node n1"]);
    assert_eq!(cluster.place("p"), "Active");
    assert_eq!(cluster.core.sizes().preemptions, 0);
}

#[test]
fn a_pod_that_is_gone_ends_its_preemption_and_the_eviction_on_its_way_is_told_nevertheless() {
    let mut cluster = preempting(2);
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(cluster.core.sizes().preemptions, 0);
    cluster.effects();
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(cluster.effects(), ["event v1 Preempted: Preempted by pod p on node n1"]);
}

#[test]
fn an_eviction_that_is_answered_after_the_pod_was_bound_is_told_nevertheless() {
    let mut cluster = preempting(1);
    cluster.gone(PodWatch::Assigned, "v0");
    assert_eq!(cluster.step(), "p -> n1");
    cluster.answer("p", BindOutcome::Bound);
    cluster.assigned("p cpu=900m node=n1 priority=100");
    assert_eq!(cluster.core.sizes().preemptions, 0);
    cluster.effects();
    cluster.evicted("p", "v0", Ok(()));
    assert_eq!(cluster.effects(), ["event v0 Preempted: Preempted by pod p on node n1"]);
}

#[test]
fn each_eviction_of_a_pod_tells_for_whom_it_was() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=2");
    cluster.assigned("v cpu=1 node=n1 priority=110");
    cluster.assigned("x cpu=1 node=n1 priority=150");
    cluster.pending("p1 cpu=1 priority=120");
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v for p1"]);
    // A more important pod needs the whole node, and evicts it too.
    cluster.pending("p2 cpu=2 priority=200");
    cluster.step();
    cluster.evicted("p2", "x", Ok(()));
    assert_eq!(evictions(&mut cluster), ["evict x for p2", "evict v for p2"]);
    for p in ["p2", "p1"] {
        cluster.evicted(p, "v", Ok(()));
        assert_eq!(cluster.effects(), [format!("event v Preempted: Preempted by pod {p} on node n1")]);
    }
    assert_eq!(cluster.core.sizes().preemptions, 0);
}

/// A finalizer keeps it.
#[test]
fn a_pod_that_is_being_deleted_spares_its_last_victim_before_it_is_gone() {
    let mut cluster = preempting(2);
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    assert_eq!(cluster.core.sizes().nominations, 1);
    cluster.pending("p cpu=900m priority=100 deleting rv=2");
    assert_eq!((cluster.core.sizes().preemptions, cluster.core.sizes().nominations), (0, 0));
    assert_eq!(cluster.place("p"), "Unschedulable", "nothing holds it back any more");
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.step(), "-");
}

#[test]
fn a_victim_that_has_not_been_bound_is_taken_back_in_memory_and_tried_again_by_itself() {
    let mut cluster = Cluster::new(&["DefaultPreemption", "A"]);
    let wait = (Status::wait(""), Duration::from_secs(60));
    cluster.script.lines().permit.insert("A/victim".to_owned(), wait);
    cluster.node("n1 cpu=1");
    cluster.pending("victim cpu=800m");
    assert_eq!(cluster.step(), "victim -> n1");
    cluster.pending("p cpu=800m priority=5");
    cluster.effects();
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    assert!(evictions_in(&effects).is_empty());
    let note = "event victim Preempted: Preempted by pod p on node n1 (in kube-scheduler memory).";
    assert!(effects.contains(&note.to_owned()), "{effects:?}");
    let message = "event victim FailedScheduling: waiting on permit for pod: preempted";
    assert!(effects.contains(&message.to_owned()), "{effects:?}");
    assert_eq!(cluster.place("victim"), "ErrorBackoff", "no event would ever wake it");
    assert_eq!(cluster.place("p"), "Backoff", "the room is free already");
    assert_eq!(cluster.step(), "p -> n1");
}

fn evictions_in(effects: &[String]) -> Vec<&String> {
    effects.iter().filter(|line| line.starts_with("evict")).collect()
}

#[test]
fn nominations_of_lesser_pods_are_cleared_but_not_those_of_other_schedulers() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=900m");
    cluster.assigned("v cpu=900m node=n1");
    cluster.pending("lesser cpu=100m priority=1 nominated=n1 gated");
    cluster.pending("lesser cpu=100m priority=1 nominated=n1 rv=2 gated");
    cluster.foreign("theirs cpu=100m priority=1 nominated=n1 scheduler=default-scheduler");
    cluster.pending("p cpu=900m priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    let statuses: Vec<String> = cluster.effects().into_iter().filter(|l| l.starts_with("status")).collect();
    assert_eq!(statuses[0], "status lesser - nominated=-");
    assert_eq!(statuses.len(), 2, "{statuses:?}");
}

#[test]
fn an_attempt_to_preempt_is_counted_even_where_it_finds_nobody() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.pending("p cpu=2");
    cluster.step();
    assert_eq!(cluster.all_effects()[0], "observed Preemption { victims: 0, budget_violations: 0 }");
}

#[test]
fn a_last_victim_that_is_stopped_in_memory_wakes_the_pod_when_the_others_are_evicted() {
    let mut cluster = Cluster::new(&["DefaultPreemption", "A"]);
    let wait = (Status::wait(""), Duration::from_secs(600));
    cluster.script.lines().permit.insert("A/on-its-way".to_owned(), wait);
    cluster.node("n1 cpu=1");
    cluster.assigned("there cpu=400m node=n1 priority=1");
    cluster.pending("on-its-way cpu=400m");
    assert_eq!(cluster.step(), "on-its-way -> n1");
    cluster.pending("p cpu=900m priority=5");
    cluster.effects();
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict there for p"], "the more important victim first");
    assert_eq!(
        (cluster.place("on-its-way"), cluster.place("p")),
        ("InFlight".into(), "Unschedulable".into())
    );
    cluster.evicted("p", "there", Ok(()));
    let note = "event on-its-way Preempted: Preempted by pod p on node n1 (in kube-scheduler memory).";
    assert!(cluster.effects().contains(&note.to_owned()));
    assert_eq!((cluster.place("on-its-way"), cluster.place("p")), ("ErrorBackoff".into(), "Active".into()));
    assert_eq!(cluster.core.sizes().preemptions, 0);
}
