//! `pods/binding`: the compare-and-set that makes a placement real.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::precondition_failed;
use crate::error::{ApiError, FieldError};
use crate::object::Object;
use crate::resource::{self, POD_NODE_NAME, PODS};
use crate::store::Transaction;

/// A Binding, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub pod: String,
    pub uid: String,
    pub resource_version: String,
    pub node: String,
    annotations: Vec<(String, Value)>,
    labels: Vec<(String, Value)>,
}

impl Binding {
    /// Reads and checks the body. `name` is the pod in the URL; empty for the legacy `bindings` resource.
    pub(crate) fn parse(body: &Value, name: &str) -> Result<Binding, ApiError> {
        let meta = &body["metadata"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let pairs = |v: &Value| -> Vec<(String, Value)> {
            v.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        if let Some(kind) = body["kind"].as_str().filter(|k| *k != "Binding") {
            return Err(ApiError::bad_request(format!(
                "the kind in the data ({kind}) does not match the expected kind (Binding)"
            )));
        }
        let pod = text(&meta["name"]);
        if !name.is_empty() && pod != name {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        let target = &body["target"];
        // Upstream answers these two with 500 and no reason.
        let refuse = |error: FieldError| ApiError::new(500, "", error.to_string());
        if let Some(kind) = target["kind"].as_str().filter(|k| !matches!(*k, "" | "Node")) {
            return Err(refuse(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"])));
        }
        let node = text(&target["name"]);
        if node.is_empty() {
            return Err(refuse(FieldError::required("target.name", "")));
        }
        Ok(Binding {
            pod,
            uid: text(&meta["uid"]),
            resource_version: text(&meta["resourceVersion"]),
            node,
            annotations: pairs(&meta["annotations"]),
            labels: pairs(&meta["labels"]),
        })
    }
}

/// Binds if every precondition holds. As upstream, it does not check the node.
pub(crate) fn bind(
    tx: &mut Transaction,
    namespace: &str,
    binding: &Binding,
    dry_run: bool,
) -> Result<Arc<Object>, ApiError> {
    let name = binding.pod.as_str();
    let current = tx.get(PODS, namespace, name).ok_or_else(|| ApiError::not_found("", "pods", name))?;
    let precondition = |what: &str, wanted: &str, found: &str| {
        let why = precondition_failed(resource::stored_as(PODS), current, what, wanted, found);
        ApiError::conflict("", "pods", name, &why)
    };
    let conflict = |why: String| ApiError::conflict("", "pods/binding", name, &why);
    if !binding.uid.is_empty() && binding.uid != *current.uid {
        return Err(precondition("UID", &binding.uid, &current.uid));
    }
    let version = current.version.to_string();
    if !binding.resource_version.is_empty() && binding.resource_version != version {
        return Err(precondition("ResourceVersion", &binding.resource_version, &version));
    }
    if current.deleting {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let node = &current.fields[POD_NODE_NAME];
    if !node.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node \"{node}\"")));
    }
    let current = Arc::clone(current);
    let mut pod = current.value();
    if pod["spec"].get("schedulingGates").and_then(Value::as_array).is_some_and(|g| !g.is_empty()) {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    if dry_run {
        return Ok(current);
    }
    pod["spec"]["nodeName"] = Value::from(binding.node.as_str());
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    for (key, value) in &binding.annotations {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    for (key, value) in &binding.labels {
        pod["metadata"]["labels"][key] = value.clone();
    }
    let now = tx.clock().now_seconds();
    super::set_condition(&mut pod, json!({ "type": "PodScheduled", "status": "True" }), &now);
    Ok(tx.put(PODS, pod))
}
