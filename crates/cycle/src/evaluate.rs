//! The interface of the evaluation: a question about a pod and its answer.

use crate::evaluation::{Failure, Scored};
use crate::profile::Profile;
use crate::random::Random;
use crate::standing::StandingCounts;
use secondmate_framework::{CycleState, NodeStatuses, Nominations, PostFilterOutcome, Snapshot, Status};
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Finds a node for a pod on a frozen snapshot.
///
/// An implementation must give the answers that the extension points give node by node, whatever it remembers from earlier
/// questions, and has no side effects.
pub trait Evaluate {
    /// Answers a question. `random` chooses among equally good nodes.
    fn evaluate(&mut self, question: &Question<'_>, random: &mut Random) -> Answer;

    /// Statistics about what it keeps and has done, if it keeps anything.
    fn standing(&self) -> Option<&StandingCounts> {
        None
    }
}

/// Asks where a pod would go, and in which state of the cluster.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The pod's profile.
    pub profile: &'a Profile,
    /// Nodes and other objects, frozen.
    pub snapshot: &'a Snapshot,
    /// Pods that are nominated to a node.
    pub nominations: &'a dyn Nominations,
    /// Time of the cycle.
    pub now: Timestamp,
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// How many nodes to look at, and how much detail to keep.
    pub scope: Scope,
}

/// How many nodes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As in scheduling: only the pod's nominated node if it passes; otherwise nodes from this position on, wrapping around the
    /// list, until the profile's share of the nodes has been found.
    Sample {
        /// Position of the first node.
        start: usize,
    },
    /// Every node, with every verdict and every score kept in [`Answer::details`].
    Every,
}

impl Scope {
    /// Whether every node is looked at and all details are kept.
    #[must_use]
    pub fn is_every(self) -> bool {
        self == Self::Every
    }

    /// Position of the first of `nodes` nodes.
    pub(crate) fn start_of(self, nodes: usize) -> usize {
        match self {
            Self::Every => 0,
            Self::Sample { start } => start % nodes,
        }
    }
}

/// The answer to a [`Question`].
pub struct Answer {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Number of nodes that the search looked at: the next search begins that many nodes further on.
    pub looked_at: usize,
    /// All intermediate results; only with [`Scope::Every`], and only if no plugin failed.
    pub details: Option<Details>,
}

/// How an attempt ended.
pub enum Outcome {
    /// A node was chosen.
    Placed {
        /// The node.
        node: Arc<NodeInfo>,
        /// The cycle's state, for the extension points that follow.
        state: CycleState,
    },
    /// No node passed.
    Rejected(Rejection),
    /// A plugin failed.
    Failed(Failure),
}

/// Why no node passed, and the result of PostFilter.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Text for event and condition.
    pub message: String,
    /// Plugins that rejected the pod or some node.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that returned `Pending`, because they wait for something specific.
    pub pending_by: BTreeSet<Atom>,
    /// PostFilter's answer.
    pub post_filter: PostFilterOutcome,
    /// Whether any PostFilter plugins were called.
    pub post_filter_ran: bool,
}

/// The intermediate results behind an [`Outcome`].
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// PreFilter's rejection of the whole pod; no node was looked at in that case.
    pub pre_filter: Option<Status>,
    /// The plugins whose PreFilter excluded some nodes: rejections that name no plugin come from them.
    pub narrowed_by: BTreeSet<Atom>,
    /// Verdicts on the nodes that did not pass.
    pub statuses: NodeStatuses,
    /// The nodes that passed, in the snapshot's order, or in that in which the last extender that filters named them.
    pub feasible: Vec<Arc<NodeInfo>>,
    /// Their scores; empty if at most one node passed, which is then taken without scoring.
    pub scored: Scored,
    /// The cycle's state as the filters left it, for the facts behind their verdicts; `None` if the verdicts were remembered.
    pub state: Option<CycleState>,
}

impl Details {
    /// The nodes with the best score, among which the choice is made.
    pub fn best(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        let best = self.scored.best();
        let unscored = self.scored.totals.is_empty();
        self.feasible
            .iter()
            .enumerate()
            .filter(move |(at, _)| unscored || self.scored.totals.get(*at).copied() == best)
            .map(|(_, node)| node)
    }
}
