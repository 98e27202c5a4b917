//! What the API server checks and fills in for workloads, in addition to their defaults.

use serde_json::{Value, json};

use super::cron_jobs;
use crate::error::FieldError;
use crate::pods;
use crate::selectors::LabelSelector;

/// Gives a workload that is being created its first status, and a Job the selector with which it finds its pods.
pub(crate) fn settle(kind: &str, value: &mut Value) {
    value["status"] = match kind {
        "ReplicaSet" | "Deployment" | "StatefulSet" => json!({ "replicas": 0 }),
        "DaemonSet" => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0 }),
        _ => json!({}),
    };
    if kind == "Job" && value["spec"]["manualSelector"] != true {
        let uid = value["metadata"]["uid"].clone();
        let name = value["metadata"]["name"].clone();
        let labels = &mut value["spec"]["template"]["metadata"]["labels"];
        for prefix in ["", "batch.kubernetes.io/"] {
            labels[format!("{prefix}controller-uid")] = uid.clone();
            labels[format!("{prefix}job-name")] = name.clone();
        }
        value["spec"]["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
    }
}

/// The field errors of a workload.
pub(crate) fn validate(kind: &str, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &value["spec"];
    match kind {
        "Job" => check_job("spec", spec, &mut errors),
        "CronJob" => {
            if spec["schedule"].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required("spec.schedule", ""));
            } else if let Err(why) = cron_jobs::parse(spec) {
                errors.push(FieldError::invalid("spec.schedule", spec["schedule"].clone(), why));
            }
            check_job("spec.jobTemplate.spec", &spec["jobTemplate"]["spec"], &mut errors);
        }
        _ => {
            check_not_negative("spec", spec, "replicas", &mut errors);
            check_selector(kind, spec, &mut errors);
            check_restarts("spec", spec, &["Always"], &mut errors);
        }
    }
    errors
}

fn check_job(path: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    for field in ["completions", "parallelism", "backoffLimit"] {
        check_not_negative(path, spec, field, errors);
    }
    if spec["completionMode"] == "Indexed" && spec["completions"].is_null() {
        errors.push(FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
    check_restarts(path, spec, &["OnFailure", "Never"], errors);
}

fn check_not_negative(path: &str, spec: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = spec[field].as_i64().filter(|number| *number < 0) {
        let path = format!("{path}.{field}");
        errors.push(FieldError::invalid(path, number, "must be greater than or equal to 0"));
    }
}

fn check_restarts(path: &str, spec: &Value, supported: &[&str], errors: &mut Vec<FieldError>) {
    if let Some(policy) =
        spec["template"]["spec"]["restartPolicy"].as_str().filter(|p| !supported.contains(p))
    {
        let path = format!("{path}.template.spec.restartPolicy");
        errors.push(FieldError::not_supported(path, policy, supported));
    }
}

fn check_selector(kind: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    if !spec["selector"].is_object() {
        errors.push(FieldError::required("spec.selector", ""));
        return;
    }
    pods::check_selector("spec.selector", &spec["selector"], errors);
    let mut labels: Vec<(Box<str>, Box<str>)> = spec["template"]["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into()))
        .collect();
    labels.sort_unstable();
    let selector = LabelSelector::from_object(&spec["selector"]);
    if selector.is_empty() {
        errors.push(FieldError::invalid(
            "spec.selector",
            spec["selector"].clone(),
            format!("empty selector is invalid for {}", kind.to_lowercase()),
        ));
    } else if !selector.matches(&labels) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            spec["template"]["metadata"]["labels"].clone(),
            "`selector` does not match template `labels`",
        ));
    }
}
