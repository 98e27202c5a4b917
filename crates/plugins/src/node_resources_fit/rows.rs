//! The filter and the score from rows, for pods that request only CPU and memory.

use super::Needs;
use super::strategy::Strategy;
use crate::allocation::{
    ROWS_AT_ONCE, RowAllocation, ScoredResource, Taken, exactly, row_allocations, whole_percent,
};
use fearless_simd::{Level, Simd, dispatch};
use secondmate_framework::{MAX_NODE_SCORE, NodeRows, RowFilter, RowScore};
use smallvec::SmallVec;

struct RowNeeds {
    milli_cpu: i64,
    memory: i64,
}

/// The filter, if the rows are sufficient for it.
pub(super) fn filter<'a>(needs: &Needs) -> Option<Box<dyn RowFilter + 'a>> {
    let told = needs.ephemeral_storage <= 0 && needs.scalars.is_empty();
    told.then(|| -> Box<dyn RowFilter + 'a> {
        Box::new(RowNeeds { milli_cpu: needs.milli_cpu, memory: needs.memory })
    })
}

/// Like `Shortage::check`.
fn has_room(need: i64, allocatable: i64, requested: i64) -> bool {
    (need <= 0) | (need <= allocatable.wrapping_sub(requested))
}

impl RowFilter for RowNeeds {
    fn filter(&self, rows: NodeRows<'_>, passes: &mut [bool]) {
        dispatch!(Level::new(), simd => self.find_room(simd, rows, passes));
    }
}

impl RowNeeds {
    #[inline(always)]
    fn find_room<S: Simd>(&self, _simd: S, rows: NodeRows<'_>, passes: &mut [bool]) {
        let (has, taken) = (&rows.allocatable, &rows.requested);
        let cpu = has.milli_cpu.iter().zip(taken.milli_cpu);
        let memory = has.memory.iter().zip(taken.memory);
        for (((passes, left), (has, taken)), (has_memory, taken_memory)) in
            passes.iter_mut().zip(rows.pods_left).zip(cpu).zip(memory)
        {
            *passes &= (*left > 0)
                & has_room(self.milli_cpu, *has, *taken)
                & has_room(self.memory, *has_memory, *taken_memory);
        }
    }
}

struct RowScores<'a> {
    resources: SmallVec<[(RowAllocation, i64); 2]>,
    strategy: &'a Strategy,
}

/// The score, if the rows are sufficient for it: `requests` are those of the scored resources.
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
    /// LeastAllocated for two resources, if for these amounts floating point gives the same result as integers; returns whether it does.
    /// See [`Strategy::score`].
    fn score_least_of_two(&self, level: Level, rows: NodeRows<'_>, scores: &mut [i64]) -> bool {
        let (Strategy::LeastAllocated, [(a, weight), (b, other_weight)]) = (self.strategy, &*self.resources)
        else {
            return false;
        };
        let (mut free, mut other_free) = ([0; ROWS_AT_ONCE], [0; ROWS_AT_ONCE]);
        let usual = dispatch!(level, simd => percent_free(simd, a, &rows, &mut free))
            && dispatch!(level, simd => percent_free(simd, b, &rows, &mut other_free));
        if !usual {
            return false;
        }
        let each = scores.iter_mut().zip(free.iter().zip(&other_free));
        if (*weight, *other_weight) == (1, 1) {
            each.for_each(|(score, (free, other))| *score = (free + other) >> 1);
        } else {
            let weights = weight + other_weight;
            each.for_each(|(score, (free, other))| {
                *score = (free * weight + other * other_weight) / weights;
            });
        }
        true
    }

    fn score_each(&self, rows: NodeRows<'_>, passes: &[bool], scores: &mut [i64]) {
        for (at, (passes, score)) in passes.iter().zip(scores).enumerate() {
            if *passes {
                let row = rows.row(at);
                let allocations = self.resources.iter();
                let allocations =
                    allocations.filter_map(|(resource, weight)| Some((resource.on(&row)?, *weight)));
                *score = self.strategy.score(allocations);
            }
        }
    }
}

/// The percentage of the resource that would be left with the pod; returns whether floating point gives the same result as integers.
#[inline(always)]
fn percent_free<S: Simd>(
    _simd: S,
    resource: &RowAllocation,
    rows: &NodeRows<'_>,
    percent: &mut [i64; ROWS_AT_ONCE],
) -> bool {
    /// A hundred times this is below 2^52: see [`quotient`](crate::allocation::quotient).
    const EXACT: u32 = 45;
    let (has, taken) = resource.columns(rows);
    let mut too_large = 0;
    let mut has_none = false;
    for ((percent, has), taken) in percent.iter_mut().zip(has).zip(taken) {
        let requested = taken.wrapping_add(resource.pod_request());
        // As unsigned numbers, negative ones are large as well.
        too_large |= (has | requested) as u64 >> EXACT;
        has_none |= *has == 0;
        let (has, requested) = (exactly(*has), exactly(requested));
        let free = if has > requested { has - requested } else { 0.0 };
        *percent = whole_percent(free * MAX_NODE_SCORE as f64 / has);
    }
    too_large == 0 && !has_none
}

impl RowScore for RowScores<'_> {
    fn score(&self, rows: NodeRows<'_>, passes: &[bool], scores: &mut [i64]) {
        let level = Level::new();
        let each = passes.chunks(ROWS_AT_ONCE).zip(scores.chunks_mut(ROWS_AT_ONCE));
        for (from, (passes, scores)) in (0..).step_by(ROWS_AT_ONCE).zip(each) {
            let rows = rows.part(from..from + scores.len());
            if !self.score_least_of_two(level, rows, scores) {
                self.score_each(rows, passes, scores);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::{some_rows, usual_rows};
    use secondmate_framework::NodeTable;
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
                let table: NodeTable = usual_rows(100).into_iter().chain(some_rows(300)).collect();
                let rows = table.rows();
                let (passes, mut at_once, mut each) = (vec![true; 400], vec![0; 400], vec![0; 400]);
                scores.score(rows, &passes, &mut at_once);
                scores.score_each(rows, &passes, &mut each);
                assert_eq!(at_once, each, "{weights:?} {requests:?}");
                for level in [Level::new(), Level::baseline()] {
                    let (usual, at_once) = (rows.part(0..ROWS_AT_ONCE), &mut at_once[..ROWS_AT_ONCE]);
                    assert_eq!(scores.score_least_of_two(level, usual, at_once), requests[0] >= 0);
                    let alike = *at_once == each[..ROWS_AT_ONCE];
                    assert!(requests[0] < 0 || alike, "{weights:?} {requests:?} {level:?}");
                }
            }
        }
    }
}
