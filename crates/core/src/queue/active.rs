//! activeQ: the pods that are ready, in the order of the queue sort plugin. If the scheduler names have weights, there is a lane
//! for each name, so that many pods of one name do not keep a few pods of another waiting.
//!
//! Among the pods at the heads of the lanes, those of the highest priority go first; among equals, the lane that has received the
//! least relative to its weight (stride scheduling: each lane has a pass that grows by the inverse of its weight with each pod it
//! yields, and the lowest pass goes first). Passes are kept per priority: what a name gets for its urgent pods does not count
//! against its other pods, nor against those of a name that has received nothing. A lane that had no such pods joins at the level
//! of the others, so it has not saved anything up.

use super::Place;
use super::futile::Futile;
use super::places::Ticket;
use crate::heap::Heap;
use secondmate_model::{Atom, Uid};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// How much the pass of a lane of weight 1 grows per pod: at a million pods per second it lasts for half a year, and a weight of
/// 1000 can still be distinguished from 999.
const STRIDE: u64 = 1 << 20;

/// Maximum number of priorities for which passes are kept. Beyond that, the lanes start again as equals at the priority that was
/// served longest ago.
const PRIORITIES_MAX: usize = 64;

#[derive(Debug)]
struct Lane {
    tickets: Heap<Ticket>,
    stride: u64,
}

impl Lane {
    fn new(weight: u32) -> Self {
        Self { tickets: Heap::default(), stride: STRIDE / u64::from(weight.max(1)) }
    }
}

/// What the lanes have received, by priority.
#[derive(Debug, Default)]
struct Shares {
    by_priority: Vec<Share>,
    /// Total number of pods served.
    pods: u64,
}

/// What the lanes have received for pods of one priority.
#[derive(Debug)]
struct Share {
    priority: i32,
    /// Number of the pod that was served last.
    last: u64,
    /// The pass of the lane that yielded it, before it grew. No waiting lane is behind it.
    served: u64,
    /// The passes of the lanes.
    passes: Vec<u64>,
}

impl Shares {
    /// The pass of a lane for pods of a priority.
    fn pass(&self, priority: i32, lane: usize) -> u64 {
        let share = self.by_priority.iter().find(|share| share.priority == priority);
        share.map_or(0, |share| share.passes[lane].max(share.served))
    }

    /// A lane, one of `lanes`, yields a pod of this priority.
    fn serve(&mut self, priority: i32, lane: usize, lanes: usize, stride: u64) {
        self.pods += 1;
        let known = self.by_priority.iter().position(|share| share.priority == priority);
        let at = known.unwrap_or_else(|| {
            if self.by_priority.len() == PRIORITIES_MAX {
                let oldest = (0..PRIORITIES_MAX).min_by_key(|at| self.by_priority[*at].last);
                self.by_priority.swap_remove(oldest.unwrap_or(0));
            }
            self.by_priority.push(Share { priority, last: 0, served: 0, passes: vec![0; lanes] });
            self.by_priority.len() - 1
        });
        let share = &mut self.by_priority[at];
        share.last = self.pods;
        share.served = share.passes[lane].max(share.served);
        share.passes[lane] = share.served.saturating_add(stride);
    }
}

/// The tickets of the pods that are ready, including stale ones.
#[derive(Debug)]
pub(super) struct Active {
    lanes: Vec<Lane>,
    /// The lane of each scheduler name; a name without one uses the first.
    by_name: BTreeMap<Atom, usize>,
    shares: Shares,
}

impl Default for Active {
    fn default() -> Self {
        Self { lanes: vec![Lane::new(1)], by_name: BTreeMap::new(), shares: Shares::default() }
    }
}

impl Active {
    /// With a lane for each of these names; there must be at least one.
    pub fn shared(weights: &BTreeMap<Atom, u32>) -> Self {
        let lanes = weights.values().map(|weight| Lane::new(*weight)).collect();
        let by_name = weights.keys().enumerate().map(|(lane, name)| (name.clone(), lane)).collect();
        Self { lanes, by_name, shares: Shares::default() }
    }

    /// Number of tickets.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.tickets.len()).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.lanes.iter().flat_map(|lane| lane.tickets.iter())
    }

    pub fn push(&mut self, ticket: Ticket, compare: impl Fn(&Ticket, &Ticket) -> Ordering) {
        let lane = self.lane_of(&ticket.queued.pod.scheduler_name);
        self.lanes[lane].tickets.push(ticket, compare);
    }

    fn lane_of(&self, name: &Atom) -> usize {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Takes the next valid ticket. Pods for which an attempt is futile stand aside, and come when there are no others; see
    /// [`super::futile`]. A pod for which `is_promised` returns true has no equivalents.
    pub fn pop(
        &mut self,
        futile: &mut Futile,
        is_promised: &dyn Fn(&Uid) -> bool,
        is_valid: impl Fn(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Option<Ticket> {
        futile.pop_while(Place::Active, |head| !is_valid(head), &compare);
        loop {
            for lane in &mut self.lanes {
                // Stale tickets do not make a lane count as waiting.
                while lane.tickets.peek().is_some_and(|head| !is_valid(head)) {
                    lane.tickets.pop(&compare);
                }
            }
            let heads = self.lanes.iter().filter_map(|lane| Some((None, lane.tickets.peek()?)));
            let again = futile.heads(Place::Active, false).map(|(kind, ticket)| (Some(kind), ticket));
            if let Some((lane, kind)) = self.first(heads.chain(again), &compare) {
                let ticket = match kind {
                    Some(kind) => futile.pop(kind, Place::Active, &compare)?,
                    None => {
                        let ticket = self.lanes[lane].tickets.pop(&compare)?;
                        match futile.set_aside(ticket, Place::Active, is_promised, &compare) {
                            Some(ticket) => ticket,
                            None => continue,
                        }
                    }
                };
                self.serve(lane, &ticket);
                return Some(ticket);
            }
            let aside = futile.heads(Place::Active, true).map(|(kind, ticket)| (Some(kind), ticket));
            let (lane, kind) = self.first(aside, &compare)?;
            let ticket = futile.pop(kind?, Place::Active, compare)?;
            self.serve(lane, &ticket);
            return Some(ticket);
        }
    }

    /// Which of the first tickets of lanes and kinds is next: its lane, and its kind if it stands aside.
    fn first<'a>(
        &self,
        heads: impl Iterator<Item = (Option<u64>, &'a Ticket)>,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) -> Option<(usize, Option<u64>)> {
        let mut first: Option<(usize, Option<u64>, &Ticket)> = None;
        for (kind, ticket) in heads {
            let lane = self.lane_of(&ticket.queued.pod.scheduler_name);
            let is_before = |before: &(usize, Option<u64>, &Ticket)| {
                let turn = |lane: usize, ticket: &Ticket| {
                    let priority = ticket.queued.pod.priority;
                    (Reverse(priority), self.shares.pass(priority, lane), lane)
                };
                // Within a lane the queue sort plugin decides, between lanes their shares.
                if lane == before.0 {
                    compare(ticket, before.2) == Ordering::Less
                } else {
                    turn(lane, ticket) < turn(before.0, before.2)
                }
            };
            if first.as_ref().is_none_or(is_before) {
                first = Some((lane, kind, ticket));
            }
        }
        first.map(|(lane, kind, _)| (lane, kind))
    }

    fn serve(&mut self, lane: usize, ticket: &Ticket) {
        let lanes = self.lanes.len();
        if lanes > 1 {
            self.shares.serve(ticket.queued.pod.priority, lane, lanes, self.lanes[lane].stride);
        }
    }

    /// Keeps the tickets for which `keep` returns true.
    pub fn retain(
        &mut self,
        mut keep: impl FnMut(&Ticket) -> bool,
        compare: impl Fn(&Ticket, &Ticket) -> Ordering,
    ) {
        for lane in &mut self.lanes {
            lane.tickets.retain(&mut keep, &compare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::futile::Likeness;
    use super::*;
    use secondmate_cycle::Rejection;
    use secondmate_framework::{QueuedPod, Status};
    use secondmate_model::{Pod, Timestamp, wire};
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn ticket(number: u64, scheduler: &str, priority: i32) -> Ticket {
        let pod = json!({"metadata": {"name": "p", "uid": "p"},
            "spec": {"schedulerName": scheduler, "priority": priority, "containers": []}});
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        let pod = Arc::new(Pod::new(&wire).expect("a pod that compiles"));
        let queued = QueuedPod { pod, timestamp: Timestamp::default(), attempts: 0 };
        Ticket { queued, expiry: Timestamp::default(), number }
    }

    fn order(a: &Ticket, b: &Ticket) -> Ordering {
        b.queued.pod.priority.cmp(&a.queued.pod.priority).then(a.number.cmp(&b.number))
    }

    fn shared(weights: &[(&str, u32)]) -> Active {
        Active::shared(&weights.iter().map(|(name, weight)| (Atom::new(name), *weight)).collect())
    }

    /// The scheduler names of the next `count` pods, in the order in which they leave.
    fn leave(active: &mut Active, count: usize) -> String {
        let futile = &mut Futile::default();
        let next = || {
            active.pop(futile, &|_| false, |_| true, order).map(|t| t.queued.pod.scheduler_name.to_string())
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn a_hundred_thousand_pods_of_one_do_not_keep_ten_of_another_waiting() {
        let fill = |active: &mut Active| {
            for number in 0..100_000 {
                active.push(ticket(number, "a", 0), order);
            }
            for number in 100_000..100_010 {
                active.push(ticket(number, "b", 0), order);
            }
        };
        let mut alone = Active::default();
        fill(&mut alone);
        assert_eq!(leave(&mut alone, 20), "a".repeat(20));
        let mut active = shared(&[("a", 1), ("b", 1)]);
        fill(&mut active);
        assert_eq!(leave(&mut active, 24), "ab".repeat(10) + "aaaa");
        assert_eq!(active.len(), 100_010 - 24);
    }

    #[test]
    fn shares_are_as_the_weights() {
        let mut active = shared(&[("a", 3), ("b", 1), ("c", 2)]);
        for number in 0..3000 {
            active.push(ticket(number, ["a", "b", "c"][number as usize % 3], 0), order);
        }
        let left = leave(&mut active, 600);
        let count = |name: char| left.chars().filter(|one| *one == name).count();
        assert_eq!((count('a'), count('b'), count('c')), (300, 100, 200));
    }

    #[test]
    fn priority_goes_before_shares() {
        let mut active = shared(&[("a", 1), ("b", 1000)]);
        for (number, name, priority) in [(0, "b", 0), (1, "b", 0), (2, "a", 5), (3, "a", 5), (4, "a", 0)] {
            active.push(ticket(number, name, priority), order);
        }
        assert_eq!(leave(&mut active, 9), "aaabb");
    }

    #[test]
    fn what_urgent_pods_got_is_not_held_against_others() {
        let mut active = shared(&[("a", 1), ("b", 1), ("c", 1)]);
        let fill = |active: &mut Active, name, priority, from: u64| {
            (from..from + 1000).for_each(|number| active.push(ticket(number, name, priority), order));
        };
        fill(&mut active, "a", 0, 0);
        fill(&mut active, "b", 1000, 1000);
        fill(&mut active, "c", 1000, 2000);
        assert_eq!(leave(&mut active, 2000), "bc".repeat(1000));
        // Neither a name that has received nothing yet, nor one that has received much for its urgent pods, waits for the others.
        fill(&mut active, "b", 0, 3000);
        fill(&mut active, "c", 0, 4000);
        assert_eq!(leave(&mut active, 300), "abc".repeat(100));
        // Nor does a name whose pods of this priority come late.
        fill(&mut active, "b", 1000, 5000);
        assert_eq!(leave(&mut active, 500), "b".repeat(500));
        fill(&mut active, "a", 1000, 6000);
        assert_eq!(leave(&mut active, 300), "a".to_owned() + &"ab".repeat(149) + "a");
    }

    #[test]
    fn shares_are_kept_of_a_bounded_number_of_priorities() {
        let mut active = shared(&[("a", 1), ("b", 1)]);
        for priority in 0_i32..1000 {
            active.push(ticket(u64::from(priority.unsigned_abs()), "a", priority), order);
            assert_eq!(leave(&mut active, 1), "a");
        }
        assert_eq!(active.shares.by_priority.len(), PRIORITIES_MAX);
        assert!(active.shares.by_priority.iter().all(|share| share.priority >= 1000 - 64));
    }

    #[test]
    fn who_had_nothing_to_do_has_saved_nothing_up() {
        let mut active = shared(&[("a", 1), ("b", 1)]);
        for number in 0..100 {
            active.push(ticket(number, "a", 0), order);
        }
        // A stale ticket does not make the lane count as waiting.
        active.push(ticket(100, "b", 0), order);
        let valid = |ticket: &Ticket| ticket.number != 100;
        for _ in 0..50 {
            assert!(active.pop(&mut Futile::default(), &|_| false, valid, order).is_some());
        }
        for number in 101..150 {
            active.push(ticket(number, "b", 0), order);
        }
        assert_eq!(leave(&mut active, 6).matches('b').count(), 3);
    }
    #[test]
    fn nor_has_who_becomes_ready_aside() {
        let mut active = shared(&[("a", 1), ("b", 1)]);
        for number in 0..100 {
            active.push(ticket(number, "a", 0), order);
        }
        for _ in 0..50 {
            assert!(active.pop(&mut Futile::default(), &|_| false, |_| true, order).is_some());
        }
        // Pods of b were rejected before, and an event moves them.
        let mut futile = Futile::default();
        let rejection = Rejection {
            message: String::new(),
            rejected_by: BTreeSet::new(),
            pending_by: BTreeSet::new(),
            post_filter: Status::unschedulable("").into(),
            post_filter_ran: false,
        };
        let pod = ticket(0, "b", 0).queued.pod;
        futile.remember(&pod, Arc::new(rejection));
        futile.world_changed();
        for number in 101..150 {
            let aside =
                futile.aside_of(&Likeness::default(), &pod, Place::Active).expect("its kind is known");
            aside.push(ticket(number, "b", 0), order);
        }
        let next = || {
            active
                .pop(&mut futile, &|_| false, |_| true, order)
                .map(|t| t.queued.pod.scheduler_name.to_string())
        };
        let left: String = std::iter::from_fn(next).take(6).collect();
        assert_eq!(left.matches('b').count(), 3, "{left}");
    }
}
