//! The status of a pod that has just been created.

use serde_json::{Map, Value, json};

use crate::{Quantity, all_containers};

/// Sets the first status of an admitted pod: pending, with its quality of service; `now` (RFC 3339) is the time from which a gated
/// pod counts as gated.
pub fn first_status(pod: &mut Value, now: &str) {
    let spec = &pod["spec"];
    let gated = spec["schedulingGates"].as_array().is_some_and(|g| !g.is_empty());
    let mut status = json!({ "phase": "Pending", "qosClass": qos_class(spec) });
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": now,
        }]);
    }
    pod["status"] = status;
}

/// Guaranteed, Burstable or BestEffort, by the rules of the kubelet and the API server.
fn qos_class(spec: &Value) -> &'static str {
    let pod_level = spec["resources"].as_object();
    let scopes: Vec<&Value> = match pod_level {
        Some(_) => vec![&spec["resources"]],
        None => all_containers(spec).map(|(_, c)| &c["resources"]).collect(),
    };
    let quantity =
        |map: &Map<String, Value>, name: &str| map.get(name).and_then(Quantity::of).filter(|q| q.units() > 0);
    let empty = Map::new();
    let mut any = false;
    let mut guaranteed = true;
    for resources in scopes {
        let requests = resources["requests"].as_object().unwrap_or(&empty);
        let limits = resources["limits"].as_object().unwrap_or(&empty);
        for name in ["cpu", "memory"] {
            let (request, limit) = (quantity(requests, name), quantity(limits, name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
