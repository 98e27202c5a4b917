//! The judge's own rules.

use super::super::objects::{StoredNode, StoredPod};
use super::*;
use secondmate_core::port::{BindOutcome, EventType, Evicted, PodEvent};
use secondmate_model::wire;

fn pod(name: &str, scheduler: &str, node: Option<&str>) -> Arc<Pod> {
    StoredPod::new(json!({
        "metadata": {"name": name, "namespace": NAMESPACES[0], "uid": name, "labels": {"a": "b"}},
        "spec": {"schedulerName": scheduler, "nodeName": node, "containers": [{"name": "c"}]},
    }))
    .pod
}

fn at(millis: u64) -> Timestamp {
    BEGAN + Duration::from_millis(millis)
}

fn evict(judge: &mut Judge, victim: &str, now: Timestamp) {
    let victim = pod(victim, OTHER_NAMES[0], Some("n"));
    let preemptor = pod("preemptor", OUR_NAMES[0], None);
    judge.effect(
        &Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) },
        Options::default(),
        now,
    );
}

fn answered(judge: &mut Judge, victim: &str, now: Timestamp) {
    let (preemptor, victim) = (Uid::from("preemptor"), Uid::from(victim));
    judge.input(&Input::EvictFinished { preemptor, victim, result: Ok(Evicted::Deleted) }, false, now);
}

fn stopped_in_memory(judge: &mut Judge, [victim, node]: [&str; 2], now: Timestamp) {
    let event = PodEvent {
        regarding: pod(victim, OUR_NAMES[0], None),
        related: Some(pod("preemptor", OUR_NAMES[0], None)),
        kind: EventType::Normal,
        reason: "Preempted".into(),
        action: "Preempting".into(),
        note: format!("Preempted by pod preemptor on node {node} (in kube-scheduler memory)."),
        profile: Atom::new(OUR_NAMES[0]),
    };
    judge.effect(&Effect::Event(event), Options::default(), now);
}

/// One preemption with three victims: one is evicted at once, one is still being bound and is stopped, and the last one is evicted a second
/// later. Then another scheduler takes the room.
fn a_preemption_in_vain() -> Judge {
    let mut judge = Judge::default();
    evict(&mut judge, "first", at(0));
    stopped_in_memory(&mut judge, ["second", "n"], at(0));
    judge.turn_ends();
    answered(&mut judge, "first", at(1000));
    evict(&mut judge, "last", at(1000));
    judge.turn_ends();
    answered(&mut judge, "last", at(2000));
    judge.turn_ends();
    let taker = pod("taker", OTHER_NAMES[1], Some("n"));
    judge.input(&Input::Pod(PodWatch::Assigned, taker), true, at(3000));
    judge
}

#[test]
fn the_delay_counts_from_when_the_victims_were_chosen_also_where_one_was_stopped_in_memory() {
    evict(&mut a_preemption_in_vain(), "another", at(10_000));
}

#[test]
#[should_panic(expected = "preemption loop")]
fn nobody_is_evicted_again_before_the_delay_is_over() {
    evict(&mut a_preemption_in_vain(), "another", at(9_999));
}

/// The core knows all victims from the start, the judge only those whose turn has come.
#[test]
fn a_pod_that_was_on_the_node_before_has_not_taken_the_room_when_it_is_shown_once_more() {
    for shown_before in [true, false] {
        let mut judge = Judge::default();
        let shown = |judge: &mut Judge, seconds: u64| {
            let pod = pod("last", OTHER_NAMES[1], Some("n"));
            judge.input(&Input::Pod(PodWatch::Assigned, pod), true, at(seconds * 1000));
        };
        if shown_before {
            shown(&mut judge, 0);
        }
        evict(&mut judge, "first", at(1000));
        judge.turn_ends();
        shown(&mut judge, 2);
        assert_eq!(judge.rounds[&Uid::from("preemptor")].taken, !shown_before);
    }
}

#[test]
fn a_preemption_that_only_stops_pods_in_memory_is_the_last_one_from_then_on() {
    let mut judge = a_preemption_in_vain();
    stopped_in_memory(&mut judge, ["another", "n"], at(4000));
    judge.turn_ends();
    evict(&mut judge, "yet-another", at(4500));
}

#[test]
fn what_is_stopped_in_memory_on_another_node_is_another_preemption_also_in_the_turn_of_an_answer() {
    let mut judge = Judge::default();
    evict(&mut judge, "first", at(0));
    judge.turn_ends();
    // The eviction failed, so the pod was retried at once.
    answered(&mut judge, "first", at(1000));
    stopped_in_memory(&mut judge, ["second", "m"], at(1000));
    judge.turn_ends();
    let other = pod("other", OTHER_NAMES[1], Some("n"));
    judge.input(&Input::Pod(PodWatch::Assigned, other), true, at(2000));
    evict(&mut judge, "another", at(3000));
}

fn of_controller(name: &str, node: Option<&str>) -> Arc<Pod> {
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "c", "uid": "c", "controller": true});
    StoredPod::new(json!({
        "metadata": {"name": name, "namespace": NAMESPACES[0], "uid": name, "ownerReferences": [owner]},
        "spec": {"schedulerName": OUR_NAMES[0], "nodeName": node, "containers": [{"name": "c"}]},
    }))
    .pod
}

/// A controller's pod is evicted, and the core itself binds another one of the controller to the node.
#[test]
fn a_successor_that_the_core_binds_has_taken_the_room_unless_it_may_have_been_a_victim_itself() {
    for known_before in [true, false] {
        let mut judge = Judge::default();
        let known = |judge: &mut Judge, seconds: u64| {
            let successor = of_controller("successor", None);
            judge.input(&Input::Pod(PodWatch::Pending, successor), false, at(seconds * 1000));
        };
        if known_before {
            known(&mut judge, 0);
        }
        let (victim, preemptor) = (of_controller("v", Some("n")), pod("preemptor", OUR_NAMES[0], None));
        let evict = Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) };
        judge.effect(&evict, Options::default(), at(1000));
        judge.turn_ends();
        known(&mut judge, 2);
        let pod = of_controller("successor", None);
        let bind = Effect::Bind { pod, node: Atom::new("n"), annotations: BTreeMap::new() };
        judge.effect(&bind, Options::default(), at(3000));
        judge.turn_ends();
        let shown = of_controller("successor", Some("n"));
        judge.input(&Input::Pod(PodWatch::Assigned, shown), true, at(4000));
        assert_eq!(judge.rounds[&Uid::from("preemptor")].taken, !known_before);
    }
}

/// A controller's pod for which `v` was evicted is bound, somebody else takes the room, and the kubelet rejects the pod. Then this many
/// other pods of the controller are pending.
fn rejected(successors: usize) -> Judge {
    let mut judge = Judge::default();
    let preemptor = of_controller("first", None);
    judge.input(&Input::Pod(PodWatch::Pending, Arc::clone(&preemptor)), false, at(0));
    let victim = pod("v", OTHER_NAMES[0], Some("n"));
    let evict = Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) };
    judge.effect(&evict, Options::default(), at(0));
    judge.turn_ends();
    let taker = pod("taker", OTHER_NAMES[1], Some("n"));
    judge.input(&Input::Pod(PodWatch::Assigned, taker), true, at(1000));
    judge.input(&Input::Pod(PodWatch::Assigned, of_controller("first", Some("n"))), true, at(1000));
    judge.input(&Input::PodRejected(Uid::from("first")), false, at(2000));
    judge.input(&Input::PodGone(PodWatch::Pending, Uid::from("first")), false, at(2000));
    for number in 0..successors {
        let next = of_controller(&format!("next-{number}"), None);
        judge.input(&Input::Pod(PodWatch::Pending, next), false, at(3000));
    }
    judge
}

fn evicts_for_the_next(judge: &mut Judge, options: Options, now: Timestamp) -> Pace {
    let preemptor = of_controller("next-0", None);
    let victim = pod("taker", OTHER_NAMES[1], Some("n"));
    let effect = Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) };
    judge.effect(&effect, options, now)
}

#[test]
#[should_panic(expected = "preemption loop")]
fn the_next_pod_of_a_controller_waits_for_what_a_rejected_one_has_lost() {
    evicts_for_the_next(&mut rejected(1), Options::default(), at(9_999));
}

#[test]
fn after_the_delay_or_where_it_is_not_sure_who_follows_the_next_pod_of_a_controller_may_have_pods_evicted() {
    assert_eq!(evicts_for_the_next(&mut rejected(1), Options::default(), at(10_000)), Pace::Kept);
    assert_eq!(evicts_for_the_next(&mut rejected(2), Options::default(), at(4_000)), Pace::Kept);
}

#[test]
fn where_loops_are_left_unbroken_what_comes_too_soon_is_told() {
    let unbroken = Options { loops_unbroken: true, ..Options::default() };
    assert_eq!(evicts_for_the_next(&mut rejected(1), unbroken, at(4_000)), Pace::TooSoon);
}

fn evict_from(judge: &mut Judge, [victim, node, preemptor]: [&str; 3], now: Timestamp) {
    let (victim, preemptor) = (pod(victim, OTHER_NAMES[0], Some(node)), pod(preemptor, OUR_NAMES[0], None));
    judge.effect(
        &Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) },
        Options::default(),
        now,
    );
}

/// A budget that protects every pod.
fn budget(judge: &mut Judge, allowed: i32) {
    let wire: wire::PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "b", "namespace": NAMESPACES[0]},
        "spec": {"selector": {"matchLabels": {"a": "b"}}}, "status": {"disruptionsAllowed": allowed},
    }))
    .expect("a budget");
    judge.input(&Input::Object(Object::disruption_budget(&wire)), false, BEGAN);
}

/// The last victim's turn comes after another preemption has used the budget up.
fn a_last_victim_too_many(judge: &mut Judge) {
    evict_from(judge, ["first", "n", "preemptor"], at(0));
    judge.turn_ends();
    budget(judge, 1);
    evict_from(judge, ["other", "m", "other-preemptor"], at(500));
    judge.turn_ends();
    answered(judge, "first", at(1000));
    evict_from(judge, ["last", "n", "preemptor"], at(1000));
}

#[test]
#[should_panic(expected = "budgets")]
fn a_last_victim_may_not_overdraw_a_budget_that_others_use() {
    let mut judge = Judge::default();
    budget(&mut judge, 2);
    a_last_victim_too_many(&mut judge);
}

#[test]
fn a_last_victim_may_overdraw_what_its_preemption_overdrew_when_it_was_chosen() {
    let mut judge = Judge::default();
    budget(&mut judge, 1);
    a_last_victim_too_many(&mut judge);
}

#[test]
fn a_last_victim_that_leaves_already_is_no_disruption_of_its_preemption() {
    let mut judge = Judge::default();
    budget(&mut judge, 2);
    evict_from(&mut judge, ["first", "n", "preemptor"], at(0));
    judge.turn_ends();
    let leaving = StoredPod::new(json!({
        "metadata": {
            "name": "last", "namespace": NAMESPACES[0], "uid": "last", "labels": {"a": "b"},
            "deletionTimestamp": "2026-11-30T00:00:00Z",
        },
        "spec": {"schedulerName": OTHER_NAMES[0], "nodeName": "n", "containers": [{"name": "c"}]},
    }));
    judge.input(&Input::Pod(PodWatch::Assigned, leaving.pod), false, at(500));
    budget(&mut judge, 0);
    answered(&mut judge, "first", at(1000));
    evict_from(&mut judge, ["last", "n", "preemptor"], at(1000));
    judge.turn_ends();
    // It finds nothing better than to overdraw the budget, whose status shows all pods that are known to leave.
    evict_from(&mut judge, ["other", "m", "other-preemptor"], at(1500));
}

/// Of two evictions of one victim, the first is refused; the other is on its way.
fn refused_for_one_of_two(judge: &mut Judge) {
    evict_from(judge, ["victim", "n", "first"], at(0));
    evict_from(judge, ["victim", "n", "second"], at(0));
    judge.turn_ends();
    let (preemptor, victim) = (Uid::from("first"), Uid::from("victim"));
    let result = Err(EvictError::NotDone("403".to_owned()));
    judge.input(&Input::EvictFinished { preemptor, victim, result }, false, at(300));
    judge.turn_ends();
}

#[test]
fn a_victim_that_leaves_for_another_pod_counts_once_however_often_it_is_asked_to() {
    let mut judge = Judge::default();
    budget(&mut judge, 2);
    refused_for_one_of_two(&mut judge);
    // It shows the second eviction, whose answer is late.
    budget(&mut judge, 1);
    evict_from(&mut judge, ["victim", "n", "first"], at(400));
    evict_from(&mut judge, ["other", "m", "third"], at(500));
}

#[test]
#[should_panic(expected = "budgets")]
fn a_victim_that_may_leave_for_another_pod_counts_although_one_eviction_was_refused() {
    let mut judge = Judge::default();
    budget(&mut judge, 1);
    refused_for_one_of_two(&mut judge);
    evict_from(&mut judge, ["other", "m", "third"], at(500));
}

#[test]
fn a_pod_that_was_bound_and_not_rejected_has_lost_nothing_where_an_old_list_brings_it_back() {
    let mut judge = Judge::default();
    let evicts = |judge: &mut Judge, seconds: u64| {
        let victim = pod(&format!("victim-{seconds}"), OTHER_NAMES[0], Some("n"));
        let preemptor = of_controller("preemptor", None);
        let effect = Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) };
        judge.effect(&effect, Options::default(), at(seconds * 1000));
        judge.turn_ends();
    };
    let taken = |judge: &mut Judge, seconds: u64| {
        let taker = pod(&format!("taker-{seconds}"), OTHER_NAMES[1], Some("n"));
        judge.input(&Input::Pod(PodWatch::Assigned, taker), true, at(seconds * 1000));
    };
    for seconds in [0, 10, 30, 70, 150] {
        evicts(&mut judge, seconds);
        if seconds < 150 {
            taken(&mut judge, seconds + 1);
        }
    }
    judge.input(&Input::Pod(PodWatch::Assigned, of_controller("preemptor", Some("n"))), true, at(151_000));
    taken(&mut judge, 240);
    evicts(&mut judge, 250);
}

/// A node leaves the tenant's pool, and a pod of the tenant is bound to it so much later.
fn bound_after_the_node_left(millis: u64) {
    let mut judge = Judge::default();
    for (pool, told_at) in [(POOLS[0], 0), (POOLS[1], 1000)] {
        let node = StoredNode::new(json!({"metadata": {"name": "n", "labels": {"pool": pool}}})).node;
        judge.input(&Input::Node(node), false, at(told_at));
    }
    let pod = pod("p", OUR_NAMES[0], None);
    let bind = Effect::Bind { pod, node: Atom::new("n"), annotations: BTreeMap::new() };
    let tenants = Options { tenants: true, ..Options::default() };
    judge.effect(&bind, tenants, at(1000 + millis));
}

#[test]
#[should_panic(expected = "tenants: pod")]
fn nothing_is_bound_to_a_node_that_has_left_the_pool() {
    bound_after_the_node_left(1);
}

#[test]
fn in_the_turn_in_which_a_node_leaves_the_pool_a_binding_may_have_been_requested_first() {
    bound_after_the_node_left(0);
}

/// The last victim's turn comes at the end of the turn in which, or after which, the watch shows that it is gone.
fn evict_one_that_is_gone(in_the_same_turn: bool) {
    let mut judge = Judge::default();
    evict(&mut judge, "first", at(0));
    judge.turn_ends();
    answered(&mut judge, "first", at(1000));
    judge.input(&Input::PodGone(PodWatch::Assigned, Uid::from("last")), false, at(1000));
    if !in_the_same_turn {
        judge.turn_ends();
    }
    evict(&mut judge, "last", at(1000));
}

#[test]
#[should_panic(expected = "victims")]
fn nobody_is_evicted_who_is_known_to_be_gone() {
    evict_one_that_is_gone(false);
}

#[test]
fn a_pod_may_have_been_evicted_before_the_news_of_the_same_turn_that_it_is_gone() {
    evict_one_that_is_gone(true);
}

#[test]
#[should_panic(expected = "victims")]
fn nobody_is_evicted_from_a_node_to_which_its_binding_failed() {
    let mut judge = Judge::default();
    let bind = |judge: &mut Judge, node: &str| {
        let pod = pod("last", OUR_NAMES[0], None);
        let effect = Effect::Bind { pod, node: Atom::new(node), annotations: BTreeMap::new() };
        judge.effect(&effect, Options::default(), at(0));
        judge.turn_ends();
    };
    bind(&mut judge, "n");
    // It may be on its way to the node where it was chosen.
    evict(&mut judge, "last", at(0));
    let refused = BindOutcome::Refused { code: 403, message: String::new() };
    judge.input(&Input::BindFinished(Uid::from("last"), refused), false, at(0));
    bind(&mut judge, "m");
    evict(&mut judge, "last", at(0));
}
