//! Containers and what they ask for.

use super::Generator;
use super::nodes::IMAGES;
use serde_json::{Map, Value, json};

impl Generator {
    /// `resources` of a container.
    pub(super) fn resources(&mut self) -> Value {
        if !self.chance(self.mix.requests) {
            return json!({});
        }
        let mut requests = self.some(
            65,
            &[
                ("cpu", &["0", "1m", "100m", "250m", "500m", "1", "0.3", "1500m", "3"]),
                ("memory", &["0", "100m", "1.5Gi", "64Mi", "200M", "1G", "1e3", "500Mi", "3Gi"]),
            ],
        );
        if self.chance(self.mix.odd_pods) {
            let amount = self.one(&["1Gi", "100M", "0", "2Gi", "1500m"]);
            requests.insert("ephemeral-storage".to_owned(), amount.into());
        }
        if self.chance(self.mix.malformed / 2) {
            let (name, amount) = *self.random.element(&[
                ("cpu", "4611686018427387904"),
                ("cpu", "1e15"),
                ("memory", "8E"),
                ("memory", "20E"),
                ("memory", "1"),
                ("ephemeral-storage", "9223372036854775807"),
            ]);
            requests.insert(name.to_owned(), amount.into());
        }
        let mut limits = Map::new();
        if self.chance(self.mix.odd_pods) {
            limits = self.some(
                45,
                &[
                    ("example.com/gpu", &["0", "1", "2"]),
                    ("example.com/nic", &["1", "3"]),
                    ("example.com/absent", &["1", "0"]),
                ],
            );
        }
        if self.chance(self.mix.odd_pods / 3) {
            let (name, amount) = if self.chance(75) {
                ("hugepages-2Mi", self.one(&["4Mi", "2Mi", "64Mi"]))
            } else {
                ("hugepages-1Gi", "1Gi")
            };
            limits.insert(name.to_owned(), amount.into());
            requests.insert("memory".to_owned(), "64Mi".into());
        }
        if self.chance(10) {
            // A limit without a request becomes the request.
            if !requests.contains_key("cpu") {
                limits.insert("cpu".to_owned(), self.one(&["200m", "2"]).into());
            }
            if !requests.contains_key("memory") {
                limits.insert("memory".to_owned(), self.one(&["128Mi", "1Gi"]).into());
            }
        }
        let mut resources = json!({"requests": requests});
        if !limits.is_empty() {
            resources["limits"] = limits.into();
        }
        resources
    }

    fn image(&mut self) -> &'static str {
        match self.random.below(12) {
            0 => "web",
            1 => "registry.example.com:5000/web",
            2 => "unknown:1",
            3 => "alias:1",
            _ => self.random.element(IMAGES).0,
        }
    }

    pub(super) fn container(&mut self, name: &str) -> Value {
        let mut container = json!({"name": name, "image": self.image(), "resources": self.resources()});
        if self.chance(self.mix.ports) {
            let port = self.random.between(8000, 8001);
            let mut ports = Vec::new();
            for protocol in ["TCP", "UDP"] {
                if self.chance(60) {
                    let mut entry = json!({"containerPort": 80, "hostPort": port, "protocol": protocol});
                    if self.chance(50) {
                        entry["hostIP"] = self.one(&["10.0.0.1", "10.0.0.2", "0.0.0.0", "127.0.0.1"]).into();
                    }
                    ports.push(entry);
                }
            }
            container["ports"] = ports.into();
        }
        container
    }

    /// Containers, init containers, sidecars, overhead and pod-level resources.
    pub(super) fn containers(&mut self, spec: &mut Value) {
        let count = if self.chance(75) { 1 } else { 2 + self.random.below(2) };
        spec["containers"] = (0..count).map(|i| self.container(&format!("c{i}"))).collect();
        if self.chance(self.mix.odd_pods) {
            let mut init = Vec::new();
            for i in 0..1 + self.random.below(3) {
                let mut container = self.container(&format!("i{i}"));
                if self.chance(50) {
                    container["restartPolicy"] = "Always".into();
                }
                init.push(container);
            }
            spec["initContainers"] = init.into();
        }
        // Pod-level resources and overhead never name the same resource: upstream's sum of the two depends on how often it
        // was asked for.
        if self.chance(self.mix.odd_pods) {
            spec["overhead"] = json!({"cpu": self.one(&["50m", "1"])});
            if self.chance(40) {
                spec["overhead"]["example.com/gpu"] = "1".into();
            }
            if self.chance(40) {
                self.pod_level(spec, &["memory"]);
            }
        } else if self.chance(self.mix.odd_pods) {
            let names = self.random.one::<[&str]>(&[
                &["cpu"],
                &["memory"],
                &["cpu", "memory"],
                &["cpu", "hugepages-2Mi"],
            ]);
            self.pod_level(spec, names);
        }
    }

    /// Pod-level requests, at least as large as the containers' sum.
    fn pod_level(&mut self, spec: &mut Value, names: &[&str]) {
        let mut requests = json!({});
        for name in names {
            requests[*name] = match *name {
                "cpu" => self.one(&["400m", "2", "5"]),
                "memory" => self.one(&["1Gi", "4Gi", "450Mi"]),
                _ => self.one(&["64Mi", "8Mi"]),
            }
            .into();
            for list in ["containers", "initContainers"] {
                for container in spec[list].as_array_mut().into_iter().flatten() {
                    let small = match *name {
                        "cpu" => self.one(&["0", "50m", "60m"]),
                        "memory" => self.one(&["0", "50Mi", "64M"]),
                        _ => self.one(&["2Mi", "0"]),
                    };
                    let resources = &mut container["resources"];
                    for part in ["requests", "limits"] {
                        if let Some(amount) = resources[part].get_mut(*name) {
                            *amount = small.into();
                        }
                    }
                }
            }
        }
        spec["resources"] = if requests.get("hugepages-2Mi").is_some() {
            json!({"requests": requests, "limits": {"hugepages-2Mi": requests["hugepages-2Mi"]}})
        } else {
            json!({"requests": requests})
        };
    }

    /// A rule that restarts all containers, or options of a bind mount, which a node must declare.
    pub(super) fn features(&mut self, spec: &mut Value) {
        if self.chance(30) {
            let options = if self.chance(80) { json!(["noexec"]) } else { json!([]) };
            spec["containers"][0]["volumeMounts"] =
                json!([{"name": "scratch", "mountPath": "/x", "bindMountOptions": options}]);
            return;
        }
        let action = self.one(&["RestartAllContainers", "RestartAllContainers", "Restart"]);
        spec["restartPolicy"] = "Never".into();
        let container = &mut spec["containers"][0];
        container["restartPolicy"] = "Never".into();
        container["restartPolicyRules"] =
            json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
    }

    /// What a kubelet says about containers whose resources are being changed.
    pub(super) fn resized(&mut self, spec: &Value, status: &mut Value) {
        for (list, statuses) in
            [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")]
        {
            if spec[list].is_array() {
                status[statuses] = self.resized_containers(&spec[list]);
            }
        }
        if spec.get("resources").is_some() || self.chance(20) {
            // The kubelet's sums for the pod as a whole.
            let of_pod = &[("cpu", ["800m", "4"].as_slice()), ("memory", &["500Mi", "3Gi"])];
            if self.chance(75) {
                status["resources"] = json!({"requests": self.some(75, of_pod)});
            }
            if self.chance(75) {
                status["allocatedResources"] = self.some(75, of_pod).into();
            }
        }
        let condition = match self.random.below(5) {
            0 => json!({"type": "PodResizePending", "status": "True", "reason": "Infeasible"}),
            1 => json!({"type": "PodResizePending", "status": "True", "reason": "Deferred"}),
            2 => json!({"type": "PodResizeInProgress", "status": "True"}),
            _ => return,
        };
        status["conditions"] = json!([condition]);
    }

    fn resized_containers(&mut self, containers: &Value) -> Value {
        let mut statuses = Vec::new();
        for container in containers.as_array().into_iter().flatten() {
            if self.chance(20) {
                continue;
            }
            let mut entry = json!({
                "name": container["name"], "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            });
            if self.chance(70) {
                let requests = self.some(70, &[("cpu", &["700m", "2", "0"]), ("memory", &["300Mi", "1Gi"])]);
                entry["resources"] = json!({"requests": requests});
            }
            if self.chance(70) {
                let allocated = self.some(70, &[("cpu", &["600m", "3"]), ("memory", &["400Mi", "2Gi"])]);
                entry["allocatedResources"] = allocated.into();
            }
            statuses.push(entry);
        }
        statuses.into()
    }
}
