//! PreFilter and Filter: hard constraints.

use super::constraints::{Constraint, Constraints, Inclusion};
use super::domains::{Changes, Domains};
use super::{LABEL_MISSING, NOT_SPREAD, PodTopologySpread};
use secondmate_framework::{
    Context, CycleState, Fact, Filter, GroupFilter, PreFilter, PreFilterOutcome, Snapshot, Status,
};
use secondmate_model::{Atom, NodeInfo, Pod, WhenUnsatisfiable};
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// What a cycle knows about a pod's hard constraints.
#[derive(Debug)]
struct Hard {
    constraints: Constraints,
    /// For each constraint, whether the pod itself counts: 1 or 0.
    own: SmallVec<[i64; 2]>,
    /// The domains of each constraint, computed when first needed.
    domains: OnceLock<SmallVec<[Domains; 2]>>,
}

/// Kept in the cycle's state. The counts are shared by its clones, so that a clone costs next to nothing.
#[derive(Clone, Debug)]
pub(super) struct FilterState {
    hard: Arc<Hard>,
    changes: Changes,
}

impl Hard {
    fn new(constraints: Constraints, pod: &Pod) -> Self {
        let own = own_counts(&constraints, pod);
        Self { constraints, own, domains: OnceLock::new() }
    }

    /// The domains for the snapshot. The snapshot does not change during a cycle, so it does not matter when they are first needed.
    fn domains(&self, pod: &Pod, snapshot: &Snapshot) -> &[Domains] {
        self.domains.get_or_init(|| Self::count(&self.constraints, pod, snapshot.nodes()))
    }

    fn count(constraints: &Constraints, pod: &Pod, nodes: &[Arc<NodeInfo>]) -> SmallVec<[Domains; 2]> {
        let mut domains: SmallVec<[Domains; 2]> =
            constraints.list.iter().map(|_| Domains::default()).collect();
        let mut counts = SmallVec::new();
        for info in nodes {
            let node = info.node();
            if !constraints.keys_on(&node.labels) {
                continue;
            }
            let mut inclusion = Inclusion::new(pod, node);
            counts.clear();
            for (constraint, domains) in constraints.list.iter().zip(&mut domains) {
                if let Some(value) = node.labels.get(&constraint.key)
                    && inclusion.admits(constraint)
                {
                    let count = constraints.count(constraint, info, &pod.namespace, &mut counts);
                    domains.add(value, count);
                }
            }
        }
        domains.iter_mut().for_each(Domains::finish);
        domains
    }

    fn skew(&self, domains: &[Domains], changes: &Changes, at: usize, value: &Atom) -> Skew {
        let (domains, min_domains) = (&domains[at], self.constraints.list[at].min_domains);
        let with_pod = changes.count(domains, at, value) + self.own[at];
        Skew { with_pod, minimum: changes.minimum(domains, at, min_domains) }
    }
}

/// For each constraint, whether the pod itself counts: 1 or 0.
pub(super) fn own_counts(constraints: &Constraints, pod: &Pod) -> SmallVec<[i64; 2]> {
    let own = constraints.list.iter().map(|c| i64::from(constraints.selector(c).matches(&pod.labels)));
    own.collect()
}

impl FilterState {
    fn of(state: &mut CycleState) -> Result<&mut Self, Status> {
        state.get_mut().ok_or_else(missing)
    }

    /// Another pod was added to the node, or removed from it. Unlike in the first count, terminating pods count as well.
    fn update(&mut self, pod: &Pod, other: &Pod, node: &NodeInfo, delta: i64) {
        let constraints = &self.hard.constraints;
        let node = node.node();
        if other.namespace != pod.namespace || !constraints.keys_on(&node.labels) {
            return;
        }
        let mut inclusion = Inclusion::new(pod, node);
        for (at, constraint) in constraints.list.iter().enumerate() {
            if let Some(value) = node.labels.get(&constraint.key)
                && constraints.selector(constraint).matches(&other.labels)
                && inclusion.admits(constraint)
            {
                self.changes.add(at, value, delta);
            }
        }
    }
}

fn missing() -> Status {
    Status::error("reading \"PreFilterPodTopologySpread\" from cycleState: not found")
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let hard = self.constraints(pod, cx.snapshot.objects(), WhenUnsatisfiable::DoNotSchedule);
        let constraints = match hard {
            Ok(constraints) if constraints.is_empty() => return Status::skip().into(),
            Ok(constraints) => constraints,
            Err(error) => {
                return Status::error(format!(
                    "get constraints from pod: obtaining pod's hard topology spread constraints: {error}"
                ))
                .into();
            }
        };
        let hard = Hard::new(constraints, pod);
        if !state.counts_later() {
            hard.domains(pod, cx.snapshot);
        }
        state.write(FilterState { hard: Arc::new(hard), changes: Changes::default() });
        Status::SUCCESS.into()
    }

    fn add_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        match FilterState::of(state) {
            Ok(state) => state.update(pod, added, node, 1),
            Err(status) => return status,
        }
        Status::SUCCESS
    }

    fn remove_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        match FilterState::of(state) {
            Ok(state) => state.update(pod, removed, node, -1),
            Err(status) => return status,
        }
        Status::SUCCESS
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(FilterState { hard, changes }) = state.read() else { return missing() };
        let domains = hard.domains(pod, cx.snapshot);
        verdict(&hard.constraints, |at, constraint| {
            let value = node.node().labels.get(&constraint.key)?;
            Some(hard.skew(domains, changes, at, value))
        })
    }

    fn by_group(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        self.hard_spread(cx, pod)
    }
}

/// The verdict on a node, given the skews that its domains would have; `None` where it lacks the label.
pub(super) fn verdict(
    constraints: &Constraints,
    skew: impl Fn(usize, &Constraint) -> Option<Skew>,
) -> Status {
    for (at, constraint) in constraints.list.iter().enumerate() {
        let Some(Skew { with_pod, minimum }) = skew(at, constraint) else {
            return Status::unresolvable(LABEL_MISSING);
        };
        if with_pod - minimum > i64::from(constraint.max_skew) {
            return Status::unschedulable(NOT_SPREAD);
        }
    }
    Status::SUCCESS
}

/// A domain as it would be with the pod.
pub(super) struct Skew {
    /// The pods in it.
    pub(super) with_pod: i64,
    /// The smallest count of any domain.
    pub(super) minimum: i64,
}

/// The constraints that the node violates, and by how much.
pub(super) fn facts(snapshot: &Snapshot, state: &CycleState, pod: &Pod, node: &NodeInfo) -> Vec<Fact> {
    let Some(FilterState { hard, changes }) = state.read() else { return Vec::new() };
    let domains = hard.domains(pod, snapshot);
    let mut facts = Vec::new();
    for (at, constraint) in hard.constraints.list.iter().enumerate() {
        let (key, max_skew) = (&constraint.key, constraint.max_skew);
        let Some(value) = node.node().labels.get(key) else {
            let help = format!("the label {key} on {}", node.name());
            facts.push(
                Fact::new(format!("has no label {key}, by which the pod is to spread")).helped_by(help),
            );
            continue;
        };
        let Skew { with_pod, minimum } = hard.skew(domains, changes, at, value);
        let skew = with_pod - minimum;
        if skew <= i64::from(max_skew) {
            continue;
        }
        let selector = hard.constraints.selector(constraint);
        let least = if minimum == 0 && domains[at].len() < constraint.min_domains.max(0) as usize {
            format!("0 count elsewhere, for want of minDomains {}", constraint.min_domains)
        } else {
            format!("the emptiest domain has {minimum}")
        };
        let text = format!(
            "{key}={value} would have {with_pod} pods {selector} in namespace {}, {least}: skew {skew}, maxSkew {max_skew}",
            pod.namespace
        );
        let help = format!("room in the emptiest domains of {key}, or a maxSkew of {skew}");
        facts.push(Fact::new(text).helped_by(help));
    }
    facts
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
