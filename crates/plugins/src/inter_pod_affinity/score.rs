//! PreScore and Score: preferred terms in both directions, and required affinity terms of the pods on the nodes.

use super::counts::Pairs;
use super::terms::ExpandedNamespaces;
use super::{InterPodAffinity, affinity, namespace_labels, parse_error};
use secondmate_framework::{Context, CycleState, GroupScore, MAX_NODE_SCORE, PreScore, Score, Status};
use secondmate_model::{Atom, Labels, NodeInfo, Pod, PodAffinityTerm};
use std::hash::Hash;
use std::sync::Arc;

/// The score of each pair of label and value; shared by the clones of the cycle's state, since scoring does not try out anything.
#[derive(Clone, Debug)]
struct ScoreState(Arc<Pairs>);

/// The incoming pod's preferred terms, from both lists.
#[derive(Debug)]
pub(super) struct Preferences {
    pod: Arc<Pod>,
    namespaces: ExpandedNamespaces,
}

/// Preferred terms with their weights, which are negative for anti-affinity.
fn weighted(pod: &Pod) -> impl Iterator<Item = (i64, &PodAffinityTerm)> {
    let lists = affinity(pod).map(|a| [(1, &a.preferred_affinity), (-1, &a.preferred_anti_affinity)]);
    lists
        .into_iter()
        .flatten()
        .flat_map(|(sign, list)| list.iter().map(move |w| (i64::from(w.weight.wrapping_mul(sign)), &w.term)))
}

impl Preferences {
    pub(super) fn of(pod: &Arc<Pod>, cx: &Context<'_>) -> Self {
        let terms = weighted(pod).map(|(_, term)| term);
        Self { namespaces: ExpandedNamespaces::of(terms, cx.snapshot.objects()), pod: Arc::clone(pod) }
    }

    pub(super) fn terms(&self) -> impl Iterator<Item = &PodAffinityTerm> {
        weighted(&self.pod).map(|(_, term)| term)
    }

    fn is_empty(&self) -> bool {
        self.terms().next().is_none()
    }

    /// Memory used by the namespaces of its terms, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.namespaces.bytes()
    }

    /// What the terms match, and with which weights.
    pub(super) fn key(&self) -> impl Hash + PartialEq + '_ {
        let lists = affinity(&self.pod).map(|a| (&a.preferred_affinity, &a.preferred_anti_affinity));
        // A pod whose lists are empty is like one without affinity.
        (lists.filter(|_| !self.is_empty()), &self.namespaces)
    }

    /// Adds the scores of the pods on the node, by key.
    pub(super) fn add(&self, info: &NodeInfo, add: &mut impl FnMut(&Atom, i64)) {
        // Called for each node, and most pods have no affinity.
        if self.pod.affinity.is_none() {
            return;
        }
        for (at, (weight, term)) in weighted(&self.pod).enumerate() {
            self.add_term(at, weight, term, info, add);
        }
    }

    /// Adds the scores of the pods on the node by the term at this position.
    fn add_term(
        &self,
        at: usize,
        weight: i64,
        term: &PodAffinityTerm,
        info: &NodeInfo,
        add: &mut impl FnMut(&Atom, i64),
    ) {
        if info.node().labels.get(&term.topology_key).is_none() {
            return;
        }
        let matching = self.namespaces.count(at, term, info);
        if matching > 0 {
            add(&term.topology_key, weight * matching);
        }
    }
}

/// Adds the scores of those terms of the pods on the node that match the incoming pod, by key.
pub(super) fn add_existing(
    hard_pod_affinity_weight: i32,
    info: &NodeInfo,
    pod: &Pod,
    namespace_labels: &Labels,
    add: &mut impl FnMut(&Atom, i64),
) {
    if info.node().labels.is_empty() {
        return;
    }
    let mut add = |weight: i64, term: &PodAffinityTerm| {
        if term.matches(pod, namespace_labels) {
            add(&term.topology_key, weight);
        }
    };
    let required_weight = i64::from(hard_pod_affinity_weight);
    for existing in info.pods_with_affinity() {
        let Some(affinity) = affinity(existing) else { continue };
        if required_weight > 0 {
            affinity.required_affinity.iter().for_each(|term| add(required_weight, term));
        }
        affinity.preferred_affinity.iter().for_each(|w| add(i64::from(w.weight), &w.term));
        affinity
            .preferred_anti_affinity
            .iter()
            .for_each(|w| add(i64::from(w.weight.wrapping_neg()), &w.term));
    }
}

/// Normalises raw scores: the smallest becomes 0 and the largest 100.
pub(super) fn normalized(scores: &mut [i64]) {
    let (Some(least), Some(most)) = (scores.iter().min().copied(), scores.iter().max().copied()) else {
        return;
    };
    let range = most - least;
    for score in scores {
        // First the quotient, then the product, then truncation: 29 of 100 becomes 28.
        *score = if range > 0 {
            (MAX_NODE_SCORE as f64 * ((*score - least) as f64 / range as f64)) as i64
        } else {
            0
        };
    }
}

fn missing() -> Status {
    Status::error("failed to read \"PreScoreInterPodAffinity\" from cycleState: not found")
}

impl InterPodAffinity {
    /// Whether PreScore has nothing to score by, whichever nodes are feasible.
    pub(super) fn scores_nothing(&self, cx: &Context<'_>, pod: &Pod) -> bool {
        if parse_error(pod).is_some() || weighted(pod).next().is_some() {
            return false;
        }
        self.args.ignore_preferred_terms_of_existing_pods || {
            let namespace_labels = namespace_labels(pod, cx.snapshot.objects());
            self.scoring_terms(cx.snapshot, pod, &namespace_labels).is_empty()
        }
    }
}

impl PreScore for InterPodAffinity {
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
    ) -> Status {
        // Such a pod gets here only if PreFilter is disabled.
        if let Some(error) = parse_error(pod) {
            return Status::error(format!("failed to parse pod: {error}"));
        }
        if self.scores_nothing(cx, pod) {
            return Status::skip();
        }
        let preferences = Preferences::of(pod, cx);
        let namespace_labels = namespace_labels(pod, cx.snapshot.objects());
        let mut scores = Pairs::default();
        for (at, (weight, term)) in weighted(pod).enumerate() {
            for info in cx.snapshot.nodes() {
                let mut add = |key: &Atom, score| scores.add(key, info.node(), score);
                preferences.add_term(at, weight, term, info, &mut add);
            }
        }
        if !self.scoring_terms(cx.snapshot, pod, &namespace_labels).is_empty() {
            let weight = self.args.hard_pod_affinity_weight;
            for info in cx.snapshot.nodes_with_affinity() {
                let mut add = |key: &Atom, score| scores.add(key, info.node(), score);
                add_existing(weight, info, pod, &namespace_labels, &mut add);
            }
        }
        if scores.is_empty() {
            return Status::skip();
        }
        state.write(ScoreState(Arc::new(scores)));
        Status::SUCCESS
    }
}

impl Score for InterPodAffinity {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        state.read::<ScoreState>().map(|scores| scores.0.sum(&node.node().labels)).ok_or_else(missing)
    }

    fn by_group(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        self.preferred(cx, pod)
    }

    fn normalize(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        if state.read::<ScoreState>().is_none() {
            return missing();
        }
        normalized(scores);
        Status::SUCCESS
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
