//! The filter and the score by rows, for pods that ask for CPU and memory only.

use super::Needs;
use super::strategy::Strategy;
use crate::allocation::{Allocation, ROWS_AT_ONCE, RowAllocation, ScoredResource, Taken, row_allocations};
use secondmate_framework::{MAX_NODE_SCORE, NodeRow, RowFilter, RowScore};
use smallvec::SmallVec;

struct RowNeeds {
    milli_cpu: i64,
    memory: i64,
}

/// The filter, where rows tell all.
pub(super) fn filter<'a>(needs: &Needs) -> Option<Box<dyn RowFilter + 'a>> {
    let told = needs.ephemeral_storage <= 0 && needs.scalars.is_empty();
    told.then(|| -> Box<dyn RowFilter + 'a> {
        Box::new(RowNeeds { milli_cpu: needs.milli_cpu, memory: needs.memory })
    })
}

/// As `Shortage::check` has it.
fn has_room(need: i64, allocatable: i64, requested: i64) -> bool {
    (need <= 0) | (need <= allocatable.wrapping_sub(requested))
}

impl RowFilter for RowNeeds {
    fn filter(&self, rows: &[NodeRow], passes: &mut [bool]) {
        for (row, passes) in rows.iter().zip(passes) {
            let (has, taken) = (&row.allocatable, &row.requested);
            *passes &= (row.pods_left > 0)
                & has_room(self.milli_cpu, has.milli_cpu, taken.milli_cpu)
                & has_room(self.memory, has.memory, taken.memory);
        }
    }
}

struct RowScores<'a> {
    resources: SmallVec<[(RowAllocation, i64); 2]>,
    strategy: &'a Strategy,
}

/// The score, where rows tell all: `requests` are those of the resources.
pub(super) fn score<'a>(
    resources: &[ScoredResource],
    strategy: &'a Strategy,
    requests: &[i64],
) -> Option<Box<dyn RowScore + 'a>> {
    let allocations = row_allocations(resources, requests, Taken::NonZeroRequested)?;
    let weights = resources.iter().map(|resource| resource.weight);
    let resources = allocations.into_iter().zip(weights).collect();
    Some(Box::new(RowScores { resources, strategy }))
}

impl RowScores<'_> {
    /// LeastAllocated of two resources, where the amounts are such that floating point comes to the same; says whether they are. As
    /// [`Strategy::score`] has it.
    fn score_least_of_two(&self, rows: &[NodeRow], scores: &mut [i64]) -> bool {
        /// A hundred times as much is below 2^52: see [`quotient`](crate::allocation::quotient).
        const EXACT: i64 = 1 << 45;
        let (Strategy::LeastAllocated, [(a, weight), (b, other_weight)]) = (self.strategy, &*self.resources)
        else {
            return false;
        };
        let (mut has, mut free) = ([[1.0; ROWS_AT_ONCE]; 2], [[0.0; ROWS_AT_ONCE]; 2]);
        let mut exact = true;
        for ((resource, has), free) in [a, b].into_iter().zip(&mut has).zip(&mut free) {
            for ((row, has), free) in rows.iter().zip(has).zip(free) {
                let Allocation { allocatable, requested, .. } = resource.amounts(row);
                exact &= (1..EXACT).contains(&allocatable) & (0..EXACT).contains(&requested);
                *has = allocatable as f64;
                *free = allocatable.wrapping_sub(requested).max(0).wrapping_mul(MAX_NODE_SCORE) as f64;
            }
        }
        if !exact {
            return false;
        }
        let weights = weight + other_weight;
        let [has, other_has] = has;
        let [free, other_free] = free;
        let each = has.iter().zip(other_has).zip(free.iter().zip(other_free));
        for (score, ((has, other_has), (free, other_free))) in scores.iter_mut().zip(each) {
            let (one, other) = ((free / has) as i32, (other_free / other_has) as i32);
            *score = i64::from(one) * weight + i64::from(other) * other_weight;
        }
        // Weights are small.
        scores
            .iter_mut()
            .for_each(|score| *score = if weights == 2 { *score >> 1 } else { *score / weights });
        true
    }
}

impl RowScore for RowScores<'_> {
    fn score(&self, rows: &[NodeRow], passes: &[bool], scores: &mut [i64]) {
        let each = rows.chunks(ROWS_AT_ONCE).zip(passes.chunks(ROWS_AT_ONCE));
        for ((rows, passes), scores) in each.zip(scores.chunks_mut(ROWS_AT_ONCE)) {
            if !self.score_least_of_two(rows, scores) {
                self.score_each(rows, passes, scores);
            }
        }
    }
}

impl RowScores<'_> {
    fn score_each(&self, rows: &[NodeRow], passes: &[bool], scores: &mut [i64]) {
        for ((row, passes), score) in rows.iter().zip(passes).zip(scores) {
            if *passes {
                let allocations = self.resources.iter();
                let allocations =
                    allocations.filter_map(|(resource, weight)| Some((resource.on(row)?, *weight)));
                *score = self.strategy.score(allocations);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::{some_rows, usual_rows};
    use secondmate_model::resources::ResourceKey;

    #[test]
    fn several_rows_at_once_score_as_each_does() {
        for weights in [[1, 1], [3, 7]] {
            for requests in [[0, 0], [150, 1 << 30], [-100_000, 7]] {
                let keys = [ResourceKey::Cpu, ResourceKey::Memory];
                let resources = keys.into_iter().zip(weights);
                let resources: Vec<_> =
                    resources.map(|(key, weight)| ScoredResource { key, weight }).collect();
                let allocations = row_allocations(&resources, &requests, Taken::NonZeroRequested);
                let resources = allocations.expect("CPU and memory").into_iter().zip(weights).collect();
                let scores = RowScores { resources, strategy: &Strategy::LeastAllocated };
                let rows = [usual_rows(100), some_rows(300)].concat();
                let (passes, mut at_once, mut each) = (vec![true; 400], vec![0; 400], vec![0; 400]);
                scores.score(&rows, &passes, &mut at_once);
                scores.score_each(&rows, &passes, &mut each);
                assert_eq!(at_once, each, "{weights:?} {requests:?}");
                let usual = requests[0] >= 0;
                assert_eq!(
                    scores.score_least_of_two(&rows[..ROWS_AT_ONCE], &mut at_once[..ROWS_AT_ONCE]),
                    usual
                );
            }
        }
    }
}
