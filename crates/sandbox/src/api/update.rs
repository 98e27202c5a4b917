//! Updates: preconditions, what the server owns, what an update may change.

use std::sync::Arc;

use serde_json::Value;

use super::create::create;
use super::validate;
use crate::error::{ApiError, FieldError};
use crate::nodes;
use crate::object::Object;
use crate::pods;
use crate::resource::{self, NAMESPACES, NODES, PODS, ResourceType};
use crate::store::Transaction;

pub(super) fn update(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    name: &str,
    subresource: &str,
    mut value: Value,
    dry_run: bool,
) -> Result<(Arc<Object>, bool), ApiError> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    match text(&value["metadata"]["name"]) {
        given if given.is_empty() => value["metadata"]["name"] = Value::from(name),
        given if given != name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let Some(current) = tx.get(resource.store, namespace, name).cloned() else {
        if resource.create_on_update && subresource.is_empty() {
            return Ok((create(tx, resource, namespace, value, dry_run)?, true));
        }
        return Err(ApiError::not_found(resource.group, resource.plural, name));
    };
    check_preconditions(resource, &current, &value)?;
    let old = current.value();
    keep_what_the_server_owns(resource, subresource, &old, &mut value);
    match resource.store {
        NODES => nodes::reconcile_unschedulable(&mut value),
        PODS if subresource.is_empty() && value["spec"].is_object() => {
            secondmate_admission::default_tolerations(&mut value["spec"]);
        }
        _ => {}
    }
    if value == old {
        return Ok((current, false));
    }
    let mut errors = validate(resource, &value);
    if resource.store == PODS && subresource.is_empty() {
        errors.extend(pods::check_update(&old, &value));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource.group, resource.kind, name, &errors));
    }
    if resource.has_generation && value["spec"] != old["spec"] {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        value["metadata"]["generation"] = Value::from(generation);
    }
    if dry_run {
        return Ok((
            Arc::new(Object::new(resource::stored_as(resource.store), &value, current.version)),
            false,
        ));
    }
    let finalized = current.deleting
        && value["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let object = tx.put(resource.store, value);
    if finalized && resource.store != NAMESPACES {
        let gone = tx.remove(resource.store, namespace, name);
        return Ok((gone.unwrap_or(object), false));
    }
    Ok((object, false))
}

fn check_preconditions(resource: &ResourceType, current: &Object, value: &Value) -> Result<(), ApiError> {
    let meta = &value["metadata"];
    let name = &*current.name;
    if let Some(uid) = meta["uid"].as_str().filter(|uid| !uid.is_empty() && **uid != *current.uid) {
        return Err(ApiError::conflict(
            resource.group,
            resource.plural,
            name,
            &precondition_failed(resource, current, "UID", uid, &current.uid),
        ));
    }
    match meta["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if resource.unconditional_update => Ok(()),
        "" | "0" => {
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            Err(ApiError::invalid(resource.group, resource.plural, name, &[error]))
        }
        given if given == current.version.to_string() => Ok(()),
        _ => Err(ApiError::modified(resource.group, resource.plural, name)),
    }
}

/// The sentence in which upstream's storage reports a failed precondition.
pub(crate) fn precondition_failed(
    resource: &ResourceType,
    current: &Object,
    what: &str,
    wanted: &str,
    found: &str,
) -> String {
    let scope = if resource.namespaced { format!("{}/", current.namespace) } else { String::new() };
    let place = if resource.kind == "Node" { "minions" } else { resource.plural };
    format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{place}/{scope}{}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
        current.name
    )
}

/// Restores the fields that this request may not write.
fn keep_what_the_server_owns(resource: &ResourceType, subresource: &str, old: &Value, value: &mut Value) {
    fn keep(target: &mut Value, old: &Value, field: &str) {
        let Some(map) = target.as_object_mut() else { return };
        match old.get(field) {
            Some(kept) => {
                map.insert(field.to_owned(), kept.clone());
            }
            None => {
                map.remove(field);
            }
        }
    }
    let owned = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
        "generateName",
    ];
    for field in owned {
        keep(&mut value["metadata"], &old["metadata"], field);
    }
    match subresource {
        "status" => {
            keep(&mut value["metadata"], &old["metadata"], "ownerReferences");
            for (field, _) in old.as_object().into_iter().flatten() {
                if field != "status" && field != "metadata" {
                    keep(value, old, field);
                }
            }
            keep(value, old, "spec");
        }
        _ if resource.has_status() => keep(value, old, "status"),
        _ => {}
    }
}
