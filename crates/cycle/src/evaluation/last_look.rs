//! The final check of a node just before a pod is bound to it.

use crate::panics::{catch, run};
use crate::probe::Point;
use crate::profile::{At, Profile};
use secondmate_framework::{Context, CycleState, Filter, Status};
use secondmate_model::{NodeInfo, Pod};
use std::sync::Arc;

/// Whether the node, as it is now and without the pod, still accepts the pod: runs the filters again whose verdict the arrival of
/// another pod may have changed, according to the plugins' declarations
/// ([`Declaration::guards_the_node`](secondmate_framework::Declaration::guards_the_node)). `state` is that of the pod's cycle.
///
/// What a profile disables, replaces or configures to be ignored is therefore not checked here either.
#[must_use]
pub fn still_fits(
    profile: &Profile,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    node: &NodeInfo,
) -> Status {
    ask(profile.guards(), profile, cx, state, pod, node)
}

/// Whether the node, whose object has changed since it was chosen, still accepts the pod: runs the filters whose rule must hold
/// when a pod is bound, above all those that the kubelet repeats when it admits a pod
/// ([`Declaration::judged_at_admission`](secondmate_framework::Declaration::judged_at_admission)), except those of [`still_fits`].
#[must_use]
pub fn still_admitted(
    profile: &Profile,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    node: &NodeInfo,
) -> Status {
    ask(profile.admission(), profile, cx, state, pod, node)
}

fn ask(
    filters: &[At<dyn Filter>],
    profile: &Profile,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    node: &NodeInfo,
) -> Status {
    for plugin in filters {
        if state.skips_filter(&plugin.name) {
            continue;
        }
        let ask = || plugin.point.filter(cx, state, pod, node);
        let ask = || run(&plugin.name, Point::Filter.name(), Some(node.name()), ask);
        let status = catch(profile, pod, ask).unwrap_or_else(|panic| panic.status());
        if !status.is_success() {
            return status.by(&plugin.name);
        }
    }
    Status::SUCCESS
}
