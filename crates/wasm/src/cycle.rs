//! A guest's part in a scheduling cycle.
//!
//! What a guest remembers of a cycle is in its memory, where nobody can copy it. So a copy of the state of a cycle (preemption and
//! nominated pods try things out on one) shares the instance until something is to change in it; then it gets an instance of its own,
//! which is brought to the same state by the same calls: PreFilter, PreScore if it was asked, and each pod that was added or removed
//! since, in the order in which they came.

use crate::exports::Export;
use crate::host::About;
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
    /// What the guest was told in this copy of the state since PreFilter.
    pub told: Vec<Step>,
    /// Scores that the guest gave in one call.
    pub scores: Option<Arc<NodeScores>>,
}

impl Cycle {
    pub fn new(slot: Option<Arc<Slot>>) -> Self {
        Self { slot, told: Vec::new(), scores: None }
    }

    /// Notes what the guest was told, of this copy of the state and of its instance, which other copies may share.
    pub fn note(&mut self, step: Step) {
        if let Some(slot) = &self.slot {
            slot.held().told.push(step.clone());
        }
        self.told.push(step);
    }
}

/// A call from which the guest's state follows: a pod that was added to a node or removed from it, or the feasible nodes. An evaluation
/// asks PreScore a few times at most, so that the list of them stays short.
#[derive(Clone)]
pub(crate) struct Step {
    pub export: Export,
    target: Option<Arc<Pod>>,
    node: Option<Atom>,
    feasible: Option<Arc<str>>,
}

impl Step {
    pub fn new(export: Export, of: &About<'_>) -> Self {
        let (target, node, feasible) = (of.target.cloned(), of.node.cloned(), of.feasible.cloned());
        Self { export, target, node, feasible }
    }

    /// The pod that was added or removed.
    pub fn target(&self) -> Option<&Arc<Pod>> {
        self.target.as_ref()
    }

    /// The same once more, in a call that begins so.
    pub fn again<'a>(&'a self, begin: &About<'a>) -> About<'a> {
        let (target, node, feasible) = (self.target.as_ref(), self.node.as_ref(), self.feasible.as_ref());
        About { target, node, feasible, ..*begin }
    }
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
