//! What an update of a pod may change.

use serde_json::Value;

use crate::error::FieldError;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The field errors of a change from `old` to `new`.
pub(crate) fn check_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (old_spec, new_spec) = (&old["spec"], &new["spec"]);
    if old_spec == new_spec {
        return errors;
    }
    for field in ["containers", "initContainers"] {
        let count = |spec: &Value| spec[field].as_array().map_or(0, Vec::len);
        if count(old_spec) != count(new_spec) {
            let why = format!("pod updates may not add or remove {field}");
            return vec![FieldError::forbidden(format!("spec.{field}"), why)];
        }
    }
    check_tolerations(&old_spec["tolerations"], &new_spec["tolerations"], &mut errors);
    check_gates(&old_spec["schedulingGates"], &new_spec["schedulingGates"], &mut errors);
    let mut munged = new_spec.clone();
    for field in ["tolerations", "schedulingGates", "activeDeadlineSeconds"] {
        restore(&mut munged, old_spec, field);
    }
    for field in ["containers", "initContainers"] {
        let old_containers = old_spec[field].as_array().into_iter().flatten();
        let Some(Value::Array(containers)) = munged.get_mut(field) else { continue };
        for (container, old) in containers.iter_mut().zip(old_containers) {
            restore(container, old, "image");
        }
    }
    let gated = old_spec["schedulingGates"].as_array().is_some_and(|g| !g.is_empty());
    if gated {
        check_gated(old_spec, &mut munged, &mut errors);
    }
    if &munged != old_spec {
        let changed = changed_fields(old_spec, &munged).join(", ");
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n(changed: {changed})");
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

fn restore(target: &mut Value, from: &Value, field: &str) {
    let Some(map) = target.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    }
}

fn changed_fields(old: &Value, new: &Value) -> Vec<String> {
    let keys = |v: &Value| v.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    let mut all = keys(old);
    all.extend(keys(new));
    all.sort();
    all.dedup();
    all.retain(|k| old.get(k) != new.get(k));
    all.into_iter().map(|k| format!("spec.{k}")).collect()
}

fn check_tolerations(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let same_but_for_seconds = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| a.get(field) == b.get(field))
    };
    let new = new.as_array().map(Vec::as_slice).unwrap_or_default();
    for toleration in old.as_array().into_iter().flatten() {
        if !new.iter().any(|n| same_but_for_seconds(toleration, n)) {
            errors.push(FieldError::forbidden(
                "spec.tolerations",
                "existing toleration can not be modified except its tolerationSeconds",
            ));
            return;
        }
    }
}

fn check_gates(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
    for (i, gate) in new.as_array().into_iter().flatten().enumerate() {
        if !old.contains(gate) {
            errors.push(FieldError::forbidden(
                format!("spec.schedulingGates[{i}].name"),
                format!(
                    "only deletion is allowed, but found new scheduling gate '{}'",
                    gate["name"].as_str().unwrap_or_default()
                ),
            ));
        }
    }
}

/// The node selector and node affinity of a gated pod may be narrowed.
fn check_gated(old_spec: &Value, munged: &mut Value, errors: &mut Vec<FieldError>) {
    let mut kept = old_spec["nodeSelector"].as_object().into_iter().flatten();
    let selector = munged.get("nodeSelector").cloned().unwrap_or(Value::Null);
    if !kept.all(|(key, value)| selector.get(key) == Some(value)) {
        errors.push(FieldError::invalid(
            "spec.nodeSelector",
            selector,
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    restore(munged, old_spec, "nodeSelector");
    let old_affinity = old_spec.get("affinity").and_then(|a| a.get("nodeAffinity"));
    match (munged.get_mut("affinity").and_then(Value::as_object_mut), old_affinity) {
        (Some(affinity), Some(old)) => {
            affinity.insert("nodeAffinity".into(), old.clone());
        }
        (Some(affinity), None) => {
            affinity.remove("nodeAffinity");
            if affinity.is_empty() && old_spec.get("affinity").is_none() {
                restore(munged, old_spec, "affinity");
            }
        }
        (None, _) => {}
    }
}
