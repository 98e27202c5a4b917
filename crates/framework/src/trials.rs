//! What trying out preemptions on nodes came to, kept from one pod to the next.

use crate::snapshot::NodeIndex;
use crate::status::Status;
use rustc_hash::FxHashMap;
use secondmate_model::Timestamp;

/// What came of trying out whom a pod would displace on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Evictions make room.
    Candidate(TrialMarks),
    /// They do not, or nobody may be evicted.
    Rejected(Status),
}

impl Trial {
    /// Memory that it takes beside itself, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Candidate(_) => 0,
            Self::Rejected(status) => status.bytes(),
        }
    }
}

/// What tells a node on which evictions make room from another one: all but who the victims are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialMarks {
    /// How many of the victims a PodDisruptionBudget protects.
    pub budget_violations: i64,
    /// Priority of the most important victim.
    pub first_priority: i32,
    /// Sum over the victims of how far their priority is above the lowest one.
    pub priority_sum: i64,
    /// Number of victims.
    pub victims: usize,
    /// When the first of those with the highest priority was started. `None`: none of them was, so it counts as started now.
    pub start: Option<Timestamp>,
}

/// What trials depend on beside the nodes and the class of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialTerms {
    /// Priority of the pod.
    pub priority: i32,
    /// State of the PodDisruptionBudgets: see [`Objects::epoch`](secondmate_model::objects::Objects::epoch).
    pub budgets: u64,
}

/// Trials of pods that are alike, each on a node as it stands. The evaluation keeps them with what it knows of these pods, and forgets those on
/// nodes that changed; see [`RunFilters::kept_trials`](crate::RunFilters::kept_trials).
#[derive(Debug, Default)]
pub struct KeptTrials {
    terms: Option<TrialTerms>,
    by_node: FxHashMap<u32, Trial>,
    /// Memory of the statuses among them, in bytes.
    statuses: usize,
    /// The latest start of a pod that had a part in one.
    latest_start: Option<Timestamp>,
    counts: TrialCounts,
}

/// What became of the questions for trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialCounts {
    /// Nodes that were tried out.
    pub made: u64,
    /// Nodes whose trial was known.
    pub known: u64,
}

impl KeptTrials {
    /// Memory that they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.by_node.capacity() * (size_of::<(u32, Trial)>() + 1) + self.statuses
    }

    /// From here on trials are asked for and kept under these terms; those under others are forgotten. So are all where it is not later than
    /// every start that had a part in them: a pod that has not been started counts as started now, and that must be the last one.
    pub fn begin(&mut self, terms: TrialTerms, now: Timestamp) {
        if self.terms != Some(terms) || self.latest_start.is_some_and(|start| now <= start) {
            self.by_node.clear();
            self.statuses = 0;
            self.latest_start = None;
            self.terms = Some(terms);
        }
    }

    /// The trial on a node.
    pub fn find(&mut self, node: NodeIndex) -> Option<&Trial> {
        let known = self.by_node.get(&node.0);
        match known {
            Some(_) => self.counts.known += 1,
            None => self.counts.made += 1,
        }
        known
    }

    /// The same, not counted.
    #[must_use]
    pub fn get(&self, node: NodeIndex) -> Option<&Trial> {
        self.by_node.get(&node.0)
    }

    /// What became of the questions since this was asked last.
    pub fn take_counts(&mut self) -> TrialCounts {
        std::mem::take(&mut self.counts)
    }

    /// Keeps the trial on a node; `starts` are those of the pods that had a part in it. It is not kept where one of them lies in the future.
    pub fn keep(
        &mut self,
        node: NodeIndex,
        trial: Trial,
        starts: impl Iterator<Item = Timestamp>,
        now: Timestamp,
    ) {
        let latest = starts.max().max(self.latest_start);
        if latest.is_none_or(|start| start < now) {
            self.latest_start = latest;
            self.statuses += trial.bytes();
            let old = self.by_node.insert(node.0, trial);
            self.statuses -= old.as_ref().map_or(0, Trial::bytes);
        }
    }

    /// The node has changed.
    pub fn forget(&mut self, node: NodeIndex) {
        if !self.by_node.is_empty() {
            let old = self.by_node.remove(&node.0);
            self.statuses -= old.as_ref().map_or(0, Trial::bytes);
        }
    }

    /// Everything has.
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeIndex = NodeIndex(7);

    fn rejected() -> Trial {
        Trial::Rejected(Status::unschedulable("no room"))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn trials_are_kept_under_their_terms_and_until_the_node_changes() {
        let terms = TrialTerms { priority: 1, budgets: 1 };
        let mut kept = KeptTrials::default();
        kept.begin(terms, at(10));
        kept.keep(NODE, rejected(), [at(9)].into_iter(), at(10));
        kept.begin(terms, at(10));
        assert_eq!(kept.get(NODE), Some(&rejected()));
        kept.forget(NodeIndex(8));
        assert!(kept.get(NODE).is_some());
        for other in [TrialTerms { priority: 2, ..terms }, TrialTerms { budgets: 2, ..terms }] {
            kept.begin(other, at(10));
            assert_eq!(kept.get(NODE), None, "{other:?}");
            kept.begin(terms, at(10));
            kept.keep(NODE, rejected(), std::iter::empty(), at(10));
        }
        kept.forget(NODE);
        assert_eq!(kept.get(NODE), None);
    }

    #[test]
    fn what_a_rejection_says_counts_as_long_as_it_is_kept() {
        let (mut kept, terms) = (KeptTrials::default(), TrialTerms { priority: 1, budgets: 1 });
        let long = || Trial::Rejected(Status::unschedulable("x".repeat(10_000)));
        kept.begin(terms, at(10));
        kept.keep(NODE, rejected(), std::iter::empty(), at(10));
        let least = kept.bytes();
        kept.keep(NODE, long(), std::iter::empty(), at(10));
        assert_eq!(kept.bytes(), least + 10_000);
        kept.keep(NODE, rejected(), std::iter::empty(), at(10));
        assert_eq!(kept.bytes(), least);
        kept.keep(NODE, long(), std::iter::empty(), at(10));
        kept.forget(NODE);
        assert!(kept.bytes() < least);
        kept.keep(NODE, long(), std::iter::empty(), at(10));
        kept.begin(TrialTerms { priority: 2, ..terms }, at(10));
        assert!(kept.bytes() < least);
    }

    #[test]
    fn a_start_that_is_not_past_keeps_nothing() {
        let terms = TrialTerms { priority: 1, budgets: 1 };
        let mut kept = KeptTrials::default();
        kept.begin(terms, at(10));
        kept.keep(NODE, rejected(), [at(3), at(10)].into_iter(), at(10));
        assert_eq!(kept.get(NODE), None);
        kept.keep(NODE, rejected(), [at(3), at(9)].into_iter(), at(10));
        kept.begin(terms, at(9));
        assert_eq!(kept.get(NODE), None, "the clock went back behind a start");
    }
}
