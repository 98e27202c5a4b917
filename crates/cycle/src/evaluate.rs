//! The interface of the evaluation: what is asked about a pod, and what is answered.

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
/// Whoever implements it answers as the extension points say, node by node, whatever it remembers from earlier questions; it
/// changes nothing outside itself.
pub trait Evaluate {
    /// Answers a question. `random` chooses among equally good nodes.
    fn evaluate(&mut self, question: &Question<'_>, random: &mut Random) -> Answer;

    /// What it keeps and has done, where it keeps anything.
    fn standing(&self) -> Option<&StandingCounts> {
        None
    }
}

/// Where a pod would go, and in which world.
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
    /// How many nodes to look at, and what to keep of it.
    pub scope: Scope,
}

/// How many nodes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As the scheduler does: the pod's nominated node alone if it passes, otherwise from this position on, round the list, until
    /// the profile's share of the nodes has been found.
    Sample {
        /// Position of the first node.
        start: usize,
    },
    /// Every node, with every verdict and every score kept in [`Answer::details`].
    Every,
}

impl Scope {
    /// Whether every node is looked at and everything kept.
    #[must_use]
    pub fn is_every(self) -> bool {
        self == Self::Every
    }

    /// Position of the first of so many nodes.
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
    /// Number of nodes that the search looked at: the next one begins so many nodes further on.
    pub looked_at: usize,
    /// Everything that was found on the way, with [`Scope::Every`] unless a plugin failed.
    pub details: Option<Details>,
}

/// How an attempt ended.
pub enum Outcome {
    /// A node was chosen.
    Placed {
        /// The node.
        node: Arc<NodeInfo>,
        /// The cycle's state, for the points that follow.
        state: CycleState,
    },
    /// No node passed.
    Rejected(Rejection),
    /// A plugin failed.
    Failed(Failure),
}

/// Why no node passed, and what PostFilter made of it.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Text for event and condition.
    pub message: String,
    /// Plugins that rejected the pod or some node.
    pub rejected_by: BTreeSet<Atom>,
    /// Plugins that wait for something in particular.
    pub pending_by: BTreeSet<Atom>,
    /// PostFilter's answer.
    pub post_filter: PostFilterOutcome,
    /// Whether PostFilter plugins were asked.
    pub post_filter_ran: bool,
}

/// What was found on the way to an [`Outcome`].
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// The rejection of the pod as a whole by PreFilter; no node was looked at then.
    pub pre_filter: Option<Status>,
    /// The plugins that left only some of the nodes at PreFilter: a rejection that names no plugin is theirs.
    pub narrowed_by: BTreeSet<Atom>,
    /// Verdicts of the nodes that did not pass.
    pub statuses: NodeStatuses,
    /// The nodes that passed, in the snapshot's order, or in that in which the last extender that filters named them.
    pub feasible: Vec<Arc<NodeInfo>>,
    /// Their scores; empty where there is at most one of them, which is then taken without a score.
    pub scored: Scored,
    /// The cycle's state as the filters left it, for the facts behind their verdicts; `None` where the verdicts were remembered.
    pub state: Option<CycleState>,
}

impl Details {
    /// Of the nodes that passed, those among which the choice is made.
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
