//! The scheduler itself on a case: the core as it runs in production, driven by inputs and judged by its effects.
//!
//! It decides by the standing evaluation where that serves the pod. Each pod gets a scheduler of its own that is told of the whole cluster as watches tell it, and then of this pod. What it does is
//! held against the oracle's answer: the node is one of the best (or the nominated one, where that passes), and for a pod that does
//! not fit the event's note, the condition, the nomination and the victims are equal.

use crate::compare::Difference;
use anyhow::{Context, Result};
use secondmate_core::port::{Effect, Evicted, Input, NominationPatch, PodWatch};
use secondmate_core::queue::Place;
use secondmate_core::{EvaluationSettings, Scheduler, SchedulerConfig};
use secondmate_cycle::note::failure_note;
use secondmate_cycle::{Profile, StandingSettings};
use secondmate_explain::{Cluster, Item};
use secondmate_framework::{Nominations, Parity};
use secondmate_model::{Pod, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// After everything that a case tells of: 2200-01-01.
const NOW: Timestamp = Timestamp::from_secs(7_258_118_400);

/// What the scheduler did with one pod.
#[derive(Debug, Default)]
struct Deed {
    gated: bool,
    /// The node that was chosen.
    node: Option<String>,
    /// Notes of FailedScheduling events as they are written.
    notes: Vec<String>,
    /// Reason and text of the condition, as its note would read; none where it stood already.
    condition: Option<(&'static str, String)>,
    /// The node that was nominated.
    nomination: Option<String>,
    /// Pods whose eviction was ordered, in order.
    victims: Vec<String>,
}

/// Has the scheduler decide on a pod of the cluster, and says where that differs from the oracle's result.
///
/// # Errors
/// The oracle names a pod that is not in the case.
pub fn judge(
    items: &[Item],
    cluster: &Cluster,
    profiles: Vec<Profile>,
    theirs: &Value,
) -> Result<Option<Difference>> {
    let name = theirs["pod"].as_str().unwrap_or_default();
    let pod = cluster.pending().iter().find(|pod| pod.full_name() == name);
    let pod = pod.with_context(|| format!("the oracle answers about {name}, which does not wait"))?;
    let profile = profiles.iter().find(|profile| profile.name() == &pod.scheduler_name);
    let any_node_will_do = profile.is_some_and(|profile| profile.score.is_empty());
    let deed = decide(items, cluster, profiles, pod);
    if any_node_will_do && deed.node.is_some() && is_filter_failure(theirs) {
        // One node is enough then. Whether upstream has begun with another one, at which a filter fails, is left to its goroutines.
        return Ok(None);
    }
    let first = differs(theirs, &deed, pod, items);
    let others = theirs["any"].as_array().map(Vec::as_slice).unwrap_or_default();
    if first.is_some() && others.iter().any(|other| differs(other, &deed, pod, items).is_none()) {
        return Ok(None);
    }
    Ok(first)
}

fn decide(items: &[Item], cluster: &Cluster, profiles: Vec<Profile>, pod: &Arc<Pod>) -> Deed {
    let parity = profiles.first().map_or_else(Parity::default, |profile| profile.handle().parity);
    // `explain` judges the plain pass.
    let standing = StandingSettings { first_sight: true, ..StandingSettings::default() };
    let evaluation = EvaluationSettings::Standing(standing);
    let mut scheduler =
        Scheduler::new(SchedulerConfig { evaluation, ..SchedulerConfig::default() }, profiles);
    for item in items {
        match item {
            Item::Other(object) => scheduler.apply(Input::Object(object.clone()), NOW),
            Item::Node(node) => scheduler.apply(Input::Node(Arc::clone(node)), NOW),
            Item::Pod(_) => {}
        }
    }
    for item in items {
        let Item::Pod(other) = item else { continue };
        if other.terminal {
            continue;
        }
        if other.node_name.is_some() {
            scheduler.apply(Input::Pod(PodWatch::Assigned, Arc::clone(other)), NOW);
        } else if other.uid != pod.uid && is_nominated(cluster, other) {
            // Not to be tried before this one: it stands there as the pod of another scheduler, whose nomination counts the same.
            let mut foreign = Pod::clone(other);
            foreign.scheduler_name = "somebody-else".into();
            scheduler.apply(Input::Pod(PodWatch::ForeignNominated, Arc::new(foreign)), NOW);
        }
    }
    scheduler.apply(Input::Pod(PodWatch::Pending, Arc::clone(pod)), NOW);
    let report = scheduler.step(NOW);
    let mut deed = Deed {
        gated: report.is_none()
            && scheduler.queue().get(&pod.uid).is_some_and(|entry| entry.place == Place::Gated),
        node: report.and_then(|report| report.node).map(|node| node.to_string()),
        ..Deed::default()
    };
    loop {
        let mut evicted = Vec::new();
        for effect in scheduler.take_effects() {
            match effect {
                Effect::Event(event) if event.reason == "FailedScheduling" => {
                    deed.notes.push(failure_note(&event.note, parity));
                }
                Effect::PatchStatus { pod: patched, condition, nomination } if patched.uid == pod.uid => {
                    deed.condition = condition.map(|c| (c.reason, failure_note(&c.message, parity)));
                    if let NominationPatch::Set(Some(node)) = nomination
                        && deed.node.is_none()
                    {
                        deed.nomination = Some(node.to_string());
                    }
                }
                Effect::Evict { victim, preemptor, .. } => {
                    deed.victims.push(victim.full_name());
                    evicted.push((preemptor.uid.clone(), victim.uid.clone()));
                }
                _ => {}
            }
        }
        if evicted.is_empty() {
            return deed;
        }
        for (preemptor, victim) in evicted {
            scheduler.apply(Input::EvictFinished { preemptor, victim, result: Ok(Evicted::Deleted) }, NOW);
        }
    }
}

fn is_nominated(cluster: &Cluster, pod: &Pod) -> bool {
    pod.nominated_node_name
        .as_ref()
        .is_some_and(|node| cluster.nominations().on_node(node).iter().any(|other| other.uid == pod.uid))
}

fn differs(theirs: &Value, deed: &Deed, pod: &Pod, items: &[Item]) -> Option<Difference> {
    let difference = |what: &str, theirs: &Value, ours: Value| {
        Some(Difference {
            pod: pod.full_name(),
            path: format!("scheduler/{what}"),
            theirs: theirs.to_string(),
            ours: ours.to_string(),
        })
    };
    let result = theirs["result"].as_str().unwrap_or_default();
    match result {
        "Gated" if deed.gated => None,
        "Gated" => difference("result", &theirs["result"], json!(format!("{deed:?}"))),
        "Schedulable" => {
            let right = right_nodes(theirs, pod);
            let node = deed.node.as_deref().unwrap_or("none");
            if right.contains(&node) {
                return None;
            }
            difference("node", &json!(right), json!(format!("{deed:?}")))
        }
        _ => {
            let reason = if result == "Error" { "SchedulerError" } else { "Unschedulable" };
            let nominated = pod.nominated_node_name.as_ref().map(|node| node.as_str());
            if result == "Error" && deed.node.is_some() && deed.node.as_deref() == nominated {
                // The nominated node is taken before the nodes that the error is about are looked at.
                return None;
            }
            if let Some(node) = &deed.node {
                return difference("result", &theirs["result"], json!(format!("chose {node}")));
            }
            let right = message(theirs, deed, pod);
            let message = right.as_str().unwrap_or_default();
            if deed.notes != [message] {
                return difference("note", right, json!(deed.notes));
            }
            if let Some((own, text)) = &deed.condition
                && (*own != reason || text != message)
            {
                return difference("condition", &json!([reason, message]), json!([own, text]));
            }
            post_filter(theirs, deed, pod, items)
                .and_then(|(theirs, ours)| difference("postFilter", &theirs, ours))
        }
    }
}

/// Whether the oracle, which looks at every node, met one at which a filter fails.
fn is_filter_failure(theirs: &Value) -> bool {
    let message = theirs["message"].as_str().unwrap_or_default();
    theirs["result"] == "Error" && message.starts_with("running ") && message.contains(" filter plugin: ")
}

/// The message that goes with the nomination that was made.
fn message<'a>(theirs: &'a Value, deed: &Deed, pod: &Pod) -> &'a Value {
    let made = deed.nomination.as_deref().or(pod.nominated_node_name.as_ref().map(|node| node.as_str()));
    let answers = theirs["postFilterAny"].as_array();
    let at = answers.and_then(|answers| answers.iter().position(|a| a["nominatedNode"].as_str() == made));
    at.map_or(&theirs["message"], |at| &theirs["messageAny"][at])
}

/// The nodes one of which must have been chosen.
fn right_nodes<'a>(theirs: &'a Value, pod: &'a Pod) -> Vec<&'a str> {
    if let Some(nominated) = &pod.nominated_node_name
        && theirs["nodes"][nominated.as_str()]["code"] == "Success"
    {
        return vec![nominated.as_str()];
    }
    theirs["best"].as_array().map(|best| best.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Nomination and victims, where none of the right answers is what was done.
fn post_filter(theirs: &Value, deed: &Deed, pod: &Pod, items: &[Item]) -> Option<(Value, Value)> {
    // Nothing is written where the status says so already, and nobody is evicted who goes anyway.
    let before = pod.nominated_node_name.as_ref().map(ToString::to_string);
    let deleting = |name: &str| {
        items.iter().any(|item| matches!(item, Item::Pod(p) if p.deleting && p.full_name() == name))
    };
    let is_right = |answer: &Value| {
        let node = answer["nominatedNode"].as_str().map(str::to_owned);
        let victims: Vec<&str> = answer["victims"]
            .as_array()
            .map(|victims| victims.iter().filter_map(Value::as_str).filter(|v| !deleting(v)).collect())
            .unwrap_or_default();
        let nominated = deed.nomination == node || (deed.nomination.is_none() && node == before);
        nominated && deed.victims == victims
    };
    let any = theirs["postFilterAny"].as_array();
    let right = match any {
        Some(answers) => answers.iter().any(is_right),
        None => is_right(&theirs["postFilter"]),
    };
    if right {
        return None;
    }
    let theirs = if any.is_some() { &theirs["postFilterAny"] } else { &theirs["postFilter"] };
    Some((theirs.clone(), json!({"nominatedNode": deed.nomination, "victims": deed.victims})))
}
