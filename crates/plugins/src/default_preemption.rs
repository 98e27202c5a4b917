//! `DefaultPreemption`: makes room for a pod by evicting pods of lower priority from one node.
//!
//! Nodes that rejected the pod for a reason that evictions may cure are tried out, each on a copy: without its pods of lower priority, the
//! pod must fit; then as many of them as possible are put back, the most important ones first. The best node is nominated. The rest,
//! evicting the victims and holding the pod back meanwhile, is up to the core.

mod budgets;
mod choice;
mod dry_run;
mod importance;
mod sorting;

use crate::arguments::{parse, refused};
use dry_run::{Candidate, DryRun, Found};
use importance::Importance;
use rustc_hash::FxHasher;
use secondmate_framework::{
    ActionType, Code, Context, CycleState, Declaration, EventRegistration, EventResource, Handle, Hint,
    NodeIndex, NodeStatuses, Nomination, ObjectChange, Parity, Plugin, PluginError, PostFilter,
    PostFilterOutcome, PreemptionCandidate, Right, RunFilters, Status, fit_error_message,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Atom, Pod};
use serde::Deserialize;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Upstream's name of the plugin.
pub const NAME: &str = "DefaultPreemption";

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    /// How many candidates are enough, as a percentage of the potential nodes.
    min_candidate_nodes_percentage: i32,
    /// The minimum for that number.
    min_candidate_nodes_absolute: i32,
}

impl Default for Args {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// The plugin with its arguments.
#[derive(Debug)]
pub struct DefaultPreemption {
    args: Args,
    parity: Parity,
    /// Schedulers whose pods may be evicted; `None`: all schedulers.
    victims_of: Option<Arc<[Atom]>>,
}

/// Creates the plugin from its `pluginConfig` arguments; `null` means kube-scheduler's defaults.
///
/// # Errors
/// The arguments are not valid for the plugin, or kube-scheduler would reject them.
pub fn new(args: &serde_json::Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = parse(NAME, args)?;
    let (percentage, absolute) = (args.min_candidate_nodes_percentage, args.min_candidate_nodes_absolute);
    if !(0..=100).contains(&percentage) {
        let reason = format!("minCandidateNodesPercentage: {percentage} is not between 0 and 100");
        return Err(refused(NAME, reason));
    }
    if absolute < 0 {
        return Err(refused(NAME, format!("minCandidateNodesAbsolute: {absolute} is less than 0")));
    }
    if percentage == 0 && absolute == 0 {
        let reason =
            "minCandidateNodesPercentage and minCandidateNodesAbsolute are both 0, so no node could be tried";
        return Err(refused(NAME, reason));
    }
    Ok(Arc::new(DefaultPreemption { args, parity: handle.parity, victims_of: handle.victims_of.clone() }))
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::unknown().with_objects(&[ObjectKind::DisruptionBudget]).with_writes(&[Right {
            verb: "delete",
            group: "",
            resource: "pods",
        }])
    }

    fn as_post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        // Only so that pods that are held back for a preemption are reconsidered.
        vec![EventRegistration::new(EventResource::AssignedPod, ActionType::DELETE)]
    }

    fn hint(&self, _pod: &Pod, _change: &ObjectChange) -> Hint {
        // The plugins whose rejection the preemption is to cure know better when that has happened.
        Hint::Skip
    }
}

impl PostFilter for DefaultPreemption {
    fn post_filter(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        statuses: &NodeStatuses,
        filters: &dyn RunFilters,
    ) -> PostFilterOutcome {
        match self.preempt(cx, state, pod, statuses, filters) {
            Ok(outcome) => outcome,
            Err(status) => {
                let message = format!("preemption: {}", status.message());
                Status::new(status.code(), message).into()
            }
        }
    }

    /// If no candidate is found, every potential node has been tried out, wherever the search started.
    fn fails_alike(&self) -> bool {
        true
    }
}

impl DefaultPreemption {
    /// The nomination, or why there is none. An error leaves the pod's nomination unchanged.
    fn preempt(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        statuses: &NodeStatuses,
        filters: &dyn RunFilters,
    ) -> Result<PostFilterOutcome, Status> {
        if let Some(reason) = ineligible(self, cx, pod, statuses) {
            return Err(Status::unschedulable(reason));
        }
        let nodes = cx.snapshot.nodes();
        if nodes.is_empty() {
            return Err(Status::error("no nodes available"));
        }
        let importance = Importance { now: cx.now, parity: self.parity };
        let potential = potential_nodes(cx, statuses);
        let dry_run = DryRun::new(self, cx, filters, pod, importance);
        let mut kept = filters.kept_trials();
        let found = if potential.is_empty() {
            Found::default()
        } else if let Some(found) = dry_run::without_victims(cx, pod, &potential) {
            found
        } else {
            let wanted = self.wanted(potential.len());
            let start = start(pod, potential.len(), wanted);
            dry_run.find(state, &potential, start, wanted, &mut kept)
        };
        let Found { candidates, mut statuses, errors } = found;
        if candidates.is_empty() {
            if let Some(error) = join(&errors) {
                return Err(Status::error(error));
            }
            statuses.set_absent(Status::unresolvable(NOT_HELPFUL));
            let reason = fit_error_message(nodes.len(), None, &statuses, "");
            let status = Status::unschedulable(format!("preemption: {reason}"));
            return Ok(PostFilterOutcome { nomination: Some(Nomination::Clear), ..status.into() });
        }
        let best = if kept.is_some() {
            choice::best_by_marks(candidates, importance)
                .map(|best| dry_run.with_victims(state, best))
                .transpose()?
        } else {
            choice::best(confirm(cx, filters, pod, candidates)?, importance)
        };
        let Some(best) = best else {
            return Err(Status::unschedulable("no candidate node for preemption"));
        };
        // If all victims are terminating already, nothing is done, and no other pod loses its nomination.
        let evicts = best.victims.iter().any(|victim| !victim.deleting);
        let nominated = if evicts { cx.nominations.on_node(&best.node) } else { &[] };
        Ok(PostFilterOutcome {
            plugin: None,
            status: Status::SUCCESS,
            found: format!(
                "preemption: found a potential placement for pod on node {}, preempting {} victims",
                best.node,
                best.victims.len()
            ),
            nominations_to_clear: nominated.iter().filter(|n| n.priority < pod.priority).cloned().collect(),
            nomination: Some(Nomination::Node(best.node)),
            budget_violations: usize::try_from(best.budget_violations).unwrap_or(0),
            victims: best.victims,
        })
    }

    /// How many candidates are enough.
    fn wanted(&self, potential: usize) -> usize {
        // Both arguments have been validated as non-negative.
        let percentage = usize::try_from(self.args.min_candidate_nodes_percentage).unwrap_or(0);
        let absolute = usize::try_from(self.args.min_candidate_nodes_absolute).unwrap_or(0);
        (potential * percentage / 100).max(absolute).min(potential)
    }
}

impl DefaultPreemption {
    /// Whether the preemptor may evict this pod: its priority is lower, and its scheduler is one whose pods we may evict.
    fn may_be_evicted(&self, victim: &Pod, preemptor: &Pod) -> bool {
        victim.priority < preemptor.priority
            && self.victims_of.as_ref().is_none_or(|names| names.contains(&victim.scheduler_name))
    }
}

/// Why the pod may not preempt now, if that is so.
fn ineligible(
    plugin: &DefaultPreemption,
    cx: &Context<'_>,
    pod: &Pod,
    statuses: &NodeStatuses,
) -> Option<&'static str> {
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let position = cx.snapshot.position(pod.nominated_node_name.as_ref()?);
    let status = position.map_or(statuses.absent(), |at| statuses.get(at));
    if status.code() == Code::UnschedulableAndUnresolvable {
        // The nominated node is out of the question: look for another.
        return None;
    }
    let waits_for = |other: &Arc<Pod>| {
        other.deleting && other.preempted_by_scheduler && plugin.may_be_evicted(other, pod)
    };
    cx.snapshot
        .at(position?)
        .pods()
        .iter()
        .any(waits_for)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The nodes that rejected the pod for a reason that evictions may cure, in the snapshot's order.
fn potential_nodes(cx: &Context<'_>, statuses: &NodeStatuses) -> Vec<NodeIndex> {
    if statuses.absent().code() != Code::Unschedulable {
        if statuses.tally().all(|(status, _)| status.code() != Code::Unschedulable) {
            return Vec::new();
        }
        return statuses.with_code(Code::Unschedulable);
    }
    (0..)
        .map(NodeIndex)
        .take(cx.snapshot.nodes().len())
        .filter(|at| statuses.get(*at).code() == Code::Unschedulable)
        .collect()
}

/// Where the search starts among the nodes. Upstream picks a random node; here it depends on the pod, so that a replay gives the same
/// result while different pods start at different nodes. If all nodes are tried out, it does not matter.
fn start(pod: &Pod, potential: usize, wanted: usize) -> usize {
    if wanted >= potential {
        return 0;
    }
    let mut hasher = FxHasher::default();
    (pod.uid.as_str(), potential).hash(&mut hasher);
    // The remainder is less than the number of nodes.
    (hasher.finish() % potential as u64) as usize
}

/// The candidates that the extenders leave.
fn confirm(
    cx: &Context<'_>,
    filters: &dyn RunFilters,
    pod: &Arc<Pod>,
    mut candidates: Vec<Candidate>,
) -> Result<Vec<PreemptionCandidate>, Status> {
    // If the rules leave a tie, the first in the snapshot's order is taken.
    candidates.sort_by_key(|candidate| candidate.at);
    let candidates = candidates.into_iter().filter_map(|candidate| candidate.tried).collect();
    filters.confirm_preemption(cx, pod, candidates)
}

/// Joins errors as upstream does: each text once.
fn join(errors: &[String]) -> Option<String> {
    let mut texts: Vec<&str> = Vec::new();
    for error in errors {
        if !texts.contains(&error.as_str()) {
            texts.push(error);
        }
    }
    match texts.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests;
