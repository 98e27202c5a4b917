//! The scheduling queue: activeQ, backoffQ, unschedulable and gated pods, and the pods in flight.
//!
//! One map holds every pending pod of ours with its place, so a pod cannot be in two places or in none. The heaps hold tickets: a
//! pod that moves gets a new ticket, and an old one is skipped when it comes up.
//!
//! Backoff, the flush of pods that waited too long, and what happens to events while pods are in flight follow upstream's
//! `pkg/scheduler/backend/queue`.

mod in_flight;

use crate::heap::Heap;
use crate::profile::Profile;
use in_flight::InFlight;
use rustc_hash::FxHashMap;
use secondmate_framework::{ClusterEvent, EventResource, Hint, ObjectChange, QueuedPod, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often the unschedulable pods are searched for those that waited too long.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(30);

/// Times of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Backoff after the first failure.
    pub initial_backoff: Duration,
    /// Longest backoff; zero turns it off.
    pub max_backoff: Duration,
    /// Longest stay among the unschedulable pods.
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
    /// Rejected; tried again when its backoff is over, or earlier when nothing else is left.
    Backoff,
    /// Failed by an error; tried again when its backoff is over.
    ErrorBackoff,
    /// Rejected; waits for an event.
    Unschedulable,
    /// Held back by a PreEnqueue plugin.
    Gated,
    /// Taken out by the cycle: being tried, waiting on permit, or being bound.
    InFlight,
}

/// A pending pod and what is known about its attempts.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pod as the queue's order sees it.
    pub queued: QueuedPod,
    /// When it was first seen.
    pub added: Timestamp,
    /// When it first became ready to be tried; none while gated.
    pub first_active: Option<Timestamp>,
    /// Attempts that ended in a rejection.
    pub unschedulable_count: u32,
    /// Attempts in a row that ended in an error.
    pub errors_in_a_row: u32,
    /// Plugins that rejected it in the last attempt.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that wait for something in particular.
    pub pending_by: BTreeSet<Atom>,
    /// PreEnqueue plugin that holds it back.
    pub gated_by: Option<Atom>,
    /// Where it is.
    pub place: Place,
    ticket: u64,
}

#[derive(Clone, Debug)]
struct Ticket {
    queued: QueuedPod,
    /// End of the backoff; unused in activeQ.
    expiry: Timestamp,
    number: u64,
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
    /// Plugins that rejected the pod; none where the attempt failed by an error.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that answered `Pending`.
    pub pending_by: BTreeSet<Atom>,
}

/// Profiles by scheduler name.
pub type Profiles = BTreeMap<Atom, Arc<Profile>>;

/// Gates that the core itself holds, such as a preemption that is not finished.
pub trait Gates {
    /// The plugin in whose name the pod is held back, if it is.
    fn holds(&self, pod: &Uid) -> Option<Atom>;
}

/// Nothing is held back.
impl Gates for () {
    fn holds(&self, _pod: &Uid) -> Option<Atom> {
        None
    }
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    config: QueueConfig,
    entries: FxHashMap<Uid, Entry>,
    active: Heap<Ticket>,
    backoff: Heap<Ticket>,
    error_backoff: Heap<Ticket>,
    /// Unschedulable and gated pods, in the order in which they came there.
    waiting: BTreeMap<u64, Uid>,
    in_flight: InFlight,
    next_ticket: u64,
    size: QueueSize,
    next_flush: Timestamp,
    /// Pods that entered a place, by place and event: for the metric.
    incoming: BTreeMap<(&'static str, &'static str), u64>,
    /// Number of waiting pods by the plugin that rejected them and their profile: for the metric.
    rejected_gauge: BTreeMap<(Atom, Atom), i64>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self {
            config,
            entries: FxHashMap::default(),
            active: Heap::default(),
            backoff: Heap::default(),
            error_backoff: Heap::default(),
            waiting: BTreeMap::new(),
            in_flight: InFlight::default(),
            next_ticket: 0,
            size: QueueSize::default(),
            next_flush: Timestamp::default(),
            incoming: BTreeMap::new(),
            rejected_gauge: BTreeMap::new(),
        }
    }

    /// Number of pods in each place.
    #[must_use]
    pub fn size(&self) -> QueueSize {
        self.size
    }

    /// A pending pod.
    #[must_use]
    pub fn get(&self, uid: &Uid) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// All pending pods, sorted by UID: for looking, not for scheduling.
    #[must_use]
    pub fn entries_sorted(&self) -> Vec<&Entry> {
        let mut all: Vec<_> = self.entries.values().collect();
        all.sort_unstable_by(|a, b| a.queued.pod.uid.cmp(&b.queued.pod.uid));
        all
    }

    /// Pods that entered a place so far, by queue and event.
    #[must_use]
    pub fn incoming(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.incoming
    }

    /// Waiting pods by rejecting plugin and profile.
    #[must_use]
    pub fn rejected_gauge(&self) -> &BTreeMap<(Atom, Atom), i64> {
        &self.rejected_gauge
    }

    /// Number of events kept for pods in flight.
    #[must_use]
    pub fn in_flight_events(&self) -> usize {
        self.in_flight.event_count()
    }

    /// A pending pod was seen for the first time.
    pub fn add(&mut self, pod: Arc<Pod>, now: Timestamp, profiles: &Profiles, gates: &dyn Gates) {
        let uid = pod.uid.clone();
        debug_assert!(!self.entries.contains_key(&uid), "a known pod is updated");
        self.entries.insert(
            uid.clone(),
            Entry {
                queued: QueuedPod { pod, timestamp: now, attempts: 0 },
                added: now,
                first_active: None,
                unschedulable_count: 0,
                errors_in_a_row: 0,
                rejected_by: BTreeSet::new(),
                pending_by: BTreeSet::new(),
                gated_by: None,
                place: Place::InFlight,
                ticket: 0,
            },
        );
        self.size.in_flight += 1;
        self.activate(&uid, now, "PodAdd", profiles, gates);
    }

    /// A pending pod changed. `events` say how; a pod that waits may become worth another attempt by it.
    pub fn update(
        &mut self,
        pod: &Arc<Pod>,
        events: &[ClusterEvent],
        now: Timestamp,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) {
        let Some(entry) = self.entries.get_mut(&pod.uid) else { return };
        let old = std::mem::replace(&mut entry.queued.pod, Arc::clone(pod));
        let change = ObjectChange {
            old: Some(secondmate_framework::EventObject::Pod(old)),
            new: Some(secondmate_framework::EventObject::Pod(Arc::clone(pod))),
        };
        match entry.place {
            Place::InFlight => {
                for event in events {
                    self.in_flight.record(*event, &change);
                }
            }
            place @ (Place::Active | Place::Backoff | Place::ErrorBackoff) => {
                // Its priority cannot change, but the ticket holds the object.
                let expiry = self.expiry(&pod.uid);
                self.leave(&pod.uid);
                self.enter(&pod.uid, place, expiry, profiles);
            }
            Place::Unschedulable | Place::Gated => {
                for event in events {
                    if self.reconsider(&pod.uid, event, &change, now, profiles, gates) {
                        break;
                    }
                }
            }
        }
    }

    /// A pod is not pending any more: bound, deleted, or not ours.
    pub fn remove(&mut self, uid: &Uid) -> Option<Entry> {
        if !self.entries.contains_key(uid) {
            return None;
        }
        self.leave(uid);
        // It left its place for `InFlight`, which is where the count is.
        self.size.in_flight -= 1;
        self.in_flight.done(uid);
        self.entries.remove(uid)
    }

    /// Takes the next pod to be tried.
    pub fn pop(&mut self, profiles: &Profiles) -> Option<QueuedPod> {
        let uid = self.next_ready(profiles)?;
        self.leave(&uid);
        let entry = self.entries.get_mut(&uid).expect("a ticket that holds is of a pod that is there");
        entry.queued.attempts += 1;
        entry.rejected_by.clear();
        entry.pending_by.clear();
        self.in_flight.popped(&uid);
        Some(entry.queued.clone())
    }

    fn next_ready(&mut self, profiles: &Profiles) -> Option<Uid> {
        let compare = by_queue_sort(profiles);
        while let Some(ticket) = self.active.pop(&compare) {
            if self.holds(&ticket, Place::Active) {
                return Some(ticket.queued.pod.uid.clone());
            }
        }
        // Nothing is ready: a pod whose backoff has not ended yet is better than idling. Not so for errors, which are
        // likely to hit again.
        while let Some(ticket) = self.backoff.pop(by_expiry(&compare)) {
            if self.holds(&ticket, Place::Backoff) {
                *self.incoming.entry(("active", "PopFromBackoffQ")).or_insert(0) += 1;
                return Some(ticket.queued.pod.uid.clone());
            }
        }
        None
    }

    fn holds(&self, ticket: &Ticket, place: Place) -> bool {
        self.entries
            .get(&ticket.queued.pod.uid)
            .is_some_and(|e| e.place == place && e.ticket == ticket.number)
    }

    /// A pod whose binding was begun needs no events any more.
    pub fn done(&mut self, uid: &Uid) {
        self.in_flight.done(uid);
    }

    /// A pod in flight comes back.
    pub fn put_back(
        &mut self,
        uid: &Uid,
        outcome: AttemptOutcome,
        now: Timestamp,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) {
        let events = self.in_flight.events_since_pop(uid);
        self.in_flight.done(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        debug_assert_eq!(entry.place, Place::InFlight, "a pod comes back once");
        if outcome.rejected_by.is_empty() && outcome.pending_by.is_empty() {
            entry.errors_in_a_row += 1;
        } else {
            entry.unschedulable_count += 1;
            entry.errors_in_a_row = 0;
        }
        entry.queued.timestamp = now;
        entry.rejected_by = outcome.rejected_by;
        entry.pending_by = outcome.pending_by;
        let pod = Arc::clone(&entry.queued.pod);
        if entry.rejected_by.is_empty() && entry.pending_by.is_empty() {
            self.requeue_after_backoff(uid, now, "ScheduleAttemptFailure", profiles, gates);
            return;
        }
        let mut strategy = Strategy::Wait;
        for (event, change) in &events {
            strategy = strategy.max(self.strategy(uid, &pod, event, change, profiles));
        }
        match strategy {
            Strategy::Now => self.activate(uid, now, "ScheduleAttemptFailure", profiles, gates),
            Strategy::AfterBackoff => {
                self.requeue_after_backoff(uid, now, "ScheduleAttemptFailure", profiles, gates);
            }
            Strategy::Wait => {
                self.enter(uid, Place::Unschedulable, now, profiles);
                self.count_incoming("unschedulable", "ScheduleAttemptFailure");
            }
        }
    }

    /// Something changed: pods that wait for it are moved.
    pub fn on_event(
        &mut self,
        event: &ClusterEvent,
        change: &ObjectChange,
        except: Option<&Uid>,
        now: Timestamp,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) {
        let registered =
            event.resource == EventResource::Wildcard || profiles.values().any(|p| p.registers(event));
        if !registered {
            return;
        }
        let waiting: Vec<Uid> = self.waiting.values().filter(|u| Some(*u) != except).cloned().collect();
        for uid in waiting {
            self.reconsider(&uid, event, change, now, profiles, gates);
        }
        self.in_flight.record(*event, change);
    }

    /// A pod in flight that cannot be tried, such as one that is being deleted: it waits for a change.
    pub fn park(&mut self, uid: &Uid, now: Timestamp, profiles: &Profiles) {
        self.in_flight.done(uid);
        if let Some(entry) = self.entries.get_mut(uid).filter(|e| e.place == Place::InFlight) {
            entry.queued.timestamp = now;
            self.enter(uid, Place::Unschedulable, now, profiles);
        }
    }

    /// The core's own gate is open again: a pod that it held back waits for events like any other that was rejected, or is
    /// tried where nothing else had rejected it.
    pub fn ungate(&mut self, uid: &Uid, now: Timestamp, profiles: &Profiles, gates: &dyn Gates) {
        if self.entries.get(uid).is_some_and(|e| e.place == Place::Gated) {
            self.requeue_after_backoff(uid, now, "PreemptionFinished", profiles, gates);
        }
    }

    /// Moves a waiting pod by force, whatever plugins say; a pod in flight is tried again as soon as it comes back.
    pub fn force_activate(&mut self, uid: &Uid, now: Timestamp, profiles: &Profiles, gates: &dyn Gates) {
        match self.entries.get(uid).map(|e| e.place) {
            Some(Place::Backoff | Place::ErrorBackoff | Place::Unschedulable | Place::Gated) => {
                self.activate(uid, now, "ForceActivate", profiles, gates);
            }
            Some(Place::InFlight) => self.in_flight.force(uid),
            Some(Place::Active) | None => {}
        }
    }

    /// Time passes: backoffs end, and pods that waited too long are tried again.
    pub fn tick(&mut self, now: Timestamp, profiles: &Profiles, gates: &dyn Gates) {
        let compare = by_queue_sort(profiles);
        for (place, heap_is_error) in [(Place::Backoff, false), (Place::ErrorBackoff, true)] {
            loop {
                let heap = if heap_is_error { &mut self.error_backoff } else { &mut self.backoff };
                let Some(top) = heap.peek() else { break };
                let stale = self
                    .entries
                    .get(&top.queued.pod.uid)
                    .is_none_or(|e| e.place != place || e.ticket != top.number);
                if !stale && !is_over(top.expiry, now) {
                    break;
                }
                let Some(ticket) = heap.pop(by_expiry(&compare)) else { break };
                if !stale {
                    let uid = ticket.queued.pod.uid.clone();
                    self.leave(&uid);
                    // A pod that comes straight out of backoff was checked when it went in.
                    self.enter(&uid, Place::Active, now, profiles);
                    self.count_incoming("active", "BackoffComplete");
                }
            }
        }
        if now < self.next_flush {
            return;
        }
        self.next_flush = now + FLUSH_INTERVAL;
        let limit = self.config.max_unschedulable;
        let late: Vec<Uid> = self
            .waiting
            .values()
            .filter(|u| self.entries.get(*u).is_some_and(|e| now.since(e.queued.timestamp) > limit))
            .cloned()
            .collect();
        for uid in late {
            self.requeue_after_backoff(&uid, now, "UnschedulableTimeout", profiles, gates);
        }
    }

    /// When [`Queue::tick`] has something to do next, if ever.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        // Over when the whole second after the expiry has begun.
        let second = Duration::from_secs(1);
        let backoffs = [self.backoff.peek(), self.error_backoff.peek()];
        let backoff = backoffs.into_iter().flatten().map(|t| t.expiry + second).min();
        let flush = (!self.waiting.is_empty()).then_some(self.next_flush);
        backoff.into_iter().chain(flush).min()
    }

    /// What an event means for a pod that was rejected.
    fn strategy(
        &self,
        uid: &Uid,
        pod: &Pod,
        event: &ClusterEvent,
        change: &ObjectChange,
        profiles: &Profiles,
    ) -> Strategy {
        let Some(entry) = self.entries.get(uid) else { return Strategy::Wait };
        if event.resource == EventResource::Wildcard {
            return Strategy::AfterBackoff;
        }
        let Some(profile) = profiles.get(&pod.scheduler_name) else { return Strategy::Wait };
        let says_queue = |plugin: &Atom| profile.hint(plugin, event, pod, change) == Hint::Queue;
        if entry.pending_by.iter().any(says_queue) {
            Strategy::Now
        } else if entry.rejected_by.iter().any(says_queue) {
            Strategy::AfterBackoff
        } else {
            Strategy::Wait
        }
    }

    /// Looks at one waiting pod after an event; says whether it was moved.
    fn reconsider(
        &mut self,
        uid: &Uid,
        event: &ClusterEvent,
        change: &ObjectChange,
        now: Timestamp,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        let pod = Arc::clone(&entry.queued.pod);
        if let Some(gate) = &entry.gated_by {
            // A gated pod is looked at only where the gating plugin may change its mind.
            let concerns = event.resource == EventResource::Wildcard
                || profiles.get(&pod.scheduler_name).is_some_and(|p| p.plugin_registers(gate, event));
            if !concerns {
                return false;
            }
        }
        match self.strategy(uid, &pod, event, change, profiles) {
            Strategy::Wait => false,
            Strategy::Now => {
                self.activate(uid, now, event.label, profiles, gates);
                true
            }
            Strategy::AfterBackoff => {
                self.requeue_after_backoff(uid, now, event.label, profiles, gates);
                true
            }
        }
    }

    fn requeue_after_backoff(
        &mut self,
        uid: &Uid,
        now: Timestamp,
        event: &'static str,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) {
        let expiry = self.expiry(uid);
        let Some(entry) = self.entries.get(uid) else { return };
        if self.backoff_of(entry).is_zero() || is_over(expiry, now) {
            self.activate(uid, now, event, profiles, gates);
            return;
        }
        let place = if entry.errors_in_a_row > 0 { Place::ErrorBackoff } else { Place::Backoff };
        if self.gate(uid, profiles, gates) {
            return;
        }
        self.leave(uid);
        self.enter(uid, place, expiry, profiles);
        self.count_incoming("backoff", event);
    }

    /// Puts a pod into activeQ, unless a PreEnqueue plugin holds it back.
    fn activate(
        &mut self,
        uid: &Uid,
        now: Timestamp,
        event: &'static str,
        profiles: &Profiles,
        gates: &dyn Gates,
    ) {
        if self.gate(uid, profiles, gates) {
            return;
        }
        self.leave(uid);
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.first_active.get_or_insert(now);
        }
        self.enter(uid, Place::Active, now, profiles);
        self.count_incoming("active", event);
    }

    /// Asks the PreEnqueue plugins; where one holds the pod back, it is put among the gated ones and the answer is yes.
    fn gate(&mut self, uid: &Uid, profiles: &Profiles, gates: &dyn Gates) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        let pod = Arc::clone(&entry.queued.pod);
        let held = gates.holds(uid).or_else(|| {
            let profile = profiles.get(&pod.scheduler_name)?;
            let rejects = |status: Status| !status.is_success();
            profile
                .pre_enqueue
                .iter()
                .find(|p| p.plugin.as_pre_enqueue().is_some_and(|e| rejects(e.pre_enqueue(&pod))))
                .map(|p| p.name.clone())
        });
        let was_gated = entry.place == Place::Gated;
        self.leave(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return false };
        let Some(plugin) = held else {
            entry.gated_by = None;
            return false;
        };
        entry.rejected_by.insert(plugin.clone());
        entry.gated_by = Some(plugin);
        let timestamp = entry.queued.timestamp;
        self.enter(uid, Place::Gated, timestamp, profiles);
        if !was_gated {
            self.count_incoming("gated", "PreEnqueue");
        }
        true
    }

    /// Takes a pod out of its place; it is in flight then, as far as the counts go.
    fn leave(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let place = std::mem::replace(&mut entry.place, Place::InFlight);
        if place == Place::InFlight {
            return;
        }
        let ticket = entry.ticket;
        if matches!(place, Place::Unschedulable | Place::Gated) {
            self.waiting.remove(&ticket);
        }
        if place != Place::Active {
            let profile = entry.queued.pod.scheduler_name.clone();
            for plugin in entry.rejected_by.iter().chain(&entry.pending_by) {
                if let Some(gauge) = self.rejected_gauge.get_mut(&(plugin.clone(), profile.clone())) {
                    *gauge -= 1;
                }
            }
        }
        *self.count_of(place) -= 1;
        self.size.in_flight += 1;
    }

    /// Puts a pod that is in no queue into one.
    fn enter(&mut self, uid: &Uid, place: Place, expiry: Timestamp, profiles: &Profiles) {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.place = place;
        entry.ticket = number;
        let ticket = Ticket { queued: entry.queued.clone(), expiry, number };
        if place != Place::Active {
            let profile = entry.queued.pod.scheduler_name.clone();
            for plugin in entry.rejected_by.iter().chain(&entry.pending_by) {
                *self.rejected_gauge.entry((plugin.clone(), profile.clone())).or_insert(0) += 1;
            }
        }
        self.size.in_flight -= 1;
        *self.count_of(place) += 1;
        let compare = by_queue_sort(profiles);
        match place {
            Place::Active => self.active.push(ticket, &compare),
            Place::Backoff => self.backoff.push(ticket, by_expiry(&compare)),
            Place::ErrorBackoff => self.error_backoff.push(ticket, by_expiry(&compare)),
            Place::Unschedulable | Place::Gated => {
                self.waiting.insert(number, uid.clone());
            }
            Place::InFlight => unreachable!("a pod goes in flight by being popped"),
        }
        self.compact(profiles);
    }

    /// Drops old tickets when they are the larger part of a heap.
    fn compact(&mut self, profiles: &Profiles) {
        const SLACK: usize = 64;
        let compare = by_queue_sort(profiles);
        let holds = |entries: &FxHashMap<Uid, Entry>, t: &Ticket| {
            entries.get(&t.queued.pod.uid).is_some_and(|e| e.ticket == t.number)
        };
        if self.active.len() > 2 * self.size.active + SLACK {
            let entries = &self.entries;
            self.active.retain(|t| holds(entries, t), &compare);
        }
        let backing_off = 2 * self.size.backoff + SLACK;
        if self.backoff.len() > backing_off {
            let entries = &self.entries;
            self.backoff.retain(|t| holds(entries, t), by_expiry(&compare));
        }
        if self.error_backoff.len() > backing_off {
            let entries = &self.entries;
            self.error_backoff.retain(|t| holds(entries, t), by_expiry(&compare));
        }
    }

    fn count_of(&mut self, place: Place) -> &mut usize {
        match place {
            Place::Active => &mut self.size.active,
            Place::Backoff | Place::ErrorBackoff => &mut self.size.backoff,
            Place::Unschedulable => &mut self.size.unschedulable,
            Place::Gated => &mut self.size.gated,
            Place::InFlight => &mut self.size.in_flight,
        }
    }

    fn count_incoming(&mut self, queue: &'static str, event: &'static str) {
        *self.incoming.entry((queue, event)).or_insert(0) += 1;
    }

    fn backoff_of(&self, entry: &Entry) -> Duration {
        let count = if entry.errors_in_a_row > 0 { entry.errors_in_a_row } else { entry.unschedulable_count };
        if count == 0 || self.config.max_backoff.is_zero() {
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(count - 1).unwrap_or(u32::MAX);
        self.config.initial_backoff.saturating_mul(factor).min(self.config.max_backoff)
    }

    fn expiry(&self, uid: &Uid) -> Timestamp {
        let Some(entry) = self.entries.get(uid) else { return Timestamp::default() };
        (entry.queued.timestamp + self.backoff_of(entry)).truncate_to_second()
    }
}

/// What an event means for a pod, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strategy {
    Wait,
    AfterBackoff,
    Now,
}

/// A backoff is over when its whole second has passed.
fn is_over(expiry: Timestamp, now: Timestamp) -> bool {
    expiry < now.truncate_to_second()
}

/// The order of activeQ: the queue sort plugin's, which all profiles share, then that of arrival.
fn by_queue_sort(profiles: &Profiles) -> impl Fn(&Ticket, &Ticket) -> Ordering {
    let sort = profiles.values().next().map(|p| Arc::clone(&p.queue_sort.plugin));
    move |a, b| {
        sort.as_ref()
            .and_then(|s| s.as_queue_sort())
            .map_or(Ordering::Equal, |s| s.compare(&a.queued, &b.queued))
            .then(a.number.cmp(&b.number))
    }
}

fn by_expiry<F: Fn(&Ticket, &Ticket) -> Ordering>(
    compare: &F,
) -> impl Fn(&Ticket, &Ticket) -> Ordering + use<'_, F> {
    move |a, b| a.expiry.cmp(&b.expiry).then_with(|| compare(a, b))
}
