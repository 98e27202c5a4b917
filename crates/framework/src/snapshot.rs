//! The frozen view of one cycle.

use rustc_hash::FxHashMap;
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, NodeInfo};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Position of a node in a [`Snapshot`]. It holds for one cycle only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// Nodes and other objects as they stand for one scheduling cycle.
///
/// The core brings it up to date between cycles, node by node; during one nobody writes it. Nodes are in upstream's
/// order: round robin over the zones.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    positions: FxHashMap<Atom, NodeIndex>,
    /// Positions of the nodes with pods that declare (anti-)affinity, ascending.
    with_affinity: Vec<NodeIndex>,
    /// Positions of the nodes with pods that have required anti-affinity, ascending.
    with_required_anti_affinity: Vec<NodeIndex>,
    /// Claims in use, as `namespace/name`, with the number of nodes on which they are.
    claims: BTreeMap<Box<str>, u32>,
    objects: Objects,
}

impl Snapshot {
    /// A snapshot of these nodes, in this order, and objects.
    #[must_use]
    pub fn new(nodes: Vec<Arc<NodeInfo>>, objects: Objects) -> Self {
        let mut snapshot = Self { objects, ..Self::default() };
        snapshot.replace_nodes(nodes);
        snapshot
    }

    /// All nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// Position of a node.
    #[must_use]
    pub fn position(&self, name: &Atom) -> Option<NodeIndex> {
        self.positions.get(name).copied()
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &Atom) -> Option<&Arc<NodeInfo>> {
        self.position(name).map(|at| &self.nodes[at.get()])
    }

    /// A node by position.
    #[must_use]
    pub fn at(&self, position: NodeIndex) -> &Arc<NodeInfo> {
        &self.nodes[position.get()]
    }

    /// Nodes with pods that declare pod affinity or anti-affinity, in order.
    pub fn nodes_with_affinity(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.with_affinity.iter().map(|at| &self.nodes[at.get()])
    }

    /// Nodes with pods that have a required anti-affinity term, in order.
    pub fn nodes_with_required_anti_affinity(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.with_required_anti_affinity.iter().map(|at| &self.nodes[at.get()])
    }

    /// Whether a pod on some node uses the claim (`namespace/name`) by name.
    #[must_use]
    pub fn claim_in_use(&self, claim: &str) -> bool {
        self.claims.contains_key(claim)
    }

    /// Namespaces, workloads, budgets, volumes and the like.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// For the core, between cycles: the objects, to be changed.
    pub fn objects_mut(&mut self) -> &mut Objects {
        &mut self.objects
    }

    /// For the core, between cycles: replaces one node's info where it stands.
    pub fn replace_node(&mut self, position: NodeIndex, info: Arc<NodeInfo>) {
        let old = std::mem::replace(&mut self.nodes[position.get()], info);
        let new = Arc::clone(&self.nodes[position.get()]);
        debug_assert_eq!(old.name(), new.name(), "a position holds one node until the list is replaced");
        flip(&mut self.with_affinity, position, !new.pods_with_affinity().is_empty());
        flip(
            &mut self.with_required_anti_affinity,
            position,
            !new.pods_with_required_anti_affinity().is_empty(),
        );
        for claim in new.claims() {
            *self.claims.entry(claim.into()).or_insert(0) += 1;
        }
        self.drop_claims(&old);
    }

    /// For the core, between cycles: replaces the whole list.
    pub fn replace_nodes(&mut self, nodes: Vec<Arc<NodeInfo>>) {
        self.nodes = nodes;
        self.positions.clear();
        self.with_affinity.clear();
        self.with_required_anti_affinity.clear();
        self.claims.clear();
        for (at, info) in self.nodes.iter().enumerate() {
            let position = NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"));
            self.positions.insert(info.name().clone(), position);
            if !info.pods_with_affinity().is_empty() {
                self.with_affinity.push(position);
            }
            if !info.pods_with_required_anti_affinity().is_empty() {
                self.with_required_anti_affinity.push(position);
            }
            for claim in info.claims() {
                *self.claims.entry(claim.into()).or_insert(0) += 1;
            }
        }
    }

    fn drop_claims(&mut self, info: &NodeInfo) {
        for claim in info.claims() {
            if let Some(count) = self.claims.get_mut(claim) {
                *count -= 1;
                if *count == 0 {
                    self.claims.remove(claim);
                }
            }
        }
    }
}

/// Puts a position into an ascending list, or takes it out.
fn flip(list: &mut Vec<NodeIndex>, position: NodeIndex, wanted: bool) {
    match (list.binary_search(&position), wanted) {
        (Err(at), true) => list.insert(at, position),
        (Ok(at), false) => {
            list.remove(at);
        }
        _ => {}
    }
}
