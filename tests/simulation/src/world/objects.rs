//! Objects as JSON, as the pretended API server holds them, and effects as lines.

use super::*;
use secondmate_core::port::Verified;
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

/// An input as a line.
pub(super) fn heard(input: &Input) -> String {
    match input {
        Input::Pod(watch, pod) => {
            let node = pod.node_name.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            let leaving = if pod.deleting { " leaving" } else { "" };
            format!("{watch:?} {} of {}{node}{leaving}", pod.name, pod.scheduler_name)
        }
        Input::Node(node) => format!("node {} {:?}", node.name, node.allocatable),
        Input::Object(object) => format!("{:?} {:?}", object.kind(), object.name()),
        Input::Verified(uid, Verified::Found(pod)) => format!("look at {uid}: {:?}", pod.node_name),
        _ => format!("{input:?}"),
    }
}

pub(super) fn selects(watch: PodWatch, pod: &Pod) -> bool {
    let assigned = pod.node_name.is_some();
    match watch {
        PodWatch::Pending => is_our_name(pod.scheduler_name.as_str()) && !assigned,
        PodWatch::Assigned => assigned && !pod.terminal,
        PodWatch::ForeignNominated => !assigned && pod.nominated_node_name.is_some(),
    }
}

pub(super) fn ours(pod: &Value) -> bool {
    pod["spec"]["schedulerName"].as_str().is_some_and(is_our_name)
}

pub(super) fn is_our_name(scheduler: &str) -> bool {
    OUR_NAMES.contains(&scheduler)
}

pub(super) fn is_leaving(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

/// The node of a pod, if it has one.
pub(super) fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str()
}

pub(super) fn uid(pod: &str) -> Uid {
    Uid::from(&*format!("uid-{pod}"))
}

pub(super) fn ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}

fn cpu(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap_or("0m");
    text.trim_end_matches('m').parse().unwrap_or(0)
}

fn memory(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["memory"].as_str().unwrap_or("0Gi");
    text.trim_end_matches("Gi").parse().unwrap_or(0)
}

fn gpu(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn priority(pod: &Value) -> i64 {
    pod["spec"]["priority"].as_i64().unwrap_or(0)
}

fn port(pod: &Value) -> Option<u64> {
    pod["spec"]["containers"][0]["ports"][0]["hostPort"].as_u64()
}

/// What a pod takes of a node, as a person would read it from the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    cpu: u64,
    memory: u64,
    gpu: u64,
    port: Option<u64>,
    pub priority: i64,
}

impl Needs {
    pub fn of(pod: &Value) -> Self {
        Self { cpu: cpu(pod), memory: memory(pod), gpu: gpu(pod), port: port(pod), priority: priority(pod) }
    }
}

/// What a node has, as a person would read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    cpu: u64,
    memory: u64,
    gpu: u64,
    pods: u64,
}

impl Room {
    pub fn of(node: &Value) -> Self {
        let allocatable = &node["status"]["allocatable"];
        let number =
            |v: &Value| v.as_str().and_then(|t| t.trim_end_matches("Gi").parse::<u64>().ok()).unwrap_or(0);
        Self {
            cpu: number(&allocatable["cpu"]) * 1000,
            memory: number(&allocatable["memory"]),
            gpu: number(&allocatable["example.com/gpu"]),
            pods: number(&allocatable["pods"]),
        }
    }

    /// Whether the node takes a pod beside these.
    pub fn takes<'a>(&self, pod: &Needs, beside: impl Iterator<Item = &'a Needs>) -> bool {
        let (mut cpu, mut memory, mut gpu, mut pods) = (pod.cpu, pod.memory, pod.gpu, 1);
        for other in beside {
            if pod.port.is_some() && other.port == pod.port {
                return false;
            }
            (cpu, memory, gpu, pods) = (cpu + other.cpu, memory + other.memory, gpu + other.gpu, pods + 1);
        }
        // Of what a pod does not ask for, a node may have given too much.
        (pod.cpu == 0 || cpu <= self.cpu)
            && (pod.memory == 0 || memory <= self.memory)
            && (pod.gpu == 0 || gpu <= self.gpu)
            && pods <= self.pods
    }
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
