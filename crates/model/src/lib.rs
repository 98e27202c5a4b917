//! The compiled model: pods, nodes and the other objects that scheduling reads.
//!
//! An object is decoded into a slim [`wire`] type and compiled once, when it arrives: quantities become integers in the units
//! that plugins use, labels and taints become interned [`Atom`]s, selectors become matchers that need no parsing. Compiled
//! objects are immutable and shared by `Arc`; only [`NodeInfo`] changes, and only its single owner (the cache) writes to it.
//!
//! The crate holds one piece of global state, the table of atoms, whose bound [`atom`] describes. It must never know how objects
//! arrive, what time it is, or how a decision is made.

pub mod atom;
pub mod duration;
pub mod features;
mod label_summary;
mod label_syntax;
pub mod labels;
pub mod migration;
mod node;
mod node_info;
pub mod node_selector;
pub mod objects;
mod pod;
pub mod quantity;
pub mod resources;
pub mod taints;
mod time;
mod trimmed;
pub mod url;
pub mod wire;

pub use atom::Atom;
pub use labels::{LabelSelector, Labels, Requirement, SelectorError};
pub use node::{Node, NodeError, NodeImage};
pub use node_info::{ImageState, NodeInfo};
pub use node_selector::{NodeSelector, NodeSelectorTerm};
pub use pod::{
    Affinity, DEFAULT_SCHEDULER_NAME, HostPort, Owner, Pod, PodAffinityTerm, PodCondition, PodContent,
    PodError, SpreadConstraint, Uid, Volume, VolumeSource, WeightedPodAffinityTerm, WhenUnsatisfiable,
};
pub use quantity::{Quantity, QuantityError};
pub use resources::{Allocatable, PodRequests, ResourceError, Resources};
pub use taints::{Effect, Taint, Toleration, TolerationOperator};
pub use time::Timestamp;
pub use trimmed::trimmed;
