//! The part of the LimitRanger admission plugin that fills in default requests and limits of containers.

use serde_json::{Map, Value};

use crate::pod::fill;

/// Gives the containers the defaults of the namespace's ranges, in order.
pub(crate) fn default_resources(spec: &mut Value, ranges: &[Value]) {
    for range in ranges {
        let (requests, limits) = defaults(range);
        for field in ["initContainers", "containers"] {
            let Some(containers) = spec.get_mut(field).and_then(Value::as_array_mut) else { continue };
            for container in containers.iter_mut().filter(|container| container.is_object()) {
                fill(&mut container["resources"], "limits", limits.clone());
                fill(&mut container["resources"], "requests", requests.clone());
            }
        }
    }
}

/// Requests and limits that a range gives to containers. Unless stated, a default limit is the maximum, and a default
/// request is the default limit or else the minimum: this is how the API server stores a LimitRange.
fn defaults(range: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    let items = range["spec"]["limits"].as_array().into_iter().flatten();
    for item in items.filter(|item| item["type"] == "Container") {
        let map = |field: &str| item[field].as_object().cloned().unwrap_or_default();
        let mut limit = map("default");
        let mut request = map("defaultRequest");
        let add = |from: Map<String, Value>, to: &mut Map<String, Value>| {
            for (name, quantity) in from {
                to.entry(name).or_insert(quantity);
            }
        };
        add(map("max"), &mut limit);
        add(limit.clone(), &mut request);
        add(map("min"), &mut request);
        limits.extend(limit);
        requests.extend(request);
    }
    (requests, limits)
}
