//! The columns that `kubectl get` shows.

mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::ResourceType;
use crate::time;

/// Name, type, and whether it is only shown with `-o wide`.
type Column = (&'static str, &'static str, bool);

const POD: &[Column] = &[
    ("Name", "string", false),
    ("Ready", "string", false),
    ("Status", "string", false),
    ("Restarts", "string", false),
    ("Age", "string", false),
    ("IP", "string", true),
    ("Node", "string", true),
    ("Nominated Node", "string", true),
    ("Readiness Gates", "string", true),
];
const NODE: &[Column] = &[
    ("Name", "string", false),
    ("Status", "string", false),
    ("Roles", "string", false),
    ("Age", "string", false),
    ("Version", "string", false),
    ("Internal-IP", "string", true),
    ("External-IP", "string", true),
    ("OS-Image", "string", true),
    ("Kernel-Version", "string", true),
    ("Container-Runtime", "string", true),
];
const EVENT: &[Column] = &[
    ("Last Seen", "string", false),
    ("Type", "string", false),
    ("Reason", "string", false),
    ("Object", "string", false),
    ("Subobject", "string", true),
    ("Source", "string", true),
    ("Message", "string", false),
    ("First Seen", "string", true),
    ("Count", "string", true),
    ("Name", "string", true),
];
const NAMESPACE: &[Column] =
    &[("Name", "string", false), ("Status", "string", false), ("Age", "string", false)];
const LEASE: &[Column] = &[("Name", "string", false), ("Holder", "string", false), ("Age", "string", false)];
const PRIORITY_CLASS: &[Column] = &[
    ("Name", "string", false),
    ("Value", "integer", false),
    ("Global-Default", "boolean", false),
    ("Age", "string", false),
    ("PreemptionPolicy", "string", false),
];
const BUDGET: &[Column] = &[
    ("Name", "string", false),
    ("Min Available", "string", false),
    ("Max Unavailable", "string", false),
    ("Allowed Disruptions", "integer", false),
    ("Age", "string", false),
];
const SECRET: &[Column] = &[
    ("Name", "string", false),
    ("Type", "string", false),
    ("Data", "integer", false),
    ("Age", "string", false),
];
const STORAGE_CLASS: &[Column] = &[
    ("Name", "string", false),
    ("Provisioner", "string", false),
    ("ReclaimPolicy", "string", false),
    ("VolumeBindingMode", "string", false),
    ("AllowVolumeExpansion", "string", false),
    ("Age", "string", false),
];
const VOLUME: &[Column] = &[
    ("Name", "string", false),
    ("Capacity", "string", false),
    ("Access Modes", "string", false),
    ("Reclaim Policy", "string", false),
    ("Status", "string", false),
    ("Claim", "string", false),
    ("StorageClass", "string", false),
    ("VolumeAttributesClass", "string", false),
    ("Reason", "string", false),
    ("Age", "string", false),
    ("VolumeMode", "string", true),
];
const CLAIM: &[Column] = &[
    ("Name", "string", false),
    ("Status", "string", false),
    ("Volume", "string", false),
    ("Capacity", "string", false),
    ("Access Modes", "string", false),
    ("StorageClass", "string", false),
    ("VolumeAttributesClass", "string", false),
    ("Age", "string", false),
    ("VolumeMode", "string", true),
];
const SERVICE: &[Column] = &[
    ("Name", "string", false),
    ("Type", "string", false),
    ("Cluster-IP", "string", false),
    ("External-IP", "string", false),
    ("Port(s)", "string", false),
    ("Age", "string", false),
    ("Selector", "string", true),
];
const CONFIG_MAP: &[Column] =
    &[("Name", "string", false), ("Data", "string", false), ("Age", "string", false)];
const OTHER: &[Column] = &[("Name", "string", false), ("Age", "string", false)];

fn columns_of(resource: &ResourceType) -> &'static [Column] {
    match resource.kind {
        "Pod" => POD,
        "Node" => NODE,
        "Event" => EVENT,
        "Namespace" => NAMESPACE,
        "Lease" => LEASE,
        "PriorityClass" => PRIORITY_CLASS,
        "PodDisruptionBudget" => BUDGET,
        "ReplicaSet" => workloads::REPLICA_SET,
        "Deployment" => workloads::DEPLOYMENT,
        "StatefulSet" => workloads::STATEFUL_SET,
        "DaemonSet" => workloads::DAEMON_SET,
        "Job" => workloads::JOB,
        "CronJob" => workloads::CRON_JOB,
        "Secret" => SECRET,
        "StorageClass" => STORAGE_CLASS,
        "PersistentVolume" => VOLUME,
        "PersistentVolumeClaim" => CLAIM,
        "Service" => SERVICE,
        "ConfigMap" => CONFIG_MAP,
        _ => OTHER,
    }
}

/// `columnDefinitions` of a resource's table.
pub(crate) fn columns(resource: &ResourceType) -> Value {
    columns_of(resource)
        .iter()
        .map(|(name, kind, wide)| {
            json!({
                "name": name,
                "type": kind,
                "format": if *name == "Name" { "name" } else { "" },
                "description": "",
                "priority": i32::from(*wide),
            })
        })
        .collect()
}

/// The cells of one object (in stored form).
pub(crate) fn cells(resource: &ResourceType, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = text(&object["metadata"]["name"]);
    let age = time::age(object["metadata"]["creationTimestamp"].as_str(), now);
    match resource.kind {
        "Pod" => pod(object, name, age),
        "Node" => node(object, name, age),
        "Event" => event(object, now),
        "Namespace" => strings([name, text(&object["status"]["phase"]), age]),
        "Lease" => strings([name, text(&object["spec"]["holderIdentity"]), age]),
        "PriorityClass" => vec![
            name.into(),
            object["value"].as_i64().unwrap_or(0).into(),
            (object["globalDefault"] == true).into(),
            age.into(),
            or(&object["preemptionPolicy"], "PreemptLowerPriority").into(),
        ],
        "PodDisruptionBudget" => vec![
            name.into(),
            number_or_text(&object["spec"]["minAvailable"]).into(),
            number_or_text(&object["spec"]["maxUnavailable"]).into(),
            object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0).into(),
            age.into(),
        ],
        "ReplicaSet" => workloads::replica_set(object, name, age),
        "Deployment" => workloads::deployment(object, name, age),
        "StatefulSet" => workloads::stateful_set(object, name, age),
        "DaemonSet" => workloads::daemon_set(object, name, age),
        "Job" => workloads::job(object, name, age, now),
        "CronJob" => workloads::cron_job(object, name, age, now),
        "Secret" => vec![
            name.into(),
            text(&object["type"]).into(),
            object["data"].as_object().map_or(0, |data| data.len()).into(),
            age.into(),
        ],
        "StorageClass" => vec![
            if object["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true" {
                format!("{name} (default)")
            } else {
                name
            }
            .into(),
            text(&object["provisioner"]).into(),
            or(&object["reclaimPolicy"], "Delete").into(),
            or(&object["volumeBindingMode"], "Immediate").into(),
            (object["allowVolumeExpansion"] == true).into(),
            age.into(),
        ],
        "PersistentVolume" => {
            let claim = &object["spec"]["claimRef"];
            strings([
                name,
                text(&object["spec"]["capacity"]["storage"]),
                access_modes(&object["spec"]["accessModes"]),
                or(&object["spec"]["persistentVolumeReclaimPolicy"], "Retain"),
                text(&object["status"]["phase"]),
                if claim.is_object() {
                    format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
                } else {
                    String::new()
                },
                text(&object["spec"]["storageClassName"]),
                or(&object["spec"]["volumeAttributesClassName"], "<unset>"),
                text(&object["status"]["reason"]),
                age,
                or(&object["spec"]["volumeMode"], "<unset>"),
            ])
        }
        "PersistentVolumeClaim" => strings([
            name,
            text(&object["status"]["phase"]),
            text(&object["spec"]["volumeName"]),
            text(&object["status"]["capacity"]["storage"]),
            access_modes(&object["status"]["accessModes"]),
            text(&object["spec"]["storageClassName"]),
            or(&object["spec"]["volumeAttributesClassName"], "<unset>"),
            age,
            or(&object["spec"]["volumeMode"], "<unset>"),
        ]),
        "Service" => service(object, name, age),
        "ConfigMap" => {
            let count = |field: &str| object[field].as_object().map_or(0, |m| m.len());
            strings([name, (count("data") + count("binaryData")).to_string(), age])
        }
        _ => strings([name, age]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn or(value: &Value, default: &str) -> String {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or(default).to_owned()
}

fn strings<const N: usize>(cells: [String; N]) -> Vec<Value> {
    cells.into_iter().map(Value::from).collect()
}

fn number_or_text(value: &Value) -> String {
    match value {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn has_condition(object: &Value, kind: &str) -> bool {
    list(&object["status"]["conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
}

/// The status of a pod, in a word: its phase, unless a reason, a container or a deletion says more.
fn pod(pod: &Value, name: String, age: String) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = text(&status["phase"]);
    let mut reason = or(&status["reason"], &phase);
    if list(&status["conditions"])
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated")
    {
        reason = "SchedulingGated".to_owned();
    }
    let sidecars = list(&spec["initContainers"]).iter().filter(|c| c["restartPolicy"] == "Always").count();
    let total = list(&spec["containers"]).len() + sidecars;
    let mut ready = 0;
    let mut restarts = 0;
    let mut running = false;
    for container in list(&status["initContainerStatuses"]).iter().filter(|c| c["started"] == true) {
        ready += usize::from(container["ready"] == true);
    }
    for container in list(&status["containerStatuses"]).iter().rev() {
        restarts += container["restartCount"].as_i64().unwrap_or(0);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            reason = waiting;
        } else if state["terminated"].is_object() {
            let code = state["terminated"]["exitCode"].as_i64().unwrap_or(0);
            reason = or(&state["terminated"]["reason"], &format!("ExitCode:{code}"));
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            ready += 1;
        }
    }
    if reason == "Completed" && running {
        reason = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
    let deleting = !pod["metadata"]["deletionTimestamp"].is_null();
    if deleting && !matches!(phase.as_str(), "Succeeded" | "Failed") {
        reason = "Terminating".to_owned();
    }
    let gates = list(&spec["readinessGates"]);
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let passed =
            gates.iter().filter(|g| has_condition(pod, g["conditionType"].as_str().unwrap_or_default()));
        format!("{}/{}", passed.count(), gates.len())
    };
    strings([
        name,
        format!("{ready}/{total}"),
        reason,
        restarts.to_string(),
        age,
        or(&status["podIP"], "<none>"),
        or(&spec["nodeName"], "<none>"),
        or(&status["nominatedNodeName"], "<none>"),
        gates,
    ])
}

fn node(node: &Value, name: String, age: String) -> Vec<Value> {
    let ready = list(&node["status"]["conditions"]).iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| &c["status"]) {
        Some(status) if status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| {
            let by_key = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty());
            by_key.or_else(|| value.as_str().filter(|v| key == "kubernetes.io/role" && !v.is_empty()))
        })
        .collect();
    roles.sort_unstable();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let info = &node["status"]["nodeInfo"];
    let address = |kind: &str| {
        list(&node["status"]["addresses"])
            .iter()
            .find(|a| a["type"] == kind)
            .map_or_else(|| "<none>".to_owned(), |a| text(&a["address"]))
    };
    let architecture = text(&info["architecture"]);
    let mut kernel = or(&info["kernelVersion"], "<unknown>");
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    strings([
        name,
        status,
        roles,
        age,
        text(&info["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        or(&info["osImage"], "<unknown>"),
        kernel,
        or(&info["containerRuntimeVersion"], "<unknown>"),
    ])
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let since = |value: &Value| time::age(value.as_str().filter(|t| !t.is_empty()), now);
    let first = since(if event["firstTimestamp"].is_string() {
        &event["firstTimestamp"]
    } else {
        &event["eventTime"]
    });
    let series = &event["series"];
    let (last, count) = if series.is_object() {
        (since(&series["lastObservedTime"]), series["count"].as_i64().unwrap_or(0))
    } else {
        let last =
            if event["lastTimestamp"].is_string() { since(&event["lastTimestamp"]) } else { first.clone() };
        (last, event["count"].as_i64().filter(|c| *c > 0).unwrap_or(1))
    };
    let involved = &event["involvedObject"];
    let kind = text(&involved["kind"]).to_lowercase();
    let target = match involved["name"].as_str().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let reporter = or(&event["source"]["component"], &text(&event["reportingComponent"]));
    let instance = or(&event["source"]["host"], &text(&event["reportingInstance"]));
    let source = if instance.is_empty() { reporter } else { format!("{reporter}, {instance}") };
    strings([
        last,
        text(&event["type"]),
        text(&event["reason"]),
        target,
        text(&involved["fieldPath"]),
        source,
        text(&event["message"]).trim().to_owned(),
        first,
        count.to_string(),
        text(&event["metadata"]["name"]),
    ])
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn access_modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "?",
    };
    list(modes).iter().map(short).collect::<Vec<_>>().join(",")
}

fn service(object: &Value, name: String, age: String) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|p| format!("{}/{}", p["port"].as_i64().unwrap_or(0), or(&p["protocol"], "TCP")))
        .collect();
    let selector: Vec<String> =
        spec["selector"].as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", text(v))).collect();
    let none = |joined: String| if joined.is_empty() { "<none>".to_owned() } else { joined };
    strings([
        name,
        or(&spec["type"], "ClusterIP"),
        or(&spec["clusterIP"], "None"),
        "<none>".to_owned(),
        none(ports.join(",")),
        age,
        none(selector.join(",")),
    ])
}
