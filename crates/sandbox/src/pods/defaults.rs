//! What the API server adds to a pod when it is created: defaults and the admission plugins that matter here.

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::quantity::Quantity;
use crate::resource::PRIORITY_CLASSES;
use crate::store::Transaction;
use crate::time;

/// Fills in defaults, priority, tolerations and the first status.
pub(crate) fn admit(tx: &Transaction, pod: &mut Value) -> Result<(), ApiError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = pod.as_object_mut().map(|p| p.entry("spec").or_insert_with(|| json!({}))) else {
        return Ok(());
    };
    default_spec(spec);
    resolve_priority(tx, spec, &name)?;
    default_tolerations(spec);
    merge_label_keys(spec, &labels);
    let gated = spec["schedulingGates"].as_array().is_some_and(|g| !g.is_empty());
    let mut status = json!({ "phase": "Pending", "qosClass": qos_class(spec) });
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": time::now_seconds(),
        }]);
    }
    pod["status"] = status;
    Ok(())
}

fn set_default(map: &mut Value, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(|v| v.is_null() || v == "") {
        map[key] = value.into();
    }
}

fn default_spec(spec: &mut Value) {
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "schedulerName", "default-scheduler");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "enableServiceLinks", true);
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    set_default(spec, "serviceAccount", account);
    let host_network = spec["hostNetwork"] == true;
    for field in ["initContainers", "containers"] {
        for container in elements_mut(spec, field) {
            default_container(container, host_network);
        }
    }
    if let Some(resources) = spec.get_mut("resources") {
        default_requests(resources);
    }
}

/// The objects of a list that may be absent. (Indexing would insert a null.)
fn elements_mut<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter(|element| element.is_object())
}

fn default_container(container: &mut Value, host_network: bool) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
    let policy =
        if image.contains('@') || tag.is_some_and(|t| t != "latest") { "IfNotPresent" } else { "Always" };
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", json!({}));
    default_requests(&mut container["resources"]);
    for port in elements_mut(container, "ports") {
        set_default(port, "protocol", "TCP");
        if host_network && port.get("hostPort").is_none() {
            port["hostPort"] = port["containerPort"].clone();
        }
    }
}

/// A limit without a request is the request.
fn default_requests(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let Some(map) = resources.as_object_mut() else { return };
    let requests = map.entry("requests").or_insert_with(|| json!({}));
    if let Value::Object(requests) = requests {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// The Priority admission plugin.
fn resolve_priority(tx: &Transaction, spec: &mut Value, pod: &str) -> Result<(), ApiError> {
    let forbidden = |why: &str| ApiError::forbidden("", "pods", pod, why);
    let class = match spec["priorityClassName"].as_str().unwrap_or_default() {
        "" => tx.iter(PRIORITY_CLASSES, None).map(|c| c.value()).find(|c| c["globalDefault"] == true),
        name => Some(
            tx.get(PRIORITY_CLASSES, "", name)
                .ok_or_else(|| forbidden(&format!("no PriorityClass with name {name} was found")))?
                .value(),
        ),
    };
    let priority = class.as_ref().and_then(|c| c["value"].as_i64()).unwrap_or(0);
    let policy =
        class.as_ref().and_then(|c| c["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    if let Some(class) = &class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return Err(forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return Err(forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    spec["priority"] = Value::from(priority);
    spec["preemptionPolicy"] = Value::from(policy);
    Ok(())
}

/// The DefaultTolerationSeconds admission plugin; it runs at updates too.
pub(crate) fn default_tolerations(spec: &mut Value) {
    let tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let tolerates = |taint: &str| {
        tolerations.iter().any(|t| {
            let key = t["key"].as_str().unwrap_or_default();
            let effect = t["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        })
    };
    let added: Vec<Value> = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .filter(|taint| !tolerates(taint))
        .map(|taint| {
            json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 })
        })
        .collect();
    if !added.is_empty() || !tolerations.is_empty() {
        spec["tolerations"] = tolerations.into_iter().chain(added).collect();
    } else if let Some(map) = spec.as_object_mut() {
        map.remove("tolerations");
    }
}

/// matchLabelKeys and mismatchLabelKeys become requirements of the labelSelector at creation.
fn merge_label_keys(spec: &mut Value, labels: &Value) {
    for term in elements_mut(spec, "topologySpreadConstraints") {
        merge_keys_into_selector(term, labels, "matchLabelKeys", "In");
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)) else { continue };
        for term in elements_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge_keys_into_selector(term, labels, "matchLabelKeys", "In");
            merge_keys_into_selector(term, labels, "mismatchLabelKeys", "NotIn");
        }
        let preferred = elements_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
        for term in preferred.filter_map(|t| t.get_mut("podAffinityTerm")) {
            merge_keys_into_selector(term, labels, "matchLabelKeys", "In");
            merge_keys_into_selector(term, labels, "mismatchLabelKeys", "NotIn");
        }
    }
}

fn merge_keys_into_selector(term: &mut Value, labels: &Value, field: &str, operator: &str) {
    let keys = term.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(selector)) = term.get_mut("labelSelector") else { return };
    for key in keys.iter().filter_map(Value::as_str) {
        let Some(value) = labels.get(key) else { continue };
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Value::Array(expressions) = expressions {
            expressions.push(json!({ "key": key, "operator": operator, "values": [value] }));
        }
    }
}

/// Guaranteed, Burstable or BestEffort by the rules of kubelet and API server.
fn qos_class(spec: &Value) -> &'static str {
    let pod_level = spec["resources"].as_object();
    let scopes: Vec<&Value> = match pod_level {
        Some(_) => vec![&spec["resources"]],
        None => super::all_containers(spec).map(|(_, c)| &c["resources"]).collect(),
    };
    let quantity = |map: &Map<String, Value>, name: &str| {
        map.get(name).and_then(Value::as_str).and_then(Quantity::parse).filter(|q| q.units() > 0)
    };
    let empty = Map::new();
    let mut any = false;
    let mut guaranteed = true;
    for resources in scopes {
        let requests = resources["requests"].as_object().unwrap_or(&empty);
        let limits = resources["limits"].as_object().unwrap_or(&empty);
        for name in ["cpu", "memory"] {
            let (request, limit) = (quantity(requests, name), quantity(limits, name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
