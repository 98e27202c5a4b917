//! PreScore and Score: preferred terms in both directions, and required affinity terms of the pods on the nodes.

use super::counts::Pairs;
use super::terms::ExpandedNamespaces;
use super::{InterPodAffinity, affinity, namespace_labels, parse_error};
use secondmate_framework::{Context, CycleState, MAX_NODE_SCORE, PreScore, Score, Status};
use secondmate_model::{Labels, Node, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a pair of label and value scores; shared by the clones of the cycle's state, since scoring tries nothing out.
#[derive(Clone, Debug)]
struct ScoreState(Arc<Pairs>);

/// The incoming pod's preferred terms, in both lists, with their weights: negative for anti-affinity.
struct Preferences<'a> {
    terms: SmallVec<[(i64, &'a PodAffinityTerm); 4]>,
    namespaces: ExpandedNamespaces,
}

impl Preferences<'_> {
    /// Adds what the pods on the node score.
    fn add(&self, info: &NodeInfo, scores: &mut Pairs) {
        let node: &Node = info.node();
        for (at, (weight, term)) in self.terms.iter().enumerate() {
            if node.labels.get(&term.topology_key).is_none() {
                continue;
            }
            let matching = info.pods().iter().filter(|pod| self.namespaces.matches(at, term, pod)).count();
            if matching > 0 {
                // A node holds at most some hundred pods.
                scores.add(&term.topology_key, node, *weight * matching as i64);
            }
        }
    }
}

impl InterPodAffinity {
    fn preferences<'a>(pod: &'a Pod, cx: &Context<'_>) -> Preferences<'a> {
        let lists = affinity(pod).map(|a| [(1, &a.preferred_affinity), (-1, &a.preferred_anti_affinity)]);
        let terms: SmallVec<[(i64, &PodAffinityTerm); 4]> = lists
            .into_iter()
            .flatten()
            .flat_map(|(sign, list)| {
                list.iter().map(move |w| (i64::from(w.weight.wrapping_mul(sign)), &w.term))
            })
            .collect();
        let namespaces = ExpandedNamespaces::of(terms.iter().map(|(_, term)| *term), cx.snapshot.objects());
        Preferences { terms, namespaces }
    }

    /// Adds what the terms of the pods on the node score that mean the incoming pod.
    fn add_existing(&self, info: &NodeInfo, pod: &Pod, namespace_labels: &Labels, scores: &mut Pairs) {
        let node = info.node();
        if node.labels.is_empty() {
            return;
        }
        let mut add = |weight: i64, term: &PodAffinityTerm| {
            if term.matches(pod, namespace_labels) {
                scores.add(&term.topology_key, node, weight);
            }
        };
        let required_weight = i64::from(self.args.hard_pod_affinity_weight);
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
}

fn missing() -> Status {
    Status::error("failed to read \"PreScoreInterPodAffinity\" from cycleState: not found")
}

impl InterPodAffinity {
    /// Whether PreScore has nothing to score by, whichever nodes are feasible.
    pub(super) fn scores_nothing(&self, cx: &Context<'_>, pod: &Pod) -> bool {
        if parse_error(pod).is_some() || !Self::preferences(pod, cx).terms.is_empty() {
            return false;
        }
        if self.args.ignore_preferred_terms_of_existing_pods {
            return true;
        }
        let namespace_labels = namespace_labels(pod, cx.snapshot.objects());
        let mut scores = Pairs::default();
        cx.snapshot.nodes_with_affinity().all(|info| {
            self.add_existing(info, pod, &namespace_labels, &mut scores);
            scores.is_empty()
        })
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
        // Only where PreFilter is turned off does such a pod come here.
        if let Some(error) = parse_error(pod) {
            return Status::error(format!("failed to parse pod: {error}"));
        }
        let preferences = Self::preferences(pod, cx);
        if self.args.ignore_preferred_terms_of_existing_pods && preferences.terms.is_empty() {
            return Status::skip();
        }
        let namespace_labels = namespace_labels(pod, cx.snapshot.objects());
        let mut scores = Pairs::default();
        if !preferences.terms.is_empty() {
            cx.snapshot.nodes().iter().for_each(|info| preferences.add(info, &mut scores));
        }
        for info in cx.snapshot.nodes_with_affinity() {
            self.add_existing(info, pod, &namespace_labels, &mut scores);
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
        let (Some(least), Some(most)) = (scores.iter().min().copied(), scores.iter().max().copied()) else {
            return Status::SUCCESS;
        };
        let range = most - least;
        for score in scores {
            // First the quotient, then the product, then the whole part: 29 of 100 comes to 28.
            *score = if range > 0 {
                (MAX_NODE_SCORE as f64 * ((*score - least) as f64 / range as f64)) as i64
            } else {
                0
            };
        }
        Status::SUCCESS
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
