//! Filters and scores by group: what a plugin that looks at topology domains says, told apart into what it counts on a single node and
//! what follows from the counts, so that neither has to be worked out for every node again.

use crate::status::Status;
use rustc_hash::FxHasher;
use secondmate_model::{Atom, NodeInfo, Pod};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// What is the same for any nodes is told by what it follows from: see [`alike_by_key!`](crate::alike_by_key).
pub trait Alike: Any + Debug + Send + Sync {
    /// Whether the other is of the same type, and gives the same verdicts and scores whatever the nodes are.
    fn is_same(&self, other: &dyn Any) -> bool;
    /// Equal where [`Alike::is_same`] holds.
    fn hash(&self) -> u64;
    /// Memory that it holds beyond what every pod has, in bytes: it counts for what is kept by it.
    fn bytes(&self) -> usize {
        0
    }
}

/// Implements [`Alike`](crate::Alike) by the type's own method `key(&self)`, which returns everything that its verdicts and scores follow
/// from, beside the nodes, as something that is `Hash` and `PartialEq`. With `, bytes` the type also has a method for [`Alike::bytes`].
#[macro_export]
macro_rules! alike_by_key {
    ($type:ty $(, $bytes:ident)?) => {
        impl $crate::Alike for $type {
            fn is_same(&self, other: &dyn ::std::any::Any) -> bool {
                other.downcast_ref::<Self>().is_some_and(|other| self.key() == other.key())
            }

            fn hash(&self) -> u64 {
                $crate::hash_of(&self.key())
            }

            $(fn bytes(&self) -> usize {
                <$type>::$bytes(self)
            })?
        }
    };
}

/// A hash that is the same in each run.
pub fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The score of a plugin for the pods of a class, by group.
///
/// Nodes whose coordinates are equal score the same. [`GroupScore::score`] must come to the scores that PreScore, Score and
/// normalisation come to.
pub trait GroupScore: Alike {
    /// Adds the node's coordinates, always as many. They depend on the node and the pods on it only.
    fn look<'a>(&'a self, node: &'a NodeInfo, coordinates: &mut Coordinates<'a>);
    /// The normalised scores of the groups of feasible nodes, in their order.
    fn score(&self, groups: &[NodeGroup<'_>]) -> Vec<i64>;
}

/// The filter of a plugin for the pods of a class, by group.
///
/// Nodes whose coordinates are equal get the same verdict. [`GroupFilter::filter`] must come to the verdict that PreFilter and Filter
/// come to.
pub trait GroupFilter: Alike {
    /// Adds the node's coordinates, always as many. They depend on the node and the pods on it only.
    fn look<'a>(&'a self, node: &'a NodeInfo, coordinates: &mut Coordinates<'a>);
    /// The verdict on nodes at these places. Of the domains at each coordinate the totals tell what counts beside the node's own.
    fn filter(&self, places: &[Place], totals: &[DomainTotals]) -> Status;
    /// Whether this nominated pod can change the verdict on its node. If not, [`PreFilter::add_pod`](crate::PreFilter::add_pod) for it must
    /// have no effect on this filter.
    fn is_concerned_by(&self, _nominated: &Pod) -> bool {
        true
    }
}

/// What all domains at a coordinate come to: those that count, see [`Coordinate::Domain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainTotals {
    /// How many they are.
    pub domains: usize,
    /// The smallest number of pods of one of them.
    pub least: Option<i64>,
    /// The largest.
    pub most: Option<i64>,
}

/// Where a node stands for a [`GroupFilter`] or a [`GroupScore`].
pub type Coordinates<'a> = SmallVec<[Coordinate<'a>; 4]>;

/// One of a node's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinate<'a> {
    /// A number of the node's own.
    Own(i64),
    /// A domain, to which the node brings so many pods, feasible or not.
    Domain {
        /// Name of the domain.
        name: &'a Atom,
        /// Something that tells nodes of one domain apart.
        mark: bool,
        /// Pods on the node that count for the domain.
        pods: i64,
        /// The domain counts as one on account of this node: see [`DomainTotals`].
        counts: bool,
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
    /// Each node is the only one of a domain: such domains are told apart by what counts for them, not by their names.
    Alone {
        /// As the nodes have it.
        mark: bool,
        /// Pods that count for the domain.
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
