//! The passing of time: backoffs end, and pods that have waited too long are retried.

use super::moves::{Move, Strategy};
use super::places::{Ticket, by_expiry, by_queue_sort};
use super::{Entry, FLUSH_INTERVAL, Place, Queue, QueueContext, TIMEOUT};
use secondmate_framework::ObjectChange;
use secondmate_model::{Timestamp, Uid};
use std::time::Duration;

impl Queue {
    /// Ends the backoffs that are over, and requeues pods that have waited too long.
    pub fn tick(&mut self, cx: QueueContext<'_>) {
        let now = cx.now;
        self.end_backoffs(Place::Backoff, cx);
        self.end_backoffs(Place::ErrorBackoff, cx);
        if now < self.next_flush {
            return;
        }
        self.next_flush = now + FLUSH_INTERVAL;
        let is_late = |e: &Entry| {
            let since = e.flushed_at.map_or(e.queued.timestamp, |at| at.max(e.queued.timestamp));
            // There is no point in retrying a pod that is being deleted.
            now.since(since) > self.config.max_unschedulable && !e.queued.pod.deleting
        };
        let late = self.waiting.all().filter(|uid| self.entries.get(*uid).is_some_and(is_late));
        let late: Vec<Uid> = late.cloned().collect();
        for uid in &late {
            // Including gated pods: their plugins are asked again, so that a pod whose event was missed is not held back forever.
            if let Some(entry) = self.entries.get_mut(uid) {
                entry.flushed = true;
                entry.flushed_at = Some(now);
            }
            self.requeue_after_backoff(uid, Move::by(TIMEOUT.label, Strategy::AfterBackoff), cx);
        }
        if !late.is_empty() {
            // As upstream, a pod that is in flight meanwhile is retried as well.
            self.in_flight.record(TIMEOUT, &ObjectChange::default());
        }
    }

    fn end_backoffs(&mut self, place: Place, cx: QueueContext<'_>) {
        let compare = by_queue_sort(cx.profiles);
        let compare = by_expiry(&compare);
        let entries = &self.entries;
        let goes = |top: &Ticket| !top.holds(entries, place) || is_over(top.expiry, cx.now);
        let mut ended = Vec::new();
        let heap = if place == Place::ErrorBackoff { &mut self.error_backoff } else { &mut self.backoff };
        while heap.peek().is_some_and(goes) {
            ended.extend(heap.pop(&compare));
        }
        if place == Place::Backoff {
            ended.extend(self.futile.pop_while(place, goes, &compare));
        }
        ended.retain(|ticket| ticket.holds(entries, place));
        // Pods whose backoffs end in the same second are ordered by the queue sort plugin in activeQ.
        ended.sort_by_key(|ticket| ticket.expiry);
        for ticket in ended {
            // A pod that comes straight out of backoff was checked when it went in.
            self.enter_active(&ticket.queued.pod.uid, Move::plain("BackoffComplete"), cx);
        }
    }

    /// When [`Queue::tick`] next has something to do, if ever.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        // A backoff is over once the whole second after its expiry has begun.
        let second = Duration::from_secs(1);
        let backoffs = [self.backoff.peek(), self.error_backoff.peek()].into_iter().flatten();
        let aside = [false, true].map(|futile| self.futile.heads(Place::Backoff, futile));
        let backoffs = backoffs.chain(aside.into_iter().flatten().map(|(_, ticket)| ticket));
        let backoff = backoffs.map(|t| t.expiry + second).min();
        let flush = (self.waiting.len() > 0).then_some(self.next_flush);
        backoff.into_iter().chain(flush).min()
    }

    pub(super) fn is_backing_off(&self, entry: &Entry, now: Timestamp) -> bool {
        !self.backoff_of(entry).is_zero() && !is_over(self.expiry_of(entry), now)
    }

    fn backoff_of(&self, entry: &Entry) -> Duration {
        let count = if entry.errors_in_a_row > 0 { entry.errors_in_a_row } else { entry.unschedulable_count };
        if count == 0 || self.config.max_backoff.is_zero() {
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(count - 1).unwrap_or(u32::MAX);
        self.config.initial_backoff.saturating_mul(factor).min(self.config.max_backoff)
    }

    fn expiry_of(&self, entry: &Entry) -> Timestamp {
        (entry.queued.timestamp + self.backoff_of(entry)).truncate_to_second()
    }

    pub(super) fn expiry(&self, uid: &Uid) -> Timestamp {
        self.entries.get(uid).map_or_else(Timestamp::default, |entry| self.expiry_of(entry))
    }
}

/// A backoff is over once its whole second has passed.
fn is_over(expiry: Timestamp, now: Timestamp) -> bool {
    expiry < now.truncate_to_second()
}
