//! Those who use the cluster: they create, change and delete pods and nodes, and other schedulers bind.

use super::*;

impl World {
    pub(super) fn create_pod(&mut self, scheduler: &str) {
        let name = self.name(if scheduler == OURS { "p" } else { "f" });
        let milli = 100 * (1 + self.random.below(12));
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
            "spec": {"schedulerName": scheduler, "containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{milli}m")}}}]},
            "status": {"phase": "Pending"},
        });
        let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
        if self.random.below(4) == 0 {
            requests["memory"] = json!(format!("{}Gi", 4 * (1 + self.random.below(8))));
        }
        if self.random.below(8) == 0 {
            requests["example.com/gpu"] = json!(format!("{}", 1 + self.random.below(2)));
        }
        if self.one_in(6) {
            let number = 8000 + self.random.below(3);
            pod["spec"]["containers"][0]["ports"] = json!([{"hostPort": number, "containerPort": 1}]);
        }
        if self.one_in(12) && scheduler == OURS {
            pod["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
        }
        if self.options.topology {
            self.look_at_others(&mut pod);
        }
        if self.options.preemption {
            pod["spec"]["priority"] = json!(self.random.below(3) * 100);
            if !self.options.topology {
                let app = ["a", "b", "c"][self.random.below(3)];
                pod["metadata"]["labels"] = json!({"app": app});
            }
        }
        if scheduler != OURS && self.one_in(4) {
            let nodes: Vec<String> = self.truth.nodes.keys().cloned().collect();
            if let Some(node) = self.pick(&nodes) {
                pod["status"]["nominatedNodeName"] = json!(node);
            }
        }
        self.write_pod(&name, pod);
    }

    pub(super) fn look_at_others(&mut self, pod: &mut Value) {
        let app = ["a", "b", "c"][self.random.below(3)];
        pod["metadata"]["labels"] = json!({"app": app});
        let selector = json!({"matchLabels": {"app": app}});
        match self.random.below(5) {
            0 => {
                let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
                pod["spec"]["affinity"] = json!({"podAntiAffinity":
                    {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
            }
            1 => {
                let term = json!({"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector});
                pod["spec"]["affinity"] = json!({"podAffinity":
                    {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
            }
            2 => {
                pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "labelSelector": selector,
                    "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]);
            }
            _ => {}
        }
    }

    pub(super) fn pods_where(&self, accept: impl Fn(&Value) -> bool) -> Vec<String> {
        self.truth.pods.iter().filter(|(_, p)| accept(p)).map(|(n, _)| n.clone()).collect()
    }

    pub(super) fn delete_pod(&mut self) {
        let names = self.pods_where(|p| p["metadata"]["deletionTimestamp"].is_null());
        let Some(name) = self.pick(&names) else { return };
        self.delete(&name);
    }

    /// A pod on a node is deleted gracefully, one without at once.
    pub(super) fn delete(&mut self, name: &str) {
        let Some(mut pod) = self.truth.pods.get(name).cloned() else { return };
        if pod["spec"]["nodeName"].is_null() || self.one_in(3) {
            self.truth.pods.remove(name);
            self.truth.version += 1;
            self.tell_pod(name);
        } else {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.write_pod(name, pod);
        }
    }

    pub(super) fn finish_deletions(&mut self) {
        for name in self.pods_where(|p| p["metadata"]["deletionTimestamp"].is_string()) {
            self.truth.pods.remove(&name);
            self.truth.version += 1;
            self.tell_pod(&name);
        }
    }

    pub(super) fn change_pod(&mut self) {
        let names = self.pods_where(|_| true);
        let Some(name) = self.pick(&names) else { return };
        let mut pod = self.truth.pods[&name].clone();
        if self.one_in(2) {
            pod["spec"]["schedulingGates"] = json!([]);
        } else {
            pod["metadata"]["labels"] = json!({"seen": format!("{}", self.random.below(5))});
        }
        self.write_pod(&name, pod);
    }

    pub(super) fn finish_pod(&mut self) {
        let names = self.pods_where(|p| p["spec"]["nodeName"].is_string() && !ended(p));
        let Some(name) = self.pick(&names) else { return };
        let mut pod = self.truth.pods[&name].clone();
        pod["status"]["phase"] = json!(if self.one_in(2) { "Succeeded" } else { "Failed" });
        self.write_pod(&name, pod);
    }

    pub(super) fn foreign_bind(&mut self) {
        let names = self.pods_where(|p| !ours(p) && p["spec"]["nodeName"].is_null());
        let nodes: Vec<String> = self.truth.nodes.keys().cloned().collect();
        if let (Some(pod), Some(node)) = (self.pick(&names), self.pick(&nodes)) {
            let _ = self.bind(&pod, &node);
        }
    }

    /// Another replica of ours leads meanwhile.
    pub(super) fn other_replica_binds(&mut self) {
        let names = self.pods_where(|p| ours(p) && p["spec"]["nodeName"].is_null());
        let nodes: Vec<String> = self.truth.nodes.keys().cloned().collect();
        if let (Some(pod), Some(node)) = (self.pick(&names), self.pick(&nodes)) {
            let _ = self.bind(&pod, &node);
        }
    }

    /// A budget comes, goes, or allows more or less.
    pub(super) fn change_budget(&mut self) {
        let app = ["a", "b", "c"][self.random.below(3)];
        let name = format!("budget-{app}");
        if self.one_in(4) {
            if let Some(budget) = self.truth.budgets.remove(&name) {
                let object = objects::compile_budget(&budget);
                self.streams[OBJECTS].0.push_back(Input::ObjectGone(object.kind(), object.name().clone()));
            }
            return;
        }
        let budget = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": self.random.below(3)},
        });
        self.streams[OBJECTS].0.push_back(Input::Object(objects::compile_budget(&budget)));
        self.truth.budgets.insert(name, budget);
    }

    pub(super) fn add_node(&mut self) {
        let name = self.name("n");
        let zone = self.random.below(3);
        let cpus = 1 + self.random.below(4);
        let node = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"),
                "labels": {"topology.kubernetes.io/zone": format!("z{zone}"), "kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": format!("{cpus}"), "memory": "64Gi", "pods": "10"}},
        });
        let mut node = node;
        if self.one_in(2) {
            node["status"]["allocatable"]["example.com/gpu"] = json!("2");
        }
        self.write_node(&name, node);
    }

    pub(super) fn change_node(&mut self) {
        let names: Vec<String> = self.truth.nodes.keys().cloned().collect();
        let Some(name) = self.pick(&names) else { return };
        let mut node = self.truth.nodes[&name].clone();
        if self.one_in(2) {
            node["spec"]["unschedulable"] = json!(self.one_in(2));
        } else if self.options.foreign {
            let cpus = 1 + self.random.below(4);
            node["status"]["allocatable"]["cpu"] = json!(format!("{cpus}"));
        } else {
            node["metadata"]["labels"]["disk"] = json!("ssd");
        }
        self.write_node(&name, node);
    }

    pub(super) fn remove_node(&mut self) {
        if self.truth.nodes.len() < 2 {
            return;
        }
        let names: Vec<String> = self.truth.nodes.keys().cloned().collect();
        let Some(name) = self.pick(&names) else { return };
        self.truth.nodes.remove(&name);
        self.truth.version += 1;
        self.streams[NODES].0.push_back(Input::NodeGone(Atom::new(&name)));
    }
}
