//! Objects other than pods: the defaults of their API groups.

use serde_json::{Value, json};

use crate::pod::set_default;
use crate::template::default_workload;

/// Fills in what the API server fills in when an object of this kind is created; [`admit_pod`](crate::admit_pod) does it
/// for pods. Objects of unknown kinds are left as they are.
pub fn default_object(kind: &str, object: &mut Value) {
    match kind {
        "Namespace" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        "Node" => ensure_object(object, "spec"),
        "PriorityClass" => {
            set_default(object, "preemptionPolicy", "PreemptLowerPriority");
            set_default(object, "value", 0);
        }
        "PersistentVolumeClaim" | "PersistentVolume" => {
            ensure_object(object, "spec");
            set_default(&mut object["spec"], "volumeMode", "Filesystem");
            if object["status"].get("phase").is_none() {
                object["status"] = json!({ "phase": "Pending" });
            }
            if kind == "PersistentVolume" {
                set_default(&mut object["spec"], "persistentVolumeReclaimPolicy", "Retain");
            }
        }
        "StorageClass" => {
            set_default(object, "reclaimPolicy", "Delete");
            set_default(object, "volumeBindingMode", "Immediate");
        }
        "Service" => {
            ensure_object(object, "spec");
            for (field, default) in
                [("type", "ClusterIP"), ("sessionAffinity", "None"), ("clusterIP", "None")]
            {
                set_default(&mut object["spec"], field, default);
            }
        }
        _ => default_workload(kind, object),
    }
}

fn ensure_object(object: &mut Value, field: &str) {
    if !object[field].is_object() {
        object[field] = json!({});
    }
}
