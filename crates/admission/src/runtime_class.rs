//! The RuntimeClass admission plugin: the overhead of a pod's runtime, and the nodes that have the runtime.

use serde_json::{Value, json};

use crate::{Cluster, Quantity};

/// Applies the pod's class. An overhead without a class is left as it is.
pub(crate) fn apply(spec: &mut Value, cluster: &impl Cluster) -> Result<(), String> {
    let Some(name) = spec["runtimeClassName"].as_str().filter(|name| !name.is_empty()) else { return Ok(()) };
    let class = cluster
        .runtime_class(name)
        .ok_or_else(|| format!("pod rejected: RuntimeClass \"{name}\" not found"))?;
    let overhead = &class["overhead"]["podFixed"];
    if overhead.is_object() {
        if spec["overhead"].is_object() && !is_same(&spec["overhead"], overhead) {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()
            );
        }
        spec["overhead"] = overhead.clone();
    }
    select_nodes(spec, &class["scheduling"]["nodeSelector"])?;
    let tolerations = class["scheduling"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !tolerations.is_empty() {
        let own = spec["tolerations"].as_array().cloned().unwrap_or_default();
        let added: Vec<Value> = tolerations.iter().filter(|t| !own.contains(t)).cloned().collect();
        spec["tolerations"] = own.into_iter().chain(added).collect();
    }
    Ok(())
}

fn is_same(a: &Value, b: &Value) -> bool {
    let names = |map: &Value| map.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let same = |(name, quantity): (&String, &Value)| Quantity::of(quantity) == Quantity::of(&b[name]);
    names(a) == names(b) && a.as_object().into_iter().flatten().all(same)
}

fn select_nodes(spec: &mut Value, selector: &Value) -> Result<(), String> {
    for (key, value) in selector.as_object().into_iter().flatten() {
        if !spec["nodeSelector"].is_object() {
            spec["nodeSelector"] = json!({});
        }
        let own = &mut spec["nodeSelector"][key];
        if !own.is_null() && own != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(own)
            ));
        }
        *own = value.clone();
    }
    Ok(())
}
