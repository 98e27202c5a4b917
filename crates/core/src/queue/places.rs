//! The places of the queue, and how a pod moves between them. Each pod is in exactly one place.

use super::moves::Move;
use super::{Entry, Place, Profiles, Queue, QueueContext};
use rustc_hash::FxHashMap;
use secondmate_framework::QueuedPod;
use secondmate_model::{Atom, Timestamp, Uid};
use std::cmp::Ordering;
use std::sync::Arc;

/// A pod's entry in a heap. Only the pod's newest ticket is valid.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub queued: QueuedPod,
    /// End of the backoff; unused in activeQ.
    pub expiry: Timestamp,
    pub number: u64,
}

impl Ticket {
    /// Whether this is its pod's valid ticket for this place.
    pub fn holds(&self, entries: &FxHashMap<Uid, Entry>, place: Place) -> bool {
        entries.get(&self.queued.pod.uid).is_some_and(|e| e.place == place && e.ticket == self.number)
    }
}

impl Queue {
    pub(super) fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket - 1
    }

    /// Moves a pod to another place, or re-enters it in the same one; `edit` makes further changes. Waiting pods are indexed by
    /// the plugins that rejected them, so that field may only be changed here.
    pub(super) fn relocate(
        &mut self,
        uid: &Uid,
        to: Place,
        expiry: Timestamp,
        profiles: &Profiles,
        edit: impl FnOnce(&mut Entry),
    ) {
        self.assign(uid, to, edit);
        self.list(uid, expiry, profiles, false);
    }

    /// Assigns a place to a pod, possibly the same one again, and removes the pod from the lists and counts of the previous
    /// place.
    fn assign(&mut self, uid: &Uid, to: Place, edit: impl FnOnce(&mut Entry)) {
        let ticket = self.new_ticket();
        self.unlist(uid);
        if let Some(entry) = self.entries.get_mut(uid) {
            edit(entry);
            entry.place = to;
            entry.ticket = ticket;
        }
    }

    /// Removes a pod from the lists and counts of its place. An old ticket in a heap does no harm.
    pub(super) fn unlist(&mut self, uid: &Uid) {
        self.touched.note(uid);
        let Some(entry) = self.entries.get(uid) else { return };
        let place = entry.place;
        if matches!(place, Place::Unschedulable | Place::Gated) {
            self.waiting.remove(entry.ticket);
        }
        self.error_backoff_len -= usize::from(place == Place::ErrorBackoff);
        *self.count_of(place) -= 1;
    }

    /// Enters a pod into the lists and counts of its place; puts it aside if others of its kind were rejected and it
    /// `may_stand_aside`.
    pub(super) fn list(&mut self, uid: &Uid, expiry: Timestamp, profiles: &Profiles, may_stand_aside: bool) {
        self.touched.note(uid);
        let Some(entry) = self.entries.get(uid) else { return };
        let (place, number) = (entry.place, entry.ticket);
        let ticket = || Ticket { queued: entry.queued.clone(), expiry, number };
        let compare = by_queue_sort(profiles);
        let has_kind = may_stand_aside && matches!(place, Place::Active | Place::Backoff);
        let aside =
            has_kind.then(|| self.futile.aside_of(&entry.likeness, &entry.queued.pod, place)).flatten();
        match place {
            Place::Active => match aside {
                Some(aside) => aside.push(ticket(), &compare),
                None => self.active.push(ticket(), &compare),
            },
            Place::Backoff => aside.unwrap_or(&mut self.backoff).push(ticket(), by_expiry(&compare)),
            Place::ErrorBackoff => self.error_backoff.push(ticket(), by_expiry(&compare)),
            Place::Unschedulable | Place::Gated => {
                self.waiting.insert(number, entry, profiles);
            }
            Place::InFlight => {}
        }
        self.error_backoff_len += usize::from(place == Place::ErrorBackoff);
        *self.count_of(place) += 1;
        self.compact(profiles);
    }

    /// Puts a pod into activeQ.
    pub(super) fn enter_active(&mut self, uid: &Uid, by: Move, cx: QueueContext<'_>) {
        self.assign(uid, Place::Active, |entry| {
            entry.first_active.get_or_insert(cx.now);
        });
        self.list_again(uid, cx.now, cx);
        self.count_move("active", by);
    }

    /// Puts a pod into backoffQ, or into the one for pods that failed with an error.
    pub(super) fn enter_backoff(&mut self, uid: &Uid, place: Place, by: Move, cx: QueueContext<'_>) {
        let expiry = self.expiry(uid);
        self.assign(uid, place, |_| {});
        self.list_again(uid, expiry, cx);
        self.count_move("backoff", by);
    }

    /// Enters a pod that comes from another place. It stands aside if it was tried before and others like it were rejected.
    fn list_again(&mut self, uid: &Uid, expiry: Timestamp, cx: QueueContext<'_>) {
        let was_tried = self.entries.get(uid).is_some_and(|entry| entry.queued.attempts > 0);
        self.list(uid, expiry, cx.profiles, was_tried && !cx.promises.is_promised(uid));
    }

    /// Drops stale tickets when they make up most of a heap.
    fn compact(&mut self, profiles: &Profiles) {
        const SLACK: usize = 64;
        let compare = by_queue_sort(profiles);
        let entries = &self.entries;
        let keep = |t: &Ticket| entries.get(&t.queued.pod.uid).is_some_and(|e| e.ticket == t.number);
        let limit = |pods: usize| 2 * pods + SLACK;
        if self.active.len() + self.futile.len(Place::Active) > limit(self.size.active) {
            self.active.retain(keep, &compare);
            self.futile.retain(Place::Active, keep, &compare);
        }
        if self.backoff.len() + self.futile.len(Place::Backoff) > limit(self.size.backoff) {
            self.backoff.retain(keep, by_expiry(&compare));
            self.futile.retain(Place::Backoff, keep, by_expiry(&compare));
        }
        if self.error_backoff.len() > limit(self.size.backoff) {
            self.error_backoff.retain(keep, by_expiry(&compare));
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

    /// Counts a pod for each plugin that rejected it, from its return to the queue until it is popped or removed.
    pub(super) fn count_rejectors(&mut self, uid: &Uid, by: i64) {
        self.touched.note(uid);
        let Some(entry) = self.entries.get(uid) else { return };
        for plugin in entry.rejectors() {
            let key = (plugin.clone(), entry.queued.pod.scheduler_name.clone());
            *self.rejected_gauge.entry(key).or_insert(0) += by;
        }
    }

    pub(super) fn count_rejector(&mut self, plugin: &Atom, profile: &Atom) {
        *self.rejected_gauge.entry((plugin.clone(), profile.clone())).or_insert(0) += 1;
    }
}

/// The order of activeQ: the queue sort plugin's, which all profiles share, then order of arrival.
pub(super) fn by_queue_sort(profiles: &Profiles) -> impl Fn(&Ticket, &Ticket) -> Ordering {
    let profile = profiles.values().next().map(Arc::clone);
    move |a, b| {
        let order = profile.as_ref().map_or(Ordering::Equal, |profile| profile.compare(&a.queued, &b.queued));
        order.then(a.number.cmp(&b.number))
    }
}

pub(super) fn by_expiry<F: Fn(&Ticket, &Ticket) -> Ordering>(
    compare: &F,
) -> impl Fn(&Ticket, &Ticket) -> Ordering + use<'_, F> {
    move |a, b| a.expiry.cmp(&b.expiry).then_with(|| compare(a, b))
}
