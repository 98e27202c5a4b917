//! A guest's part of a scheduling cycle.
//!
//! What a guest remembers of a cycle is in its memory, where nobody can copy it. So a copy of the state of a cycle (preemption and
//! nominated pods try things out on one) shares the instance until something is to change in it; then it gets an instance of its own,
//! which is brought to the same state by the same calls: PreFilter, and each pod that was added or removed since.

use crate::pool::Slot;
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of all guests of a profile, by plugin name.
#[derive(Clone, Default)]
pub(crate) struct Cycles(Vec<(Atom, Cycle)>);

impl Cycles {
    pub fn get(&self, plugin: &Atom) -> Option<&Cycle> {
        self.0.iter().find(|(name, _)| name == plugin).map(|(_, cycle)| cycle)
    }

    pub fn get_mut(&mut self, plugin: &Atom) -> Option<&mut Cycle> {
        self.0.iter_mut().find(|(name, _)| name == plugin).map(|(_, cycle)| cycle)
    }

    pub fn set(&mut self, plugin: &Atom, cycle: Cycle) {
        match self.get_mut(plugin) {
            Some(old) => *old = cycle,
            None => self.0.push((plugin.clone(), cycle)),
        }
    }
}

/// Of one guest.
#[derive(Clone)]
pub(crate) struct Cycle {
    /// None where there are no instances, since a record answers.
    pub slot: Option<Arc<Slot>>,
    /// What was tried out in this copy of the state.
    pub edits: Vec<Edit>,
    /// Scores that the guest gave in one call.
    pub scores: Option<Arc<NodeScores>>,
}

impl Cycle {
    pub fn new(slot: Option<Arc<Slot>>) -> Self {
        Self { slot, edits: Vec::new(), scores: None }
    }
}

/// A pod that was added to a node, or removed from it, in one copy of the state.
#[derive(Clone)]
pub(crate) struct Edit {
    pub added: bool,
    pub target: Arc<Pod>,
    pub node: Atom,
}

/// Scores of the feasible nodes of a cycle.
pub(crate) struct NodeScores {
    /// Addresses of the nodes, which stay where they are for the cycle.
    nodes: Vec<usize>,
    scores: Vec<i64>,
    /// Nodes are asked about in their order, most of the time.
    next: AtomicUsize,
}

impl NodeScores {
    /// One score for each node.
    pub fn new(nodes: &[Arc<NodeInfo>], scores: Vec<i64>) -> Self {
        let nodes = nodes.iter().map(|node| Arc::as_ptr(node).addr()).collect();
        Self { nodes, scores, next: AtomicUsize::new(0) }
    }

    pub fn get(&self, node: &NodeInfo) -> Option<i64> {
        let address = std::ptr::from_ref(node).addr();
        let next = self.next.load(Ordering::Relaxed);
        let at = if self.nodes.get(next) == Some(&address) {
            next
        } else {
            self.nodes.iter().position(|other| *other == address)?
        };
        self.next.store(at + 1, Ordering::Relaxed);
        self.scores.get(at).copied()
    }
}
