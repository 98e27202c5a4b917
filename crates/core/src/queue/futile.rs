//! Kinds of pods for which an attempt is futile: one of the kind was rejected, and nothing has changed since that an attempt looks at.
//!
//! Pods are of one kind here where they are alike in everything that plugins may read of them. Those that were tried before and are known to
//! be rejected again stand aside, in a heap for each kind, so that whatever may be placed is tried first. With each change of the cluster the
//! first pod of each kind is tried in earnest again, when it is its turn: one attempt a kind, not one a pod. Where nothing else is ready, the
//! others are given its answer.
//!
//! Pods of a kind that an event moves go there at once: to sort fifty thousand of them out one by one, when the next pod is taken, would take
//! half a second. So it is in backoffQ, whose pods are tried early where nothing else is ready: one that would be rejected again is left there
//! until its backoff ends, so that a crowd costs a look now and then and not a processor.
//!
//! Nobody's chance gets smaller: a pod stands aside only while an attempt would fail.
//!
//! There are at most [`KINDS_MAX`] kinds; pods of others are tried one by one, and counted.

use super::Place;
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
    /// Pods in activeQ that stand aside, those that are to be tried first on top; stale tickets are among them.
    active: Heap<Ticket>,
    /// The same in backoffQ, those whose backoff ends first on top.
    backoff: Heap<Ticket>,
}

impl Kind {
    fn aside(&self, place: Place) -> &Heap<Ticket> {
        if place == Place::Backoff { &self.backoff } else { &self.active }
    }

    fn aside_mut(&mut self, place: Place) -> &mut Heap<Ticket> {
        if place == Place::Backoff { &mut self.backoff } else { &mut self.active }
    }
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
            self.kinds
                .retain(|_, kind| kind.world == world || !kind.active.is_empty() || !kind.backoff.is_empty());
        }
        if !is_alike(pod, pod) {
            return;
        }
        if self.kinds.len() >= KINDS_MAX {
            self.not_kept += 1;
            return;
        }
        let (active, backoff) = (Heap::default(), Heap::default());
        self.kinds.insert(key, Kind { like: Arc::clone(pod), answer, world, active, backoff });
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

    /// Whether an attempt is known to be futile.
    pub fn is_futile(&self, pod: &Pod) -> bool {
        self.key(pod).is_some()
    }

    /// What an attempt would come to, where it is known to be futile.
    pub fn answer(&self, pod: &Pod) -> Option<Arc<Rejection>> {
        self.kinds.get(&self.key(pod)?).map(|kind| Arc::clone(&kind.answer))
    }

    /// Lets a pod stand aside that was tried before, and for which another attempt is futile; returns any other. It is in the place of which
    /// `compare` has the order.
    pub fn set_aside(
        &mut self,
        ticket: Ticket,
        place: Place,
        is_promised: &dyn Fn(&Uid) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Option<Ticket> {
        let pod = &ticket.queued.pod;
        if ticket.queued.attempts == 0 || is_promised(&pod.uid) {
            return Some(ticket);
        }
        match self.key(pod).and_then(|key| self.kinds.get_mut(&key)) {
            Some(kind) => kind.aside_mut(place).push(ticket, compare),
            None => return Some(ticket),
        }
        None
    }

    /// Where pods like this one stand aside, if others of its kind were rejected: also where that may be otherwise by now, since the first of
    /// them is tried in earnest then. It may turn out to be of another kind with the same hash, and is given no answer of this one.
    pub fn aside_of(&mut self, likeness: &Likeness, pod: &Pod, place: Place) -> Option<&mut Heap<Ticket>> {
        if self.kinds.is_empty() {
            return None;
        }
        self.kinds.get_mut(&likeness.of(pod)?).map(|kind| kind.aside_mut(place))
    }

    /// The first pods of the kinds: of those for which an attempt is futile, or of those for which that is not known any more.
    pub fn heads(&self, place: Place, futile: bool) -> impl Iterator<Item = (u64, &Ticket)> {
        let world = self.world;
        self.kinds
            .iter()
            .filter(move |(_, kind)| (kind.world == world) == futile)
            .filter_map(move |(key, kind)| Some((*key, kind.aside(place).peek()?)))
    }

    /// Takes the first pod of a kind.
    pub fn pop(
        &mut self,
        kind: u64,
        place: Place,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Option<Ticket> {
        self.kinds.get_mut(&kind)?.aside_mut(place).pop(compare)
    }

    /// Takes the pods that are first of their kinds, one after the other, while `takes` says so.
    pub fn pop_while(
        &mut self,
        place: Place,
        takes: impl Fn(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Vec<Ticket> {
        let mut taken = Vec::new();
        for kind in self.kinds.values_mut() {
            let aside = kind.aside_mut(place);
            while aside.peek().is_some_and(&takes) {
                taken.extend(aside.pop(&compare));
            }
        }
        taken
    }

    /// Number of tickets.
    pub fn len(&self, place: Place) -> usize {
        self.kinds.values().map(|kind| kind.aside(place).len()).sum()
    }

    pub fn iter(&self, place: Place) -> impl Iterator<Item = &Ticket> {
        self.kinds.values().flat_map(move |kind| kind.aside(place).iter())
    }

    /// The tickets of kinds for which it is not known any more that an attempt is futile.
    pub fn in_doubt(&self, place: Place) -> impl Iterator<Item = &Ticket> {
        let in_doubt = self.kinds.values().filter(|kind| kind.world != self.world);
        in_doubt.flat_map(move |kind| kind.aside(place).iter())
    }

    /// Keeps the tickets for which `keep` says so.
    pub fn retain(
        &mut self,
        place: Place,
        mut keep: impl FnMut(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) {
        for kind in self.kinds.values_mut() {
            kind.aside_mut(place).retain(&mut keep, &compare);
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
