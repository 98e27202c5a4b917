//! What a plugin reads for one pod, if that is less than it declares.

use crate::grouping::Alike;
use crate::snapshot::NodeIndex;
use secondmate_model::objects::ObjectKind;
use std::sync::Arc;

/// What the verdicts and raw scores of a plugin depend on for one pod in one cycle, besides the node itself and the pods on it.
/// See [`Plugin::reading`](crate::Plugin::reading).
#[derive(Debug)]
pub struct Reading {
    /// What they depend on of the pod and of the objects that belong to it: two pods with the same key get the same results on
    /// every node except those in [`Reading::nodes`]. `None`: they depend on nothing of the pod.
    pub key: Option<Arc<dyn Alike>>,
    /// Kinds of objects that may change the results, whichever object it is.
    pub objects: Vec<ObjectKind>,
    /// Whether they also depend on storage that belongs to the node: its CSINode, what is attached to it, the claims that its
    /// pods use, and the volumes behind these.
    pub storage: bool,
    /// Nodes on which the results may differ for pods with the same key, in any order, possibly with duplicates.
    pub nodes: Vec<NodeIndex>,
}

impl Reading {
    /// Results that depend only on the node: they are the same for all pods for which the plugin returns this.
    #[must_use]
    pub fn nothing() -> Self {
        Self { key: None, objects: Vec::new(), storage: false, nodes: Vec::new() }
    }

    /// Whether they depend only on the node.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        self.key.is_none() && self.objects.is_empty() && !self.storage && self.nodes.is_empty()
    }

    /// Results that depend only on this key.
    #[must_use]
    pub fn of(key: impl Alike) -> Self {
        Self { key: Some(Arc::new(key)), ..Self::nothing() }
    }

    /// Adds kinds of objects that may change the results.
    #[must_use]
    pub fn with_objects(mut self, objects: &[ObjectKind]) -> Self {
        self.objects.extend_from_slice(objects);
        self
    }

    /// The results also depend on storage that belongs to the node.
    #[must_use]
    pub fn with_storage(mut self) -> Self {
        self.storage = true;
        self
    }
}
