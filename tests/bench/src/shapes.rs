//! What the pods of each shape look like.

use crate::options::Shape;
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
/// Number of kinds of pods that want a node each for themselves.
const APART: usize = 25;

/// The labels and the specification of the pod with this number: what the shape is about, beside what all pods have.
pub fn apply(shape: Shape, pod: &mut Value, number: usize) {
    match shape {
        Shape::Basic => {}
        Shape::NodeAffinity => {
            let zones = json!([{"key": ZONE, "operator": "In", "values": ["zone-0", "zone-1"]}]);
            pod["spec"]["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": zones}]}});
        }
        Shape::SpreadSoft => spread(pod, "ScheduleAnyway"),
        Shape::SpreadHard => spread(pod, "DoNotSchedule"),
        Shape::AntiAffinityHost => {
            pod["metadata"]["labels"]["app"] = format!("bench-{}", number % APART).into();
            require(pod, "podAntiAffinity", HOST);
        }
        Shape::AffinityZone => require(pod, "podAffinity", ZONE),
    }
}

/// Selects the pods that are labelled as this one.
fn likes(pod: &Value) -> Value {
    json!({"matchLabels": {"app": pod["metadata"]["labels"]["app"]}})
}

fn spread(pod: &mut Value, when: &str) {
    let constraint =
        json!({"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, "labelSelector": likes(pod)});
    pod["spec"]["topologySpreadConstraints"] = json!([constraint]);
}

fn require(pod: &mut Value, kind: &str, key: &str) {
    let term = json!({"topologyKey": key, "labelSelector": likes(pod)});
    pod["spec"]["affinity"][kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
}
