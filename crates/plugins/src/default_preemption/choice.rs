//! Chooses among the candidates.

use super::dry_run::Candidate;
use super::importance::Importance;
use secondmate_framework::{PreemptionCandidate, TrialMarks};
use secondmate_model::{Pod, Timestamp};
use std::cmp::Reverse;
use std::sync::Arc;

/// Shifts priorities so that the lowest one counts as 0.
const PRIORITY_OFFSET: i64 = 1 << 31;

/// The criteria for a candidate in upstream's order, the first rule first; less is better.
fn order(marks: &TrialMarks, importance: Importance) -> (i64, i32, i64, usize, Reverse<Timestamp>) {
    let TrialMarks { budget_violations, first_priority, priority_sum, victims, start } = *marks;
    (budget_violations, first_priority, priority_sum, victims, Reverse(start.unwrap_or(importance.now)))
}

/// The best candidate: the fewest violated budgets, then the lowest priority of the most important victim, the lowest sum of the victims'
/// priorities, the fewest victims, and the latest start of the victims with the highest priority. Among equals, the first.
pub(super) fn best(
    candidates: Vec<PreemptionCandidate>,
    importance: Importance,
) -> Option<PreemptionCandidate> {
    // Extenders may leave candidates without victims; nothing has to be done for those, so they do not count.
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let marks = marks(&candidate.victims, candidate.budget_violations, importance)?;
            Some((order(&marks, importance), candidate))
        })
        .min_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The same for candidates in any order, when no extender is to be called: among equals, the first in the snapshot's order.
pub(super) fn best_by_marks(candidates: Vec<Candidate>, importance: Importance) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| (order(&candidate.marks, importance), candidate.at))
}

/// The marks of a candidate with these victims; `None` if there are no victims.
pub(super) fn marks(
    victims: &[Arc<Pod>],
    budget_violations: i64,
    importance: Importance,
) -> Option<TrialMarks> {
    let first = victims.first()?;
    let highest = victims.iter().map(|victim| victim.priority).max()?;
    let start = victims
        .iter()
        .filter(|victim| victim.priority == highest)
        .min_by_key(|victim| importance.start(victim))?
        .start_time;
    let priority_sum = victims.iter().map(|victim| i64::from(victim.priority) + PRIORITY_OFFSET).sum();
    Some(TrialMarks {
        budget_violations,
        first_priority: first.priority,
        priority_sum,
        victims: victims.len(),
        start,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use secondmate_framework::Parity;
    use serde_json::json;

    /// A candidate with victims given as `(priority, second of the start)`.
    fn candidate(node: &str, budget_violations: i64, victims: &[(i32, u32)]) -> PreemptionCandidate {
        let victim = |(priority, second): &(i32, u32)| {
            fixture::pod(json!({"metadata": {"name": "v"}, "spec": {"containers": [], "priority": priority},
                "status": {"startTime": format!("2026-01-01T00:00:{second:02}Z")}}))
        };
        PreemptionCandidate {
            node: node.into(),
            victims: victims.iter().map(victim).collect(),
            budget_violations,
        }
    }

    #[test]
    fn the_rules_decide_one_after_the_other() {
        let importance = Importance { now: Timestamp::from_secs(4_000_000_000), parity: Parity::Strict };
        for (name, a, b) in [
            ("budgets", candidate("a", 1, &[(0, 0)]), candidate("b", 0, &[(9, 0), (9, 0)])),
            ("highest priority", candidate("a", 0, &[(5, 0)]), candidate("b", 0, &[(4, 0), (4, 0), (4, 0)])),
            ("sum", candidate("a", 0, &[(5, 0), (4, 0)]), candidate("b", 0, &[(5, 0), (3, 0)])),
            ("sum again", candidate("a", 0, &[(-5, 0), (-6, 0)]), candidate("b", 0, &[(-5, 0)])),
            (
                "sum of the lowest priorities, which count as nothing",
                candidate("a", 0, &[(10, 0), (5, 0)]),
                candidate("b", 0, &[(10, 0), (i32::MIN, 0), (i32::MIN, 0), (i32::MIN, 0)]),
            ),
            (
                "number",
                candidate("a", 0, &[(i32::MIN, 0), (i32::MIN, 0)]),
                candidate("b", 0, &[(i32::MIN, 0)]),
            ),
            ("start", candidate("a", 0, &[(5, 10), (5, 20)]), candidate("b", 0, &[(5, 11), (5, 12)])),
            (
                "start of the highest",
                candidate("a", 0, &[(5, 10), (4, 30)]),
                candidate("b", 0, &[(5, 11), (4, 1)]),
            ),
        ] {
            for row in [vec![a.clone(), b.clone()], vec![b, a]] {
                let best = best(row, importance).expect("a candidate");
                assert_eq!(best.node, "b", "{name}");
            }
        }
    }

    #[test]
    fn a_victim_that_was_not_started_counts_as_started_now() {
        let importance = Importance { now: Timestamp::from_secs(4_000_000_000), parity: Parity::Strict };
        let started = candidate("started", 0, &[(5, 10)]);
        let mut fresh = candidate("fresh", 0, &[(5, 10)]);
        fresh.victims =
            vec![fixture::pod(json!({"metadata": {"name": "v"}, "spec": {"containers": [], "priority": 5}}))];
        for row in [vec![started.clone(), fresh.clone()], vec![fresh.clone(), started.clone()]] {
            assert_eq!(best(row, importance).expect("a candidate").node, "fresh");
        }
        // With a victim that had been started, the other one does not count.
        fresh.victims.push(Arc::clone(&started.victims[0]));
        let found = marks(&fresh.victims, 0, importance).expect("there are victims");
        assert_eq!(found.start, started.victims[0].start_time);
    }

    #[test]
    fn the_first_of_equals_is_taken_and_none_without_victims() {
        let importance = Importance { now: Timestamp::default(), parity: Parity::Strict };
        let row = vec![candidate("x", 0, &[]), candidate("a", 0, &[(1, 1)]), candidate("b", 0, &[(1, 1)])];
        assert_eq!(best(row, importance).expect("a candidate").node, "a");
        assert_eq!(best(vec![candidate("x", 0, &[])], importance), None);
    }
}
