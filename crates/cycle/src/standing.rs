//! The standing evaluation: the plugins' answers about the nodes are kept for each class of pods, and only nodes that have
//! changed since are evaluated again.
//!
//! Pods belong to the same class if the plugins that act on them read the same of them ([`key`]). The answers equal those of the
//! plain pass when that looks at every node: the same verdicts and scores, and, for the same random number, the same one of the
//! best nodes. Pods that it cannot serve, because a filter's answer depends on more than the node, take the plain pass, and
//! [`StandingCounts`] records why. Scores of this kind are requested afterwards, for the nodes that pass ([`asked`]).
//!
//! How it works: PreFilter and PreScore run for each pod as usual and determine which plugins act on it ([`plan`]). Filters and
//! scores run for the nodes that changed since the class was last used (the snapshot remembers them). Raw scores that are
//! normalised over the feasible nodes define the groups, since the extremes over nodes are the extremes over groups; so do the
//! topology domains of a plugin that filters or scores by group, which are counted node by node ([`domains`]). The other scores
//! rank the nodes inside a group ([`ranking`]). So the verdicts that depend on domains, and the choice, are computed per group,
//! not per node ([`groups`]).
//!
//! PreFilter of a plugin that filters by group defers the counting over all nodes until a filter needs the full counts: if pods
//! are nominated, if preemption tries out placements, and on the plain pass.
//!
//! If many nodes have to be evaluated, that is done over columns ([`columns`]), which all classes share; so classes that
//! alternate pay little for what changed meanwhile. A kind of pod that was not seen before gets no class ([`first_sight`]), so
//! pods that are each the only one of their kind leave nothing behind.
//!
//! It holds the classes and those columns within a memory budget; the least recently used classes are dropped first.

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
    /// Memory that the classes and the columns may use together, in bytes.
    pub bytes_max: usize,
    /// Creates a class for the first pod of a kind. Otherwise only for the second one, so that a pod that stays the only one
    /// leaves no class behind.
    pub first_sight: bool,
    /// Number of stale nodes from which on a known class evaluates them over columns instead of one by one.
    pub columns_from: usize,
}

impl Default for StandingSettings {
    fn default() -> Self {
        // About 60 classes for a million nodes if their plugins look only at the node, or ten thousand for five thousand nodes.
        Self { bytes_max: 256 << 20, first_sight: false, columns_from: 9 }
    }
}

/// What the standing evaluation has done, for metrics. Except for the first two, all are totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingCounts {
    /// Classes currently kept.
    pub classes: usize,
    /// Memory that they and the columns use, in bytes.
    pub bytes: usize,
    /// Pods that were answered from a class or over columns.
    pub hits: u64,
    /// Of these, pods of a kind that was not seen before, for which every node was evaluated over columns.
    pub first_sights: u64,
    /// Classes created.
    pub made: u64,
    /// Times that a class had to evaluate every node again, because the list of nodes was replaced, too much had changed, or an
    /// object that a plugin reads had changed.
    pub rebuilds: u64,
    /// Classes dropped for lack of memory.
    pub dropped: u64,
    /// Nodes that plugins were asked about.
    pub nodes_evaluated: u64,
    /// Groups of nodes for which verdicts and scores were computed.
    pub groups_visited: u64,
    /// Nodes on which preemption was tried out for a pod of a class, and those for which the result was known from an earlier pod
    /// of the class.
    pub trials: TrialCounts,
    /// Pods for which a plugin had to score each passing node, because its score cannot be kept in a class; by plugin.
    pub asked: BTreeMap<Atom, u64>,
    /// Pods that took the plain pass, by reason.
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
    /// Without any classes yet.
    #[must_use]
    pub fn new(settings: StandingSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Statistics about what it keeps and has done.
    #[must_use]
    pub fn counts(&self) -> &StandingCounts {
        &self.counts
    }

    /// Evaluates the nodes for the pod and chooses one.
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
        // If domains count, every node and its pods are looked at. Creating a class then costs about as much as the plain pass,
        // and makes the next pod of the class nearly free.
        let at_once = has_groups
            && seen == Seen::Never
            && plan.asked.is_empty()
            && !pass.scope.is_every()
            && Class::bytes_at_least(nodes) <= self.settings.bytes_max / 8;
        let is_new = seen != Seen::Before && !at_once && !self.settings.first_sight;
        if is_new && (needs_a_class || !self.has_room_for_columns(nodes)) {
            return Err(match seen {
                Seen::GivenUp(why) => why,
                Seen::Never | Seen::Before => Why::FirstSight,
            });
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
                self.classes.give_up(hash, why.clone());
                Err(why)
            }
            (judged, _) => judged,
        }
    }

    /// One of the best nodes. If there is only one, it is taken without scoring.
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

    /// A node for a pod of a kind that was not seen before. If no node passes, the plain pass determines why.
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
            // Its time is included in that of Filter: both are computed together.
            probe.point_done(Point::Score, Code::Success, std::time::Duration::ZERO);
        }
        let node = Arc::clone(&nodes[best.nth_from(start, pick).get()]);
        Ok(Judged::Chosen { node, scored, details: None })
    }

    /// Whether the columns leave at least half of the memory to the classes.
    fn has_room_for_columns(&self, nodes: usize) -> bool {
        Columns::bytes_at_least(nodes) <= self.settings.bytes_max / 2
    }

    fn bytes_beside_classes(&self) -> usize {
        self.columns.bytes() + self.first_sight.bytes()
    }

    /// Updates a class, or creates it. `proven` means that this is not the first pod of the class.
    fn refresh(
        &mut self,
        class: Option<Box<Class>>,
        key: Key,
        proven: bool,
        asker: &Asker<'_, '_>,
    ) -> Result<Box<Class>, Why> {
        let is_known = class.is_some();
        let (class_bytes_max, bytes_max) = (self.settings.bytes_max, self.settings.bytes_max / 2);
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
                // The class itself may have fewer groups.
                Err(Why::TooManyGroups) => None,
                sheet => sheet?,
            };
            let work = class.update(asker, stale, sheet.as_ref(), class_bytes_max)?;
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
        if class.bytes > bytes_max {
            // All others would go, and then it as well.
            self.classes.give_up(class.key.hash(), Why::TooLarge);
            self.counts.dropped += 1;
            return;
        }
        self.counts.dropped += self.classes.put(class, bytes_max) as u64;
    }
}

/// What a class determines for a pod.
enum Judged {
    /// The node to which the pod is nominated passes.
    Nominated(Arc<NodeInfo>),
    /// A node was chosen.
    Chosen {
        node: Arc<NodeInfo>,
        /// There was more than one feasible node, so the nodes were scored.
        scored: bool,
        details: Option<Box<Details>>,
    },
    /// No node passes. The class is put back after PostFilter has finished its trials.
    Rejected(NodeStatuses, Option<(Box<Class>, Option<KeptTrials>)>),
    /// A plugin that was asked about the passing nodes failed.
    Failed(Failure),
}

/// One of the best nodes, based on what the class knows.
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

/// Whether the profile looks at every node, as a class does.
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

/// Whether PreFilter left every node to be considered.
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
