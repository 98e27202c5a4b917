//! Plugins whose scores cannot be kept in a class: those that declare nothing, look further than the node, or normalise in a way
//! of their own. The class determines which nodes pass and what the other plugins score; these plugins are then asked about just
//! those nodes, as on the plain pass.

use super::class::Class;
use super::groups::Groups;
use super::plan::Plan;
use super::why::Why;
use crate::evaluation::{Failure, Scored, Scorers};
use crate::plain::Pass;
use crate::random::Random;
use secondmate_framework::{CycleState, Snapshot};
use secondmate_model::NodeInfo;
use std::sync::Arc;

/// The nodes that pass, in the order in which the plain pass finds them, with their values from the class.
struct Passing {
    nodes: Vec<Arc<NodeInfo>>,
    totals: Vec<i64>,
}

impl Passing {
    fn new(
        class: &Class,
        groups: &Groups<'_>,
        plan: &Plan<'_>,
        snapshot: &Snapshot,
        start: usize,
    ) -> Result<Self, Why> {
        let mut scores = Vec::new();
        for (group, score) in groups.numbered_scores(plan)? {
            scores.resize(group + 1, None);
            scores[group] = Some(score);
        }
        let passing = class.ranking().nodes().filter_map(|(at, standing)| {
            let (group, own) = standing.ok()?;
            let score = *scores.get(group)?;
            Some((at, score? + i64::from(own)))
        });
        let mut all = Self { nodes: Vec::with_capacity(groups.feasible), totals: Vec::new() };
        let mut first = 0;
        for (at, total) in passing {
            first += usize::from(at.get() < start);
            all.nodes.push(Arc::clone(snapshot.at(at)));
            all.totals.push(total);
        }
        all.nodes.rotate_left(first);
        all.totals.rotate_left(first);
        Ok(all)
    }
}

/// Asks the plugins in the plan's `asked` list, and chooses one of the best nodes, of which there are several. Also returns those
/// plugins' scores and the totals over all plugins.
///
/// # Errors
/// If the class is unusable for the pod. If a plugin fails, so does the attempt, as on the plain pass.
pub(super) fn choose(
    class: &Class,
    groups: &Groups<'_>,
    pass: &Pass<'_>,
    plan: &Plan<'_>,
    scoring: &mut CycleState,
    random: &mut Random,
) -> Result<Result<(Arc<NodeInfo>, Scored), Failure>, Why> {
    let snapshot = pass.cx.snapshot;
    let passing = Passing::new(class, groups, plan, snapshot, pass.scope.start_of(snapshot.nodes().len()))?;
    plan.tell_prepared(pass.profile.probe());
    let scorers = Scorers { profile: pass.profile, only: Some(&plan.asked), before: plan.took };
    let keep = pass.scope.is_every();
    let mut scored = match scorers.score(&pass.cx, scoring, pass.pod, &passing.nodes, keep) {
        Ok(scored) => scored,
        Err(failure) => return Ok(Err(failure)),
    };
    scored.totals.iter_mut().zip(passing.totals).for_each(|(total, known)| *total += known);
    let node = Arc::clone(&passing.nodes[scored.pick(random)]);
    Ok(Ok((node, scored)))
}
