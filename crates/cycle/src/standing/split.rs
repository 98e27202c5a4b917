//! The plugins that act on a pod, split by what changes their answers: those that pods on the nodes do not affect, and those that
//! depend on the nodes' rows. Plugins that evaluate by group are neither.

use super::class::Asker;
use super::plan::{Reads, Scorer, bit};
use super::why::Why;
use crate::panics::run;
use crate::probe::Point;
use crate::profile::{At, PluginRef};
use secondmate_framework::{Filter, NodeParts, Normalization, RowFilter, RowScore};
use smallvec::SmallVec;

/// A filter, or a score with its weight, by rows.
type FilterByRow<'s> = (&'s PluginRef, Box<dyn RowFilter + 's>);
type ScoreByRow<'s> = (&'s PluginRef, Box<dyn RowScore + 's>, i64);

/// The plugins of a pod that evaluate nodes over columns.
pub(super) struct Split<'s> {
    /// What those plugins read that pods on the nodes do not affect.
    pub(super) reads: Reads,
    /// Those plugins among the filters and among the scores, in order.
    pub(super) filters: SmallVec<[&'s At<dyn Filter>; 8]>,
    pub(super) scorers: SmallVec<[&'s Scorer<'s>; 8]>,
    /// The others, each with the plugin.
    pub(super) row_filters: SmallVec<[FilterByRow<'s>; 2]>,
    pub(super) row_scores: SmallVec<[ScoreByRow<'s>; 2]>,
}

impl<'s> Split<'s> {
    /// The split for a pod for which there is a plan. `None` if a plugin belongs to neither.
    pub(super) fn new(asker: &Asker<'s, '_>) -> Result<Option<Self>, Why> {
        let mut split = Self {
            reads: Reads::default(),
            filters: SmallVec::new(),
            scorers: SmallVec::new(),
            row_filters: SmallVec::new(),
            row_scores: SmallVec::new(),
        };
        let split_up = split.add_filters(asker)?.is_some() && split.add_scores(asker)?.is_some();
        Ok(split_up.then_some(split))
    }

    fn add_filters(&mut self, asker: &Asker<'s, '_>) -> Result<Option<()>, Why> {
        let (pass, plan) = (asker.pass, asker.plan);
        for (at, filter) in pass.profile.filter.iter().enumerate() {
            let bit = bit(at)?;
            if plan.reads.filters & bit == 0 || plan.apart.contains(&filter.number) {
                continue;
            }
            if self.takes(asker, filter, Point::Filter) {
                self.reads.filters |= bit;
                self.filters.push(filter);
                continue;
            }
            let ask = || filter.point.by_row(&pass.state, pass.pod);
            let Some(by_row) = run(&filter.name, Point::Filter.name(), None, ask) else { return Ok(None) };
            self.row_filters.push((filter, by_row));
        }
        Ok(Some(()))
    }

    fn add_scores(&mut self, asker: &Asker<'s, '_>) -> Result<Option<()>, Why> {
        let pass = asker.pass;
        for scorer in &asker.plan.scorers {
            let plugin = scorer.plugin;
            if scorer.by_group.is_some() {
                continue;
            }
            if self.takes(asker, plugin, Point::Score) {
                let at = pass.profile.score.iter().position(|(score, _)| score.number == plugin.number);
                self.reads.scores |= bit(at.ok_or(Why::Failed)?)?;
                self.scorers.push(scorer);
                continue;
            }
            if scorer.normalization != Normalization::Identity {
                return Ok(None);
            }
            let ask = || plugin.point.by_row(asker.scoring, pass.pod);
            let Some(by_row) = run(&plugin.name, Point::Score.name(), None, ask) else { return Ok(None) };
            self.row_scores.push((plugin, by_row, scorer.weight));
        }
        Ok(Some(()))
    }

    /// Whether pods on the nodes do not affect the plugin's answers. If so, what it reads is recorded.
    fn takes(&mut self, asker: &Asker<'_, '_>, plugin: &PluginRef, point: Point) -> bool {
        let declared = asker.pass.profile.declaration(plugin);
        if declared.node.intersects(NodeParts::CHANGED_BY_PODS) {
            return false;
        }
        match asker.plan.reading(plugin) {
            Some(reading) if reading.storage || !reading.nodes.is_empty() => return false,
            Some(reading) => self.reads.add_reading(plugin, point, reading),
            None => self.reads.add_declared(declared),
        }
        true
    }
}
