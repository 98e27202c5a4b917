//! Jobs: pods until enough of them have succeeded.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{BURST, Controller, by_worth, generated_pod_of};
use crate::object::Object;
use crate::resource::{JOBS, POD_PHASE, PODS};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

impl Controller {
    pub(super) fn reconcile_job(&mut self, object: &Object) {
        let job = object.value();
        if is_finished(&job) {
            return;
        }
        let pods = self.pods_of(&object.uid);
        let in_phase = |phase: &str| pods.iter().filter(|p| &*p.fields[POD_PHASE] == phase).count() as u64;
        let known = |field: &str| job["status"][field].as_u64().unwrap_or(0);
        // A pod that is deleted later still counts as succeeded.
        let indexed = job["spec"]["completionMode"] == "Indexed";
        let done: BTreeSet<u64> = pods
            .iter()
            .filter(|p| indexed && &*p.fields[POD_PHASE] == "Succeeded")
            .filter_map(|p| index_of(p))
            .collect();
        let succeeded =
            if indexed { done.len() as u64 } else { in_phase("Succeeded").max(known("succeeded")) };
        let failed = in_phase("Failed").max(known("failed"));
        let mut active: Vec<Arc<Object>> =
            pods.iter().filter(|p| matches!(&*p.fields[POD_PHASE], "Pending" | "Running")).cloned().collect();
        let completions = job["spec"]["completions"].as_u64();
        let parallelism = job["spec"]["parallelism"].as_u64().unwrap_or(1);
        let mut status = job["status"].clone();
        let now = self.api.store.read(|tx| tx.clock()).now_seconds();
        let complete = match completions {
            Some(completions) => succeeded >= completions,
            None => succeeded > 0 && active.is_empty(),
        };
        let given_up = failed > job["spec"]["backoffLimit"].as_u64().unwrap_or(6);
        let wanted = match completions {
            _ if complete || given_up || job["spec"]["suspend"] == true => 0,
            Some(completions) => parallelism.min(completions.saturating_sub(succeeded)),
            // The first success means that the work is done.
            None if succeeded > 0 => active.len() as u64,
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if active.len() > wanted {
            by_worth(&mut active);
            let surplus = active.len() - wanted;
            active.drain(..surplus).for_each(|pod| self.delete(PODS, &pod));
        }
        let mut failure = None;
        let mut taken: BTreeSet<u64> =
            done.iter().copied().chain(active.iter().filter_map(|p| index_of(p))).collect();
        for _ in active.len()..wanted.min(active.len() + BURST) {
            let index = indexed.then(|| (0..).find(|index| !taken.contains(index)).unwrap_or(0));
            taken.extend(index);
            failure = self.create_job_pod(object, &job, index).err();
            if failure.is_some() {
                break;
            }
        }
        status["active"] = Value::from(active.len());
        status["ready"] = Value::from(in_phase("Running"));
        status["succeeded"] = Value::from(succeeded);
        status["failed"] = Value::from(failed);
        if status["startTime"].is_null() && job["spec"]["suspend"] != true {
            status["startTime"] = Value::from(now.as_str());
        }
        let condition = |kind: &str, reason: &str, message: String| {
            json!([{ "type": kind, "status": "True", "reason": reason, "message": message,
                     "lastProbeTime": now, "lastTransitionTime": now }])
        };
        if complete {
            status["completionTime"] = Value::from(now.as_str());
            status["conditions"] = condition(
                "Complete",
                "CompletionsReached",
                "Reached expected number of succeeded pods".to_owned(),
            );
        } else if given_up {
            status["conditions"] = condition(
                "Failed",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit".to_owned(),
            );
        } else if let Some(error) = failure {
            status["conditions"] = json!([{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message }]);
        } else if let Some(status) = status.as_object_mut() {
            status.remove("conditions");
        }
        self.write_status(JOBS, object, &status);
    }

    fn create_job_pod(
        &mut self,
        object: &Object,
        job: &Value,
        index: Option<u64>,
    ) -> Result<(), crate::error::ApiError> {
        let mut pod = generated_pod_of(job, &job["spec"]["template"]);
        if let Some(index) = index {
            pod["metadata"]["generateName"] = Value::from(format!("{}-{index}-", object.name));
            pod["metadata"]["annotations"][INDEX] = Value::from(index.to_string());
            pod["metadata"]["labels"][INDEX] = Value::from(index.to_string());
        }
        self.create_pod(object, pod)
    }
}

fn index_of(pod: &Object) -> Option<u64> {
    super::label(pod, INDEX)?.parse().ok()
}

/// Whether it is complete or has failed for good.
pub(super) fn is_finished(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["status"] == "True" && (c["type"] == "Complete" || c["type"] == "Failed"))
}
