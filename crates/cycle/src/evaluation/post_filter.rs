//! PostFilter.

use crate::panics::run;
use crate::probe::{Point, call};
use crate::profile::Profile;
use secondmate_framework::{
    Code, Context, CycleState, NodeStatuses, Nomination, PostFilterOutcome, Reason, RunFilters, Status,
};
use secondmate_model::Pod;
use std::sync::Arc;

/// Runs the PostFilter plugins until one succeeds or rejects for good, and joins the messages of the others.
///
/// Source of the rules: `RunPostFilterPlugins` in `pkg/scheduler/framework/runtime`.
#[must_use]
pub fn post_filter(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    statuses: &NodeStatuses,
    filters: &dyn RunFilters,
) -> PostFilterOutcome {
    let began = profile.probe().now();
    let outcome = ask_in_turn(profile, cx, state, pod, statuses, filters);
    let took = profile.probe().now().since(began);
    profile.probe().point_done(Point::PostFilter, outcome.status.code(), took);
    outcome
}

fn ask_in_turn(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    statuses: &NodeStatuses,
    filters: &dyn RunFilters,
) -> PostFilterOutcome {
    let timed = state.is_timed();
    let mut kept: Option<Nomination> = None;
    let mut reasons: Vec<Reason> = Vec::new();
    let mut rejector = None;
    for plugin in &profile.post_filter {
        let ask = || {
            let ask = || plugin.point.post_filter(cx, state, pod, statuses, filters);
            run(&plugin.name, Point::PostFilter.name(), None, ask)
        };
        let evicts = profile.declaration(plugin).evicts_pods();
        let began = evicts.then(|| profile.probe().now());
        let mut outcome = call(profile.probe(), timed, plugin, Point::PostFilter, ask, |o| o.status.code());
        if let Some(began) = began {
            let took = profile.probe().now().since(began);
            profile.probe().preemption_evaluated(outcome.status.code(), took);
        }
        match outcome.status.code() {
            Code::Success | Code::UnschedulableAndUnresolvable => {
                outcome.plugin = outcome.status.is_success().then(|| plugin.name.clone());
                outcome.status = outcome.status.by(&plugin.name);
                return outcome;
            }
            Code::Unschedulable | Code::Pending => {
                if outcome.nomination.as_ref().is_some_and(|n| *n != Nomination::Keep) {
                    kept = outcome.nomination;
                }
                reasons.extend(outcome.status.reasons().iter().cloned());
                rejector.get_or_insert_with(|| plugin.name.clone());
            }
            Code::Error | Code::Wait | Code::Skip => {
                let status = outcome.status.recoded(Code::Error).by(&plugin.name);
                return PostFilterOutcome::from(status);
            }
        }
    }
    let mut status = Status::with_reasons(Code::Unschedulable, reasons);
    if let Some(plugin) = rejector {
        status = status.by(&plugin);
    }
    PostFilterOutcome { nomination: kept, ..PostFilterOutcome::from(status) }
}
