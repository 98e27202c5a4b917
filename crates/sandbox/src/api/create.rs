//! Creation: name and namespace, defaults, admission, validation.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::validate;
use crate::error::ApiError;
use crate::nodes;
use crate::object::Object;
use crate::pods;
use crate::resource::{self, NAMESPACES, NODES, PODS, PRIORITY_CLASSES, ResourceType, STORAGE_CLASSES};
use crate::store::Transaction;

/// Number of names that `generateName` tries before it gives up.
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
    // As upstream: 63 characters in total, of which five are the suffix.
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
    if resource.store == PODS {
        return pods::admit(tx, value);
    }
    secondmate_admission::default_object(resource.kind, value);
    match (resource.store, resource.kind) {
        (NODES, _) => nodes::reconcile_unschedulable(value),
        (PRIORITY_CLASSES, _) => value["metadata"]["generation"] = Value::from(1),
        // A budget allows no disruption until its controller has processed it.
        (_, "PodDisruptionBudget") => {
            value["status"] = json!({
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        }
        (_, kind @ ("ReplicaSet" | "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob")) => {
            crate::workloads::settle(kind, value);
        }
        (_, "PersistentVolumeClaim") => choose_class(tx, value),
        (_, "Secret") => settle_secret(value),
        _ => {}
    }
    Ok(())
}

/// Converts texts to data.
fn settle_secret(value: &mut Value) {
    let texts = value.as_object_mut().and_then(|map| map.remove("stringData"));
    for (key, text) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
        value["data"][key] = Value::from(BASE64_STANDARD.encode(text.as_str().unwrap_or_default()));
    }
    if value["type"].is_null() {
        value["type"] = Value::from("Opaque");
    }
}

/// The DefaultStorageClass admission plugin: the newest class that is marked as the default.
fn choose_class(tx: &Transaction, claim: &mut Value) {
    if claim["spec"].get("storageClassName").is_some() {
        return;
    }
    let is_default = |class: &Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let classes = tx.iter(STORAGE_CLASSES, None).map(|class| class.value()).filter(is_default);
    let newest =
        classes.max_by_key(|class| class["metadata"]["creationTimestamp"].as_str().map(str::to_owned));
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = class["metadata"]["name"].clone();
    }
}
