//! Looking at the core from outside: the cache comparer and the invariants.

use super::Scheduler;
use crate::queue::Place;
use secondmate_model::{Atom, NodeInfo, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A difference between the cache and a fresh list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheDifference {
    /// The list has a node that the cache has not.
    MissingNode(String),
    /// The cache has a node that the list has not.
    RedundantNode(String),
    /// The list has a pod on a node that the cache has not, or has elsewhere.
    MissingPod {
        /// UID.
        pod: String,
        /// Node in the list.
        node: String,
    },
    /// The cache has a pod that the list has not.
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
    /// Compares the cache with fresh lists: node names, and the node of each assigned pod by UID. Assumed pods that the list
    /// does not show yet are no difference.
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
    /// scheduler can see more. The numbers are those of `ARCHITECTURE.md`.
    ///
    /// # Errors
    /// The first invariant that is broken, in words.
    pub fn check(&self) -> Result<(), String> {
        self.queue.check(&self.profiles).map_err(|broken| format!("invariant 3: {broken}"))?;
        self.bindings.check()?;
        for entry in self.queue.entries_sorted() {
            let pod = &entry.queued.pod;
            let on_its_way = self.bindings.contains(&pod.uid);
            if (entry.place == Place::InFlight) != on_its_way {
                return Err(format!(
                    "invariant 3: pod {} is {:?}; on its way: {on_its_way}",
                    pod.full_name(),
                    entry.place
                ));
            }
            if self.cache.is_added(&pod.uid) && !on_its_way {
                return Err(format!("invariant 3: pod {} is queued and on a node", pod.full_name()));
            }
        }
        for (binding, stage) in self.bindings.iter() {
            let (name, assumed) = (binding.pod.full_name(), self.cache.is_assumed(&binding.pod.uid));
            if stage.holds_room() != assumed {
                return Err(format!(
                    "invariant 4: pod {name} is assumed: {assumed}, but its binding is {stage:?}"
                ));
            }
        }
        for (pod, assumed) in self.cache.pods_sorted() {
            if assumed && !self.bindings.contains(&pod.uid) {
                return Err(format!(
                    "invariant 4: pod {} is assumed and nothing will settle it",
                    pod.full_name()
                ));
            }
            if self.nominator.node_of(&pod.uid).is_some() {
                return Err(format!("pod {} is on a node and still nominated to one", pod.full_name()));
            }
        }
        for (what, pod) in self
            .loops
            .preemptors()
            .map(|pod| ("remembered as a preemptor", pod))
            .chain(self.postponed.pods().map(|pod| ("to be tried when its preemption may be", pod)))
        {
            if self.queue.get(pod).is_none() {
                return Err(format!("pod {pod} is {what}, but it is not pending"));
            }
        }
        self.check_audit()
    }

    /// Nodes on which the pods known to the cache ask for more than there is, or for the same host port, with those pods of ours
    /// that are among them. Where other schedulers are at work this says nothing about whose fault it is.
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
