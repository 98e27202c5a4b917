//! The Scale of a workload, and what happens to its dependents when it is deleted without them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::FOLLOWED;
use crate::object::Object;
use crate::store::Transaction;

/// The `scale` subresource of an object.
pub(crate) fn scale_of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": { "replicas": object["spec"]["replicas"] },
        "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",") },
    })
}

/// Releases the dependents of an object that is deleted with the policy `Orphan`.
pub(crate) fn orphan_dependents(tx: &mut Transaction, owner: &Object) {
    for store in FOLLOWED {
        let owned: Vec<Arc<Object>> =
            tx.iter(store, Some(&owner.namespace)).filter(|o| o.owner == owner.uid).cloned().collect();
        for object in owned {
            let mut value = object.value();
            if let Some(references) = value["metadata"]["ownerReferences"].as_array_mut() {
                references.retain(|r| r["uid"].as_str() != Some(&owner.uid));
            }
            tx.put(store, value);
        }
    }
}
