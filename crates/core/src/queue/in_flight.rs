//! Events that happen while pods are in flight.
//!
//! A pod that is being tried does not see what changes meanwhile, so the events are kept from the moment when it was popped, and
//! replayed for it when it comes back. The list starts at the first marker of a pod that is still in flight; it is empty
//! when none is.

use rustc_hash::FxHashMap;
use secondmate_framework::{ActionType, EventResource};
use secondmate_framework::{ClusterEvent, ObjectChange};
use secondmate_model::Uid;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
enum Record {
    /// A pod was popped; cleared when it is done.
    Popped(Option<Uid>),
    Event(ClusterEvent, Box<ObjectChange>),
    /// One pod was activated by force.
    Forced(Uid),
}

impl Record {
    /// The event's label, where it is one.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::Popped(_) => None,
            Self::Event(event, _) => Some(event.label),
            Self::Forced(_) => Some(FORCED.label),
        }
    }
}

/// Markers of pods in flight, and the events between and after them.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    records: VecDeque<Record>,
    /// Number of records dropped from the front so far: positions stay valid.
    dropped: u64,
    markers: FxHashMap<Uid, u64>,
    events: usize,
    /// The events kept, by label; for the metric. Labels stay when none is left.
    by_label: BTreeMap<&'static str, usize>,
}

/// The name under which the metric counts pods in flight, among the events kept for them.
const POPPED: &str = "PodPopped";

/// The event that stands for a forced activation.
const FORCED: ClusterEvent = ClusterEvent::new(EventResource::Wildcard, ActionType::ALL, "ForceActivate");

impl InFlight {
    /// Number of events kept.
    pub fn event_count(&self) -> usize {
        self.events
    }

    /// Number of events kept by label, and of pods in flight as `PodPopped`; zeros of what was there once.
    pub fn by_label(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let popped = (self.dropped > 0 || !self.records.is_empty()).then_some((POPPED, self.markers.len()));
        popped.into_iter().chain(self.by_label.iter().map(|(label, count)| (*label, *count)))
    }

    fn push(&mut self, record: Record) {
        if let Some(label) = record.label() {
            self.events += 1;
            *self.by_label.entry(label).or_insert(0) += 1;
        }
        self.records.push_back(record);
    }

    fn pop(&mut self) {
        if let Some(label) = self.records.pop_front().and_then(|record| record.label()) {
            self.events -= 1;
            if let Some(count) = self.by_label.get_mut(label) {
                *count -= 1;
            }
        }
        self.dropped += 1;
    }

    /// A pod was popped.
    pub fn popped(&mut self, uid: &Uid) {
        let at = self.dropped + self.records.len() as u64;
        self.push(Record::Popped(Some(uid.clone())));
        self.markers.insert(uid.clone(), at);
    }

    /// Something happened.
    pub fn record(&mut self, event: ClusterEvent, change: &ObjectChange) {
        if !self.markers.is_empty() {
            self.push(Record::Event(event, Box::new(change.clone())));
        }
    }

    /// A pod in flight was activated by force.
    pub fn force(&mut self, uid: &Uid) {
        if self.markers.contains_key(uid) {
            self.push(Record::Forced(uid.clone()));
        }
    }

    /// What happened since the pod was popped.
    pub fn events_since_pop(&self, uid: &Uid) -> Vec<(ClusterEvent, ObjectChange)> {
        let Some(at) = self.markers.get(uid) else { return Vec::new() };
        let from = usize::try_from(at - self.dropped).unwrap_or(usize::MAX);
        self.records
            .iter()
            .skip(from)
            .filter_map(|record| match record {
                Record::Event(event, change) => Some((*event, (**change).clone())),
                Record::Forced(forced) if forced == uid => Some((FORCED, ObjectChange::default())),
                Record::Forced(_) | Record::Popped(_) => None,
            })
            .collect()
    }

    /// Every marker is of a pod in flight, and nothing is kept that no marker needs.
    pub fn check(&self, is_in_flight: impl Fn(&Uid) -> bool) -> Result<(), String> {
        if let Some(uid) = self.markers.keys().filter(|uid| !is_in_flight(uid)).min() {
            return Err(format!("events are kept for pod {uid}, which is not in flight"));
        }
        match self.records.front() {
            Some(Record::Popped(Some(_))) | None => Ok(()),
            Some(record) => Err(format!("{record:?} is kept and nobody needs it")),
        }
    }

    /// The pod is not in flight any more: events that no other pod needs are dropped.
    pub fn done(&mut self, uid: &Uid) {
        let Some(at) = self.markers.remove(uid) else { return };
        if let Some(record) = usize::try_from(at - self.dropped).ok().and_then(|at| self.records.get_mut(at))
        {
            *record = Record::Popped(None);
        }
        while let Some(front) = self.records.front() {
            if matches!(front, Record::Popped(Some(_))) {
                return;
            }
            self.pop();
        }
    }
}
