//! Pods whose preemption is put off, with the time at which they are retried for it.
//! They are pending pods, so there are never more of them.

use crate::touched::Touched;
use secondmate_model::{Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Postponed {
    by_pod: BTreeMap<Uid, Timestamp>,
    by_time: BTreeSet<(Timestamp, Uid)>,
    /// Those that wait for the status of a PodDisruptionBudget, and are retried when it is known.
    for_budgets: BTreeSet<Uid>,
    pub touched: Touched,
}

impl Postponed {
    pub fn pods(&self) -> impl Iterator<Item = &Uid> {
        self.by_pod.keys()
    }

    pub fn contains(&self, pod: &Uid) -> bool {
        self.by_pod.contains_key(pod)
    }

    /// The pod is retried at this time.
    pub fn insert(&mut self, pod: &Uid, until: Timestamp) {
        self.touched.note(pod);
        self.remove(pod);
        self.by_pod.insert(pod.clone(), until);
        self.by_time.insert((until, pod.clone()));
    }

    /// The pod is retried when budgets are settled, or at this time.
    pub fn insert_for_budget(&mut self, pod: &Uid, until: Timestamp) {
        self.insert(pod, until);
        self.for_budgets.insert(pod.clone());
    }

    /// Whether the pod waits for the status of a budget.
    pub fn waits_for_budget(&self, pod: &Uid) -> bool {
        self.for_budgets.contains(pod)
    }

    /// Takes the pods that wait for the status of a budget.
    pub fn take_for_budgets(&mut self) -> BTreeSet<Uid> {
        let pods = std::mem::take(&mut self.for_budgets);
        pods.iter().for_each(|pod| self.remove(pod));
        pods
    }

    /// The pod need not be retried for this any more.
    pub fn remove(&mut self, pod: &Uid) {
        if let Some(until) = self.by_pod.remove(pod) {
            self.by_time.remove(&(until, pod.clone()));
            self.for_budgets.remove(pod);
        }
    }

    /// When the next pod is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// Takes a pod that is due, the earliest first.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Uid> {
        let (until, pod) = self.by_time.first()?.clone();
        if until > now {
            return None;
        }
        self.remove(&pod);
        Some(pod)
    }
}
