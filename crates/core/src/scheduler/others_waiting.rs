//! Pods that other schedulers have yet to bind.
//!
//! Another scheduler may choose nodes much faster than it binds: kube-scheduler with its default limits chooses for hundreds of
//! pods per second and binds fifty. Until it does, nobody can see where its pods are going to be. So each of its waiting pods may
//! already have been assigned to any node, and as long as it binds pods, each node is expected to get its share of them. A pod of
//! ours for which that would leave no room waits until fewer of them are waiting.
//!
//! Only a scheduler that has just bound a pod counts: one that does not bind is not about to fill a node. That also ends the wait
//! of two schedulers that would otherwise wait for each other.

use rustc_hash::FxHashMap;
use secondmate_model::resources::{ResourceKey, Resources};
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::time::Duration;

/// A scheduler that has bound no pod for so long is not binding any.
const BINDS_WITHIN: Duration = Duration::from_secs(2);
/// A node may get half as much again as its share, as schedulers do not fill nodes evenly.
const SHARE: (i64, i64) = (3, 2);

/// The waiting pods of other schedulers that may have been assigned a node.
#[derive(Debug, Default)]
pub(super) struct OthersWaiting {
    pods: FxHashMap<Uid, Waiting>,
    /// Schedulers with waiting pods, and those that have bound pods recently.
    schedulers: BTreeMap<Atom, Total>,
}

#[derive(Debug)]
struct Waiting {
    scheduler: Atom,
    requests: Resources,
}

/// What the waiting pods of a scheduler request together.
#[derive(Debug, Default)]
struct Total {
    pods: i64,
    requests: Resources,
    bound: Option<Timestamp>,
}

impl Total {
    fn binds(&self, now: Timestamp) -> bool {
        self.bound.is_some_and(|at| now.since(at) <= BINDS_WITHIN)
    }
}

impl OthersWaiting {
    /// A pod of another scheduler waits.
    pub fn waits(&mut self, pod: &Pod) {
        self.waits_no_more(&pod.uid);
        let total = self.schedulers.entry(pod.scheduler_name.clone()).or_default();
        total.pods += 1;
        total.requests.add_assign(&pod.requests.filter);
        let waiting =
            Waiting { scheduler: pod.scheduler_name.clone(), requests: pod.requests.filter.clone() };
        self.pods.insert(pod.uid.clone(), waiting);
    }

    /// The pod is on a node or gone, or its scheduler has found no node for it.
    pub fn waits_no_more(&mut self, uid: &Uid) {
        let Some(waiting) = self.pods.remove(uid) else { return };
        let Some(total) = self.schedulers.get_mut(&waiting.scheduler) else { return };
        total.pods -= 1;
        total.requests.sub_assign(&waiting.requests);
        total.requests.drop_zeros();
        if total.pods == 0 && total.bound.is_none() {
            self.schedulers.remove(&waiting.scheduler);
        }
    }

    /// Another scheduler has bound a pod.
    pub fn bound(&mut self, scheduler: &Atom, now: Timestamp) {
        if let Some(total) = self.schedulers.get_mut(scheduler) {
            total.bound = Some(now);
            return;
        }
        self.schedulers.retain(|_, total| total.pods > 0 || total.binds(now));
        self.schedulers.insert(scheduler.clone(), Total { bound: Some(now), ..Total::default() });
    }

    /// Whether a node's share of them, of this many nodes, would leave no room on the node for the pod, which is already counted
    /// there.
    pub fn may_fill(&self, info: &NodeInfo, pod: &Pod, nodes: usize, now: Timestamp) -> bool {
        let nodes = i64::try_from(nodes).unwrap_or(i64::MAX).max(1);
        let binding: Vec<&Total> =
            self.schedulers.values().filter(|total| total.pods > 0 && total.binds(now)).collect();
        if binding.is_empty() {
            return false;
        }
        let (more, than) = SHARE;
        let leaves_none = |asked: i64, used: i64, offered: i64, waiting: i64| {
            let share = waiting.saturating_mul(more) / than.saturating_mul(nodes);
            asked > 0 && offered.saturating_sub(used) < share
        };
        let (offered, asked, used) = (&info.node().allocatable, &pod.requests.filter, info.requested());
        let count = i64::try_from(info.pods().len()).unwrap_or(i64::MAX);
        let pods = binding.iter().map(|total| total.pods).sum();
        let resources = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::EphemeralStorage];
        let scalars = asked.scalars.iter().map(|(name, _)| ResourceKey::Scalar(name.clone()));
        leaves_none(1, count, offered.pods, pods)
            || resources.into_iter().chain(scalars).any(|key| {
                let waiting = binding
                    .iter()
                    .fold(0_i64, |sum, total| sum.saturating_add(total.requests.get(&key).max(0)));
                leaves_none(asked.get(&key), used.get(&key), offered.resources.get(&key), waiting)
            })
    }

    /// Checks that the totals agree with the pods.
    pub fn check(&self) -> Result<(), String> {
        let mut fresh: BTreeMap<&Atom, (i64, Resources)> = BTreeMap::new();
        for waiting in self.pods.values() {
            let (pods, requests) = fresh.entry(&waiting.scheduler).or_default();
            *pods += 1;
            requests.add_assign(&waiting.requests);
        }
        for (name, total) in &self.schedulers {
            let (pods, requests) = fresh.remove(name).unwrap_or_default();
            let same = |key: ResourceKey| total.requests.get(&key) == requests.get(&key);
            let agrees = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::EphemeralStorage]
                .into_iter()
                .chain(requests.scalars.iter().map(|(name, _)| ResourceKey::Scalar(name.clone())))
                .all(same);
            if total.pods != pods || !agrees {
                return Err(format!("{pods} pods of {name} wait with {requests:?}, but {total:?} is kept"));
            }
        }
        match fresh.keys().next() {
            Some(name) => Err(format!("nothing is kept of the waiting pods of {name}")),
            None => Ok(()),
        }
    }
}
