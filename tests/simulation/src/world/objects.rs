//! Objects as JSON, as the simulated API server stores them, and effects as lines.

use super::*;
use secondmate_core::port::Verified;
use secondmate_model::objects::Object;
use secondmate_model::{Node, wire};
use serde::Deserialize;

/// An effect as a line: printing whole pods would take most of the test's time.
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
        PodWatch::ForeignWaiting => {
            !is_our_name(pod.scheduler_name.as_str())
                && !assigned
                && !pod.deleting
                && pod.nominated_node_name.is_none()
        }
    }
}

pub(super) fn is_our_name(scheduler: &str) -> bool {
    OUR_NAMES.contains(&scheduler)
}

/// A pod, with its needs, so that its text need not be parsed each time.
pub(super) struct StoredPod {
    pub pod: Arc<Pod>,
    pub needs: Needs,
    /// The object without its later fate: node, status, deletion.
    pub object: Arc<Value>,
}

impl StoredPod {
    pub fn new(object: Value) -> Self {
        Self { pod: Arc::new(compile(&object)), needs: Needs::of(&object), object: Arc::new(object) }
    }

    pub fn node(&self) -> Option<&str> {
        self.pod.node_name.as_ref().map(Atom::as_str)
    }

    /// Whether it is to be placed.
    pub fn waits(&self) -> bool {
        self.pod.node_name.is_none() && !self.pod.terminal
    }

    /// Whether it uses room on a node.
    pub fn is_on_node(&self) -> bool {
        self.pod.node_name.is_some() && !self.pod.terminal
    }

    pub fn is_ours(&self) -> bool {
        is_our_name(self.pod.scheduler_name.as_str())
    }

    /// Whether no controller replaces it.
    pub fn is_bare(&self) -> bool {
        self.pod.controller.is_none()
    }

    pub fn is_gated(&self) -> bool {
        !self.pod.scheduling_gates.is_empty()
    }
}

/// A node, with what it has.
pub(super) struct StoredNode {
    pub node: Arc<Node>,
    pub room: Room,
    pub object: Value,
}

impl StoredNode {
    pub fn new(object: Value) -> Self {
        Self { node: compile_node(&object), room: Room::of(&object), object }
    }

    pub fn is_cordoned(&self) -> bool {
        self.node.unschedulable
    }

    pub fn pool(&self) -> &str {
        self.object["metadata"]["labels"]["pool"].as_str().unwrap_or_default()
    }
}

/// A budget, read.
pub(super) struct StoredBudget {
    pub compiled: Object,
    pub object: Value,
}

impl StoredBudget {
    pub fn new(object: Value) -> Self {
        let wire = wire::PodDisruptionBudget::deserialize(&object).expect("a budget");
        Self { compiled: Object::disruption_budget(&wire), object }
    }

    /// Whether it protects the pod.
    pub fn counts(&self, stored: &StoredPod) -> bool {
        let Object::DisruptionBudget(name, rules) = &self.compiled else { return false };
        stored.is_on_node() && !stored.pod.deleting && rules.is_charged_for(&name.namespace, &stored.pod)
    }

    /// The number of its pods that have to stay.
    pub fn min_available(&self) -> i64 {
        self.object["spec"]["minAvailable"].as_i64().unwrap_or(0)
    }
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

fn priority(pod: &Value) -> i64 {
    pod["spec"]["priority"].as_i64().unwrap_or(0)
}

fn port(pod: &Value) -> Option<u64> {
    pod["spec"]["containers"][0]["ports"][0]["hostPort"].as_u64()
}

/// What a pod uses of a node, read directly from the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    cpu: u64,
    memory: u64,
    gpu: u64,
    port: Option<u64>,
    pub priority: i64,
}

impl Needs {
    fn of(pod: &Value) -> Self {
        Self { cpu: cpu(pod), memory: memory(pod), gpu: gpu(pod), port: port(pod), priority: priority(pod) }
    }
}

/// What a node has, read directly from the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    cpu: u64,
    memory: u64,
    gpu: u64,
    pods: u64,
}

impl Room {
    fn of(node: &Value) -> Self {
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

    /// Whether the pod fits on the node in addition to these.
    pub fn takes<'a>(&self, pod: &Needs, beside: impl Iterator<Item = &'a Needs>) -> bool {
        let (mut cpu, mut memory, mut gpu, mut pods) = (pod.cpu, pod.memory, pod.gpu, 1);
        for other in beside {
            if pod.port.is_some() && other.port == pod.port {
                return false;
            }
            (cpu, memory, gpu, pods) = (cpu + other.cpu, memory + other.memory, gpu + other.gpu, pods + 1);
        }
        // A resource that the pod does not request may be overcommitted.
        (pod.cpu == 0 || cpu <= self.cpu)
            && (pod.memory == 0 || memory <= self.memory)
            && (pod.gpu == 0 || gpu <= self.gpu)
            && pods <= self.pods
    }
}

pub(super) fn compile(pod: &Value) -> Pod {
    let wire = wire::Pod::deserialize(pod).expect("a pod");
    Pod::new(&wire).expect("a pod that compiles")
}

fn compile_node(node: &Value) -> Arc<Node> {
    let wire = wire::Node::deserialize(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}
