//! Pods that other schedulers have yet to bind.
//!
//! Another scheduler may choose nodes much faster than it binds: kube-scheduler with its default limits chooses for hundreds of
//! pods per second and binds fifty. Until it does, nobody can see where its pods are going to be. So each of its waiting pods may
//! already have been assigned to any node, and as long as it binds pods, each node is expected to get its share of them. A pod of
//! ours for which that would leave no room waits until fewer of them are waiting.
//!
//! Only schedulers that bind pods count: one that does not is not about to fill a node. If none has bound any for two seconds,
//! nobody waits any longer. Nor do pods count that no node could take, or that have waited for so long that their scheduler seems to
//! have left them.
//!
//! A node's share is that of all nodes, in whole units: if the pods of the others can only run on a few, it is too low.

use rustc_hash::FxHashMap;
use secondmate_model::resources::{ResourceKey, Resources};
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// If no other scheduler has bound a pod for so long, none is binding any.
const ANYONE_BINDS_WITHIN: Duration = Duration::from_secs(2);
/// A scheduler that has bound no pod for so long is not binding any, even if others are. One with several names may have been busy
/// with pods of another name.
const BINDS_WITHIN: Duration = Duration::from_secs(10);
/// A node may get half as much again as its share, as schedulers do not fill nodes evenly.
const SHARE: (i64, i64) = (3, 2);
/// A pod counts for so long after it was first seen. At fifty a second, 15,000 pods are bound in this time.
const COUNTS_FOR: Duration = Duration::from_secs(300);
/// Maximum number of pods that stop counting for that reason with one input.
const AGED_AT_ONCE: usize = 64;

/// The waiting pods of other schedulers that may have been assigned to a node.
#[derive(Debug, Default)]
pub(super) struct OthersWaiting {
    pods: FxHashMap<Uid, Waiting>,
    /// What they request, by scheduler: of those that count.
    totals: BTreeMap<Atom, Total>,
    /// When they were first seen, in this order, including some that are gone.
    seen: VecDeque<(Timestamp, Uid)>,
    /// When schedulers last bound a pod: those that did so recently.
    bound: BTreeMap<Atom, Timestamp>,
    /// When old entries were last removed.
    swept: Option<Timestamp>,
    /// When any of them last bound a pod.
    last_bound: Option<Timestamp>,
    /// The most that any node has offered, of each resource.
    largest: Resources,
}

#[derive(Debug)]
struct Waiting {
    scheduler: Atom,
    requests: Resources,
    since: Timestamp,
    counts: bool,
}

/// What the waiting pods of a scheduler request together.
#[derive(Debug, Default, PartialEq)]
struct Total {
    pods: i64,
    requests: Resources,
}

/// Whether the one is nowhere more than the other.
fn fits(requests: &Resources, offered: &Resources) -> bool {
    requests.milli_cpu <= offered.milli_cpu
        && requests.memory <= offered.memory
        && requests.ephemeral_storage <= offered.ephemeral_storage
        && requests.scalars.iter().all(|(name, amount)| *amount <= offered.scalar(name).unwrap_or(0))
}

impl OthersWaiting {
    /// A pod of another scheduler waits.
    pub fn waits(&mut self, pod: &Pod, now: Timestamp) {
        // Amounts without a bound could overflow in the sum.
        let requests = &pod.bounded_requests.as_deref().unwrap_or(&pod.requests).filter;
        let since = match self.pods.get(&pod.uid) {
            Some(known) if known.requests == *requests => return,
            Some(known) => known.since,
            None => {
                self.seen.push_back((now, pod.uid.clone()));
                now
            }
        };
        self.count_no_more(&pod.uid);
        let waiting = Waiting {
            scheduler: pod.scheduler_name.clone(),
            requests: requests.clone(),
            since,
            counts: false,
        };
        self.pods.insert(pod.uid.clone(), waiting);
        self.count(&pod.uid, now);
    }

    fn count(&mut self, uid: &Uid, now: Timestamp) {
        let Some(waiting) = self.pods.get_mut(uid).filter(|waiting| !waiting.counts) else { return };
        if now.since(waiting.since) > COUNTS_FOR || !fits(&waiting.requests, &self.largest) {
            return;
        }
        waiting.counts = true;
        let total = self.totals.entry(waiting.scheduler.clone()).or_default();
        total.pods += 1;
        total.requests.add_assign(&waiting.requests);
    }

    /// A node offers this: pods count that did not fit on any node before.
    pub fn node_offers(&mut self, offered: &Resources, now: Timestamp) {
        if fits(offered, &self.largest) {
            return;
        }
        self.largest.set_max(offered);
        let mut left_out: Vec<Uid> =
            self.pods.iter().filter(|(_, waiting)| !waiting.counts).map(|(uid, _)| uid.clone()).collect();
        left_out.sort_unstable();
        for uid in left_out {
            self.count(&uid, now);
        }
    }

    /// The pod is on a node or gone, or its scheduler has found no node for it.
    pub fn waits_no_more(&mut self, uid: &Uid) {
        self.count_no_more(uid);
        self.pods.remove(uid);
        // Those that are gone stay until their turn comes, unless they are the most.
        if self.seen.len() > 1_000 + 2 * self.pods.len() {
            let pods = &self.pods;
            self.seen.retain(|(since, uid)| pods.get(uid).is_some_and(|waiting| waiting.since == *since));
        }
    }

    fn count_no_more(&mut self, uid: &Uid) {
        let Some(waiting) = self.pods.get_mut(uid).filter(|waiting| waiting.counts) else { return };
        waiting.counts = false;
        let Some(total) = self.totals.get_mut(&waiting.scheduler) else { return };
        total.pods -= 1;
        total.requests.sub_assign(&waiting.requests);
        if total.pods == 0 {
            self.totals.remove(&waiting.scheduler);
        } else if !waiting.requests.scalars.is_empty() {
            total.requests.drop_zeros();
        }
    }

    /// Another scheduler has bound a pod.
    pub fn bound(&mut self, scheduler: &Atom, now: Timestamp) {
        self.last_bound = Some(now);
        if self.swept.is_none_or(|at| now.since(at) > BINDS_WITHIN) {
            self.swept = Some(now);
            self.bound.retain(|_, at| now.since(*at) <= BINDS_WITHIN);
        }
        for _ in 0..AGED_AT_ONCE {
            let is_old = |(since, _): &mut (Timestamp, Uid)| now.since(*since) > COUNTS_FOR;
            let Some((_, uid)) = self.seen.pop_front_if(is_old) else { break };
            if self.pods.get(&uid).is_some_and(|waiting| now.since(waiting.since) > COUNTS_FOR) {
                self.count_no_more(&uid);
            }
        }
        self.bound.insert(scheduler.clone(), now);
    }

    /// Whether another scheduler has bound a pod just now.
    pub fn anyone_binds(&self, now: Timestamp) -> bool {
        self.last_bound.is_some_and(|at| now.since(at) <= ANYONE_BINDS_WITHIN)
    }

    /// Whether a node's share of them, of this many nodes, would leave no room on the node for the pod, which is already counted
    /// there.
    pub fn may_fill(&self, info: &NodeInfo, pod: &Pod, nodes: usize, now: Timestamp) -> bool {
        let nodes = i64::try_from(nodes).unwrap_or(i64::MAX).max(1);
        let (more, than) = SHARE;
        // What the node offers but the pods on it do not use may be less than nothing where a profile ignores the resource.
        let leaves_none = |asked: i64, used: i64, offered: i64, requested: &dyn Fn(&Total) -> i64| {
            if asked <= 0 || offered <= 0 {
                return false;
            }
            let binding = self.bound.iter().filter(|(_, at)| now.since(**at) <= BINDS_WITHIN);
            let totals = binding.filter_map(|(name, _)| self.totals.get(name));
            let waiting = totals.fold(0_i64, |sum, total| sum.saturating_add(requested(total).max(0)));
            let share = waiting.saturating_mul(more) / than.saturating_mul(nodes);
            share > 0 && (0..share).contains(&offered.saturating_sub(used))
        };
        let (offered, asked, used) = (&info.node().allocatable, &pod.requests.filter, info.requested());
        let count = i64::try_from(info.pods().len()).unwrap_or(i64::MAX);
        let resources = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::EphemeralStorage];
        let scalars = asked.scalars.iter().map(|(name, _)| ResourceKey::Scalar(name.clone()));
        leaves_none(1, count, offered.pods, &|total| total.pods)
            || resources.into_iter().chain(scalars).any(|key| {
                let requested = |total: &Total| total.requests.get(&key);
                leaves_none(asked.get(&key), used.get(&key), offered.resources.get(&key), &requested)
            })
    }

    /// How many pods wait, whether they count or not.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Checks that the totals agree with the pods.
    pub fn check(&self) -> Result<(), String> {
        let mut fresh: BTreeMap<Atom, Total> = BTreeMap::new();
        for waiting in self.pods.values().filter(|waiting| waiting.counts) {
            let total = fresh.entry(waiting.scheduler.clone()).or_default();
            total.pods += 1;
            total.requests.add_assign(&waiting.requests);
        }
        // A request of 0 may stand in either.
        let without_zeros = |totals: &BTreeMap<Atom, Total>| -> BTreeMap<Atom, (i64, Resources)> {
            let total = |(name, total): (&Atom, &Total)| {
                let mut requests = total.requests.clone();
                requests.drop_zeros();
                (name.clone(), (total.pods, requests))
            };
            totals.iter().map(total).collect()
        };
        if without_zeros(&fresh) != without_zeros(&self.totals) {
            return Err(format!("pods of others wait with {fresh:?}, but {:?} is kept", self.totals));
        }
        self.check_counts()
    }

    /// Checks, at little cost, that no more pods are counted than are known.
    pub fn check_counts(&self) -> Result<(), String> {
        let counted: i64 = self.totals.values().map(|total| total.pods).sum();
        let known = self.len();
        if usize::try_from(counted).is_ok_and(|counted| counted <= known)
            && self.totals.values().all(|total| total.pods > 0)
        {
            return Ok(());
        }
        Err(format!("of {known} waiting pods of others, {counted} are counted: {:?}", self.totals))
    }
}
