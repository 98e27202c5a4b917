//! Pods: those that run and those that wait.

use super::Generator;
use serde_json::{Value, json};

impl Generator {
    pub(super) fn pod(&mut self, name: &str, assigned: bool) {
        let mut spec = json!({"schedulerName": "my-scheduler"});
        if assigned && self.chance(30) {
            spec["schedulerName"] = "default-scheduler".into();
        }
        self.containers(&mut spec);
        if self.chance(4) {
            self.features(&mut spec);
        }
        if let Some(affinity) = self.affinity() {
            spec["affinity"] = affinity;
        }
        let tolerations = self.tolerations();
        if !tolerations.is_empty() {
            spec["tolerations"] = tolerations.into();
        }
        if self.chance(self.mix.node_affinity / 3) {
            spec["nodeSelector"] = self.some(50, &[("disk", &["ssd", "hdd"]), ("rack", &["1", "2"])]).into();
        }
        let constraints = self.spread_constraints();
        if !constraints.is_empty() {
            spec["topologySpreadConstraints"] = constraints.into();
        }
        self.priority(&mut spec, assigned);
        let namespace = if self.chance(80) { "default" } else { self.one(&["team", "other", "nowhere"]) };
        let mut metadata = json!({});
        if self.chance(self.mix.volumes) {
            self.pod_volumes(name, namespace, &mut spec);
        }
        let mut status = json!({});
        if assigned {
            spec["nodeName"] = self.node_name().into();
            self.running(&spec, &mut metadata, &mut status);
        } else {
            self.waiting(&mut spec, &mut metadata, &mut status);
        }
        let mut labels = self.labels();
        if self.chance(45) {
            labels.insert("version".to_owned(), self.one(&["1", "2"]).into());
        }
        metadata["labels"] = labels.into();
        if self.chance(self.mix.workloads / 2) {
            metadata["ownerReferences"] = self.owners();
        }
        self.add_pod(namespace, name, metadata, json!({"spec": spec, "status": status}));
    }

    pub(super) fn add_pod(&mut self, namespace: &str, name: &str, metadata: Value, rest: Value) {
        let pod = self.add("v1", "Pod", namespace, name, rest);
        if let (Value::Object(all), Value::Object(more)) = (&mut pod["metadata"], metadata) {
            all.extend(more);
        }
    }

    fn owners(&mut self) -> Value {
        let (version, kind, name) = *self.random.element(&[
            ("apps/v1", "ReplicaSet", "set"),
            ("apps/v1", "ReplicaSet", "set"),
            ("apps/v1", "StatefulSet", "stateful"),
            ("v1", "ReplicationController", "controller"),
            ("v1", "ReplicationController", "controller"),
            ("apps/v1", "ReplicaSet", "gone"),
            ("batch/v1", "Job", "job"),
            // Some pod is its own owner.
            ("v1", "Pod", "wait-0"),
        ]);
        let controls = self.chance(85);
        json!([{"apiVersion": version, "kind": kind, "name": name, "uid": "owner", "controller": controls}])
    }

    fn priority(&mut self, spec: &mut Value, assigned: bool) {
        if !self.chance(self.mix.priorities) {
            return;
        }
        match self.random.below(20) {
            0 => spec["priority"] = json!(*self.random.element(&[i32::MIN, i32::MAX, -1, 1, 11])),
            1 => spec["priorityClassName"] = "system-node-critical".into(),
            _ => {
                let class = if assigned {
                    self.one(&["low", "low", "zero", "mid"])
                } else {
                    self.one(&["zero", "mid", "high", "high"])
                };
                spec["priorityClassName"] = class.into();
            }
        }
    }

    fn start_time(&mut self) -> Option<String> {
        let minute = self.random.below(4);
        self.chance(88).then(|| format!("2026-01-01T00:0{minute}:00Z"))
    }

    fn running(&mut self, spec: &Value, metadata: &mut Value, status: &mut Value) {
        status["phase"] = "Running".into();
        if let Some(time) = self.start_time() {
            status["startTime"] = time.into();
        }
        if self.chance(self.mix.odd_pods / 2) {
            self.resized(spec, status);
        }
        if self.chance(self.mix.terminating) {
            self.terminating(metadata);
            if self.chance(40) {
                let reason =
                    self.one(&["PreemptionByScheduler", "PreemptionByScheduler", "EvictionByEvictionAPI"]);
                status["conditions"] =
                    json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]);
            }
        }
        if self.chance(3) {
            status["phase"] = self.one(&["Succeeded", "Failed"]).into();
        }
    }

    fn waiting(&mut self, spec: &mut Value, metadata: &mut Value, status: &mut Value) {
        if self.chance(6) {
            spec["schedulerName"] = self.one(&["other", "default-scheduler"]).into();
        }
        if self.chance(self.mix.nominated) {
            status["nominatedNodeName"] = self.node_name().into();
        }
        if self.chance(4) {
            spec["schedulingGates"] = json!([{"name": "example.com/wait"}]);
        }
        if self.chance(self.mix.terminating / 3) {
            self.terminating(metadata);
        }
    }

    pub(super) fn terminating(&mut self, metadata: &mut Value) {
        metadata["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
        metadata["deletionGracePeriodSeconds"] = 30.into();
    }
}
