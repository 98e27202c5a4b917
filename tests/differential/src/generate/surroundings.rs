//! Namespaces, classes of priority, workloads and budgets.

use super::Generator;
use serde_json::{Map, Value, json};

impl Generator {
    pub(super) fn surroundings(&mut self) {
        for name in ["default", "team", "other"] {
            if name == "other" && self.chance(40) {
                continue;
            }
            let labels = self.some(60, &[("env", &["prod", "test"]), ("owner", &["a", "b"])]);
            self.add("v1", "Namespace", "", name, Value::Null)["metadata"]["labels"] = labels.into();
        }
        for (name, value) in [("low", -10), ("zero", 0), ("mid", 10), ("high", 1000)] {
            let policy =
                self.one(&["PreemptLowerPriority", "PreemptLowerPriority", "PreemptLowerPriority", "Never"]);
            let value = json!({"value": value, "preemptionPolicy": policy});
            self.add("scheduling.k8s.io/v1", "PriorityClass", "", name, value);
        }
        if self.chance(self.mix.workloads) {
            self.workloads();
        }
        if self.chance(self.mix.budgets) {
            for i in 0..1 + self.random.below(3) {
                self.budget(i);
            }
        }
    }

    pub(super) fn labels(&mut self) -> Map<String, Value> {
        self.some(65, &[("app", &["a", "b"]), ("tier", &["web", "db"])])
    }

    fn workloads(&mut self) {
        for i in 0..self.random.below(3) {
            let namespace = self.one(&["default", "default", "team"]);
            let mut spec = json!({"ports": [{"port": 80}]});
            if !self.chance(10) {
                spec["selector"] = self.labels().into();
            }
            self.add("v1", "Service", namespace, &format!("service-{i}"), json!({"spec": spec}));
        }
        for (version, kind, name) in [
            ("apps/v1", "ReplicaSet", "set"),
            ("apps/v1", "StatefulSet", "stateful"),
            ("v1", "ReplicationController", "controller"),
        ] {
            if !self.chance(60) {
                continue;
            }
            let mut labels = self.labels();
            if labels.is_empty() {
                labels.insert("app".to_owned(), "a".into());
            }
            let selector = match kind {
                "ReplicationController" => json!(labels),
                _ if self.chance(25) => json!({
                    "matchLabels": labels,
                    "matchExpressions": [{"key": "app", "operator": "In", "values": [labels.get("app").cloned().unwrap_or("a".into())]}],
                }),
                _ => json!({"matchLabels": labels}),
            };
            if selector.get("matchExpressions").is_some() {
                labels.entry("app").or_insert("a".into());
            }
            let mut spec = json!({
                "selector": selector,
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            });
            if kind == "StatefulSet" {
                spec["serviceName"] = "s".into();
            }
            let namespace = self.one(&["default", "default", "team"]);
            self.add(version, kind, namespace, name, json!({"spec": spec}));
        }
    }

    fn budget(&mut self, number: usize) {
        let namespace = self.one(&["default", "default", "default", "team"]);
        let mut spec = json!({"minAvailable": 1});
        match self.random.below(10) {
            0 => {}
            1 => spec["selector"] = json!({}),
            2 => {
                spec["selector"] = json!({"matchExpressions": [{"key": "tier", "operator": self.one(&["Exists", "DoesNotExist"])}]})
            }
            _ => spec["selector"] = json!({"matchLabels": self.labels()}),
        }
        let allowed = self.random.below(3);
        let mut status = json!({
            "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3,
        });
        if self.chance(20) {
            status["disruptedPods"] =
                json!({ format!("run-{}", self.random.below(6)): "2026-01-01T00:00:00Z" });
        }
        let budget = json!({"spec": spec, "status": status});
        self.add("policy/v1", "PodDisruptionBudget", namespace, &format!("budget-{number}"), budget);
    }
}
