//! Nodes, compiled.

use crate::labels::Labels;
use crate::resources::{Allocatable, ResourceError};
use crate::taints::Taint;
use crate::{Atom, wire};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image that a node reports, under one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// A name of the image.
    pub name: Atom,
    /// Size in bytes.
    pub size_bytes: i64,
}

/// A node that could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {name}: {error}")]
pub struct NodeError {
    /// Name.
    pub name: Box<str>,
    /// What is wrong with it.
    pub error: ResourceError,
}

/// A compiled node. Immutable: each change of the object produces a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name.
    pub name: Atom,
    /// UID.
    pub uid: Box<str>,
    /// Resource version of the object that this was compiled from.
    pub resource_version: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Taints.
    pub taints: Box<[Taint]>,
    /// What pods may use; all zero if no kubelet has reported yet, so that no pod fits.
    pub allocatable: Allocatable,
    /// The same with amounts clamped, present only if one exceeds the bound; see [`Node::bounded`].
    pub bounded_allocatable: Option<Box<Allocatable>>,
    /// Images, one entry per name.
    pub images: Box<[NodeImage]>,
    /// Type and status of each condition, sorted by type: a change of one is a cluster event. Of several of one type the last one counts.
    pub conditions: Box<[(Atom, Atom)]>,
    /// Features that the kubelet declares, sorted.
    pub declared_features: Box<[Atom]>,
    /// A hash of the annotations, which are compared but not read.
    pub annotations_hash: u64,
    /// `spec.podPreemptionPolicy`, likewise.
    pub preemption_policy_hash: u64,
    /// The object in full, as JSON: only where a plugin or an extender asks for it, since it is larger than all the rest.
    pub json: Option<Arc<str>>,
}

impl Node {
    /// The node with no amount beyond [`AMOUNT_MAX`](crate::resources::AMOUNT_MAX). See [`Pod::bounded`](crate::Pod::bounded).
    #[must_use]
    pub fn bounded(self: Arc<Self>) -> Arc<Self> {
        let Some(allocatable) = &self.bounded_allocatable else { return self };
        let allocatable = Allocatable::clone(allocatable);
        Arc::new(Self { allocatable, bounded_allocatable: None, ..Self::clone(&self) })
    }

    /// Compiles a node.
    ///
    /// # Errors
    /// A quantity that does not parse.
    pub fn new(node: &wire::Node) -> Result<Self, NodeError> {
        let status = &node.status;
        let (allocatable, bounded_allocatable) = match &status.allocatable {
            Some(list) => Allocatable::read(list)
                .map_err(|error| NodeError { name: node.metadata.name.clone(), error })?,
            None => (Allocatable::default(), None),
        };
        let mut declared_features: Vec<Atom> =
            status.declared_features.iter().map(|f| Atom::new(f)).collect();
        declared_features.sort();
        let conditions: BTreeMap<Atom, Atom> =
            status.conditions.iter().map(|c| (Atom::new(&c.kind), Atom::new(&c.status))).collect();
        Ok(Self {
            name: Atom::new(&node.metadata.name),
            uid: node.metadata.uid.clone(),
            resource_version: node.metadata.resource_version.clone(),
            labels: Labels::new(&node.metadata.labels),
            unschedulable: node.spec.unschedulable,
            taints: node.spec.taints.iter().map(Taint::new).collect(),
            allocatable,
            bounded_allocatable,
            images: status
                .images
                .iter()
                .flat_map(|i| {
                    i.names.iter().map(|n| NodeImage { name: Atom::new(n), size_bytes: i.size_bytes })
                })
                .collect(),
            conditions: conditions.into_iter().collect(),
            declared_features: declared_features.into(),
            annotations_hash: hash(&node.metadata.annotations),
            preemption_policy_hash: hash(&node.spec.pod_preemption_policy),
            json: None,
        })
    }

    /// The same node with the complete object attached.
    #[must_use]
    pub fn with_json(self, json: &str) -> Self {
        Self { json: Some(json.into()), ..self }
    }

    /// The key of the node's zone in the round-robin order: region and zone, with deprecated labels preferred; empty if it has
    /// neither.
    ///
    /// Source: `GetZoneKey` in `k8s.io/component-helpers/node/topology`.
    #[must_use]
    pub fn zone_key(&self) -> String {
        let label = |old: &str, new: &str| {
            self.labels.get(&Atom::new(old)).or_else(|| self.labels.get(&Atom::new(new)))
        };
        let zone = label("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
        let region = label("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
        match (region, zone) {
            (None, None) => String::new(),
            (region, zone) => {
                let text = |atom: Option<&Atom>| atom.map(|a| a.as_str().to_owned()).unwrap_or_default();
                let (region, zone) = (text(region), text(zone));
                if region.is_empty() && zone.is_empty() {
                    String::new()
                } else {
                    // A separator that no label value can contain.
                    format!("{region}:\0:{zone}")
                }
            }
        }
    }
}

/// A hash of data that is compared but not read.
pub(crate) fn hash(value: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
