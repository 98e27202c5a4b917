//! A year of a cluster's life.
//!
//! A day has a fixed number of each kind of event ([`DAY`]), at random times. A third of them come alone, three times as often
//! by day as by night; the others come in twelve bursts a day, each within [`BURST`], as rollouts, drains and outages do: in these, pods,
//! schedulers and faults coincide. So no year is spent waiting. If nothing is in progress, simulated time jumps to the next event.

use crate::{Action, Options, Step};
use secondmate_cycle::Random;

/// What happens in a day, and how often, not counting pods that result from workloads, evictions and failures.
pub const DAY: [(Action, usize); 19] = [
    (Action::CreatePod, 70),
    (Action::CreateForeignPod, 30),
    (Action::CreateWorkload, 9),
    (Action::ScaleWorkload, 12),
    (Action::DeleteWorkload, 5),
    (Action::FinishPod, 80),
    (Action::DeletePod, 16),
    (Action::ChangePod, 8),
    (Action::AddNode, 2),
    (Action::ChangeNode, 10),
    (Action::RemoveNode, 2),
    (Action::ChangeBudget, 4),
    (Action::Relist, 10),
    (Action::SilentWatch, 4),
    (Action::Crash, 2),
    (Action::LoseLeadership, 2),
    (Action::OtherReplicaBinds, 8),
    (Action::GuardGone, 1),
    (Action::CalmDown, 1),
];

/// The duration of a burst, in milliseconds.
pub const BURST: usize = 4_000;

const BURSTS: usize = 12;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Milliseconds of a day.
pub const DAY_LENGTH: u64 = 24 * HOUR;
/// The time of the day at which the cluster calms down: the last half hour has no other events.
const CALM: u64 = DAY_LENGTH - HOUR / 2;

/// The options of the life with this seed: all kinds of worlds take turns.
#[must_use]
pub fn options_of_life(seed: u64) -> Options {
    Options {
        nodes: 12,
        bind_faults: true,
        lag: true,
        stale_lists: true,
        foreign: true,
        preemption: true,
        slow_plugins: true,
        restarts: true,
        living: true,
        topology: seed.is_multiple_of(2),
        tenants: !seed.is_multiple_of(3),
        guard: seed % 4 != 3,
        extender: seed.is_multiple_of(5),
        plain: seed % 7 == 6,
        ..Options::default()
    }
}

/// The steps of a life, day by day, without end.
#[derive(Clone, Debug)]
pub struct Life {
    random: Random,
    day: u64,
    number: u64,
    /// The steps of the day, in reverse order.
    rest: Vec<Step>,
}

impl Life {
    /// The life with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), day: 0, number: 0, rest: Vec::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64
    }

    /// A time of the day, three times as often by day.
    fn time(&mut self) -> u64 {
        let time = self.below(CALM);
        let by_day = (8 * HOUR..20 * HOUR).contains(&time);
        if by_day || self.below(3) == 0 { time } else { 8 * HOUR + self.below(12 * HOUR) }
    }

    fn plan_day(&mut self) {
        let bursts: Vec<u64> = (0..BURSTS).map(|_| self.time()).collect();
        let mut events = Vec::new();
        for (action, count) in DAY {
            for _ in 0..count {
                let time = match action {
                    Action::CalmDown => CALM,
                    _ if self.below(3) == 0 => self.time(),
                    _ => bursts[self.random.below(BURSTS)].min(CALM - HOUR / 2) + self.below(BURST as u64),
                };
                let back = match action {
                    Action::LoseLeadership => Some(Action::Lead),
                    Action::GuardGone => Some(Action::GuardBack),
                    _ => None,
                };
                events.extend(back.map(|back| {
                    let after = 1_000 + self.below(15 * MINUTE);
                    ((time + after).min(CALM), back)
                }));
                events.push((time, action));
            }
        }
        events.sort_unstable();
        let began = self.day * DAY_LENGTH;
        self.rest = events
            .into_iter()
            .map(|(time, action)| {
                self.number += 1;
                Step { at: began + time, number: self.number, action }
            })
            .rev()
            .collect();
        self.day += 1;
    }
}

impl Iterator for Life {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.rest.is_empty() {
            self.plan_day();
        }
        self.rest.pop()
    }
}

/// The steps of this many days of a life.
pub fn days(seed: u64, days: u64) -> impl Iterator<Item = Step> {
    Life::new(seed).take_while(move |step| step.at < days * DAY_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_what_it_is_said_to_have() {
        let steps: Vec<Step> = days(1, 3).collect();
        assert!(steps.is_sorted_by_key(|step| step.at));
        for (action, count) in DAY {
            let found = steps.iter().filter(|step| step.action == action).count();
            assert_eq!(found, 3 * count, "{action:?}");
        }
        assert_eq!(days(1, 3).collect::<Vec<_>>(), steps);
    }
}
