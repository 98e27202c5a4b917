//! What is done about other schedulers before a pod is bound to a node that has little room left.
//!
//! The watch shows the bindings of other schedulers some milliseconds late, more if the API server is busy; and what they have
//! decided but not yet bound is not visible at all. If a node has plenty of room, that does no harm.
//!
//! If it is nearly full and another party has bound a pod to it within the last second or two, they go first: our pod waits until
//! it is quiet there or five seconds are over, and gives way if the room is taken meanwhile. How long it has to be quiet depends on the
//! pod, so that two schedulers that yield to each other do not continue at the same moment. A pod for which room was made on the
//! node does not wait there, not even if its nomination has ended because an earlier binding was refused.
//!
//! A pod waits in the same way if the pods that other schedulers have yet to bind may take the rest of the node (see
//! [`others_waiting`](super::others_waiting)), unless something has been written for it before, such as a claim that ties it to the
//! node.
//!
//! Then, if others have bound pods recently on any node, the node's pods are read once more, and our pod gives way if the read
//! shows that the room is taken. One read serves all pods that were waiting to be bound to the node when it was requested. For
//! those that came later, its answer may be older than their choice, so another read follows it: a pod waits for two at most. If a
//! read fails, the pods that waited for it are bound as if there had been no read.
//!
//! Pods found by a read count as if the watch had shown them, so the next attempt knows about them. The watch may never show such
//! a pod, if it goes away while the watch is interrupted: it counts until the watch has reported on it, and only for a limited
//! time.

use super::Scheduler;
use super::binding::{Contention, Event, Held, Room, Stage};
use super::bindings::Binding;
use crate::port::{Effect, Observation};
use rustc_hash::FxHasher;
use secondmate_model::resources::ResourceKey;
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// A party that has bound a pod within this time may be about to bind the next one.
const OTHERS_BIND_WITHIN: Duration = Duration::from_secs(10);
/// It is quiet on a node if no other party has bound a pod to it for this long, plus up to as long again, depending on the pod.
const QUIET: Duration = Duration::from_secs(1);
/// A pod that waits because of pods that others have yet to bind looks again after this long, plus up to as long again, depending
/// on the pod.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// If many pods are being bound, it looks again later, by this much for each of them: however many wait, looking takes only a
/// small part of the time.
const PAUSE_PER_BINDING: Duration = Duration::from_micros(100);
/// A node is nearly full if less than one part in this many of what it offers is left.
const NEARLY_FULL: i64 = 10;
/// How long a pod that a read has found counts without confirmation by the watch. An interrupted watch resumes after some
/// seconds.
const COUNTS_UNSEEN_FOR: Duration = Duration::from_secs(60);

/// Reads in progress, and their results.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Nodes whose pods are being read, and when that was requested: at most as many as there are bindings waiting for that.
    on_the_way: BTreeMap<Atom, Timestamp>,
    /// Pods that a read has found and the watch has not shown yet, each with the time until which it counts.
    found: BTreeMap<Uid, Timestamp>,
    /// When a pod that another party had bound was last seen on a node.
    others_bound: Option<Timestamp>,
    /// The same for each node where this was recent: at most as many as there are nodes, plus those that left recently.
    others_bound_on: BTreeMap<Atom, Timestamp>,
    /// When old entries were last removed.
    swept: Option<Timestamp>,
}

impl Reads {
    /// Another party has bound a pod to the node.
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

    /// When the next pod that the watch has not shown stops counting, if any.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.found.values().min().copied()
    }

    fn others_bind(&self, now: Timestamp) -> bool {
        self.others_bound.is_some_and(|at| now.since(at) <= OTHERS_BIND_WITHIN)
    }

    /// When it will be quiet on the node for the pod, if no other party binds a pod to it until then.
    fn quiet_at(&self, node: &Atom, pod: &Pod) -> Option<Timestamp> {
        Some(*self.others_bound_on.get(node)? + QUIET + jitter(pod, QUIET))
    }
}

/// A part of the time that depends on the pod.
fn jitter(pod: &Pod, of: Duration) -> Duration {
    let mut hasher = FxHasher::default();
    pod.uid.as_str().hash(&mut hasher);
    of / 1_000 * u32::try_from(hasher.finish() % 1_000).unwrap_or(0)
}

impl Scheduler {
    /// Whether the room on the node for the pod of the binding, which is already counted there, can be relied on.
    pub(super) fn room(&self, binding: &Binding, now: Timestamp) -> Room {
        let (pod, node) = (&binding.pod, &binding.node);
        let Some(info) = self.cache.node_info(node).filter(|_| self.reads.others_bind(now)) else {
            return Room::Enough;
        };
        let is_nearly_full = is_nearly_full_for(info, pod);
        let at_most = self.config.yield_last_room;
        // Two schedulers that wait for each other do not continue at the same moment.
        let left = at_most.saturating_sub(jitter(pod, at_most / 8)).saturating_sub(binding.yielded);
        let is_promised =
            || pod.nominated_node_name.as_ref() == Some(node) || self.loops.made_room_on(node, &pod.uid);
        let nodes = self.cache.size().nodes;
        let may_be_filled = !at_most.is_zero()
            && !binding.has_written
            && self.others_waiting.may_fill(info, pod, nodes, now)
            && !is_promised();
        if !is_nearly_full && !may_be_filled {
            return Room::Enough;
        }
        if left.is_zero() {
            return Room::Scarce;
        }
        if may_be_filled && self.others_waiting.anyone_binds(now) {
            let bindings = u32::try_from(self.bindings.len()).unwrap_or(u32::MAX);
            let pause = LOOK_AGAIN.max(PAUSE_PER_BINDING.saturating_mul(bindings));
            let look_at = now + pause + jitter(pod, pause);
            return Room::Contended { why: Contention::InQueues, look_at, at_most: left };
        }
        match self.reads.quiet_at(node, pod) {
            Some(look_at) if is_nearly_full && look_at > now && !is_promised() => {
                Room::Contended { why: Contention::OnTheNode, look_at, at_most: left }
            }
            _ => Room::Scarce,
        }
    }

    /// Requests a read of the node's pods, unless one is already in progress: in that case, the next is requested after it.
    pub(super) fn read_node(&mut self, node: &Atom, now: Timestamp) {
        if let Entry::Vacant(read) = self.reads.on_the_way.entry(node.clone()) {
            read.insert(now);
            self.effects.push(Effect::ReadNode { node: node.clone() });
        }
    }

    /// The current pods of a node: those of ours that no longer fit give way, the others are bound.
    pub(super) fn node_read(&mut self, node: &Atom, pods: Result<Vec<Arc<Pod>>, String>, now: Timestamp) {
        let Some(requested) = self.reads.on_the_way.remove(node) else { return };
        let before = self.waiting_for_read(node);
        let mut result = "nothing_new";
        match pods {
            Ok(pods) => {
                for pod in pods {
                    let is_there = pod.node_name.as_ref() == Some(node) && !pod.terminal;
                    if !is_there || self.cache.is_added(&pod.uid) {
                        continue;
                    }
                    // A pod that we have assumed there takes no additional room. If its binding has been sent, that will settle
                    // it, and the pod counts for longer than one that only a read has found.
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
            self.binding_event(&uid, Event::NodeRead { requested }, now);
        }
        // They came after the request.
        if !self.waiting_for_read(node).is_empty() {
            self.read_node(node, now);
        }
    }

    /// Pods that wait for a read of the node before they are bound, the most important first.
    fn waiting_for_read(&self, node: &Atom) -> Vec<Uid> {
        let held = self.bindings.held_for(node).into_iter().rev();
        let reading = |uid: &Uid| matches!(self.bindings.stage(uid), Some(Stage::Held(Held::Reading { .. })));
        held.filter(reading).collect()
    }

    /// Pods that were found by a read and that the watch has not shown since stop counting.
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

/// Whether so little is left on the node that a few more pods would have left no room for this one, which is already counted: for
/// something that the pod requests, less than a tenth of what the node offers, or less than the request itself, is left. Each
/// host port exists only once.
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
