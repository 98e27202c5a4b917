//! Tries out nodes: which pods would the pod displace there?

use super::DefaultPreemption;
use super::budgets::Budgets;
use super::choice;
use super::importance::{Importance, Victim};
use secondmate_framework::{
    Code, Context, CycleState, KeptTrials, KeptVerdicts, NodeIndex, NodeStatuses, PreemptionCandidate,
    RunFilters, Status, Trial, TrialMarks, TrialTerms,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{NodeInfo, Pod};
use std::ops::DerefMut;
use std::sync::Arc;

const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// The result of trying out the nodes.
#[derive(Debug)]
pub(super) struct Found {
    /// Nodes on which evictions make room; first those whose evictions no budget forbids.
    pub(super) candidates: Vec<Candidate>,
    /// Why the other nodes that were tried out do not qualify.
    pub(super) statuses: NodeStatuses,
    /// Errors that occurred.
    pub(super) errors: Vec<String>,
}

/// A node on which evictions make room.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) at: NodeIndex,
    pub(super) marks: TrialMarks,
    /// With the victims, if it was tried out for this pod and not for a similar one.
    pub(super) tried: Option<PreemptionCandidate>,
}

impl Default for Found {
    fn default() -> Self {
        let absent = Status::with_reasons(Code::UnschedulableAndUnresolvable, []);
        Self { candidates: Vec::new(), statuses: NodeStatuses::new(absent), errors: Vec::new() }
    }
}

/// The search for one pod.
pub(super) struct DryRun<'a> {
    plugin: &'a DefaultPreemption,
    cx: &'a Context<'a>,
    filters: &'a dyn RunFilters,
    pod: &'a Arc<Pod>,
    budgets: Budgets<'a>,
    importance: Importance,
    no_victims: Status,
}

impl<'a> DryRun<'a> {
    pub(super) fn new(
        plugin: &'a DefaultPreemption,
        cx: &'a Context<'a>,
        filters: &'a dyn RunFilters,
        pod: &'a Arc<Pod>,
        importance: Importance,
    ) -> Self {
        let budgets = Budgets::of(cx.snapshot.objects());
        Self { plugin, cx, filters, pod, budgets, importance, no_victims: no_victims() }
    }

    /// Tries out nodes from `start` on, wrapping around, until as many candidates as wanted have been found, at least one of them without a
    /// violated budget. There is at least one node.
    pub(super) fn find(
        &self,
        state: &CycleState,
        nodes: &[NodeIndex],
        start: usize,
        wanted: usize,
        kept: &mut Option<impl DerefMut<Target = KeptTrials>>,
    ) -> Found {
        if let Some(kept) = kept {
            kept.begin(self.terms(), self.cx.now);
        }
        let mut found = Found::default();
        let mut violating = Vec::new();
        // Usually a candidate is found, and then the reasons of these nodes are not needed.
        let mut known_not_to_do = Vec::new();
        for step in 0..nodes.len() {
            let at = nodes[(start + step) % nodes.len()];
            match self.trial(state, at, kept.as_deref_mut()) {
                Ok(candidate) => {
                    let list = if candidate.marks.budget_violations == 0 {
                        &mut found.candidates
                    } else {
                        &mut violating
                    };
                    if list.len() < wanted {
                        list.push(candidate);
                    }
                    if !found.candidates.is_empty() && found.candidates.len() + violating.len() >= wanted {
                        break;
                    }
                }
                Err(None) => known_not_to_do.push(at),
                Err(Some(status)) => {
                    if status.code() == Code::Error {
                        found.errors.push(status.message());
                    }
                    found.statuses.set(at, status);
                }
            }
        }
        found.candidates.append(&mut violating);
        if found.candidates.is_empty() {
            for at in known_not_to_do {
                if let Some(Trial::Rejected(status)) = kept.as_ref().and_then(|kept| kept.get(at)) {
                    found.statuses.set(at, status.clone());
                }
            }
        }
        found
    }

    /// What trials depend on, besides the nodes and what similar pods have in common.
    fn terms(&self) -> TrialTerms {
        let budgets = self.cx.snapshot.objects().epoch(ObjectKind::DisruptionBudget);
        TrialTerms { priority: self.pod.priority, budgets }
    }

    /// The result of trying out the node, or the result known from a similar pod. If the node does not qualify, the reason is returned only
    /// if it is not known yet.
    fn trial(
        &self,
        state: &CycleState,
        at: NodeIndex,
        mut kept: Option<&mut KeptTrials>,
    ) -> Result<Candidate, Option<Status>> {
        match kept.as_mut().and_then(|kept| kept.find(at)) {
            Some(Trial::Candidate(marks)) => return Ok(Candidate { at, marks: *marks, tried: None }),
            Some(Trial::Rejected(_)) => return Err(None),
            None => {}
        }
        let node = self.cx.snapshot.at(at);
        let candidate = self.victims_on(state, node).and_then(|candidate| {
            let marks = choice::marks(&candidate.victims, candidate.budget_violations, self.importance);
            let marks = marks.ok_or_else(|| no_victim_found(node))?;
            Ok(Candidate { at, marks, tried: Some(candidate) })
        });
        let trial = match &candidate {
            Ok(candidate) => Some(Trial::Candidate(candidate.marks)),
            // The next pod may have more luck.
            Err(status) if status.code() == Code::Error => None,
            Err(status) => Some(Trial::Rejected(status.clone())),
        };
        if let (Some(kept), Some(trial)) = (kept, trial) {
            let parts = node.pods().iter().filter(|other| self.plugin.may_be_evicted(other, self.pod));
            kept.keep(at, trial, parts.filter_map(|other| other.start_time), self.cx.now);
        }
        candidate.map_err(Some)
    }

    /// The candidate with its victims.
    ///
    /// # Errors
    /// There are none, contrary to what was known about the node.
    pub(super) fn with_victims(
        &self,
        state: &CycleState,
        candidate: Candidate,
    ) -> Result<PreemptionCandidate, Status> {
        let known = candidate.marks;
        let tried = match candidate.tried {
            Some(tried) => return Ok(tried),
            None => self.victims_on(state, self.cx.snapshot.at(candidate.at))?,
        };
        let marks = choice::marks(&tried.victims, tried.budget_violations, self.importance);
        debug_assert_eq!(marks, Some(known), "the node is as it was when it was tried out");
        Ok(tried)
    }

    /// A minimal set of pods that have to leave the node: the pod would not fit if any of them stayed, given the order in which they are
    /// put back.
    fn victims_on(&self, state: &CycleState, node: &NodeInfo) -> Result<PreemptionCandidate, Status> {
        if has_no_lower(node, self.pod) {
            return Err(self.no_victims.clone());
        }
        let on_node = node.pods().iter().enumerate();
        let mut potential: Vec<Victim> = on_node
            .filter(|(_, other)| self.plugin.may_be_evicted(other, self.pod))
            .map(|(place, other)| Victim { pod: Arc::clone(other), place })
            .collect();
        if potential.is_empty() {
            return Err(self.no_victims.clone());
        }
        let mut scratch = Scratch {
            cx: self.cx,
            filters: self.filters,
            pod: self.pod,
            state: state.clone(),
            node: node.clone(),
        };
        for victim in &potential {
            scratch.remove(&victim.pod)?;
        }
        let without_them = scratch.verdict();
        if !without_them.is_success() {
            return Err(without_them);
        }
        self.importance.sort(&mut potential);
        let (violating, others) = self.budgets.split(&potential);
        let mut victims = scratch.displaced(&violating)?;
        let budget_violations = victims.len();
        victims.extend(scratch.displaced(&others)?);
        if !violating.is_empty() && !others.is_empty() {
            self.importance.sort(&mut victims);
        }
        if victims.is_empty() {
            return Err(no_victim_found(node));
        }
        Ok(PreemptionCandidate {
            node: node.name().clone(),
            victims: victims.into_iter().map(|victim| victim.pod).collect(),
            // A node holds at most a few hundred pods.
            budget_violations: budget_violations as i64,
        })
    }
}

fn no_victim_found(node: &NodeInfo) -> Status {
    Status::error(format!("expected at least one victim pod on node {:?}", node.name().as_str()))
}

fn no_victims() -> Status {
    Status::unresolvable(NO_VICTIMS)
}

/// Whether no pod on the node has a lower priority than this pod.
fn has_no_lower(node: &NodeInfo, pod: &Pod) -> bool {
    node.lowest_priority().is_none_or(|lowest| lowest >= pod.priority)
}

/// The result of trying out these nodes if none of them has a pod of lower priority; otherwise `None`. Many pods waiting for room get this
/// result again and again, so it is found without looking at the nodes' pods.
pub(super) fn without_victims(cx: &Context<'_>, pod: &Pod, nodes: &[NodeIndex]) -> Option<Found> {
    if !nodes.iter().all(|at| has_no_lower(cx.snapshot.at(*at), pod)) {
        return None;
    }
    let verdicts = WithoutVictims {
        nodes: nodes.to_vec(),
        len: cx.snapshot.nodes().len(),
        no_victims: no_victims(),
        not_helpful: Status::unresolvable(super::NOT_HELPFUL),
    };
    let absent = verdicts.not_helpful.clone();
    Some(Found { statuses: NodeStatuses::kept(Arc::new(verdicts), absent), ..Found::default() })
}

/// There is no pod of lower priority on these nodes, and trying out the others would not help.
#[derive(Debug)]
struct WithoutVictims {
    /// In the snapshot's order.
    nodes: Vec<NodeIndex>,
    len: usize,
    no_victims: Status,
    not_helpful: Status,
}

impl KeptVerdicts for WithoutVictims {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, node: NodeIndex) -> &Status {
        if self.nodes.binary_search(&node).is_ok() { &self.no_victims } else { &self.not_helpful }
    }

    fn tally(&self) -> Vec<(&Status, usize)> {
        let tried = self.nodes.len();
        let all = [(&self.no_victims, tried), (&self.not_helpful, self.len - tried)];
        all.into_iter().filter(|(_, nodes)| *nodes > 0).collect()
    }
}

/// A copy of the node and of the cycle's state, for modification.
struct Scratch<'a> {
    cx: &'a Context<'a>,
    filters: &'a dyn RunFilters,
    pod: &'a Arc<Pod>,
    state: CycleState,
    node: NodeInfo,
}

impl Scratch<'_> {
    fn remove(&mut self, other: &Arc<Pod>) -> Result<(), Status> {
        self.node.remove_pod(&other.uid);
        failed(self.filters.remove_pod(self.cx, &mut self.state, self.pod, other, &self.node))
    }

    fn add(&mut self, other: &Arc<Pod>) -> Result<(), Status> {
        self.node.add_pod(Arc::clone(other));
        failed(self.filters.add_pod(self.cx, &mut self.state, self.pod, other, &self.node))
    }

    fn verdict(&self) -> Status {
        self.filters.run(self.cx, &self.state, self.pod, &self.node)
    }

    /// Puts the pods back one by one, as long as the pod still fits; returns those that had to stay away.
    fn displaced(&mut self, victims: &[Victim]) -> Result<Vec<Victim>, Status> {
        let mut displaced = Vec::new();
        for victim in victims {
            self.add(&victim.pod)?;
            if !self.verdict().is_success() {
                self.remove(&victim.pod)?;
                displaced.push(victim.clone());
            }
        }
        Ok(displaced)
    }
}

/// A hook that does not succeed is an error, whatever its status.
fn failed(status: Status) -> Result<(), Status> {
    if status.is_success() { Ok(()) } else { Err(status.recoded(Code::Error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_without_victims_are_told_by_node_and_in_sum() {
        for (tried, all) in [(vec![1, 3], 5), (vec![0, 1], 2)] {
            let nodes: Vec<NodeIndex> = tried.iter().copied().map(NodeIndex).collect();
            let not_helpful = Status::unresolvable(super::super::NOT_HELPFUL);
            let verdicts = WithoutVictims {
                nodes,
                len: all,
                no_victims: no_victims(),
                not_helpful: not_helpful.clone(),
            };
            let is_tried = |at: usize| tried.iter().any(|tried| *tried as usize == at);
            for at in 0..all {
                let expected = if is_tried(at) { no_victims() } else { not_helpful.clone() };
                let index = NodeIndex(u32::try_from(at).expect("a small number"));
                assert_eq!(*verdicts.get(index), expected, "{at}");
            }
            assert_eq!(verdicts.tally().iter().map(|(_, nodes)| nodes).sum::<usize>(), all);
            assert_eq!(verdicts.tally()[0], (&no_victims(), tried.len()));
        }
    }
}
