//! The columns of workloads.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, has_condition, list, number, or, strings, text};
use crate::time;

pub(super) const REPLICA_SET: &[Column] = &[
    ("Name", "string", false),
    ("Desired", "integer", false),
    ("Current", "integer", false),
    ("Ready", "integer", false),
    ("Age", "string", false),
    ("Containers", "string", true),
    ("Images", "string", true),
    ("Selector", "string", true),
];
pub(super) const DEPLOYMENT: &[Column] = &[
    ("Name", "string", false),
    ("Ready", "string", false),
    ("Up-to-date", "string", false),
    ("Available", "string", false),
    ("Age", "string", false),
    ("Containers", "string", true),
    ("Images", "string", true),
    ("Selector", "string", true),
];
pub(super) const STATEFUL_SET: &[Column] = &[
    ("Name", "string", false),
    ("Ready", "string", false),
    ("Age", "string", false),
    ("Containers", "string", true),
    ("Images", "string", true),
];
pub(super) const DAEMON_SET: &[Column] = &[
    ("Name", "string", false),
    ("Desired", "integer", false),
    ("Current", "integer", false),
    ("Ready", "integer", false),
    ("Up-to-date", "integer", false),
    ("Available", "integer", false),
    ("Node Selector", "string", false),
    ("Age", "string", false),
    ("Containers", "string", true),
    ("Images", "string", true),
    ("Selector", "string", true),
];
pub(super) const JOB: &[Column] = &[
    ("Name", "string", false),
    ("Status", "string", false),
    ("Completions", "string", false),
    ("Duration", "string", false),
    ("Age", "string", false),
    ("Containers", "string", true),
    ("Images", "string", true),
    ("Selector", "string", true),
];
pub(super) const CRON_JOB: &[Column] = &[
    ("Name", "string", false),
    ("Schedule", "string", false),
    ("Timezone", "string", false),
    ("Suspend", "boolean", false),
    ("Active", "integer", false),
    ("Last Schedule", "string", false),
    ("Age", "string", false),
];
fn template_cells(object: &Value) -> [String; 3] {
    let containers = list(&object["spec"]["template"]["spec"]["containers"]);
    let join = |field: &str| containers.iter().map(|c| text(&c[field])).collect::<Vec<_>>().join(",");
    let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", text(v)))
        .collect();
    [join("name"), join("image"), selector.join(",")]
}

pub(super) fn replica_set(object: &Value, name: String, age: String) -> Vec<Value> {
    let mut cells: Vec<Value> = vec![
        name.into(),
        number(&object["spec"]["replicas"]).into(),
        number(&object["status"]["replicas"]).into(),
        number(&object["status"]["readyReplicas"]).into(),
        age.into(),
    ];
    cells.extend(template_cells(object).map(Value::from));
    cells
}

pub(super) fn deployment(object: &Value, name: String, age: String) -> Vec<Value> {
    let status = &object["status"];
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&object["spec"]["replicas"]));
    let mut cells = strings([
        name,
        ready,
        number(&status["updatedReplicas"]).to_string(),
        number(&status["availableReplicas"]).to_string(),
        age,
    ]);
    cells.extend(template_cells(object).map(Value::from));
    cells
}

pub(super) fn daemon_set(object: &Value, name: String, age: String) -> Vec<Value> {
    let mut cells: Vec<Value> = vec![name.into()];
    for field in [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ] {
        cells.push(number(&object["status"][field]).into());
    }
    let selector = object["spec"]["template"]["spec"]["nodeSelector"].as_object();
    let selector: Vec<String> =
        selector.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    cells.push(if selector.is_empty() { "<none>".to_owned() } else { selector.join(",") }.into());
    cells.push(age.into());
    cells.extend(template_cells(object).map(Value::from));
    cells
}

pub(super) fn job(object: &Value, name: String, age: String, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let word = if has_condition(object, "Complete") {
        "Complete"
    } else if has_condition(object, "Failed") {
        "Failed"
    } else if spec["suspend"] == true {
        "Suspended"
    } else {
        "Running"
    };
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let end = status["completionTime"].as_str().and_then(|at| at.parse().ok()).unwrap_or(now);
    let duration = match status["startTime"].as_str() {
        Some(at) => time::age(Some(at), end),
        None => String::new(),
    };
    let mut cells = strings([name, word.to_owned(), completions, duration, age]);
    cells.extend(template_cells(object).map(Value::from));
    cells
}

pub(super) fn stateful_set(object: &Value, name: String, age: String) -> Vec<Value> {
    let ready =
        format!("{}/{}", number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]));
    let [containers, images, _] = template_cells(object);
    strings([name, ready, age, containers, images])
}

pub(super) fn cron_job(object: &Value, name: String, age: String, now: Timestamp) -> Vec<Value> {
    vec![
        name.into(),
        text(&object["spec"]["schedule"]).into(),
        or(&object["spec"]["timeZone"], "<none>").into(),
        (object["spec"]["suspend"] == true).into(),
        list(&object["status"]["active"]).len().into(),
        match object["status"]["lastScheduleTime"].as_str() {
            Some(at) => time::age(Some(at), now),
            None => "<none>".to_owned(),
        }
        .into(),
        age.into(),
    ]
}
