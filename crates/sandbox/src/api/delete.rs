//! Deletion: preconditions, grace periods, finalizers, and what is deleted along with an object.

use serde_json::Value;

use super::{DeleteOptions, Deleted};
use crate::error::ApiError;
use crate::object::Object;
use crate::resource::{self, NAMESPACES, PODS, ResourceType};
use crate::store::Transaction;
use crate::time;
use crate::workloads;

pub(super) fn delete(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let current = tx
        .get(resource.store, namespace, name)
        .cloned()
        .ok_or_else(|| ApiError::not_found(resource.group, resource.plural, name))?;
    check_delete_preconditions(resource, &current, options)?;
    if resource.store == NAMESPACES
        && matches!(name, "default" | "kube-system" | "kube-public" | "kube-node-lease")
    {
        return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    if options.dry_run {
        return Ok(Deleted::Gone(current));
    }
    let mut value = current.value();
    let grace_s = if resource.store == PODS { pod_grace(&value, options.grace_s) } else { 0 };
    let finalizers = value["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if grace_s == 0 && !finalizers {
        if resource.store == NAMESPACES {
            empty_namespace(tx, name);
        }
        if options.orphan {
            workloads::orphan_dependents(tx, &current);
        }
        let gone = tx.remove(resource.store, namespace, name);
        return Ok(Deleted::Gone(gone.unwrap_or(current)));
    }
    if current.deleting {
        // A second delete can only shorten the remaining period.
        let left = value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if options.grace_s.is_none() || grace_s >= left {
            return Ok(Deleted::Marked(current));
        }
    } else if let Some(generation) = value["metadata"]["generation"].as_i64() {
        value["metadata"]["generation"] = Value::from(generation + 1);
    }
    let until = tx.clock().now() + jiff::SignedDuration::from_secs(grace_s);
    value["metadata"]["deletionTimestamp"] = Value::from(time::format_seconds(until));
    value["metadata"]["deletionGracePeriodSeconds"] = Value::from(grace_s);
    Ok(Deleted::Marked(tx.put(resource.store, value)))
}

fn check_delete_preconditions(
    resource: &ResourceType,
    current: &Object,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |what: &str, wanted: &str, found: &str| {
        Err(ApiError::conflict(
            resource.group,
            resource.kind,
            &current.name,
            &format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The \
                 object might have been {}",
                if what == "UID" { "deleted and then recreated" } else { "modified" }
            ),
        ))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*current.uid) {
        return conflict("UID", uid, &current.uid);
    }
    let version = current.version.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|v| *v != version) {
        return conflict("ResourceVersion", wanted, &version);
    }
    Ok(())
}

/// A pod that is not running anywhere, or no longer, is removed at once.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unbound || done {
        return 0;
    }
    let grace_s = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    // Upstream treats a negative period as one second.
    if grace_s < 0 { 1 } else { grace_s }
}

/// Does what the namespace controller does, without its delay.
fn empty_namespace(tx: &mut Transaction, namespace: &str) {
    for resource in resource::RESOURCES.iter().filter(|r| r.namespaced && !r.is_view_or_unstored()) {
        let names: Vec<Box<str>> = tx.iter(resource.store, Some(namespace)).map(|o| o.name.clone()).collect();
        for name in names {
            tx.remove(resource.store, namespace, &name);
        }
    }
}
