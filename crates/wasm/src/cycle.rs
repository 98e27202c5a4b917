//! A guest's part in a scheduling cycle.
//!
//! What a guest remembers about a cycle is in its memory, which cannot be copied. So a copy of a cycle's state (preemption and nominated
//! pods try things out on one) shares the instance until something is about to change in the copy; then it gets its own instance, which is
//! brought to the same state by the same calls: PreFilter, and each pod that has been added or removed since.

use crate::pool::Slot;
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The cycles of all guests of a profile, by plugin name.
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

/// The cycle of one guest.
#[derive(Clone)]
pub(crate) struct Cycle {
    /// `None` if there are no instances, because a record provides the answers.
    pub slot: Option<Arc<Slot>>,
    /// What was tried out in this copy of the state.
    pub edits: Vec<Edit>,
    /// Scores that the guest returned in a single call.
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
    /// Addresses of the nodes, which do not move during the cycle.
    nodes: Vec<usize>,
    scores: Vec<i64>,
    /// Usually, scores are asked for in the order of the nodes.
    next: AtomicUsize,
}

impl NodeScores {
    /// One score per node.
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
