//! Volumes, claims and the objects of CSI, compiled.

use super::ObjectName;
use crate::labels::{LabelSelector, Labels, SelectorError};
use crate::migration::{self, InTreeSource, Provisioner};
use crate::node_selector::NodeSelector;
use crate::quantity::Quantity;
use crate::{Atom, wire};
use std::collections::BTreeSet;

/// The deprecated annotation that names the class of a volume or claim; it takes precedence over the field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq)]
pub struct PersistentVolume {
    /// Name.
    pub name: Box<str>,
    /// UID.
    pub uid: Box<str>,
    /// Resource version.
    pub resource_version: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: wire::StringMap,
    /// Being deleted.
    pub deleting: bool,
    /// Capacity; zero if absent or unparsable.
    pub capacity: Quantity,
    /// Access modes.
    pub access_modes: Box<[Atom]>,
    /// The claim that it is bound to or reserved for.
    pub claim_ref: Option<wire::ObjectReference>,
    /// Class. The deprecated annotation takes precedence.
    pub storage_class: Atom,
    /// The class in `spec`, ignoring the annotation: scoring uses this one.
    pub spec_class: Atom,
    /// `volumeMode: Block`.
    pub block: bool,
    /// Volume attributes class; absent and empty mean the same.
    pub attributes_class: Option<Atom>,
    /// Which nodes can access it.
    pub node_affinity: Option<NodeSelector>,
    /// CSI driver and handle.
    pub csi: Option<(Atom, Box<str>)>,
    /// In-tree source.
    pub in_tree: Option<InTreeSource>,
    /// Phase.
    pub phase: Atom,
}

impl PersistentVolume {
    /// Compiles a volume.
    #[must_use]
    pub fn new(volume: &wire::PersistentVolume) -> Self {
        let spec = &volume.spec;
        let meta = &volume.metadata;
        Self {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            labels: Labels::new(&meta.labels),
            annotations: meta.annotations.clone(),
            deleting: meta.deletion_timestamp.is_some(),
            capacity: storage(&spec.capacity),
            access_modes: spec.access_modes.iter().map(|m| Atom::new(m)).collect(),
            claim_ref: spec.claim_ref.clone(),
            storage_class: Atom::new(
                meta.annotations.get(CLASS_ANNOTATION).unwrap_or(&spec.storage_class_name),
            ),
            spec_class: Atom::new(&spec.storage_class_name),
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes_class: spec
                .volume_attributes_class_name
                .as_deref()
                .filter(|c| !c.is_empty())
                .map(Atom::new),
            node_affinity: spec
                .node_affinity
                .as_ref()
                .and_then(|a| a.required.as_ref())
                .map(NodeSelector::new),
            csi: spec.csi.as_ref().map(|c| (Atom::new(&c.driver), c.volume_handle.clone())),
            in_tree: InTreeSource::of(volume),
            phase: Atom::new(&volume.status.phase),
        }
    }
}

fn storage(list: &wire::ResourceList) -> Quantity {
    list.get("storage").and_then(|q| Quantity::parse(&q.0).ok()).unwrap_or_default()
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct PersistentVolumeClaim {
    /// Name and namespace.
    pub name: ObjectName,
    /// UID.
    pub uid: Box<str>,
    /// Resource version.
    pub resource_version: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: wire::StringMap,
    /// Being deleted.
    pub deleting: bool,
    /// Controlling owner's UID.
    pub controller_uid: Option<Box<str>>,
    /// Access modes.
    pub access_modes: Box<[Atom]>,
    /// Selector over volumes: absent matches all.
    pub selector: Option<Result<LabelSelector, SelectorError>>,
    /// Requested size; zero if none is given.
    pub request: Quantity,
    /// Whether a size is given.
    pub has_request: bool,
    /// Bound volume; empty if unbound.
    pub volume_name: Box<str>,
    /// Class as written; absent differs from empty. The deprecated annotation takes precedence.
    pub storage_class: Option<Atom>,
    /// `volumeMode: Block`.
    pub block: bool,
    /// Volume attributes class; absent and empty mean the same.
    pub attributes_class: Option<Atom>,
    /// Phase.
    pub phase: Atom,
}

impl PersistentVolumeClaim {
    /// Compiles a claim.
    #[must_use]
    pub fn new(claim: &wire::PersistentVolumeClaim) -> Self {
        let spec = &claim.spec;
        let meta = &claim.metadata;
        let annotated = meta.annotations.get(CLASS_ANNOTATION);
        Self {
            name: ObjectName::of(meta),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            labels: Labels::new(&meta.labels),
            annotations: meta.annotations.clone(),
            deleting: meta.deletion_timestamp.is_some(),
            controller_uid: meta.owner_references.iter().find(|o| o.controller).map(|o| o.uid.clone()),
            access_modes: spec.access_modes.iter().map(|m| Atom::new(m)).collect(),
            selector: spec.selector.as_ref().map(LabelSelector::new),
            request: storage(&spec.resources.requests),
            has_request: spec.resources.requests.contains_key("storage"),
            volume_name: spec.volume_name.clone(),
            storage_class: annotated.or(spec.storage_class_name.as_ref()).map(|c| Atom::new(c)),
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes_class: spec
                .volume_attributes_class_name
                .as_deref()
                .filter(|c| !c.is_empty())
                .map(Atom::new),
            phase: Atom::new(&claim.status.phase),
        }
    }
}

/// A requirement of an allowed topology: the label has one of these values.
pub type TopologyRequirement = (Atom, Box<[Atom]>);

/// A StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClass {
    /// Name.
    pub name: Atom,
    /// Provisioner.
    pub provisioner: Atom,
    /// Driver that provisions the volumes of the class: the provisioner, or the CSI driver that replaced it. `None` for in-tree
    /// plugins whose volumes the scheduler does not count.
    pub driver: Option<Atom>,
    /// Binding mode; `None` if the object has none, which happens only with objects that no API server has validated.
    pub wait_for_first_consumer: Option<bool>,
    /// Where volumes may be provisioned: alternatives, each a list of requirements that must all hold. Empty means everywhere.
    pub allowed_topologies: Box<[Box<[TopologyRequirement]>]>,
}

impl StorageClass {
    /// Compiles a class.
    #[must_use]
    pub fn new(class: &wire::StorageClass) -> Self {
        let provisioner = Atom::new(&class.provisioner);
        let driver = match migration::provisioner(&class.provisioner) {
            Provisioner::Own => Some(provisioner.clone()),
            Provisioner::Migrated(driver) => Some(Atom::new(driver)),
            Provisioner::Uncounted => None,
        };
        Self {
            name: Atom::new(&class.metadata.name),
            provisioner,
            driver,
            wait_for_first_consumer: class
                .volume_binding_mode
                .as_deref()
                .map(|mode| mode == "WaitForFirstConsumer"),
            allowed_topologies: class
                .allowed_topologies
                .iter()
                .map(|term| {
                    term.match_label_expressions
                        .iter()
                        .map(|r| (Atom::new(&r.key), r.values.iter().map(|v| Atom::new(v)).collect()))
                        .collect()
                })
                .collect(),
        }
    }
}

/// A CSINode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsiNode {
    /// Drivers on the node with their volume limits.
    pub drivers: Box<[(Atom, Option<i32>)]>,
    /// In-tree plugins migrated on this node, from the annotation.
    pub migrated_plugins: BTreeSet<Box<str>>,
}

impl CsiNode {
    /// Compiles a CSINode.
    #[must_use]
    pub fn new(node: &wire::CsiNode) -> Self {
        let migrated = node.metadata.annotations.get("storage.alpha.kubernetes.io/migrated-plugins");
        Self {
            drivers: node
                .spec
                .drivers
                .iter()
                .map(|d| (Atom::new(&d.name), d.allocatable.as_ref().and_then(|a| a.count)))
                .collect(),
            migrated_plugins: migrated
                .map(|text| text.split(',').filter(|p| !p.is_empty()).map(Box::from).collect())
                .unwrap_or_default(),
        }
    }
}

/// A CSIDriver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CsiDriver {
    /// Publishes capacities.
    pub publishes_capacity: bool,
    /// Pods with its volumes go only to nodes where it is installed.
    pub must_be_installed: bool,
}

impl CsiDriver {
    /// Compiles a driver.
    #[must_use]
    pub fn new(driver: &wire::CsiDriver) -> Self {
        Self {
            publishes_capacity: driver.spec.storage_capacity.unwrap_or(false),
            must_be_installed: driver.spec.prevent_pod_scheduling_if_missing.unwrap_or(false),
        }
    }
}

/// A CSIStorageCapacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageCapacity {
    /// Class.
    pub storage_class: Atom,
    /// Nodes that it applies to; absent means none.
    pub node_topology: Option<Result<LabelSelector, SelectorError>>,
    /// Remaining capacity.
    pub capacity: Option<Quantity>,
    /// Largest volume that can be provisioned: `maximumVolumeSize`, else `capacity`.
    pub limit: Option<Quantity>,
}

impl StorageCapacity {
    /// Compiles a capacity.
    #[must_use]
    pub fn new(capacity: &wire::CsiStorageCapacity) -> Self {
        let quantity = |q: &Option<wire::QuantityText>| q.as_ref().and_then(|q| Quantity::parse(&q.0).ok());
        let left = quantity(&capacity.capacity);
        Self {
            storage_class: Atom::new(&capacity.storage_class_name),
            node_topology: capacity.node_topology.as_ref().map(LabelSelector::new),
            capacity: left,
            limit: quantity(&capacity.maximum_volume_size).or(left),
        }
    }
}

/// A VolumeAttachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeAttachment {
    /// Attacher: the CSI driver.
    pub attacher: Atom,
    /// Node.
    pub node: Atom,
    /// Volume.
    pub volume: Option<Box<str>>,
}
