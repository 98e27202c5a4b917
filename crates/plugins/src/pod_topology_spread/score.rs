//! PreScore and Score: soft constraints.

use super::PodTopologySpread;
use super::constraints::{Constraint, Constraints, Inclusion, count};
use super::logarithm::ln;
use rustc_hash::FxHashMap;
use secondmate_framework::{Context, CycleState, GroupScore, MAX_NODE_SCORE, PreScore, Score, Status};
use secondmate_model::{Atom, Labels, NodeInfo, Pod, WhenUnsatisfiable};
use smallvec::SmallVec;
use std::sync::Arc;

/// Upstream's mark for a node without the constraints' labels; a score that happens to have this value (a skew below 1, which no API server
/// stores) counts as the mark.
const NOT_SCORED: i64 = -1;

/// What a cycle knows about a pod's soft constraints; shared by the clones of the cycle's state, since scoring does not try out anything.
#[derive(Clone, Debug)]
struct ScoreState(Arc<Weighed>);

#[derive(Debug)]
struct Weighed {
    constraints: Constraints,
    /// Nodes without one of the labels score nothing; otherwise the labels that they have count.
    requires_all_keys: bool,
    /// Pods by label value, for the values of feasible nodes; empty for the host name.
    domains: SmallVec<[FxHashMap<Atom, i64>; 2]>,
    /// Compensates for the number of domains: with many domains, each holds few pods.
    weights: SmallVec<[f64; 2]>,
}

impl Weighed {
    fn new(
        constraints: Constraints,
        requires_all_keys: bool,
        pod: &Pod,
        nodes: &[Arc<NodeInfo>],
        feasible: &[Arc<NodeInfo>],
    ) -> Self {
        let mut domains: SmallVec<[FxHashMap<Atom, i64>; 2]> =
            constraints.list.iter().map(|_| FxHashMap::default()).collect();
        // The value under which a node without the label counts, if such nodes take part.
        let no_value = Atom::default();
        let mut taking_part = 0_usize;
        for info in feasible {
            let labels = &info.node().labels;
            if requires_all_keys && !constraints.keys_on(labels) {
                continue;
            }
            taking_part += 1;
            for (constraint, domains) in constraints.list.iter().zip(&mut domains) {
                if constraint.is_hostname {
                    continue;
                }
                let value = labels.get(&constraint.key).unwrap_or(&no_value);
                if !domains.contains_key(value) {
                    domains.insert(value.clone(), 0);
                }
            }
        }
        let weights = constraints
            .list
            .iter()
            .zip(&domains)
            .map(|(constraint, domains)| {
                weight(if constraint.is_hostname { taking_part } else { domains.len() })
            })
            .collect();
        let mut weighed = Self { constraints, requires_all_keys, domains, weights };
        if weighed.constraints.list.iter().any(|constraint| !constraint.is_hostname) {
            weighed.count(pod, nodes, &no_value);
        }
        weighed
    }

    /// Counts the pods of all nodes into the domains of the feasible nodes.
    fn count(&mut self, pod: &Pod, nodes: &[Arc<NodeInfo>], no_value: &Atom) {
        let mut counts = SmallVec::new();
        for info in nodes {
            let node = info.node();
            if self.ignores(&node.labels) {
                continue;
            }
            let mut inclusion = Inclusion::new(pod, node);
            counts.clear();
            for (constraint, domains) in self.constraints.list.iter().zip(&mut self.domains) {
                if constraint.is_hostname {
                    continue;
                }
                let value = node.labels.get(&constraint.key).unwrap_or(no_value);
                if let Some(total) = domains.get_mut(value)
                    && inclusion.admits(constraint)
                {
                    *total += self.constraints.count(constraint, info, &pod.namespace, &mut counts);
                }
            }
        }
    }

    /// Whether a node with these labels is left out.
    fn ignores(&self, labels: &Labels) -> bool {
        self.requires_all_keys && !self.constraints.keys_on(labels)
    }

    fn score(&self, pod: &Pod, info: &NodeInfo) -> i64 {
        let labels = &info.node().labels;
        if self.ignores(labels) {
            return 0;
        }
        score_of(&self.constraints, &self.weights, |at, constraint| {
            let value = labels.get(&constraint.key)?;
            Some(if constraint.is_hostname {
                count(info, self.constraints.selector(constraint), &pod.namespace)
            } else {
                self.domains[at].get(value).copied().unwrap_or(0)
            })
        })
    }
}

/// The weight of a constraint with this many domains.
pub(super) fn weight(domains: usize) -> f64 {
    ln(u32::try_from(domains).unwrap_or(u32::MAX - 2).saturating_add(2))
}

/// The raw score of a node with these numbers of pods for each constraint; `None` if the node lacks the label.
pub(super) fn score_of(
    constraints: &Constraints,
    weights: &[f64],
    pods: impl Fn(usize, &Constraint) -> Option<i64>,
) -> i64 {
    let mut score = 0.0_f64;
    for (at, (constraint, weight)) in constraints.list.iter().zip(weights).enumerate() {
        if let Some(pods) = pods(at, constraint) {
            // Counts are far below 2^53.
            score += pods as f64 * weight + f64::from(constraint.max_skew.wrapping_sub(1));
        }
    }
    // Half rounds away from zero, as upstream.
    score.round() as i64
}

/// Normalises raw scores: the smallest becomes the best.
pub(super) struct Normalizer {
    least: i64,
    most: i64,
}

impl Normalizer {
    /// For the raw scores of the feasible nodes that take part.
    pub(super) fn over(scores: impl Iterator<Item = i64>) -> Self {
        scores.fold(Self { least: i64::MAX, most: 0 }, |Self { least, most }, score| Self {
            least: least.min(score),
            most: most.max(score),
        })
    }

    /// The normalised score of a node that takes part.
    pub(super) fn of(&self, score: i64) -> i64 {
        if score == NOT_SCORED {
            0
        } else if self.most == 0 {
            MAX_NODE_SCORE
        } else {
            MAX_NODE_SCORE * (self.most + self.least - score) / self.most
        }
    }
}

fn missing() -> Status {
    Status::error("error reading \"PreScorePodTopologySpread\" from cycleState: not found")
}

impl PodTopologySpread {
    /// Whether nodes without one of the labels score nothing.
    pub(super) fn requires_all_keys(&self, pod: &Pod) -> bool {
        !pod.spread_constraints.is_empty() || !self.system_defaults
    }

    /// Whether PreScore has nothing to score by, whichever nodes are feasible.
    pub(super) fn scores_nothing(&self, cx: &Context<'_>, pod: &Pod) -> bool {
        let soft = self.constraints(pod, cx.snapshot.objects(), WhenUnsatisfiable::ScheduleAnyway);
        soft.is_ok_and(|constraints| constraints.is_empty())
    }
}

impl PreScore for PodTopologySpread {
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Status {
        let nodes = cx.snapshot.nodes();
        if nodes.is_empty() {
            return Status::skip();
        }
        let soft = self.constraints(pod, cx.snapshot.objects(), WhenUnsatisfiable::ScheduleAnyway);
        let constraints = match soft {
            Ok(constraints) if constraints.is_empty() => return Status::skip(),
            Ok(constraints) => constraints,
            Err(error) => {
                return Status::error(format!(
                    "calculating preScoreState: obtaining pod's soft topology spread constraints: {error}"
                ));
            }
        };
        let requires_all_keys = self.requires_all_keys(pod);
        let weighed = Weighed::new(constraints, requires_all_keys, pod, nodes, feasible);
        state.write(ScoreState(Arc::new(weighed)));
        Status::SUCCESS
    }
}

impl Score for PodTopologySpread {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        state.read::<ScoreState>().map(|weighed| weighed.0.score(pod, node)).ok_or_else(missing)
    }

    fn by_group(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        self.soft_spread(cx, pod)
    }

    fn normalize(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        let Some(ScoreState(weighed)) = state.read() else { return missing() };
        let ignored = |info: &NodeInfo| weighed.ignores(&info.node().labels);
        let taking_part = feasible.iter().zip(&*scores).filter(|(info, _)| !ignored(info));
        let normalizer = Normalizer::over(taking_part.map(|(_, score)| *score));
        for (info, score) in feasible.iter().zip(scores) {
            *score = if ignored(info) { 0 } else { normalizer.of(*score) };
        }
        Status::SUCCESS
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
