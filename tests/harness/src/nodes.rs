//! Nodes that kwok simulates.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The shape of simulated nodes.
#[derive(Debug, Clone)]
pub struct NodeShape {
    /// The prefix of each node's name, followed by a number of at least four digits.
    pub prefix: String,
    /// Allocatable CPU, a quantity.
    pub cpu: String,
    /// Allocatable memory, a quantity.
    pub memory: String,
    /// Maximum number of pods on a node.
    pub pods: u32,
    /// Further allocatable resources.
    pub resources: BTreeMap<String, String>,
    /// Nodes are spread in rotation over `zone-0` to `zone-(N-1)`; with 0, none has a zone.
    pub zones: usize,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Taints, as in `spec.taints`.
    pub taints: Vec<Value>,
}

impl Default for NodeShape {
    /// 4 CPUs, 16 GiB, 110 pods, three zones.
    fn default() -> Self {
        Self {
            prefix: "node-".to_owned(),
            cpu: "4".to_owned(),
            memory: "16Gi".to_owned(),
            pods: 110,
            resources: BTreeMap::new(),
            zones: 3,
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }
    }
}

impl NodeShape {
    /// The Node object with a number. `ready` sets its Ready condition, for a cluster without kwok.
    pub(crate) fn node(&self, number: usize, ready: bool) -> Value {
        let name = format!("{}{number:04}", self.prefix);
        let mut labels = self.labels.clone();
        let mut label = |key: &str, value: String| {
            labels.entry(key.to_owned()).or_insert(value);
        };
        label("kubernetes.io/hostname", name.clone());
        label("kubernetes.io/os", "linux".to_owned());
        label("kubernetes.io/arch", "amd64".to_owned());
        if self.zones > 0 {
            label("topology.kubernetes.io/zone", format!("zone-{}", number % self.zones));
        }
        let mut resources = self.resources.clone();
        resources.insert("cpu".to_owned(), self.cpu.clone());
        resources.insert("memory".to_owned(), self.memory.clone());
        resources.insert("pods".to_owned(), self.pods.to_string());
        let mut status = json!({ "capacity": resources, "allocatable": resources });
        if ready {
            status["conditions"] = json!([{ "type": "Ready", "status": "True", "reason": "KubeletReady" }]);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": name, "labels": labels },
            "spec": { "taints": self.taints },
            "status": status,
        })
    }
}

/// Whether a Node is Ready and free of the taints that node controllers put on new nodes.
pub(crate) fn is_ready(node: &Value) -> bool {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ready = items(&node["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let tainted = items(&node["spec"]["taints"]).iter().any(|taint| {
        taint["key"] == "node.kubernetes.io/not-ready" || taint["key"] == "node.kubernetes.io/unreachable"
    });
    ready && !tainted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_take_zones_in_turn_and_own_labels_win() {
        let shape = NodeShape {
            labels: BTreeMap::from([("kubernetes.io/arch".to_owned(), "arm64".to_owned())]),
            ..NodeShape::default()
        };
        let node = shape.node(4, true);
        assert_eq!(node["metadata"]["name"], "node-0004");
        assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/zone"], "zone-1");
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/arch"], "arm64");
        assert_eq!(node["status"]["allocatable"]["pods"], "110");
        assert!(is_ready(&node));
        assert!(!is_ready(&shape.node(4, false)));
    }

    #[test]
    fn a_node_that_keeps_the_taint_of_new_nodes_is_not_ready() {
        let shape = NodeShape {
            taints: vec![json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" })],
            ..NodeShape::default()
        };
        assert!(!is_ready(&shape.node(0, true)));
    }
}
