//! StatefulSets: numbered pods, each with its own claims, created in order or all at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::revisions::REVISION_HASH;
use super::{BURST, Controller, is_over, is_ready, label, pod_of};
use crate::error::ApiError;
use crate::object::Object;
use crate::resource::{CLAIMS, PODS, STATEFUL_SETS};

impl Controller {
    pub(super) fn reconcile_stateful_set(&mut self, object: &Object) {
        let set = object.value();
        if self.rests(object, &set) {
            return;
        }
        let hash = self.keep_revision(object, &set);
        let spec = &set["spec"];
        let first = spec["ordinals"]["start"].as_u64().unwrap_or(0);
        let end = first + spec["replicas"].as_u64().unwrap_or(1);
        let in_order = spec["podManagementPolicy"] != "Parallel";
        // Including those that are being deleted: a name is only free when its pod is gone.
        let mut pods: BTreeMap<u64, Arc<Object>> = BTreeMap::new();
        for pod in self.of(PODS).owned_by(&self.api, &object.uid) {
            if let Some(ordinal) = ordinal_of(&pod, &object.name) {
                pods.insert(ordinal, pod);
            }
        }
        let failure = self.create_missing(object, &set, &hash, &pods, first..end, in_order);
        if failure.is_none() {
            self.delete_surplus(&pods, first..end, in_order);
            self.delete_outdated(&set, &hash, &pods, first..end, in_order);
        }
        let count = |keep: &dyn Fn(&Object) -> bool| pods.values().filter(|p| !p.deleting && keep(p)).count();
        let ready = count(&is_ready);
        let updated = count(&|pod| label(pod, REVISION_HASH) == Some(&hash));
        let mut status = json!({
            "replicas": count(&|_| true), "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": updated, "currentReplicas": updated,
            "currentRevision": format!("{}-{hash}", object.name),
            "updateRevision": format!("{}-{hash}", object.name),
            "observedGeneration": set["metadata"]["generation"], "collisionCount": 0,
        });
        if let Some(error) = failure {
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message }]);
        }
        self.write_status(STATEFUL_SETS, object, &status);
    }

    fn create_missing(
        &mut self,
        object: &Object,
        set: &Value,
        hash: &str,
        pods: &BTreeMap<u64, Arc<Object>>,
        ordinals: std::ops::Range<u64>,
        in_order: bool,
    ) -> Option<ApiError> {
        let mut created = 0;
        for ordinal in ordinals {
            match pods.get(&ordinal) {
                None => {
                    if let Err(error) = self.create_ordinal(object, set, hash, ordinal) {
                        return Some(error);
                    }
                    created += 1;
                    if in_order || created == BURST {
                        return None;
                    }
                }
                Some(pod) if is_over(pod) && !pod.deleting => self.delete(PODS, pod),
                // Its successors wait for it.
                Some(pod) if in_order && !is_ready(pod) => return None,
                Some(_) => {}
            }
        }
        None
    }

    fn create_ordinal(
        &mut self,
        object: &Object,
        set: &Value,
        hash: &str,
        ordinal: u64,
    ) -> Result<(), ApiError> {
        let name = format!("{}-{ordinal}", object.name);
        let mut pod = pod_of(set, &set["spec"]["template"]);
        let meta = &mut pod["metadata"];
        meta["name"] = Value::from(name.as_str());
        meta["labels"][REVISION_HASH] = Value::from(hash);
        meta["labels"]["statefulset.kubernetes.io/pod-name"] = Value::from(name.as_str());
        meta["labels"]["apps.kubernetes.io/pod-index"] = Value::from(ordinal.to_string());
        pod["spec"]["hostname"] = Value::from(name.as_str());
        if set["spec"]["serviceName"].is_string() {
            pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
        }
        for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let volume = template["metadata"]["name"].as_str().unwrap_or_default();
            let claim_name = format!("{volume}-{name}");
            let volumes = &mut pod["spec"]["volumes"];
            if !volumes.is_array() {
                *volumes = json!([]);
            }
            if let Value::Array(volumes) = volumes {
                volumes.retain(|known| known["name"] != volume);
                volumes.push(json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim_name } }));
            }
            let mut claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": claim_name, "labels": set["spec"]["selector"]["matchLabels"] },
                "spec": template["spec"],
            });
            if template["metadata"]["annotations"].is_object() {
                claim["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
            }
            match self.create(CLAIMS, &object.namespace, claim) {
                // The claim of an earlier pod with this name is reused.
                Err(error) if error.reason != "AlreadyExists" => return Err(error),
                _ => {}
            }
        }
        self.create_pod(object, pod)
    }

    /// From the highest number down.
    fn delete_surplus(
        &self,
        pods: &BTreeMap<u64, Arc<Object>>,
        ordinals: std::ops::Range<u64>,
        in_order: bool,
    ) {
        for (_, pod) in pods.iter().rev().filter(|(ordinal, _)| !ordinals.contains(ordinal)) {
            if !pod.deleting {
                self.delete(PODS, pod);
            }
            if in_order {
                return;
            }
        }
    }

    /// Deletes pods of an earlier template, from the highest number down to the partition, one at a time.
    fn delete_outdated(
        &self,
        set: &Value,
        hash: &str,
        pods: &BTreeMap<u64, Arc<Object>>,
        ordinals: std::ops::Range<u64>,
        in_order: bool,
    ) {
        let strategy = &set["spec"]["updateStrategy"];
        if strategy["type"] == "OnDelete" {
            return;
        }
        let partition = strategy["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
        for (ordinal, pod) in pods.iter().rev().filter(|(ordinal, _)| ordinals.contains(ordinal)) {
            if *ordinal < partition {
                return;
            }
            if label(pod, REVISION_HASH) != Some(hash) {
                if !pod.deleting {
                    self.delete(PODS, pod);
                }
                return;
            }
            if in_order && !is_ready(pod) {
                return;
            }
        }
    }
}

fn ordinal_of(pod: &Object, set: &str) -> Option<u64> {
    pod.name.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}
