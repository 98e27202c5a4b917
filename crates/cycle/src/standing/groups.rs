//! Results per group of a class: the verdicts of the filters by group, and each group's part of the score.

use super::class::{Class, weighted};
use super::domains::DomainCounts;
use super::members::Best;
use super::plan::{Plan, Scorer};
use super::ranking::GroupRef;
use super::why::Why;
use crate::panics::run;
use crate::probe::Point;
use secondmate_framework::{DomainTotals, GroupScore, NodeGroup, Normalization, Place, Status};
use smallvec::SmallVec;
use std::ops::Range;

/// The groups of a class, after the filters by group.
pub(super) struct Groups<'a> {
    class: &'a Class,
    /// The groups that pass, by number.
    passing: Vec<(usize, GroupRef<'a>)>,
    /// The verdicts on the others, by number.
    rejected: Vec<(usize, Status)>,
    /// Number of nodes that pass.
    pub(super) feasible: usize,
}

/// The places of a group at these coordinates.
fn places(domains: &DomainCounts, group: GroupRef<'_>, coordinates: Range<usize>) -> SmallVec<[Place; 4]> {
    coordinates.map(|at| domains.place(at, group.traits[at])).collect()
}

impl<'a> Groups<'a> {
    /// The groups as they are now.
    pub(super) fn new(class: &'a Class, plan: &Plan<'_>) -> Result<Self, Why> {
        let mut groups = Self { class, passing: Vec::new(), rejected: Vec::new(), feasible: 0 };
        let totals: Vec<DomainTotals> = (0..class.widths().iter().take(plan.group_filters.len()).sum())
            .map(|at| class.domains().totals(at))
            .collect();
        for (number, group) in class.ranking().groups() {
            let status = verdict(class, plan, group, &totals)?;
            if status.is_success() {
                groups.passing.push((number, group));
                groups.feasible += group.nodes;
            } else {
                groups.rejected.push((number, status));
            }
        }
        Ok(groups)
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.passing.len() + self.rejected.len()
    }

    /// The verdict on a group that does not pass.
    pub(super) fn verdict(&self, number: usize) -> Option<&Status> {
        let at = self.rejected.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.rejected[at].1)
    }

    /// The verdicts on the groups that do not pass.
    pub(super) fn rejected(&self) -> &[(usize, Status)] {
        &self.rejected
    }

    /// The best of the passing nodes. A single one is found without scoring.
    pub(super) fn best(&self, plan: &Plan<'_>) -> Result<Best<'a>, Why> {
        let scores = if self.feasible > 1 { self.scores(plan)? } else { vec![0; self.passing.len()] };
        let (_, best) = self.class.ranking().best(self.passing.iter().map(|(number, _)| *number).zip(scores));
        Ok(best)
    }

    /// Each passing group's part of the score, by number.
    pub(super) fn numbered_scores(&self, plan: &Plan<'_>) -> Result<Vec<(usize, i64)>, Why> {
        Ok(self.passing.iter().map(|(number, _)| *number).zip(self.scores(plan)?).collect())
    }

    fn scores(&self, plan: &Plan<'_>) -> Result<Vec<i64>, Why> {
        let mut scores = vec![0_i64; self.passing.len()];
        let mut from = self.class.widths().iter().take(plan.group_filters.len()).sum();
        let by_group = plan.scorers.iter().filter_map(|scorer| Some((scorer, scorer.by_group.as_deref()?)));
        for ((scorer, by_group), width) in by_group.zip(&self.class.widths()[plan.group_filters.len()..]) {
            self.add_by_group(scorer, by_group, from..from + width, &mut scores)?;
            from += width;
        }
        // The raw scores follow the coordinates.
        for scorer in &plan.scorers {
            if scorer.by_group.is_none() && scorer.normalization != Normalization::Identity {
                self.add_normalized(scorer, from, &mut scores)?;
                from += 1;
            }
        }
        Ok(scores)
    }

    /// Adds a score that is normalised over the feasible nodes; the trait at this index is the raw score.
    fn add_normalized(&self, scorer: &Scorer<'_>, at: usize, scores: &mut [i64]) -> Result<(), Why> {
        let largest = self.passing.iter().map(|(_, group)| group.traits[at]).max().unwrap_or(0);
        for ((_, group), sum) in self.passing.iter().zip(scores) {
            add(sum, scorer.normalization.of(group.traits[at], largest), scorer.weight)?;
        }
        Ok(())
    }

    /// Adds a score by group, which uses these coordinates.
    fn add_by_group(
        &self,
        scorer: &Scorer<'_>,
        by_group: &dyn GroupScore,
        coordinates: Range<usize>,
        scores: &mut [i64],
    ) -> Result<(), Why> {
        if coordinates.is_empty() {
            return Err(Why::Failed);
        }
        let domains = self.class.domains();
        let places: Vec<Place> =
            self.passing.iter().flat_map(|(_, group)| places(domains, *group, coordinates.clone())).collect();
        let groups: Vec<NodeGroup<'_>> = places
            .chunks_exact(coordinates.len())
            .zip(&self.passing)
            .map(|(places, (_, group))| NodeGroup { places, nodes: group.nodes })
            .collect();
        let ask = || by_group.score(&groups);
        let by_group = run(&scorer.plugin.name, Point::Score.name(), None, ask);
        if by_group.len() != scores.len() {
            return Err(Why::Failed);
        }
        for (sum, score) in scores.iter_mut().zip(by_group) {
            add(sum, score, scorer.weight)?;
        }
        Ok(())
    }
}

/// The verdict on a group: that of the first filter that rejects it, as if all were called in order.
fn verdict(
    class: &Class,
    plan: &Plan<'_>,
    group: GroupRef<'_>,
    totals: &[DomainTotals],
) -> Result<Status, Why> {
    let first = group.late.map_or(usize::MAX, |(_, after)| after);
    let mut from = 0;
    for ((filter, by_group), width) in plan.group_filters.iter().zip(class.widths()).take(first) {
        let coordinates = from..from + width;
        from = coordinates.end;
        let places = places(class.domains(), group, coordinates.clone());
        let ask = || by_group.filter(&places, &totals[coordinates]);
        let status = run(&filter.name, Point::Filter.name(), None, ask);
        if status.is_rejected() {
            return Ok(status.by(&filter.name));
        }
        if !status.is_success() {
            return Err(Why::Failed);
        }
    }
    Ok(group.late.map_or(Status::SUCCESS, |(status, _)| status.clone()))
}

/// Adds a score multiplied by its weight, if it is in range.
fn add(sum: &mut i64, score: i64, weight: i64) -> Result<(), Why> {
    *sum = sum.checked_add(weighted(score, weight)?).ok_or(Why::Failed)?;
    Ok(())
}
