//! Kinds of pods for which an attempt is futile: one of the kind was rejected, and nothing has changed since that an attempt looks at.
//!
//! Pods are of one kind here where they are alike in everything that plugins may read of them. Those that were tried before and are known to
//! be rejected again stand aside, in a heap for each kind, so that whatever may be placed is tried first. With each change of the cluster the
//! first pod of each kind is tried in earnest again, when it is its turn: one attempt a kind, not one a pod. Where nothing else is ready, the
//! others are given its answer.
//!
//! Pods of a kind that an event moves go there at once: to sort fifty thousand of them out one by one, when the next pod is taken, would take
//! half a second.
//!
//! Nobody's chance gets smaller: a pod stands aside only while an attempt would fail.
//!
//! There are at most [`KINDS_MAX`] kinds; pods of others are tried one by one, and counted.

use super::places::Ticket;
use crate::heap::Heap;
use rustc_hash::FxHasher;
use secondmate_cycle::{Rejection, hash_parts, same_parts};
use secondmate_framework::PodParts;
use secondmate_model::{Pod, Uid};
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most kinds that are known at a time: each costs a comparison when a pod is taken from the queue.
const KINDS_MAX: usize = 256;

#[derive(Debug)]
struct Kind {
    /// One of its pods.
    like: Arc<Pod>,
    answer: Arc<Rejection>,
    /// The state of the cluster in which it was given.
    world: u64,
    /// Pods that stand aside, those that are to be tried first on top; stale tickets are among them.
    aside: Heap<Ticket>,
}

/// What is known to be futile.
#[derive(Debug, Default)]
pub(super) struct Futile {
    /// By hash; of kinds with the same hash one is known.
    kinds: BTreeMap<u64, Kind>,
    /// Counts the states of the cluster.
    world: u64,
    /// Answers that were not kept, for want of room.
    not_kept: u64,
}

/// The hash of a pod's kind, once it was asked for; none where the pod is like no other.
#[derive(Clone, Debug, Default)]
pub(super) struct Likeness(OnceCell<Option<u64>>);

impl Likeness {
    fn of(&self, pod: &Pod) -> Option<u64> {
        *self.0.get_or_init(|| is_alike(pod, pod).then(|| hash(pod)))
    }
}

fn hash(pod: &Pod) -> u64 {
    let mut hasher = FxHasher::default();
    (&pod.scheduler_name, pod.never_preempts).hash(&mut hasher);
    hash_parts(pod, PodParts::ALL, &mut hasher);
    hasher.finish()
}

impl Futile {
    /// What attempts look at has changed: they may end otherwise now.
    pub fn world_changed(&mut self) {
        self.world += 1;
    }

    /// The pod was rejected, and so would be others that are alike, while nothing changes.
    pub fn remember(&mut self, pod: &Arc<Pod>, answer: Arc<Rejection>) {
        let (key, world) = (hash(pod), self.world);
        if let Some(kind) = self.kinds.get_mut(&key) {
            if is_alike(pod, &kind.like) {
                (kind.answer, kind.world) = (answer, world);
            }
            return;
        }
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.retain(|_, kind| kind.world == world || !kind.aside.is_empty());
        }
        if !is_alike(pod, pod) {
            return;
        }
        if self.kinds.len() >= KINDS_MAX {
            self.not_kept += 1;
            return;
        }
        self.kinds.insert(key, Kind { like: Arc::clone(pod), answer, world, aside: Heap::default() });
    }

    /// Answers so far that were not kept, since there are [`KINDS_MAX`] kinds.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }

    fn key(&self, pod: &Pod) -> Option<u64> {
        if self.kinds.is_empty() {
            return None;
        }
        let key = hash(pod);
        let kind = self.kinds.get(&key)?;
        (kind.world == self.world && is_alike(pod, &kind.like)).then_some(key)
    }

    /// What an attempt would come to, where it is known to be futile.
    pub fn answer(&self, pod: &Pod) -> Option<Arc<Rejection>> {
        self.kinds.get(&self.key(pod)?).map(|kind| Arc::clone(&kind.answer))
    }

    /// Lets a pod stand aside that was tried before, and for which another attempt is futile; returns any other.
    pub fn set_aside(
        &mut self,
        ticket: Ticket,
        is_promised: &dyn Fn(&Uid) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Option<Ticket> {
        let pod = &ticket.queued.pod;
        if ticket.queued.attempts == 0 || is_promised(&pod.uid) {
            return Some(ticket);
        }
        match self.key(pod).and_then(|key| self.kinds.get_mut(&key)) {
            Some(kind) => kind.aside.push(ticket, compare),
            None => return Some(ticket),
        }
        None
    }

    /// Where pods like this one stand aside, if others of its kind were rejected: also where that may be otherwise by now, since the first of
    /// them is tried in earnest then. It may turn out to be of another kind with the same hash, and is given no answer of this one.
    pub fn aside_of(&mut self, likeness: &Likeness, pod: &Pod) -> Option<&mut Heap<Ticket>> {
        if self.kinds.is_empty() {
            return None;
        }
        self.kinds.get_mut(&likeness.of(pod)?).map(|kind| &mut kind.aside)
    }

    /// The first pods of the kinds: of those for which an attempt is futile, or of those for which that is not known any more.
    pub fn heads(&self, futile: bool) -> impl Iterator<Item = (u64, &Ticket)> {
        let world = self.world;
        self.kinds
            .iter()
            .filter(move |(_, kind)| (kind.world == world) == futile)
            .filter_map(|(key, kind)| Some((*key, kind.aside.peek()?)))
    }

    /// Takes the first pod of a kind.
    pub fn pop(&mut self, kind: u64, compare: impl Fn(&Ticket, &Ticket) -> Ordering) -> Option<Ticket> {
        self.kinds.get_mut(&kind)?.aside.pop(compare)
    }

    /// Takes away stale tickets that are on top.
    pub fn drop_stale(
        &mut self,
        is_valid: impl Fn(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) {
        for kind in self.kinds.values_mut() {
            while kind.aside.peek().is_some_and(|head| !is_valid(head)) {
                kind.aside.pop(&compare);
            }
        }
    }

    /// Number of tickets.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|kind| kind.aside.len()).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.kinds.values().flat_map(|kind| kind.aside.iter())
    }

    /// Keeps the tickets for which `keep` says so.
    pub fn retain(
        &mut self,
        mut keep: impl FnMut(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) {
        for kind in self.kinds.values_mut() {
            kind.aside.retain(&mut keep, &compare);
        }
    }
}

/// Whether plugins see no difference. What is said about a pod with volumes or resource claims is said about these.
fn is_alike(one: &Pod, other: &Pod) -> bool {
    one.scheduler_name == other.scheduler_name
        && one.never_preempts == other.never_preempts
        && one.nominated_node_name.is_none()
        && !one.has_resource_claims
        && same_parts(one, other, PodParts::ALL)
}
