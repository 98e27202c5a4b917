//! Consistency checks of the queue: all of it, or only what changed.

use super::places::Ticket;
use super::{Entry, Place, Profiles, Queue};
use rustc_hash::FxHashMap;
use secondmate_model::{Atom, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The queue's pods as counted by the check: by place, and by the plugin and profile that rejected them.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    places: BTreeMap<Place, usize>,
    rejectors: BTreeMap<(Atom, Atom), i64>,
    /// How each pod was counted.
    pods: FxHashMap<Uid, (Place, Vec<(Atom, Atom)>)>,
}

impl Counted {
    /// Counts the pod in its current state instead of its previous one.
    fn count(&mut self, uid: &Uid, entry: Option<&Entry>) {
        if let Some((place, rejectors)) = self.pods.remove(uid) {
            *self.places.entry(place).or_default() -= 1;
            for key in rejectors {
                *self.rejectors.entry(key).or_default() -= 1;
            }
        }
        let Some(entry) = entry else { return };
        let profile = &entry.queued.pod.scheduler_name;
        let rejectors: Vec<_> = entry.rejectors().map(|plugin| (plugin.clone(), profile.clone())).collect();
        *self.places.entry(entry.place).or_default() += 1;
        for key in &rejectors {
            *self.rejectors.entry(key.clone()).or_default() += 1;
        }
        self.pods.insert(uid.clone(), (entry.place, rejectors));
    }

    fn at(&self, place: Place) -> usize {
        self.places.get(&place).copied().unwrap_or(0)
    }
}

impl Queue {
    /// Checks that every pod is in one place and that the places are counted correctly.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, profiles: &Profiles) -> Result<(), String> {
        let tickets = |tickets: &mut dyn Iterator<Item = &Ticket>| -> FxHashMap<u64, Ticket> {
            tickets.map(|ticket| (ticket.number, ticket.clone())).collect()
        };
        let active = tickets(&mut self.active.iter().chain(self.futile.iter(Place::Active)));
        let backoff = tickets(&mut self.backoff.iter().chain(self.futile.iter(Place::Backoff)));
        let error_backoff = tickets(&mut self.error_backoff.iter());
        let mut counted = Counted::default();
        for entry in self.entries_sorted() {
            counted.count(&entry.queued.pod.uid, Some(entry));
            let tickets = match entry.place {
                Place::Backoff => &backoff,
                Place::ErrorBackoff => &error_backoff,
                _ => &active,
            };
            self.check_entry(entry, profiles, || tickets.get(&entry.ticket))?;
        }
        self.check_counts(&counted)
    }

    /// Like [`Self::check`], but only for these pods, which were touched since the last check; all others are already in
    /// `counted`.
    pub(crate) fn check_changes(
        &self,
        touched: &BTreeSet<Uid>,
        counted: &mut Counted,
        profiles: &Profiles,
    ) -> Result<(), String> {
        for uid in touched {
            let entry = self.entries.get(uid);
            counted.count(uid, entry);
            let Some(entry) = entry else { continue };
            self.check_entry(entry, profiles, || {
                let is_its = |ticket: &&Ticket| ticket.number == entry.ticket;
                match entry.place {
                    Place::Backoff => {
                        self.backoff.iter().chain(self.futile.iter(Place::Backoff)).find(is_its)
                    }
                    Place::ErrorBackoff => self.error_backoff.iter().find(is_its),
                    _ => self.active.iter().chain(self.futile.iter(Place::Active)).find(is_its),
                }
            })?;
        }
        self.check_counts(counted)
    }

    /// `ticket` finds the pod's ticket in the heap of its place.
    fn check_entry<'a>(
        &self,
        entry: &Entry,
        profiles: &Profiles,
        ticket: impl FnOnce() -> Option<&'a Ticket>,
    ) -> Result<(), String> {
        let uid = &entry.queued.pod.uid;
        let waits = matches!(entry.place, Place::Unschedulable | Place::Gated);
        if waits != (self.waiting.get(entry.ticket) == Some(uid)) {
            return Err(format!("pod {uid} is {:?}; listed as waiting: {}", entry.place, !waits));
        }
        if waits {
            self.waiting.check(entry, profiles)?;
        }
        if (entry.place == Place::Gated) != entry.gated_by.is_some() {
            return Err(format!("pod {uid} is {:?} and gated by {:?}", entry.place, entry.gated_by));
        }
        let has_ticket = matches!(entry.place, Place::Active | Place::Backoff | Place::ErrorBackoff);
        if has_ticket && !ticket().is_some_and(|it| Arc::ptr_eq(&it.queued.pod, &entry.queued.pod)) {
            return Err(format!("pod {uid} is {:?} and has no ticket that says so", entry.place));
        }
        Ok(())
    }

    fn check_counts(&self, counted: &Counted) -> Result<(), String> {
        let (size, error_backoff) = (self.size, counted.at(Place::ErrorBackoff));
        let says = [
            (size.active, counted.at(Place::Active)),
            (size.backoff, counted.at(Place::Backoff) + error_backoff),
            (self.error_backoff_len, error_backoff),
            (size.unschedulable, counted.at(Place::Unschedulable)),
            (size.gated, counted.at(Place::Gated)),
            (size.in_flight, counted.at(Place::InFlight)),
            (self.entries.len(), counted.pods.len()),
        ];
        if says.iter().any(|(says, is)| says != is) {
            return Err(format!("queue sizes {size:?}, counted {:?}", counted.places));
        }
        if self.waiting.len() != size.unschedulable + size.gated {
            return Err(format!("{} pods are listed as waiting, {size:?}", self.waiting.len()));
        }
        if !some(&self.rejected_gauge).eq(some(&counted.rejectors)) {
            return Err(format!("rejected pods {:?}, counted {:?}", self.rejected_gauge, counted.rejectors));
        }
        self.in_flight.check(|uid| self.entries.get(uid).is_some_and(|e| e.place == Place::InFlight))
    }
}

fn some(counts: &BTreeMap<(Atom, Atom), i64>) -> impl Iterator<Item = (&(Atom, Atom), &i64)> {
    counts.iter().filter(|(_, count)| **count != 0)
}
