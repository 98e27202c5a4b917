//! The filter and the score by rows, for pods that ask for CPU and memory only.

use super::Needs;
use super::strategy::Strategy;
use crate::allocation::{RowAllocation, ScoredResource, Taken, row_allocations};
use secondmate_framework::{NodeRow, RowFilter, RowScore};
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

impl RowScore for RowScores<'_> {
    fn score(&self, rows: &[NodeRow], passes: &[bool], scores: &mut [i64]) {
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
