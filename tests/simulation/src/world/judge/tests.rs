//! The judge's own rules.

use super::super::objects::StoredPod;
use super::*;
use secondmate_core::port::{EventType, PodEvent};
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
    judge.effect(&Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) }, false, now);
}

fn answered(judge: &mut Judge, victim: &str, now: Timestamp) {
    let (preemptor, victim) = (Uid::from("preemptor"), Uid::from(victim));
    judge.input(&Input::EvictFinished { preemptor, victim, result: Ok(()) }, false, now);
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
    judge.effect(&Effect::Event(event), false, now);
}

/// One preemption with three victims: one is evicted at once, one is on its way and stopped, the last one is evicted a second later. Then
/// another scheduler takes the room.
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
    // The eviction failed, so the pod was tried again at once.
    answered(&mut judge, "first", at(1000));
    stopped_in_memory(&mut judge, ["second", "m"], at(1000));
    judge.turn_ends();
    let other = pod("other", OTHER_NAMES[1], Some("n"));
    judge.input(&Input::Pod(PodWatch::Assigned, other), true, at(2000));
    evict(&mut judge, "another", at(3000));
}

fn evict_from(judge: &mut Judge, [victim, node, preemptor]: [&str; 3], now: Timestamp) {
    let (victim, preemptor) = (pod(victim, OTHER_NAMES[0], Some(node)), pod(preemptor, OUR_NAMES[0], None));
    judge.effect(&Effect::Evict { victim, preemptor, profile: Atom::new(OUR_NAMES[0]) }, false, now);
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
