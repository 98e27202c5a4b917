//! Which plugins act on a pod, and whether a class can stand for what they say.

use super::why::Why;
use crate::panics::run;
use crate::plain::Pass;
use crate::probe::{Point, Probe};
use crate::profile::{At, PluginRef};
use secondmate_framework::{
    Code, CycleState, Declaration, Filter, GroupFilter, GroupScore, Normalization, PodParts, Reach, Score,
};
use secondmate_model::objects::ObjectKind;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// A filter that looks further than the node, and how it judges groups.
type FilterByGroup<'a> = (&'a At<dyn Filter>, Arc<dyn GroupFilter>);

/// The plugins that act on a pod at Filter and Score.
pub(super) struct Plan<'a> {
    /// Filters that PreFilter left on, a bit for each by its place in the profile.
    pub(super) filters: u64,
    /// Scores that PreScore left on, likewise.
    pub(super) scores: u64,
    /// What they read of the pod.
    pub(super) parts: PodParts,
    /// Kinds of objects that they read.
    pub(super) kinds: SmallVec<[ObjectKind; 8]>,
    /// Filters that look further than the node, by group, in their order.
    pub(super) group_filters: SmallVec<[FilterByGroup<'a>; 1]>,
    /// The numbers of their plugins.
    pub(super) apart: SmallVec<[usize; 2]>,
    pub(super) scorers: SmallVec<[Scorer<'a>; 8]>,
    /// Scores by group, by the number of the plugin.
    by_group: SmallVec<[(usize, Arc<dyn GroupScore>); 1]>,
    /// Plugins whose PreScore had something to say, and the time that all took.
    prepared: SmallVec<[&'a PluginRef; 8]>,
    took: Duration,
}

/// A plugin that scores.
pub(super) struct Scorer<'a> {
    pub(super) plugin: &'a At<dyn Score>,
    pub(super) weight: i64,
    pub(super) normalization: Normalization,
    /// The score by group, where it looks further than the node.
    pub(super) by_group: Option<Arc<dyn GroupScore>>,
}

/// Which place in a list of plugins a bit stands for.
fn bit(at: usize) -> Result<u64, Why> {
    u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).ok_or(Why::TooManyPlugins)
}

/// Whether the plugin's score looks no further than the node for this pod, and at no more of the pod than its parts.
fn scores_the_node_alone(pass: &Pass<'_>, plugin: &PluginRef) -> bool {
    let declared = pass.profile.declaration(plugin);
    declared.tells_what_it_reads()
        && (declared.score == Reach::Node
            || plugin.plugin.score_reach(&pass.cx, pass.pod) == Some(Reach::Node))
}

impl<'a> Plan<'a> {
    /// The plan for a pod that has been through PreFilter. PreScore is asked, with `scoring` as its state.
    pub(super) fn new(pass: &Pass<'a>, scoring: &mut CycleState) -> Result<Self, Why> {
        let mut plan = Self {
            filters: 0,
            scores: 0,
            parts: PodParts::NONE,
            kinds: SmallVec::new(),
            group_filters: SmallVec::new(),
            apart: SmallVec::new(),
            scorers: SmallVec::new(),
            by_group: SmallVec::new(),
            prepared: SmallVec::new(),
            took: Duration::ZERO,
        };
        plan.add_filters(pass)?;
        let skipped = plan.pre_score(pass, scoring)?;
        plan.add_scores(pass, &skipped)?;
        if plan.parts.intersects(PodParts::VOLUMES) && !pass.pod.volumes.is_empty() {
            return Err(Why::Volumes);
        }
        Ok(plan)
    }

    fn add_filters(&mut self, pass: &Pass<'a>) -> Result<(), Why> {
        for (at, filter) in pass.profile.filter.iter().enumerate() {
            if pass.state.skips_filter(&filter.name) {
                continue;
            }
            self.filters |= bit(at)?;
            let declared = pass.profile.declaration(filter);
            if declared.filter == Reach::Node && declared.tells_what_it_reads() {
                self.reads(declared);
                continue;
            }
            // What comes of both is no verdict of a profile that leaves PreFilter out.
            let prepared = pass.profile.pre_filter.iter().any(|plugin| plugin.number == filter.number);
            let ask = || filter.point.by_group(&pass.cx, pass.pod).filter(|_| prepared);
            let by_group = run(&filter.name, Point::Filter.name(), None, ask);
            let Some(by_group) = by_group else { return Err(Why::Filter(filter.name.clone())) };
            // What it reads of the pod is in there: two pods are alike where it is the same.
            self.group_filters.push((filter, Arc::from(by_group)));
            self.apart.push(filter.number);
        }
        Ok(())
    }

    /// Asks PreScore; returns the plugins that have nothing to say about the pod.
    fn pre_score(
        &mut self,
        pass: &Pass<'a>,
        scoring: &mut CycleState,
    ) -> Result<SmallVec<[&'a PluginRef; 8]>, Why> {
        let probe = pass.profile.probe();
        let began = probe.now();
        let mut skipped = SmallVec::new();
        for plugin in &pass.profile.pre_score {
            if !scores_the_node_alone(pass, plugin) {
                let score = pass.profile.score.iter().find(|(score, _)| score.number == plugin.number);
                let ask = || score.and_then(|(score, _)| score.point.by_group(&pass.cx, pass.pod));
                let by_group = run(&plugin.name, Point::Score.name(), None, ask);
                let Some(by_group) = by_group else { return Err(Why::Score(plugin.name.clone())) };
                self.by_group.push((plugin.number, Arc::from(by_group)));
                self.prepared.push(plugin);
                continue;
            }
            // It does not look at the feasible nodes: so it has declared.
            let ask = || plugin.point.pre_score(&pass.cx, scoring, pass.pod, &[]);
            let status = run(&plugin.name, Point::PreScore.name(), None, ask);
            match status.code() {
                Code::Success => {
                    self.prepared.push(plugin);
                    self.reads(pass.profile.declaration(plugin));
                }
                Code::Skip => skipped.push(&**plugin),
                _ => return Err(Why::Failed),
            }
        }
        self.took = probe.now().since(began);
        Ok(skipped)
    }

    /// Tells the probe of PreScore: where the pod takes the plain pass after all, that asks once more, and tells of it.
    pub(super) fn tell(&self, probe: &dyn Probe) {
        for plugin in &self.prepared {
            probe.plugin_evaluated(plugin, Point::PreScore, 1);
        }
        probe.point_done(Point::PreScore, Code::Success, self.took);
    }

    fn add_scores(&mut self, pass: &Pass<'a>, skipped: &[&PluginRef]) -> Result<(), Why> {
        for (at, (plugin, weight)) in pass.profile.score.iter().enumerate() {
            if skipped.iter().any(|skipped| skipped.number == plugin.number) {
                continue;
            }
            let by_group = self.by_group.iter().find(|(number, _)| *number == plugin.number);
            if let Some((_, by_group)) = by_group {
                // What it reads of the pod is in there: two pods are alike where it is the same.
                let by_group = Some(Arc::clone(by_group));
                self.scores |= bit(at)?;
                let normalization = Normalization::Own;
                self.scorers.push(Scorer { plugin, weight: *weight, normalization, by_group });
                continue;
            }
            let normalization = plugin.point.normalization();
            if normalization == Normalization::Own || !scores_the_node_alone(pass, plugin) {
                return Err(Why::Score(plugin.name.clone()));
            }
            self.scores |= bit(at)?;
            self.reads(pass.profile.declaration(plugin));
            self.scorers.push(Scorer { plugin, weight: *weight, normalization, by_group: None });
        }
        Ok(())
    }

    fn reads(&mut self, declared: &Declaration) {
        self.parts = self.parts | declared.pod;
        for kind in &declared.objects {
            if !self.kinds.contains(kind) {
                self.kinds.push(*kind);
            }
        }
    }
}
