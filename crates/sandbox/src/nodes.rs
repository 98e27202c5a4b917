//! Nodes: a manifest to start from, validation, and the taint that corresponds to `spec.unschedulable`.

use serde_json::{Value, json};

use crate::decode;
use crate::error::FieldError;
use crate::resource;
use crate::selectors;
use crate::time;

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What a simulated node offers.
#[derive(Debug, Clone)]
pub struct NodeShape {
    /// CPU as a quantity.
    pub cpu: String,
    /// Memory as a quantity.
    pub memory: String,
    /// Maximum number of pods.
    pub pods: u32,
    /// Number of zones over which the nodes are spread.
    pub zones: u32,
}

impl Default for NodeShape {
    fn default() -> NodeShape {
        NodeShape { cpu: "32".into(), memory: "256Gi".into(), pods: 110, zones: 3 }
    }
}

/// A Ready node `node-00017` of the default shape.
pub fn node_manifest(index: usize) -> Value {
    node_manifest_of(index, &NodeShape::default())
}

/// A Ready node with a given shape.
pub fn node_manifest_of(index: usize, shape: &NodeShape) -> Value {
    let name = format!("node-{index:05}");
    let zone = format!("zone-{}", char::from(b'a' + (index % shape.zones.clamp(1, 26) as usize) as u8));
    let capacity = json!({
        "cpu": shape.cpu,
        "memory": shape.memory,
        "pods": shape.pods.to_string(),
        "ephemeral-storage": "1Ti",
    });
    let now = time::now_seconds();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": zone,
                "topology.kubernetes.io/region": "region-1",
                "type": "sandbox",
            },
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                { "type": "InternalIP", "address": node_ip(index) },
                { "type": "Hostname", "address": name },
            ],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": crate::VERSION,
                "containerRuntimeVersion": "sandbox://1", "kernelVersion": "sandbox", "osImage": "sandbox",
                "bootID": "", "machineID": "", "systemUUID": "", "kubeProxyVersion": "",
            },
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
        },
    })
}

fn node_ip(index: usize) -> String {
    format!("172.{}.{}.{}", 16 + (index / 65_536) % 16, (index / 256) % 256, index % 256)
}

/// The field errors of a node.
pub(crate) fn validate(node: &Value) -> Vec<FieldError> {
    let mut errors = decode::check_metadata(resource::stored_as(resource::NODES), node);
    let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (i, taint) in taints.iter().enumerate() {
        // Upstream uses this path, although the taints are in the spec.
        let path = format!("metadata.taints[{i}]");
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        if let Err(why) = selectors::check_label_key(text("key")) {
            errors.push(FieldError::invalid(format!("{path}.key"), text("key"), why));
        }
        if let Err(why) = selectors::check_label_value(text("value")) {
            errors.push(FieldError::invalid(format!("{path}.value"), text("value"), why));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if text("effect").is_empty() {
            errors.push(FieldError::required(format!("{path}.effect"), ""));
        } else if !effects.contains(&text("effect")) {
            errors.push(FieldError::not_supported(format!("{path}.effect"), text("effect"), &effects));
        }
        let same = |t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
        if taints[..i].iter().any(same) {
            errors.push(FieldError::duplicate(path, taint.clone()));
        }
    }
    errors
}

/// Does what the node lifecycle controller does a moment later: `spec.unschedulable` gets its taint.
pub(crate) fn reconcile_unschedulable(node: &mut Value) {
    let wanted = node["spec"]["unschedulable"] == true;
    let is_it = |t: &Value| t["key"] == UNSCHEDULABLE && t["effect"] == "NoSchedule";
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let has = taints.iter().any(is_it);
    if wanted == has {
        return;
    }
    if wanted {
        taints
            .push(json!({ "key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": time::now_seconds() }));
    } else {
        taints.retain(|t| !is_it(t));
    }
    if taints.is_empty() {
        if let Some(spec) = node["spec"].as_object_mut() {
            spec.remove("taints");
        }
    } else {
        node["spec"]["taints"] = Value::Array(taints);
    }
}
