//! Which plugins act on a pod, and whether a class can keep their answers.

use super::key::Told;
use super::why::Why;
use crate::panics::run;
use crate::plain::Pass;
use crate::probe::{Point, Probe};
use crate::profile::{At, PluginRef};
use secondmate_framework::{
    Code, CycleState, Declaration, Filter, GroupFilter, GroupScore, NodeIndex, Normalization, PodParts,
    Reach, Reading, Score,
};
use secondmate_model::objects::ObjectKind;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// A filter that looks further than the node, and its form that evaluates groups.
type FilterByGroup<'a> = (&'a At<dyn Filter>, Arc<dyn GroupFilter>);

/// A set of plugins, and what they read besides the nodes.
#[derive(Default)]
pub(super) struct Reads {
    /// The filters, one bit for each by its index in the profile.
    pub(super) filters: u64,
    /// The scores, likewise.
    pub(super) scores: u64,
    /// What they read of the pod.
    pub(super) parts: PodParts,
    /// Kinds of objects that they read.
    pub(super) kinds: SmallVec<[ObjectKind; 8]>,
    /// The keys of those that report what they read for the pod: see [`Reading::key`].
    pub(super) keys: SmallVec<[Option<Told>; 4]>,
}

impl Reads {
    /// Adds a plugin that reads what it declares.
    pub(super) fn add_declared(&mut self, declared: &Declaration) {
        self.parts = self.parts | declared.pod;
        self.add_kinds(&declared.objects);
    }

    /// Adds a plugin that reported at this point what it reads for this pod.
    pub(super) fn add_reading(&mut self, plugin: &PluginRef, point: Point, reading: &Reading) {
        self.keys.push(reading.key.as_ref().map(|key| Told::new(plugin, point, Arc::clone(key))));
        self.add_kinds(&reading.objects);
    }

    fn add_kinds(&mut self, kinds: &[ObjectKind]) {
        for kind in kinds {
            if !self.kinds.contains(kind) {
                self.kinds.push(*kind);
            }
        }
    }
}

/// The plugins that act on a pod at Filter and Score.
pub(super) struct Plan<'a> {
    /// Those that PreFilter and PreScore left enabled, and what they read.
    pub(super) reads: Reads,
    /// Whether they read storage that belongs to the node.
    pub(super) storage: bool,
    /// Nodes that may stand differently for other pods of the class, ascending.
    pub(super) particular: Vec<NodeIndex>,
    /// The answers of the plugins that were asked for a reading, by plugin number.
    readings: SmallVec<[(usize, Option<Reading>); 8]>,
    /// Filters that look further than the node, by group, in order.
    pub(super) group_filters: SmallVec<[FilterByGroup<'a>; 1]>,
    /// The numbers of their plugins.
    pub(super) apart: SmallVec<[usize; 2]>,
    pub(super) scorers: SmallVec<[Scorer<'a>; 8]>,
    /// Plugins whose score cannot be kept in a class, by number: they are asked about the passing nodes, as on the plain pass.
    pub(super) asked: SmallVec<[usize; 2]>,
    /// Scores by group, by plugin number.
    by_group: SmallVec<[(usize, Arc<dyn GroupScore>); 1]>,
    /// Plugins whose PreScore did not skip, and the time that all of PreScore took.
    prepared: SmallVec<[&'a PluginRef; 8]>,
    pub(super) took: Duration,
}

/// A plugin that scores.
pub(super) struct Scorer<'a> {
    pub(super) plugin: &'a At<dyn Score>,
    pub(super) weight: i64,
    pub(super) normalization: Normalization,
    /// The score by group, if it looks further than the node.
    pub(super) by_group: Option<Arc<dyn GroupScore>>,
}

/// The bit for an index in a list of plugins.
pub(super) fn bit(at: usize) -> Result<u64, Why> {
    u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).ok_or(Why::TooManyPlugins)
}

/// Whether the parts of the pod that the plugin declares to read can be compared.
fn is_comparable(pass: &Pass<'_>, declared: &Declaration) -> bool {
    declared.tells_what_it_reads() && !reads_volumes(pass, declared)
}

/// Whether it reads volumes and the pod has any. The volumes themselves say too little: what matters is behind their claims.
fn reads_volumes(pass: &Pass<'_>, declared: &Declaration) -> bool {
    declared.pod.intersects(PodParts::VOLUMES) && !pass.pod.volumes.is_empty()
}

/// Whether, for this pod, the plugin's score depends only on the node and the pod's parts.
fn scores_the_node_alone(pass: &Pass<'_>, plugin: &PluginRef) -> bool {
    let declared = pass.profile.declaration(plugin);
    let ask = || plugin.plugin.score_reach(&pass.cx, pass.pod);
    is_comparable(pass, declared)
        && (declared.score == Reach::Node
            || run(&plugin.name, Point::Score.name(), None, ask) == Some(Reach::Node))
}

/// Whether only the plugin itself knows how to normalise its raw scores.
fn is_normalized_alone(score: &At<dyn Score>) -> bool {
    normalization(score) == Normalization::Own
}

fn normalization(score: &At<dyn Score>) -> Normalization {
    run(&score.name, Point::Score.name(), None, || score.point.normalization())
}

impl<'a> Plan<'a> {
    /// The plan for a pod that has passed PreFilter. PreScore runs, with `scoring` as its state.
    pub(super) fn new(pass: &Pass<'a>, scoring: &mut CycleState) -> Result<Self, Why> {
        let mut plan = Self {
            reads: Reads::default(),
            storage: false,
            particular: Vec::new(),
            readings: SmallVec::new(),
            group_filters: SmallVec::new(),
            apart: SmallVec::new(),
            scorers: SmallVec::new(),
            asked: SmallVec::new(),
            by_group: SmallVec::new(),
            prepared: SmallVec::new(),
            took: Duration::ZERO,
        };
        plan.add_filters(pass)?;
        let skipped = plan.pre_score(pass, scoring)?;
        plan.add_scores(pass, &skipped)?;
        plan.particular.sort_unstable();
        plan.particular.dedup();
        Ok(plan)
    }

    /// What the plugin reads for this pod, if it reports that.
    pub(super) fn reading(&self, plugin: &PluginRef) -> Option<&Reading> {
        self.readings.iter().find(|(number, _)| *number == plugin.number)?.1.as_ref()
    }

    /// Whether the filters' verdict on a node is the same for every equivalent pod, as long as the node is unchanged and the same
    /// nominated pods count.
    pub(super) fn judges_by_node_alone(&self) -> bool {
        self.apart.is_empty() && !self.reads_apart()
    }

    /// Whether a plugin reported that it reads something besides the node for this pod, such as storage.
    pub(super) fn reads_apart(&self) -> bool {
        let mut told = self.readings.iter().filter_map(|(_, reading)| reading.as_ref());
        told.any(|reading| !reading.is_of_nothing())
    }

    /// Whether the plugin reports what it reads for this pod; if so, the plan keeps it.
    fn has_reading(&mut self, pass: &Pass<'_>, plugin: &PluginRef, point: Point) -> bool {
        if let Some((_, told)) = self.readings.iter().find(|(number, _)| *number == plugin.number) {
            return told.is_some();
        }
        let ask = || plugin.plugin.reading(&pass.cx, &pass.state, pass.pod);
        let reading = run(&plugin.name, point.name(), None, ask);
        if let Some(reading) = &reading {
            self.reads.add_reading(plugin, point, reading);
            self.storage |= reading.storage;
            self.particular.extend(&reading.nodes);
        }
        self.readings.push((plugin.number, reading));
        self.readings.last().is_some_and(|(_, reading)| reading.is_some())
    }

    fn add_filters(&mut self, pass: &Pass<'a>) -> Result<(), Why> {
        for (at, filter) in pass.profile.filter.iter().enumerate() {
            if pass.state.skips_filter(&filter.name) {
                continue;
            }
            self.reads.filters |= bit(at)?;
            if self.has_reading(pass, filter, Point::Filter) {
                continue;
            }
            let declared = pass.profile.declaration(filter);
            if declared.filter == Reach::Node && is_comparable(pass, declared) {
                self.reads.add_declared(declared);
                continue;
            }
            // The combined result is not valid for a profile that does not run the plugin's PreFilter.
            let prepared = pass.profile.pre_filter.iter().any(|plugin| plugin.number == filter.number);
            let ask = || filter.point.by_group(&pass.cx, pass.pod).filter(|_| prepared);
            let by_group = run(&filter.name, Point::Filter.name(), None, ask);
            let Some(by_group) = by_group else {
                let name = filter.name.clone();
                return Err(if reads_volumes(pass, declared) {
                    Why::Volumes(name)
                } else {
                    Why::Filter(name)
                });
            };
            // It contains what it reads of the pod: two pods are equivalent if it is the same.
            self.group_filters.push((filter, Arc::from(by_group)));
            self.apart.push(filter.number);
        }
        Ok(())
    }

    /// Runs PreScore; returns the plugins that skip this pod.
    fn pre_score(
        &mut self,
        pass: &Pass<'a>,
        scoring: &mut CycleState,
    ) -> Result<SmallVec<[&'a PluginRef; 8]>, Why> {
        let probe = pass.profile.probe();
        let began = probe.now();
        let mut skipped = SmallVec::new();
        for plugin in &pass.profile.pre_score {
            let score = pass.profile.score.iter().find(|(score, _)| score.number == plugin.number);
            let has_reading = self.has_reading(pass, plugin, Point::PreScore);
            if !has_reading && !scores_the_node_alone(pass, plugin) {
                let ask = || score.and_then(|(score, _)| score.point.by_group(&pass.cx, pass.pod));
                let by_group = run(&plugin.name, Point::Score.name(), None, ask);
                match by_group {
                    Some(by_group) => {
                        self.by_group.push((plugin.number, Arc::from(by_group)));
                        self.prepared.push(plugin);
                    }
                    None => self.asked.push(plugin.number),
                }
                continue;
            }
            // It does not look at the feasible nodes, as it has declared.
            let ask = || plugin.point.pre_score(&pass.cx, scoring, pass.pod, &[]);
            let status = run(&plugin.name, Point::PreScore.name(), None, ask);
            match status.code() {
                // Will run once more, with the passing nodes.
                Code::Success if score.is_some_and(|(score, _)| is_normalized_alone(score)) => {
                    self.asked.push(plugin.number);
                }
                Code::Success => {
                    self.prepared.push(plugin);
                    if !has_reading {
                        self.reads.add_declared(pass.profile.declaration(plugin));
                    }
                }
                Code::Skip => skipped.push(&**plugin),
                _ => return Err(Why::Failed),
            }
        }
        self.took = probe.now().since(began);
        Ok(skipped)
    }

    /// Reports PreScore to the probe. If the pod takes the plain pass after all, that runs PreScore again and reports it.
    pub(super) fn tell(&self, probe: &dyn Probe) {
        self.tell_prepared(probe);
        probe.point_done(Point::PreScore, Code::Success, self.took);
    }

    /// Reports to the probe for which plugins PreScore has run so far.
    pub(super) fn tell_prepared(&self, probe: &dyn Probe) {
        for plugin in &self.prepared {
            probe.plugin_evaluated(plugin, Point::PreScore, 1);
        }
    }

    fn add_scores(&mut self, pass: &Pass<'a>, skipped: &[&PluginRef]) -> Result<(), Why> {
        for (at, (plugin, weight)) in pass.profile.score.iter().enumerate() {
            if skipped.iter().any(|skipped| skipped.number == plugin.number)
                || self.asked.contains(&plugin.number)
            {
                continue;
            }
            let by_group = self.by_group.iter().find(|(number, _)| *number == plugin.number);
            if let Some((_, by_group)) = by_group {
                // It contains what it reads of the pod: two pods are equivalent if it is the same.
                let by_group = Some(Arc::clone(by_group));
                self.reads.scores |= bit(at)?;
                let normalization = Normalization::Own;
                self.scorers.push(Scorer { plugin, weight: *weight, normalization, by_group });
                continue;
            }
            let has_reading = self.has_reading(pass, plugin, Point::Score);
            let normalization = normalization(plugin);
            let alone = has_reading || scores_the_node_alone(pass, plugin);
            if is_normalized_alone(plugin) || !alone {
                self.asked.push(plugin.number);
                continue;
            }
            self.reads.scores |= bit(at)?;
            if !has_reading {
                self.reads.add_declared(pass.profile.declaration(plugin));
            }
            self.scorers.push(Scorer { plugin, weight: *weight, normalization, by_group: None });
        }
        Ok(())
    }
}
