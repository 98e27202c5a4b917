//! Pod creation: the defaults of the API group, then the mutating admission plugins in the API server's order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Cluster, Quantity, Refusal, limits, priority, runtime_class};

/// Fills in everything of a pod's spec that the API server fills in at creation: requests, host ports, priority,
/// tolerations, the overhead and placement of its RuntimeClass, the selectors of `matchLabelKeys`.
///
/// Sources: `pkg/apis/core/v1/defaults.go` and `plugin/pkg/admission` of Kubernetes; KEP-2837 (pod-level resources),
/// KEP-3243 and KEP-3633 (label keys).
///
/// # Errors
/// A plugin rejects the pod because it names a class that does not exist, or contradicts its class.
pub fn admit_pod(pod: &mut Value, cluster: &impl Cluster) -> Result<(), Refusal> {
    let Some(map) = pod.as_object_mut() else { return Ok(()) };
    let meta = map.get("metadata").cloned().unwrap_or_default();
    let spec = map.entry("spec").or_insert_with(|| json!({}));
    if !spec.is_object() {
        return Ok(());
    }
    let text = |field: &str| meta[field].as_str().filter(|text| !text.is_empty());
    let name = text("name").or(text("generateName")).unwrap_or_default().to_owned();
    let namespace = text("namespace").unwrap_or("default");
    let refused = |why: String| Refusal { pod: name.clone(), why };

    default_spec(spec);
    limits::default_resources(spec, &cluster.limit_ranges(namespace));
    priority::resolve(spec, cluster).map_err(refused)?;
    default_tolerations(spec);
    runtime_class::apply(spec, cluster).map_err(refused)?;
    merge_label_keys(spec, &meta["labels"]);
    Ok(())
}

pub(crate) fn set_default(map: &mut Value, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(|v| v.is_null() || v == "") {
        map[key] = value.into();
    }
}

/// The defaults that only a pod gets, not a template.
fn default_spec(spec: &mut Value) {
    default_template_spec(spec);
    set_default(spec, "enableServiceLinks", true);
    set_default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    set_default(spec, "serviceAccount", account);
    let host_network = spec["hostNetwork"] == true;
    for field in ["initContainers", "containers"] {
        for container in elements_mut(spec, field) {
            set_default(container, "resources", json!({}));
            default_requests(&mut container["resources"]);
            if host_network {
                default_host_ports(container);
            }
        }
    }
    default_pod_resources(spec);
}

/// The defaults of pods and of pod templates.
pub(crate) fn default_template_spec(spec: &mut Value) {
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "schedulerName", "default-scheduler");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "securityContext", json!({}));
    for field in ["initContainers", "containers"] {
        elements_mut(spec, field).for_each(default_container);
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

fn default_container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
    let policy =
        if image.contains('@') || tag.is_some_and(|t| t != "latest") { "IfNotPresent" } else { "Always" };
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", json!({}));
    for port in elements_mut(container, "ports") {
        set_default(port, "protocol", "TCP");
    }
}

/// A container in the host's network uses the host ports that it names.
fn default_host_ports(container: &mut Value) {
    for port in elements_mut(container, "ports") {
        if port.get("hostPort").is_none_or(|given| given.is_null() || *given == 0) {
            port["hostPort"] = port["containerPort"].clone();
        }
    }
}

/// A limit without a request becomes the request.
fn default_requests(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    fill(resources, "requests", limits);
}

/// Adds the missing entries to a map of quantities.
pub(crate) fn fill(resources: &mut Value, field: &str, entries: impl IntoIterator<Item = (String, Value)>) {
    let mut entries = entries.into_iter().peekable();
    let Some(map) = resources.as_object_mut() else { return };
    if entries.peek().is_none() {
        return;
    }
    let known = map.entry(field).or_insert_with(|| json!({}));
    if known.is_null() {
        *known = json!({});
    }
    if let Value::Object(known) = known {
        for (name, quantity) in entries {
            known.entry(name).or_insert(quantity);
        }
    }
}

/// Pod-level resources, if the pod has any: the sum of its containers' requests, or else the limit.
fn default_pod_resources(spec: &mut Value) {
    let stated =
        |spec: &Value, field: &str| spec["resources"][field].as_object().is_some_and(|map| !map.is_empty());
    if !spec.get("resources").is_some_and(Value::is_object) {
        return;
    }
    if stated(spec, "limits") || stated(spec, "requests") {
        let mut pages = aggregate(spec, "limits");
        pages.retain(|name, _| {
            name.starts_with("hugepages-") && spec["resources"]["requests"].get(name).is_none()
        });
        fill(&mut spec["resources"], "limits", pages);
    }
    if !stated(spec, "limits") {
        return;
    }
    let mut asked = aggregate(spec, "requests");
    asked.retain(|name, _| matches!(name.as_str(), "cpu" | "memory"));
    fill(&mut spec["resources"], "requests", asked);
    let mut limits = spec["resources"]["limits"].as_object().cloned().unwrap_or_default();
    limits.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"));
    fill(&mut spec["resources"], "requests", limits);
}

/// What all containers need together: the sum of those that run at the same time, or the most that any init container
/// needs together with the sidecars started before it, whichever is larger.
fn aggregate(spec: &Value, field: &str) -> BTreeMap<String, Value> {
    type Amounts = BTreeMap<String, Quantity>;
    fn amounts(container: &Value, field: &str) -> Amounts {
        let map = container["resources"][field].as_object().into_iter().flatten();
        map.filter_map(|(name, value)| Some((name.clone(), Quantity::of(value)?))).collect()
    }
    fn add(to: &mut Amounts, more: Amounts) {
        for (name, quantity) in more {
            let sum = to.get(&name).copied().unwrap_or_default().plus(quantity);
            to.insert(name, sum);
        }
    }
    let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut together, mut sidecars, mut most) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in list("containers") {
        add(&mut together, amounts(container, field));
    }
    for container in list("initContainers") {
        let mut now = amounts(container, field);
        if container["restartPolicy"] == "Always" {
            add(&mut together, now.clone());
            add(&mut sidecars, now);
            now = sidecars.clone();
        } else {
            add(&mut now, sidecars.clone());
        }
        for (name, quantity) in now {
            let known = most.entry(name).or_default();
            *known = quantity.max(*known);
        }
    }
    for (name, quantity) in most {
        let known = together.entry(name).or_default();
        *known = quantity.max(*known);
    }
    together.into_iter().map(|(name, quantity)| (name, Value::from(quantity.to_string()))).collect()
}

/// The DefaultTolerationSeconds admission plugin; it also runs on updates.
pub fn default_tolerations(spec: &mut Value) {
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
        let requirement = json!({ "key": key, "operator": operator, "values": [value] });
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Value::Array(expressions) = expressions
            && !expressions.contains(&requirement)
        {
            expressions.push(requirement);
        }
    }
}

/// Init containers and containers, with their field paths.
pub fn all_containers(spec: &Value) -> impl Iterator<Item = (String, &Value)> {
    ["initContainers", "containers"].into_iter().flat_map(move |field| {
        spec[field]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(i, container)| (format!("spec.{field}[{i}]"), container))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

    use super::*;
    use crate::Gathered;

    fn admitted_among(objects: &[Value], mut pod: Value) -> Result<Value, Refusal> {
        let cluster = Gathered::of(objects);
        admit_pod(&mut pod, &cluster)?;
        let once = pod.clone();
        admit_pod(&mut pod, &cluster)?;
        assert_eq!(pod, once, "a stored pod is changed again");
        Ok(pod)
    }

    fn admitted(spec: Value) -> Value {
        admitted_among(&[], json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()["spec"].take()
    }

    #[test]
    fn a_limit_is_the_request_that_is_not_stated_and_numbers_are_quantities() {
        let resources = json!({ "limits": { "cpu": 2, "memory": "1Gi" }, "requests": { "cpu": "500m" } });
        let spec = admitted(json!({ "containers": [{ "name": "c", "resources": resources }] }));
        assert_eq!(spec["containers"][0]["resources"]["requests"], json!({ "cpu": "500m", "memory": "1Gi" }));
    }

    #[test]
    fn ports_are_the_hosts_in_the_hosts_network_only() {
        let ports = json!([{ "containerPort": 80 }, { "containerPort": 81, "hostPort": 8081 }]);
        let container = json!([{ "name": "c", "ports": ports }]);
        let host_ports = |host_network: bool| -> Vec<Value> {
            let spec = admitted(json!({ "hostNetwork": host_network, "containers": container }));
            let ports = spec["containers"][0]["ports"].as_array().unwrap();
            ports.iter().map(|port| port["hostPort"].clone()).collect()
        };
        assert_eq!(host_ports(true), [80, 8081]);
        assert_eq!(host_ports(false), [Value::Null, json!(8081)]);
    }

    #[test]
    fn resources_of_the_pod_default_to_what_its_containers_ask_and_then_to_the_limit() {
        let asks = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let spec = admitted(json!({
            "resources": { "limits": { "cpu": "4", "memory": "1Gi" } },
            "initContainers": [
                { "name": "sidecar", "restartPolicy": "Always", "resources": asks("200m") },
                { "name": "init", "resources": asks("1") },
            ],
            "containers": [{ "name": "a", "resources": asks("500m") }, { "name": "b", "resources": asks("250m") }],
        }));
        // Init container 1 plus the sidecar's 200m is more than 500m + 250m + 200m.
        assert_eq!(spec["resources"]["requests"], json!({ "cpu": "1200m", "memory": "1Gi" }));
    }

    #[test]
    fn label_keys_become_requirements_where_the_pod_has_the_label() {
        let pod = json!({
            "metadata": { "name": "p", "labels": { "app": "web", "hash": "1" } },
            "spec": { "topologySpreadConstraints": [{
                "topologyKey": "zone", "matchLabelKeys": ["hash", "none"], "labelSelector": { "matchLabels": { "app": "web" } },
            }] },
        });
        let pod = admitted_among(&[], pod).unwrap();
        assert_eq!(
            pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"],
            json!([{ "key": "hash", "operator": "In", "values": ["1"] }])
        );
    }

    #[test]
    fn a_class_gives_its_priority_and_a_contradiction_is_refused() {
        let classes = [
            json!({ "kind": "PriorityClass", "metadata": { "name": "low" }, "value": -10, "preemptionPolicy": "Never" }),
            json!({ "kind": "PriorityClass", "metadata": { "name": "usual" }, "value": 7, "globalDefault": true }),
        ];
        let priority = |spec: Value| {
            let pod = admitted_among(&classes, json!({ "metadata": { "name": "p" }, "spec": spec }))?;
            Ok::<_, Refusal>((pod["spec"]["priority"].clone(), pod["spec"]["preemptionPolicy"].clone()))
        };
        let (never, lower) = (json!("Never"), json!("PreemptLowerPriority"));
        assert_eq!(priority(json!({ "priorityClassName": "low" })), Ok((json!(-10), never)));
        assert_eq!(priority(json!({})), Ok((json!(7), lower.clone())));
        let system = priority(json!({ "priorityClassName": "system-node-critical" }));
        assert_eq!(system, Ok((json!(2_000_001_000), lower)));
        let refused = priority(json!({ "priorityClassName": "none" })).unwrap_err().to_string();
        assert_eq!(refused, "pods \"p\" is forbidden: no PriorityClass with name none was found");
        let refused = priority(json!({ "priorityClassName": "low", "priority": 5 })).unwrap_err().to_string();
        assert!(refused.contains("the integer value of priority (5) must not be provided"), "{refused}");
    }

    #[test]
    fn a_limit_range_gives_what_neither_request_nor_limit_states() {
        let range = json!({
            "kind": "LimitRange", "metadata": { "name": "r", "namespace": "here" },
            "spec": { "limits": [{
                "type": "Container", "default": { "cpu": "2" }, "defaultRequest": { "cpu": "100m" }, "max": { "memory": "1Gi" },
            }] },
        });
        let requests = |namespace: &str, resources: Value| {
            let spec = json!({ "containers": [{ "name": "c", "resources": resources }] });
            let pod = json!({ "metadata": { "name": "p", "namespace": namespace }, "spec": spec });
            admitted_among(std::slice::from_ref(&range), pod).unwrap()["spec"]["containers"][0]["resources"]
                .take()
        };
        let filled = json!({ "requests": { "cpu": "100m", "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "1Gi" } });
        assert_eq!(requests("here", json!({})), filled);
        assert_eq!(requests("elsewhere", json!({})), json!({}));
        // The limit becomes the request before the range applies.
        assert_eq!(requests("here", json!({ "limits": { "cpu": "3" } }))["requests"]["cpu"], "3");
    }

    #[test]
    fn a_runtime_class_gives_overhead_selector_and_tolerations() {
        let class = json!({
            "kind": "RuntimeClass", "metadata": { "name": "vm" }, "handler": "vm",
            "overhead": { "podFixed": { "cpu": "250m" } },
            "scheduling": { "nodeSelector": { "kvm": "yes" }, "tolerations": [{ "key": "kvm", "operator": "Exists" }] },
        });
        let admit = |spec: Value| {
            admitted_among(std::slice::from_ref(&class), json!({ "metadata": { "name": "p" }, "spec": spec }))
        };
        let spec =
            admit(json!({ "runtimeClassName": "vm", "nodeSelector": { "zone": "a" } })).unwrap()["spec"]
                .take();
        assert_eq!(spec["overhead"], json!({ "cpu": "250m" }));
        assert_eq!(spec["nodeSelector"], json!({ "kvm": "yes", "zone": "a" }));
        assert!(
            spec["tolerations"].as_array().unwrap().contains(&json!({ "key": "kvm", "operator": "Exists" }))
        );
        let refused = admit(json!({ "runtimeClassName": "none" })).unwrap_err().why;
        assert_eq!(refused, "pod rejected: RuntimeClass \"none\" not found");
        let refused =
            admit(json!({ "runtimeClassName": "vm", "nodeSelector": { "kvm": "no" } })).unwrap_err().why;
        assert!(
            refused.starts_with("conflict: runtimeClass.scheduling.nodeSelector[kvm] = yes"),
            "{refused}"
        );
    }

    #[test]
    fn null_fields_are_absent_ones() {
        let spec =
            admitted(json!({ "schedulerName": null, "containers": [{ "name": "c", "resources": null }] }));
        assert_eq!(spec["schedulerName"], "default-scheduler");
        assert_eq!(spec["containers"][0]["resources"], json!({}));
        assert!(spec.get("affinity").is_none(), "{spec}");
    }
}
