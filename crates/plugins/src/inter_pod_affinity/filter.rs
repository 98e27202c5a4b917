//! PreFilter and Filter: required terms, the incoming pod's and those of the pods on the nodes.

use super::counts::{Counts, Pairs};
use super::terms::ExpandedNamespaces;
use super::{
    AFFINITY, ANTI_AFFINITY, EXISTING_ANTI_AFFINITY, InterPodAffinity, affinity, namespace_labels,
    parse_error,
};
use secondmate_framework::{Context, CycleState, Filter, PreFilter, PreFilterOutcome, Snapshot, Status};
use secondmate_model::{Labels, Node, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::sync::Arc;

/// The incoming pod as its terms are read in the filter.
#[derive(Debug)]
pub(super) struct Incoming {
    pod: Arc<Pod>,
    pub(super) namespace_labels: Labels,
    affinity_namespaces: ExpandedNamespaces,
    pub(super) anti_affinity_namespaces: ExpandedNamespaces,
    /// Its affinity terms mean the pod itself: then it may be the first of its kind.
    wants_its_own_kind: bool,
}

impl Incoming {
    pub(super) fn affinity(&self) -> &[PodAffinityTerm] {
        affinity(&self.pod).map_or(&[], |affinity| &affinity.required_affinity)
    }

    pub(super) fn anti_affinity(&self) -> &[PodAffinityTerm] {
        affinity(&self.pod).map_or(&[], |affinity| &affinity.required_anti_affinity)
    }
}

/// Kept in the cycle's state.
#[derive(Clone, Debug)]
pub(super) struct FilterState {
    pub(super) incoming: Arc<Incoming>,
    /// Pods that all affinity terms of the incoming pod mean.
    pub(super) affinity: Counts,
    /// Pods that an anti-affinity term of the incoming pod means.
    pub(super) anti_affinity: Counts,
    /// Pods with an anti-affinity term that means the incoming pod.
    pub(super) existing_anti_affinity: Counts,
}

impl FilterState {
    /// Another pod came to the node, or left it.
    fn update(&mut self, other: &Pod, node: &NodeInfo, delta: i64) {
        let node = node.node();
        let incoming = &*self.incoming;
        for term in meaning(other, &incoming.pod, &incoming.namespace_labels) {
            self.existing_anti_affinity.change(&term.topology_key, node, delta);
        }
        if incoming.affinity_namespaces.all_match(incoming.affinity(), other) {
            for term in incoming.affinity() {
                self.affinity.change(&term.topology_key, node, delta);
            }
        }
        for (at, term) in incoming.anti_affinity().iter().enumerate() {
            if incoming.anti_affinity_namespaces.matches(at, term, other) {
                self.anti_affinity.change(&term.topology_key, node, delta);
            }
        }
    }

    /// The node has all labels that the affinity terms name, and for each a pod that they mean; or no pod that they mean is
    /// anywhere and the pod is one itself.
    pub(super) fn meets_affinity(&self, labels: &Labels) -> bool {
        let mut near = true;
        for term in self.incoming.affinity() {
            let Some(value) = labels.get(&term.topology_key) else { return false };
            near &= self.affinity.get(&term.topology_key, value) > 0;
        }
        near || (self.affinity.is_empty() && self.incoming.wants_its_own_kind)
    }

    fn meets_anti_affinity(&self, labels: &Labels) -> bool {
        self.anti_affinity.is_empty()
            || !self.incoming.anti_affinity().iter().any(|term| {
                let value = labels.get(&term.topology_key);
                value.is_some_and(|value| self.anti_affinity.get(&term.topology_key, value) > 0)
            })
    }
}

/// The required anti-affinity terms of a pod that mean another.
pub(super) fn meaning<'a>(
    pod: &'a Pod,
    other: &'a Pod,
    namespace_labels: &'a Labels,
) -> impl Iterator<Item = &'a PodAffinityTerm> {
    affinity(pod)
        .into_iter()
        .flat_map(|affinity| &affinity.required_anti_affinity)
        .filter(move |term| term.matches(other, namespace_labels))
}

/// Counts the pods with an anti-affinity term that means the incoming pod.
fn existing_anti_affinity(snapshot: &Snapshot, pod: &Pod, namespace_labels: &Labels) -> Pairs {
    let mut pairs = Pairs::default();
    for info in snapshot.nodes_with_required_anti_affinity() {
        for existing in info.pods_with_required_anti_affinity() {
            for term in meaning(existing, pod, namespace_labels) {
                pairs.add(&term.topology_key, info.node(), 1);
            }
        }
    }
    pairs
}

/// Counts the pods that the incoming pod's affinity terms and anti-affinity terms mean.
fn wanted_and_unwanted(snapshot: &Snapshot, incoming: &Incoming) -> (Pairs, Pairs) {
    let (wanted, unwanted) = (incoming.affinity(), incoming.anti_affinity());
    let (mut affinity, mut anti_affinity) = (Pairs::default(), Pairs::default());
    let keys: SmallVec<[_; 4]> = wanted.iter().chain(unwanted).map(|term| &term.topology_key).collect();
    if keys.is_empty() {
        return (affinity, anti_affinity);
    }
    let mut unwanted_here: SmallVec<[i64; 4]> = SmallVec::from_elem(0, unwanted.len());
    for info in snapshot.nodes() {
        let node: &Node = info.node();
        if !keys.iter().any(|key| node.labels.get(key).is_some()) {
            continue;
        }
        // The pods of a node share its pairs: count them here, and add to the pairs once.
        let mut wanted_here = 0;
        unwanted_here.fill(0);
        for pod in info.pods() {
            wanted_here += i64::from(incoming.affinity_namespaces.all_match(wanted, pod));
            for (at, term) in unwanted.iter().enumerate() {
                unwanted_here[at] += i64::from(incoming.anti_affinity_namespaces.matches(at, term, pod));
            }
        }
        if wanted_here > 0 {
            wanted.iter().for_each(|term| affinity.add(&term.topology_key, node, wanted_here));
        }
        for (term, count) in unwanted.iter().zip(&unwanted_here) {
            if *count > 0 {
                anti_affinity.add(&term.topology_key, node, *count);
            }
        }
    }
    (affinity, anti_affinity)
}

fn missing() -> Status {
    Status::error("error reading \"PreFilterInterPodAffinity\" from cycleState: not found")
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        if let Some(error) = parse_error(pod) {
            return Status::unresolvable(format!("parsing pod: {error}")).into();
        }
        let objects = cx.snapshot.objects();
        let namespace_labels = namespace_labels(pod, objects);
        let existing = existing_anti_affinity(cx.snapshot, pod, &namespace_labels);
        let required = affinity(pod)
            .is_some_and(|a| !a.required_affinity.is_empty() || !a.required_anti_affinity.is_empty());
        if existing.is_empty() && !required {
            return Status::skip().into();
        }
        let mut incoming = Incoming {
            pod: Arc::clone(pod),
            namespace_labels,
            affinity_namespaces: ExpandedNamespaces::default(),
            anti_affinity_namespaces: ExpandedNamespaces::default(),
            wants_its_own_kind: false,
        };
        let namespaces = |terms: &[PodAffinityTerm]| ExpandedNamespaces::of(terms.iter(), objects);
        incoming.affinity_namespaces = namespaces(incoming.affinity());
        incoming.anti_affinity_namespaces = namespaces(incoming.anti_affinity());
        incoming.wants_its_own_kind = incoming.affinity_namespaces.all_match(incoming.affinity(), pod);
        let (wanted, unwanted) = wanted_and_unwanted(cx.snapshot, &incoming);
        state.write(FilterState {
            incoming: Arc::new(incoming),
            affinity: Counts::new(wanted),
            anti_affinity: Counts::new(unwanted),
            existing_anti_affinity: Counts::new(existing),
        });
        Status::SUCCESS.into()
    }

    fn add_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let Some(state) = state.get_mut::<FilterState>() else { return missing() };
        state.update(added, node, 1);
        Status::SUCCESS
    }

    fn remove_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let Some(state) = state.get_mut::<FilterState>() else { return missing() };
        state.update(removed, node, -1);
        Status::SUCCESS
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(state) = state.read::<FilterState>() else { return missing() };
        let labels = &node.node().labels;
        if !state.meets_affinity(labels) {
            Status::unresolvable(AFFINITY)
        } else if !state.meets_anti_affinity(labels) {
            Status::unschedulable(ANTI_AFFINITY)
        } else if state.existing_anti_affinity.any(labels) {
            Status::unschedulable(EXISTING_ANTI_AFFINITY)
        } else {
            Status::SUCCESS
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
