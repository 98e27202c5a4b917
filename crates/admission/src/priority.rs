//! The Priority admission plugin.

use serde_json::Value;

use crate::Cluster;

/// The class of pods that name none: the global default, and if there are several, the one with the lowest value.
pub fn default_of<'a>(classes: impl IntoIterator<Item = &'a Value>) -> Option<&'a Value> {
    let declared = classes.into_iter().filter(|class| class["globalDefault"] == true);
    declared.min_by_key(|class| class["value"].as_i64().unwrap_or(0))
}

/// Sets the priority and the preemption policy from the pod's class.
pub(crate) fn resolve(spec: &mut Value, cluster: &impl Cluster) -> Result<(), String> {
    let class = match spec["priorityClassName"].as_str().unwrap_or_default() {
        "" => cluster.default_priority_class(),
        name => Some(
            cluster
                .priority_class(name)
                .ok_or_else(|| format!("no PriorityClass with name {name} was found"))?,
        ),
    };
    let priority = class.as_ref().and_then(|c| c["value"].as_i64()).unwrap_or(0);
    let policy =
        class.as_ref().and_then(|c| c["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    if let Some(class) = &class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        ));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec["priority"] = Value::from(priority);
    spec["preemptionPolicy"] = Value::from(policy);
    Ok(())
}
