//! What kubelets write into the status of pods.

use serde_json::{Value, json};

use crate::pods;

/// The status of a pod whose containers are all running.
pub(super) fn set_running(pod: &mut Value, ip: u32, now: &str) {
    let containers = |field: &str| -> Vec<Value> {
        pod["spec"][field].as_array().into_iter().flatten().cloned().collect()
    };
    let statuses: Vec<Value> = containers("containers").iter().map(|c| container_status(c, now)).collect();
    let init: Vec<Value> = containers("initContainers").iter().map(|c| init_status(c, now)).collect();
    let status = &mut pod["status"];
    status["phase"] = Value::from("Running");
    status["startTime"] = Value::from(now);
    let ip = format!("10.{}.{}.{}", (ip >> 16) & 0xFF, (ip >> 8) & 0xFF, ip & 0xFF);
    status["podIP"] = Value::from(ip.as_str());
    status["podIPs"] = json!([{ "ip": ip }]);
    status["containerStatuses"] = Value::Array(statuses);
    if !init.is_empty() {
        status["initContainerStatuses"] = Value::Array(init);
    }
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
        pods::set_condition(pod, json!({ "type": kind, "status": "True" }), now);
    }
}

/// The status of a pod whose containers have all succeeded.
pub(super) fn set_succeeded(pod: &mut Value, now: &str) {
    pod["status"]["phase"] = Value::from("Succeeded");
    if let Some(statuses) = pod["status"]["containerStatuses"].as_array_mut() {
        for status in statuses {
            let started = status["state"]["running"]["startedAt"].clone();
            status["ready"] = Value::from(false);
            status["started"] = Value::from(false);
            status["state"] = json!({ "terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now } });
        }
    }
    for kind in ["Ready", "ContainersReady"] {
        let condition = json!({ "type": kind, "status": "False", "reason": "PodCompleted" });
        pods::set_condition(pod, condition, now);
    }
}

fn container_status(container: &Value, now: &str) -> Value {
    json!({
        "name": container["name"], "image": container["image"], "imageID": "", "ready": true, "started": true,
        "restartCount": 0, "state": { "running": { "startedAt": now } }, "lastState": {},
    })
}

fn init_status(container: &Value, now: &str) -> Value {
    if container["restartPolicy"] == "Always" {
        return container_status(container, now);
    }
    json!({
        "name": container["name"], "image": container["image"], "imageID": "", "ready": true, "started": false,
        "restartCount": 0, "lastState": {},
        "state": { "terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now } },
    })
}
