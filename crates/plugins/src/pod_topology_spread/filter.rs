//! PreFilter and Filter: constraints that must hold.

use super::constraints::{Constraints, Inclusion};
use super::domains::{Changes, Domains};
use super::{LABEL_MISSING, NOT_SPREAD, PodTopologySpread};
use secondmate_framework::{Context, CycleState, Fact, Filter, PreFilter, PreFilterOutcome, Status};
use secondmate_model::{Atom, NodeInfo, Pod, WhenUnsatisfiable};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a cycle knows of a pod's hard constraints.
#[derive(Debug)]
struct Counted {
    constraints: Constraints,
    /// Domains of each constraint.
    domains: SmallVec<[Domains; 2]>,
    /// Whether the pod itself counts, for each constraint: 1 or 0.
    own: SmallVec<[i64; 2]>,
}

/// Kept in the cycle's state. What was counted is shared by its clones, so that a clone costs next to nothing.
#[derive(Clone, Debug)]
pub(super) struct FilterState {
    counted: Arc<Counted>,
    changes: Changes,
}

impl Counted {
    fn new(constraints: Constraints, pod: &Pod, nodes: &[Arc<NodeInfo>]) -> Self {
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
                    let count = constraints.count(constraint, info.pods(), &pod.namespace, &mut counts);
                    domains.add(value, count);
                }
            }
        }
        domains.iter_mut().for_each(Domains::finish);
        let own = constraints
            .list
            .iter()
            .map(|c| i64::from(constraints.selector(c).matches(&pod.labels)))
            .collect();
        Self { constraints, domains, own }
    }
}

impl FilterState {
    fn of(state: &mut CycleState) -> Result<&mut Self, Status> {
        state.get_mut().ok_or_else(missing)
    }

    /// Another pod came to the node, or left it. Unlike in the first count, one on its way out counts as well.
    fn update(&mut self, pod: &Pod, other: &Pod, node: &NodeInfo, delta: i64) {
        let constraints = &self.counted.constraints;
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
        let counted = Arc::new(Counted::new(constraints, pod, cx.snapshot.nodes()));
        state.write(FilterState { counted, changes: Changes::default() });
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
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(FilterState { counted, changes }) = state.read() else { return missing() };
        let labels = &node.node().labels;
        for (at, constraint) in counted.constraints.list.iter().enumerate() {
            let Some(value) = labels.get(&constraint.key) else {
                return Status::unresolvable(LABEL_MISSING);
            };
            let skew = counted.skew(changes, at, value);
            if skew.with_pod - skew.minimum > i64::from(constraint.max_skew) {
                return Status::unschedulable(NOT_SPREAD);
            }
        }
        Status::SUCCESS
    }
}

/// A domain as it would be with the pod.
struct Skew {
    /// Pods in it.
    with_pod: i64,
    /// The smallest count of a domain.
    minimum: i64,
}

impl Counted {
    fn skew(&self, changes: &Changes, at: usize, value: &Atom) -> Skew {
        let (domains, min_domains) = (&self.domains[at], self.constraints.list[at].min_domains);
        let with_pod = changes.count(domains, at, value) + self.own[at];
        Skew { with_pod, minimum: changes.minimum(domains, at, min_domains) }
    }
}

/// The constraints that the node does not meet, and by how much.
pub(super) fn facts(state: &CycleState, pod: &Pod, node: &NodeInfo) -> Vec<Fact> {
    let Some(FilterState { counted, changes }) = state.read() else { return Vec::new() };
    let mut facts = Vec::new();
    for (at, constraint) in counted.constraints.list.iter().enumerate() {
        let (key, max_skew) = (&constraint.key, constraint.max_skew);
        let Some(value) = node.node().labels.get(key) else {
            let help = format!("the label {key} on {}", node.name());
            facts.push(
                Fact::new(format!("has no label {key}, by which the pod is to spread")).helped_by(help),
            );
            continue;
        };
        let Skew { with_pod, minimum } = counted.skew(changes, at, value);
        let skew = with_pod - minimum;
        if skew <= i64::from(max_skew) {
            continue;
        }
        let selector = counted.constraints.selector(constraint);
        let least = if minimum == 0 && counted.domains[at].len() < constraint.min_domains.max(0) as usize {
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
