//! One pod against the cluster: the scheduler's own steps, over every node, with everything kept.

use crate::answer::{Explanation, NodeAnswer, PostFilterAnswer, PreFilterRejection, ScoreAnswer, Verdict};
use crate::cluster::Cluster;
use secondmate_cycle::Profile;
use secondmate_cycle::attempt::NO_NODES;
use secondmate_cycle::evaluation::{self, Failure, FilterRunner, PreFiltered};
use secondmate_cycle::note::failure_note;
use secondmate_framework::{
    Code, Context, CycleState, NodeIndex, NodeStatuses, Nomination, RunFilters, Status, fit_error_message,
};
use secondmate_model::{NodeInfo, Pod, Timestamp};
use std::sync::Arc;

/// A pod without a start time counts as started now, and now is after everything that the file tells of.
const NOW: Timestamp = Timestamp { nanos: i64::MAX };

/// Answers for pods of one cluster.
pub struct Explainer<'a> {
    cluster: &'a Cluster,
    profiles: &'a [Profile],
}

impl<'a> Explainer<'a> {
    /// An explainer of a cluster that was loaded for these profiles.
    #[must_use]
    pub fn new(cluster: &'a Cluster, profiles: &'a [Profile]) -> Self {
        Self { cluster, profiles }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The profile of a pod.
    ///
    /// # Panics
    /// The pod is not one of the cluster's pending pods.
    pub(crate) fn profile(&self, pod: &Pod) -> &'a Profile {
        let profile = self.profiles.iter().find(|p| *p.name() == pod.scheduler_name);
        profile.expect("a pending pod of the cluster waits for one of its profiles")
    }

    /// What the scheduler would say about a pending pod.
    #[must_use]
    pub fn explain(&self, pod: &Arc<Pod>) -> Explanation {
        let profile = self.profile(pod);
        let mut answer = Explanation::new(pod.full_name(), profile.name().clone(), Verdict::Schedulable);
        if profile.holds_back(pod).is_some() {
            answer.result = Verdict::Gated;
            return answer;
        }
        if self.cluster.snapshot.nodes().is_empty() {
            answer.result = Verdict::Unschedulable;
            answer.message = Some(failure_note(NO_NODES, profile.handle().parity));
            return answer;
        }
        if let Err(failure) = self.attempt(profile, pod, &mut answer) {
            answer = Explanation::new(answer.pod, answer.profile, Verdict::Error);
            answer.message = Some(failure_note(&failure.message, profile.handle().parity));
        }
        answer
    }

    fn attempt(&self, profile: &Profile, pod: &Arc<Pod>, answer: &mut Explanation) -> Result<(), Failure> {
        let snapshot = &self.cluster.snapshot;
        let context = |filters| Context { snapshot, now: NOW, filters, nominations: &self.cluster.nominator };
        let mut state = CycleState::new();
        let mut pre_filtered = evaluation::pre_filter(profile, &context(&()), &mut state, pod)?;
        let runner = FilterRunner::new(profile, &pre_filtered.skipped);
        let cx = context(&runner);
        let mut statuses = NodeStatuses::new(Status::with_reasons(Code::UnschedulableAndUnresolvable, []));
        let mut feasible = Vec::new();
        if pre_filtered.status.is_success() {
            feasible = filter(&cx, &runner, &state, pod, &mut pre_filtered, &mut statuses)?;
        } else {
            answer.pre_filter = Some(rejection(&pre_filtered.status));
            statuses.set_absent(pre_filtered.status.clone());
        }
        if feasible.is_empty() {
            answer.result = Verdict::Unschedulable;
            if pre_filtered.status.is_success() {
                answer.nodes = snapshot
                    .nodes()
                    .iter()
                    .enumerate()
                    .map(|(at, node)| (node.name().clone(), rejected(statuses.get(index(at)))))
                    .collect();
            }
            post_filter(profile, &cx, &mut state, pod, &pre_filtered, &statuses, answer);
            return Ok(());
        }
        let nodes: Vec<Arc<NodeInfo>> = feasible.iter().map(|at| Arc::clone(snapshot.at(*at))).collect();
        let mut scores = scores(profile, &cx, &mut state, pod, &nodes)?.into_iter();
        let mut next = feasible.iter().peekable();
        for (at, node) in snapshot.nodes().iter().enumerate() {
            let verdict = if next.next_if(|f| f.get() == at).is_some() {
                scores.next().expect("one for each feasible node")
            } else {
                rejected(statuses.get(index(at)))
            };
            answer.nodes.push((node.name().clone(), verdict));
        }
        choose(answer);
        Ok(())
    }
}

fn index(at: usize) -> NodeIndex {
    NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"))
}

fn texts(status: &Status) -> Vec<String> {
    status.reasons().iter().map(|reason| reason.clone().into_owned()).collect()
}

fn rejection(status: &Status) -> PreFilterRejection {
    PreFilterRejection {
        plugin: status.plugin().cloned(),
        code: status.code().name(),
        reasons: texts(status),
    }
}

fn rejected(status: &Status) -> NodeAnswer {
    NodeAnswer::Rejected { code: status.code(), plugin: status.plugin().cloned(), reasons: texts(status) }
}

/// Every node, in order; the first failure of a plugin ends it.
fn filter(
    cx: &Context<'_>,
    runner: &FilterRunner<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &mut PreFiltered,
    statuses: &mut NodeStatuses,
) -> Result<Vec<NodeIndex>, Failure> {
    // Production looks at the pod's own nominated node first and whatever PreFilter's node set says. A failure there is only
    // logged; the search meets it again where it matters.
    if let Some(position) = pod.nominated_node_name.as_ref().and_then(|name| cx.snapshot.position(name)) {
        let status = runner.run(cx, state, pod, cx.snapshot.at(position));
        if status.is_rejected() {
            // Upstream keeps those that narrowed the search and those that rejected in one set: the verdict on the nodes
            // outside the node set names this plugin too.
            pre_filtered.plugins_with_nodes.extend(status.plugin().cloned());
            statuses.set(position, status);
        }
    }
    if pre_filtered.nodes.is_some() {
        statuses.set_absent(pre_filtered.excluded());
    }
    let mut feasible = Vec::new();
    for (at, node) in cx.snapshot.nodes().iter().enumerate() {
        if pre_filtered.nodes.as_ref().is_some_and(|names| !names.contains(node.name())) {
            continue;
        }
        let status = runner.run(cx, state, pod, node);
        match status.code() {
            Code::Success => feasible.push(index(at)),
            Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                statuses.set(index(at), status);
            }
            Code::Error | Code::Wait | Code::Skip => {
                let plugin = status.plugin().cloned().unwrap_or_default();
                return Err(Failure::new(&plugin, status.message()));
            }
        }
    }
    Ok(feasible)
}

/// The answers of the feasible nodes.
fn scores(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    nodes: &[Arc<NodeInfo>],
) -> Result<Vec<NodeAnswer>, Failure> {
    if nodes.len() == 1 {
        return Ok(vec![NodeAnswer::Feasible { scores: Vec::new(), total: 0 }]);
    }
    let scored = evaluation::score(profile, cx, state, pod, nodes, true)?;
    let of_node = |at: usize| {
        let scores = scored.plugins.iter().map(|plugin| {
            let (raw, normalized) = (plugin.raw[at], plugin.normalized[at]);
            (plugin.plugin.clone(), ScoreAnswer { raw, normalized, weighted: normalized * plugin.weight })
        });
        NodeAnswer::Feasible { scores: scores.collect(), total: scored.totals[at] }
    };
    Ok((0..nodes.len()).map(of_node).collect())
}

fn choose(answer: &mut Explanation) {
    let total = |verdict: &NodeAnswer| match verdict {
        NodeAnswer::Feasible { total, .. } => Some(*total),
        NodeAnswer::Rejected { .. } => None,
    };
    let highest = answer.nodes.iter().filter_map(|(_, verdict)| total(verdict)).max();
    let best = answer.nodes.iter().filter(|(_, verdict)| total(verdict) == highest);
    answer.best = best.map(|(name, _)| name.clone()).collect();
    answer.best.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
}

fn post_filter(
    profile: &Profile,
    cx: &Context<'_>,
    state: &mut CycleState,
    pod: &Arc<Pod>,
    pre_filtered: &PreFiltered,
    statuses: &NodeStatuses,
    answer: &mut Explanation,
) {
    let outcome = evaluation::post_filter(profile, cx, state, pod, statuses);
    if let Some(Nomination::Node(node)) = outcome.nomination {
        let victims = outcome.victims.iter().map(|victim| victim.full_name()).collect();
        answer.post_filter = Some(PostFilterAnswer { nominated_node: node, victims });
    }
    let pre_filter = (!pre_filtered.status.is_success()).then(|| pre_filtered.status.message());
    let message = fit_error_message(
        cx.snapshot.nodes().len(),
        pre_filter.as_deref(),
        statuses,
        &outcome.status.message(),
    );
    answer.message = Some(failure_note(&message, profile.handle().parity));
}
