//! Pods as the API server treats them: defaults at creation, validation, what an update may change, binding.

mod admission;
pub(crate) mod binding;
mod update;
mod validation;

pub(crate) use admission::admit;
pub(crate) use update::check_update;
pub(crate) use validation::{check_selector, validate};

use serde_json::{Value, json};

/// Sets a condition; keeps lastTransitionTime if the status is unchanged.
pub(crate) fn set_condition(pod: &mut Value, mut condition: Value, now: &str) {
    let status = &mut pod["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Value::Array(conditions) = &mut status["conditions"] else { return };
    let found = conditions.iter_mut().find(|c| c["type"] == condition["type"]);
    let since = match &found {
        Some(old) if old["status"] == condition["status"] => old["lastTransitionTime"].clone(),
        _ => Value::from(now),
    };
    condition["lastTransitionTime"] = since;
    match found {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
