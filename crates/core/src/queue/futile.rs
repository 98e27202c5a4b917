//! Kinds of pods for which an attempt is futile: one pod of the kind was rejected, and nothing that an attempt looks at has
//! changed since.
//!
//! Here, pods are of the same kind if they are equal in everything that plugins may read of them. Pods that were tried before and
//! are known to be rejected again stand aside, in one heap per kind, so that pods that might be placed are tried first. After
//! each change of the cluster, the first pod of each kind is really tried again when its turn comes: one attempt per kind, not
//! per pod. If nothing else is ready, the others get its answer.
//!
//! Pods of a known kind that an event moves are put aside at once: sorting fifty thousand of them out one by one when the next
//! pod is popped would take half a second. The same applies in backoffQ, whose pods are tried early if nothing else is ready: one
//! that would be rejected again stays there until its backoff ends, so that a crowd of such pods costs an occasional check
//! instead of a whole CPU.
//!
//! This does not reduce any pod's chances: a pod stands aside only while an attempt would fail.
//!
//! There are at most [`KINDS_MAX`] kinds, and one pod of each is kept, so there is none for pods larger than [`POD_BYTES_MAX`]; pods
//! of further kinds are tried one by one, and counted.

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

/// Maximum number of kinds known at a time: each costs a comparison whenever a pod is popped.
const KINDS_MAX: usize = 256;

/// Bytes of a pod that is kept for its kind, which makes 16 MiB for all kinds. Hardly any pod has a tenth of that.
const POD_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
struct Kind {
    /// One of its pods.
    like: Arc<Pod>,
    answer: Arc<Rejection>,
    /// The state of the cluster for which the answer is valid.
    world: u64,
    /// Pods in activeQ that stand aside, with the next one to be tried on top; includes stale tickets.
    active: Heap<Ticket>,
    /// The same for backoffQ, with the one whose backoff ends first on top.
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

/// The kinds for which attempts are known to be futile.
#[derive(Debug, Default)]
pub(super) struct Futile {
    /// By hash; of several kinds with the same hash, only one is known.
    kinds: BTreeMap<u64, Kind>,
    /// Counts the states of the cluster.
    world: u64,
    /// Number of answers that were not kept, for lack of room or because the pod is too large.
    not_kept: u64,
}

/// The hash of a pod's kind, computed on first use; `None` inside if the pod has no equivalents.
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
    /// Something changed that attempts look at, so they may end differently now.
    pub fn world_changed(&mut self) {
        self.world += 1;
    }

    /// The pod was rejected, and so would be equivalent pods as long as nothing changes.
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
        if self.kinds.len() >= KINDS_MAX || pod.bytes() > POD_BYTES_MAX {
            self.not_kept += 1;
            return;
        }
        let (active, backoff) = (Heap::default(), Heap::default());
        self.kinds.insert(key, Kind { like: Arc::clone(pod), answer, world, active, backoff });
    }

    /// Total number of answers that were not kept because there are already [`KINDS_MAX`] kinds or the pod is too large.
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

    /// The result of an attempt, if it is known to be futile.
    pub fn answer(&self, pod: &Pod) -> Option<Arc<Rejection>> {
        self.kinds.get(&self.key(pod)?).map(|kind| Arc::clone(&kind.answer))
    }

    /// Puts a pod aside if it was tried before and another attempt is futile; otherwise returns the ticket. `compare` gives the
    /// order of `place`.
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

    /// The heap in which pods like this one stand aside, if others of its kind were rejected; even if the cluster has changed
    /// since, because the first of them is really tried in that case. The pod may turn out to be of another kind with the same
    /// hash, and then does not get this kind's answer.
    pub fn aside_of(&mut self, likeness: &Likeness, pod: &Pod, place: Place) -> Option<&mut Heap<Ticket>> {
        if self.kinds.is_empty() {
            return None;
        }
        self.kinds.get_mut(&likeness.of(pod)?).map(|kind| kind.aside_mut(place))
    }

    /// The first pods of the kinds: either of those for which an attempt is futile, or of those for which that is no longer
    /// known.
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

    /// Takes the first pods of the kinds, one after the other, while `takes` returns true.
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

    /// The tickets of kinds for which it is no longer known that an attempt is futile.
    pub fn in_doubt(&self, place: Place) -> impl Iterator<Item = &Ticket> {
        let in_doubt = self.kinds.values().filter(|kind| kind.world != self.world);
        in_doubt.flat_map(move |kind| kind.aside(place).iter())
    }

    /// Keeps the tickets for which `keep` returns true.
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

/// Whether plugins see no difference between the pods. Pods with volumes or resource claims are never alike, since answers depend
/// on those objects.
fn is_alike(one: &Pod, other: &Pod) -> bool {
    one.scheduler_name == other.scheduler_name
        && one.never_preempts == other.never_preempts
        && one.nominated_node_name.is_none()
        && !one.has_resource_claims
        && same_parts(one, other, PodParts::ALL)
}
