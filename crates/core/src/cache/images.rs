//! Which nodes have which image.

use rustc_hash::{FxHashMap, FxHashSet};
use secondmate_model::{Atom, ImageState, Node};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As reported by the first node with the name; a later, different size is ignored until the entry disappears.
    size_bytes: i64,
    nodes: usize,
}

/// Images by name over all nodes.
#[derive(Clone, Debug, Default)]
pub struct ImageStates {
    images: FxHashMap<Atom, Entry>,
    /// Names for which nodes have reported different sizes, usually multi-architecture images.
    disputed: FxHashSet<Atom>,
    epoch: u64,
}

/// Names of a node's images, without duplicates, sorted.
fn names(node: &Node) -> Vec<(&Atom, i64)> {
    let mut names: Vec<_> = node.images.iter().map(|i| (&i.name, i.size_bytes)).collect();
    // The sort is stable, so the first report of a duplicate name counts.
    names.sort_by(|a, b| a.0.cmp(b.0));
    names.dedup_by(|later, first| later.0 == first.0);
    names
}

impl ImageStates {
    /// Grows with each change.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a node's images to the counts.
    pub fn add_node(&mut self, node: &Node) {
        for (name, size_bytes) in names(node) {
            let entry = self.images.entry(name.clone()).or_insert(Entry { size_bytes, nodes: 0 });
            entry.nodes += 1;
            if entry.size_bytes != size_bytes {
                self.disputed.insert(name.clone());
            }
        }
        self.epoch += 1;
    }

    /// A node reports the same images again. Upstream removes and adds them again, so that for an image that no other node has
    /// any more, the size becomes that of this node.
    pub fn reported_again(&mut self, node: &Node) {
        if self.disputed.is_empty() {
            return;
        }
        for (name, size_bytes) in names(node) {
            if let Some(entry) = self.images.get_mut(name).filter(|entry| entry.nodes == 1) {
                self.disputed.remove(name);
                if std::mem::replace(&mut entry.size_bytes, size_bytes) != size_bytes {
                    self.epoch += 1;
                }
            }
        }
    }

    /// Removes a node's images from the counts.
    pub fn remove_node(&mut self, node: &Node) {
        for (name, _) in names(node) {
            if let Some(entry) = self.images.get_mut(name) {
                entry.nodes -= 1;
                if entry.nodes == 0 {
                    self.images.remove(name);
                    self.disputed.remove(name);
                }
            }
        }
        self.epoch += 1;
    }

    /// States of a node's images, sorted by name.
    pub fn of(&self, node: &Node) -> Arc<[(Atom, ImageState)]> {
        names(node)
            .into_iter()
            .filter_map(|(name, _)| {
                let entry = self.images.get(name)?;
                Some((name.clone(), ImageState { size_bytes: entry.size_bytes, node_count: entry.nodes }))
            })
            .collect()
    }
}
