//! ReplicaSets: a number of pods from one template.

use serde_json::json;

use super::{BURST, Controller, by_worth, generated_pod_of, is_over, is_ready};
use crate::object::Object;
use crate::resource::{PODS, REPLICA_SETS};

impl Controller {
    pub(super) fn reconcile_replica_set(&mut self, object: &Object) {
        let set = object.value();
        if self.rests(object, &set) {
            return;
        }
        let mut pods = self.pods_of(&object.uid);
        pods.retain(|p| !is_over(p));
        let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let ready = pods.iter().filter(|p| is_ready(p)).count();
        let mut failure = None;
        if pods.len() < wanted {
            for _ in 0..(wanted - pods.len()).min(BURST) {
                if let Err(error) = self.create_pod(object, generated_pod_of(&set, &set["spec"]["template"]))
                {
                    failure = Some(error);
                    break;
                }
            }
        } else if pods.len() > wanted {
            by_worth(&mut pods);
            for pod in pods.iter().take((pods.len() - wanted).min(BURST)) {
                self.delete(PODS, pod);
            }
        }
        let mut status = json!({
            "replicas": pods.len(), "fullyLabeledReplicas": pods.len(), "readyReplicas": ready,
            "availableReplicas": ready, "observedGeneration": set["metadata"]["generation"],
        });
        if let Some(error) = failure {
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message }]);
        }
        self.write_status(REPLICA_SETS, object, &status);
    }
}
