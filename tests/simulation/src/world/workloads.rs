//! What acts in the cluster by itself: controllers that keep workloads alive and budgets up to date, kubelets that finish pods, and garbage
//! collection.

use super::*;
use std::collections::BTreeSet;

/// Maximum number of workloads: together with what users create, they fill the nodes.
const WORKLOADS: usize = 24;
/// Maximum number of pods of a workload.
const REPLICAS: usize = 6;
/// Maximum number of finished pods that are kept.
const ENDED: usize = 16;

/// A workload, whose controller keeps this many pods of this kind alive.
pub(super) struct Workload {
    template: Value,
    replicas: usize,
}

/// What the controllers have to handle, at a version of the cluster.
#[derive(Default)]
pub(super) struct Survey {
    version: Option<u64>,
    leaving: Vec<Name>,
    /// Pods whose node is gone.
    orphans: Vec<Name>,
    ended: Vec<Name>,
    /// Workloads with a wrong number of pods, with the pods that they have.
    wrong: Vec<(Name, Vec<Name>)>,
    /// Budgets with a wrong status, and the right one.
    budgets: Vec<(String, i64)>,
}

impl Survey {
    fn new(truth: &Truth, workloads: &BTreeMap<Name, Workload>) -> Self {
        let registers = &truth.registers;
        let wrong = workloads.iter().filter_map(|(name, workload)| {
            let pods = registers.of_workload(name);
            let right = pods.map_or(0, BTreeSet::len) == workload.replicas;
            (!right).then(|| (Arc::clone(name), pods.into_iter().flatten().cloned().collect()))
        });
        let budgets = truth
            .budgets
            .iter()
            .map(|(name, budget)| (name, budget, registers.allows(name, budget)))
            .filter(|(_, budget, allowed)| budget.object["status"]["disruptionsAllowed"] != *allowed);
        Self {
            version: Some(truth.version),
            leaving: registers.leaving.iter().cloned().collect(),
            orphans: registers.orphans(&truth.nodes),
            ended: registers.ended.iter().cloned().collect(),
            wrong: wrong.collect(),
            budgets: budgets.map(|(name, _, allowed)| (name.clone(), allowed)).collect(),
        }
    }
}

impl World {
    pub(super) fn create_workload(&mut self) {
        if self.workloads.len() >= WORKLOADS {
            return;
        }
        let schedulers = [OUR_NAMES, OTHER_NAMES].concat();
        let scheduler = schedulers[self.random.below(schedulers.len())];
        let mut template = self.pod_template(scheduler);
        let name = self.name("w");
        own(&mut template, &name);
        let replicas = 1 + self.random.below(REPLICAS);
        self.workloads.insert(name, Workload { template, replicas });
        self.truth.version += 1;
    }

    /// A workload of another scheduler whose pod fills the first node, and one of ours whose pod may evict it and fits nowhere else.
    pub(super) fn create_rivals(&mut self) {
        let Some((node, stored)) = self.truth.nodes.iter().next() else { return };
        let (node, cpus) = (Arc::clone(node), stored.object["status"]["allocatable"]["cpu"].clone());
        let request = format!("{}000m", cpus.as_str().unwrap_or_default());
        for (scheduler, priority) in [(OTHER_NAMES[0], 0), (OUR_NAMES[0], 100)] {
            let mut template = json!({
                "metadata": {"namespace": NAMESPACES[0]},
                "spec": {
                    "schedulerName": scheduler, "priority": priority,
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": request}}}],
                },
                "status": {"phase": "Pending"},
            });
            let workload = self.name("w");
            own(&mut template, &workload);
            if !is_our_name(scheduler) {
                let pod = self.create("r", template.clone());
                let bound = self.bind(&pod, &node);
                debug_assert!(bound.is_ok(), "it is new");
            }
            self.workloads.insert(workload, Workload { template, replicas: 1 });
        }
        self.truth.version += 1;
    }

    fn pick_workload(&mut self) -> Option<Name> {
        let names: Vec<Name> = self.workloads.keys().cloned().collect();
        self.pick(&names)
    }

    pub(super) fn scale_workload(&mut self) {
        let Some(name) = self.pick_workload() else { return };
        let replicas = self.random.below(REPLICAS + 1);
        if let Some(workload) = self.workloads.get_mut(&name) {
            workload.replicas = replicas;
            self.truth.version += 1;
        }
    }

    pub(super) fn delete_workload(&mut self) {
        let Some(name) = self.pick_workload() else { return };
        self.workloads.remove(&*name);
        for pod in self.pods_of(&name) {
            self.delete(&pod);
        }
        self.truth.version += 1;
    }

    fn pods_of(&self, workload: &str) -> Vec<Name> {
        self.truth.registers.of_workload(workload).into_iter().flatten().cloned().collect()
    }

    pub(super) fn controllers_are_quiet(&self) -> bool {
        !self.options.living || self.truth.controlled == Some(self.truth.version)
    }

    pub(super) fn controllers_act(&mut self) {
        if self.controllers_are_quiet() {
            return;
        }
        let version = self.truth.version;
        let waits = self.clean_up() | self.replace_pods() | self.review_budgets();
        if !waits && self.truth.version == version {
            self.truth.controlled = Some(version);
        }
    }

    /// What has to be done now.
    fn survey(&mut self) -> &Survey {
        if self.surveyed.version != Some(self.truth.version) {
            self.surveyed = Survey::new(&self.truth, &self.workloads);
        }
        &self.surveyed
    }

    /// Finishes pods whose time has come, and removes those that nobody needs. Returns whether something is left to do.
    fn clean_up(&mut self) -> bool {
        let leaving = self.survey().leaving.clone();
        let mut waits = !leaving.is_empty();
        for name in leaving {
            if self.one_in(4) {
                self.erase_pod(&name);
            }
        }
        let orphans = self.survey().orphans.clone();
        waits |= !orphans.is_empty();
        for name in orphans {
            if self.one_in(2) || self.calm {
                self.erase_pod(&name);
            }
        }
        let over = self.survey().ended.clone();
        for name in over.iter().take(over.len().saturating_sub(ENDED)) {
            self.erase_pod(name);
        }
        waits
    }

    fn replace_pods(&mut self) -> bool {
        let mut waits = false;
        for (name, pods) in self.survey().wrong.clone() {
            if !self.calm && !self.options.hasty_others && self.one_in(2) {
                waits = true;
                continue;
            }
            let replicas = self.workloads[&name].replicas;
            let surplus = pods.len().saturating_sub(replicas);
            pods.iter().take(surplus).for_each(|pod| self.delete(pod));
            for _ in pods.len()..replicas {
                let template = self.workloads[&name].template.clone();
                self.create("r", template);
            }
        }
        waits
    }

    /// The disruption controller: how many disruptions each budget allows.
    fn review_budgets(&mut self) -> bool {
        let mut waits = false;
        for (name, allowed) in self.survey().budgets.clone() {
            if self.calm || self.one_in(3) {
                let mut object = self.truth.budgets[&name].object.clone();
                object["status"]["disruptionsAllowed"] = json!(allowed);
                self.write_budget(&name, object);
            } else {
                waits = true;
            }
        }
        waits
    }
}

/// The pod belongs to this workload.
fn own(template: &mut Value, workload: &Name) {
    template["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": &**workload, "uid": format!("uid-{workload}"), "controller": true}]);
}

/// The workload that a pod belongs to, unless the pod is finished or leaving.
pub(super) fn workload_of(stored: &StoredPod) -> Option<&str> {
    let owner = stored.pod.controller.as_ref()?;
    (!stored.pod.terminal && !stored.pod.deleting).then(|| owner.name.as_str())
}
