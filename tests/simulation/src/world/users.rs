//! The users of the cluster: they create, change and delete pods and nodes, and other schedulers bind.

use super::*;

/// In a living cluster, users create no more pods while more than this many are pending.
const WAITING: usize = 12;

impl World {
    pub(super) fn create_pod(&mut self, scheduler: &str) {
        let waiting = self.truth.pods.values().filter(|stored| stored.waits()).count();
        if self.options.living && waiting > WAITING {
            // A user who sees that it is no use gives up.
            return self.delete_waiting_pod();
        }
        let pod = self.pod_template(scheduler);
        self.create(if is_our_name(scheduler) { "p" } else { "f" }, pod);
    }

    /// The object, except for its name.
    pub(super) fn pod_template(&mut self, scheduler: &str) -> Value {
        let milli = 100 * (1 + self.random.below(12));
        let mut pod = json!({
            "metadata": {"namespace": self.namespace(scheduler)},
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
        if self.one_in(12) && is_our_name(scheduler) {
            pod["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
        }
        if self.options.topology && (is_our_name(scheduler) || !self.options.living) {
            self.look_at_others(&mut pod);
        }
        if self.options.preemption {
            pod["spec"]["priority"] = json!(self.random.below(3) * 100);
            if pod["metadata"]["labels"].is_null() {
                let app = ["a", "b", "c"][self.random.below(3)];
                pod["metadata"]["labels"] = json!({"app": app});
            }
        }
        if !is_our_name(scheduler) && !self.options.living && self.one_in(4) {
            let nodes = self.node_names();
            if let Some(node) = self.pick(&nodes) {
                pod["status"]["nominatedNodeName"] = json!(&*node);
            }
        }
        pod
    }

    /// The namespace of a pod of the scheduler; with tenants, one pod in twenty is not allowed there.
    fn namespace(&mut self, scheduler: &str) -> &'static str {
        match OUR_NAMES.iter().position(|name| *name == scheduler) {
            _ if !self.options.living => NAMESPACES[0],
            Some(_) if self.options.tenants && self.one_in(20) => "team-c",
            Some(at) => NAMESPACES[at],
            None => NAMESPACES[self.random.below(2)],
        }
    }

    pub(super) fn create(&mut self, prefix: &str, mut pod: Value) -> Name {
        let name = self.name(prefix);
        pod["metadata"]["name"] = json!(&*name);
        pod["metadata"]["uid"] = json!(format!("uid-{name}"));
        self.counts.add("pods created", 1);
        self.write_pod(&name, StoredPod::new(pod));
        name
    }

    fn delete_waiting_pod(&mut self) {
        let names = self.pods_where(|stored| stored.waits() && stored.is_bare());
        if let Some(name) = self.pick(&names) {
            self.delete(&name);
        }
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

    pub(super) fn pods_where(&self, accept: impl Fn(&StoredPod) -> bool) -> Vec<Name> {
        let pods = self.truth.pods.iter().filter(|(_, stored)| accept(stored));
        pods.map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(super) fn node_names(&self) -> Vec<Name> {
        self.truth.nodes.keys().cloned().collect()
    }

    pub(super) fn delete_pod(&mut self) {
        let names = self.pods_where(|stored| !stored.pod.deleting);
        let Some(name) = self.pick(&names) else { return };
        self.delete(&name);
    }

    /// A pod on a node is deleted gracefully, one without at once.
    pub(super) fn delete(&mut self, name: &Name) {
        let Some(stored) = self.truth.pods.get(name) else { return };
        if stored.node().is_none() || self.one_in(3) {
            self.erase_pod(name);
        } else {
            self.change(name, |pod| pod.deleting = true);
        }
    }

    pub(super) fn finish_deletions(&mut self) {
        for name in self.pods_where(|stored| stored.pod.deleting) {
            self.erase_pod(&name);
        }
    }

    pub(super) fn change_pod(&mut self) {
        let names = self.pods_where(|_| true);
        let Some(name) = self.pick(&names) else { return };
        if self.one_in(2) {
            self.change(&name, |pod| pod.scheduling_gates = Box::default());
        } else {
            self.relabel_pod(&name);
        }
    }

    /// Other properties of a pod follow from its labels.
    fn relabel_pod(&mut self, name: &Name) {
        let mut object = Value::clone(&self.truth.pods[name].object);
        object["metadata"]["labels"] = json!({"seen": format!("{}", self.random.below(5))});
        let mut relabelled = StoredPod::new(object);
        let (is, was) = (Arc::make_mut(&mut relabelled.pod), &self.truth.pods[name].pod);
        is.node_name.clone_from(&was.node_name);
        is.deleting = was.deleting;
        is.terminal = was.terminal;
        is.nominated_node_name.clone_from(&was.nominated_node_name);
        is.scheduled_condition.clone_from(&was.scheduled_condition);
        is.scheduling_gates.clone_from(&was.scheduling_gates);
        self.write_pod(name, relabelled);
    }

    pub(super) fn finish_pod(&mut self) {
        let bare = self.options.living && !self.one_in(4);
        let names = self.pods_where(|stored| stored.is_on_node() && (!bare || stored.is_bare()));
        let Some(name) = self.pick(&names) else { return };
        // Whether it succeeded does not matter here.
        self.one_in(2);
        self.change(&name, |pod| pod.terminal = true);
    }

    /// Another scheduler binds one of its own pods, anywhere.
    pub(super) fn foreign_bind(&mut self) {
        let names = self.pods_where(|stored| !stored.is_ours() && stored.node().is_none());
        self.bind_anywhere(&names);
    }

    /// In the meantime, another replica of ours is the leader.
    pub(super) fn other_replica_binds(&mut self) {
        let names = self.pods_where(|stored| stored.is_ours() && stored.node().is_none());
        if !self.options.living {
            return self.bind_anywhere(&names);
        }
        // It sees the actual state, and takes a node that fits.
        let Some(name) = self.pick(&names) else { return };
        let pod = &self.truth.pods[&name];
        let gated = pod.is_gated();
        let nodes: Vec<Name> = self
            .truth
            .nodes
            .iter()
            .filter(|(_, node)| self.has_room(pod, node))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        if let (false, Some(node)) = (gated, self.pick(&nodes)) {
            let _ = self.ask_bind(&name, &node);
        }
    }

    fn bind_anywhere(&mut self, names: &[Name]) {
        let nodes = self.node_names();
        if let (Some(pod), Some(node)) = (self.pick(names), self.pick(&nodes)) {
            let _ = self.bind(&pod, &node);
        }
    }

    /// A budget is created, deleted, or allows more or less.
    pub(super) fn change_budget(&mut self) {
        let app = ["a", "b", "c"][self.random.below(3)];
        let namespace = NAMESPACES[if self.options.living { self.random.below(2) } else { 0 }];
        let name = format!("budget-{namespace}-{app}");
        if self.one_in(4) {
            if let Some(budget) = self.truth.budgets.remove(&name) {
                self.truth.version += 1;
                let object = budget.compiled;
                self.streams[OBJECTS].0.push_back(Input::ObjectGone(object.kind(), object.name().clone()));
            }
            return;
        }
        // In a living cluster its controller writes the status.
        let allowed = if self.options.living { 0 } else { self.random.below(3) };
        let budget = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": app}}, "minAvailable": 1 + self.random.below(6)},
            "status": {"disruptionsAllowed": allowed},
        });
        self.write_budget(&name, budget);
    }

    pub(super) fn add_node(&mut self) {
        let name = self.name("n");
        let zone = self.random.below(3);
        let cpus = self.cpus();
        let pool = POOLS[self.random.below(POOLS.len())];
        let node = json!({
            "metadata": {"name": &*name, "uid": format!("uid-{name}"),
                "labels": {"topology.kubernetes.io/zone": format!("z{zone}"), "kubernetes.io/hostname": &*name,
                    "pool": pool}},
            "status": {"allocatable": {"cpu": format!("{cpus}"), "memory": "64Gi", "pods": "10"}},
        });
        let mut node = node;
        if self.one_in(2) {
            node["status"]["allocatable"]["example.com/gpu"] = json!("2");
        }
        self.write_node(&name, node);
    }

    fn cpus(&mut self) -> usize {
        if self.options.living { 2 + self.random.below(5) } else { 1 + self.random.below(4) }
    }

    pub(super) fn change_node(&mut self) {
        let names = self.node_names();
        let Some(name) = self.pick(&names) else { return };
        let mut node = self.truth.nodes[&name].object.clone();
        if self.one_in(2) {
            // In a living cluster, somebody comes to fix a cordoned node.
            let odds = if self.options.living { 4 } else { 2 };
            node["spec"]["unschedulable"] = json!(self.one_in(odds));
        } else if self.options.living && self.one_in(2) {
            node["metadata"]["labels"]["pool"] = json!(POOLS[self.random.below(POOLS.len())]);
        } else if self.options.foreign {
            let cpus = self.cpus();
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
        let names = self.node_names();
        let Some(name) = self.pick(&names) else { return };
        self.counts.add("nodes removed", 1);
        self.erase_node(&name);
    }
}
