//! Workloads: their own defaults, and those of the pods in their templates.
//!
//! A template gets less than a pod: requests, host ports and priority are filled in for each pod that is made from it.

use serde_json::{Value, json};

use crate::pod::{default_template_spec, set_default};

/// The pod template of a workload, by its kind; `None` for kinds without one.
pub fn pod_template(workload: &Value) -> Option<&Value> {
    let template = match workload["kind"].as_str()? {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            &workload["spec"]["template"]
        }
        "CronJob" => &workload["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template.is_object().then_some(template)
}

/// Fills in what the API server fills in when a workload is created. `kind` is its kind, since objects in lists do not
/// name theirs.
///
/// Sources: `pkg/apis/{apps,batch}/v1/defaults.go` of Kubernetes.
pub fn default_workload(kind: &str, workload: &mut Value) {
    if !workload["spec"].is_object() {
        workload["spec"] = json!({});
    }
    let spec = &mut workload["spec"];
    match kind {
        "Deployment" => {
            set_default(spec, "replicas", 1);
            set_default(spec, "strategy", json!({ "type": "RollingUpdate" }));
            set_default(&mut spec["strategy"], "type", "RollingUpdate");
            if spec["strategy"]["type"] == "RollingUpdate" {
                set_default(&mut spec["strategy"], "rollingUpdate", json!({}));
                for field in ["maxSurge", "maxUnavailable"] {
                    set_default(&mut spec["strategy"]["rollingUpdate"], field, "25%");
                }
            }
            set_default(spec, "revisionHistoryLimit", 10);
            set_default(spec, "progressDeadlineSeconds", 600);
        }
        "ReplicaSet" | "ReplicationController" => set_default(spec, "replicas", 1),
        "StatefulSet" => {
            set_default(spec, "replicas", 1);
            set_default(spec, "podManagementPolicy", "OrderedReady");
            set_default(spec, "revisionHistoryLimit", 10);
            set_default(spec, "updateStrategy", json!({ "type": "RollingUpdate" }));
            set_default(&mut spec["updateStrategy"], "type", "RollingUpdate");
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                set_default(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
                set_default(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
            }
            let retain = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
            set_default(spec, "persistentVolumeClaimRetentionPolicy", retain);
        }
        "DaemonSet" => {
            set_default(spec, "revisionHistoryLimit", 10);
            set_default(spec, "updateStrategy", json!({ "type": "RollingUpdate" }));
            set_default(&mut spec["updateStrategy"], "type", "RollingUpdate");
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                set_default(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
                set_default(&mut spec["updateStrategy"]["rollingUpdate"], "maxSurge", 0);
                set_default(&mut spec["updateStrategy"]["rollingUpdate"], "maxUnavailable", 1);
            }
        }
        "Job" => default_job(spec),
        "CronJob" => {
            set_default(spec, "concurrencyPolicy", "Allow");
            set_default(spec, "suspend", false);
            set_default(spec, "successfulJobsHistoryLimit", 3);
            set_default(spec, "failedJobsHistoryLimit", 1);
            default_template(&mut spec["jobTemplate"]["spec"]["template"]);
            return;
        }
        _ => return,
    }
    default_template(&mut spec["template"]);
}

fn default_job(spec: &mut Value) {
    // Without either, both are 1; with one of them, the other stays unset.
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = Value::from(1);
    }
    set_default(spec, "parallelism", 1);
    set_default(spec, "backoffLimit", 6);
    set_default(spec, "completionMode", "NonIndexed");
    set_default(spec, "suspend", false);
    set_default(spec, "manualSelector", false);
    set_default(spec, "podReplacementPolicy", "TerminatingOrFailed");
}

fn default_template(template: &mut Value) {
    if !template["spec"].is_object() {
        template["spec"] = json!({});
    }
    default_template_spec(&mut template["spec"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gets_the_defaults_of_templates_and_not_those_of_pods() {
        let container = json!({ "name": "c", "image": "i", "resources": { "limits": { "cpu": "1" } } });
        let mut set = json!({ "kind": "StatefulSet", "spec": { "template": { "spec": { "containers": [container] } } } });
        default_workload("StatefulSet", &mut set);
        let template = pod_template(&set).expect("a StatefulSet has a template");
        assert_eq!(template["spec"]["schedulerName"], "default-scheduler");
        assert!(template["spec"].get("priority").is_none());
        assert!(template["spec"]["containers"][0]["resources"].get("requests").is_none());
        assert_eq!(
            (&set["spec"]["replicas"], &set["spec"]["podManagementPolicy"]),
            (&json!(1), &json!("OrderedReady"))
        );
    }

    #[test]
    fn a_job_that_states_its_parallelism_only_completes_when_its_pods_say_so() {
        let completions = |spec: Value| {
            let mut job = json!({ "kind": "Job", "spec": spec });
            default_workload("Job", &mut job);
            (job["spec"]["completions"].clone(), job["spec"]["parallelism"].clone())
        };
        assert_eq!(completions(json!({})), (json!(1), json!(1)));
        assert_eq!(completions(json!({ "parallelism": 3 })), (Value::Null, json!(3)));
        assert_eq!(completions(json!({ "completions": 3 })), (json!(3), json!(1)));
    }

    #[test]
    fn kinds_without_a_template_are_left_alone() {
        let service = json!({ "kind": "Service", "spec": { "template": {} } });
        assert_eq!(pod_template(&service), None);
    }
}
