//! What a class knows, in the form in which the plain pass reports it.

use super::class::{Asker, Class};
use super::groups::Groups;
use super::why::Why;
use crate::evaluate::Details;
use crate::evaluation::{PluginScores, Scored};
use crate::panics::run;
use crate::plain::unseen;
use crate::probe::Point;
use secondmate_framework::{Code, NodeStatuses};
use secondmate_model::NodeInfo;
use std::sync::Arc;

/// The verdicts on the nodes, if none passes.
pub(super) fn rejections(class: &Class, groups: &Groups<'_>) -> NodeStatuses {
    let verdicts = class.ranking().verdicts(groups.rejected().iter().cloned());
    NodeStatuses::kept(Arc::new(verdicts), unseen().absent().clone())
}

/// The verdicts on the nodes that do not pass.
fn statuses(class: &Class, groups: &Groups<'_>) -> NodeStatuses {
    let mut statuses = unseen();
    for (at, standing) in class.ranking().nodes() {
        let status = match standing {
            Ok((group, _)) => groups.verdict(group),
            Err(status) => Some(status),
        };
        if let Some(status) = status {
            statuses.set(at, status.clone());
        }
    }
    statuses
}

/// Verdicts and scores of all nodes; `asked` holds the scores of the plugins that were asked about the passing nodes. The totals
/// are the class's; the individual plugin scores are computed again, since a class keeps only sums.
pub(super) fn details(
    class: &Class,
    groups: &Groups<'_>,
    asker: &Asker<'_, '_>,
    asked: Option<Scored>,
) -> Result<Details, Why> {
    let (cx, pod) = (&asker.pass.cx, asker.pass.pod);
    let mut details = Details { statuses: statuses(class, groups), ..Details::default() };
    let scores = groups.numbered_scores(asker.plan)?;
    let mut totals = Vec::new();
    for (at, standing) in class.ranking().nodes() {
        let Ok((group, own)) = standing else { continue };
        let Ok(group) = scores.binary_search_by_key(&group, |(number, _)| *number) else { continue };
        details.feasible.push(Arc::clone(cx.snapshot.at(at)));
        totals.push(scores[group].1 + i64::from(own));
    }
    if details.feasible.len() < 2 {
        return Ok(details);
    }
    let mut plugins = Vec::new();
    if let Some(asked) = asked {
        (plugins, totals) = (asked.plugins, asked.totals);
    }
    for scorer in &asker.plan.scorers {
        let point = &scorer.plugin.point;
        let name = &scorer.plugin.name;
        let mut state = asker.scoring.clone();
        if scorer.by_group.is_some() {
            let number = scorer.plugin.number;
            let plugin = asker.pass.profile.pre_score.iter().find(|plugin| plugin.number == number);
            let plugin = plugin.ok_or(Why::Failed)?;
            let ask = || plugin.point.pre_score(cx, &mut state, pod, &details.feasible);
            match run(name, Point::PreScore.name(), None, ask).code() {
                Code::Success => {}
                // Computed by group, it had no effect on any node.
                Code::Skip => continue,
                _ => return Err(Why::Failed),
            }
        }
        let ask = |node: &NodeInfo| {
            let ask = || point.score(cx, &state, pod, node);
            run(name, Point::Score.name(), Some(node.name()), ask)
        };
        let raw: Vec<i64> = details
            .feasible
            .iter()
            .map(|node| ask(node))
            .collect::<Result<_, _>>()
            .map_err(|_| Why::Failed)?;
        let mut scores = raw.clone();
        let ask = || point.normalize(cx, &state, pod, &details.feasible, &mut scores);
        if !run(name, Point::ScoreExtensionNormalize.name(), None, ask).is_success() {
            return Err(Why::Failed);
        }
        let plugin = name.clone();
        plugins.push(PluginScores { plugin, weight: scorer.weight, raw, normalized: scores });
    }
    let order = |scores: &PluginScores| {
        asker.pass.profile.score.iter().position(|(plugin, _)| plugin.name == scores.plugin)
    };
    plugins.sort_by_key(order);
    details.scored = Scored { plugins, totals };
    Ok(details)
}
