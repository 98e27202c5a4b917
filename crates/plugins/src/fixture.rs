//! Objects for the tests of plugins, written as JSON.

use secondmate_framework::{Context, CycleState, EventObject, ObjectChange, RunFilters, Snapshot, Status};
use secondmate_model::objects::{Object, ObjectKind, Objects};
use secondmate_model::{Node, NodeInfo, Pod, Timestamp, wire};
use serde_json::Value;
use std::sync::Arc;

fn decode<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a well-formed object")
}

/// A pod; if it has no UID, its name is used.
pub fn pod(mut value: Value) -> Arc<Pod> {
    let name = value["metadata"]["name"].as_str().unwrap_or("p").to_owned();
    if value["metadata"]["uid"].is_null() {
        value["metadata"]["uid"] = name.into();
    }
    Arc::new(Pod::new(&decode::<wire::Pod>(value)).expect("a pod that compiles"))
}

/// A node without pods.
pub fn node(value: Value) -> NodeInfo {
    NodeInfo::new(Arc::new(Node::new(&decode::<wire::Node>(value)).expect("a node that compiles")))
}

/// An object of any kind that the model knows, except pods and nodes.
pub fn object(value: Value) -> Object {
    let kind = value["kind"].as_str().expect("a kind");
    let known = ObjectKind::ALL.iter().find(|known| known.api().kind == kind);
    let known = known.unwrap_or_else(|| panic!("the model does not know kind {kind}"));
    known.compile(&value).expect("a well-formed object").0
}

/// An object that is neither pod nor node is added, updated or deleted.
pub fn changed(old: Option<Value>, new: Option<Value>) -> ObjectChange {
    let side = |value: Option<Value>| value.map(|value| EventObject::Other(Arc::new(object(value))));
    ObjectChange { old: side(old), new: side(new) }
}

/// A snapshot from a list of objects of any kind that the model knows. Pods are placed on the node that they name.
pub fn snapshot(objects: Vec<Value>) -> Snapshot {
    let mut nodes: Vec<NodeInfo> = Vec::new();
    let mut pods = Vec::new();
    let mut others = Objects::default();
    for value in objects {
        match value["kind"].as_str().expect("a kind") {
            "Node" => nodes.push(node(value)),
            "Pod" => pods.push(pod(value)),
            _ => {
                others.apply(object(value));
            }
        }
    }
    for pod in pods {
        let name = pod.node_name.clone().expect("a pod of the snapshot stands on a node");
        let node = nodes.iter_mut().find(|n| *n.name() == name).expect("the node of the pod");
        node.add_pod(pod);
    }
    Snapshot::new(nodes.into_iter().map(Arc::new).collect(), others)
}

/// What a plugin sees of a snapshot without nominations.
pub fn context(snapshot: &Snapshot) -> Context<'_> {
    Context { snapshot, now: Timestamp::default(), nominations: &() }
}

/// A node is added.
pub fn added(node: &NodeInfo) -> ObjectChange {
    ObjectChange { old: None, new: Some(EventObject::Node(Arc::clone(node.node()))) }
}

/// A node is updated.
pub fn updated_node(old: &NodeInfo, new: &NodeInfo) -> ObjectChange {
    ObjectChange { old: Some(EventObject::Node(Arc::clone(old.node()))), ..added(new) }
}

/// A pod is updated.
pub fn updated(old: &Arc<Pod>, new: &Arc<Pod>) -> ObjectChange {
    ObjectChange {
        old: Some(EventObject::Pod(Arc::clone(old))),
        new: Some(EventObject::Pod(Arc::clone(new))),
    }
}

/// A pod is deleted.
pub fn deleted(pod: &Arc<Pod>) -> ObjectChange {
    ObjectChange { old: Some(EventObject::Pod(Arc::clone(pod))), new: None }
}

/// Filters, for plugins that must not try out placements.
pub struct NotAsked;

impl RunFilters for NotAsked {
    fn run(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, _: &NodeInfo) -> Status {
        panic!("a placement of {} is tried out", pod.full_name())
    }
    fn add_pod(
        &self,
        _: &Context<'_>,
        _: &mut CycleState,
        pod: &Arc<Pod>,
        _: &Arc<Pod>,
        _: &NodeInfo,
    ) -> Status {
        panic!("a placement of {} is tried out", pod.full_name())
    }
    fn remove_pod(
        &self,
        _: &Context<'_>,
        _: &mut CycleState,
        pod: &Arc<Pod>,
        _: &Arc<Pod>,
        _: &NodeInfo,
    ) -> Status {
        panic!("a placement of {} is tried out", pod.full_name())
    }
}
