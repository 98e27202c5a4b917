//! The plugin from PreFilter to PreBind, with expected values worked out by hand.

mod binding;
mod hints;
mod matching;
mod score;

use super::*;
use crate::fixture::{context, pod, snapshot};
use secondmate_framework::Snapshot;
use secondmate_model::Timestamp;
use serde_json::json;

fn plugin() -> Arc<dyn Plugin> {
    new(&Value::Null, &Handle::default()).expect("default arguments")
}

/// A claim of 5Gi in class `late` unless `spec` says otherwise.
fn claim(name: &str, spec: Value) -> Value {
    let mut all = json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
                         "resources": {"requests": {"storage": "5Gi"}}});
    merge(&mut all, spec);
    json!({"kind": "PersistentVolumeClaim", "spec": all,
           "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "10"}})
}

fn bound(name: &str, volume: &str) -> Value {
    let mut claim = claim(name, json!({"volumeName": volume}));
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim
}

/// An available volume in class `late`; its size in Gi.
fn volume(name: &str, size: u32, spec: Value) -> Value {
    let mut all = json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
                         "capacity": {"storage": format!("{size}Gi")}});
    merge(&mut all, spec);
    json!({"kind": "PersistentVolume", "spec": all, "status": {"phase": "Available"},
           "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "20"}})
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn in_zone(zone: &str) -> Value {
    json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "zone", "operator": "In", "values": [zone]}]}]}}})
}

fn class(name: &str, mode: &str, provisioner: &str) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode})
}

/// Nodes `a` and `b` in zones with the same names; class `late` without a provisioner, `made` with one, and `now`, which does not wait.
fn world(more: Vec<Value>) -> Snapshot {
    let mut objects = vec![
        json!({"kind": "Node", "metadata": {"name": "a", "labels": {"zone": "a"}}}),
        json!({"kind": "Node", "metadata": {"name": "b", "labels": {"zone": "b"}}}),
        class("late", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
        class("made", "WaitForFirstConsumer", "csi.example.com"),
        class("now", "Immediate", "csi.example.com"),
    ];
    objects.extend(more);
    snapshot(objects)
}

fn pod_with(name: &str, claims: &[&str]) -> Arc<Pod> {
    let volumes: Value =
        claims.iter().map(|c| json!({"name": "v", "persistentVolumeClaim": {"claimName": c}})).collect();
    pod(json!({"metadata": {"name": name}, "spec": {"volumes": volumes}}))
}

fn pre_filter(plugin: &Arc<dyn Plugin>, snapshot: &Snapshot, pod: &Arc<Pod>) -> (Status, CycleState) {
    let mut state = CycleState::new();
    let point = plugin.clone().as_pre_filter().expect("prefilters");
    (point.pre_filter(&context(snapshot), &mut state, pod).status, state)
}

/// The verdict of PreFilter if it rejects; otherwise that of the filter on the node.
fn verdict(plugin: &Arc<dyn Plugin>, snapshot: &Snapshot, pod: &Arc<Pod>, node: &str) -> Status {
    let (status, state) = pre_filter(plugin, snapshot, pod);
    if !status.is_success() {
        return status;
    }
    let node = snapshot.node(&Atom::new(node)).expect("a node of the snapshot");
    plugin.clone().as_filter().expect("filters").filter(&context(snapshot), &state, pod, node)
}

fn rejected(reasons: &[&'static str]) -> Status {
    Status::with_reasons(Code::UnschedulableAndUnresolvable, reasons.iter().map(|r| Reason::from(*r)))
}

#[test]
fn arguments_are_checked() {
    let refused = |args: Value| new(&args, &Handle::default()).err().map(|e| e.to_string());
    assert_eq!(refused(json!({"bindTimeoutSeconds": 0})), None);
    assert_eq!(
        refused(json!({"bindTimeoutSeconds": -1})).as_deref(),
        Some(
            "arguments of plugin \"VolumeBinding\" (pluginConfig): bindTimeoutSeconds must not be negative; 0 means no waiting"
        )
    );
    assert_eq!(refused(json!({"shape": [{"utilization": 0}, {"utilization": 80, "score": 10}]})), None);
    assert_eq!(refused(json!({"shape": []})), None);
    let wrong = refused(json!({"shape": [{"utilization": 0, "score": 11}]})).expect("refused");
    assert!(wrong.ends_with("shape: utilization goes from 0 to 100, score from 0 to 10"), "{wrong}");
    assert!(refused(json!({"bindTimeout": 3})).expect("refused").contains("unknown field"));
}
