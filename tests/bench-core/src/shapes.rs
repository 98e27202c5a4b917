//! Shapes of pods.

use clap::ValueEnum;
use secondmate_model::{Pod, wire};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Number of kinds of [`Shape::ManyClasses`].
const KINDS: usize = 100;

/// What the pods of a measurement are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// CPU and memory, nothing else.
    Basic,
    /// A zone that is required, and a disk that is preferred.
    NodeAffinity,
    /// A hundred kinds of basic pods in turn.
    ManyClasses,
    /// Every pod asks for something else.
    Alone,
    /// Every second pod fits on no node.
    Unschedulable,
    /// Spread over zones, if it can be.
    SpreadSoft,
    /// Spread over zones, or not at all.
    SpreadHard,
    /// By the default constraints, for a Service that selects the pods.
    SpreadDefault,
    /// Not beside its likes on a node, if it can be.
    AntiAffinityHost,
}

impl Shape {
    /// Whether there is a Service that selects the pods.
    pub fn has_service(self) -> bool {
        self == Self::SpreadDefault
    }

    /// The pod with this number.
    pub fn pod(self, number: usize) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": format!("pod-{number}"), "uid": format!("pod-{number}"), "namespace": "default",
                "labels": {"app": "bench"}},
            "spec": {"schedulerName": super::cluster::NAME, "priority": 0, "preemptionPolicy": "Never",
                "containers": [{"name": "c", "image": "app:1",
                    "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]},
        });
        let cpu = |pod: &mut Value, milli: usize| {
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = format!("{milli}m").into();
        };
        let spec = &mut pod["spec"];
        let likes = json!({"matchLabels": {"app": "bench"}});
        let spread = |when: &str| json!([{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when, "labelSelector": likes}]);
        match self {
            Self::Basic | Self::SpreadDefault => {}
            Self::NodeAffinity => {
                let is = |key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
                spec["affinity"]["nodeAffinity"] = json!({
                    "requiredDuringSchedulingIgnoredDuringExecution":
                        {"nodeSelectorTerms": [is("topology.kubernetes.io/zone", &["zone-0", "zone-1"])]},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": is("disk", &["ssd"])}],
                });
            }
            Self::ManyClasses => cpu(&mut pod, 50 + number % KINDS),
            Self::Alone => cpu(&mut pod, 1 + number % 1_000_000),
            Self::Unschedulable if !number.is_multiple_of(2) => cpu(&mut pod, 1_000_000),
            Self::Unschedulable => {}
            Self::SpreadSoft => spec["topologySpreadConstraints"] = spread("ScheduleAnyway"),
            Self::SpreadHard => spec["topologySpreadConstraints"] = spread("DoNotSchedule"),
            Self::AntiAffinityHost => {
                spec["affinity"]["podAntiAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": likes}}]});
            }
        }
        let wire: wire::Pod = serde_json::from_value(pod).expect("a well-formed pod");
        Arc::new(Pod::new(&wire).expect("quantities that parse"))
    }
}
