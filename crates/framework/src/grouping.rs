//! Scores by group: what a plugin whose score looks at topology domains says, told apart into what it counts on a single node and
//! what follows from the counts, so that neither has to be worked out for every node again.

use secondmate_model::{Atom, NodeInfo};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;

/// The score of a plugin for the pods of a class, by group.
///
/// Nodes whose coordinates are equal score the same. [`GroupScore::score`] must come to the scores that PreScore, Score and
/// normalisation come to.
pub trait GroupScore: Any + Debug + Send + Sync {
    /// Whether the other is the same score: the same for any nodes.
    fn is_same(&self, other: &dyn GroupScore) -> bool;
    /// Equal scores have equal hashes.
    fn hash(&self) -> u64;
    /// The node's coordinates, always as many. They depend on the node and the pods on it only.
    fn look(&self, node: &NodeInfo) -> Coordinates;
    /// The normalised scores of the groups of feasible nodes, in their order.
    fn score(&self, groups: &[NodeGroup<'_>]) -> Vec<i64>;
}

/// Where a node stands for a [`GroupScore`].
pub type Coordinates = SmallVec<[Coordinate; 4]>;

/// One of a node's coordinates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coordinate {
    /// A number of the node's own.
    Own(i64),
    /// A domain, to which the node brings so many pods, feasible or not.
    Domain {
        /// Name of the domain.
        name: Atom,
        /// Something that tells nodes of one domain apart.
        mark: bool,
        /// Pods on the node that count for the domain.
        pods: i64,
    },
}

/// A coordinate that nodes of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// See [`Coordinate::Own`].
    Own(i64),
    /// See [`Coordinate::Domain`].
    Domain {
        /// Number of the domain: equal for equal names at this coordinate.
        domain: u32,
        /// As the nodes have it.
        mark: bool,
        /// Pods that count for the domain on all of its nodes.
        pods: i64,
    },
}

/// Feasible nodes with equal coordinates.
#[derive(Clone, Copy, Debug)]
pub struct NodeGroup<'a> {
    /// What they have in common.
    pub places: &'a [Place],
    /// How many they are; at least one.
    pub nodes: usize,
}
