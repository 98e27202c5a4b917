//! The pods that a playground creates if the user gives none.

use serde_json::{Value, json};

/// The templates that they are made from, in rotation: name, CPU and memory.
const TEMPLATES: [(&str, &str, &str); 3] =
    [("web", "250m", "256Mi"), ("api", "500m", "512Mi"), ("batch", "1", "1Gi")];

/// The path to which they are posted.
pub(super) const PATH: &str = "/api/v1/namespaces/default/pods";

/// The pod with this number. The scheduler names (at least one) are used in rotation.
pub(super) fn pod(index: u64, scheduler_names: &[String]) -> Value {
    let (app, cpu, memory) = TEMPLATES[turn(index, TEMPLATES.len())];
    // Each name gets pods of all templates.
    let scheduler_name = &scheduler_names[turn(index / TEMPLATES.len() as u64, scheduler_names.len())];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("{app}-{index:05}"), "labels": { "app": app } },
        "spec": {
            "schedulerName": scheduler_name,
            "containers": [{
                "name": "main",
                "image": format!("example.invalid/{app}:1"),
                "resources": { "requests": { "cpu": cpu, "memory": memory } },
            }],
        },
    })
}

fn turn(index: u64, count: usize) -> usize {
    usize::try_from(index % count as u64).expect("less than a count that is a usize")
}
