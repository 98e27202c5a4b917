//! PreFilter and Filter: required terms of the incoming pod, and of the pods on the nodes.

use super::counts::{Counts, Pairs};
use super::groups::existing;
use super::terms::ExpandedNamespaces;
use super::{
    AFFINITY, ANTI_AFFINITY, EXISTING_ANTI_AFFINITY, InterPodAffinity, affinity, namespace_labels,
    parse_error,
};
use secondmate_framework::{
    Context, CycleState, Filter, GroupFilter, PreFilter, PreFilterOutcome, Snapshot, Status, TermList,
};
use secondmate_model::objects::Objects;
use secondmate_model::{Labels, Node, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

/// The incoming pod with its terms prepared for the filter.
#[derive(Debug)]
pub(super) struct Incoming {
    pod: Arc<Pod>,
    pub(super) namespace_labels: Labels,
    pub(super) affinity_namespaces: ExpandedNamespaces,
    pub(super) anti_affinity_namespaces: ExpandedNamespaces,
    /// Its affinity terms match the pod itself: then it may be the first of its kind.
    pub(super) wants_its_own_kind: bool,
}

impl Incoming {
    pub(super) fn new(pod: &Arc<Pod>, objects: &Objects) -> Self {
        let mut incoming = Self {
            pod: Arc::clone(pod),
            namespace_labels: namespace_labels(pod, objects),
            affinity_namespaces: ExpandedNamespaces::default(),
            anti_affinity_namespaces: ExpandedNamespaces::default(),
            wants_its_own_kind: false,
        };
        let namespaces = |terms: &[PodAffinityTerm]| ExpandedNamespaces::of(terms.iter(), objects);
        incoming.affinity_namespaces = namespaces(incoming.affinity());
        incoming.anti_affinity_namespaces = namespaces(incoming.anti_affinity());
        incoming.wants_its_own_kind = incoming.affinity_namespaces.all_match(incoming.affinity(), pod);
        incoming
    }

    /// What its terms match.
    pub(super) fn key(&self) -> impl Hash + PartialEq + '_ {
        (
            (self.affinity(), &self.affinity_namespaces, self.wants_its_own_kind),
            (self.anti_affinity(), &self.anti_affinity_namespaces),
        )
    }

    /// Whether a required term of either pod matches the other.
    pub(super) fn is_concerned_by(&self, other: &Pod) -> bool {
        let mut unwanted = self.anti_affinity().iter().enumerate();
        meaning(other, &self.pod, &self.namespace_labels).next().is_some()
            || self.affinity_namespaces.all_match(self.affinity(), other)
            || unwanted.any(|(at, term)| self.anti_affinity_namespaces.matches(at, term, other))
    }

    /// Memory used by the namespaces of its terms, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.affinity_namespaces.bytes() + self.anti_affinity_namespaces.bytes()
    }

    pub(super) fn pod(&self) -> &Pod {
        &self.pod
    }

    fn has_required_terms(&self) -> bool {
        !self.affinity().is_empty() || !self.anti_affinity().is_empty()
    }

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
    /// The counts for the snapshot, computed when first needed; shared by the clones of the state.
    counted: Arc<OnceLock<Counted>>,
    /// The same, including what was tried out, if anything was.
    changed: Option<Counted>,
}

/// Counts of the pods that required terms are about.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// There are no terms that matter: this stays so for the cycle, whatever is nominated or evicted.
    nothing: bool,
    /// Pods that match all affinity terms of the incoming pod.
    pub(super) affinity: Counts,
    /// Pods that match an anti-affinity term of the incoming pod.
    pub(super) anti_affinity: Counts,
    /// Pods with an anti-affinity term that matches the incoming pod.
    pub(super) existing_anti_affinity: Counts,
}

impl FilterState {
    /// The counts in this state. The snapshot does not change during a cycle, so it does not matter when they are first needed.
    pub(super) fn counted(&self, snapshot: &Snapshot) -> &Counted {
        let as_it_stands = || self.counted.get_or_init(|| Counted::new(snapshot, &self.incoming));
        self.changed.as_ref().unwrap_or_else(as_it_stands)
    }

    /// Another pod was added to the node, or removed from it.
    fn update(&mut self, snapshot: &Snapshot, other: &Pod, node: &NodeInfo, delta: i64) {
        let mut counted = self.counted(snapshot).clone();
        if !counted.nothing {
            counted.update(&self.incoming, other, node, delta);
        }
        self.changed = Some(counted);
    }
}

impl Counted {
    fn new(snapshot: &Snapshot, incoming: &Incoming) -> Self {
        let existing = existing_anti_affinity(snapshot, &incoming.pod, &incoming.namespace_labels);
        let nothing = existing.is_empty() && !incoming.has_required_terms();
        let (wanted, unwanted) = wanted_and_unwanted(snapshot, incoming);
        Self {
            nothing,
            affinity: Counts::new(wanted),
            anti_affinity: Counts::new(unwanted),
            existing_anti_affinity: Counts::new(existing),
        }
    }

    fn update(&mut self, incoming: &Incoming, other: &Pod, node: &NodeInfo, delta: i64) {
        let node = node.node();
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

    /// Whether the node has all the labels that the affinity terms name, and for each a pod that matches; or whether no pod matches
    /// anywhere and the incoming pod matches itself.
    pub(super) fn meets_affinity(&self, incoming: &Incoming, labels: &Labels) -> bool {
        let mut near = true;
        for term in incoming.affinity() {
            let Some(value) = labels.get(&term.topology_key) else { return false };
            near &= self.affinity.get(&term.topology_key, value) > 0;
        }
        near || (self.affinity.is_empty() && incoming.wants_its_own_kind)
    }

    fn meets_anti_affinity(&self, incoming: &Incoming, labels: &Labels) -> bool {
        self.anti_affinity.is_empty()
            || !incoming.anti_affinity().iter().any(|term| {
                let value = labels.get(&term.topology_key);
                value.is_some_and(|value| self.anti_affinity.get(&term.topology_key, value) > 0)
            })
    }
}

/// The required anti-affinity terms of a pod that match another.
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

/// Counts the pods with an anti-affinity term that matches the incoming pod.
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

/// Counts the pods that match the incoming pod's affinity terms and anti-affinity terms.
fn wanted_and_unwanted(snapshot: &Snapshot, incoming: &Incoming) -> (Pairs, Pairs) {
    let (wanted, unwanted) = (incoming.affinity(), incoming.anti_affinity());
    let (mut affinity, mut anti_affinity) = (Pairs::default(), Pairs::default());
    let keys: SmallVec<[_; 4]> = wanted.iter().chain(unwanted).map(|term| &term.topology_key).collect();
    if keys.is_empty() {
        return (affinity, anti_affinity);
    }
    for info in snapshot.nodes() {
        let node: &Node = info.node();
        if !keys.iter().any(|key| node.labels.get(key).is_some()) {
            continue;
        }
        // The pods of a node share its pairs: count them here, and add to each pair once.
        let count = incoming.affinity_namespaces.count_all(wanted, info);
        if count > 0 {
            wanted.iter().for_each(|term| affinity.add(&term.topology_key, node, count));
        }
        for (at, term) in unwanted.iter().enumerate() {
            let count = incoming.anti_affinity_namespaces.count(at, term, info);
            if count > 0 {
                anti_affinity.add(&term.topology_key, node, count);
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
        let incoming = Incoming::new(pod, cx.snapshot.objects());
        let required = |list| list == TermList::RequiredAntiAffinity;
        if !incoming.has_required_terms()
            && existing(cx.snapshot, pod, &incoming.namespace_labels, required).is_empty()
        {
            return Status::skip().into();
        }
        let incoming = Arc::new(incoming);
        let state_now = FilterState { incoming, counted: Arc::default(), changed: None };
        if !state.counts_later() && state_now.counted(cx.snapshot).nothing {
            // The pods that do not want it are on nodes without the labels.
            return Status::skip().into();
        }
        state.write(state_now);
        Status::SUCCESS.into()
    }

    fn add_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let Some(state) = state.get_mut::<FilterState>() else { return missing() };
        state.update(cx.snapshot, added, node, 1);
        Status::SUCCESS
    }

    fn remove_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let Some(state) = state.get_mut::<FilterState>() else { return missing() };
        state.update(cx.snapshot, removed, node, -1);
        Status::SUCCESS
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(state) = state.read::<FilterState>() else { return missing() };
        let (incoming, counted, labels) = (&*state.incoming, state.counted(cx.snapshot), &node.node().labels);
        rejection(
            counted.meets_affinity(incoming, labels),
            || counted.meets_anti_affinity(incoming, labels),
            || counted.existing_anti_affinity.any(labels),
        )
    }

    fn by_group(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        self.required(cx, pod)
    }
}

/// The verdict, checked in upstream's order: the first reason counts.
pub(super) fn rejection(
    meets_affinity: bool,
    meets_anti_affinity: impl FnOnce() -> bool,
    is_unwanted: impl FnOnce() -> bool,
) -> Status {
    if !meets_affinity {
        Status::unresolvable(AFFINITY)
    } else if !meets_anti_affinity() {
        Status::unschedulable(ANTI_AFFINITY)
    } else if is_unwanted() {
        Status::unschedulable(EXISTING_ANTI_AFFINITY)
    } else {
        Status::SUCCESS
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
