//! Creation: name and namespace, defaults, admission, validation.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::validate;
use crate::error::ApiError;
use crate::nodes;
use crate::object::Object;
use crate::pods;
use crate::resource::{self, NAMESPACES, NODES, PODS, PRIORITY_CLASSES, ResourceType};
use crate::store::Transaction;

/// Names that `generateName` tries before it gives up.
const GENERATED_NAMES_MAX: usize = 8;

pub(super) fn create(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    mut value: Value,
    dry_run: bool,
) -> Result<Arc<Object>, ApiError> {
    settle_namespace(tx, resource, namespace, &mut value)?;
    settle_name(tx, resource, namespace, &mut value)?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(meta) = value["metadata"].as_object_mut() {
        for field in [
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
        ] {
            meta.remove(field);
        }
    }
    tx.stamp(&mut value);
    if resource.has_generation {
        value["metadata"]["generation"] = Value::from(1);
    }
    admit(tx, resource, &mut value)?;
    let errors = validate(resource, &value);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource.group, resource.kind, &name, &errors));
    }
    if tx.get(resource.store, namespace, &name).is_some() {
        return Err(ApiError::already_exists(resource.group, resource.plural, &name));
    }
    if dry_run {
        return Ok(Arc::new(Object::new(resource::stored_as(resource.store), &value, 0)));
    }
    Ok(tx.put(resource.store, value))
}

fn settle_namespace(
    tx: &Transaction,
    resource: &ResourceType,
    namespace: &str,
    value: &mut Value,
) -> Result<(), ApiError> {
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !resource.namespaced {
        return Ok(());
    }
    value["metadata"]["namespace"] = Value::from(namespace);
    match tx.get(NAMESPACES, "", namespace) {
        None => Err(ApiError::not_found("", "namespaces", namespace)),
        Some(found) if found.deleting => {
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            Err(ApiError::forbidden(
                resource.group,
                resource.plural,
                name,
                &format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                ),
            ))
        }
        Some(_) => Ok(()),
    }
}

fn settle_name(
    tx: &mut Transaction,
    resource: &ResourceType,
    namespace: &str,
    value: &mut Value,
) -> Result<(), ApiError> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (name, prefix) = (text(&value["metadata"]["name"]), text(&value["metadata"]["generateName"]));
    if !name.is_empty() || prefix.is_empty() {
        return Ok(());
    }
    // As upstream: 63 characters in all, five of them the suffix.
    let prefix: String = prefix.chars().take(58).collect();
    for _ in 0..GENERATED_NAMES_MAX {
        let name = format!("{prefix}{}", tx.random().suffix());
        if tx.get(resource.store, namespace, &name).is_none() {
            value["metadata"]["name"] = Value::from(name);
            return Ok(());
        }
    }
    Err(ApiError::already_exists(resource.group, resource.plural, &prefix))
}

/// Defaults and admission plugins at creation.
fn admit(tx: &Transaction, resource: &ResourceType, value: &mut Value) -> Result<(), ApiError> {
    match (resource.store, resource.kind) {
        (PODS, _) => return pods::admit(tx, value),
        (NODES, _) => {
            ensure_object(value, "spec");
            nodes::reconcile_unschedulable(value);
        }
        (NAMESPACES, _) => {
            let name = value["metadata"]["name"].clone();
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            value["spec"] = json!({ "finalizers": ["kubernetes"] });
            value["status"] = json!({ "phase": "Active" });
        }
        (PRIORITY_CLASSES, _) => {
            if value["preemptionPolicy"].is_null() {
                value["preemptionPolicy"] = Value::from("PreemptLowerPriority");
            }
            if value["value"].is_null() {
                value["value"] = Value::from(0);
            }
            value["metadata"]["generation"] = Value::from(1);
        }
        (_, "PersistentVolumeClaim" | "PersistentVolume") => {
            ensure_object(value, "spec");
            if value["spec"].get("volumeMode").is_none() {
                value["spec"]["volumeMode"] = Value::from("Filesystem");
            }
            if value["status"].get("phase").is_none() {
                value["status"] = json!({ "phase": "Pending" });
            }
            if resource.kind == "PersistentVolume"
                && value["spec"].get("persistentVolumeReclaimPolicy").is_none()
            {
                value["spec"]["persistentVolumeReclaimPolicy"] = Value::from("Retain");
            }
        }
        (_, "PodDisruptionBudget") => {
            // A budget allows nothing until its controller has looked at it.
            value["status"] = json!({
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        }
        (_, "StorageClass") => {
            for (field, default) in [("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")] {
                if value.get(field).is_none() {
                    value[field] = Value::from(default);
                }
            }
        }
        (_, "ReplicaSet" | "Deployment") => crate::workloads::default(resource, value),
        (_, "Service") => {
            ensure_object(value, "spec");
            for (field, default) in
                [("type", "ClusterIP"), ("sessionAffinity", "None"), ("clusterIP", "None")]
            {
                if value["spec"].get(field).is_none() {
                    value["spec"][field] = Value::from(default);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn ensure_object(value: &mut Value, field: &str) {
    if !value[field].is_object() {
        value[field] = Value::Object(Map::new());
    }
}
