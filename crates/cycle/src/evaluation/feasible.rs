//! PreFilter, and the search for the nodes that pass the filters.

use super::{Failure, FilterRunner};
use crate::panics::run;
use crate::probe::{Laps, Point};
use crate::profile::Profile;
use secondmate_framework::{Code, Context, CycleState, NodeIndex, NodeStatuses, RunFilters, Status};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Minimum number of nodes that a search looks for (`minFeasibleNodesToFind`).
const MIN_FEASIBLE_NODES: usize = 100;
/// Smallest adaptive share in percent (`minFeasibleNodesPercentageToFind`).
const MIN_FEASIBLE_PERCENT: usize = 5;

/// The result of PreFilter.
#[derive(Clone, Debug, Default)]
pub struct PreFiltered {
    /// Success, or the rejection of the whole pod.
    pub status: Status,
    /// The only nodes that need to be considered.
    pub nodes: Option<BTreeSet<Atom>>,
    /// Plugins that returned a node set, sorted.
    pub plugins_with_nodes: BTreeSet<Atom>,
}

impl PreFiltered {
    /// Verdict on the nodes outside the node set.
    #[must_use]
    pub fn excluded(&self) -> Status {
        let names: Vec<&str> = self.plugins_with_nodes.iter().map(Atom::as_str).collect();
        Status::unresolvable(format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" ")))
    }
}

/// Runs all PreFilter plugins.
///
/// # Errors
/// If a plugin failed.
pub fn pre_filter(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
) -> Result<PreFiltered, Failure> {
    let began = profile.probe().now();
    let result = ask_pre_filters(profile, cx, state, pod);
    let code = result.as_ref().map_or(Code::Error, |r| r.status.code());
    profile.probe().point_done(Point::PreFilter, code, profile.probe().now().since(began));
    result
}

fn ask_pre_filters(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
) -> Result<PreFiltered, Failure> {
    let (probe, timed) = (profile.probe(), state.is_timed());
    let mut laps = timed.then(|| Laps::begin(probe, Point::PreFilter));
    let mut result = PreFiltered::default();
    for plugin in &profile.pre_filter {
        let ask = || plugin.point.pre_filter(cx, state, pod);
        let outcome = run(&plugin.name, Point::PreFilter.name(), None, ask);
        if let Some(laps) = &mut laps {
            laps.lap(plugin, outcome.status.code());
        }
        if !outcome.status.is_skip() {
            probe.plugin_evaluated(plugin, Point::PreFilter, 1);
        }
        match outcome.status.code() {
            Code::Success => {}
            Code::Skip => {
                state.skip_filter(&plugin.name);
                continue;
            }
            Code::UnschedulableAndUnresolvable => {
                result.status = outcome.status.by(&plugin.name);
                result.nodes = None;
                result.plugins_with_nodes.clear();
                return Ok(result);
            }
            Code::Unschedulable => {
                // Preemption may help later and needs the state of all plugins, so continue.
                result.status = outcome.status.by(&plugin.name);
                continue;
            }
            Code::Error | Code::Wait | Code::Pending => {
                let message = format!(
                    "running PreFilter plugin {:?}: {}",
                    plugin.name.as_str(),
                    outcome.status.message()
                );
                return Err(Failure::new(&plugin.name, message));
            }
        }
        let Some(nodes) = outcome.nodes else { continue };
        result.plugins_with_nodes.insert(plugin.name.clone());
        let merged = match result.nodes.take() {
            None => nodes,
            Some(before) => before.intersection(&nodes).cloned().collect(),
        };
        if merged.is_empty() {
            let names: Vec<&str> = result.plugins_with_nodes.iter().map(Atom::as_str).collect();
            let reason = match names.as_slice() {
                [one] => format!("node(s) didn't satisfy plugin {one}"),
                _ => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", names.join(" ")),
            };
            result.status = Status::unresolvable(reason);
            return Ok(result);
        }
        result.nodes = Some(merged);
    }
    Ok(result)
}

/// Number of feasible nodes after which the search stops (`numFeasibleNodesToFind`).
#[must_use]
pub fn node_count_to_find(nodes: usize, percentage: u8) -> usize {
    if nodes < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percentage = match usize::from(percentage) {
        0 => 50_usize.saturating_sub(nodes / 125).max(MIN_FEASIBLE_PERCENT),
        given => given,
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE_NODES)
}

/// The result of the filters.
#[derive(Clone, Debug)]
pub struct Feasible {
    /// Nodes that passed, in the order of the search.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Verdicts on the other nodes that were looked at.
    pub statuses: NodeStatuses,
}

/// Where a search begins and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Position of the first node.
    pub start: usize,
    /// Share of the nodes after which the search ends, see [`node_count_to_find`].
    pub percentage: u8,
    /// Stop at the first feasible node.
    pub first_only: bool,
}

impl Search {
    /// Looks at every node.
    pub const ALL: Self = Self { start: 0, percentage: 100, first_only: false };

    fn wanted(self, count: usize) -> usize {
        if self.first_only { 1 } else { node_count_to_find(count, self.percentage) }
    }
}

/// Runs the filters over the nodes, wrapping around the list, until enough have passed. The snapshot must have a node.
///
/// # Errors
/// If a plugin failed; the error includes the number of nodes that were looked at.
pub fn find_feasible(
    runner: &FilterRunner<'_>,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &PreFiltered,
    statuses: NodeStatuses,
    search: Search,
) -> Result<Feasible, (Failure, usize)> {
    runner.search(|| look_round(runner, cx, state, pod, pre_filtered, statuses, search), Result::is_err)
}

fn look_round(
    runner: &FilterRunner<'_>,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &PreFiltered,
    mut statuses: NodeStatuses,
    search: Search,
) -> Result<Feasible, (Failure, usize)> {
    let all = cx.snapshot.nodes();
    let candidates: Vec<NodeIndex> = match &pre_filtered.nodes {
        None => Vec::new(),
        Some(names) => {
            statuses.set_absent(pre_filtered.excluded());
            let mut positions: Vec<NodeIndex> =
                names.iter().filter_map(|n| cx.snapshot.position(n)).collect();
            positions.sort_unstable();
            positions
        }
    };
    let count = if pre_filtered.nodes.is_some() { candidates.len() } else { all.len() };
    let wanted = search.wanted(count);
    let mut nodes = Vec::with_capacity(wanted.min(count));
    let nominated = !cx.nominations.is_empty();
    for step in 0..count {
        if nodes.len() >= wanted {
            break;
        }
        let at = (search.start + step) % count;
        let position = if pre_filtered.nodes.is_some() {
            candidates[at]
        } else {
            NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"))
        };
        let node = &all[position.get()];
        let status =
            if nominated { runner.run(cx, state, pod, node) } else { runner.run_once(cx, state, pod, node) };
        match status.code() {
            Code::Success => nodes.push(Arc::clone(node)),
            Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                statuses.set(position, status)
            }
            Code::Error | Code::Wait | Code::Skip => {
                let plugin = status.plugin().cloned().unwrap_or_default();
                return Err((Failure::new(&plugin, status.message()), nodes.len() + statuses.len()));
            }
        }
    }
    Ok(Feasible { nodes, statuses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_nodes_to_find_adapts_as_upstream() {
        for (nodes, percentage, expected) in [
            (10, 0, 10),
            (99, 1, 99),
            (100, 0, 100),
            (1000, 0, 420),
            (5000, 0, 500),
            (6000, 0, 300),
            (6000, 40, 2400),
            (1000, 100, 1000),
            (1000, 5, 100),
        ] {
            assert_eq!(node_count_to_find(nodes, percentage), expected, "{nodes} nodes, {percentage} %");
        }
    }
}
