//! Nodes.

use super::{Generator, HOSTNAME, RACK, REGION, ZONE};
use serde_json::{Map, Value, json};

/// Images: name and size in MiB; the sizes stand around the thresholds of the score (23 MB and 1,000 MB a container).
pub(super) const IMAGES: &[(&str, i64)] = &[
    ("app:10", 20),
    ("app:20", 24),
    ("registry.example.com/app@sha256:0000000000000000000000000000000000000000000000000000000000000000", 400),
    ("web:latest", 300),
    ("registry.example.com:5000/web:latest", 700),
    ("big:1", 1100),
    ("huge:1", 5000),
    ("none:1", 0),
];

impl Generator {
    pub(super) fn node(&mut self, name: &str) {
        self.nodes.push(name.to_owned());
        let mut labels = Map::new();
        for (key, values) in [
            (ZONE, &["z1", "z2", "z3"][..]),
            (REGION, &["r1", "r2"]),
            (RACK, &["1", "2", "3"]),
            ("disk", &["ssd", "hdd"]),
            ("gen", &["1", "2", "10", "x"]),
            (HOSTNAME, &[]),
        ] {
            if self.chance(86) {
                let value = if values.is_empty() { name } else { self.one(values) };
                labels.insert(key.to_owned(), value.into());
            }
        }
        if self.chance(8) {
            labels
                .insert("failure-domain.beta.kubernetes.io/zone".to_owned(), self.one(&["z1", "z2"]).into());
            labels.insert(
                "failure-domain.beta.kubernetes.io/region".to_owned(),
                self.one(&["r1", "r2"]).into(),
            );
        }
        if self.chance(4) {
            labels.insert("topology.ebs.csi.aws.com/zone".to_owned(), self.one(&["z1", "z2"]).into());
        }
        if self.random.below(3_000) == 0 {
            labels.extend((0..5_000).map(|i| (format!("label-{i}"), "x".into())));
        }
        if self.chance(3) {
            // Two nodes that claim to be one host.
            labels.insert(HOSTNAME.to_owned(), "n0".into());
        }
        let mut spec = json!({});
        if self.chance(4) {
            spec["unschedulable"] = true.into();
        }
        let taints = self.taints();
        if !taints.is_empty() {
            spec["taints"] = taints.into();
        }
        let mut status = json!({});
        if !self.chance(2) {
            let allocatable = self.allocatable();
            status = json!({"allocatable": allocatable, "capacity": allocatable});
        }
        let images = self.images();
        if !images.is_empty() {
            status["images"] = images.into();
        }
        if self.chance(25) {
            let known = [
                "RestartAllContainersOnContainerExits",
                "UserNamespacesHostNetworkSupport",
                "VolumeBindMountOptions",
            ];
            let features: Vec<&str> = known.into_iter().filter(|_| self.random.chance(60)).collect();
            status["declaredFeatures"] = features.into();
        }
        self.add("v1", "Node", "", name, json!({"spec": spec, "status": status}))["metadata"]["labels"] =
            labels.into();
    }

    fn taints(&mut self) -> Vec<Value> {
        let mut taints = Vec::new();
        for effect in ["NoSchedule", "PreferNoSchedule", "NoExecute"] {
            while self.chance(self.mix.taints) && taints.len() < 5 {
                let key = self.one(&[
                    "dedicated",
                    "gpu",
                    "node.kubernetes.io/not-ready",
                    "node.kubernetes.io/unschedulable",
                ]);
                let mut taint = json!({"key": key, "effect": effect});
                if self.chance(70) {
                    taint["value"] = self.one(&["x", "y"]).into();
                }
                // A pair of key and effect may stand on a node once.
                if !taints.iter().any(|t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"])
                {
                    taints.push(taint);
                }
            }
        }
        taints
    }

    fn allocatable(&mut self) -> Value {
        let roomy = self.chance(self.mix.roomy);
        let mut allocatable = json!({
            "cpu": if roomy { self.one(&["8", "16", "6500m"]) } else { self.one(&["1", "2", "2", "4", "1500m", "900m", "3.5"]) },
            "memory": if roomy { self.one(&["16Gi", "32G", "12.5Gi"]) } else { self.one(&["2Gi", "4Gi", "1000M", "1.5Gi", "128Mi", "3e9", "600M"]) },
            "pods": if roomy { "110" } else { self.one(&["0", "1", "2", "3", "8", "110", "110", "110"]) },
        });
        let share = if roomy { 75 } else { 45 };
        let more = self.some(
            share,
            &[
                ("ephemeral-storage", &["1Gi", "10Gi", "500M", "50Gi"]),
                ("example.com/gpu", &["0", "1", "4", "8"]),
                ("example.com/nic", &["1", "2", "8"]),
                ("hugepages-2Mi", &["4Mi", "64Mi", "0", "512Mi"]),
                ("hugepages-1Gi", &["1Gi", "2Gi", "8Gi"]),
            ],
        );
        for (name, amount) in more {
            allocatable[name] = amount;
        }
        if self.chance(self.mix.malformed) {
            let (name, amount) = *self.random.element(&[
                ("cpu", "9223372036854775807"),
                ("cpu", "1099511627776"),
                ("memory", "16E"),
                ("memory", "9E"),
                ("memory", "100m"),
                ("example.com/gpu", "9223372036854775807"),
                ("pods", "1e15"),
            ]);
            allocatable[name] = amount.into();
        }
        allocatable
    }

    fn images(&mut self) -> Vec<Value> {
        let mut images = Vec::new();
        for (name, size) in IMAGES {
            if !self.chance(22) {
                continue;
            }
            // Nodes need not agree on the size: the first that reported it counts.
            let size = if self.chance(15) { size * 2 } else { *size };
            let mut names = vec![*name];
            if self.chance(15) {
                names.push("alias:1");
            }
            let size = (size << 20) + self.random.between(-1, 1).max(-size);
            images.push(json!({"names": names, "sizeBytes": size}));
        }
        images
    }
}
