//! What lives in the cluster by itself: controllers that keep workloads alive and budgets up to date, kubelets that end pods, and the
//! collectors of what is left.

use super::server::Facts;
use super::*;
use secondmate_model::objects::Object;

/// Workloads at most: with what users create they fill the nodes.
const WORKLOADS: usize = 24;
/// Pods of a workload at most.
const REPLICAS: usize = 6;
/// Pods that have ended are kept up to this number.
const ENDED: usize = 16;

/// A workload: its controller keeps so many pods of this kind alive.
pub(super) struct Workload {
    template: Value,
    replicas: usize,
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
        template["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": name, "uid": format!("uid-{name}"), "controller": true}]);
        let replicas = 1 + self.random.below(REPLICAS);
        self.workloads.insert(name, Workload { template, replicas });
        self.truth.version += 1;
    }

    fn pick_workload(&mut self) -> Option<String> {
        let names: Vec<String> = self.workloads.keys().cloned().collect();
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
        self.workloads.remove(&name);
        for pod in self.pods_of(&name) {
            self.delete(&pod);
        }
        self.truth.version += 1;
    }

    /// Pods of a workload that have neither ended nor are about to.
    fn pods_of(&self, workload: &str) -> Vec<String> {
        self.facts_where(|facts| {
            let owner = facts.pod.controller.as_ref();
            owner.is_some_and(|owner| owner.name.as_str() == workload)
                && !facts.pod.terminal
                && !facts.pod.deleting
        })
    }

    fn facts_where(&self, accept: impl Fn(&Facts) -> bool) -> Vec<String> {
        let pods = self.truth.facts.iter().filter(|(_, facts)| accept(facts));
        pods.map(|(name, _)| name.clone()).collect()
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

    /// Pods end whose time has come, and those go that nobody needs. Says whether something is left to do.
    fn clean_up(&mut self) -> bool {
        let leaving = self.facts_where(|facts| facts.pod.deleting);
        let mut waits = !leaving.is_empty();
        for name in leaving {
            if self.one_in(4) {
                self.erase_pod(&name);
            }
        }
        let nodes = &self.truth.nodes;
        let orphans = self.facts_where(|facts| facts.node().is_some_and(|node| !nodes.contains_key(node)));
        waits |= !orphans.is_empty();
        for name in orphans {
            if self.one_in(2) || self.calm {
                self.erase_pod(&name);
            }
        }
        let over = self.facts_where(|facts| facts.pod.terminal);
        for name in over.iter().take(over.len().saturating_sub(ENDED)) {
            self.erase_pod(name);
        }
        waits
    }

    fn replace_pods(&mut self) -> bool {
        let mut waits = false;
        let wanted: Vec<(String, usize)> =
            self.workloads.iter().map(|(name, workload)| (name.clone(), workload.replicas)).collect();
        for (name, replicas) in wanted {
            let pods = self.pods_of(&name);
            if pods.len() == replicas {
                continue;
            }
            if !self.calm && self.one_in(2) {
                waits = true;
                continue;
            }
            let surplus = pods.len().saturating_sub(replicas);
            pods.iter().take(surplus).for_each(|pod| self.delete(pod));
            for _ in pods.len()..replicas {
                let template = self.workloads[&name].template.clone();
                self.create("r", template);
            }
        }
        waits
    }

    /// The disruption controller: how many pods of each budget may go.
    fn review_budgets(&mut self) -> bool {
        let mut waits = false;
        for (name, mut budget) in self.truth.budgets.clone() {
            let compiled = objects::compile_budget(&budget);
            let Object::DisruptionBudget(object, rules) = &compiled else { continue };
            let healthy = self.facts_where(|facts| {
                facts.is_on_node()
                    && !facts.pod.deleting
                    && rules.is_charged_for(&object.namespace, &facts.pod)
            });
            let healthy = i64::try_from(healthy.len()).unwrap_or(i64::MAX);
            let allowed = (healthy - budget["spec"]["minAvailable"].as_i64().unwrap_or(0)).max(0);
            if budget["status"]["disruptionsAllowed"] == allowed {
                continue;
            }
            if self.calm || self.one_in(3) {
                budget["status"]["disruptionsAllowed"] = json!(allowed);
                self.write_budget(&name, budget);
            } else {
                waits = true;
            }
        }
        waits
    }
}
