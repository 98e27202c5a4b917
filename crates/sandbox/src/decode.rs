//! From a request body to an object in stored form: parsing, type check, and the checks that all kinds share.

use k8s_openapi::api as k8s;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ApiError, FieldError};
use crate::events;
use crate::resource::{NameRule, ResourceType};
use crate::selectors;
use crate::wire;
use secondmate_admission::Quantity;

/// Maximum nesting depth of a stored object. JSON parsers commonly stop at 128 levels, and a list, a table or a review adds some levels
/// around the object. An API server drops fields that it does not know; no kind is half as deep.
pub(crate) const DEPTH_MAX: usize = 100;

/// Maximum number of unknown fields in one error.
const UNKNOWN_FIELDS_MAX: usize = 20;

/// Parses a body that must be one object of this resource, and brings it into stored form.
pub(crate) fn object(resource: &ResourceType, body: &[u8]) -> Result<Value, ApiError> {
    let value = json(body)?;
    checked(resource, value)
}

/// Parses any JSON body.
pub(crate) fn json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!("the body of the request is not a JSON document: {error}"))
    })
}

/// Checks an object that was parsed or patched, and brings it into stored form.
pub(crate) fn checked(resource: &ResourceType, mut value: Value) -> Result<Value, ApiError> {
    if is_deeper(&value, DEPTH_MAX) {
        return Err(ApiError::bad_request(format!(
            "the object is nested more than {DEPTH_MAX} levels deep: a client could not read it in a list"
        )));
    }
    let api_version = resource.api_version();
    let Some(map) = value.as_object_mut() else {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    };
    check_kind(map, resource, &api_version)?;
    if !map.get("metadata").is_some_and(Value::is_object) {
        map.insert("metadata".into(), Value::Object(Map::new()));
    }
    remove_nulls(&mut value);
    quantities_to_text(&mut value);
    check_type(resource, &value).map_err(|why| {
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}",
            kind = resource.kind,
            version = resource.version,
        ))
    })?;
    check_quantities(&value, "").map_err(|why| {
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}",
            kind = resource.kind,
            version = resource.version,
        ))
    })?;
    if resource.is_new_event() {
        events::to_core(&mut value);
    }
    Ok(value)
}

/// Whether lists and objects are nested deeper than this. Deeper levels are not visited.
pub(crate) fn is_deeper(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Object(_) | Value::Array(_), None) => true,
        (Value::Object(map), Some(left)) => map.values().any(|inner| is_deeper(inner, left)),
        (Value::Array(items), Some(left)) => items.iter().any(|inner| is_deeper(inner, left)),
        _ => false,
    }
}

fn check_kind(
    map: &mut Map<String, Value>,
    resource: &ResourceType,
    api_version: &str,
) -> Result<(), ApiError> {
    match map.get("kind").and_then(Value::as_str) {
        None | Some("") => {
            map.insert("kind".into(), Value::from(resource.kind));
        }
        Some(kind) if kind == resource.kind => {}
        Some(kind) => {
            return Err(ApiError::bad_request(format!(
                "the kind in the data ({kind}) does not match the expected kind ({})",
                resource.kind
            )));
        }
    }
    match map.get("apiVersion").and_then(Value::as_str) {
        None | Some("") => {
            map.insert("apiVersion".into(), Value::from(api_version));
        }
        Some(given) if given == api_version => {}
        Some(given) => {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({api_version})"
            )));
        }
    }
    Ok(())
}

/// A null counts as an absent field: clients write `creationTimestamp: null`.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Rejects fields that the kind does not have; kubectl requests this with `fieldValidation=Strict`.
pub(crate) fn strictly(resource: &ResourceType, value: &Value) -> Result<(), ApiError> {
    let unknown = wire::unknown_fields(value, UNKNOWN_FIELDS_MAX);
    if unknown.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    Err(ApiError::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {list}",
        kind = resource.kind,
        version = resource.version,
        list = list.join(", "),
    )))
}

/// The maps of quantities, wherever they are.
fn is_quantity_map(key: &str) -> bool {
    matches!(
        key,
        "requests" | "limits" | "overhead" | "podFixed" | "capacity" | "allocatable" | "allocatedResources"
    )
}

/// `cpu: 1` without quotes is also a quantity.
fn quantities_to_text(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if is_quantity_map(key)
                    && let Value::Object(quantities) = inner
                {
                    for quantity in quantities.values_mut() {
                        if let Value::Number(number) = quantity {
                            *quantity = Value::String(number.to_string());
                        }
                    }
                } else {
                    quantities_to_text(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_to_text),
        _ => {}
    }
}

fn check_quantities(value: &Value, path: &str) -> Result<(), String> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, inner)| match inner {
            Value::Object(quantities) if is_quantity_map(key) => {
                quantities.iter().try_for_each(|(name, quantity)| match quantity.as_str() {
                    Some(text) if Quantity::parse(text).is_none() => Err(format!(
                        "quantities must match the regular expression \
                         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$' (found \"{text}\" at {path}.{key}.{name})"
                    )),
                    _ => Ok(()),
                })
            }
            Value::Object(_) | Value::Array(_) => check_quantities(inner, &format!("{path}.{key}")),
            _ => Ok(()),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_quantities(item, path)),
        _ => Ok(()),
    }
}

/// Reads the object as its Kubernetes type, so that stored objects have the right shape everywhere.
fn check_type(resource: &ResourceType, value: &Value) -> Result<(), String> {
    fn reads<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
        // From the text and not from the tree: `from_value` would need a copy of the tree.
        let text = serde_json::to_vec(value).map_err(|e| e.to_string())?;
        serde_json::from_slice::<T>(&text).map(|_| ()).map_err(|e| e.to_string())
    }
    let check: fn(&Value) -> Result<(), String> = match (resource.group, resource.kind) {
        ("", "Pod") => reads::<k8s::core::v1::Pod>,
        ("", "Node") => reads::<k8s::core::v1::Node>,
        ("", "Namespace") => reads::<k8s::core::v1::Namespace>,
        ("", "Event") => reads::<k8s::core::v1::Event>,
        ("events.k8s.io", "Event") => reads::<k8s::events::v1::Event>,
        ("", "Service") => reads::<k8s::core::v1::Service>,
        ("", "ConfigMap") => reads::<k8s::core::v1::ConfigMap>,
        ("", "ServiceAccount") => reads::<k8s::core::v1::ServiceAccount>,
        ("", "PersistentVolume") => reads::<k8s::core::v1::PersistentVolume>,
        ("", "PersistentVolumeClaim") => reads::<k8s::core::v1::PersistentVolumeClaim>,
        ("apps", "ReplicaSet") => reads::<k8s::apps::v1::ReplicaSet>,
        ("apps", "Deployment") => reads::<k8s::apps::v1::Deployment>,
        ("coordination.k8s.io", "Lease") => reads::<k8s::coordination::v1::Lease>,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            reads::<k8s::admissionregistration::v1::ValidatingWebhookConfiguration>
        }
        ("discovery.k8s.io", "EndpointSlice") => reads::<k8s::discovery::v1::EndpointSlice>,
        ("policy", "PodDisruptionBudget") => reads::<k8s::policy::v1::PodDisruptionBudget>,
        ("storage.k8s.io", "StorageClass") => reads::<k8s::storage::v1::StorageClass>,
        ("storage.k8s.io", "CSINode") => reads::<k8s::storage::v1::CSINode>,
        ("storage.k8s.io", "CSIDriver") => reads::<k8s::storage::v1::CSIDriver>,
        ("storage.k8s.io", "CSIStorageCapacity") => reads::<k8s::storage::v1::CSIStorageCapacity>,
        ("storage.k8s.io", "VolumeAttachment") => reads::<k8s::storage::v1::VolumeAttachment>,
        ("apps", "StatefulSet") => reads::<k8s::apps::v1::StatefulSet>,
        ("apps", "DaemonSet") => reads::<k8s::apps::v1::DaemonSet>,
        ("apps", "ControllerRevision") => reads::<k8s::apps::v1::ControllerRevision>,
        ("batch", "Job") => reads::<k8s::batch::v1::Job>,
        ("batch", "CronJob") => reads::<k8s::batch::v1::CronJob>,
        ("", "Secret") => reads::<k8s::core::v1::Secret>,
        ("", "LimitRange") => reads::<k8s::core::v1::LimitRange>,
        ("node.k8s.io", "RuntimeClass") => reads::<k8s::node::v1::RuntimeClass>,
        ("rbac.authorization.k8s.io", "Role") => reads::<k8s::rbac::v1::Role>,
        ("rbac.authorization.k8s.io", "RoleBinding") => reads::<k8s::rbac::v1::RoleBinding>,
        ("rbac.authorization.k8s.io", "ClusterRole") => reads::<k8s::rbac::v1::ClusterRole>,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => reads::<k8s::rbac::v1::ClusterRoleBinding>,
        ("networking.k8s.io", "NetworkPolicy") => reads::<k8s::networking::v1::NetworkPolicy>,
        ("scheduling.k8s.io", "PriorityClass") => reads::<k8s::scheduling::v1::PriorityClass>,
        // resource.k8s.io/v1 is newer than the types in this build, so it is stored as received.
        _ => |_| Ok(()),
    };
    check(value)
}

/// The checks of `metadata` that all kinds share.
pub(crate) fn check_metadata(resource: &ResourceType, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let meta = &value["metadata"];
    match meta["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => {
            if let Err(why) = check_name(resource.name_rule, name) {
                errors.push(FieldError::invalid("metadata.name", name, why));
            }
        }
    }
    for (key, label) in meta["labels"].as_object().into_iter().flatten() {
        if let Err(why) = selectors::check_label_key(key) {
            errors.push(FieldError::invalid("metadata.labels", key.as_str(), why));
        }
        if let Err(why) = selectors::check_label_value(label.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid("metadata.labels", label.clone(), why));
        }
    }
    for key in meta["annotations"].as_object().into_iter().flat_map(Map::keys) {
        if let Err(why) = selectors::check_label_key(&key.to_ascii_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), why));
        }
    }
    errors
}

fn check_name(rule: NameRule, name: &str) -> Result<(), &'static str> {
    match rule {
        NameRule::Subdomain if selectors::is_dns_subdomain(name) => Ok(()),
        NameRule::Label if selectors::is_dns_label(name) => Ok(()),
        NameRule::PathSegment if !matches!(name, "." | "..") && !name.contains(['/', '%']) => Ok(()),
        NameRule::PathSegment => Err("may not be '.' or '..', nor contain '/' or '%'"),
        NameRule::Subdomain => Err(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                 and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        NameRule::Label => Err(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;
    use serde_json::json;

    fn pod(spec: Value) -> Result<Value, ApiError> {
        checked(resource::stored_as(resource::PODS), json!({"metadata": {"name": "p"}, "spec": spec}))
    }

    #[test]
    fn a_number_is_a_quantity_and_nonsense_is_not() {
        let stored =
            pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": 2}}}]})).unwrap();
        assert_eq!(stored["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
        let error = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "lots"}}}]}))
            .unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.contains("quantities must match"), "{}", error.message);
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn an_object_that_is_too_deep_to_be_read_in_a_list_is_refused() {
        assert!(!is_deeper(&nested(3), 3) && is_deeper(&nested(4), 3) && !is_deeper(&json!("a"), 0));
        let config_map = |levels| {
            let value = json!({ "metadata": { "name": "a" }, "more": nested(levels) });
            checked(resource::find("", "v1", "configmaps").unwrap(), value)
        };
        assert!(config_map(DEPTH_MAX - 1).is_ok());
        let error = config_map(DEPTH_MAX).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.contains("more than 100 levels deep"), "{}", error.message);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_a_bad_request_that_names_the_kind() {
        let error = pod(json!({"containers": "none"})).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.starts_with("Pod in version \"v1\" cannot be handled as a Pod: "), "{error}");
    }
}
