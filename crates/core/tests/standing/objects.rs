//! Objects of the random histories.

use crate::{variety, volumes};
use secondmate_cycle::Random;
use secondmate_model::objects::{Object, ObjectKind};
use secondmate_model::{Node, Pod, wire};
use serde_json::{Value, json};
use std::sync::Arc;

/// Chooses one of several things.
pub fn one<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())].clone()
}

pub fn one_in(random: &mut Random, n: usize) -> bool {
    random.below(n) == 0
}

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
/// Some racks have one node, some have several.
const RACK: &str = "example.com/rack";

pub fn node(random: &mut Random, name: &str) -> Arc<Node> {
    node_in(random, name, None)
}

/// A node, in this zone if one is given: a node that changes and keeps its zone keeps its position in the list.
pub fn node_in(random: &mut Random, name: &str, zone: Option<&str>) -> Arc<Node> {
    let mut labels = json!({"disk": one(random, &["ssd", "hdd"])});
    if !one_in(random, 6) {
        labels[ZONE] = one(random, &["a", "b", "c"]).into();
    }
    if !one_in(random, 12) {
        // Occasionally two nodes claim to be the same host.
        labels[HOST] = if one_in(random, 8) { "shared".into() } else { name.into() };
    }
    if !one_in(random, 3) {
        labels[RACK] = one(random, &["r1", "r2", "r3", "r4", "r5"]).into();
    }
    let mut taints = Vec::new();
    if one_in(random, 3) {
        let effect = one(random, &["NoSchedule", "PreferNoSchedule", "PreferNoSchedule", "NoExecute"]);
        taints.push(json!({"key": one(random, &["x", "y"]), "value": "v", "effect": effect}));
    }
    let mut images = Vec::new();
    for image in ["one", "two"] {
        if one_in(random, 2) {
            images.push(json!({"names": [format!("{image}:latest")], "sizeBytes": one(random, &[100, 300, 900]) << 20}));
        }
    }
    let mut allocatable = json!({"cpu": one(random, &["2", "4", "8"]), "memory": one(random, &["4Gi", "8Gi"]),
        "pods": one(random, &["3", "10", "110"])});
    if one_in(random, 3) {
        allocatable["example.com/gpu"] = one(random, &["1", "4"]).into();
    }
    let mut node = json!({"metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": one_in(random, 10)},
        "status": {"allocatable": allocatable, "images": images}});
    variety::enrich_node(random, &mut node);
    if let Some(zone) = zone {
        node["metadata"]["labels"][ZONE] = zone.into();
    }
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

fn term(random: &mut Random) -> Value {
    let mut term = json!({"topologyKey": one(random, &[ZONE, HOST, RACK]),
        "labelSelector": variety::selector(random)});
    match random.below(8) {
        0 | 1 => term["namespaceSelector"] = json!({"matchLabels": {"team": "red"}}),
        2 => term["namespaceSelector"] = json!({}),
        3 => term["namespaces"] = json!(["blue", variety::namespace(random)]),
        _ => {}
    }
    if !term["labelSelector"].is_null() && one_in(random, 5) {
        term[one(random, &["matchLabelKeys", "matchLabelKeys", "mismatchLabelKeys"])] = json!(["version"]);
    }
    term
}

/// Pod affinity and anti-affinity, of one kind or of several.
fn pod_affinity(random: &mut Random, affinity: &mut Value) {
    for _ in 0..one(random, &[1, 1, 2]) {
        let kind = one(random, &["podAffinity", "podAntiAffinity", "podAntiAffinity"]);
        if one_in(random, 2) {
            let terms: Vec<Value> = (0..one(random, &[1, 1, 2])).map(|_| term(random)).collect();
            affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"] = terms.into();
        } else {
            let preference = |random: &mut Random| json!({"weight": one(random, &[1, 7, 100]), "podAffinityTerm": term(random)});
            let terms: Vec<Value> = (0..one(random, &[1, 2])).map(|_| preference(random)).collect();
            affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"] = terms.into();
        }
    }
}

fn constraint(random: &mut Random) -> Value {
    let mut constraint = json!({
        "maxSkew": one(random, &[1, 1, 2, 3]),
        "topologyKey": one(random, &[ZONE, HOST, RACK]),
        "whenUnsatisfiable": one(random, &["DoNotSchedule", "ScheduleAnyway"]),
        "nodeAffinityPolicy": one(random, &["Honor", "Ignore"]),
        "nodeTaintsPolicy": one(random, &["Honor", "Ignore"]),
        "labelSelector": variety::selector(random),
    });
    if constraint["whenUnsatisfiable"] == "DoNotSchedule" && one_in(random, 3) {
        constraint["minDomains"] = one(random, &[1, 2, 3, 4]).into();
    }
    if !constraint["labelSelector"].is_null() && one_in(random, 4) {
        constraint["matchLabelKeys"] = json!(["version"]);
    }
    constraint
}

fn preferences(random: &mut Random) -> Value {
    let preference = |value: &str, weight: u32| {
        json!({"weight": weight, "preference":
            {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [value]}]}})
    };
    let weights = one(random, &[[5, 3], [3, 5], [1, 100]]);
    json!({"preferredDuringSchedulingIgnoredDuringExecution": [preference("a", weights[0]), preference("b", weights[1])]})
}

/// The specification of a kind of pods: pods made from it are equivalent except for what `pod` adds.
pub fn template(random: &mut Random) -> Value {
    let mut requests = json!({});
    for (resource, amounts) in
        [("cpu", &["100m", "500m", "1500m", "9"][..]), ("memory", &["100Mi", "1Gi", "3Gi"][..])]
    {
        if !one_in(random, 4) {
            requests[resource] = one(random, amounts).into();
        }
    }
    if one_in(random, 8) {
        requests["example.com/gpu"] = "1".into();
    }
    let mut container = json!({"name": "c", "image": one(random, &["one", "two", "three"]), "resources": {"requests": requests}});
    if one_in(random, 6) {
        container["ports"] = json!([{"containerPort": 80, "hostPort": one(random, &[80, 81])}]);
    }
    let mut spec = json!({"containers": [container], "priority": one(random, &[0, 0, 0, 10, 100])});
    if one_in(random, 3) {
        spec["tolerations"] = json!([{"key": one(random, &["x", "y"]), "operator": "Exists",
            "effect": one(random, &["NoSchedule", "PreferNoSchedule", ""])}]);
    }
    if one_in(random, 5) {
        spec["nodeSelector"] = json!({"disk": one(random, &["ssd", "hdd"])});
    }
    let mut affinity = json!({});
    if one_in(random, 4) {
        affinity["nodeAffinity"] = preferences(random);
    }
    if one_in(random, 3) {
        pod_affinity(random, &mut affinity);
    }
    if affinity != json!({}) {
        spec["affinity"] = affinity;
    }
    if one_in(random, 3) {
        spec["topologySpreadConstraints"] = match random.below(3) {
            0 => json!([constraint(random)]),
            1 => json!([constraint(random), constraint(random)]),
            _ => json!([constraint(random), constraint(random), constraint(random)]),
        };
    }
    if one_in(random, 3) {
        spec["volumes"] = volumes::of_template(random);
    } else if one_in(random, 20) {
        spec["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "missing"}}]);
    }
    if one_in(random, 25) {
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms":
            [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1", "n2"]}]}]});
    }
    let mut template = json!({"metadata": {"namespace": variety::namespace(random), "labels": {"app": one(random, &["web", "db", "job"]), "version": one(random, &["1", "2"])}},
        "spec": spec});
    for _ in 0..one(random, &[0, 0, 1, 1, 2]) {
        variety::enrich(random, &mut template);
    }
    template
}

/// A kind that differs from this one in one respect.
pub fn sibling(random: &mut Random, template: &Value) -> Value {
    let other = self::template(random);
    let mut sibling = template.clone();
    if one_in(random, 3) {
        // Equal except for what terms and selectors select.
        let field = one(random, &["labels", "namespace"]);
        sibling["metadata"][field] = other["metadata"][field].clone();
        return sibling;
    }
    if one_in(random, 3) {
        variety::enrich(random, &mut sibling);
        return sibling;
    }
    let spec = &mut sibling["spec"];
    let container = &mut spec["containers"][0];
    match random.below(11) {
        0 => container["image"] = one(random, &["one", "two", "three"]).into(),
        1 => container["ports"] = json!([{"containerPort": 80, "hostPort": one(random, &[80, 81])}]),
        2 => container["resources"]["requests"]["example.com/gpu"] = one(random, &["1", "2"]).into(),
        3 => container["resources"] = other["spec"]["containers"][0]["resources"].clone(),
        4 => spec["nodeSelector"] = json!({"disk": one(random, &["ssd", "hdd"])}),
        5 => spec["affinity"]["nodeAffinity"] = preferences(random),
        7 => pod_affinity(random, &mut spec["affinity"]),
        8 => spec["volumes"] = volumes::of_template(random),
        9 => spec["volumes"] = json!([]),
        6 => spec["topologySpreadConstraints"] = json!([constraint(random)]),
        _ => {
            let field = one(random, &["tolerations", "affinity", "priority"]);
            spec[field] = other["spec"][field].clone();
        }
    }
    sibling
}

/// A pod of a kind, as JSON. Its labels and claims differ from those of the others, as with a StatefulSet's pods.
pub fn manifest(template: &Value, name: &str) -> Value {
    let mut pod = template.clone();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["uid"] = name.into();
    pod["metadata"]["labels"]["pod-name"] = name.into();
    volumes::name_claims(&mut pod, name);
    pod
}

/// A pod of a kind: see [`manifest`].
pub fn pod(template: &Value, name: &str) -> Arc<Pod> {
    compile(manifest(template, name))
}

/// A budget with one of a few names.
pub fn budget(random: &mut Random) -> Value {
    json!({"metadata": {"name": one(random, &["x", "y"]), "namespace": one(random, &["red", "blue"])},
        "spec": {"selector": {"matchLabels": {"app": one(random, &["web", "db", "job"])}}},
        "status": {"disruptionsAllowed": random.below(3)}})
}

pub fn compile(pod: Value) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

pub fn object(kind: ObjectKind, value: Value) -> Object {
    kind.compile(&value).expect("a well-formed object").0
}
