//! PodDisruptionBudgets while evictions are in progress: their status lags behind.

use crate::fixture::Cluster;
use secondmate_core::port::{Input, PodWatch};
use secondmate_model::objects::{Object, ObjectKind, ObjectName};
use secondmate_model::wire;
use serde_json::json;
use std::collections::BTreeMap;

/// Two nodes, each full with a pod that the budget protects, and two pods that need the room.
fn two_preemptors(allowed: i32) -> Cluster {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    budget(&mut cluster, allowed);
    for at in [1, 2] {
        cluster.node(&format!("n{at} cpu=1"));
        cluster.assigned(&format!("v{at} cpu=1 node=n{at} label=b"));
    }
    cluster.pending("p1 cpu=1 priority=100");
    cluster.pending("p2 cpu=1 priority=100");
    cluster
}

/// The API server shows the budget.
fn budget(cluster: &mut Cluster, allowed: i32) {
    budget_with(cluster, allowed, &[]);
}

fn budget_with(cluster: &mut Cluster, allowed: i32, disrupted: &[&str]) {
    let disrupted: BTreeMap<_, _> = disrupted.iter().map(|pod| (*pod, "2026-01-01T00:00:00Z")).collect();
    let object = json!({"metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}},
        "status": {"disruptionsAllowed": allowed, "disruptedPods": disrupted}});
    let wire: wire::PodDisruptionBudget = serde_json::from_value(object).expect("a budget");
    cluster.apply(Input::Object(Object::disruption_budget(&wire)));
}

fn evictions(cluster: &mut Cluster) -> Vec<String> {
    cluster.effects().into_iter().filter(|line| line.starts_with("evict")).collect()
}

const WAITS: &str = "preemption: pods that PodDisruptionBudget default/b protects are being evicted: no other is before its status shows them";

#[test]
fn as_many_pods_are_evicted_at_once_as_the_budget_allows() {
    let mut cluster = two_preemptors(2);
    assert_eq!(cluster.step(), "p1: unschedulable");
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1", "evict v2 for p2"]);
}

#[test]
fn a_preemption_that_would_overdraw_the_budget_waits_for_its_status() {
    let mut cluster = two_preemptors(1);
    assert_eq!(cluster.step(), "p1: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    assert_eq!(cluster.step(), "p2: unschedulable");
    let effects = cluster.all_effects();
    assert_eq!(effects[0], "observed PreemptionPutOff { reason: \"budget\" }");
    let message = format!("0/2 nodes are available: 2 Insufficient cpu. {WAITS}");
    assert!(effects.contains(&format!("event p2 FailedScheduling: {message}")), "{effects:?}");
    assert!(!effects.iter().any(|line| line.starts_with("evict")), "{effects:?}");
    // A status from before the eviction contains nothing new.
    budget(&mut cluster, 1);
    assert_eq!((cluster.step(), cluster.place("p2")), ("-".to_owned(), "Unschedulable".to_owned()));
    cluster.evicted("p1", "v1", Ok(()));
    assert_eq!(cluster.step(), "-");
    // Nor does one that comes after its answer and allows as many: it was written because another pod had become ready before
    // that.
    budget(&mut cluster, 1);
    assert_eq!(cluster.step(), "-");
    // One that shows it does; then another pod becomes healthy, so one more may be evicted.
    budget(&mut cluster, 0);
    budget(&mut cluster, 1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
}

/// A status never allows fewer than none, so it cannot show an eviction in that way.
#[test]
fn preemptions_against_a_budget_that_allows_none_do_not_wait_for_more_than_its_status() {
    let mut cluster = two_preemptors(0);
    cluster.node("n3 cpu=1");
    cluster.assigned("v3 cpu=1 node=n3 label=b");
    cluster.pending("p3 cpu=1 priority=100");
    for (p, v) in [("p1", "v1"), ("p2", "v2"), ("p3", "v3")] {
        while !cluster.effects().contains(&format!("evict {v} for {p}")) {
            assert_ne!(cluster.step(), "-", "{p} waits");
        }
        cluster.evicted(p, v, Ok(()));
        budget(&mut cluster, 0);
    }
}

/// The API server lists a pod that it evicts itself in the status, and counts it at once.
#[test]
fn what_others_evict_does_not_pass_for_what_was_evicted_here() {
    let mut cluster = two_preemptors(2);
    cluster.node("n3 cpu=1");
    cluster.assigned("v3 cpu=1 node=n3 label=b");
    cluster.pending("p3 cpu=1 priority=100");
    assert_eq!(cluster.step(), "p1: unschedulable");
    cluster.evicted("p1", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    budget_with(&mut cluster, 1, &["other"]);
    // One disruption is left, and v1 uses it.
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    budget_with(&mut cluster, 0, &["other"]);
    budget_with(&mut cluster, 1, &[]);
    assert_eq!(cluster.step(), "p3: unschedulable");
    assert_eq!(evictions(&mut cluster).len(), 1);
}

/// The first victim is evicted, and somebody else deletes another pod that the budget protects.
fn one_is_deleted_by_others(allowed: i32) -> Cluster {
    let mut cluster = two_preemptors(allowed);
    cluster.node("n3 cpu=1");
    cluster.assigned("other cpu=1 node=n3 label=b priority=1000");
    assert_eq!(cluster.step(), "p1: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    cluster.evicted("p1", "v1", Ok(()));
    cluster.assigned("other cpu=1 node=n3 label=b priority=1000 deleting");
    cluster
}

#[test]
fn what_others_delete_does_not_pass_for_what_was_evicted_here() {
    let mut cluster = one_is_deleted_by_others(2);
    budget(&mut cluster, 1);
    // One disruption is left, and v1 uses it.
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    budget(&mut cluster, 0);
    budget(&mut cluster, 1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
}

#[test]
fn a_status_that_allows_none_because_of_what_others_delete_shows_no_more_than_that() {
    let mut cluster = one_is_deleted_by_others(1);
    budget(&mut cluster, 0);
    // Another pod has become ready, and v1 is not in the status yet.
    budget(&mut cluster, 1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    cluster.wait(10.0);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"], "the status is believed by then");
}

/// The status lists it before the watch shows that it leaves, or after that.
#[test]
fn what_others_evict_is_not_counted_a_second_time_when_it_leaves() {
    for listed_first in [true, false] {
        let mut cluster = two_preemptors(2);
        cluster.node("n3 cpu=1");
        cluster.assigned("other cpu=1 node=n3 label=b priority=1000");
        assert_eq!(cluster.step(), "p1: unschedulable");
        cluster.evicted("p1", "v1", Ok(()));
        evictions(&mut cluster);
        if listed_first {
            budget_with(&mut cluster, 1, &["other"]);
        }
        cluster.assigned("other cpu=1 node=n3 label=b priority=1000 deleting");
        if !listed_first {
            budget_with(&mut cluster, 1, &["other"]);
        }
        budget(&mut cluster, 0);
        budget(&mut cluster, 1);
        assert_eq!(cluster.step(), "p2: unschedulable");
        assert_eq!(evictions(&mut cluster), ["evict v2 for p2"], "listed first: {listed_first}");
    }
}

/// Somebody else deletes the pod, or evicts it through the API server, which may be shown before the pod leaves or after that.
#[test]
fn what_the_status_showed_of_others_before_a_pod_was_chosen_is_not_set_against_its_eviction() {
    let orders: [[Option<&[&str]>; 2]; 3] =
        [[None, Some(&[])], [None, Some(&["other"])], [Some(&["other"]), None]];
    for statuses in orders {
        let mut cluster = two_preemptors(3);
        cluster.node("n3 cpu=1");
        cluster.assigned("other cpu=1 node=n3 label=b priority=1000");
        let [before, after] = statuses;
        if let Some(disrupted) = before {
            budget_with(&mut cluster, 2, disrupted);
        }
        cluster.assigned("other cpu=1 node=n3 label=b priority=1000 deleting");
        if let Some(disrupted) = after {
            budget_with(&mut cluster, 2, disrupted);
        }
        cluster.wait(5.0);
        assert_eq!(cluster.step(), "p1: unschedulable");
        assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
        cluster.evicted("p1", "v1", Ok(()));
        budget(&mut cluster, 1);
        assert_eq!(cluster.step(), "p2: unschedulable");
        assert_eq!(evictions(&mut cluster), ["evict v2 for p2"], "{statuses:?}");
    }
}

#[test]
fn what_the_status_forbids_in_the_end_is_done_as_kube_scheduler_does_it() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    cluster.evicted("p1", "v1", Ok(()));
    evictions(&mut cluster);
    budget(&mut cluster, 0);
    // There is no other way to place the pod, and budgets do not override priority.
    assert_eq!(cluster.step(), "p2: unschedulable");
    let effects = cluster.all_effects();
    assert_eq!(effects[0], "observed Preemption { victims: 1, budget_violations: 1 }");
    assert!(effects.contains(&"evict v2 for p2".to_owned()), "{effects:?}");
}

#[test]
fn a_node_whose_pods_no_budget_protects_is_preferred_while_evictions_are_on_their_way() {
    let mut cluster = two_preemptors(1);
    cluster.node("n3 cpu=1");
    // More important than the protected ones, so otherwise it would be spared.
    cluster.assigned("v3 cpu=1 node=n3 priority=50");
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v3 for p2"]);
}

#[test]
fn an_eviction_that_fails_gives_its_disruption_back() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    evictions(&mut cluster);
    cluster.evicted("p1", "v1", Err("500"));
    let tried: Vec<String> = (0..2).map(|_| cluster.step()).collect();
    assert_eq!(tried, ["p2: unschedulable", "p1: unschedulable"]);
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"], "one at a time again");
}

#[test]
fn an_eviction_stays_charged_for_as_long_as_the_api_server_takes() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    for minute in 1..=2 {
        cluster.wait(60.0);
        assert_eq!(cluster.step(), "p2: unschedulable", "it looks for another way");
        assert_eq!(evictions(&mut cluster), Vec::<String>::new(), "minute {minute}");
    }
    cluster.evicted("p1", "v1", Ok(()));
    budget(&mut cluster, 0);
    budget(&mut cluster, 1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
}

#[test]
fn an_eviction_without_an_answer_stays_charged_until_the_status_would_show_it() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    evictions(&mut cluster);
    cluster.eviction_lost("p1", "v1");
    let tried: Vec<String> = (0..2).map(|_| cluster.step()).collect();
    assert_eq!(tried, ["p1: unschedulable", "-"]);
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"], "the same one");
    // The charge lasts for as long after this answer, whatever it would have been after the first one.
    cluster.wait(5.0);
    cluster.evicted("p1", "v1", Ok(()));
    cluster.wait(9.9);
    assert_eq!(cluster.step(), "-");
    cluster.wait(0.1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
}

#[test]
fn a_status_that_never_comes_is_not_waited_for_without_end() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    evictions(&mut cluster);
    cluster.evicted("p1", "v1", Ok(()));
    cluster.assigned("v1 cpu=1 node=n1 label=b deleting");
    cluster.wait(9.9);
    assert_eq!(cluster.step(), "-");
    cluster.wait(0.1);
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
}

#[test]
fn a_budget_that_is_deleted_or_a_pod_that_goes_ends_the_wait() {
    let mut cluster = two_preemptors(1);
    cluster.step();
    cluster.step();
    evictions(&mut cluster);
    let name = ObjectName::new(&"default".into(), "b");
    cluster.apply(Input::ObjectGone(ObjectKind::DisruptionBudget, name));
    assert_eq!(cluster.step(), "p2: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v2 for p2"]);
    for pod in ["p1", "p2"] {
        cluster.gone(PodWatch::Pending, pod);
    }
    assert_eq!(cluster.step(), "-");
}

#[test]
fn the_last_victim_is_spared_where_others_have_used_the_budget_up_meanwhile() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    budget(&mut cluster, 2);
    cluster.node("n1 cpu=1");
    cluster.assigned("v0 cpu=500m node=n1 label=b");
    cluster.assigned("v1 cpu=500m node=n1 label=b priority=1");
    cluster.pending("p cpu=1 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    // A drain evicts other pods of the budget.
    budget(&mut cluster, 0);
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.place("p"), "Active", "it tries again");
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    assert!(effects.iter().any(|line| line.ends_with(WAITS)), "{effects:?}");
    // The drain is over, and the evicted pods run elsewhere.
    cluster.gone(PodWatch::Assigned, "v1");
    budget(&mut cluster, 2);
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v0 for p"]);
}

/// A budget allows one disruption, and a pod has its victim evicted.
fn one_eviction() -> Cluster {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    budget(&mut cluster, 1);
    cluster.node("n1 cpu=2");
    cluster.assigned("v1 cpu=1 node=n1 label=b priority=110");
    cluster.assigned("x cpu=1 node=n1 priority=150");
    cluster.pending("p1 cpu=1 priority=120");
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v1 for p1"]);
    cluster
}

/// Another pod has the same victim, as its last one, and is deleted before the victim's turn.
fn a_second_preemption_ends(cluster: &mut Cluster) {
    cluster.pending("p2 cpu=2 priority=200");
    cluster.step();
    assert_eq!(evictions(cluster), ["evict x for p2"]);
    cluster.gone(PodWatch::Pending, "p2");
}

/// A pod whose only possible victim is on another node waits, since the budget is used up.
fn a_third_one_waits(cluster: &mut Cluster, why: &str) {
    cluster.node("n2 cpu=1");
    cluster.assigned("v2 cpu=1 node=n2 label=b");
    cluster.pending("p3 cpu=1 priority=100");
    cluster.step();
    let effects = cluster.effects();
    assert!(effects.iter().any(|line| line.ends_with(WAITS)), "{why}: {effects:?}");
    assert!(!effects.iter().any(|line| line.starts_with("evict")), "{why}: {effects:?}");
}

#[test]
fn a_victim_of_two_preemptions_stays_charged_when_one_of_them_ends() {
    // The state of the first preemption's eviction when the second one ends. If it has been answered, the watch does not show yet
    // that the victim is leaving.
    let answers: [Option<Result<(), &str>>; 2] = [None, Some(Ok(()))];
    for answer in answers {
        let mut cluster = one_eviction();
        if let Some(answer) = answer {
            cluster.evicted("p1", "v1", answer);
        }
        a_second_preemption_ends(&mut cluster);
        a_third_one_waits(&mut cluster, &format!("{answer:?}"));
    }
}

#[test]
fn an_eviction_on_its_way_stays_charged_though_nobody_needs_it_any_more() {
    let mut cluster = one_eviction();
    cluster.gone(PodWatch::Pending, "p1");
    a_second_preemption_ends(&mut cluster);
    a_third_one_waits(&mut cluster, "the eviction may be carried out");
    // It fails after all.
    cluster.evicted("p1", "v1", Err("500"));
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v2 for p3"]);
}

/// A pod needs the room of two pods on a node; the first is evicted, and no budget protects the last one at that time.
fn two_victims() -> Cluster {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=2");
    cluster.assigned("v0 cpu=1 node=n1 label=b");
    cluster.assigned("v1 cpu=1 node=n1 priority=1");
    cluster.pending("p cpu=2 priority=100");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    cluster
}

#[test]
fn the_last_victim_is_charged_to_the_budgets_of_the_time_when_its_turn_comes() {
    let mut cluster = two_victims();
    budget(&mut cluster, 1);
    cluster.node("n2 cpu=1");
    cluster.assigned("w cpu=1 node=n2 label=b");
    cluster.pending("p2 cpu=1 priority=100");
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict w for p2"]);
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new(), "the budget is used up");
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    assert!(effects.iter().any(|line| line.ends_with(WAITS)), "{effects:?}");
}

#[test]
fn a_preemption_that_overdraws_one_budget_does_not_overdraw_another_that_came_later() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    let object = json!({"metadata": {"name": "none", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "c"}}}, "status": {"disruptionsAllowed": 0}});
    let wire: wire::PodDisruptionBudget = serde_json::from_value(object).expect("a budget");
    cluster.apply(Input::Object(Object::disruption_budget(&wire)));
    cluster.node("n1 cpu=2");
    cluster.assigned("v0 cpu=1 node=n1 label=b");
    cluster.assigned("v1 cpu=1 node=n1 label=c priority=1");
    cluster.pending("p cpu=2 priority=100");
    cluster.step();
    assert_eq!(evictions(&mut cluster), ["evict v1 for p"]);
    budget(&mut cluster, 0);
    cluster.evicted("p", "v1", Ok(()));
    assert_eq!(evictions(&mut cluster), Vec::<String>::new(), "it looks for another way first");
}
