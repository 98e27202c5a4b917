//! The scheduling queue: activeQ, backoffQ, unschedulable and gated pods, and the pods in flight.
//!
//! One map holds every pending pod of ours with its place, so a pod cannot be in two places or in none. The heaps hold tickets: a
//! pod that moves gets a new ticket, and the old one is skipped when it comes up. Waiting pods are indexed by the plugins that
//! rejected them, so an event costs nothing for pods that it cannot help.
//!
//! Backoff, the flush of pods that have waited too long, and the treatment of events while pods are in flight follow upstream's
//! `pkg/scheduler/backend/queue`.

mod active;
mod backoff;
mod check;
mod futile;
mod in_flight;
mod moves;
mod places;
mod waiting;

use crate::changes::UNSCHEDULED_POD_ADD;
use crate::heap::Heap;
use crate::touched::Touched;
use active::Active;
pub(crate) use check::Counted;
use futile::{Futile, Likeness};
pub use in_flight::IN_FLIGHT_EVENTS_MAX;
use in_flight::InFlight;
use moves::{Move, Strategy};
use places::{Ticket, by_expiry, by_queue_sort};
use rustc_hash::FxHashMap;
use secondmate_cycle::{Profile, Rejection};
use secondmate_framework::{ActionType, ClusterEvent, EventResource, ObjectChange, QueuedPod};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use waiting::Waiting;

/// Minimum capacity of the map of pods, however few there are.
const ENTRIES_KEPT: usize = 1024;
/// How often the unschedulable pods are checked for ones that have waited too long.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(30);

/// The event that moves pods that have waited too long.
const TIMEOUT: ClusterEvent =
    ClusterEvent::new(EventResource::Wildcard, ActionType::ALL, "UnschedulableTimeout");

/// The event that brings back a pod whose attempt failed.
const FAILURE: &str = "ScheduleAttemptFailure";

/// Durations of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Backoff after the first failure.
    pub initial_backoff: Duration,
    /// Maximum backoff; zero disables backoff.
    pub max_backoff: Duration,
    /// Maximum time that a pod stays unschedulable before it is retried.
    pub max_unschedulable: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            max_unschedulable: Duration::from_secs(5 * 60),
        }
    }
}

/// Where a pending pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Ready to be tried.
    Active,
    /// Rejected; retried when its backoff ends, or earlier if nothing else is left.
    Backoff,
    /// Failed with an error; retried when its backoff ends.
    ErrorBackoff,
    /// Rejected; waits for an event.
    Unschedulable,
    /// Held back by a PreEnqueue plugin.
    Gated,
    /// Popped: being tried, waiting on permit, or being bound.
    InFlight,
}

/// A pending pod and what is known about its attempts.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pod and the data that queue sort compares.
    pub queued: QueuedPod,
    /// When it was first seen.
    pub added: Timestamp,
    /// When it first became ready to be tried; `None` while gated.
    pub first_active: Option<Timestamp>,
    /// Number of attempts that ended in a rejection.
    pub unschedulable_count: u32,
    /// Number of consecutive attempts that ended in an error.
    pub errors_in_a_row: u32,
    /// Plugins that rejected it in the last attempt.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that returned `Pending`, because they wait for something specific.
    pub pending_by: BTreeSet<Atom>,
    /// PreEnqueue plugin that holds it back.
    pub gated_by: Option<Atom>,
    /// Whether only the time-out has moved it since its last attempt.
    pub flushed: bool,
    /// When it was last moved because it had waited too long, since its last attempt.
    pub flushed_at: Option<Timestamp>,
    /// How long it has waited for other schedulers before it was bound, in all attempts.
    pub yielded: Duration,
    /// Whether a PreBind plugin has written something for it, in any attempt.
    pub has_written: bool,
    /// Where it is.
    pub place: Place,
    ticket: u64,
    likeness: Likeness,
}

impl Entry {
    /// Plugins that rejected it in the last attempt, or returned `Pending`.
    fn rejectors(&self) -> impl Iterator<Item = &Atom> {
        self.rejected_by.iter().chain(self.pending_by.difference(&self.rejected_by))
    }
}

/// Number of pods in each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the place of its name")]
pub struct QueueSize {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
    pub in_flight: usize,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default)]
pub struct AttemptOutcome {
    /// Plugins that rejected the pod; empty if the attempt failed with an error.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that returned `Pending`.
    pub pending_by: BTreeSet<Atom>,
}

/// Profiles by scheduler name.
pub type Profiles = BTreeMap<Atom, Arc<Profile>>;

/// Gates held by the core itself, such as an unfinished preemption.
pub trait Gates {
    /// The plugin in whose name the pod is held back, if it is.
    fn holds(&self, pod: &Uid) -> Option<Atom>;
}

/// Holds nothing back.
impl Gates for () {
    fn holds(&self, _pod: &Uid) -> Option<Atom> {
        None
    }
}

/// Pods to which a node is promised, for example by a preemption.
pub trait Promises {
    /// Whether a node is promised to this pod.
    fn is_promised(&self, pod: &Uid) -> bool;
}

/// Promises nothing.
impl Promises for () {
    fn is_promised(&self, _pod: &Uid) -> bool {
        false
    }
}

/// What the queue needs when it moves pods.
#[derive(Clone, Copy)]
pub struct QueueContext<'a> {
    /// The time.
    pub now: Timestamp,
    /// For PreEnqueue plugins, hints and queue sort.
    pub profiles: &'a Profiles,
    /// The core's own gates.
    pub gates: &'a dyn Gates,
    /// Pods that have no equivalents, because a node is promised to them.
    pub promises: &'a dyn Promises,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    config: QueueConfig,
    entries: FxHashMap<Uid, Entry>,
    active: Active,
    futile: Futile,
    backoff: Heap<Ticket>,
    error_backoff: Heap<Ticket>,
    /// Unschedulable and gated pods.
    waiting: Waiting,
    in_flight: InFlight,
    next_ticket: u64,
    size: QueueSize,
    /// Those of `size.backoff` that failed with an error.
    error_backoff_len: usize,
    next_flush: Timestamp,
    /// Number of pods that entered a queue, by queue and event, for the metric.
    incoming: BTreeMap<(&'static str, &'static str), u64>,
    /// Number of pods that entered a different queue, as upstream counts entities.
    incoming_entities: BTreeMap<(&'static str, &'static str), u64>,
    /// Number of queued pods by the plugin that rejected them in their last attempt, and their profile, for the metric.
    rejected_gauge: BTreeMap<(Atom, Atom), i64>,
    /// Pods that are added, removed, moved or changed.
    pub(crate) touched: Touched,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self {
            config,
            entries: FxHashMap::default(),
            active: Active::default(),
            futile: Futile::default(),
            backoff: Heap::default(),
            error_backoff: Heap::default(),
            waiting: Waiting::default(),
            in_flight: InFlight::default(),
            next_ticket: 0,
            size: QueueSize::default(),
            error_backoff_len: 0,
            next_flush: Timestamp::default(),
            incoming: BTreeMap::new(),
            incoming_entities: BTreeMap::new(),
            rejected_gauge: BTreeMap::new(),
            touched: Touched::default(),
        }
    }

    /// Shares the still empty queue between scheduler names according to their weights, among pods of equal priority.
    #[must_use]
    pub fn shared(mut self, weights: &BTreeMap<Atom, u32>) -> Self {
        if !weights.is_empty() {
            self.active = Active::shared(weights);
        }
        self
    }

    /// Number of pods in each place.
    #[must_use]
    pub fn size(&self) -> QueueSize {
        self.size
    }

    /// Whether [`Queue::pop`] would return a pod, assuming that no pod is promised a node. For inspection only: it scans the pods
    /// in backoff.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        let is_ready = |ticket: &Ticket| {
            ticket.holds(&self.entries, Place::Backoff) && !self.futile.is_futile(&ticket.queued.pod)
        };
        self.size.active > 0
            || self.backoff.iter().any(is_ready)
            || self.futile.in_doubt(Place::Backoff).any(is_ready)
    }

    /// Whether there are rejected pods in backoff.
    #[must_use]
    pub fn has_backing_off(&self) -> bool {
        self.size.backoff > self.error_backoff_len
    }

    /// A pending pod.
    #[must_use]
    pub fn get(&self, uid: &Uid) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// All pending pods, sorted by UID. For inspection, not for scheduling.
    #[must_use]
    pub fn entries_sorted(&self) -> Vec<&Entry> {
        let mut all: Vec<_> = self.entries.values().collect();
        all.sort_unstable_by(|a, b| a.queued.pod.uid.cmp(&b.queued.pod.uid));
        all
    }

    /// Total number of pods that entered a queue, by queue and event; gated ones are counted in the unschedulable queue.
    #[must_use]
    pub fn incoming(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.incoming
    }

    /// Total number of entities (here always pods) that entered a queue, by queue and event.
    #[must_use]
    pub fn incoming_entities(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.incoming_entities
    }

    /// Queued pods by rejecting plugin and profile.
    #[must_use]
    pub fn rejected_gauge(&self) -> &BTreeMap<(Atom, Atom), i64> {
        &self.rejected_gauge
    }

    /// Number of kinds of waiting pods: hints are requested once per kind for each event.
    #[must_use]
    pub fn waiting_kinds(&self) -> usize {
        self.waiting.kinds()
    }

    /// Number of events kept for pods in flight.
    #[must_use]
    pub fn in_flight_events(&self) -> usize {
        self.in_flight.event_count()
    }

    /// Total number of events that were dropped although a pod in flight might have needed them, because there were more than
    /// [`IN_FLIGHT_EVENTS_MAX`].
    #[must_use]
    pub fn in_flight_events_dropped(&self) -> u64 {
        self.in_flight.events_dropped()
    }

    /// Number of events kept for pods in flight, by label, and of these pods as `PodPopped`. A label that was used once stays,
    /// with zero.
    pub fn in_flight_by_label(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.in_flight.by_label()
    }

    /// Number of tickets in the heaps, including stale ones. Bounded in terms of the number of pods.
    #[must_use]
    pub fn ticket_count(&self) -> usize {
        let aside = self.futile.len(Place::Active) + self.futile.len(Place::Backoff);
        self.active.len() + self.backoff.len() + self.error_backoff.len() + aside
    }

    /// A pending pod was seen for the first time: it becomes active unless a PreEnqueue plugin holds it back.
    pub fn add(&mut self, pod: Arc<Pod>, cx: QueueContext<'_>) {
        let uid = pod.uid.clone();
        debug_assert!(!self.entries.contains_key(&uid), "a known pod is updated");
        let gated_by = moves::first_that_holds(&pod, None, cx);
        let place = if gated_by.is_some() { Place::Gated } else { Place::Active };
        let entry = Entry {
            queued: QueuedPod { pod, timestamp: cx.now, attempts: 0 },
            added: cx.now,
            first_active: gated_by.is_none().then_some(cx.now),
            unschedulable_count: 0,
            errors_in_a_row: 0,
            rejected_by: gated_by.iter().cloned().collect(),
            pending_by: BTreeSet::new(),
            gated_by,
            flushed: false,
            flushed_at: None,
            yielded: Duration::ZERO,
            has_written: false,
            place,
            ticket: self.new_ticket(),
            likeness: Likeness::default(),
        };
        self.entries.insert(uid.clone(), entry);
        self.list(&uid, cx.now, cx.profiles, false);
        self.count_rejectors(&uid, 1);
        match place {
            Place::Gated => self.count_move("unschedulable", Move::plain(UNSCHEDULED_POD_ADD)),
            _ => self.count_move("active", Move::plain(UNSCHEDULED_POD_ADD)),
        }
    }

    /// A pending pod changed. `events` describe the change; it may make a waiting pod worth another attempt.
    pub fn update(&mut self, pod: &Arc<Pod>, events: &[ClusterEvent], cx: QueueContext<'_>) {
        self.touched.note(&pod.uid);
        let Some(entry) = self.entries.get_mut(&pod.uid) else { return };
        let old = std::mem::replace(&mut entry.queued.pod, Arc::clone(pod));
        entry.likeness = Likeness::default();
        let change = ObjectChange {
            old: Some(secondmate_framework::EventObject::Pod(old)),
            new: Some(secondmate_framework::EventObject::Pod(Arc::clone(pod))),
        };
        match entry.place {
            Place::InFlight => {
                for event in events {
                    self.in_flight.record_own(&pod.uid, *event, &change);
                }
            }
            place @ (Place::Active | Place::Backoff | Place::ErrorBackoff) => {
                // The order may depend on the object, so the ticket must hold the new one.
                let expiry = self.expiry(&pod.uid);
                self.relocate(&pod.uid, place, expiry, cx.profiles, |_| {});
            }
            Place::Unschedulable | Place::Gated => {
                // It may belong to another kind now.
                self.waiting.remove(entry.ticket);
                self.waiting.insert(entry.ticket, entry, cx.profiles);
                for event in events {
                    if self.reconsider(&pod.uid, event, &change, cx) {
                        break;
                    }
                }
            }
        }
    }

    /// A pod is no longer pending: it was bound or deleted, or is not ours.
    pub fn remove(&mut self, uid: &Uid) -> Option<Entry> {
        if !self.entries.contains_key(uid) {
            return None;
        }
        self.unlist(uid);
        self.in_flight.done(uid);
        self.count_rejectors(uid, -1);
        let removed = self.entries.remove(uid);
        // The capacity is left over from a full queue that has been worked off.
        if self.entries.capacity() > ENTRIES_KEPT && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        removed
    }

    /// Something changed that attempts look at, so they may end differently now.
    pub fn world_changed(&mut self) {
        self.futile.world_changed();
    }

    /// The pod was rejected in an attempt, and so would be equivalent pods as long as nothing changes. From now on they stand
    /// aside.
    pub fn remember_rejection(&mut self, pod: &Arc<Pod>, rejection: Arc<Rejection>) {
        self.futile.remember(pod, rejection);
    }

    /// The result of an attempt, if it is known to be a rejection: see [`Queue::remember_rejection`].
    #[must_use]
    pub fn known_rejection(&self, pod: &Pod) -> Option<Arc<Rejection>> {
        self.futile.answer(pod)
    }

    /// Total number of rejections that were not remembered because too many kinds of pods are already known to fit nowhere.
    #[must_use]
    pub fn rejections_not_kept(&self) -> u64 {
        self.futile.not_kept()
    }

    /// Takes the next pod to be tried. A pod for which `is_promised` returns true has no equivalents.
    pub fn pop(&mut self, profiles: &Profiles, is_promised: &dyn Fn(&Uid) -> bool) -> Option<QueuedPod> {
        let uid = self.next_ready(profiles, is_promised)?;
        self.count_rejectors(&uid, -1);
        self.relocate(&uid, Place::InFlight, Timestamp::default(), profiles, |entry| {
            entry.queued.attempts += 1;
            entry.rejected_by.clear();
            entry.pending_by.clear();
        });
        self.in_flight.popped(&uid);
        let entry = self.entries.get(&uid).expect("a ticket that holds is of a pod that is there");
        Some(entry.queued.clone())
    }

    fn next_ready(&mut self, profiles: &Profiles, is_promised: &dyn Fn(&Uid) -> bool) -> Option<Uid> {
        let compare = by_queue_sort(profiles);
        let entries = &self.entries;
        let holds = |ticket: &Ticket| ticket.holds(entries, Place::Active);
        if let Some(ticket) = self.active.pop(&mut self.futile, is_promised, holds, &compare) {
            return Some(ticket.queued.pod.uid.clone());
        }
        // Nothing is ready: a pod whose backoff has not ended yet is better than idling. This does not apply to errors, which are
        // likely to recur, nor to pods that are known to be rejected again.
        let ticket = self.first_in_backoff(profiles, is_promised)?;
        self.count_move("active", Move::plain("PopFromBackoffQ"));
        Some(ticket.queued.pod.uid.clone())
    }

    /// Takes the pod whose backoff ends first out of backoffQ, skipping pods that would be rejected again.
    fn first_in_backoff(
        &mut self,
        profiles: &Profiles,
        is_promised: &dyn Fn(&Uid) -> bool,
    ) -> Option<Ticket> {
        let compare = by_queue_sort(profiles);
        let compare = by_expiry(&compare);
        let entries = &self.entries;
        let is_stale = |ticket: &Ticket| !ticket.holds(entries, Place::Backoff);
        self.futile.pop_while(Place::Backoff, is_stale, &compare);
        loop {
            let aside = self.futile.heads(Place::Backoff, false).min_by(|(_, a), (_, b)| compare(a, b));
            if let Some((kind, aside)) = aside
                && self.backoff.peek().is_none_or(|head| compare(aside, head) == Ordering::Less)
            {
                return self.futile.pop(kind, Place::Backoff, &compare);
            }
            let ticket = self.backoff.pop(&compare)?;
            if !is_stale(&ticket)
                && let Some(ticket) = self.futile.set_aside(ticket, Place::Backoff, is_promised, &compare)
            {
                return Some(ticket);
            }
        }
    }

    /// A pod whose binding has begun no longer needs events.
    pub fn done(&mut self, uid: &Uid) {
        self.in_flight.done(uid);
    }

    /// What a later attempt of a pod in flight has to know: how long it has waited for others, and whether anything was written.
    pub fn remember(&mut self, uid: &Uid, yielded: Duration, has_written: bool) {
        if let Some(entry) = self.entries.get_mut(uid) {
            (entry.yielded, entry.has_written) = (yielded, has_written);
        }
    }

    /// A pod in flight returns to the queue.
    pub fn put_back(&mut self, uid: &Uid, outcome: AttemptOutcome, cx: QueueContext<'_>) {
        let rejected = !outcome.rejected_by.is_empty() || !outcome.pending_by.is_empty();
        let Some(entry) = self.entries.get_mut(uid) else {
            self.in_flight.done(uid);
            return;
        };
        debug_assert_eq!(entry.place, Place::InFlight, "a pod comes back once");
        if rejected {
            entry.unschedulable_count += 1;
            entry.errors_in_a_row = 0;
        } else {
            entry.errors_in_a_row += 1;
        }
        entry.flushed = false;
        entry.flushed_at = None;
        entry.queued.timestamp = cx.now;
        entry.rejected_by = outcome.rejected_by;
        entry.pending_by = outcome.pending_by;
        let pod = Arc::clone(&entry.queued.pod);
        self.count_rejectors(uid, 1);
        let strategy =
            if rejected { self.strategy_since_pop(uid, &pod, cx.profiles) } else { Strategy::AfterBackoff };
        self.in_flight.done(uid);
        let by = Move::by(FAILURE, strategy);
        match strategy {
            Strategy::Now => self.activate(uid, by, cx),
            Strategy::AfterBackoff => self.requeue_after_backoff(uid, by, cx),
            Strategy::Wait => {
                self.relocate(uid, Place::Unschedulable, cx.now, cx.profiles, |_| {});
                self.count_move("unschedulable", by);
            }
        }
    }

    /// A pod in flight that cannot be tried, for example because it is being deleted: it waits for a change.
    pub fn park(&mut self, uid: &Uid, cx: QueueContext<'_>) {
        let QueueContext { now, profiles, .. } = cx;
        self.in_flight.done(uid);
        if self.entries.get(uid).is_some_and(|e| e.place == Place::InFlight) {
            self.relocate(uid, Place::Unschedulable, now, profiles, |entry| entry.queued.timestamp = now);
        }
    }
}
