//! What is done beside other schedulers before a pod is bound to a node that has little room left.
//!
//! The watch shows what other schedulers bind some milliseconds late, more when the API server is busy; and what they have decided and
//! not bound yet nobody sees. Where a node has plenty of room that does no harm.
//!
//! Where it is nearly full, and somebody else has bound a pod to it within the last second or two, they go first: ours waits until it
//! is quiet there, or its time is up, and gives way where the room is taken meanwhile. How long it has to be quiet depends on the pod,
//! so that two schedulers that yield to each other do not go on at the same moment. A pod for which room was made does not wait.
//!
//! Then, where others have bound pods lately, on whatever node, the node's pods are read once more, and ours gives way where the read shows
//! that the room is taken. One read serves all pods that wait to be bound to the node. Where it fails the pods are bound as without it.
//!
//! What a read has found counts as if the watch had shown it, so that the next attempt knows it. The watch may never show it, if the pod
//! goes while the watch is interrupted: it counts until the watch has spoken, and no longer than a while.

use super::Scheduler;
use super::binding::{Event, Held, Room, Stage};
use crate::port::{Effect, Observation};
use rustc_hash::FxHasher;
use secondmate_model::resources::ResourceKey;
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Who has bound a pod within this time may be binding the next one.
const OTHERS_BIND_WITHIN: Duration = Duration::from_secs(10);
/// It is quiet on a node where nobody else has bound a pod to it for as long, and for up to as long again, which depends on the pod.
const QUIET: Duration = Duration::from_secs(1);
/// A node is nearly full where less than this part of what it offers is left.
const NEARLY_FULL: i64 = 10;
/// How long a pod that a read has found counts without the watch's word. A watch that is interrupted goes on after some seconds.
const COUNTS_UNSEEN_FOR: Duration = Duration::from_secs(60);

/// Reads that are on the way, and what they are about.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Nodes whose pods are being read: not more than there are bindings that wait for it.
    on_the_way: BTreeSet<Atom>,
    /// Pods that a read has found and the watch has not shown yet, each with the time until which it counts.
    found: BTreeMap<Uid, Timestamp>,
    /// When a pod was last seen on a node that somebody else had bound there.
    others_bound: Option<Timestamp>,
    /// The same for each node where it was not long ago: not more than there are nodes, and those that left lately.
    others_bound_on: BTreeMap<Atom, Timestamp>,
    /// When those of long ago were removed last.
    swept: Option<Timestamp>,
}

impl Reads {
    /// Somebody else has bound a pod to the node.
    pub fn others_bound(&mut self, node: &Atom, now: Timestamp) {
        self.others_bound = Some(now);
        if self.swept.is_none_or(|at| now.since(at) > OTHERS_BIND_WITHIN) {
            self.others_bound_on.retain(|_, at| now.since(*at) <= 2 * QUIET);
            self.swept = Some(now);
        }
        self.others_bound_on.insert(node.clone(), now);
    }

    /// The watch shows the pod on its node, or that it is gone from there.
    pub fn shown(&mut self, uid: &Uid) {
        self.found.remove(uid);
    }

    /// When a pod counts no longer that the watch has not shown, if any.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.found.values().min().copied()
    }

    fn others_bind(&self, now: Timestamp) -> bool {
        self.others_bound.is_some_and(|at| now.since(at) <= OTHERS_BIND_WITHIN)
    }

    /// When it will be quiet on the node for the pod, if nobody else binds a pod to it until then.
    fn quiet_at(&self, node: &Atom, pod: &Pod) -> Option<Timestamp> {
        let mut hasher = FxHasher::default();
        pod.uid.as_str().hash(&mut hasher);
        let more = hasher.finish() % 1_000;
        Some(*self.others_bound_on.get(node)? + QUIET + QUIET / 1_000 * u32::try_from(more).unwrap_or(0))
    }
}

impl Scheduler {
    /// Whether the room that the node has for the pod, which is counted there, is to be trusted.
    pub(super) fn room(&self, pod: &Pod, node: &Atom, now: Timestamp) -> Room {
        if !self.reads.others_bind(now)
            || !self.cache.node_info(node).is_some_and(|info| is_nearly_full_for(info, pod))
        {
            return Room::Enough;
        }
        let is_promised = pod.nominated_node_name.as_ref() == Some(node);
        match self.reads.quiet_at(node, pod) {
            Some(quiet_at) if quiet_at > now && !is_promised => Room::Contended { quiet_at },
            _ => Room::Scarce,
        }
    }

    /// Has the node's pods read, unless they are being read already.
    pub(super) fn read_node(&mut self, node: &Atom) {
        if self.reads.on_the_way.insert(node.clone()) {
            self.effects.push(Effect::ReadNode { node: node.clone() });
        }
    }

    /// The pods of a node, as they are now: those that fit no more give way, the others are bound.
    pub(super) fn node_read(&mut self, node: &Atom, pods: Result<Vec<Arc<Pod>>, String>, now: Timestamp) {
        if !self.reads.on_the_way.remove(node) {
            return;
        }
        let before = self.waiting_for_read(node);
        let mut result = "nothing_new";
        match pods {
            Ok(pods) => {
                for pod in pods {
                    let is_there = pod.node_name.as_ref() == Some(node) && !pod.terminal;
                    if !is_there || self.cache.is_added(&pod.uid) {
                        continue;
                    }
                    // One that we have assumed there takes no more room for it. Where its binding has been sent, that settles it, and the
                    // pod counts for longer than what only a read has found.
                    let is_assumed =
                        self.cache.pod(&pod.uid).is_some_and(|known| known.node_name == pod.node_name);
                    if is_assumed && self.is_sent(&pod.uid) {
                        self.was_on_a_node(&pod.uid);
                        continue;
                    }
                    if !is_assumed {
                        result = "new_pods";
                    }
                    self.reads.found.insert(pod.uid.clone(), now + COUNTS_UNSEEN_FOR);
                    self.assigned(pod, now);
                }
            }
            Err(_) => result = "failed",
        }
        let waiting = self.waiting_for_read(node);
        let is_averted = |uid: &&Uid| !waiting.contains(uid) && !self.cache.is_added(uid);
        let averted = before.iter().filter(is_averted).count();
        self.effects.push(Effect::Observed(Observation::NodeRead { result, averted }));
        for uid in waiting {
            self.binding_event(&uid, Event::NodeRead, now);
        }
    }

    /// Pods that wait for a read of the node before they are bound, the most important first.
    fn waiting_for_read(&self, node: &Atom) -> Vec<Uid> {
        let held = self.bindings.held_for(node).into_iter().rev();
        let reading = |uid: &Uid| matches!(self.bindings.stage(uid), Some(Stage::Held(Held::Reading { .. })));
        held.filter(reading).collect()
    }

    /// Pods that were found by a read, and that the watch has not shown since, count no longer.
    pub(super) fn tick_reads(&mut self, now: Timestamp) {
        while let Some(uid) =
            self.reads.found.iter().find(|(_, until)| **until <= now).map(|(uid, _)| uid.clone())
        {
            self.reads.found.remove(&uid);
            self.audit_counts_no_longer(&uid);
            self.assigned_gone(&uid, now);
        }
    }
}

/// Whether so little is left on the node that a few pods more would leave none for this one, which is counted already: less than a tenth
/// of what the node offers or less than the pod asks for, of something that it asks for. Of a host port there is only one.
fn is_nearly_full_for(info: &NodeInfo, pod: &Pod) -> bool {
    let nearly = |asked: i64, used: i64, offered: i64| {
        asked > 0 && offered.saturating_sub(used) < asked.max(offered / NEARLY_FULL)
    };
    let (offered, asked, used) = (&info.node().allocatable, &pod.requests.filter, info.requested());
    let count = i64::try_from(info.pods().len()).unwrap_or(i64::MAX);
    let resources = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::EphemeralStorage];
    let scalars = asked.scalars.iter().map(|(name, _)| ResourceKey::Scalar(name.clone()));
    !pod.host_ports.is_empty()
        || nearly(1, count, offered.pods)
        || resources
            .into_iter()
            .chain(scalars)
            .any(|key| nearly(asked.get(&key), used.get(&key), offered.resources.get(&key)))
}
