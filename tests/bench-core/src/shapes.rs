//! Shapes of pods.

use clap::ValueEnum;
use secondmate_model::{Pod, wire};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Number of kinds of [`Shape::ManyClasses`].
const KINDS: usize = 100;
/// Number of kinds of pods that want a node each for themselves.
const APART: usize = 25;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

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
    /// Spread over nodes, or not at all.
    SpreadHardHost,
    /// By the default constraints, for a Service that selects the pods.
    SpreadDefault,
    /// Not beside its likes on a node, if it can be.
    AntiAffinityHost,
    /// Not beside its likes on a node, or not at all; of 25 kinds in turn.
    AntiAffinityHostRequired,
    /// The same, and its likes in all namespaces with a label count.
    AntiAffinityNamespaces,
    /// In a zone with its likes, if it can be.
    AffinityZone,
    /// In a zone with its likes, or not at all.
    AffinityZoneRequired,
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
        let spread = |when: &str| json!([{"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, "labelSelector": likes}]);
        match self {
            Self::Basic | Self::SpreadDefault => {}
            Self::NodeAffinity => {
                let is = |key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
                spec["affinity"]["nodeAffinity"] = json!({
                    "requiredDuringSchedulingIgnoredDuringExecution":
                        {"nodeSelectorTerms": [is(ZONE, &["zone-0", "zone-1"])]},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": is("disk", &["ssd"])}],
                });
            }
            Self::ManyClasses => cpu(&mut pod, 50 + number % KINDS),
            Self::Alone => cpu(&mut pod, 1 + number % 1_000_000),
            Self::Unschedulable if !number.is_multiple_of(2) => cpu(&mut pod, 1_000_000),
            Self::Unschedulable => {}
            Self::SpreadSoft => spec["topologySpreadConstraints"] = spread("ScheduleAnyway"),
            Self::SpreadHard => spec["topologySpreadConstraints"] = spread("DoNotSchedule"),
            Self::SpreadHardHost => {
                spec["topologySpreadConstraints"] = spread("DoNotSchedule");
                spec["topologySpreadConstraints"][0]["topologyKey"] = HOST.into();
            }
            Self::AntiAffinityHost => {
                spec["affinity"]["podAntiAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "podAffinityTerm": {"topologyKey": HOST, "labelSelector": likes}}]});
            }
            Self::AntiAffinityHostRequired | Self::AntiAffinityNamespaces => {
                let kind = format!("bench-{}", number % APART);
                let mut term = json!({"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": kind}}});
                if self == Self::AntiAffinityNamespaces {
                    term["namespaceSelector"] = json!({"matchLabels": {"team": "bench"}});
                }
                spec["affinity"]["podAntiAffinity"] =
                    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
                pod["metadata"]["labels"]["app"] = kind.into();
            }
            Self::AffinityZone => {
                spec["affinity"]["podAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "podAffinityTerm": {"topologyKey": ZONE, "labelSelector": likes}}]});
            }
            Self::AffinityZoneRequired => {
                spec["affinity"]["podAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution":
                    [{"topologyKey": ZONE, "labelSelector": likes}]});
            }
        }
        let wire: wire::Pod = serde_json::from_value(pod).expect("a well-formed pod");
        Arc::new(Pod::new(&wire).expect("quantities that parse"))
    }
}
