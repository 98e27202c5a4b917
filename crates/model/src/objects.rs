//! The other objects that plugins read: namespaces, workloads, budgets, volumes and CSI objects.
//!
//! [`Objects`] holds them by name. Its single owner writes it between cycles; plugins read it during a cycle.

mod kind;
mod own;
mod storage;
mod storage_index;
mod table;

pub use crate::migration::{InTreeSource, MigratedVolume};
pub use kind::{ApiResource, ObjectKind, Source};
pub use own::{Own, OwnKind, OwnObject, PluginObject};
pub use storage::{
    CsiDriver, CsiNode, PersistentVolume, PersistentVolumeClaim, StorageCapacity, StorageClass,
    TopologyRequirement, VolumeAttachment,
};
pub use storage_index::{STORAGE_CHANGES_MAX, StorageChange};
pub use table::Objects;

use crate::labels::{LabelSelector, Labels, SelectorError};
use crate::{Atom, Pod, wire};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
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

    /// The name of a namespaced object. If the namespace is missing, as it may be in files, it is `default`.
    fn of(meta: &wire::ObjectMeta) -> Self {
        let namespace = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
        Self { namespace: Atom::new(namespace), name: meta.name.clone() }
    }
}

/// Namespace and name, owned or borrowed: the key for lookups in maps by [`ObjectName`], so that a lookup during a cycle does not
/// allocate.
pub trait NameParts {
    /// Namespace and name.
    fn parts(&self) -> (&Atom, &str);
}

impl NameParts for ObjectName {
    fn parts(&self) -> (&Atom, &str) {
        (&self.namespace, &self.name)
    }
}

impl NameParts for (&Atom, &str) {
    fn parts(&self) -> (&Atom, &str) {
        *self
    }
}

impl<'a> Borrow<dyn NameParts + 'a> for ObjectName {
    fn borrow(&self) -> &(dyn NameParts + 'a) {
        self
    }
}

// The order must be the one that `ObjectName` derives.
impl PartialEq for dyn NameParts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
impl Eq for dyn NameParts + '_ {}
impl PartialOrd for dyn NameParts + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn NameParts + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
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

/// A Service, ReplicationController, ReplicaSet or StatefulSet, reduced to its selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The selector, or an error if it is invalid.
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
    /// Names of the pods whose disruption is in progress.
    pub disrupted_pods: BTreeSet<Box<str>>,
}

impl DisruptionBudget {
    /// Whether it can protect any pod. Here, an empty selector selects no pods, like an absent one.
    #[must_use]
    pub fn protects_pods(&self) -> bool {
        self.selector.as_ref().is_ok_and(|selector| !selector.is_everything() && !selector.is_nothing())
    }

    /// Whether this budget, which is in `namespace`, protects the pod. A pod without labels is never protected.
    #[must_use]
    pub fn protects(&self, namespace: &Atom, pod: &Pod) -> bool {
        *namespace == pod.namespace
            && !pod.labels.is_empty()
            && self.protects_pods()
            && self.selector.as_ref().is_ok_and(|selector| selector.matches(&pod.labels))
    }

    /// Whether evicting the pod uses up a disruption of this budget, which is in `namespace`: the budget protects the pod and does
    /// not count it as disrupted already.
    ///
    /// Source of the rule: `filterPodsWithPDBViolation` in `pkg/scheduler/framework/preemption`.
    #[must_use]
    pub fn is_charged_for(&self, namespace: &Atom, pod: &Pod) -> bool {
        self.protects(namespace, pod) && !self.disrupted_pods.contains(&pod.name)
    }
}

/// An object of one of the kinds of [`Objects`], compiled.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A namespace, with its labels.
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
    /// A CSIDriver.
    CsiDriver(Atom, CsiDriver),
    /// A CSIStorageCapacity.
    StorageCapacity(ObjectName, StorageCapacity),
    /// A VolumeAttachment.
    VolumeAttachment(Box<str>, VolumeAttachment),
    /// A DeviceClass, with the extended resource that it names.
    DeviceClass(Atom, Option<Atom>),
    /// An object that a plugin reads as its own type.
    Own(OwnObject),
}

impl Object {
    /// A Service or ReplicationController.
    #[must_use]
    pub fn map_selecting(kind: ObjectKind, object: &wire::MapSelecting) -> Self {
        let workload = Workload {
            selector: Ok(object
                .spec
                .selector
                .as_ref()
                .map_or_else(LabelSelector::nothing, LabelSelector::from_map)),
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
        Self::CsiDriver(Atom::new(&object.metadata.name), CsiDriver::new(object))
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

    /// The object's kind.
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
            Self::Own(object) => ObjectKind::Own(object.kind()),
        }
    }

    /// Whether it may affect individual nodes: what is attached to them, and the volumes of their pods.
    fn is_storage(&self) -> bool {
        matches!(
            self,
            Self::PersistentVolume(..)
                | Self::PersistentVolumeClaim(..)
                | Self::VolumeAttachment(..)
                | Self::CsiNode(..)
        )
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        let cluster = |name: &str| ObjectName { namespace: Atom::default(), name: name.into() };
        match self {
            Self::Namespace(name, _)
            | Self::CsiNode(name, _)
            | Self::CsiDriver(name, _)
            | Self::DeviceClass(name, _) => cluster(name.as_str()),
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
            Self::Own(object) => object.name().clone(),
        }
    }
}
