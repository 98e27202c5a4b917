//! Objects as JSON: what a test does not say is the plainest that the API server takes.

use serde_json::{Map, Value, json};

/// An object of any kind; `rest` has what stands beside `metadata`.
#[must_use]
pub fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name } });
    merge(&mut object, rest);
    object
}

/// A Node with 4 CPUs, 16 GiB and 110 pods, its own host name and `role: NAME`. `changes` is merged over it.
#[must_use]
pub fn node(name: &str, changes: Value) -> Value {
    let resources = json!({ "cpu": "4", "memory": "16Gi", "ephemeral-storage": "100Gi", "pods": "110" });
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "role": name },
        },
        "status": { "allocatable": resources },
    });
    merge(&mut node, changes);
    node["status"]["capacity"] = node["status"]["allocatable"].clone();
    node
}

/// A Pod with one container that asks for nothing. `changes` is merged over it.
#[must_use]
pub fn pod(name: &str, scheduler: &str, changes: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "schedulerName": scheduler, "containers": [{ "name": "main", "image": "main" }] },
    });
    merge(&mut pod, changes);
    pod
}

/// A Deployment whose pods have the label `app: NAME` and one container of this image that asks for a little.
#[must_use]
pub fn deployment(name: &str, scheduler: &str, image: &str, replicas: usize) -> Value {
    let template = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "schedulerName": scheduler, "containers": [{
            "name": "main", "image": image, "resources": { "requests": { "cpu": "10m" } },
        }] },
    });
    let spec =
        json!({ "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": template });
    object("apps/v1", "Deployment", name, json!({ "spec": spec }))
}

/// A `spec` whose one container requests these resources, and is limited to them, as extended resources want it.
#[must_use]
pub fn requests(resources: Value) -> Value {
    let resources = json!({ "requests": resources, "limits": resources });
    json!({ "spec": { "containers": [{ "name": "main", "image": "main", "resources": resources }] } })
}

/// A PersistentVolumeClaim for 1Gi.
#[must_use]
pub fn claim(name: &str, class: &str, changes: Value) -> Value {
    let mut claim = object(
        "v1",
        "PersistentVolumeClaim",
        name,
        json!({ "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } },
        } }),
    );
    merge(&mut claim, changes);
    claim
}

/// A PersistentVolume of a CSI driver and a claim of `namespace`, each of which names the other.
#[must_use]
pub fn bound_volume(namespace: &str, claim_name: &str, volume_changes: Value) -> (Value, Value) {
    let volume_name = format!("{namespace}-{claim_name}");
    let mut volume = object(
        "v1",
        "PersistentVolume",
        &volume_name,
        json!({ "spec": {
            "capacity": { "storage": "1Gi" },
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": { "driver": "csi.example.com", "volumeHandle": volume_name },
            "claimRef": { "namespace": namespace, "name": claim_name },
        } }),
    );
    merge(&mut volume, volume_changes);
    let changes =
        json!({ "spec": { "volumeName": volume_name, "accessModes": volume["spec"]["accessModes"] } });
    (volume, claim(claim_name, "", changes))
}

/// Merges `from` into `into`, objects field by field, everything else as a whole.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Object(Map::new())), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_merged_field_by_field() {
        let node = node(
            "n",
            json!({ "metadata": { "labels": { "zone": "a" } }, "status": { "allocatable": { "cpu": "1" } } }),
        );
        assert_eq!(node["metadata"]["labels"]["role"], "n");
        assert_eq!(node["metadata"]["labels"]["zone"], "a");
        assert_eq!(node["status"]["capacity"]["cpu"], "1");
        assert_eq!(node["status"]["capacity"]["pods"], "110");

        let pod = pod("p", "s", requests(json!({ "cpu": "1" })));
        assert_eq!(pod["spec"]["schedulerName"], "s");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    }
}
