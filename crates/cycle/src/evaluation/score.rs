//! PreScore, Score and NormalizeScore.

use super::{Failure, prioritize_by_extenders};
use crate::panics::run;
use crate::probe::{Laps, Point, Probe, TIMED_NODES, call};
use crate::profile::{PluginRef, Profile};
use crate::random::Random;
use secondmate_framework::{Code, Context, CycleState, MAX_NODE_SCORE, MIN_NODE_SCORE, Status};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;
use std::time::Duration;

/// The scores given by one plugin, one for each feasible node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginScores {
    /// The plugin.
    pub plugin: Atom,
    /// Its weight.
    pub weight: i64,
    /// As returned by Score; kept only if the caller asks for them.
    pub raw: Vec<i64>,
    /// After normalisation.
    pub normalized: Vec<i64>,
}

/// Scores of the feasible nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// The scores of each plugin that was not skipped, in order.
    pub plugins: Vec<PluginScores>,
    /// Weighted sums.
    pub totals: Vec<i64>,
}

impl Scored {
    /// The highest total, if anything was scored.
    #[must_use]
    pub fn best(&self) -> Option<i64> {
        self.totals.iter().max().copied()
    }

    /// The position of one of the best; there must be at least one.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let best = self.best();
        let is_best = |total: &i64| Some(*total) == best;
        let pick = random.below(self.totals.iter().filter(|total| is_best(total)).count());
        let picked = self.totals.iter().enumerate().filter(|(_, total)| is_best(total)).nth(pick);
        picked.expect("the pick is below the number of ties").0
    }
}

/// Scores all feasible nodes. With `keep`, the scores of each plugin are kept, for explanations; otherwise only the totals.
///
/// Without any score plugin or extender, every node gets 1, as upstream.
///
/// # Errors
/// If a plugin failed or returned a score out of range.
pub fn score(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    feasible: &[Arc<NodeInfo>],
    keep: bool,
) -> Result<Scored, Failure> {
    if profile.score.is_empty() && profile.extenders().is_empty() {
        return Ok(Scored { plugins: Vec::new(), totals: vec![1; feasible.len()] });
    }
    let scorers = Scorers { profile, only: None, before: Duration::ZERO };
    let mut scored = scorers.score(cx, state, pod, feasible, keep)?;
    prioritize_by_extenders(profile, pod, feasible, &mut scored);
    Ok(scored)
}

/// Runs score plugins, one after the other.
pub(crate) struct Scorers<'a> {
    pub profile: &'a Profile,
    /// Run only these, by number; the others have already been called.
    pub only: Option<&'a [usize]>,
    /// The time that PreScore of the others took.
    pub before: Duration,
}

impl<'a> Scorers<'a> {
    /// PreScore, Score and NormalizeScore; the totals are weighted sums.
    ///
    /// # Errors
    /// If a plugin failed or returned a score out of range.
    pub fn score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
        keep: bool,
    ) -> Result<Scored, Failure> {
        let probe = self.profile.probe();
        let code = |ok| if ok { Code::Success } else { Code::Error };
        let began = probe.now();
        let skipped = self.pre_score(cx, state, pod, feasible);
        let scoring = probe.now();
        let took = self.before + scoring.since(began);
        probe.point_done(Point::PreScore, code(skipped.is_ok()), took);
        let scored = self.score_without(&skipped?, cx, state, pod, feasible, keep);
        probe.point_done(Point::Score, code(scored.is_ok()), probe.now().since(scoring));
        scored
    }

    fn has(&self, plugin: &PluginRef) -> bool {
        self.only.is_none_or(|only| only.contains(&plugin.number))
    }

    /// Runs the PreScore plugins; returns those that returned `Skip` for this pod.
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Result<Vec<&'a Atom>, Failure> {
        let mut laps = state.is_timed().then(|| Laps::begin(self.profile.probe(), Point::PreScore));
        let mut skipped = Vec::new();
        for plugin in self.profile.pre_score.iter().filter(|plugin| self.has(plugin)) {
            let ask = || plugin.point.pre_score(cx, state, pod, feasible);
            let status = run(&plugin.name, Point::PreScore.name(), None, ask);
            if let Some(laps) = &mut laps {
                laps.lap(plugin, status.code());
            }
            if !status.is_skip() {
                self.profile.probe().plugin_evaluated(plugin, Point::PreScore, 1);
            }
            match status.code() {
                Code::Success => {}
                Code::Skip => skipped.push(&plugin.name),
                _ => {
                    let message =
                        format!("running PreScore plugin {:?}: {}", plugin.name.as_str(), status.message());
                    return Err(Failure::new(&plugin.name, message));
                }
            }
        }
        Ok(skipped)
    }

    fn score_without(
        &self,
        skipped: &[&Atom],
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
        keep: bool,
    ) -> Result<Scored, Failure> {
        let (probe, timed) = (self.profile.probe(), state.is_timed());
        let mut scored = Scored { plugins: Vec::new(), totals: vec![0; feasible.len()] };
        let mut scores = Vec::with_capacity(feasible.len());
        let mut failed = FirstFailure::default();
        for (plugin, weight) in &self.profile.score {
            if !self.has(plugin) || skipped.contains(&&plugin.name) {
                continue;
            }
            let name = plugin.name.as_str();
            let point = &plugin.point;
            let ask = |node: &NodeInfo| {
                run(&plugin.name, Point::Score.name(), Some(node.name()), || {
                    point.score(cx, state, pod, node)
                })
            };
            let asked = &feasible[..failed.scoring.as_ref().map_or(feasible.len(), |(node, _)| *node)];
            scores.clear();
            let refused = score_nodes(probe, timed, plugin, asked, ask, &mut scores).err();
            let calls = scores.len() + usize::from(refused.is_some());
            probe.plugin_evaluated(plugin, Point::Score, u64::try_from(calls).unwrap_or(u64::MAX));
            if let Some(status) = refused {
                let message =
                    format!("running Score plugins: plugin {name:?} failed with: {}", status.message());
                failed.scoring = Some((scores.len(), Failure::new(&plugin.name, message)));
            }
            if failed.scoring.is_some() || failed.normalizing.is_some() {
                continue;
            }
            let raw = if keep { scores.clone() } else { Vec::new() };
            let normalize = Point::ScoreExtensionNormalize;
            let ask = || {
                let ask = || point.normalize(cx, state, pod, feasible, &mut scores);
                run(&plugin.name, normalize.name(), None, ask)
            };
            let status = call(probe, timed, plugin, normalize, ask, Status::code);
            if !status.is_success() {
                let message = format!(
                    "running Normalize on Score plugins: plugin {name:?} failed with: {}",
                    status.message()
                );
                failed.normalizing = Some(Failure::new(&plugin.name, message));
                continue;
            }
            let weighed = failed.weighing.as_ref().map_or(feasible.len(), |(node, _)| *node);
            for (node, (total, score)) in scored.totals.iter_mut().zip(&scores).enumerate().take(weighed) {
                if !(MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(score) {
                    let message = format!(
                        "applying score defaultWeights on Score plugins: plugin {name:?} returns an invalid score {score}, it should in the range of [{MIN_NODE_SCORE}, {MAX_NODE_SCORE}] after normalizing"
                    );
                    failed.weighing = Some((node, Failure::new(&plugin.name, message)));
                    break;
                }
                *total += score * weight;
            }
            if keep {
                scored.plugins.push(PluginScores {
                    plugin: plugin.name.clone(),
                    weight: *weight,
                    raw,
                    normalized: scores.clone(),
                });
            }
        }
        failed.told().map_or(Ok(scored), Err)
    }
}

/// Finds the failure to report. Upstream asks all plugins about one node after the other, then normalises the scores of one
/// plugin after the other, then weighs those of one node after the other (`RunScorePlugins`), and stops at the first failure.
/// Here each plugin is finished before the next is asked; so after a failure, the remaining plugins are asked only for failures
/// that upstream would have met earlier.
#[derive(Default)]
struct FirstFailure {
    /// A failure, and the node before which another plugin's Score would have to fail to replace it.
    scoring: Option<(usize, Failure)>,
    normalizing: Option<Failure>,
    /// Like `scoring`.
    weighing: Option<(usize, Failure)>,
}

impl FirstFailure {
    fn told(self) -> Option<Failure> {
        let at_a_node = |(_, failure)| failure;
        self.scoring.map(at_a_node).or(self.normalizing).or(self.weighing.map(at_a_node))
    }
}

/// The raw scores of a plugin, up to the node at which it failed.
fn score_nodes(
    probe: &dyn Probe,
    timed: bool,
    plugin: &PluginRef,
    nodes: &[Arc<NodeInfo>],
    ask: impl Fn(&NodeInfo) -> Result<i64, Status>,
    scores: &mut Vec<i64>,
) -> Result<(), Status> {
    let timed = if timed { nodes.len().min(TIMED_NODES as usize) } else { 0 };
    if timed > 0 {
        let mut laps = Laps::begin(probe, Point::Score);
        for node in &nodes[..timed] {
            let answer = ask(node);
            laps.lap(plugin, answer.as_ref().map_or_else(Status::code, |_| Code::Success));
            scores.push(answer?);
        }
    }
    for node in &nodes[timed..] {
        scores.push(ask(node)?);
    }
    Ok(())
}
