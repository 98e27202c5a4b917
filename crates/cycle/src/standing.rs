//! The standing evaluation: what the plugins said about the nodes is kept for each class of pods, and only the nodes that changed
//! since are looked at again.
//!
//! Pods are of one class where the plugins that act on them read the same of them ([`key`]). It answers as the plain pass does when
//! that looks at every node: the same verdicts and scores, and of the best nodes the same one for the same random number. What it
//! cannot stand for, filters whose answer depends on more than the node, takes the plain pass, and [`StandingCounts`] says why. Scores
//! of which that is true are asked for afterwards, about the nodes that pass ([`asked`]).
//!
//! How it works: PreFilter and PreScore are asked for each pod as ever, and say which plugins act on it ([`plan`]). Filters and scores
//! are asked about the nodes that changed since the class was last used (the snapshot remembers them). Raw scores that are normalised
//! over the feasible nodes make the groups, since the extremes over nodes are extremes over groups; so do the topology domains of a
//! plugin that filters or scores by group, which are counted node by node ([`domains`]). The other scores rank the nodes inside a
//! group ([`ranking`]). So the verdicts that hang on domains, and the choice, are worked out for groups, not for nodes ([`groups`]).
//!
//! PreFilter of a plugin that filters by group leaves the counting over all nodes until a filter asks for it in full: where pods are
//! nominated, where preemption tries placements out, and on the plain pass.
//!
//! Where many nodes have to be looked at, that is done over columns ([`columns`]), which all classes share: so classes in turn pay little for
//! what changed meanwhile. Of a kind that was not seen before no class is made ([`first_sight`]), and pods that are each alone leave
//! nothing behind.
//!
//! It holds the classes and those columns, within a budget of bytes; the least recently used classes go first.

mod asked;
mod class;
mod classes;
mod columns;
mod details;
mod domains;
mod first_sight;
mod fixed;
mod groups;
mod key;
mod members;
mod nominated;
mod plan;
mod ranking;
mod split;
mod why;

pub use key::{hash_parts, same_parts};
pub use why::Why;

use crate::evaluate::{Answer, Details, Evaluate, Outcome, Question, Scope};
use crate::evaluation::{Failure, FilterRunner, PreFiltered};
use crate::plain::{self, Pass};
use crate::probe::Point;
use crate::random::Random;
use class::{Asker, Class, Work};
use classes::{Classes, Seen};
use columns::Columns;
use first_sight::FirstSight;
use groups::Groups;
use key::Key;
use plan::Plan;
use secondmate_framework::{Code, CycleState, KeptTrials, NodeStatuses, TrialCounts};
use secondmate_model::{Atom, NodeInfo};
use split::Split;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings of the standing evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingSettings {
    /// Memory that classes may take, in bytes.
    pub bytes_max: usize,
    /// Makes a class of the first pod of its kind. Otherwise of the second: a pod that stays alone leaves no class behind.
    pub first_sight: bool,
    /// Nodes from which on they are looked at over columns for a known class, and not one by one.
    pub columns_from: usize,
}

impl Default for StandingSettings {
    fn default() -> Self {
        // Some 60 classes of a million nodes that look no further than these, or ten thousand of five thousand.
        Self { bytes_max: 256 << 20, first_sight: false, columns_from: 9 }
    }
}

/// What the standing evaluation has done, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingCounts {
    /// Classes that are kept.
    pub classes: usize,
    /// Memory that they and the columns take, in bytes.
    pub bytes: usize,
    /// Pods that were answered from a class, or over columns, so far.
    pub hits: u64,
    /// Of these, pods of a kind that was not seen before: every node was looked at, over columns.
    pub first_sights: u64,
    /// Classes that were made, so far.
    pub made: u64,
    /// Classes whose every node was looked at again, so far: the list of nodes was replaced, too much had changed, or an object that
    /// a plugin reads had.
    pub rebuilds: u64,
    /// Classes that were dropped for want of memory, so far.
    pub dropped: u64,
    /// Nodes that plugins were asked about, so far.
    pub nodes_evaluated: u64,
    /// Groups of nodes that were given verdicts and scores, so far.
    pub groups_visited: u64,
    /// Nodes on which preemption was tried out for a pod of a class, and those of which that was known from an earlier pod of it, so far.
    pub trials: TrialCounts,
    /// Pods for which a plugin was asked about each node that passes, so far, by the plugin: no class can stand for its score.
    pub asked: BTreeMap<Atom, u64>,
    /// Pods that took the plain pass so far, by the reason.
    pub plain: BTreeMap<Why, u64>,
}

/// The standing evaluation.
#[derive(Debug, Default)]
pub struct Standing {
    settings: StandingSettings,
    classes: Classes,
    columns: Columns,
    first_sight: FirstSight,
    counts: StandingCounts,
}

impl Standing {
    /// Without any class yet.
    #[must_use]
    pub fn new(settings: StandingSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What it keeps and has done.
    #[must_use]
    pub fn counts(&self) -> &StandingCounts {
        &self.counts
    }

    /// How the nodes stand for the pod, and which one is taken.
    fn judge(
        &mut self,
        pass: &Pass<'_>,
        runner: &FilterRunner<'_>,
        pre_filtered: &mut PreFiltered,
        scoring: &mut CycleState,
        random: &mut Random,
    ) -> Result<Judged, Why> {
        let plan = Plan::new(pass, scoring)?;
        let key = Key::new(pass.profile, &plan, pass.pod);
        let class = self.classes.take(&key);
        let nodes = pass.cx.snapshot.nodes().len();
        let seen = if class.is_some() { Seen::Before } else { self.classes.see(&key) };
        let has_groups =
            plan.scorers.iter().any(|scorer| scorer.by_group.is_some()) || !plan.apart.is_empty();
        let needs_a_class = has_groups || !plan.asked.is_empty() || pass.scope.is_every();
        // Where domains count every node is looked at with its pods: to make a class of that costs about as much as the plain pass, and the next
        // pod of it next to nothing.
        let at_once = has_groups
            && seen == Seen::Never
            && plan.asked.is_empty()
            && !pass.scope.is_every()
            && Class::bytes_at_least(nodes) <= self.settings.bytes_max / 8;
        let is_new = seen != Seen::Before && !at_once && !self.settings.first_sight;
        if is_new && (needs_a_class || !self.has_room_for_columns(nodes)) {
            return Err(Why::FirstSight);
        }
        if !is_new && class.is_none() && Class::bytes_at_least(nodes) > self.settings.bytes_max {
            return Err(Why::TooLarge);
        }
        let nominated = pass.nominated_node(runner, pre_filtered, &mut plain::unseen());
        if let (Some(node), false) = (&nominated, pass.scope.is_every()) {
            class.into_iter().for_each(|class| self.keep(class));
            return Ok(Judged::Nominated(Arc::clone(node)));
        }
        let hash = key.hash();
        let asker = Asker { pass, plan: &plan, runner, scoring };
        if is_new {
            return self.judge_at_first_sight(&asker, random);
        }
        let judged = self.refresh(class, key, seen == Seen::Before, &asker).and_then(|mut class| {
            let mut judged = self.choose(&class, pass, &plan, runner, scoring, random);
            if let Ok(Judged::Rejected(_, to_keep)) = &mut judged {
                let trials = class.lend_trials(&Asker { pass, plan: &plan, runner, scoring });
                *to_keep = Some((class, trials));
            } else {
                self.keep(class);
            }
            judged
        });
        match (judged, nominated) {
            (Ok(Judged::Chosen { scored, details, .. }), Some(node)) => {
                Ok(Judged::Chosen { node, scored, details })
            }
            (Err(why), _) => {
                self.classes.give_up(hash);
                Err(why)
            }
            (judged, _) => judged,
        }
    }

    /// One of the best nodes. A single node is taken without a score.
    fn choose<'p>(
        &mut self,
        class: &Class,
        pass: &Pass<'p>,
        plan: &Plan<'p>,
        runner: &FilterRunner<'_>,
        scoring: &mut CycleState,
        random: &mut Random,
    ) -> Result<Judged, Why> {
        let groups = Groups::new(class, plan)?;
        self.counts.groups_visited += groups.len() as u64;
        if groups.feasible == 0 {
            return Ok(Judged::Rejected(details::rejections(class, &groups), None));
        }
        let scored = groups.feasible > 1;
        if !scored || plan.asked.is_empty() {
            return choose(class, &groups, &Asker { pass, plan, runner, scoring }, random);
        }
        for plugin in pass.profile.score.iter().filter(|(plugin, _)| plan.asked.contains(&plugin.number)) {
            *self.counts.asked.entry(plugin.0.name.clone()).or_insert(0) += 1;
        }
        let (node, asked) = match asked::choose(class, &groups, pass, plan, scoring, random)? {
            Ok(chosen) => chosen,
            Err(failure) => return Ok(Judged::Failed(failure)),
        };
        let asker = Asker { pass, plan, runner, scoring };
        let details = || details::details(class, &groups, &asker, Some(asked)).map(Box::new);
        let details = pass.scope.is_every().then(details).transpose()?;
        Ok(Judged::Chosen { node, scored, details })
    }

    /// A node for a pod of a kind that was not seen before. Where none passes, the plain pass says why.
    fn judge_at_first_sight(&mut self, asker: &Asker<'_, '_>, random: &mut Random) -> Result<Judged, Why> {
        let probe = asker.pass.profile.probe();
        let bytes_max = self.settings.bytes_max / 2;
        let look = || -> Result<_, Why> {
            let split = Split::new(asker)?.ok_or(Why::FirstSight)?;
            let sheet = self.columns.sheet(asker, &split, true, bytes_max)?.ok_or(Why::FirstSight)?;
            Ok((self.first_sight.best(asker, &sheet)?, sheet.asked))
        };
        let (best, asked) = asker.runner.search(look, Result::is_err)?;
        self.counts.nodes_evaluated += asked;
        if best.feasible == 0 {
            return Err(Why::FirstSight);
        }
        self.counts.first_sights += 1;
        let scored = best.feasible > 1;
        let nodes = asker.pass.cx.snapshot.nodes();
        let pick = if scored { random.below(best.len()) } else { 0 };
        let start = asker.pass.scope.start_of(nodes.len());
        if scored {
            asker.plan.tell(probe);
            // What it took is in the time of Filter: both are worked out together.
            probe.point_done(Point::Score, Code::Success, std::time::Duration::ZERO);
        }
        let node = Arc::clone(&nodes[best.nth_from(start, pick).get()]);
        Ok(Judged::Chosen { node, scored, details: None })
    }

    /// Whether the columns leave at least half of the memory to classes.
    fn has_room_for_columns(&self, nodes: usize) -> bool {
        Columns::bytes_at_least(nodes) <= self.settings.bytes_max / 2
    }

    fn bytes_beside_classes(&self) -> usize {
        self.columns.bytes() + self.first_sight.bytes()
    }

    /// Brings a class up to date, or makes it. It has `proven` of use where this is not the first pod of it.
    fn refresh(
        &mut self,
        class: Option<Box<Class>>,
        key: Key,
        proven: bool,
        asker: &Asker<'_, '_>,
    ) -> Result<Box<Class>, Why> {
        let is_known = class.is_some();
        let bytes_max = self.settings.bytes_max / 2;
        let has_room = self.has_room_for_columns(asker.pass.cx.snapshot.nodes().len());
        let refresh = || -> Result<_, Why> {
            let mut class = class.unwrap_or_else(|| Box::new(Class::new(key)));
            class.proven = proven;
            let stale = class.stale(asker);
            let is_worth = stale.as_ref().is_none_or(|stale| stale.len() >= self.settings.columns_from);
            let is_worth = is_worth && has_room;
            let split = if is_worth { Split::new(asker)? } else { None };
            let sheet = match &split {
                Some(split) => self.columns.sheet(asker, split, stale.is_none(), bytes_max),
                None => Ok(None),
            };
            let sheet = match sheet {
                // For the class there may be fewer.
                Err(Why::TooManyGroups) => None,
                sheet => sheet?,
            };
            let work = class.update(asker, stale, sheet.as_ref())?;
            class::tell(asker, sheet.as_ref(), work);
            Ok((class, work))
        };
        let (class, Work { nodes, rebuilt, .. }) = asker.runner.search(refresh, Result::is_err)?;
        self.counts.nodes_evaluated += nodes;
        match (is_known, rebuilt) {
            (false, _) => self.counts.made += 1,
            (true, true) => self.counts.rebuilds += 1,
            (true, false) => {}
        }
        Ok(class)
    }

    fn keep(&mut self, class: Box<Class>) {
        let bytes_max = self.settings.bytes_max.saturating_sub(self.bytes_beside_classes());
        self.counts.dropped += self.classes.put(class, bytes_max) as u64;
    }
}

/// What a class says about a pod.
enum Judged {
    /// The node to which the pod is nominated passes.
    Nominated(Arc<NodeInfo>),
    /// A node was chosen.
    Chosen {
        node: Arc<NodeInfo>,
        /// There was a choice, so the nodes were scored.
        scored: bool,
        details: Option<Box<Details>>,
    },
    /// No node passes. The class is to be kept when PostFilter is through with its trials.
    Rejected(NodeStatuses, Option<(Box<Class>, Option<KeptTrials>)>),
    /// A plugin failed that was asked about the nodes that pass.
    Failed(Failure),
}

/// One of the best nodes, by what the class knows.
fn choose(
    class: &Class,
    groups: &Groups<'_>,
    asker: &Asker<'_, '_>,
    random: &mut Random,
) -> Result<Judged, Why> {
    let probe = asker.pass.profile.probe();
    let scored = groups.feasible > 1;
    let began = probe.now();
    let best = groups.best(asker.plan)?;
    let details = || details::details(class, groups, asker, None).map(Box::new);
    let details = asker.pass.scope.is_every().then(details).transpose()?;
    let nodes = asker.pass.cx.snapshot.nodes();
    let pick = if scored { random.below(best.len()) } else { 0 };
    let index = |at: usize| u32::try_from(at).expect("fewer than 2^32 nodes");
    let start = asker.pass.scope.start_of(nodes.len());
    let chosen = best.nth_from(index(start), pick, index(nodes.len()));
    if scored {
        asker.plan.tell(probe);
        probe.point_done(Point::Score, Code::Success, probe.now().since(began));
    }
    Ok(Judged::Chosen { node: Arc::clone(&nodes[chosen.get()]), scored, details })
}

/// Whether the profile has every node looked at, as a class does.
fn serves(question: &Question<'_>) -> Result<(), Why> {
    if question.profile.score.is_empty() {
        return Err(Why::NoScores);
    }
    if question.profile.extenders().choose(question.pod) {
        return Err(Why::Extender);
    }
    match (question.scope, question.profile.percentage_of_nodes_to_score()) {
        (Scope::Every, _) | (Scope::Sample { .. }, 0 | 100) => Ok(()),
        _ => Err(Why::Share),
    }
}

/// Whether PreFilter left every node to be looked at.
fn has_many_nodes(pre_filtered: &PreFiltered) -> Result<(), Why> {
    let all = pre_filtered.status.is_success() && pre_filtered.nodes.is_none();
    if all { Ok(()) } else { Err(Why::FewNodes) }
}

impl Evaluate for Standing {
    fn evaluate(&mut self, question: &Question<'_>, random: &mut Random) -> Answer {
        let serves = serves(question);
        plain::answer(question, |mut pass, looked_at| {
            if serves.is_ok() {
                pass.state.count_later();
            }
            let mut pre_filtered = pass.pre_filter()?;
            if let Err(why) = serves.and_then(|()| has_many_nodes(&pre_filtered)) {
                *self.counts.plain.entry(why).or_insert(0) += 1;
                return pass.search(pre_filtered, random, looked_at);
            }
            let runner = FilterRunner::new(pass.profile, &pass.state);
            let mut scoring = pass.state.clone();
            let judged = self.judge(&pass, &runner, &mut pre_filtered, &mut scoring, random);
            self.counts.hits += u64::from(judged.is_ok());
            let found = match judged {
                Err(why) => {
                    drop(runner);
                    *self.counts.plain.entry(why).or_insert(0) += 1;
                    pass.search(pre_filtered, random, looked_at)
                }
                Ok(Judged::Nominated(node)) => Ok((Outcome::Placed { node, state: pass.state }, None)),
                Ok(Judged::Chosen { node, scored, details }) => {
                    *looked_at = pass.cx.snapshot.nodes().len();
                    let state = if scored { scoring } else { pass.state };
                    Ok((Outcome::Placed { node, state }, details.map(|details| *details)))
                }
                Ok(Judged::Failed(failure)) => {
                    *looked_at = pass.cx.snapshot.nodes().len();
                    Err(failure)
                }
                Ok(Judged::Rejected(statuses, class)) => {
                    *looked_at = pass.cx.snapshot.nodes().len();
                    let (class, trials) = class.unzip();
                    runner.lend_trials(trials.flatten());
                    let rejected = pass.reject(&runner, &pre_filtered, statuses);
                    if let Some(mut class) = class {
                        if let Some(mut trials) = runner.take_trials() {
                            let TrialCounts { made, known } = trials.take_counts();
                            self.counts.trials.made += made;
                            self.counts.trials.known += known;
                            class.give_back(trials);
                        }
                        self.keep(class);
                    }
                    Ok(rejected)
                }
            };
            (self.counts.classes, self.counts.bytes) =
                (self.classes.len(), self.classes.bytes() + self.bytes_beside_classes());
            found
        })
    }

    fn standing(&self) -> Option<&StandingCounts> {
        Some(self.counts())
    }
}
