//! The cache: every node, every pod assigned to one, and every pod that we have placed but not yet seen there.
//!
//! ```text
//! (absent) --assume--> Assumed --add--> Added --update--> Added --remove--> (absent)
//! (absent) --add-----> Added            Assumed --forget--> (absent)
//! ```
//!
//! It has a single owner. A change marks its node; [`Cache::refresh`] updates the marked nodes, and only those, in the snapshot
//! for the next cycle. Nodes are shared with the snapshot and copied when they change.

mod images;
mod zones;

use crate::touched::Touched;
use images::ImageStates;
use rustc_hash::FxHashMap;
use secondmate_framework::Snapshot;
use secondmate_model::{Atom, Node, NodeInfo, Pod, Uid};
use std::sync::Arc;
use zones::Zones;

/// The cache disagrees with the caller about a pod. The cache is left unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Assume: the pod is already in the cache.
    #[error("pod {0} is in the cache already, it cannot be assumed")]
    Known(Uid),
    /// Forget: the pod has been confirmed.
    #[error("pod {0} was added to the cache, it cannot be forgotten")]
    NotAssumed(Uid),
    /// The pod is not in the cache.
    #[error("pod {0} is not in the cache")]
    Unknown(Uid),
}

#[derive(Clone, Debug)]
struct PodState {
    pod: Arc<Pod>,
    assumed: bool,
    /// See [`Cache::arrival`].
    arrival: u64,
}

impl PodState {
    fn node(&self) -> &Atom {
        self.pod.node_name.as_ref().expect("a pod in the cache has a node")
    }
}

#[derive(Clone, Debug)]
struct Entry {
    info: Arc<NodeInfo>,
    /// There are pods on the node but no Node object, either not yet or no longer. Such a node is in no snapshot.
    ghost: bool,
    /// Whether it is listed in `changed`.
    changed: bool,
    /// Epoch of the image table when the node's image states were last computed.
    images_epoch: u64,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Nodes, not counting ghosts.
    pub nodes: usize,
    /// Pods, including assumed ones.
    pub pods: usize,
    /// Assumed pods.
    pub assumed_pods: usize,
}

/// What the cache knew about a pod that was seen on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The cache did not know the pod.
    New,
    /// An assumed pod, on the node where it was assumed.
    Confirmed,
    /// An assumed pod, but on a different node.
    Elsewhere,
    /// The pod was already known on a node; the newer object has replaced it.
    Updated,
}

/// Nodes and the pods on them.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    nodes: FxHashMap<Atom, Entry>,
    pods: FxHashMap<Uid, PodState>,
    assumed: usize,
    zones: Zones,
    images: ImageStates,
    /// Nodes that changed since the last refresh, in the order of their first change.
    changed: Vec<Atom>,
    /// Whether nodes were added or removed since the last refresh, or moved between zones.
    list_changed: bool,
    generation: u64,
    touched: Touched,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pods that are added, removed and changed.
    pub(crate) fn touched(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// Grows with each change.
    pub(crate) fn changes(&self) -> u64 {
        self.generation
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn size(&self) -> CacheSize {
        CacheSize { nodes: self.zones.len(), pods: self.pods.len(), assumed_pods: self.assumed }
    }

    /// A pod, assumed or added.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        self.pods.get(uid).map(|s| &s.pod)
    }

    /// Whether the pod is assumed.
    #[must_use]
    pub fn is_assumed(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|s| s.assumed)
    }

    /// Whether the pod has been seen on a node.
    #[must_use]
    pub fn is_added(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|s| !s.assumed)
    }

    /// When the pod came to its node, as a number for comparison with other pods: it grows with each pod that comes, and stays the
    /// same when the pod changes or is confirmed there.
    #[must_use]
    pub fn arrival(&self, uid: &Uid) -> Option<u64> {
        self.pods.get(uid).map(|s| s.arrival)
    }

    /// A node object.
    #[must_use]
    pub fn node(&self, name: &Atom) -> Option<&Arc<Node>> {
        self.nodes.get(name).filter(|e| !e.ghost).map(|e| e.info.node())
    }

    /// A node with its pods.
    #[must_use]
    pub fn node_info(&self, name: &Atom) -> Option<&Arc<NodeInfo>> {
        self.nodes.get(name).filter(|e| !e.ghost).map(|e| &e.info)
    }

    /// All pods, and whether each is assumed, sorted by UID. For comparisons, not for scheduling.
    #[must_use]
    pub fn pods_sorted(&self) -> Vec<(&Arc<Pod>, bool)> {
        let mut pods: Vec<_> = self.pods.values().map(|s| (&s.pod, s.assumed)).collect();
        pods.sort_unstable_by(|a, b| a.0.uid.cmp(&b.0.uid));
        pods
    }

    /// All node names, in snapshot order.
    #[must_use]
    pub fn node_names(&self) -> Vec<Atom> {
        self.zones.round_robin()
    }

    /// Places a pod on its `node_name` before the binding is confirmed.
    ///
    /// # Errors
    /// If the pod is already in the cache.
    pub fn assume(&mut self, pod: Arc<Pod>) -> Result<(), CacheError> {
        if self.pods.contains_key(&pod.uid) {
            return Err(CacheError::Known(pod.uid.clone()));
        }
        self.put(pod, true, None);
        Ok(())
    }

    /// Removes an assumed pod. It is not an error if the pod is not in the cache: it may have been deleted meanwhile.
    ///
    /// # Errors
    /// If the pod was confirmed meanwhile.
    pub fn forget(&mut self, uid: &Uid) -> Result<Option<Arc<Pod>>, CacheError> {
        match self.pods.get(uid) {
            None => Ok(None),
            Some(state) if !state.assumed => Err(CacheError::NotAssumed(uid.clone())),
            Some(_) => Ok(self.take(uid)),
        }
    }

    /// A pod was seen on a node.
    pub fn add(&mut self, pod: Arc<Pod>) -> Added {
        let outcome = match self.pods.get(&pod.uid) {
            None => Added::New,
            Some(state) if !state.assumed => Added::Updated,
            Some(state) if Some(state.node()) == pod.node_name.as_ref() => Added::Confirmed,
            Some(_) => Added::Elsewhere,
        };
        let here = self.pods.get(&pod.uid).filter(|state| Some(state.node()) == pod.node_name.as_ref());
        let arrival = here.map(|state| state.arrival);
        if outcome != Added::New {
            // Subtract what the old object added, which may differ from what the new one adds.
            self.take(&pod.uid);
        }
        self.put(pod, false, arrival);
        outcome
    }

    /// A pod on a node was deleted or has finished.
    ///
    /// # Errors
    /// If the pod is not in the cache.
    pub fn remove(&mut self, uid: &Uid) -> Result<Arc<Pod>, CacheError> {
        self.take(uid).ok_or_else(|| CacheError::Unknown(uid.clone()))
    }

    /// Places a pod on its `node_name`; it comes there now, unless it did earlier.
    fn put(&mut self, pod: Arc<Pod>, assumed: bool, arrival: Option<u64>) {
        self.touched.note(&pod.uid);
        let name = pod.node_name.clone().expect("a pod that is placed names its node");
        self.nodes.entry(name.clone()).or_insert_with(|| Entry {
            info: Arc::new(NodeInfo::new(Arc::new(ghost(&name)))),
            ghost: true,
            changed: false,
            images_epoch: 0,
        });
        self.change(&name, |info| info.add_pod(Arc::clone(&pod)));
        self.assumed += usize::from(assumed);
        let arrival = arrival.unwrap_or(self.generation);
        self.pods.insert(pod.uid.clone(), PodState { pod, assumed, arrival });
    }

    fn take(&mut self, uid: &Uid) -> Option<Arc<Pod>> {
        let state = self.pods.remove(uid)?;
        self.touched.note(uid);
        self.assumed -= usize::from(state.assumed);
        let name = state.node().clone();
        self.change(&name, |info| {
            if info.remove_pod(uid).is_some_and(|pod| !pod.host_ports.is_empty()) {
                info.recount_ports();
            }
        });
        let entry = &self.nodes[&name];
        if entry.ghost && entry.info.pods().is_empty() {
            self.nodes.remove(&name);
        }
        Some(state.pod)
    }

    /// Changes a node's info, gives it a new generation and marks it for the next refresh.
    fn change(&mut self, name: &Atom, edit: impl FnOnce(&mut NodeInfo)) {
        let entry = self.nodes.get_mut(name).expect("a node with pods has an entry");
        self.generation += 1;
        let info = Arc::make_mut(&mut entry.info);
        edit(info);
        info.set_generation(self.generation);
        if !entry.changed && !entry.ghost {
            entry.changed = true;
            self.changed.push(name.clone());
        }
    }

    /// Adds or replaces a node object; returns the one that was replaced.
    pub fn set_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        let name = node.name.clone();
        let entry = self.nodes.entry(name.clone()).or_insert_with(|| Entry {
            info: Arc::new(NodeInfo::new(Arc::clone(&node))),
            ghost: true,
            changed: false,
            images_epoch: 0,
        });
        let old = (!entry.ghost).then(|| Arc::clone(entry.info.node()));
        entry.ghost = false;
        // Most updates are heartbeats. If the images are the same, so is the table, except for a size that came from another
        // node, and no node's image states are recomputed.
        if old.as_ref().is_some_and(|old| old.images == node.images) {
            self.images.reported_again(&node);
        } else {
            // This changes the table's epoch, so the node's states are recomputed at the next refresh.
            if let Some(old) = &old {
                self.images.remove_node(old);
            }
            self.images.add_node(&node);
        }
        self.list_changed |= self.zones.set(&name, node.zone_key());
        self.change(&name, |info| info.set_node(node));
        old
    }

    /// Removes a node object. While there are pods on the node, it stays as a ghost, which is in no snapshot.
    pub fn remove_node(&mut self, name: &Atom) -> Option<Arc<Node>> {
        let entry = self.nodes.get_mut(name).filter(|e| !e.ghost)?;
        let old = Arc::clone(entry.info.node());
        self.generation += 1;
        entry.ghost = true;
        entry.changed = false;
        self.zones.remove(name);
        self.list_changed = true;
        self.images.remove_node(&old);
        if entry.info.pods().is_empty() {
            self.nodes.remove(name);
        } else {
            let info = Arc::make_mut(&mut entry.info);
            info.set_node(Arc::new(ghost(name)));
            info.set_images(Arc::new([]));
        }
        Some(old)
    }

    /// Forgets which nodes changed, for an owner that takes no snapshots: otherwise the list would grow with every node that is
    /// added and removed.
    pub fn forget_changes(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            if let Some(entry) = self.nodes.get_mut(&name) {
                entry.changed = false;
            }
        }
    }

    /// Updates a snapshot: touches only the nodes that changed since the last call, unless nodes were added or removed.
    ///
    /// Returns the names of the nodes that changed, in order; `None` if the list was rebuilt.
    pub fn refresh(&mut self, snapshot: &mut Snapshot) -> Option<Vec<Atom>> {
        let changed = std::mem::take(&mut self.changed);
        for name in &changed {
            // Removed again, or a ghost: in that case the list is rebuilt.
            let Some(entry) = self.nodes.get_mut(name).filter(|e| e.changed) else { continue };
            entry.changed = false;
            if entry.images_epoch != self.images.epoch() {
                // The number of nodes that have an image is frozen here: a later pull on another node does not update it, as in
                // upstream's snapshot.
                entry.images_epoch = self.images.epoch();
                let states = self.images.of(entry.info.node());
                Arc::make_mut(&mut entry.info).set_images(states);
            }
            if !self.list_changed {
                let position = snapshot.position(name).expect("the list did not change");
                snapshot.replace_node(position, Arc::clone(&entry.info));
            }
        }
        if !self.list_changed {
            return Some(changed);
        }
        self.list_changed = false;
        let nodes = self.zones.round_robin().iter().map(|name| Arc::clone(&self.nodes[name].info)).collect();
        snapshot.replace_nodes(nodes);
        None
    }
}

/// Takes the place of a ghost's Node object: nothing fits there.
fn ghost(name: &Atom) -> Node {
    Node {
        name: name.clone(),
        uid: Box::default(),
        resource_version: Box::default(),
        labels: secondmate_model::Labels::default(),
        unschedulable: true,
        taints: Box::default(),
        allocatable: secondmate_model::Allocatable::default(),
        bounded_allocatable: None,
        images: Box::default(),
        conditions: Box::default(),
        declared_features: Box::default(),
        annotations_hash: 0,
        preemption_policy_hash: 0,
        json: None,
    }
}
