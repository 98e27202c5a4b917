//! Objects at the limits of what an API server stores.

use secondmate_differential::random::Random;
use serde_json::{Map, Value, json};

const AMOUNTS: &[(&str, &[&str])] = &[
    ("cpu", &["4611686018427387.904", "4611686018427387904", "8E", "1e18", "9223372036854775807m"]),
    ("memory", &["8E", "9223372036854775807", "4611686018427387904", "7E"]),
    ("ephemeral-storage", &["9223372036854775807", "8E"]),
    ("example.com/gpu", &["4611686018427387904", "9223372036854775807"]),
];
/// What the largest nodes offer: room for pods with the amounts above.
const LARGEST: &[&str] = &["9223372036854775807", "9E", "16E"];
/// Containers of a pod that has many, each asking for an extreme amount.
const MANY_CONTAINERS: usize = 5;
/// Labels, taints, ports, images or terms of an object that has many.
const MANY: usize = 400;
/// The lowest and the highest number, and those next to what is usual.
const SECONDS: &[i64] = &[i64::MIN, -1, 0, 1, i64::MAX];
const TIMES: &[&str] = &["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"];

/// Takes objects of a case to their limits. Returns the names of the pods that ask for more than any node offers; none where there may
/// be nodes that offer as much.
pub(crate) fn inflate(objects: &mut [Value], random: &mut Random) -> Vec<String> {
    let mut beyond = Vec::new();
    let immense_nodes = random.chance(25);
    for object in &mut *objects {
        match object["kind"].as_str() {
            Some("Pod") => {
                let asks_for_more_than_there_is = inflate_pod(object, random);
                beyond.extend(asks_for_more_than_there_is.then(|| super::full_name(object)));
            }
            Some("Node") => inflate_node(object, random, immense_nodes),
            Some("PersistentVolumeClaim") if random.chance(20) => {
                object["spec"]["resources"]["requests"]["storage"] = "8E".into();
            }
            Some("PersistentVolume") if random.chance(20) => {
                object["spec"]["capacity"]["storage"] = "9E".into()
            }
            Some("CSIStorageCapacity") if random.chance(50) => {
                object["capacity"] = random.one(&["8E", "0", "9223372036854775807"]).into();
                object["maximumVolumeSize"] = "8E".into();
            }
            Some("CSINode") => {
                for driver in object["spec"]["drivers"].as_array_mut().into_iter().flatten() {
                    if random.chance(40) {
                        driver["allocatable"] = json!({"count": *random.element(&[0, 1, i32::MAX])});
                    }
                }
            }
            Some("PodDisruptionBudget") if random.chance(40) => {
                object["status"]["disruptionsAllowed"] = i32::MAX.into();
                object["status"]["currentHealthy"] = i32::MAX.into();
            }
            Some("Namespace") if random.chance(20) => many_labels(object, random),
            _ => {}
        }
    }
    if immense_nodes { Vec::new() } else { beyond }
}

/// Says whether the pod now asks for more than there is.
fn inflate_pod(pod: &mut Value, random: &mut Random) -> bool {
    let mut beyond = false;
    if random.chance(25) {
        ask(pod, random);
        beyond = true;
    }
    let assigned = !pod["spec"]["nodeName"].is_null();
    if random.chance(10) {
        let (resource, amounts) = random.element(AMOUNTS);
        pod["spec"]["overhead"] = json!({*resource: random.one(amounts)});
        stored(pod);
        beyond = true;
    }
    if random.chance(30) {
        pod["spec"]["priority"] = (*random.element(&[i32::MIN, -1, 0, 1, 2_000_001_000, i32::MAX])).into();
        pod["spec"].as_object_mut().expect("a pod has a spec").remove("priorityClassName");
        stored(pod);
    }
    if random.chance(20) {
        pod["spec"]["terminationGracePeriodSeconds"] = (*random.element(&SECONDS[2..])).into();
        pod["spec"]["activeDeadlineSeconds"] = i32::MAX.into();
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            pod["metadata"]["deletionGracePeriodSeconds"] = i64::MAX.into();
            pod["metadata"]["deletionTimestamp"] = random.one(TIMES).into();
        }
    }
    if random.chance(20) {
        pod["metadata"]["creationTimestamp"] = random.one(TIMES).into();
        if assigned {
            pod["status"]["startTime"] = random.one(TIMES).into();
        }
    }
    if random.chance(20) {
        tolerations(pod, random);
    }
    if random.chance(20) {
        spread(pod, random);
    }
    if random.chance(10) {
        terms(pod, random);
    }
    if random.chance(10) {
        ports(pod, random);
    }
    if random.chance(8) {
        many_labels(pod, random);
    }
    if assigned && random.chance(10) {
        resized(pod, random);
    }
    beyond
}

/// Nothing is filled in any more: the object is as an API server has stored it.
fn stored(pod: &mut Value) {
    pod["metadata"]["uid"] = format!("uid-of-{}", super::full_name(pod)).into();
}

/// One container with an extreme amount, or several whose sum cannot be counted.
fn ask(pod: &mut Value, random: &mut Random) {
    let (resource, amounts) = random.element(AMOUNTS);
    let amount = random.one(amounts);
    // Requests of the pod as a whole would replace those of the containers.
    pod["spec"].as_object_mut().expect("a pod has a spec").remove("resources");
    let containers = pod["spec"]["containers"].as_array_mut().expect("a pod has containers");
    if random.chance(30) {
        while containers.len() < MANY_CONTAINERS {
            let mut another = containers[0].clone();
            another["name"] = format!("more-{}", containers.len()).into();
            // Each would want the same port.
            another.as_object_mut().expect("a container").remove("ports");
            containers.push(another);
        }
    }
    let asking = if random.chance(50) { 1 } else { containers.len() };
    for container in &mut containers[..asking] {
        container["resources"]["requests"][*resource] = amount.into();
        if *resource == "example.com/gpu" {
            container["resources"]["limits"][*resource] = amount.into();
        }
    }
}

fn tolerations(pod: &mut Value, random: &mut Random) {
    let count = if random.chance(20) { MANY } else { 1 };
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for number in 0..count {
        let key = if number == 0 { "dedicated".to_owned() } else { format!("key-{number}") };
        tolerations.push(json!({
            "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": *random.element(SECONDS),
        }));
    }
    pod["spec"]["tolerations"] = tolerations.into();
}

/// Constraints that no cluster violates, or that none can meet.
fn spread(pod: &mut Value, random: &mut Random) {
    let mut constraints = pod["spec"]["topologySpreadConstraints"].as_array().cloned().unwrap_or_default();
    if constraints.is_empty() {
        let when = random.one(&["DoNotSchedule", "ScheduleAnyway"]);
        constraints.push(json!({
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when,
            "labelSelector": {},
        }));
    }
    for constraint in &mut constraints {
        if random.chance(60) {
            constraint["maxSkew"] = i32::MAX.into();
        }
        if constraint["whenUnsatisfiable"] == "DoNotSchedule" && random.chance(40) {
            constraint["minDomains"] = (*random.element(&[1, i32::MAX])).into();
        }
    }
    pod["spec"]["topologySpreadConstraints"] = constraints.into();
}

/// Hundreds of terms, each with the greatest weight.
fn terms(pod: &mut Value, random: &mut Random) {
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let selector = json!({"matchLabels": {"app": random.one(&["a", "b"])}});
    let term =
        json!({"topologyKey": random.one(&["rack", "kubernetes.io/hostname"]), "labelSelector": selector});
    let of_pods: Vec<Value> =
        (0..MANY).map(|_| json!({"weight": 100, "podAffinityTerm": term.clone()})).collect();
    let preference = json!({"matchExpressions": [{"key": "disk", "operator": "Exists"}]});
    let of_nodes: Vec<Value> = (0..MANY).map(|_| json!({"weight": 100, "preference": preference})).collect();
    let affinity = &mut pod["spec"]["affinity"];
    match random.below(3) {
        0 => affinity["podAffinity"][PREFERRED] = of_pods.into(),
        1 => affinity["podAntiAffinity"][PREFERRED] = of_pods.into(),
        _ => affinity["nodeAffinity"][PREFERRED] = of_nodes.into(),
    }
}

fn ports(pod: &mut Value, random: &mut Random) {
    let first = if random.chance(50) { 1 } else { 65_536 - MANY };
    let port = |number: usize| {
        let protocol = ["TCP", "UDP", "SCTP"][number % 3];
        json!({"containerPort": number, "hostPort": number, "protocol": protocol})
    };
    pod["spec"]["containers"][0]["ports"] = (first..first + MANY).map(port).collect();
}

fn many_labels(object: &mut Value, random: &mut Random) {
    let mut labels: Map<String, Value> =
        object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    // Names and values of the greatest length.
    for number in 0..MANY {
        let name = format!("{}/{number:x<63}", "d".repeat(60));
        labels.insert(name, "v".repeat(if random.chance(50) { 63 } else { 0 }).into());
    }
    object["metadata"]["labels"] = labels.into();
}

/// The kubelet says of each container that it has an extreme amount.
fn resized(pod: &mut Value, random: &mut Random) {
    let statuses = pod["spec"]["containers"].as_array().into_iter().flatten().map(|container| {
        let (resource, amounts) = random.element(&AMOUNTS[..2]);
        let amounts = json!({*resource: random.one(amounts)});
        json!({
            "name": container["name"], "image": "i", "imageID": "i", "ready": true, "restartCount": i32::MAX,
            "allocatedResources": amounts, "resources": {"requests": amounts},
        })
    });
    pod["status"]["containerStatuses"] = statuses.collect();
}

fn inflate_node(node: &mut Value, random: &mut Random, immense: bool) {
    if random.chance(20) {
        node["status"]["images"] = json!([{"names": ["big:1", "huge:1"], "sizeBytes": i64::MAX}]);
    } else if random.chance(20) {
        // The size is not validated.
        let sizes = [i64::MIN, -1, 0, i64::MAX / 2, i64::MAX];
        let names = ["app:10", "app:20", "web:latest", "big:1", "huge:1"];
        let image = |name| json!({"names": [name], "sizeBytes": *random.element(&sizes)});
        node["status"]["images"] = names.into_iter().map(image).collect();
    }
    if random.chance(10) {
        many_labels(node, random);
    }
    if random.chance(8) {
        let effect = random.one(&["PreferNoSchedule", "PreferNoSchedule", "NoExecute"]);
        let taint = |number: usize| json!({"key": format!("key-{number}"), "effect": effect});
        node["spec"]["taints"] = (0..MANY).map(taint).collect();
    }
    if immense && random.chance(50) {
        for (resource, amounts) in AMOUNTS {
            if random.chance(60) {
                node["status"]["allocatable"][*resource] = random.one(amounts).into();
            }
        }
        node["status"]["allocatable"]["pods"] = random.one(&["110", "9223372036854775807", "8E"]).into();
    } else if !immense {
        // Some nodes of the generator offer as much as the pods ask for.
        for (_, amount) in node["status"]["allocatable"].as_object_mut().into_iter().flatten() {
            if amount.as_str().is_some_and(|amount| LARGEST.contains(&amount)) {
                *amount = "1".into();
            }
        }
    }
}
