//! PreScore, Score and NormalizeScore.

use super::Failure;
use crate::profile::Profile;
use secondmate_framework::{Code, Context, CycleState, MAX_NODE_SCORE, MIN_NODE_SCORE};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;

/// Scores that one plugin gave, one for each feasible node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginScores {
    /// The plugin.
    pub plugin: Atom,
    /// Its weight.
    pub weight: i64,
    /// As Score returned them; kept where the caller asks for them.
    pub raw: Vec<i64>,
    /// After normalisation.
    pub normalized: Vec<i64>,
}

/// Scores of the feasible nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Of each plugin that was not skipped, in order.
    pub plugins: Vec<PluginScores>,
    /// Weighted sums.
    pub totals: Vec<i64>,
}

/// Scores all feasible nodes. With `keep` the scores of each plugin are kept, for explanations; without, only the totals.
///
/// Without any score plugin every node gets 1, as upstream has it.
///
/// # Errors
/// A plugin failed, or answered with a score out of range.
pub fn score(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    feasible: &[Arc<NodeInfo>],
    keep: bool,
) -> Result<Scored, Failure> {
    if profile.score.is_empty() {
        return Ok(Scored { plugins: Vec::new(), totals: vec![1; feasible.len()] });
    }
    let mut skipped = Vec::new();
    for plugin in &profile.pre_score {
        let point = plugin.plugin.as_pre_score().expect("checked when the profile was made");
        let status = point.pre_score(cx, state, pod, feasible);
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
    let mut scored = Scored { plugins: Vec::new(), totals: vec![0; feasible.len()] };
    let mut scores = Vec::with_capacity(feasible.len());
    for (plugin, weight) in &profile.score {
        if skipped.contains(&&plugin.name) {
            continue;
        }
        let name = plugin.name.as_str();
        let point = plugin.plugin.as_score().expect("checked when the profile was made");
        scores.clear();
        for node in feasible {
            let raw = point.score(cx, state, pod, node).map_err(|status| {
                let message =
                    format!("running Score plugins: plugin {name:?} failed with: {}", status.message());
                Failure::new(&plugin.name, message)
            })?;
            scores.push(raw);
        }
        let raw = if keep { scores.clone() } else { Vec::new() };
        let status = point.normalize(cx, state, pod, feasible, &mut scores);
        if !status.is_success() {
            let message = format!(
                "running Normalize on Score plugins: plugin {name:?} failed with: {}",
                status.message()
            );
            return Err(Failure::new(&plugin.name, message));
        }
        for (total, score) in scored.totals.iter_mut().zip(&scores) {
            if !(MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(score) {
                let message = format!(
                    "applying score defaultWeights on Score plugins: plugin {name:?} returns an invalid score {score}, it should in the range of [{MIN_NODE_SCORE}, {MAX_NODE_SCORE}] after normalizing"
                );
                return Err(Failure::new(&plugin.name, message));
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
    Ok(scored)
}
