//! Inspecting the core from outside: the cache comparer and the invariants.

use super::Scheduler;
use crate::queue::Place;
use secondmate_model::{Atom, NodeInfo, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A difference between the cache and a fresh list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheDifference {
    /// The list has a node that is missing in the cache.
    MissingNode(String),
    /// The cache has a node that is missing in the list.
    RedundantNode(String),
    /// The list has a pod on a node, and the cache does not have it or has it elsewhere.
    MissingPod {
        /// UID.
        pod: String,
        /// Node in the list.
        node: String,
    },
    /// The cache has a pod that is missing in the list.
    RedundantPod {
        /// UID.
        pod: String,
        /// Node in the cache.
        node: String,
    },
}

impl fmt::Display for CacheDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingNode(node) => write!(f, "node {node} is missing in the cache"),
            Self::RedundantNode(node) => write!(f, "node {node} is in the cache but not in the cluster"),
            Self::MissingPod { pod, node } => write!(f, "pod {pod} on node {node} is missing in the cache"),
            Self::RedundantPod { pod, node } => {
                write!(f, "pod {pod} is in the cache on node {node} but not in the cluster")
            }
        }
    }
}

impl Scheduler {
    /// Compares the cache with fresh lists: node names, and the node of each assigned pod by UID. Assumed pods that the list does
    /// not show yet do not count as differences.
    #[must_use]
    pub fn compare(
        &self,
        nodes: &BTreeSet<String>,
        assigned: &BTreeMap<String, String>,
    ) -> Vec<CacheDifference> {
        let mut differences = Vec::new();
        let cached: BTreeSet<String> = self.cache.node_names().iter().map(ToString::to_string).collect();
        differences.extend(nodes.difference(&cached).cloned().map(CacheDifference::MissingNode));
        differences.extend(cached.difference(nodes).cloned().map(CacheDifference::RedundantNode));
        let mut here = BTreeMap::new();
        for (pod, assumed) in self.cache.pods_sorted() {
            let node = pod.node_name.as_ref().map(ToString::to_string).unwrap_or_default();
            if !assumed && !assigned.contains_key(pod.uid.as_str()) {
                differences
                    .push(CacheDifference::RedundantPod { pod: pod.uid.to_string(), node: node.clone() });
            }
            here.insert(pod.uid.to_string(), node);
        }
        for (pod, node) in assigned {
            if here.get(pod) != Some(node) {
                differences.push(CacheDifference::MissingPod { pod: pod.clone(), node: node.clone() });
            }
        }
        differences
    }

    /// Checks what must hold after every input and step, as far as it can be seen from inside; an [audited](Scheduler::audited)
    /// scheduler can check more. The numbers are those of `ARCHITECTURE.md`.
    ///
    /// # Errors
    /// The first broken invariant, in words.
    pub fn check(&self) -> Result<(), String> {
        self.queue.check(&self.profiles).map_err(in_queue)?;
        self.bindings.check()?;
        self.others_waiting.check()?;
        let mut pods: BTreeSet<&Uid> = self.loops.preemptors().chain(self.postponed.pods()).collect();
        pods.extend(self.queue.entries_sorted().into_iter().map(|entry| &entry.queued.pod.uid));
        pods.extend(self.bindings.iter().map(|(binding, _)| &binding.pod.uid));
        pods.extend(self.cache.pods_sorted().into_iter().map(|(pod, _)| &pod.uid));
        pods.extend(self.audit.iter().flat_map(|audit| audit.pending()));
        pods.into_iter().try_for_each(|uid| self.check_pod(uid))?;
        self.check_audit()
    }

    /// Like [`Scheduler::check`], but in an [audited](Scheduler::audited) scheduler only for what changed since the last call;
    /// returns the pods that were checked. The cost depends on what has changed.
    ///
    /// # Errors
    /// The first broken invariant, in words.
    pub fn check_changes(&mut self) -> Result<BTreeSet<Uid>, String> {
        let Some(audit) = &mut self.audit else { return self.check().map(|()| BTreeSet::new()) };
        let mut pods = BTreeSet::new();
        self.bindings.touched.take_into(&mut pods);
        if !pods.is_empty() {
            self.bindings.check()?;
        }
        self.others_waiting.check_counts()?;
        self.queue.touched.take_into(&mut pods);
        self.cache.touched().take_into(&mut pods);
        self.nominator.touched().take_into(&mut pods);
        self.loops.touched.take_into(&mut pods);
        self.postponed.touched.take_into(&mut pods);
        audit.touched.take_into(&mut pods);
        self.queue.check_changes(&pods, &mut audit.counted, &self.profiles).map_err(in_queue)?;
        pods.iter().try_for_each(|uid| self.check_pod(uid))?;
        self.check_audit()?;
        Ok(pods)
    }

    /// Starts recording changes, for [`Scheduler::check_changes`].
    pub(super) fn note_changes(&mut self) {
        self.bindings.touched.keep();
        self.queue.touched.keep();
        self.cache.touched().keep();
        self.nominator.touched().keep();
        self.loops.touched.keep();
        self.postponed.touched.keep();
    }

    /// Checks what must hold for a pod, wherever it is.
    fn check_pod(&self, uid: &Uid) -> Result<(), String> {
        let (queued, on_its_way) = (self.queue.get(uid), self.bindings.contains(uid));
        if let Some(entry) = queued {
            let name = entry.queued.pod.full_name();
            if (entry.place == Place::InFlight) != on_its_way {
                let place = entry.place;
                return Err(format!("invariant 3: pod {name} is {place:?}; on its way: {on_its_way}"));
            }
            if self.cache.is_added(uid) && !on_its_way {
                return Err(format!("invariant 3: pod {name} is queued and on a node"));
            }
        }
        let assumed = self.cache.is_assumed(uid);
        if let Some(stage) = self.bindings.stage(uid)
            && stage.holds_room() != assumed
        {
            return Err(format!(
                "invariant 4: pod {uid} is assumed: {assumed}, but its binding is {stage:?}"
            ));
        }
        if assumed && !on_its_way {
            return Err(format!("invariant 4: pod {uid} is assumed and nothing will settle it"));
        }
        if self.cache.pod(uid).is_some() && self.nominator.node_of(uid).is_some() {
            return Err(format!("pod {uid} is on a node and still nominated to one"));
        }
        if queued.is_none() && self.loops.remembers(uid) {
            return Err(format!("pod {uid} is remembered as a preemptor, but it is not pending"));
        }
        if queued.is_none() && self.postponed.contains(uid) {
            return Err(format!(
                "pod {uid} is to be tried when its preemption may be, but it is not pending"
            ));
        }
        self.check_audit_of(uid)
    }

    /// Nodes on which the pods known to the cache request more than there is, or the same host port, with the pods of ours among
    /// them. If other schedulers are present, this does not say who is at fault.
    #[must_use]
    pub fn overcommitted(&self) -> Vec<(Atom, Vec<Uid>)> {
        let mut over = Vec::new();
        for name in self.cache.node_names() {
            let Some(info) = self.cache.node_info(&name) else { continue };
            if is_overcommitted(info) {
                let ours = info.pods().iter().filter(|p| self.profiles.contains_key(&p.scheduler_name));
                over.push((name, ours.map(|p| p.uid.clone()).collect()));
            }
        }
        over
    }
}

fn in_queue(broken: String) -> String {
    format!("invariant 3: {broken}")
}

fn is_overcommitted(info: &NodeInfo) -> bool {
    let (used, room) = (info.requested(), &info.node().allocatable);
    let resources = &room.resources;
    let ports: Vec<_> = info.pods().iter().flat_map(|pod| pod.host_ports.iter()).collect();
    i64::try_from(info.pods().len()).is_ok_and(|n| n > room.pods)
        || used.milli_cpu > resources.milli_cpu
        || used.memory > resources.memory
        || used.ephemeral_storage > resources.ephemeral_storage
        || used.scalars.iter().any(|(name, used)| *used > resources.scalar(name).unwrap_or(0))
        || ports.iter().enumerate().any(|(at, port)| ports[..at].iter().any(|other| other.conflicts(port)))
}

#[cfg(test)]
mod tests;
