//! Which nodes have which image.

use rustc_hash::{FxHashMap, FxHashSet};
use secondmate_model::{Atom, ImageState, Node};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As the first node that reported the name gave it; a later, different size is ignored until the entry disappears.
    size_bytes: i64,
    nodes: usize,
}

/// Images by name over all nodes.
#[derive(Clone, Debug, Default)]
pub struct ImageStates {
    images: FxHashMap<Atom, Entry>,
    /// Names whose nodes have not all reported the same size: images for several architectures, most often.
    disputed: FxHashSet<Atom>,
    epoch: u64,
}

/// Names of a node's images, each once, sorted.
fn names(node: &Node) -> Vec<(&Atom, i64)> {
    let mut names: Vec<_> = node.images.iter().map(|i| (&i.name, i.size_bytes)).collect();
    // Stable, so that of a name reported twice the first report counts.
    names.sort_by(|a, b| a.0.cmp(b.0));
    names.dedup_by(|later, first| later.0 == first.0);
    names
}

impl ImageStates {
    /// Grows with each change.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Counts a node's images in.
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

    /// A node reports the images that it has reported before. Upstream counts them out and in again, so that of an image which no other node
    /// has any more the size is this node's from then on.
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

    /// Counts a node's images out.
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
