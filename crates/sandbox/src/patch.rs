//! The patch formats: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.

use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::decode::{DEPTH_MAX, is_deeper};
use crate::error::ApiError;

/// How a PATCH body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl PatchKind {
    pub(crate) fn of_content_type(content_type: &str) -> Result<PatchKind, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(PatchKind::Json),
            "application/merge-patch+json" => Ok(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                Err(ApiError::unsupported_media_type(
                    "server-side apply is not served by the sandbox: use client-side apply \
                     (kubectl apply without --server-side) or another patch type",
                ))
            }
            other => Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json (got \"{other}\")"
            ))),
        }
    }
}

/// Applies a patch to an object.
pub(crate) fn apply(kind: PatchKind, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    match kind {
        PatchKind::Json => json_patch(target, patch),
        PatchKind::Merge => {
            expect_object(patch)?;
            json_patch::merge(target, patch);
            Ok(())
        }
        PatchKind::Strategic => {
            expect_object(patch)?;
            strategic(target, patch, "")
        }
    }
}

fn expect_object(patch: &Value) -> Result<(), ApiError> {
    if patch.is_object() {
        return Ok(());
    }
    Err(ApiError::bad_request("the patch is not a JSON object"))
}

/// The merge keys of the lists that upstream merges by element, by the list's field name and, if a name is
/// used twice, by that of its parent. Lists that are not here are replaced as a whole, as upstream does without a
/// `patchStrategy`.
fn merge_key(parent: &str, field: &str) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "imagePullSecrets"
        | "volumes"
        | "schedulingGates" => "name",
        "resourceClaims" if parent == "spec" => "name",
        // Names of secrets of a ServiceAccount.
        "secrets" => "name",
        "conditions" | "addresses" => "type",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        "ports" if parent == "containers" || parent == "initContainers" => "containerPort",
        "ports" => "port",
        _ => return None,
    })
}

/// Lists of plain values that are merged as sets.
fn is_merged_set(field: &str) -> bool {
    matches!(field, "finalizers" | "podCIDRs")
}

fn strategic(target: &mut Value, patch: &Value, at: &str) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut replacement = patch.clone();
            replacement.remove("$patch");
            *target = Value::Object(replacement);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!("unknown $patch directive \"{other}\"")));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    if let Some(Value::Array(keep)) = patch.get("$retainKeys") {
        target.retain(|key, _| keep.iter().any(|k| k.as_str() == Some(key)));
    }
    let mut server_orders: Vec<(&str, Vec<Value>)> = Vec::new();
    for (key, value) in patch {
        if key == "$patch" || key == "$retainKeys" || key.starts_with("$setElementOrder/") {
            continue;
        }
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Some(gone)) = (target.get_mut(field), value.as_array()) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if value.is_null() {
            target.remove(key);
            continue;
        }
        let slot = target.entry(key.clone()).or_insert(Value::Null);
        match (value, merge_key(at, key)) {
            (Value::Array(items), Some(merge_by)) => {
                server_orders.push((key, keys_of(slot, merge_by)));
                merge_list(slot, items, merge_by, key)?;
            }
            (Value::Array(items), None) if is_merged_set(key) => merge_set(slot, items),
            (Value::Array(items), None) => {
                *slot = Value::Array(items.iter().filter(|i| i.get("$patch").is_none()).cloned().collect());
            }
            _ => strategic(slot, value, key)?,
        }
    }
    for (field, server_order) in server_orders {
        let merge_by = merge_key(at, field).unwrap_or_default();
        // Without an explicit order, the patch's elements are in the order of the patch.
        let wanted = patch.get(&format!("$setElementOrder/{field}")).or(patch.get(field));
        let wanted = wanted.map(|order| keys_of(order, merge_by)).unwrap_or_default();
        if let Some(Value::Array(items)) = target.get_mut(field) {
            set_order(items, &wanted, &server_order, merge_by);
        }
    }
    Ok(())
}

fn keys_of(list: &Value, merge_by: &str) -> Vec<Value> {
    list.as_array().into_iter().flatten().map(|element| element[merge_by].clone()).collect()
}

fn merge_list(slot: &mut Value, patch: &[Value], merge_by: &str, field: &str) -> Result<(), ApiError> {
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    let Value::Array(items) = slot else { return Ok(()) };
    if patch.iter().any(|p| p["$patch"] == "replace") {
        *items = patch.iter().filter(|p| p.get("$patch").is_none()).cloned().collect();
        return Ok(());
    }
    for element in patch {
        let key = &element[merge_by];
        if key.is_null() {
            return Err(ApiError::bad_request(format!(
                "map: {element} does not contain declared merge key: {merge_by} (in \"{field}\")"
            )));
        }
        if element["$patch"] == "delete" {
            items.retain(|item| &item[merge_by] != key);
            continue;
        }
        match items.iter_mut().find(|item| &item[merge_by] == key) {
            Some(item) => strategic(item, element, field)?,
            None => {
                let mut fresh = Value::Null;
                strategic(&mut fresh, element, field)?;
                items.push(fresh);
            }
        }
    }
    Ok(())
}

fn merge_set(slot: &mut Value, patch: &[Value]) {
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    let Value::Array(items) = slot else { return };
    for element in patch {
        if !items.contains(element) {
            items.push(element.clone());
        }
    }
}

/// Interleaves the elements that the patch names, in its order, with those that it does not name: such an element comes before the
/// next one of the patch if it did so before the patch was applied.
fn set_order(items: &mut Vec<Value>, wanted: &[Value], server_order: &[Value], merge_by: &str) {
    let position = |order: &[Value], item: &Value| order.iter().position(|key| *key == item[merge_by]);
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        std::mem::take(items).into_iter().partition(|item| position(wanted, item).is_some());
    named.sort_by_key(|item| position(wanted, item));
    let mut others = others.into_iter().peekable();
    for item in named {
        let here = position(server_order, &item);
        while let Some(other) = others.peek() {
            match (position(server_order, other), here) {
                (Some(its), Some(here)) if its < here => items.extend(others.next()),
                _ => break,
            }
        }
        items.push(item);
    }
    items.extend(others);
}

/// Maximum number of operations in one JSON patch, as in kube-apiserver.
const OPERATIONS_MAX: usize = 10_000;
/// Maximum size that the copies of one JSON patch may add, as in kube-apiserver: some dozens, each copying the result of the last, would fill
/// any memory.
const COPIED_BYTES_MAX: usize = 3 << 20;

/// Applies all operations or none.
fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let operations = Patch::deserialize(patch)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > OPERATIONS_MAX {
        let count = operations.len();
        return Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: a JSON patch has at most {OPERATIONS_MAX} operations, not {count}"
            ),
        ));
    }
    let rejected = |why: String| {
        ApiError::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {why}"),
        )
    };
    // On a copy: what the library undoes is not always what it did, and it panics if it cannot undo.
    let mut patched = target.clone();
    let mut copied_bytes = 0;
    for operation in operations.iter() {
        check_growth(&patched, operation, &mut copied_bytes).map_err(&rejected)?;
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation)).map_err(|error| {
            rejected(match (operation, &error.kind) {
                (PatchOperation::Test(test), PatchErrorKind::TestFailed) => {
                    format!("testing value {} failed", test.path)
                }
                (operation, kind) => format!("operation {operation} does not apply: {kind}"),
            })
        })?;
    }
    *target = patched;
    Ok(())
}

/// Rejects operations that would nest the document too deeply, or copy too much of it.
fn check_growth(
    document: &Value,
    operation: &PatchOperation,
    copied_bytes: &mut usize,
) -> Result<(), String> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Move(moving) => (&moving.path, document.pointer(moving.from.as_str())),
        PatchOperation::Copy(copy) => (&copy.path, document.pointer(copy.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    // An operation on something that does not exist fails anyway.
    let Some(value) = value else { return Ok(()) };
    let levels = path.as_str().matches('/').count();
    if is_deeper(value, DEPTH_MAX.saturating_sub(levels)) {
        return Err(format!("operation {operation} nests the document more than {DEPTH_MAX} levels deep"));
    }
    if matches!(operation, PatchOperation::Copy(_)) {
        *copied_bytes += value.to_string().len();
        if *copied_bytes > COPIED_BYTES_MAX {
            return Err(format!("its copies add more than {COPIED_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(kind: PatchKind, mut target: Value, patch: Value) -> Value {
        apply(kind, &mut target, &patch).unwrap();
        target
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_by_null() {
        let target = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        let patch = json!({"a": {"b": null, "c": [3]}, "e": {"f": null, "g": 1}});
        assert_eq!(patched(PatchKind::Merge, target, patch), json!({"a": {"c": [3]}, "d": 1, "e": {"g": 1}}));
    }

    /// Found by fuzzing: a move out of an escaped name was only partly undone, and one into the value itself could not be undone.
    #[test]
    fn a_json_patch_that_fails_changes_nothing() {
        for to in ["/k/k", ""] {
            let target = json!({"m": {"x/y": 1}});
            let patch = json!([
                {"op": "move", "from": "/m/x~1y", "path": to},
                {"op": "test", "path": "/nothing", "value": 1},
            ]);
            let mut patched = target.clone();
            assert_eq!(apply(PatchKind::Json, &mut patched, &patch).unwrap_err().code, 422);
            assert_eq!(patched, target, "{to}");
        }
    }

    #[test]
    fn conditions_are_merged_by_type() {
        let target = json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
            {"type": "Ready", "status": "True"}]}});
        let patch = json!({"status": {
            "$setElementOrder/conditions": [{"type": "PodScheduled"}],
            "conditions": [{"type": "PodScheduled", "status": "True", "reason": null}],
            "nominatedNodeName": "n1"}});
        assert_eq!(
            patched(PatchKind::Strategic, target, patch),
            json!({"status": {"conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True"}], "nominatedNodeName": "n1"}})
        );
    }

    #[test]
    fn containers_are_merged_by_name_with_deletions_and_order() {
        let target = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "1"}], "tolerations": [{"key": "old"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [
                {"name": "b", "$patch": "delete"},
                {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]},
                {"name": "c", "image": "3"}],
            "tolerations": [{"key": "new"}]}});
        assert_eq!(
            patched(PatchKind::Strategic, target, patch),
            json!({"spec": {"containers": [
                {"name": "c", "image": "3"},
                {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}],
                "tolerations": [{"key": "new"}]}})
        );
    }

    #[test]
    fn a_new_element_stands_where_upstream_puts_it() {
        let target = json!({"conditions": [{"type": "A"}, {"type": "B"}, {"type": "C"}]});
        let types = |patch: Value| {
            let merged = patched(PatchKind::Strategic, target.clone(), patch);
            merged["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["type"].as_str().unwrap().to_owned())
                .collect::<String>()
        };
        assert_eq!(types(json!({"conditions": [{"type": "X"}]})), "XABC");
        assert_eq!(types(json!({"conditions": [{"type": "B", "status": "True"}]})), "ABC");
        assert_eq!(types(json!({"conditions": [{"type": "B"}, {"type": "X"}]})), "ABXC");
        assert_eq!(
            types(json!({"$setElementOrder/conditions": [{"type": "C"}, {"type": "A"}],
                         "conditions": [{"type": "C", "status": "True"}]})),
            "BCA"
        );
    }

    #[test]
    fn replace_and_retain_keys_drop_what_is_not_named() {
        let target = json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}});
        let patch = json!({"a": {"$patch": "replace", "z": 3}, "b": {"$retainKeys": ["x"], "x": 5}});
        assert_eq!(patched(PatchKind::Strategic, target, patch), json!({"a": {"z": 3}, "b": {"x": 5}}));
    }

    #[test]
    fn every_json_patch_operation_works() {
        let target = json!({"a": [1, 2], "m": {"x/y": 1}});
        let patch = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/1", "value": 9},
            {"op": "add", "path": "/a/-", "value": 8},
            {"op": "remove", "path": "/a/0"},
            {"op": "replace", "path": "/m/x~1y", "value": 2},
            {"op": "copy", "from": "/m", "path": "/n"},
            {"op": "move", "from": "/m/x~1y", "path": "/k"}
        ]);
        assert_eq!(
            patched(PatchKind::Json, target, patch),
            json!({"a": [9, 2, 8], "m": {}, "n": {"x/y": 2}, "k": 2})
        );
    }

    #[test]
    fn a_json_patch_that_does_not_apply_says_which_operation_and_changes_nothing() {
        let refusal = |patch: Value| {
            let mut target = json!({"a": 1});
            let error = apply(PatchKind::Json, &mut target, &patch).unwrap_err();
            assert_eq!(target, json!({"a": 1}), "{patch}");
            (error.code, error.message)
        };
        let ours = "the server rejected our request due to an error in our request: ";
        let add = json!({"op": "add", "path": "/b", "value": 3});
        assert_eq!(
            refusal(json!([add, {"op": "test", "path": "/a", "value": 2}])),
            (422, format!("{ours}testing value /a failed"))
        );
        let (code, message) = refusal(json!([add, {"op": "replace", "path": "/c/d", "value": 2}]));
        assert_eq!(code, 422);
        assert!(message.starts_with(&format!("{ours}operation ")) && message.contains("/c/d"), "{message}");
        assert!(message.ends_with("does not apply: path is invalid"), "{message}");
        let (code, message) = refusal(json!([{"op": "append", "path": "/a"}]));
        assert_eq!(code, 400);
        assert!(message.starts_with("error decoding patch: ") && message.contains("append"), "{message}");
        assert_eq!(refusal(json!({"a": 2})).0, 400);
    }

    #[test]
    fn a_json_patch_neither_nests_nor_copies_without_bounds() {
        let refusal = |operation: Value, times: usize| {
            let mut target = json!({"a": {"b": "x".repeat(100)}});
            let error = apply(PatchKind::Json, &mut target, &Value::Array(vec![operation; times]));
            error.map_or_else(|error| (error.code, error.message), |()| (200, String::new()))
        };
        // The document is copied into itself repeatedly.
        let (code, message) = refusal(json!({"op": "copy", "from": "", "path": "/a/c"}), 60);
        assert!(code == 422 && message.contains("more than 100 levels deep"), "{code} {message}");
        let wide = json!([
            {"op": "add", "path": "/l", "value": []}, {"op": "copy", "from": "/a", "path": "/l/-"},
        ]);
        let copies = |count: usize| {
            let mut operations = wide.as_array().cloned().unwrap_or_default();
            operations.extend(vec![json!({"op": "copy", "from": "/a", "path": "/l/-"}); count]);
            let mut target = json!({"a": {"b": "x".repeat(1_000)}});
            apply(PatchKind::Json, &mut target, &Value::Array(operations)).map_err(|error| error.message)
        };
        assert_eq!(copies(1_000), Ok(()));
        let message = copies(5_000).unwrap_err();
        assert!(message.ends_with("its copies add more than 3145728 bytes"), "{message}");
        let (code, message) = refusal(json!({"op": "test", "path": "/a/b", "value": 1}), 10_001);
        assert!(code == 413 && message.contains("at most 10000 operations, not 10001"), "{code} {message}");
    }

    #[test]
    fn server_side_apply_is_refused_by_name() {
        let error = PatchKind::of_content_type("application/apply-patch+yaml").unwrap_err();
        assert_eq!(error.code, 415);
        assert!(error.message.contains("server-side apply"), "{}", error.message);
    }
}
