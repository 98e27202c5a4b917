//! What a plugin reads for one pod, where that is less than it declares.

use crate::grouping::Alike;
use crate::snapshot::NodeIndex;
use secondmate_model::objects::ObjectKind;
use std::sync::Arc;

/// What the verdicts and raw scores of a plugin follow from for one pod in one cycle, beside the node itself with the pods on it. See
/// [`Plugin::reading`](crate::Plugin::reading).
#[derive(Debug)]
pub struct Reading {
    /// What they follow from of the pod, and of the objects that belong to it: for two pods with the same key they are the same on every
    /// node, but for those in [`Reading::nodes`]. `None`: they follow from nothing of it.
    pub key: Option<Arc<dyn Alike>>,
    /// Kinds of objects any of which may change them.
    pub objects: Vec<ObjectKind>,
    /// Whether they also follow from storage that belongs to the node: its CSINode, what is attached to it, the claims that its pods use,
    /// and the volumes behind these.
    pub storage: bool,
    /// Nodes on which pods with the same key may stand differently, in any order; some of them several times.
    pub nodes: Vec<NodeIndex>,
}

impl Reading {
    /// From nothing but the node: they are the same for all pods of which the plugin says so.
    #[must_use]
    pub fn nothing() -> Self {
        Self { key: None, objects: Vec::new(), storage: false, nodes: Vec::new() }
    }

    /// Whether they follow from nothing but the node.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        self.key.is_none() && self.objects.is_empty() && !self.storage && self.nodes.is_empty()
    }

    /// From this key alone.
    #[must_use]
    pub fn of(key: impl Alike) -> Self {
        Self { key: Some(Arc::new(key)), ..Self::nothing() }
    }

    /// The same, and any object of these kinds may change them.
    #[must_use]
    pub fn with_objects(mut self, objects: &[ObjectKind]) -> Self {
        self.objects.extend_from_slice(objects);
        self
    }

    /// The same, and they follow from storage that belongs to the node.
    #[must_use]
    pub fn with_storage(mut self) -> Self {
        self.storage = true;
        self
    }
}
