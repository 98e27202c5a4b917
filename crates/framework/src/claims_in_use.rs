//! The nodes on which claims are in use, updated node by node.

use crate::snapshot::NodeIndex;
use secondmate_model::NodeInfo;
use std::collections::{BTreeMap, BTreeSet};

/// Claims in use, and inline volumes that count toward a CSI driver's limit, by node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimsInUse {
    /// By `namespace/name`: the nodes, and whether a pod there uses the claim by name.
    claims: BTreeMap<Box<str>, BTreeMap<NodeIndex, bool>>,
    /// Nodes with such inline volumes.
    inline: BTreeSet<NodeIndex>,
}

impl ClaimsInUse {
    /// The node at the position is new or has a new state.
    pub(crate) fn replace(&mut self, at: NodeIndex, old: Option<&NodeInfo>, new: &NodeInfo) {
        if old.is_none_or(|old| !old.all_claims().eq(new.all_claims())) {
            for (claim, _) in old.iter().flat_map(|old| old.all_claims()) {
                if let Some(nodes) = self.claims.get_mut(claim) {
                    nodes.remove(&at);
                    if nodes.is_empty() {
                        self.claims.remove(claim);
                    }
                }
            }
            for (claim, named) in new.all_claims() {
                match self.claims.get_mut(claim) {
                    Some(nodes) => {
                        nodes.insert(at, named);
                    }
                    None => {
                        self.claims.insert(claim.into(), BTreeMap::from([(at, named)]));
                    }
                }
            }
        }
        if new.has_inline_attachable() {
            self.inline.insert(at);
        } else {
            self.inline.remove(&at);
        }
    }

    /// Whether a pod on some node uses the claim by name.
    pub(crate) fn is_named(&self, claim: &str) -> bool {
        self.claims.get(claim).is_some_and(|nodes| nodes.values().any(|named| *named))
    }

    /// The nodes on which pods use the claim, in order.
    pub(crate) fn nodes<'a>(&'a self, claim: &str) -> impl Iterator<Item = NodeIndex> + use<'a> {
        self.claims.get(claim).into_iter().flat_map(|nodes| nodes.keys().copied())
    }

    /// The nodes with inline volumes that count toward a CSI driver's limit, in order.
    pub(crate) fn inline(&self) -> impl Iterator<Item = NodeIndex> {
        self.inline.iter().copied()
    }
}
