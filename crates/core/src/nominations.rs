//! Pods that are nominated to a node: ours after a preemption, and those of other schedulers as their status says.

use crate::queue::Promises;
use crate::touched::Touched;
use rustc_hash::FxHashMap;
use secondmate_framework::Nominations;
use secondmate_model::{Atom, Pod, Uid};
use std::sync::Arc;

/// Nominated pods by node.
#[derive(Clone, Debug, Default)]
pub struct Nominator {
    by_node: FxHashMap<Atom, Vec<Arc<Pod>>>,
    node_of: FxHashMap<Uid, Atom>,
    /// Number of changes.
    changes: u64,
    touched: Touched,
}

impl Promises for Nominator {
    fn is_promised(&self, pod: &Uid) -> bool {
        self.node_of.contains_key(pod)
    }
}

impl Nominator {
    /// Nominates the pod to the node, and to no other.
    pub fn set(&mut self, pod: &Arc<Pod>, node: &Atom) {
        self.touched.note(&pod.uid);
        self.changes += 1;
        if self.node_of.get(&pod.uid) == Some(node)
            && let Some(place) =
                self.by_node.get_mut(node).and_then(|l| l.iter_mut().find(|p| p.uid == pod.uid))
        {
            *place = Arc::clone(pod);
            return;
        }
        self.remove(&pod.uid);
        self.by_node.entry(node.clone()).or_default().push(Arc::clone(pod));
        self.node_of.insert(pod.uid.clone(), node.clone());
    }

    /// Withdraws a pod's nomination and returns the node.
    pub fn remove(&mut self, uid: &Uid) -> Option<Atom> {
        let node = self.node_of.remove(uid)?;
        self.touched.note(uid);
        self.changes += 1;
        if let Some(list) = self.by_node.get_mut(&node) {
            list.retain(|p| p.uid != *uid);
            if list.is_empty() {
                self.by_node.remove(&node);
            }
        }
        Some(node)
    }

    /// Grows with each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The pods whose nominations change.
    pub(crate) fn touched(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// The node to which a pod is nominated.
    #[must_use]
    pub fn node_of(&self, uid: &Uid) -> Option<&Atom> {
        self.node_of.get(uid)
    }

    /// The pod as it was nominated.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        let node = self.node_of.get(uid)?;
        self.by_node.get(node)?.iter().find(|p| p.uid == *uid)
    }

    /// Number of nominated pods.
    #[must_use]
    pub fn len(&self) -> usize {
        self.node_of.len()
    }

    /// Whether no pod is nominated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node_of.is_empty()
    }
}

impl Nominations for Nominator {
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    fn nodes(&self) -> Vec<&Atom> {
        self.by_node.keys().collect()
    }

    fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }
}
