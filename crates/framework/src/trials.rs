//! The results of preemption dry runs on nodes, kept from one pod to the next.

use crate::snapshot::NodeIndex;
use crate::status::Status;
use rustc_hash::FxHashMap;
use secondmate_model::Timestamp;

/// The result of a dry run: whether evictions on a node would make room for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Evictions make room.
    Candidate(TrialMarks),
    /// They do not, or no pod there may be evicted.
    Rejected(Status),
}

impl Trial {
    /// Heap memory that it uses, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Candidate(_) => 0,
            Self::Rejected(status) => status.bytes(),
        }
    }
}

/// What is compared between nodes on which evictions make room: everything except who the victims are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialMarks {
    /// How many of the victims are protected by a PodDisruptionBudget.
    pub budget_violations: i64,
    /// Priority of the most important victim.
    pub first_priority: i32,
    /// Sum over the victims of the distance of their priority from the lowest possible one.
    pub priority_sum: i64,
    /// Number of victims.
    pub victims: usize,
    /// The earliest start among the victims with the highest priority. `None`: none of them has started, which counts as starting
    /// now.
    pub start: Option<Timestamp>,
}

/// What trials depend on besides the nodes and the class of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialTerms {
    /// Priority of the pod.
    pub priority: i32,
    /// State of the PodDisruptionBudgets: see [`Objects::epoch`](secondmate_model::objects::Objects::epoch).
    pub budgets: u64,
}

/// Trials for equivalent pods, each for a node in its current state. The evaluation keeps them with what it knows about these
/// pods, and drops those of nodes that changed; see [`RunFilters::kept_trials`](crate::RunFilters::kept_trials).
#[derive(Debug, Default)]
pub struct KeptTrials {
    terms: Option<TrialTerms>,
    by_node: FxHashMap<u32, Trial>,
    /// Memory used by the statuses among them, in bytes.
    statuses: usize,
    /// The latest start of a pod that was involved in one.
    latest_start: Option<Timestamp>,
    counts: TrialCounts,
}

/// Statistics of trial lookups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialCounts {
    /// Nodes that had to be tried out.
    pub made: u64,
    /// Nodes whose trial was known.
    pub known: u64,
}

impl KeptTrials {
    /// Memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.by_node.capacity() * (size_of::<(u32, Trial)>() + 1) + self.statuses
    }

    /// From here on, trials are looked up and kept under these terms; trials under other terms are dropped. All are also dropped
    /// unless `now` is later than every start that was involved in them: a pod that has not started counts as started now, and
    /// that must be the latest start.
    pub fn begin(&mut self, terms: TrialTerms, now: Timestamp) {
        if self.terms != Some(terms) || self.latest_start.is_some_and(|start| now <= start) {
            self.by_node.clear();
            self.statuses = 0;
            self.latest_start = None;
            self.terms = Some(terms);
        }
    }

    /// The trial on a node, if known. Counted in [`Self::take_counts`].
    pub fn find(&mut self, node: NodeIndex) -> Option<&Trial> {
        let known = self.by_node.get(&node.0);
        match known {
            Some(_) => self.counts.known += 1,
            None => self.counts.made += 1,
        }
        known
    }

    /// Like [`Self::find`], but not counted.
    #[must_use]
    pub fn get(&self, node: NodeIndex) -> Option<&Trial> {
        self.by_node.get(&node.0)
    }

    /// The statistics since the last call.
    pub fn take_counts(&mut self) -> TrialCounts {
        std::mem::take(&mut self.counts)
    }

    /// Keeps the trial on a node; `starts` are those of the pods that were involved. It is kept only if all of them are before
    /// `now`.
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

    /// Everything has changed.
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
