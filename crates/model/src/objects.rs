//! The other objects that plugins read: namespaces, workloads, budgets, volumes and CSI objects.
//!
//! [`Objects`] holds them by name. Its one owner writes it between cycles; plugins read it during one.

use crate::labels::{LabelSelector, Labels, SelectorError};
use crate::node_selector::NodeSelector;
use crate::quantity::Quantity;
use crate::{Atom, wire};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Atom,
    /// Name.
    pub name: Box<str>,
}

impl ObjectName {
    /// From its parts.
    #[must_use]
    pub fn new(namespace: &Atom, name: &str) -> Self {
        Self { namespace: namespace.clone(), name: name.into() }
    }

    fn of(meta: &wire::ObjectMeta) -> Self {
        Self { namespace: Atom::new(&meta.namespace), name: meta.name.clone() }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A Service, ReplicationController, ReplicaSet or StatefulSet: what it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The selector; an error where it is invalid.
    pub selector: Result<LabelSelector, SelectorError>,
    /// Whether the object has a selector at all.
    pub has_selector: bool,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisruptionBudget {
    /// Pods that it protects.
    pub selector: Result<LabelSelector, SelectorError>,
    /// Disruptions allowed now.
    pub disruptions_allowed: i32,
    /// Pods whose disruption is under way, by name.
    pub disrupted_pods: BTreeSet<Box<str>>,
}

/// An in-tree volume source that CSI migration translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTreeSource {
    /// In-tree plugin name such as `kubernetes.io/aws-ebs`.
    pub plugin: &'static str,
    /// CSI driver that takes its place.
    pub driver: &'static str,
    /// The volume's id or name as written.
    pub id: Box<str>,
    /// A second part of the identity (Azure's disk URI).
    pub uri: Box<str>,
}

impl InTreeSource {
    fn of(spec: &wire::PersistentVolumeSpec) -> Option<Self> {
        let make = |plugin, driver, id: &str, uri: &str| {
            Some(Self { plugin, driver, id: id.into(), uri: uri.into() })
        };
        if let Some(s) = &spec.aws_elastic_block_store {
            make("kubernetes.io/aws-ebs", "ebs.csi.aws.com", &s.volume_id, "")
        } else if let Some(s) = &spec.gce_persistent_disk {
            make("kubernetes.io/gce-pd", "pd.csi.storage.gke.io", &s.pd_name, "")
        } else if let Some(s) = &spec.azure_disk {
            make("kubernetes.io/azure-disk", "disk.csi.azure.com", &s.disk_name, &s.disk_uri)
        } else if let Some(s) = &spec.cinder {
            make("kubernetes.io/cinder", "cinder.csi.openstack.org", &s.volume_id, "")
        } else if let Some(s) = &spec.portworx_volume {
            make("kubernetes.io/portworx-volume", "pxd.portworx.com", &s.volume_id, "")
        } else {
            None
        }
    }
}

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
    /// Capacity; zero where absent or unparsable.
    pub capacity: Quantity,
    /// Access modes.
    pub access_modes: Box<[Atom]>,
    /// The claim that it is bound to or reserved for.
    pub claim_ref: Option<wire::ObjectReference>,
    /// Class.
    pub storage_class: Atom,
    /// `volumeMode: Block`.
    pub block: bool,
    /// Volume attributes class; absent and empty mean the same.
    pub attributes_class: Option<Atom>,
    /// Where it can be reached from.
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
            storage_class: Atom::new(&spec.storage_class_name),
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes_class: spec.volume_attributes_class_name.as_deref().filter(|c| !c.is_empty()).map(Atom::new),
            node_affinity: spec
                .node_affinity
                .as_ref()
                .and_then(|a| a.required.as_ref())
                .map(NodeSelector::new),
            csi: spec.csi.as_ref().map(|c| (Atom::new(&c.driver), c.volume_handle.clone())),
            in_tree: InTreeSource::of(spec),
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
    /// Size asked for.
    pub request: Quantity,
    /// Bound volume; empty where none.
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
        let annotated = meta.annotations.get("volume.beta.kubernetes.io/storage-class");
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
            volume_name: spec.volume_name.clone(),
            storage_class: annotated.or(spec.storage_class_name.as_ref()).map(|c| Atom::new(c)),
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes_class: spec.volume_attributes_class_name.as_deref().filter(|c| !c.is_empty()).map(Atom::new),
            phase: Atom::new(&claim.status.phase),
        }
    }
}

/// A requirement of an allowed topology: the label's value is one of these.
pub type TopologyRequirement = (Atom, Box<[Atom]>);

/// A StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClass {
    /// Name.
    pub name: Atom,
    /// Provisioner.
    pub provisioner: Atom,
    /// Binding mode; `None` where the object has none, which only unchecked objects do.
    pub wait_for_first_consumer: Option<bool>,
    /// Where volumes may be provisioned: alternatives of requirements that all hold; empty means everywhere.
    pub allowed_topologies: Box<[Box<[TopologyRequirement]>]>,
}

impl StorageClass {
    /// Compiles a class.
    #[must_use]
    pub fn new(class: &wire::StorageClass) -> Self {
        Self {
            name: Atom::new(&class.metadata.name),
            provisioner: Atom::new(&class.provisioner),
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

/// A CSIStorageCapacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageCapacity {
    /// Class.
    pub storage_class: Atom,
    /// Nodes that it is for; absent means none.
    pub node_topology: Option<Result<LabelSelector, SelectorError>>,
    /// Largest volume that can be made: `maximumVolumeSize`, else `capacity`.
    pub limit: Option<Quantity>,
}

impl StorageCapacity {
    /// Compiles a capacity.
    #[must_use]
    pub fn new(capacity: &wire::CsiStorageCapacity) -> Self {
        let quantity = |q: &Option<wire::QuantityText>| q.as_ref().and_then(|q| Quantity::parse(&q.0).ok());
        Self {
            storage_class: Atom::new(&capacity.storage_class_name),
            node_topology: capacity.node_topology.as_ref().map(LabelSelector::new),
            limit: quantity(&capacity.maximum_volume_size).or_else(|| quantity(&capacity.capacity)),
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

/// An object of one of the kinds of [`Objects`], compiled.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A namespace: its labels.
    Namespace(Atom, Labels),
    /// A Service.
    Service(ObjectName, Workload),
    /// A ReplicationController.
    ReplicationController(ObjectName, Workload),
    /// A ReplicaSet.
    ReplicaSet(ObjectName, Workload),
    /// A StatefulSet.
    StatefulSet(ObjectName, Workload),
    /// A PodDisruptionBudget.
    DisruptionBudget(ObjectName, DisruptionBudget),
    /// A PersistentVolume.
    PersistentVolume(Arc<PersistentVolume>),
    /// A PersistentVolumeClaim.
    PersistentVolumeClaim(Arc<PersistentVolumeClaim>),
    /// A StorageClass.
    StorageClass(StorageClass),
    /// A CSINode, by node name.
    CsiNode(Atom, CsiNode),
    /// A CSIDriver: whether it publishes capacities.
    CsiDriver(Atom, bool),
    /// A CSIStorageCapacity.
    StorageCapacity(ObjectName, StorageCapacity),
    /// A VolumeAttachment.
    VolumeAttachment(Box<str>, VolumeAttachment),
    /// A DeviceClass: the extended resource that it names.
    DeviceClass(Atom, Option<Atom>),
}

/// The kinds of [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the kind of its name")]
pub enum ObjectKind {
    Namespace,
    Service,
    ReplicationController,
    ReplicaSet,
    StatefulSet,
    DisruptionBudget,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    CsiNode,
    CsiDriver,
    StorageCapacity,
    VolumeAttachment,
    DeviceClass,
}

impl Object {
    /// A Service or ReplicationController.
    #[must_use]
    pub fn map_selecting(kind: ObjectKind, object: &wire::MapSelecting) -> Self {
        let workload = Workload {
            selector: Ok(object.spec.selector.as_ref().map_or_else(LabelSelector::nothing, LabelSelector::from_map)),
            has_selector: object.spec.selector.is_some(),
        };
        let name = ObjectName::of(&object.metadata);
        if kind == ObjectKind::Service {
            Self::Service(name, workload)
        } else {
            Self::ReplicationController(name, workload)
        }
    }

    /// A ReplicaSet or StatefulSet.
    #[must_use]
    pub fn label_selecting(kind: ObjectKind, object: &wire::LabelSelecting) -> Self {
        let workload = Workload {
            selector: LabelSelector::optional(object.spec.selector.as_ref()),
            has_selector: object.spec.selector.is_some(),
        };
        let name = ObjectName::of(&object.metadata);
        if kind == ObjectKind::ReplicaSet {
            Self::ReplicaSet(name, workload)
        } else {
            Self::StatefulSet(name, workload)
        }
    }

    /// A PodDisruptionBudget.
    #[must_use]
    pub fn disruption_budget(object: &wire::PodDisruptionBudget) -> Self {
        Self::DisruptionBudget(
            ObjectName::of(&object.metadata),
            DisruptionBudget {
                selector: LabelSelector::optional(object.spec.selector.as_ref()),
                disruptions_allowed: object.status.disruptions_allowed,
                disrupted_pods: object.status.disrupted_pods.keys().cloned().collect(),
            },
        )
    }

    /// A namespace.
    #[must_use]
    pub fn namespace(object: &wire::MetadataOnly) -> Self {
        Self::Namespace(Atom::new(&object.metadata.name), Labels::new(&object.metadata.labels))
    }

    /// A CSIStorageCapacity.
    #[must_use]
    pub fn storage_capacity(object: &wire::CsiStorageCapacity) -> Self {
        Self::StorageCapacity(ObjectName::of(&object.metadata), StorageCapacity::new(object))
    }

    /// A CSINode.
    #[must_use]
    pub fn csi_node(object: &wire::CsiNode) -> Self {
        Self::CsiNode(Atom::new(&object.metadata.name), CsiNode::new(object))
    }

    /// A CSIDriver.
    #[must_use]
    pub fn csi_driver(object: &wire::CsiDriver) -> Self {
        Self::CsiDriver(Atom::new(&object.metadata.name), object.spec.storage_capacity.unwrap_or(false))
    }

    /// A VolumeAttachment.
    #[must_use]
    pub fn volume_attachment(object: &wire::VolumeAttachment) -> Self {
        Self::VolumeAttachment(
            object.metadata.name.clone(),
            VolumeAttachment {
                attacher: Atom::new(&object.spec.attacher),
                node: Atom::new(&object.spec.node_name),
                volume: object.spec.source.persistent_volume_name.clone(),
            },
        )
    }

    /// A DeviceClass.
    #[must_use]
    pub fn device_class(object: &wire::DeviceClass) -> Self {
        Self::DeviceClass(
            Atom::new(&object.metadata.name),
            object.spec.extended_resource_name.as_deref().map(Atom::new),
        )
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Namespace(..) => ObjectKind::Namespace,
            Self::Service(..) => ObjectKind::Service,
            Self::ReplicationController(..) => ObjectKind::ReplicationController,
            Self::ReplicaSet(..) => ObjectKind::ReplicaSet,
            Self::StatefulSet(..) => ObjectKind::StatefulSet,
            Self::DisruptionBudget(..) => ObjectKind::DisruptionBudget,
            Self::PersistentVolume(..) => ObjectKind::PersistentVolume,
            Self::PersistentVolumeClaim(..) => ObjectKind::PersistentVolumeClaim,
            Self::StorageClass(..) => ObjectKind::StorageClass,
            Self::CsiNode(..) => ObjectKind::CsiNode,
            Self::CsiDriver(..) => ObjectKind::CsiDriver,
            Self::StorageCapacity(..) => ObjectKind::StorageCapacity,
            Self::VolumeAttachment(..) => ObjectKind::VolumeAttachment,
            Self::DeviceClass(..) => ObjectKind::DeviceClass,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        let cluster = |name: &str| ObjectName { namespace: Atom::default(), name: name.into() };
        match self {
            Self::Namespace(name, _) | Self::CsiNode(name, _) | Self::CsiDriver(name, _) | Self::DeviceClass(name, _) => {
                cluster(name.as_str())
            }
            Self::Service(name, _)
            | Self::ReplicationController(name, _)
            | Self::ReplicaSet(name, _)
            | Self::StatefulSet(name, _)
            | Self::DisruptionBudget(name, _)
            | Self::StorageCapacity(name, _) => name.clone(),
            Self::PersistentVolume(volume) => cluster(&volume.name),
            Self::PersistentVolumeClaim(claim) => claim.name.clone(),
            Self::StorageClass(class) => cluster(class.name.as_str()),
            Self::VolumeAttachment(name, _) => cluster(name),
        }
    }
}

/// All objects but pods and nodes, by name. Iteration is in name order.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Labels of the namespaces.
    pub namespaces: BTreeMap<Atom, Labels>,
    /// Services.
    pub services: BTreeMap<ObjectName, Workload>,
    /// ReplicationControllers.
    pub replication_controllers: BTreeMap<ObjectName, Workload>,
    /// ReplicaSets.
    pub replica_sets: BTreeMap<ObjectName, Workload>,
    /// StatefulSets.
    pub stateful_sets: BTreeMap<ObjectName, Workload>,
    /// PodDisruptionBudgets.
    pub disruption_budgets: BTreeMap<ObjectName, DisruptionBudget>,
    /// PersistentVolumes.
    pub volumes: BTreeMap<Box<str>, Arc<PersistentVolume>>,
    /// PersistentVolumeClaims.
    pub claims: BTreeMap<ObjectName, Arc<PersistentVolumeClaim>>,
    /// StorageClasses.
    pub storage_classes: BTreeMap<Atom, StorageClass>,
    /// CSINodes.
    pub csi_nodes: BTreeMap<Atom, CsiNode>,
    /// CSIDrivers: whether they publish capacities.
    pub csi_drivers: BTreeMap<Atom, bool>,
    /// CSIStorageCapacities.
    pub storage_capacities: BTreeMap<ObjectName, StorageCapacity>,
    /// VolumeAttachments.
    pub volume_attachments: BTreeMap<Box<str>, VolumeAttachment>,
    /// DeviceClasses: the extended resource that each names.
    pub device_classes: BTreeMap<Atom, Option<Atom>>,
}

impl Objects {
    /// Adds or replaces an object; returns the one that stood there before.
    pub fn apply(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Namespace(n, v) => self.namespaces.insert(n.clone(), v).map(|v| Object::Namespace(n, v)),
            Object::Service(n, v) => self.services.insert(n.clone(), v).map(|v| Object::Service(n, v)),
            Object::ReplicationController(n, v) => self
                .replication_controllers
                .insert(n.clone(), v)
                .map(|v| Object::ReplicationController(n, v)),
            Object::ReplicaSet(n, v) => self.replica_sets.insert(n.clone(), v).map(|v| Object::ReplicaSet(n, v)),
            Object::StatefulSet(n, v) => {
                self.stateful_sets.insert(n.clone(), v).map(|v| Object::StatefulSet(n, v))
            }
            Object::DisruptionBudget(n, v) => {
                self.disruption_budgets.insert(n.clone(), v).map(|v| Object::DisruptionBudget(n, v))
            }
            Object::PersistentVolume(v) => {
                self.volumes.insert(v.name.clone(), v).map(Object::PersistentVolume)
            }
            Object::PersistentVolumeClaim(v) => {
                self.claims.insert(v.name.clone(), v).map(Object::PersistentVolumeClaim)
            }
            Object::StorageClass(v) => {
                self.storage_classes.insert(v.name.clone(), v).map(Object::StorageClass)
            }
            Object::CsiNode(n, v) => self.csi_nodes.insert(n.clone(), v).map(|v| Object::CsiNode(n, v)),
            Object::CsiDriver(n, v) => self.csi_drivers.insert(n.clone(), v).map(|v| Object::CsiDriver(n, v)),
            Object::StorageCapacity(n, v) => {
                self.storage_capacities.insert(n.clone(), v).map(|v| Object::StorageCapacity(n, v))
            }
            Object::VolumeAttachment(n, v) => {
                self.volume_attachments.insert(n.clone(), v).map(|v| Object::VolumeAttachment(n, v))
            }
            Object::DeviceClass(n, v) => {
                self.device_classes.insert(n.clone(), v).map(|v| Object::DeviceClass(n, v))
            }
        }
    }

    /// Removes an object; returns it where it was there.
    pub fn remove(&mut self, kind: ObjectKind, name: &ObjectName) -> Option<Object> {
        let plain = Atom::new(&name.name);
        match kind {
            ObjectKind::Namespace => self.namespaces.remove(&plain).map(|v| Object::Namespace(plain, v)),
            ObjectKind::Service => self.services.remove(name).map(|v| Object::Service(name.clone(), v)),
            ObjectKind::ReplicationController => self
                .replication_controllers
                .remove(name)
                .map(|v| Object::ReplicationController(name.clone(), v)),
            ObjectKind::ReplicaSet => {
                self.replica_sets.remove(name).map(|v| Object::ReplicaSet(name.clone(), v))
            }
            ObjectKind::StatefulSet => {
                self.stateful_sets.remove(name).map(|v| Object::StatefulSet(name.clone(), v))
            }
            ObjectKind::DisruptionBudget => {
                self.disruption_budgets.remove(name).map(|v| Object::DisruptionBudget(name.clone(), v))
            }
            ObjectKind::PersistentVolume => self.volumes.remove(&name.name).map(Object::PersistentVolume),
            ObjectKind::PersistentVolumeClaim => self.claims.remove(name).map(Object::PersistentVolumeClaim),
            ObjectKind::StorageClass => self.storage_classes.remove(&plain).map(Object::StorageClass),
            ObjectKind::CsiNode => self.csi_nodes.remove(&plain).map(|v| Object::CsiNode(plain, v)),
            ObjectKind::CsiDriver => self.csi_drivers.remove(&plain).map(|v| Object::CsiDriver(plain, v)),
            ObjectKind::StorageCapacity => {
                self.storage_capacities.remove(name).map(|v| Object::StorageCapacity(name.clone(), v))
            }
            ObjectKind::VolumeAttachment => self
                .volume_attachments
                .remove(&name.name)
                .map(|v| Object::VolumeAttachment(name.name.clone(), v)),
            ObjectKind::DeviceClass => {
                self.device_classes.remove(&plain).map(|v| Object::DeviceClass(plain, v))
            }
        }
    }
}
