//! Filters and scores by group: the result of a plugin that looks at topology domains is split into what it counts on each node
//! and what follows from the counts, so that neither has to be recomputed for every node.

use crate::status::Status;
use rustc_hash::FxHasher;
use secondmate_model::{Atom, NodeInfo, Pod};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// Something whose behaviour is the same for any nodes if it was derived from the same data: see
/// [`alike_by_key!`](crate::alike_by_key).
pub trait Alike: Any + Debug + Send + Sync {
    /// Whether the other is of the same type and gives the same verdicts and scores for any nodes.
    fn is_same(&self, other: &dyn Any) -> bool;
    /// Equal whenever [`Alike::is_same`] holds.
    fn hash(&self) -> u64;
    /// Memory that it holds beyond what every pod has, in bytes; counted as memory of what keeps it.
    fn bytes(&self) -> usize {
        0
    }
}

/// Implements [`Alike`](crate::Alike) through the type's own method `key(&self)`, which returns everything that its verdicts and
/// scores depend on besides the nodes, as a value that is `Hash` and `PartialEq`. With `, bytes`, the type must also have a
/// method for [`Alike::bytes`].
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

/// A hash that is the same in every run.
pub fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The score of a plugin for the pods of a class, by group.
///
/// Nodes with equal coordinates get the same score. [`GroupScore::score`] must give the same scores as PreScore, Score and
/// normalisation.
pub trait GroupScore: Alike {
    /// Appends the node's coordinates, always the same number of them. They may depend only on the node and the pods on it.
    fn look<'a>(&'a self, node: &'a NodeInfo, coordinates: &mut Coordinates<'a>);
    /// The normalised scores of the groups of feasible nodes, in their order.
    fn score(&self, groups: &[NodeGroup<'_>]) -> Vec<i64>;
}

/// The filter of a plugin for the pods of a class, by group.
///
/// Nodes with equal coordinates get the same verdict. [`GroupFilter::filter`] must give the same verdict as PreFilter and Filter.
pub trait GroupFilter: Alike {
    /// Appends the node's coordinates, always the same number of them. They may depend only on the node and the pods on it.
    fn look<'a>(&'a self, node: &'a NodeInfo, coordinates: &mut Coordinates<'a>);
    /// The verdict on nodes at these places. `totals` gives, for each coordinate, what counts about all of its domains.
    fn filter(&self, places: &[Place], totals: &[DomainTotals]) -> Status;
    /// Whether this nominated pod can change the verdict on its node. If not, [`PreFilter::add_pod`](crate::PreFilter::add_pod)
    /// for it must have no effect on this filter.
    fn is_concerned_by(&self, _nominated: &Pod) -> bool {
        true
    }
}

/// Totals over all domains at a coordinate that count, see [`Coordinate::Domain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainTotals {
    /// Number of domains.
    pub domains: usize,
    /// The smallest number of pods in a domain.
    pub least: Option<i64>,
    /// The largest number of pods in a domain.
    pub most: Option<i64>,
}

/// The largest number of coordinates for which groups are worth distinguishing. A plugin that would need more returns no filter and no
/// score by groups, and is asked about each node instead: so one pod that names thousands of topology keys does not make everything that is
/// kept about the nodes that wide.
pub const COORDINATES_MAX: usize = 64;

/// A node's position for a [`GroupFilter`] or a [`GroupScore`]: at most [`COORDINATES_MAX`] coordinates.
pub type Coordinates<'a> = SmallVec<[Coordinate<'a>; 4]>;

/// One of a node's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinate<'a> {
    /// A number specific to the node.
    Own(i64),
    /// A domain, to which the node contributes this many pods, whether it is feasible or not.
    Domain {
        /// Name of the domain.
        name: &'a Atom,
        /// Distinguishes nodes within one domain.
        mark: bool,
        /// Pods on the node that count for the domain.
        pods: i64,
        /// Whether this node makes the domain count in [`DomainTotals`].
        counts: bool,
    },
}

/// A coordinate that the nodes of a group share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// See [`Coordinate::Own`].
    Own(i64),
    /// See [`Coordinate::Domain`].
    Domain {
        /// Number of the domain: equal names at this coordinate have equal numbers.
        domain: u32,
        /// The nodes' `mark`.
        mark: bool,
        /// Pods that count for the domain on all of its nodes.
        pods: i64,
    },
    /// Each node is the only one of its domain. Such domains are distinguished by what counts for them, not by name.
    Alone {
        /// The nodes' `mark`.
        mark: bool,
        /// Pods that count for the domain.
        pods: i64,
    },
}

/// Feasible nodes with equal coordinates.
#[derive(Clone, Copy, Debug)]
pub struct NodeGroup<'a> {
    /// The coordinates that they share.
    pub places: &'a [Place],
    /// Number of nodes; at least one.
    pub nodes: usize,
}
