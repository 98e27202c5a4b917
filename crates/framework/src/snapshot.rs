//! The frozen view of one cycle.

use crate::affinity_terms::{AffinityTerms, ExistingTerm};
use crate::claims_in_use::ClaimsInUse;
use rustc_hash::FxHashMap;
use secondmate_model::objects::{ObjectName, Objects, StorageChange};
use secondmate_model::{Atom, Labels, NodeInfo};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Maximum number of node changes that a snapshot remembers. A reader that is further behind has to look at every node again,
/// which costs as much as a pass over that many nodes.
pub const CHANGES_MAX: usize = 1 << 16;

/// Position of a node in a [`Snapshot`]. Valid for one cycle only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// Nodes and other objects as of one scheduling cycle.
///
/// The core updates it between cycles, node by node; it does not change during a cycle. Nodes are in upstream's order: round
/// robin over the zones.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    positions: FxHashMap<Atom, NodeIndex>,
    /// Positions of the nodes with pods that declare (anti-)affinity, in order. A set, because in large clusters nearly every pod
    /// changes it.
    with_affinity: BTreeSet<NodeIndex>,
    /// Positions of the nodes with pods that have required anti-affinity, in order.
    with_required_anti_affinity: BTreeSet<NodeIndex>,
    /// The distinct affinity terms of the pods on the nodes.
    terms: AffinityTerms,
    claims: ClaimsInUse,
    objects: Objects,
    identity: Identity,
    /// Number of times that the list was replaced.
    lists: u64,
    /// Positions replaced since the list was last replaced.
    changes: Log,
    /// Those of them where more than the pods changed.
    changes_beyond_pods: Log,
}

/// Positions, latest last.
#[derive(Clone, Debug, Default)]
struct Log {
    latest: VecDeque<NodeIndex>,
    /// Total number of positions ever logged.
    count: u64,
}

impl Log {
    fn push(&mut self, position: NodeIndex) {
        if self.latest.len() == CHANGES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(position);
        self.count += 1;
    }

    /// The entries after the first `count`, if all of them are still known.
    fn since(&self, count: u64) -> Option<impl Iterator<Item = NodeIndex> + '_> {
        let missed = usize::try_from(self.count - count).ok()?;
        let known = self.latest.len().checked_sub(missed)?;
        Some(self.latest.range(known..).copied())
    }
}

/// Distinguishes a thing from all others that exist at the same time. A clone is a different thing.
#[derive(Debug, Default)]
pub struct Identity(Arc<()>);

impl Identity {
    /// Another handle to the same identity.
    #[must_use]
    pub fn same(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Identity {}

/// A position in the changes of a snapshot's nodes.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor {
    snapshot: Identity,
    lists: u64,
    changes: u64,
    changes_beyond_pods: u64,
    storage: u64,
}

impl Snapshot {
    /// A snapshot of these nodes, in this order, and these objects.
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

    /// The distinct terms of pod affinity and anti-affinity of the pods on the nodes: all that may match a pod with these labels,
    /// found without looking at the others.
    pub fn existing_terms_about(&self, labels: &Labels) -> impl Iterator<Item = &Arc<ExistingTerm>> {
        self.terms.about(labels)
    }

    /// The current position in the changes of the nodes.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            snapshot: self.identity.same(),
            lists: self.lists,
            changes: self.changes.count,
            changes_beyond_pods: self.changes_beyond_pods.count,
            storage: self.objects.storage_changed(),
        }
    }

    /// Positions of the nodes that changed since the cursor was taken, possibly with duplicates. `None` if that is no longer
    /// known: the list was replaced, too much has changed since, or the cursor belongs to another snapshot.
    #[must_use]
    pub fn changes_since(&self, cursor: &Cursor) -> Option<impl Iterator<Item = NodeIndex> + '_> {
        self.is_of_this_list(cursor).then(|| self.changes.since(cursor.changes))?
    }

    /// Like [`Self::changes_since`], but only nodes where more than the pods changed: the node objects, or what is known of their
    /// images.
    #[must_use]
    pub fn changes_beyond_pods_since(&self, cursor: &Cursor) -> Option<impl Iterator<Item = NodeIndex> + '_> {
        self.is_of_this_list(cursor).then(|| self.changes_beyond_pods.since(cursor.changes_beyond_pods))?
    }

    fn is_of_this_list(&self, cursor: &Cursor) -> bool {
        cursor.snapshot == self.identity && cursor.lists == self.lists
    }

    /// Positions of the nodes whose storage changed since the cursor was taken, possibly with duplicates: their CSINode, what is
    /// attached to them, or the claims that their pods use and the volumes behind those. `None` as for
    /// [`Snapshot::changes_since`].
    ///
    /// Where a claim is in use, and which volume is behind it, is evaluated now. If that has changed, the nodes or the claim have
    /// changed too, and those changes are reported separately.
    #[must_use]
    pub fn storage_changes_since(&self, cursor: &Cursor) -> Option<Vec<NodeIndex>> {
        if cursor.snapshot != self.identity {
            return None;
        }
        let mut nodes = Vec::new();
        for change in self.objects.storage_changes_since(cursor.storage)? {
            match change {
                StorageChange::OfNode(node) => nodes.extend(self.position(node)),
                StorageChange::Claim(claim) => nodes.extend(self.nodes_with_claim(claim)),
                StorageChange::Volume(volume) => nodes.extend(self.nodes_with_volume(volume)),
            }
        }
        Some(nodes)
    }

    /// Whether a pod on some node uses the claim (`namespace/name`) by name.
    #[must_use]
    pub fn claim_in_use(&self, claim: &str) -> bool {
        self.claims.is_named(claim)
    }

    /// Positions of the nodes on which pods use the claim, by name or through a generic ephemeral volume, in order.
    pub fn nodes_with_claim<'a>(&'a self, claim: &ObjectName) -> impl Iterator<Item = NodeIndex> + use<'a> {
        self.claims.nodes(&claim.to_string())
    }

    /// Positions of the nodes on which pods use a claim that names the volume, and of those to which it is attached, in no
    /// particular order, possibly with duplicates.
    pub fn nodes_with_volume<'a>(&'a self, volume: &str) -> impl Iterator<Item = NodeIndex> + use<'a> {
        let claims = self.objects.claims_of_volume(volume).flat_map(|claim| self.nodes_with_claim(claim));
        let attached = self.objects.attachments_of_volume(volume);
        claims.chain(attached.filter_map(|attachment| self.position(&attachment.node)))
    }

    /// Positions of the nodes with pods that have inline volumes that count toward a CSI driver's limit, in order.
    pub fn nodes_with_inline_attachable(&self) -> impl Iterator<Item = NodeIndex> {
        self.claims.inline()
    }

    /// Namespaces, workloads, budgets, volumes and the like.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// For the core, between cycles: mutable access to the objects.
    pub fn objects_mut(&mut self) -> &mut Objects {
        &mut self.objects
    }

    /// For the core, between cycles: replaces the info of one node in place.
    pub fn replace_node(&mut self, position: NodeIndex, info: Arc<NodeInfo>) {
        self.changes.push(position);
        let old = std::mem::replace(&mut self.nodes[position.get()], info);
        let new = Arc::clone(&self.nodes[position.get()]);
        if !new.differs_by_pods_only(&old) {
            self.changes_beyond_pods.push(position);
        }
        debug_assert_eq!(old.name(), new.name(), "a position holds one node until the list is replaced");
        flip(&mut self.with_affinity, position, !new.pods_with_affinity().is_empty());
        flip(
            &mut self.with_required_anti_affinity,
            position,
            !new.pods_with_required_anti_affinity().is_empty(),
        );
        self.claims.replace(position, Some(&old), &new);
        self.terms.replace(Some(&old), Some(&new));
    }

    /// For the core, between cycles: replaces the whole list.
    pub fn replace_nodes(&mut self, nodes: Vec<Arc<NodeInfo>>) {
        self.replace_terms(&nodes);
        self.nodes = nodes;
        self.lists += 1;
        (self.changes, self.changes_beyond_pods) = (Log::default(), Log::default());
        self.positions.clear();
        self.with_affinity.clear();
        self.with_required_anti_affinity.clear();
        self.claims = ClaimsInUse::default();
        for (at, info) in self.nodes.iter().enumerate() {
            let position = NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"));
            self.positions.insert(info.name().clone(), position);
            if !info.pods_with_affinity().is_empty() {
                self.with_affinity.insert(position);
            }
            if !info.pods_with_required_anti_affinity().is_empty() {
                self.with_required_anti_affinity.insert(position);
            }
            self.claims.replace(position, None, info);
        }
    }

    /// Updates the terms from the current list to this one. Most nodes are in both and have not changed.
    fn replace_terms(&mut self, nodes: &[Arc<NodeInfo>]) {
        let mut stays = vec![false; self.nodes.len()];
        for new in nodes {
            let old = self.positions.get(new.name()).map(|at| at.get());
            let old = old.inspect(|at| stays[*at] = true).map(|at| &self.nodes[at]);
            if !old.is_some_and(|old| Arc::ptr_eq(old, new)) {
                self.terms.replace(old.map(AsRef::as_ref), Some(new));
            }
        }
        for (old, _) in self.nodes.iter().zip(stays).filter(|(_, stays)| !stays) {
            self.terms.replace(Some(old), None);
        }
    }
}

/// Inserts a position into a set or removes it.
fn flip(set: &mut BTreeSet<NodeIndex>, position: NodeIndex, wanted: bool) {
    if wanted {
        set.insert(position);
    } else {
        set.remove(&position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::{Node, wire};

    fn node(name: &str) -> Arc<NodeInfo> {
        let node = wire::Node {
            metadata: wire::ObjectMeta { name: name.into(), ..wire::ObjectMeta::default() },
            ..wire::Node::default()
        };
        Arc::new(NodeInfo::new(Arc::new(Node::new(&node).expect("a node that compiles"))))
    }

    fn changes(snapshot: &Snapshot, cursor: &Cursor) -> Option<Vec<u32>> {
        snapshot.changes_since(cursor).map(|changes| changes.map(|at| at.0).collect())
    }

    #[test]
    fn changes_are_told_from_a_cursor_on() {
        let mut snapshot = Snapshot::new(vec![node("a"), node("b")], Objects::default());
        let first = snapshot.cursor();
        assert_eq!(changes(&snapshot, &first), Some(vec![]));
        snapshot.replace_node(NodeIndex(1), node("b"));
        let second = snapshot.cursor();
        snapshot.replace_node(NodeIndex(0), node("a"));
        snapshot.replace_node(NodeIndex(1), node("b"));
        assert_eq!(changes(&snapshot, &first), Some(vec![1, 0, 1]));
        assert_eq!(changes(&snapshot, &second), Some(vec![0, 1]));
    }

    #[test]
    fn changes_beyond_pods_are_told_apart() {
        let mut snapshot = Snapshot::new(vec![node("a"), node("b")], Objects::default());
        let cursor = snapshot.cursor();
        let beyond = |snapshot: &Snapshot| {
            snapshot.changes_beyond_pods_since(&cursor).map(|changes| changes.map(|at| at.0).collect())
        };
        let same = NodeInfo::clone(&snapshot.nodes()[0]);
        snapshot.replace_node(NodeIndex(0), Arc::new(same.clone()));
        assert_eq!((changes(&snapshot, &cursor), beyond(&snapshot)), (Some(vec![0]), Some(vec![])));
        let mut other_images = same;
        other_images.set_images(Arc::new([(
            Atom::new("image"),
            secondmate_model::ImageState { size_bytes: 1, node_count: 1 },
        )]));
        snapshot.replace_node(NodeIndex(0), Arc::new(other_images));
        snapshot.replace_node(NodeIndex(1), node("b"));
        assert_eq!(beyond(&snapshot), Some(vec![0, 1]));
        snapshot.replace_nodes(vec![node("a")]);
        assert_eq!(beyond(&snapshot), None);
    }

    #[test]
    fn a_cursor_ends_with_the_list_with_its_snapshot_and_where_too_much_has_changed() {
        let mut snapshot = Snapshot::new(vec![node("a"), node("b")], Objects::default());
        let old_list = snapshot.cursor();
        snapshot.replace_nodes(vec![node("b"), node("a")]);
        assert_eq!(changes(&snapshot, &old_list), None);
        let cursor = snapshot.cursor();
        assert_eq!(changes(&snapshot.clone(), &cursor), None);
        for _ in 0..CHANGES_MAX {
            snapshot.replace_node(NodeIndex(0), node("b"));
        }
        assert_eq!(changes(&snapshot, &cursor).map(|all| all.len()), Some(CHANGES_MAX));
        snapshot.replace_node(NodeIndex(0), node("b"));
        assert_eq!(changes(&snapshot, &cursor), None);
    }
}
