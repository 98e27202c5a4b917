//! Events that happen while pods are in flight.
//!
//! An attempt does not see what changes while it runs, so events are kept from the moment the pod is popped and replayed when it
//! returns to the queue. The list starts at the first marker of a pod that is still in flight, and is empty if none is.
//!
//! The list is limited, since a pod may wait on permit for a quarter of an hour. Events that are dropped are missed by the pods
//! popped before them; those pods are marked, and are retried as if one of the missed events had helped.

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
    /// Concerns this pod alone: an update of the pod itself, or its forced activation.
    Own(Uid, ClusterEvent, Box<ObjectChange>),
}

impl Record {
    /// The event's label, if it is an event.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::Popped(_) => None,
            Self::Event(event, _) | Self::Own(_, event, _) => Some(event.label),
        }
    }
}

/// Maximum number of records, including markers: some tens of megabytes.
pub const IN_FLIGHT_EVENTS_MAX: usize = 100_000;

/// Markers of pods in flight, and the events between and after them.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    records: VecDeque<Record>,
    /// Number of records dropped from the front so far, so that positions stay valid.
    dropped: u64,
    markers: FxHashMap<Uid, u64>,
    /// Number of markers that were dropped although their pods are in flight.
    missing: usize,
    events: usize,
    /// Number of events that were dropped while a pod in flight might have needed them.
    events_dropped: u64,
    /// The events kept, by label, for the metric. Labels stay even if no event is left.
    by_label: BTreeMap<&'static str, usize>,
}

/// The label under which the metric counts pods in flight among the events kept for them.
const POPPED: &str = "PodPopped";

/// The event for a forced activation.
const FORCED: ClusterEvent = ClusterEvent::new(EventResource::Wildcard, ActionType::ALL, "ForceActivate");

impl InFlight {
    /// Number of events kept.
    pub fn event_count(&self) -> usize {
        self.events
    }

    /// Number of events kept, by label, and of pods in flight as `PodPopped`; labels that were used once stay with zero.
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
        if self.records.len() > IN_FLIGHT_EVENTS_MAX {
            match self.pop() {
                Some(Record::Popped(Some(_))) => self.missing += 1,
                Some(Record::Event(..) | Record::Own(..)) => self.events_dropped += 1,
                Some(Record::Popped(None)) | None => {}
            }
        }
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        if let Some(label) = record.label() {
            self.events -= 1;
            if let Some(count) = self.by_label.get_mut(label) {
                *count -= 1;
            }
        }
        self.dropped += 1;
        Some(record)
    }

    /// Total number of events dropped while a pod in flight might have needed them.
    pub fn events_dropped(&self) -> u64 {
        self.events_dropped
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

    /// A pod in flight was updated. Upstream keeps such an event for all pods in flight, and so may retry another pod
    /// unnecessarily.
    pub fn record_own(&mut self, uid: &Uid, event: ClusterEvent, change: &ObjectChange) {
        if self.markers.contains_key(uid) {
            self.push(Record::Own(uid.clone(), event, Box::new(change.clone())));
        }
    }

    /// A pod in flight was activated by force.
    pub fn force(&mut self, uid: &Uid) {
        self.record_own(uid, FORCED, &ObjectChange::default());
    }

    /// The position of the pod's marker in the list; `None` if it was dropped.
    fn position(&self, at: u64) -> Option<usize> {
        at.checked_sub(self.dropped).map(|at| usize::try_from(at).expect("the list is in memory"))
    }

    /// Whether events older than those of [`Self::since_pop`] were dropped.
    pub fn missed_some(&self, uid: &Uid) -> bool {
        self.markers.get(uid).is_some_and(|at| self.position(*at).is_none())
    }

    /// What happened since the pod was popped, as far as it is kept.
    pub fn since_pop<'a>(
        &'a self,
        uid: &'a Uid,
    ) -> impl Iterator<Item = (&'a ClusterEvent, &'a ObjectChange)> {
        let at = self.markers.get(uid);
        let position = at.map_or(self.records.len(), |at| self.position(*at).unwrap_or(0));
        self.records.iter().skip(position).filter_map(move |record| match record {
            Record::Event(event, change) => Some((event, &**change)),
            Record::Own(own, event, change) if own == uid => Some((event, &**change)),
            Record::Own(..) | Record::Popped(_) => None,
        })
    }

    /// Checks that every marker belongs to a pod in flight, and that nothing is kept that no marker needs.
    pub fn check(&self, is_in_flight: impl Fn(&Uid) -> bool) -> Result<(), String> {
        if let Some(uid) = self.markers.keys().filter(|uid| !is_in_flight(uid)).min() {
            return Err(format!("events are kept for pod {uid}, which is not in flight"));
        }
        let missing = self.markers.values().filter(|at| **at < self.dropped).count();
        if missing != self.missing {
            return Err(format!("{missing} markers are missing, counted {}", self.missing));
        }
        match self.records.front() {
            Some(Record::Popped(Some(_))) | None => Ok(()),
            Some(_) if missing > 0 => Ok(()),
            Some(record) => Err(format!("{record:?} is kept and nobody needs it")),
        }
    }

    /// The pod is no longer in flight: drops events that no other pod needs.
    pub fn done(&mut self, uid: &Uid) {
        let Some(at) = self.markers.remove(uid) else { return };
        match self.position(at) {
            Some(at) => self.records[at] = Record::Popped(None),
            None => self.missing -= 1,
        }
        // A pod whose marker is missing needs everything that is kept.
        while self.missing == 0
            && let Some(front) = self.records.front()
            && !matches!(front, Record::Popped(Some(_)))
        {
            self.pop();
        }
    }
}
