//! Pseudonyms for a dump that leaves the organisation: the same text gets the same pseudonym everywhere, so that all references still
//! work.
//!
//! Everything that is not known to be harmless is replaced. Harmless are words that the API itself defines, amounts, times, keys of labels
//! and taints in Kubernetes' domains, and the names of schedulers, which `explain` needs. Pseudonyms sort in the same order as the texts,
//! since scheduling breaks ties by order.

use secondmate_model::objects::ApiResource;
use secondmate_model::quantity::Quantity;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fields whose text the Kubernetes or Prometheus API defines, or that are times, versions or names of resources.
const KEPT_FIELDS: [&str; 40] = [
    "accessModes",
    "apiVersion",
    "controller",
    "creationTimestamp",
    "declaredFeatures",
    "deletionTimestamp",
    "effect",
    "extendedResourceName",
    "kind",
    "lastProbeTime",
    "lastTransitionTime",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "operator",
    "phase",
    "policy",
    "preemptionPolicy",
    "protocol",
    "qosClass",
    "reason",
    "resource",
    "resourceVersion",
    "restartPolicy",
    "resultType",
    "scheduler",
    "schedulerName",
    "startTime",
    "status",
    "terminationMessagePolicy",
    "timeAdded",
    "timestamp",
    "type",
    "unhealthyPodEvictionPolicy",
    "volumeBindingMode",
    "volumeMode",
    "whenUnsatisfiable",
    "window",
    "dnsPolicy",
    "persistentVolumeReclaimPolicy",
    "reclaimPolicy",
];
/// Fields with amounts of resources. The names of resources are kept, because the configuration refers to them.
const AMOUNTS: [&str; 9] = [
    "requests",
    "limits",
    "capacity",
    "allocatable",
    "overhead",
    "allocatedResources",
    "maximumVolumeSize",
    "sizeBytes",
    "usage",
];
/// What a DeviceClass provides without naming a resource is requested by this prefix and the name of the class.
const OF_DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// Fields that are dropped: free text and addresses. `hostIP` gets a pseudonym, because the host ports of pods are compared by it.
const DROPPED: [&str; 12] = [
    "message",
    "nodeInfo",
    "addresses",
    "podIP",
    "podIPs",
    "hostIPs",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "loadBalancerIP",
    "loadBalancer",
    "daemonEndpoints",
];
/// Fields that are maps of labels.
const LABEL_MAPS: [&str; 5] = ["labels", "matchLabels", "nodeSelector", "selector", "annotations"];
/// Fields that hold keys of labels.
const LABEL_KEYS: [&str; 5] = ["topologyKey", "key", "matchLabelKeys", "mismatchLabelKeys", "topologyKeys"];
/// Values that reveal nothing about an organisation.
const KEPT_TEXTS: [&str; 20] = [
    "",
    "0.0.0.0",
    "amd64",
    "arm64",
    "default",
    "false",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "linux",
    "metadata.name",
    "no",
    "off",
    "on",
    "system-cluster-critical",
    "system-node-critical",
    "true",
    "windows",
    "yes",
    "*",
];
/// Domains of keys and drivers that Kubernetes itself knows.
const KNOWN_DOMAINS: [&str; 14] = [
    "kubernetes.io",
    "k8s.io",
    "topology.gke.io",
    "topology.ebs.csi.aws.com",
    "topology.disk.csi.azure.com",
    "topology.cinder.csi.openstack.org",
    "ebs.csi.aws.com",
    "disk.csi.azure.com",
    "file.csi.azure.com",
    "pd.csi.storage.gke.io",
    "cinder.csi.openstack.org",
    "csi.vsphere.vmware.com",
    "pxd.portworx.com",
    "csi.k8s.io",
];

/// The pseudonyms of everything in a dump.
pub(super) struct Pseudonyms {
    by_text: BTreeMap<String, String>,
}

impl Pseudonyms {
    /// Gives each text in these objects a pseudonym.
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut texts = BTreeSet::new();
        let mut claims = BTreeSet::new();
        for object in objects {
            let mut note = |text: &str| {
                texts.insert(text.to_owned());
                None
            };
            walk_object(&mut object.clone(), &mut note);
            claims.extend(ephemeral_claims(object));
        }
        let width = texts.len().to_string().len();
        let named = texts.into_iter().enumerate();
        let mut by_text: BTreeMap<String, String> =
            named.map(|(at, text)| (text, format!("x{at:0width$}"))).collect();
        // The claim of an ephemeral volume is found by the names of pod and volume.
        for (pod, volume) in claims {
            if let (Some(new_pod), Some(new_volume)) = (by_text.get(&pod), by_text.get(&volume)) {
                let claim = format!("{new_pod}-{new_volume}");
                by_text.insert(format!("{pod}-{volume}"), claim);
            }
        }
        Self { by_text }
    }

    /// Replaces what is not harmless in an object.
    pub(super) fn redact(&self, object: &mut Value) {
        walk_object(object, &mut |text| self.by_text.get(text).cloned());
    }
}

fn ephemeral_claims(object: &Value) -> Vec<(String, String)> {
    let pod = object["metadata"]["name"].as_str().unwrap_or_default();
    let volumes = object["spec"]["volumes"].as_array();
    let ephemeral = volumes.into_iter().flatten().filter(|volume| volume.get("ephemeral").is_some());
    ephemeral.filter_map(|volume| Some((pod.to_owned(), volume["name"].as_str()?.to_owned()))).collect()
}

/// Returns the replacement of a text; `None` keeps it.
type Replace<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// Walks through an object of the cluster. A polled object is found by the name that its plugin gave it, so that name is kept.
fn walk_object(object: &mut Value, replace: Replace<'_>) {
    let is_polled = object["apiVersion"].as_str() == Some(ApiResource::polled("").api_version().as_str());
    let name = if is_polled { object.pointer("/metadata/name").cloned() } else { None };
    walk(object, replace);
    if let (Some(given), Some(name)) = (name, object.pointer_mut("/metadata/name")) {
        *name = given;
    }
}

/// Walks through a value, visiting every text that is not harmless.
fn walk(value: &mut Value, replace: Replace<'_>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|field, _| !DROPPED.contains(&field.as_str()));
            for (field, value) in fields.iter_mut() {
                walk_field(field, value, replace);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, replace)),
        Value::String(text) => substitute(text, replace),
        _ => {}
    }
}

fn walk_field(field: &str, value: &mut Value, replace: Replace<'_>) {
    // In a restart rule, all words are defined by the API.
    if KEPT_FIELDS.contains(&field) && !value.is_object() && !holds_objects(value)
        || field == "restartPolicyRules"
    {
        return;
    }
    match value {
        amounts if AMOUNTS.contains(&field) => walk_amounts(amounts, replace),
        Value::Object(map) if field == "disruptedPods" || LABEL_MAPS.contains(&field) && is_flat(map) => {
            let old = std::mem::take(map);
            for (mut key, mut value) in old {
                label_key(&mut key, replace);
                walk(&mut value, replace);
                map.insert(key, value);
            }
        }
        Value::String(key) if LABEL_KEYS.contains(&field) => label_key(key, replace),
        Value::Array(keys) if LABEL_KEYS.contains(&field) => {
            for key in keys {
                if let Value::String(key) = key {
                    label_key(key, replace);
                }
            }
        }
        Value::String(text) if field == "image" => image(text, replace),
        Value::Array(names) if field == "names" => {
            for name in names {
                if let Value::String(name) = name {
                    image(name, replace);
                }
            }
        }
        other => walk(other, replace),
    }
}

/// Amounts are kept, and so are the names of resources, except for the name of a DeviceClass in one.
fn walk_amounts(value: &mut Value, replace: Replace<'_>) {
    let Value::Object(amounts) = value else { return };
    let old = std::mem::take(amounts);
    for (mut resource, amount) in old {
        if resource.starts_with(OF_DEVICE_CLASS) {
            substitute(&mut resource, replace);
        }
        amounts.insert(resource, amount);
    }
}

fn holds_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
}

fn is_flat(map: &Map<String, Value>) -> bool {
    map.values().all(|value| !value.is_object() && !value.is_array())
}

/// Keys in Kubernetes' domains are kept, whatever their values are.
fn label_key(key: &mut String, replace: Replace<'_>) {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if !is_known_domain(domain) {
        substitute(key, replace);
    }
}

fn is_known_domain(domain: &str) -> bool {
    let known =
        |known: &&str| domain.strip_suffix(*known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    KNOWN_DOMAINS.iter().any(known)
}

/// An image without a tag means its `latest`, and is listed on nodes under that name.
fn image(name: &mut String, replace: Replace<'_>) {
    if !name.rsplit('/').next().unwrap_or_default().contains([':', '@']) {
        name.push_str(":latest");
    }
    if let Some(new) = replace(name) {
        *name = format!("{new}:x");
    }
}

fn substitute(text: &mut String, replace: Replace<'_>) {
    if let Some(class) = text.strip_prefix(OF_DEVICE_CLASS) {
        let mut class = class.to_owned();
        substitute(&mut class, replace);
        *text = format!("{OF_DEVICE_CLASS}{class}");
        return;
    }
    let plugin_lists = || {
        text.split(',').all(|part| part.split_once('/').is_some_and(|(domain, _)| is_known_domain(domain)))
    };
    let kept =
        KEPT_TEXTS.contains(&text.as_str()) || is_amount(text) || is_known_domain(text) || plugin_lists();
    if !kept && let Some(new) = replace(text) {
        *text = new;
    }
}

/// Whether it is a number, a quantity, or a version of three numbers, none of which is an address.
fn is_amount(text: &str) -> bool {
    let numbers = || text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    Quantity::parse(text).is_ok() || text.split('.').count() == 3 && numbers()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_belongs_together_stays_together_and_nothing_else_is_left() {
        let mut objects = [
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "acme-rack-7", "labels": {"kubernetes.io/hostname": "acme-rack-7", "acme.com/hall": "north", "kubernetes.io/arch": "amd64"}},
                "spec": {"taints": [{"key": "acme.com/gold", "value": "north", "effect": "NoSchedule"}]},
                "status": {
                    "allocatable": {"cpu": "4", "acme.com/gpu": "2"}, "addresses": [{"address": "10.1.2.3"}],
                    "images": [{"names": ["registry.acme.com/shop:latest"], "sizeBytes": 7}],
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "acme is ready"}]
                }
            }),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "shop-0", "namespace": "acme", "uid": "u-7", "labels": {"app": "shop", "batch.kubernetes.io/index": "3"}},
                "spec": {
                    "nodeName": "acme-rack-7", "schedulerName": "my-scheduler", "nodeSelector": {"acme.com/hall": "north"},
                    "tolerations": [{"key": "acme.com/gold", "operator": "Exists"}],
                    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": "acme.com/hall", "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]}}]}},
                    "volumes": [{"name": "scratch", "ephemeral": {}}],
                    "containers": [{"name": "c", "image": "registry.acme.com/shop", "resources": {"requests": {"acme.com/gpu": "1"}}}]
                }
            }),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shop-0-scratch", "namespace": "acme"}}),
        ];
        let pseudonyms = Pseudonyms::of(&objects);
        objects.iter_mut().for_each(|object| pseudonyms.redact(object));
        let [node, pod, claim] = &objects;
        let text = serde_json::to_string(&objects).expect("JSON");
        for word in ["rack", "north", "hall", "gold", "shop", "scratch", "10.1", "registry", "ready", "u-7"] {
            assert!(!text.contains(word), "{word} is left in {text}");
        }
        let name = &node["metadata"]["name"];
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], *name);
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/arch"], "amd64");
        assert_eq!(pod["spec"]["nodeName"], *name);
        assert_eq!(pod["spec"]["schedulerName"], "my-scheduler");
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/index"], "3");
        let term =
            &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        let hall = term["topologyKey"].as_str().expect("a key");
        assert_eq!(node["metadata"]["labels"][hall], pod["spec"]["nodeSelector"][hall]);
        let app = term["labelSelector"]["matchExpressions"][0]["key"].as_str().expect("a key");
        assert_eq!(pod["metadata"]["labels"][app], term["labelSelector"]["matchExpressions"][0]["values"][0]);
        assert_eq!(node["spec"]["taints"][0]["key"], pod["spec"]["tolerations"][0]["key"]);
        assert_eq!(node["status"]["images"][0]["names"][0], pod["spec"]["containers"][0]["image"]);
        assert_eq!(node["status"]["allocatable"]["acme.com/gpu"], "2");
        let of_pod = |field: &Value| field.as_str().expect("a name").to_owned();
        assert_eq!(
            of_pod(&claim["metadata"]["name"]),
            format!("{}-{}", of_pod(&pod["metadata"]["name"]), of_pod(&pod["spec"]["volumes"][0]["name"]))
        );
    }

    fn redacted(objects: Vec<Value>) -> Vec<Value> {
        let pseudonyms = Pseudonyms::of(&objects);
        let redact = |mut object: Value| {
            pseudonyms.redact(&mut object);
            object
        };
        objects.into_iter().map(redact).collect()
    }

    #[test]
    fn what_a_pod_needs_of_its_node_stays() {
        let objects = redacted(vec![
            json!({"kind": "Node", "status": {"declaredFeatures": ["RestartAllContainersOnContainerExits"]}}),
            json!({"kind": "Pod", "spec": {"containers": [{
                "restartPolicyRules": [
                    {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}],
                "volumeMounts": [{"name": "data", "bindMountOptions": ["acme"]}]}]}}),
        ]);
        assert_eq!(objects[0]["status"]["declaredFeatures"], json!(["RestartAllContainersOnContainerExits"]));
        let container = &objects[1]["spec"]["containers"][0];
        assert_eq!(container["restartPolicyRules"][0]["action"], "RestartAllContainers");
        let options = container["volumeMounts"][0]["bindMountOptions"].as_array();
        assert_eq!(options.map(Vec::len), Some(1), "whether there are any is what counts");
    }

    #[test]
    fn a_device_class_provides_the_same_resources_under_its_pseudonym() {
        let objects = redacted(vec![
            json!({"kind": "DeviceClass", "metadata": {"name": "acme-gold"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
            json!({"kind": "Pod", "spec": {"containers": [{"resources": {"requests": {
                "cpu": "1", "example.com/gpu": "1", "deviceclass.resource.kubernetes.io/acme-gold": "2"}}}]}}),
        ]);
        let class = objects[0]["metadata"]["name"].as_str().expect("a name");
        assert!(!objects[1].to_string().contains("acme"), "{}", objects[1]);
        assert_eq!(objects[0]["spec"]["extendedResourceName"], "example.com/gpu");
        let implicit = format!("deviceclass.resource.kubernetes.io/{class}");
        assert_eq!(
            objects[1]["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "1", "example.com/gpu": "1", (implicit): "2"})
        );
    }

    #[test]
    fn what_was_polled_is_found_and_read() {
        let objects = redacted(vec![
            json!({"kind": "Node", "metadata": {"name": "acme-7"}}),
            json!({
                "apiVersion": "polled.secondmate.dev/v1", "kind": "PrometheusSamples",
                "metadata": {"name": "cpu for my-scheduler", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "value": {"status": "success", "data": {"resultType": "vector", "result": [
                    {"metric": {"node": "acme-7"}, "value": [1_767_225_600.5, "0.25"]}]}}
            }),
        ]);
        let node = &objects[0]["metadata"]["name"];
        assert_ne!(node, "acme-7");
        assert_eq!(
            objects[1],
            json!({
                "apiVersion": "polled.secondmate.dev/v1", "kind": "PrometheusSamples",
                "metadata": {"name": "cpu for my-scheduler", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "value": {"status": "success", "data": {"resultType": "vector", "result": [
                    {"metric": {"node": node}, "value": [1_767_225_600.5, "0.25"]}]}}
            })
        );
    }

    #[test]
    fn numbers_quantities_and_versions_stay_and_addresses_do_not() {
        let kept = ["7", "-3", "0.5", "100m", "1.5Gi", "1e3", "1.37", "1.37.2"];
        let replaced = ["10.1.2.3", "10-1-2-3", "1.2.3.4.5", "1.2.-3", "2001:db8::1", "555-0199", "acme"];
        let object = json!({"values": kept.iter().chain(&replaced).collect::<Vec<_>>()});
        let mut redacted = object.clone();
        Pseudonyms::of(&[object]).redact(&mut redacted);
        let values: Vec<&str> =
            redacted["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!(values[..kept.len()], kept);
        for (text, value) in replaced.iter().zip(&values[kept.len()..]) {
            assert_ne!(text, value);
        }
    }

    #[test]
    fn pseudonyms_sort_as_the_texts_do() {
        let names = ["zeta", "alpha", "mid-9", "mid-10"];
        let mut objects: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        let pseudonyms = Pseudonyms::of(&objects);
        objects.iter_mut().for_each(|object| pseudonyms.redact(object));
        let mut by_name: Vec<(&str, &str)> = names
            .iter()
            .zip(&objects)
            .map(|(name, o)| (*name, o["metadata"]["name"].as_str().expect("a name")))
            .collect();
        by_name.sort_unstable();
        assert!(by_name.is_sorted_by_key(|(_, pseudonym)| *pseudonym), "{by_name:?}");
    }
}
