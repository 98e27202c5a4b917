//! What the pods of each shape look like, and what is there before they come.

use crate::cluster::{HOST, NAME, ZONE, node_name};
use crate::options::Shape;
use serde_json::{Value, json};

/// Number of kinds of [`Shape::ManyClasses`].
const KINDS: usize = 100;
/// Number of kinds of pods that want a node each for themselves.
const APART: usize = 25;
/// Pods of a kind that want to be on one node, which has room for them.
const TOGETHER: usize = 50;
/// Pods that are alive at a time in [`Shape::DeletionChurn`].
const ALIVE: usize = 100;
/// Pods on each node before [`Shape::Preemption`] begins: together they fill it.
const FILLING: usize = 4;
/// Most pods that are on nodes before another shape begins: some for inter-pod rules to look at.
const INITIAL_MAX: usize = 1000;
/// Number of the first of them, so that they are of other kinds than the first pods that come where kinds end, and of the same where
/// they come round: all that is taken modulo something above divides it.
const INITIAL_FROM: usize = 21_000_000;
/// [`Shape::Mixed`] takes them in turn.
const MIX: [Shape; 7] = [
    Shape::Basic,
    Shape::NodeAffinity,
    Shape::SpreadSoft,
    Shape::SpreadHard,
    Shape::AntiAffinityHost,
    Shape::AffinityZone,
    Shape::AffinityZoneRequired,
];

/// [`Shape::MixedByZone`] takes them in turn: a million nodes' classes of these fit in what the standing evaluation uses by default.
const MIX_BY_ZONE: [Shape; 5] =
    [Shape::Basic, Shape::SpreadSoft, Shape::SpreadHard, Shape::AffinityZone, Shape::AffinityZoneRequired];

/// Namespaces beside `default`, whose pods count where a term selects namespaces.
pub const NAMESPACES: usize = 5;

impl Shape {
    /// Whether there is a Service that selects the pods.
    pub fn has_service(self) -> bool {
        self == Self::SpreadDefault
    }

    /// The pod that is deleted before the one with this number comes.
    pub fn deletes(self, number: usize) -> Option<usize> {
        if self == Self::DeletionChurn { number.checked_sub(ALIVE) } else { None }
    }

    /// Pods that are on nodes before the first one comes: one on each fifth node, where the shape's own rules let it be.
    pub fn initial(self, nodes: usize) -> impl Iterator<Item = Value> {
        let count = match self {
            Self::Preemption => nodes * FILLING,
            _ => (nodes / 5).min(INITIAL_MAX),
        };
        (0..count).map(move |at| self.initial_pod(at, nodes))
    }

    fn initial_pod(self, at: usize, nodes: usize) -> Value {
        let node = match self {
            Self::Preemption => at % nodes,
            // Pods that have to be together are in the first zone, or on the first node of their kind.
            Self::AffinityZone | Self::AffinityZoneRequired => at * 3 % nodes,
            Self::AffinityNamespaces | Self::AffinityNamespacesRequired => at * 3 % nodes,
            Self::AffinityHost | Self::AffinityHostRequired => at / TOGETHER % nodes,
            Self::Mixed | Self::MixedByZone if self.of_mix(at) == Self::AffinityZoneRequired => {
                at * 3 % nodes
            }
            _ => at,
        };
        let mut pod = match self {
            // Neither gates nor impossible requests were in the way of those that are there.
            Self::Preemption | Self::Unschedulable | Self::Gated => Self::Basic.document(at, nodes),
            _ => self.document(INITIAL_FROM + at, nodes),
        };
        pod["metadata"]["name"] = format!("initial-{at}").into();
        pod["metadata"]["uid"] = format!("initial-{at}").into();
        pod["spec"]["nodeName"] = node_name(node).into();
        if self == Self::Preemption {
            request_cpu(&mut pod, 8000);
        }
        pod
    }

    /// Pods that can be tried at most.
    pub fn pods_max(self, nodes: usize) -> usize {
        if self == Self::Preemption { nodes * FILLING } else { usize::MAX }
    }

    /// The pod with this number for a cluster of so many nodes, as a document.
    pub fn document(self, number: usize, nodes: usize) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{number}"), "uid": format!("pod-{number}"), "namespace": "default",
                "labels": {"app": "bench"}},
            "spec": {"schedulerName": NAME, "priority": 0, "preemptionPolicy": "Never",
                "containers": [{"name": "c", "image": "app:1",
                    "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]},
        });
        self.shape(&mut pod, number, nodes);
        pod
    }

    /// Gives the pod what makes it one of this shape.
    fn shape(self, pod: &mut Value, number: usize, nodes: usize) {
        let when = |required: bool| if required { "DoNotSchedule" } else { "ScheduleAnyway" };
        match self {
            Self::Basic | Self::SpreadDefault | Self::DeletionChurn => {}
            Self::NodeAffinity => {
                let is = |key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
                pod["spec"]["affinity"]["nodeAffinity"] = json!({
                    "requiredDuringSchedulingIgnoredDuringExecution":
                        {"nodeSelectorTerms": [is(ZONE, &["zone-0", "zone-1"])]},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": is("disk", &["ssd"])}],
                });
            }
            Self::ManyClasses => request_cpu(pod, 50 + number % KINDS),
            Self::Alone => request_cpu(pod, 1 + number % 1_000_000),
            Self::Unschedulable if !number.is_multiple_of(2) => request_cpu(pod, 1_000_000),
            Self::Gated if !number.is_multiple_of(2) => {
                pod["spec"]["schedulingGates"] = json!([{"name": "bench"}]);
            }
            Self::Unschedulable | Self::Gated => {}
            Self::DaemonSet => {
                let this = json!([{"key": "metadata.name", "operator": "In", "values": [node_name(number % nodes)]}]);
                pod["spec"]["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": [{"matchFields": this}]}});
            }
            Self::Preemption => {
                request_cpu(pod, 8000);
                pod["spec"]["priority"] = 10.into();
                pod["spec"]["preemptionPolicy"] = "PreemptLowerPriority".into();
            }
            Self::SpreadSoft => spread(pod, ZONE, when(false)),
            Self::SpreadHard => spread(pod, ZONE, when(true)),
            Self::SpreadHardHost => spread(pod, HOST, when(true)),
            Self::AntiAffinityHost => inter_pod(pod, "podAntiAffinity", HOST, false),
            Self::AntiAffinityHostRequired => {
                label(pod, &format!("bench-{}", number % APART));
                inter_pod(pod, "podAntiAffinity", HOST, true);
            }
            Self::AntiAffinityZone => inter_pod(pod, "podAntiAffinity", ZONE, false),
            Self::AntiAffinityZoneRequired => {
                label(pod, &format!("bench-{}", number / 3));
                inter_pod(pod, "podAntiAffinity", ZONE, true);
            }
            Self::AntiAffinityNamespaces => {
                inter_pod(pod, "podAntiAffinity", HOST, false);
                in_namespaces(pod, "podAntiAffinity", number);
            }
            Self::AntiAffinityNamespacesRequired => {
                label(pod, &format!("bench-{}", number / NAMESPACES % APART));
                inter_pod(pod, "podAntiAffinity", HOST, true);
                in_namespaces(pod, "podAntiAffinity", number);
            }
            Self::AffinityHost => {
                label(pod, &format!("bench-{}", number / TOGETHER));
                inter_pod(pod, "podAffinity", HOST, false);
            }
            Self::AffinityHostRequired => {
                label(pod, &format!("bench-{}", number / TOGETHER));
                inter_pod(pod, "podAffinity", HOST, true);
            }
            Self::AffinityZone => inter_pod(pod, "podAffinity", ZONE, false),
            Self::AffinityZoneRequired => inter_pod(pod, "podAffinity", ZONE, true),
            Self::AffinityNamespaces => {
                inter_pod(pod, "podAffinity", ZONE, false);
                in_namespaces(pod, "podAffinity", number);
            }
            Self::AffinityNamespacesRequired => {
                inter_pod(pod, "podAffinity", ZONE, true);
                in_namespaces(pod, "podAffinity", number);
            }
            Self::Mixed | Self::MixedByZone => {
                // Each shape has labels of its own, so that none is in the way of another.
                let shape = self.of_mix(number);
                label(pod, &format!("bench-{shape}"));
                shape.shape(pod, number, nodes);
            }
        }
    }

    /// The shape of the pod with this number in a mix.
    fn of_mix(self, number: usize) -> Self {
        let mix: &[Self] = if self == Self::MixedByZone { &MIX_BY_ZONE } else { &MIX };
        mix[number % mix.len()]
    }
}

fn request_cpu(pod: &mut Value, milli: usize) {
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = format!("{milli}m").into();
}

fn label(pod: &mut Value, app: &str) {
    pod["metadata"]["labels"]["app"] = app.into();
}

/// Selects the pods that are labelled as this one.
fn likes(pod: &Value) -> Value {
    json!({"matchLabels": {"app": pod["metadata"]["labels"]["app"]}})
}

fn spread(pod: &mut Value, key: &str, when: &str) {
    let constraint =
        json!({"maxSkew": 5, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": likes(pod)});
    pod["spec"]["topologySpreadConstraints"] = json!([constraint]);
}

fn inter_pod(pod: &mut Value, kind: &str, key: &str, required: bool) {
    let term = json!({"topologyKey": key, "labelSelector": likes(pod)});
    pod["spec"]["affinity"][kind] = if required {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    } else {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "podAffinityTerm": term}]})
    };
}

/// Moves the pod into one of the namespaces, and has its term select them.
fn in_namespaces(pod: &mut Value, kind: &str, number: usize) {
    pod["metadata"]["namespace"] = namespace_name(number % NAMESPACES).into();
    let affinity = &mut pod["spec"]["affinity"][kind];
    let selector = json!({"matchLabels": {"team": "bench"}});
    for (when, terms) in affinity.as_object_mut().into_iter().flatten() {
        for term in terms.as_array_mut().into_iter().flatten() {
            let preferred = when.starts_with("preferred");
            let term = if preferred { &mut term["podAffinityTerm"] } else { term };
            term["namespaceSelector"] = selector.clone();
        }
    }
}

/// The name of a namespace beside `default`.
pub fn namespace_name(at: usize) -> String {
    format!("team-{at}")
}
