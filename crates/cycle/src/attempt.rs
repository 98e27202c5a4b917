//! One attempt to find a node for a pod, on a frozen snapshot. It changes nothing but the cycle's own state.

use crate::evaluation::{self, Failure, Feasible, FilterRunner, PreFiltered, Search};
use crate::profile::Profile;
use crate::random::Random;
use secondmate_framework::{
    Code, Context, CycleState, NodeStatuses, Nomination, Nominations, PostFilterOutcome, RunFilters,
    Snapshot, Status, fit_error_message,
};
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Text of an attempt in a cluster without nodes.
pub const NO_NODES: &str = "no nodes available to schedule pods";

/// How an attempt ended.
pub enum Attempt {
    /// A node was chosen.
    Placed {
        /// The node.
        node: Arc<NodeInfo>,
        /// The cycle's state, for the points that follow.
        state: CycleState,
    },
    /// No node passed.
    Rejected(Rejection),
    /// A plugin failed.
    Failed(Failure),
}

/// Why no node passed, and what PostFilter made of it.
pub struct Rejection {
    /// Text for event and condition.
    pub message: String,
    /// Plugins that rejected the pod or some node.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that wait for something in particular.
    pub pending_by: BTreeSet<Atom>,
    /// PostFilter's answer.
    pub post_filter: PostFilterOutcome,
    /// Whether PostFilter plugins were asked.
    pub post_filter_ran: bool,
}

impl Rejection {
    fn without_plugins(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            rejected_by: BTreeSet::new(),
            pending_by: BTreeSet::new(),
            post_filter: PostFilterOutcome {
                nomination: Some(Nomination::Clear),
                ..PostFilterOutcome::from(Status::SUCCESS)
            },
            post_filter_ran: false,
        }
    }
}

/// What an attempt reads.
pub struct World<'a> {
    /// Nodes and objects.
    pub snapshot: &'a Snapshot,
    /// Promised nodes.
    pub nominations: &'a dyn Nominations,
    /// Time of the cycle.
    pub now: Timestamp,
}

/// Tries a pod. `start` is the position at which the search for feasible nodes begins; it is moved on by as many nodes as were
/// looked at.
pub fn attempt(
    profile: &Profile,
    world: &World<'_>,
    pod: &Arc<Pod>,
    start: &mut usize,
    random: &mut Random,
) -> Attempt {
    let snapshot = world.snapshot;
    if snapshot.nodes().is_empty() {
        return Attempt::Rejected(Rejection::without_plugins(NO_NODES));
    }
    let mut state = CycleState::new();
    state.set_timed(profile.probe().times_cycle());
    let context = |filters| Context { snapshot, now: world.now, filters, nominations: world.nominations };
    let mut pre_filtered = match evaluation::pre_filter(profile, &context(&()), &mut state, pod) {
        Ok(pre_filtered) => pre_filtered,
        Err(failure) => return Attempt::Failed(failure),
    };
    let runner = FilterRunner::new(profile, &pre_filtered.skipped);
    let cx = context(&runner);
    if !pre_filtered.status.is_success() {
        let statuses = NodeStatuses::new(pre_filtered.status.clone());
        return reject(profile, &cx, &mut state, pod, &pre_filtered, &statuses);
    }
    // A node that nobody looked at cannot be helped by preemption.
    let mut statuses = NodeStatuses::new(Status::with_reasons(Code::UnschedulableAndUnresolvable, []));
    if let Some(node) = nominated_node(&cx, &runner, &state, pod, &mut pre_filtered, &mut statuses) {
        return Attempt::Placed { node, state };
    }
    let search = Search {
        start: *start,
        percentage: profile.percentage_of_nodes_to_score(),
        first_only: profile.score.is_empty(),
    };
    let found = evaluation::find_feasible(&runner, &cx, &state, pod, &pre_filtered, statuses, search);
    let processed = match &found {
        Ok(feasible) => feasible.nodes.len() + feasible.statuses.len(),
        Err((_, processed)) => *processed,
    };
    *start = (*start + processed) % snapshot.nodes().len();
    let feasible = match found {
        Ok(feasible) => feasible,
        Err((failure, _)) => return Attempt::Failed(failure),
    };
    let chosen = match feasible.nodes.as_slice() {
        [] => return reject(profile, &cx, &mut state, pod, &pre_filtered, &feasible.statuses),
        [one] => Arc::clone(one),
        _ => match choose(profile, &cx, &mut state, pod, &feasible, random) {
            Ok(node) => node,
            Err(failure) => return Attempt::Failed(failure),
        },
    };
    Attempt::Placed { node: chosen, state }
}

/// The node that was promised to the pod, where it passes the filters.
fn nominated_node(
    cx: &Context<'_>,
    runner: &FilterRunner<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &mut PreFiltered,
    statuses: &mut NodeStatuses,
) -> Option<Arc<NodeInfo>> {
    let position = cx.snapshot.position(pod.nominated_node_name.as_ref()?)?;
    let node = cx.snapshot.at(position);
    let status = runner.search(|| runner.run(cx, state, pod, node), |s| s.code() == Code::Error);
    if status.is_success() {
        return Some(Arc::clone(node));
    }
    if status.is_rejected() {
        // Upstream keeps those that narrowed the search and those that rejected in one set: the verdict on the nodes outside
        // the node set names this plugin too.
        pre_filtered.plugins_with_nodes.extend(status.plugin().cloned());
        statuses.set(position, status);
    }
    None
}

fn choose(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    feasible: &Feasible,
    random: &mut Random,
) -> Result<Arc<NodeInfo>, Failure> {
    let scored = evaluation::score(profile, cx, state, pod, &feasible.nodes, false)?;
    let best = scored.totals.iter().max().copied().unwrap_or(0);
    let ties = scored.totals.iter().filter(|t| **t == best).count();
    let pick = random.below(ties);
    let at = scored.totals.iter().enumerate().filter(|(_, t)| **t == best).nth(pick);
    let (at, _) = at.expect("the pick is below the number of ties");
    Ok(Arc::clone(&feasible.nodes[at]))
}

fn reject(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &PreFiltered,
    statuses: &NodeStatuses,
) -> Attempt {
    let mut rejected_by = pre_filtered.plugins_with_nodes.clone();
    let mut pending_by = BTreeSet::new();
    let verdicts = statuses.iter().map(|(_, s)| s).chain(std::iter::once(&pre_filtered.status));
    for status in verdicts {
        if let Some(plugin) = status.plugin() {
            let set = if status.code() == Code::Pending { &mut pending_by } else { &mut rejected_by };
            set.insert(plugin.clone());
        }
    }
    let post_filter = if profile.post_filter.is_empty() {
        PostFilterOutcome { nomination: Some(Nomination::Clear), ..PostFilterOutcome::from(Status::SUCCESS) }
    } else {
        evaluation::post_filter(profile, cx, state, pod, statuses)
    };
    let pre_filter_message = (!pre_filtered.status.is_success()).then(|| pre_filtered.status.message());
    let message = fit_error_message(
        cx.snapshot.nodes().len(),
        pre_filter_message.as_deref(),
        statuses,
        &post_filter.status.message(),
    );
    let post_filter_ran = !profile.post_filter.is_empty();
    Attempt::Rejected(Rejection { message, rejected_by, pending_by, post_filter, post_filter_ran })
}
