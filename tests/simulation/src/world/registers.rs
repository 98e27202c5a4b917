//! Indexes of pods, maintained as they change: scanning all pods took a quarter of the time of a simulated year.

use super::objects::{StoredBudget, StoredPod};
use super::workloads::workload_of;
use super::*;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Registers {
    /// Leaving.
    pub leaving: BTreeSet<Name>,
    pub ended: BTreeSet<Name>,
    /// Assigned, including those that have finished.
    by_node: BTreeMap<Name, BTreeSet<Name>>,
    of_workload: BTreeMap<Name, BTreeSet<Name>>,
    /// Pending and not leaving, by scheduler.
    waiting: BTreeMap<Name, BTreeSet<Name>>,
    /// Pods for which each budget is charged.
    healthy: BTreeMap<String, i64>,
}

fn enter<K: Ord>(register: &mut BTreeMap<K, BTreeSet<Name>>, key: K, name: &Name) {
    register.entry(key).or_default().insert(Arc::clone(name));
}

fn strike<Q: Ord + ?Sized, K: Ord + std::borrow::Borrow<Q>>(
    register: &mut BTreeMap<K, BTreeSet<Name>>,
    key: &Q,
    name: &Name,
) {
    if let Some(names) = register.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            register.remove(key);
        }
    }
}

impl Registers {
    /// Adds a pod.
    pub fn enter(&mut self, name: &Name, stored: &StoredPod, budgets: &BTreeMap<String, StoredBudget>) {
        if stored.pod.deleting {
            self.leaving.insert(Arc::clone(name));
        }
        if stored.pod.terminal {
            self.ended.insert(Arc::clone(name));
        }
        if let Some(node) = stored.node() {
            enter(&mut self.by_node, node.into(), name);
        }
        if let Some(workload) = workload_of(stored) {
            enter(&mut self.of_workload, workload.into(), name);
        }
        if stored.waits() && !stored.pod.deleting {
            enter(&mut self.waiting, stored.pod.scheduler_name.as_str().into(), name);
        }
        self.charge(stored, budgets, 1);
    }

    /// Removes a pod as it was added.
    pub fn strike(&mut self, name: &Name, stored: &StoredPod, budgets: &BTreeMap<String, StoredBudget>) {
        self.leaving.remove(name);
        self.ended.remove(name);
        if let Some(node) = stored.node() {
            strike(&mut self.by_node, node, name);
        }
        if let Some(workload) = workload_of(stored) {
            strike(&mut self.of_workload, workload, name);
        }
        strike(&mut self.waiting, stored.pod.scheduler_name.as_str(), name);
        self.charge(stored, budgets, -1);
    }

    fn charge(&mut self, stored: &StoredPod, budgets: &BTreeMap<String, StoredBudget>, by: i64) {
        for (name, budget) in budgets {
            if budget.counts(stored) {
                *self.healthy.entry(name.clone()).or_default() += by;
            }
        }
    }

    /// A budget is created or changed.
    pub fn enter_budget(&mut self, name: &str, budget: &StoredBudget, pods: &BTreeMap<Name, StoredPod>) {
        let healthy = pods.values().filter(|stored| budget.counts(stored)).count();
        self.healthy.insert(name.to_owned(), i64::try_from(healthy).unwrap_or(i64::MAX));
    }

    /// The number of its pods whose disruption a budget allows.
    pub fn allows(&self, name: &str, budget: &StoredBudget) -> i64 {
        (self.healthy.get(name).copied().unwrap_or_default() - budget.min_available()).max(0)
    }

    /// The names of pods whose node is not one of these.
    pub fn orphans<T>(&self, nodes: &BTreeMap<Name, T>) -> Vec<Name> {
        let gone = self.by_node.iter().filter(|(node, _)| !nodes.contains_key(*node));
        let mut orphans: Vec<Name> = gone.flat_map(|(_, pods)| pods.iter().cloned()).collect();
        orphans.sort_unstable();
        orphans
    }

    /// Pods of a workload that are neither finished nor leaving.
    pub fn of_workload(&self, workload: &str) -> Option<&BTreeSet<Name>> {
        self.of_workload.get(workload)
    }

    /// The names of pods that are pending for this scheduler and not leaving.
    pub fn waiting(&self, scheduler: &str) -> impl Iterator<Item = &Name> {
        self.waiting.get(scheduler).into_iter().flatten()
    }
}
