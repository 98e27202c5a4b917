//! Objects as JSON, as the pretended API server holds them, and effects as lines.

use super::*;
use secondmate_model::objects::Object;
use secondmate_model::{Node, wire};
use serde::Deserialize;

/// An effect as a line: whole pods would make up most of the test's time.
pub(super) fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Bind { pod, node, .. } => format!("bind {} {node}", pod.name),
        Effect::BindByExtender { pod, node } => format!("bind {} {node} by the extender", pod.name),
        Effect::BindBy { pod, .. } => format!("bind by {}", pod.name),
        Effect::Write { pod, writes } => format!("write {pod} {writes:?}"),
        Effect::Verify { pod } => format!("verify {}", pod.name),
        Effect::ReadNode { node } => format!("read {node}"),
        Effect::PatchStatus { pod, condition, nomination } => {
            format!("status {} {condition:?} {nomination:?}", pod.name)
        }
        Effect::Event(event) => format!("event {} {} {}", event.regarding.name, event.reason, event.note),
        Effect::Evict { victim, preemptor, .. } => format!("evict {} {}", victim.name, preemptor.name),
        Effect::Observed(observation) => format!("observed {observation:?}"),
    }
}

pub(super) fn selects(watch: PodWatch, pod: &Value) -> bool {
    let assigned = pod["spec"]["nodeName"].is_string();
    match watch {
        PodWatch::Pending => ours(pod) && !assigned,
        PodWatch::Assigned => assigned && !ended(pod),
        PodWatch::ForeignNominated => !assigned && pod["status"]["nominatedNodeName"].is_string(),
    }
}

pub(super) fn ours(pod: &Value) -> bool {
    pod["spec"]["schedulerName"] == OURS
}

pub(super) fn ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}

pub(super) fn cpu(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap_or("0m");
    text.trim_end_matches('m').parse().unwrap_or(0)
}

pub(super) fn memory(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["memory"].as_str().unwrap_or("0Gi");
    text.trim_end_matches("Gi").parse().unwrap_or(0)
}

pub(super) fn gpu(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn priority(pod: &Value) -> i64 {
    pod["spec"]["priority"].as_i64().unwrap_or(0)
}

pub(super) fn port(pod: &Value) -> Option<u64> {
    pod["spec"]["containers"][0]["ports"][0]["hostPort"].as_u64()
}

pub(super) fn compile(pod: &Value) -> Arc<Pod> {
    let wire = wire::Pod::deserialize(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

pub(super) fn compile_node(node: &Value) -> Arc<Node> {
    let wire = wire::Node::deserialize(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

pub(super) fn compile_budget(budget: &Value) -> Object {
    Object::disruption_budget(&wire::PodDisruptionBudget::deserialize(budget).expect("a budget"))
}
