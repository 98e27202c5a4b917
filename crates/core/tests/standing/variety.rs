//! Unusual features of pods, nodes, workloads and profiles: each field that some plugin reads occurs in some history.

use crate::objects::{object, one, one_in};
use secondmate_cycle::Random;
use secondmate_framework::Parity;
use secondmate_model::Atom;
use secondmate_model::objects::{ObjectKind, ObjectName, Objects};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ZONE: &str = "topology.kubernetes.io/zone";
const FEATURE: &str = "RestartAllContainersOnContainerExits";
const NEED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const WISH: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Namespaces besides those of most pods; a selector that matches them matches more than are listed individually.
const NAMESPACES: usize = 12;

/// A namespace, mostly one of the two usual ones.
pub fn namespace(random: &mut Random) -> String {
    match random.below(8) {
        0 => format!("ns{}", random.below(NAMESPACES)),
        _ => one(random, &["red", "blue"]).to_owned(),
    }
}

/// What a term or a constraint selects; `null` if it selects nothing.
pub fn selector(random: &mut Random) -> Value {
    let expression = |random: &mut Random| match random.below(5) {
        0 => json!({"key": "app", "operator": "In", "values": [one(random, &["web", "job"]), "db"]}),
        1 => json!({"key": "app", "operator": "NotIn", "values": ["web"]}),
        2 => json!({"key": "version", "operator": "In", "values": [one(random, &["1", ""])]}),
        3 => json!({"key": "tier", "operator": "Exists"}),
        _ => json!({"key": "tier", "operator": "DoesNotExist"}),
    };
    match random.below(32) {
        0..=2 => json!({"matchExpressions": [expression(random)]}),
        3 | 4 => json!({"matchExpressions": [expression(random), expression(random)]}),
        5 => json!({"matchLabels": {"app": "web"}, "matchExpressions": [expression(random)]}),
        6 => json!({}),
        7 => Value::Null,
        _ => json!({"matchLabels": {"app": one(random, &["web", "db"])}}),
    }
}

fn node_expression(random: &mut Random) -> Value {
    match random.below(7) {
        0 => json!({"key": "cores", "operator": "Gt", "values": [one(random, &["4", "8"])]}),
        1 => json!({"key": "cores", "operator": "Lt", "values": [one(random, &["8", "16"])]}),
        2 => json!({"key": "disk", "operator": "NotIn", "values": [one(random, &["ssd", "hdd"])]}),
        3 => json!({"key": ZONE, "operator": "NotIn", "values": ["a", ""]}),
        4 => {
            json!({"key": "example.com/rack", "operator": one(random, &["Exists", "DoesNotExist"]), "values": []})
        }
        5 => json!({"key": "example.com/rack", "operator": "In", "values": ["", "r1", "r2"]}),
        _ => json!({"key": ZONE, "operator": "In", "values": [one(random, &["a", "b"]), "c"]}),
    }
}

fn node_term(random: &mut Random) -> Value {
    let expressions: Vec<Value> = (0..one(random, &[1, 1, 2])).map(|_| node_expression(random)).collect();
    json!({"matchExpressions": expressions})
}

fn toleration(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({"operator": "Exists"}),
        1 => json!({"operator": "Exists", "effect": one(random, &["NoSchedule", "NoExecute"])}),
        2 => json!({"key": "x", "operator": "Equal", "value": one(random, &["v", "w", ""])}),
        _ => {
            json!({"key": one(random, &["x", "y"]), "value": "v", "effect": "NoExecute", "tolerationSeconds": 5})
        }
    }
}

fn requests(random: &mut Random) -> Value {
    json!({"requests": {one(random, &["cpu", "memory", "ephemeral-storage"]): one(random, &["1", "2", "300M"])}})
}

fn host_port(random: &mut Random) -> Value {
    let ip = one(random, &["", "10.0.0.1", "10.0.0.2", "0.0.0.0"]);
    json!({"containerPort": 80, "hostPort": one(random, &[80, 81]), "hostIP": ip, "protocol": one(random, &["TCP", "UDP", ""])})
}

/// Changes one part of a field of a kind of pods, if it has that field: its host port, or the feature that it needs. Returns
/// whether it has one.
fn vary(random: &mut Random, spec: &mut Value) -> bool {
    let container = &mut spec["containers"][0];
    if let Some(port) = container["ports"].get_mut(0) {
        port["hostIP"] = one(random, &["", "10.0.0.1", "10.0.0.2"]).into();
        port["protocol"] = one(random, &["TCP", "UDP"]).into();
        return true;
    }
    if !container["restartPolicyRules"].is_null() {
        container["restartPolicyRules"] = json!([]);
        (spec["hostNetwork"], spec["hostUsers"]) = (true.into(), false.into());
        return true;
    }
    container.as_object_mut().expect("a container").remove("restartPolicyRules");
    false
}

/// Adds to a kind of pods one field that some plugin reads.
pub fn enrich(random: &mut Random, template: &mut Value) {
    let spec = &mut template["spec"];
    if one_in(random, 2) && vary(random, spec) {
        return;
    }
    match random.below(20) {
        0 | 1 => spec["containers"][0]["ports"] = json!([host_port(random), host_port(random)]),
        2 => {
            let terms: Vec<Value> = (0..one(random, &[1, 1, 2])).map(|_| node_term(random)).collect();
            spec["affinity"]["nodeAffinity"][NEED] = json!({"nodeSelectorTerms": terms});
        }
        3 => {
            let preference = |random: &mut Random| json!({"weight": one(random, &[1, 50]), "preference": node_term(random)});
            spec["affinity"]["nodeAffinity"][WISH] = json!([preference(random), preference(random)]);
        }
        4 | 5 => {
            let tolerations: Vec<Value> = (0..one(random, &[1, 2])).map(|_| toleration(random)).collect();
            spec["tolerations"] = tolerations.into();
        }
        6 => spec["overhead"] = json!({"cpu": one(random, &["50m", "250m"]), "memory": "64Mi"}),
        7 => spec["resources"] = requests(random),
        8 => {
            let init =
                json!({"name": "i", "image": one(random, &["two", "three"]), "resources": requests(random)});
            spec["initContainers"] = json!([init]);
        }
        9 => {
            let sidecar = json!({"name": "s", "image": "one", "restartPolicy": "Always", "resources": requests(random),
                "ports": [host_port(random)]});
            spec["initContainers"] = json!([sidecar]);
        }
        10 => {
            spec["containers"][0]["resources"]["requests"]["ephemeral-storage"] =
                one(random, &["1Gi", "9Gi"]).into()
        }
        11 => {
            let another = json!({"name": "d", "image": one(random, &["two", "three:v2", "registry/one"]), "resources": requests(random)});
            spec["containers"].as_array_mut().expect("containers").push(another);
        }
        12 | 13 => spec["preemptionPolicy"] = "Never".into(),
        14 | 15 => {
            let (api_version, kind) = one(
                random,
                &[
                    ("apps/v1", "ReplicaSet"),
                    ("apps/v1", "StatefulSet"),
                    ("v1", "ReplicationController"),
                    ("batch/v1", "Job"),
                ],
            );
            template["metadata"]["ownerReferences"] = json!([{"apiVersion": api_version, "kind": kind, "name": one(random, &["s", "t"]),
                "uid": one(random, &["u1", "u2"]), "controller": true}]);
        }
        16 if random.below(2) == 0 => {
            spec["containers"][0]["volumeMounts"] = json!([{"bindMountOptions": ["noexec"]}]);
        }
        16 => spec["containers"][0]["restartPolicyRules"] = json!([{"action": "RestartAllContainers"}]),
        17 => (spec["hostNetwork"], spec["hostUsers"]) = (true.into(), false.into()),
        18 => template["metadata"]["labels"]["version"] = "".into(),
        _ => template["metadata"]["labels"]["tier"] = one(random, &["front", ""]).into(),
    }
}

/// Unusual features of a node.
pub fn enrich_node(random: &mut Random, node: &mut Value) {
    let (labels, status) = ("metadata", "status");
    if one_in(random, 2) {
        node[labels]["labels"]["cores"] = one(random, &["4", "8", "16", "many", ""]).into();
    }
    if one_in(random, 2) {
        node[status]["allocatable"]["ephemeral-storage"] = one(random, &["2Gi", "20Gi"]).into();
    }
    if one_in(random, 2) {
        node[status]["declaredFeatures"] = match random.below(3) {
            0 => json!([FEATURE]),
            1 => json!(["UserNamespacesHostNetworkSupport", "VolumeBindMountOptions"]),
            _ => json!([FEATURE, "UserNamespacesHostNetworkSupport"]),
        };
    }
    match random.below(12) {
        0 => node[labels]["labels"]["example.com/rack"] = "".into(),
        1 => node[labels]["labels"][ZONE] = "".into(),
        2 => {
            node["spec"]["taints"] = json!([{"key": "x", "value": "w", "effect": "NoExecute"}, {"key": "y", "effect": "PreferNoSchedule"}])
        }
        3 => {
            node[status]["images"] = json!([{"names": ["three:v2", "one:latest"], "sizeBytes": 400 << 20}, {"names": ["registry/one:latest"], "sizeBytes": 50 << 20}])
        }
        _ => {}
    }
}

/// A namespace or a workload is changed, added or removed.
pub fn change_object(random: &mut Random, objects: &mut Objects) {
    let (namespace, name) = (namespace(random), one(random, &["s", "t"]));
    let kind = one(
        random,
        &[
            ObjectKind::Namespace,
            ObjectKind::Namespace,
            ObjectKind::ReplicaSet,
            ObjectKind::StatefulSet,
            ObjectKind::ReplicationController,
            ObjectKind::Service,
        ],
    );
    let name = match kind {
        ObjectKind::Namespace => ObjectName::new(&Atom::default(), &namespace),
        _ => ObjectName::new(&Atom::new(&namespace), name),
    };
    if one_in(random, 4) {
        objects.remove(kind, &name);
        return;
    }
    let mut value = json!({"metadata": {"name": name.name, "namespace": name.namespace.as_str()}});
    match kind {
        ObjectKind::Namespace => {
            value["metadata"]["labels"]["team"] = one(random, &["red", "red", "blue"]).into()
        }
        ObjectKind::ReplicaSet | ObjectKind::StatefulSet => value["spec"]["selector"] = selector(random),
        _ => value["spec"]["selector"] = json!({"app": one(random, &["web", "db"])}),
    }
    objects.apply(object(kind, value));
}

/// All namespaces, most of them of one team.
pub fn begin(random: &mut Random, objects: &mut Objects) {
    for at in 0..NAMESPACES {
        let team = one(random, &["red", "red", "red", "blue"]);
        let namespace = json!({"metadata": {"name": format!("ns{at}"), "labels": {"team": team}}});
        objects.apply(object(ObjectKind::Namespace, namespace));
    }
}

/// Weights and arguments of a profile.
pub struct Variant {
    pub weights: Vec<(&'static str, i64)>,
    pub args: BTreeMap<String, Value>,
    pub parity: Parity,
}

/// A profile with weights and arguments other than the defaults.
pub fn profile(random: &mut Random, plugins: &[(&'static str, i64)]) -> Variant {
    let weights = plugins.iter().map(|(name, weight)| match weight {
        0 => (*name, 0),
        weight => (*name, if one_in(random, 3) { one(random, &[1, 5, 40]) } else { *weight }),
    });
    let weights = weights.collect();
    let mut args = BTreeMap::new();
    let mut add = |plugin: &str, value: Value| args.insert(plugin.to_owned(), value);
    if one_in(random, 2) {
        let added = match random.below(3) {
            0 => json!({NEED: {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "disk", "operator": "In", "values": [one(random, &["ssd", "hdd"])]}]}]}}),
            1 => json!({WISH: [{"weight": 7, "preference": node_term(random)}]}),
            _ => json!({NEED: {"nodeSelectorTerms": [node_term(random), node_term(random)]},
                WISH: [{"weight": 7, "preference": node_term(random)}]}),
        };
        add("NodeAffinity", json!({"addedAffinity": added}));
    }
    if one_in(random, 2) {
        let weight = one(random, &[0, 0, 30, 100]);
        add(
            "InterPodAffinity",
            json!({"hardPodAffinityWeight": weight, "ignorePreferredTermsOfExistingPods": one_in(random, 2)}),
        );
    }
    if one_in(random, 2) {
        let resources = json!([{"name": "cpu", "weight": 2}, {"name": "example.com/gpu", "weight": 3}, {"name": "ephemeral-storage", "weight": 1}]);
        let shape = one(random, &[[0, 10], [10, 0]]);
        let shape = json!([{"utilization": 0, "score": shape[0]}, {"utilization": 40, "score": 7}, {"utilization": 100, "score": shape[1]}]);
        let strategy = match random.below(3) {
            0 => json!({"type": "MostAllocated", "resources": resources}),
            1 => json!({"type": "LeastAllocated", "resources": resources}),
            _ => {
                json!({"type": "RequestedToCapacityRatio", "resources": resources, "requestedToCapacityRatio": {"shape": shape}})
            }
        };
        let mut fit = json!({"scoringStrategy": strategy});
        match random.below(3) {
            0 => fit["ignoredResources"] = json!(["example.com/gpu"]),
            1 => fit["ignoredResourceGroups"] = json!(["example.com"]),
            _ => {}
        }
        add("NodeResourcesFit", fit);
    }
    if one_in(random, 3) {
        let resources = json!([{"name": "memory", "weight": 1}, {"name": "ephemeral-storage", "weight": 1}]);
        add("NodeResourcesBalancedAllocation", json!({"resources": resources}));
    }
    if one_in(random, 4) {
        add("PodTopologySpread", json!({"defaultingType": "List"}));
    }
    let parity = one(random, &[Parity::Strict, Parity::Sensible]);
    Variant { weights, args, parity }
}
