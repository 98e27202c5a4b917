//! Short histories: something happens every few hundred milliseconds, so that everything coincides with everything else.

use crate::{Action, Options, Step};
use secondmate_cycle::Random;

/// The steps of a short history.
#[must_use]
pub fn short(seed: u64, options: Options, count: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut at = 0;
    let mut steps = Vec::with_capacity(count);
    for number in 0..count as u64 {
        at += 1 + random.below(400) as u64;
        let mut one_in = |n| random.below(n) == 0;
        let (half, third, quarter) = (one_in(2), one_in(3), one_in(4));
        let action = match random.below(26) {
            0..=5 => Action::CreatePod,
            6 => Action::DeletePod,
            7 => Action::ChangePod,
            8 => Action::AddNode,
            9 => Action::ChangeNode,
            10 if quarter => Action::RemoveNode,
            11 | 12 if options.foreign => Action::CreateForeignPod,
            13 | 14 if options.foreign => Action::ForeignBind,
            15 => Action::FinishPod,
            16 if options.stale_lists || (options.lag && third) => Action::Relist,
            17 if options.preemption => Action::ChangeBudget,
            18 if options.restarts && quarter => Action::Crash,
            19 if options.restarts && half => Action::ChangeLeadership,
            20 => Action::OtherReplicaBinds,
            21 if options.stale_lists => Action::Relist,
            _ => Action::Nothing,
        };
        steps.push(Step { at, number, action });
    }
    steps
}
