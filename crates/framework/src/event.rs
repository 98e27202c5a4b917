//! Cluster events: what changed, and which plugins' rejections it may resolve.

use secondmate_model::objects::{Object, ObjectKind, OwnKind, PluginObject};
use secondmate_model::{Node, Pod};
use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

/// The resource that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventResource {
    /// For registration only: stands for the three kinds of pods that follow.
    Pod,
    /// A pod on a node.
    AssignedPod,
    /// A pod without a node, other than the one that the plugin is asked about.
    UnscheduledPod,
    /// The queued pod itself, which the plugin is asked about.
    TargetPod,
    /// Node.
    Node,
    /// PersistentVolume.
    PersistentVolume,
    /// PersistentVolumeClaim.
    PersistentVolumeClaim,
    /// StorageClass.
    StorageClass,
    /// CSINode.
    CsiNode,
    /// CSIDriver.
    CsiDriver,
    /// CSIStorageCapacity.
    CsiStorageCapacity,
    /// VolumeAttachment.
    VolumeAttachment,
    /// ResourceClaim.
    ResourceClaim,
    /// ResourceSlice.
    ResourceSlice,
    /// DeviceClass.
    DeviceClass,
    /// Namespace. kube-scheduler has no such event, so it must be registered explicitly: `Wildcard` does not include it.
    Namespace,
    /// A kind that a plugin reads as its own type.
    Own(OwnKind),
    /// Any.
    Wildcard,
}

impl EventResource {
    /// The kind that is read as `T`.
    #[must_use]
    pub fn own<T: PluginObject>() -> Self {
        Self::Own(OwnKind::of::<T>())
    }

    /// The kind of object, if a snapshot holds this kind besides pods and nodes.
    #[must_use]
    pub fn kind(self) -> Option<ObjectKind> {
        Some(match self {
            Self::PersistentVolume => ObjectKind::PersistentVolume,
            Self::PersistentVolumeClaim => ObjectKind::PersistentVolumeClaim,
            Self::StorageClass => ObjectKind::StorageClass,
            Self::CsiNode => ObjectKind::CsiNode,
            Self::CsiDriver => ObjectKind::CsiDriver,
            Self::CsiStorageCapacity => ObjectKind::StorageCapacity,
            Self::VolumeAttachment => ObjectKind::VolumeAttachment,
            Self::DeviceClass => ObjectKind::DeviceClass,
            Self::Own(kind) => ObjectKind::Own(kind),
            _ => return None,
        })
    }
}

/// What happened to it: a set of bits with upstream's meaning and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionType(pub u32);

#[allow(missing_docs, reason = "each is upstream's action of its name")]
impl ActionType {
    pub const ADD: Self = Self(1);
    pub const DELETE: Self = Self(1 << 1);
    pub const UPDATE_NODE_ALLOCATABLE: Self = Self(1 << 2);
    pub const UPDATE_NODE_LABEL: Self = Self(1 << 3);
    pub const UPDATE_NODE_TAINT: Self = Self(1 << 4);
    pub const UPDATE_NODE_CONDITION: Self = Self(1 << 5);
    pub const UPDATE_NODE_ANNOTATION: Self = Self(1 << 6);
    pub const UPDATE_NODE_DECLARED_FEATURE: Self = Self(1 << 7);
    pub const UPDATE_NODE_PREEMPTION_POLICY: Self = Self(1 << 8);
    pub const UPDATE_POD_LABEL: Self = Self(1 << 9);
    pub const UPDATE_POD_SCALE_DOWN: Self = Self(1 << 10);
    pub const UPDATE_POD_SCALE_UP: Self = Self(1 << 11);
    pub const UPDATE_POD_TOLERATION: Self = Self(1 << 12);
    pub const UPDATE_POD_SCHEDULING_GATES_ELIMINATED: Self = Self(1 << 13);
    pub const UPDATE_POD_GENERATED_RESOURCE_CLAIM: Self = Self(1 << 14);
    /// Every update.
    pub const UPDATE: Self = Self((1 << 15) - 4);
    /// Everything.
    pub const ALL: Self = Self((1 << 15) - 1);

    /// Whether the sets share an action.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ActionType {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterEvent {
    /// Resource.
    pub resource: EventResource,
    /// Action.
    pub action: ActionType,
    /// Name of the event in metrics and logs, such as `NodeAdd`.
    pub label: &'static str,
}

impl ClusterEvent {
    /// A kind of change.
    #[must_use]
    pub const fn new(resource: EventResource, action: ActionType, label: &'static str) -> Self {
        Self { resource, action, label }
    }

    /// Whether this event, after it happened, matches a registration: the resource is equal (or any), they have actions in
    /// common, and the event is not broader than the registration.
    #[must_use]
    pub fn is_named_by(&self, registered: &EventRegistration) -> bool {
        let resource = match registered.resource {
            // More than the kinds that upstream uses for plugins without registrations: VolumeAttachments are included.
            EventResource::Wildcard => self.resource != EventResource::Namespace,
            EventResource::Pod => matches!(
                self.resource,
                EventResource::AssignedPod | EventResource::UnscheduledPod | EventResource::TargetPod
            ),
            other => other == self.resource,
        };
        resource && registered.actions.intersects(self.action) && self.action <= registered.actions
    }
}

impl fmt::Display for ClusterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

/// Events that a plugin wants to be notified of, because they may make a pod schedulable that it rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRegistration {
    /// Resource.
    pub resource: EventResource,
    /// Actions.
    pub actions: ActionType,
}

impl EventRegistration {
    /// A registration.
    #[must_use]
    pub const fn new(resource: EventResource, actions: ActionType) -> Self {
        Self { resource, actions }
    }
}

/// The object of an event.
#[derive(Clone, Debug)]
pub enum EventObject {
    /// A pod.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// Any other object.
    Other(Arc<Object>),
}

impl EventObject {
    /// The pod, if it is one.
    #[must_use]
    pub fn pod(&self) -> Option<&Arc<Pod>> {
        if let Self::Pod(pod) = self { Some(pod) } else { None }
    }

    /// The node, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<Node>> {
        if let Self::Node(node) = self { Some(node) } else { None }
    }

    /// The object as a plugin's own type, if it is read as that type.
    #[must_use]
    pub fn own<T: PluginObject>(&self) -> Option<&T> {
        match self {
            Self::Other(object) => match &**object {
                Object::Own(object) => object.get(),
                _ => None,
            },
            Self::Pod(_) | Self::Node(_) => None,
        }
    }

    /// The other object, if it is one.
    #[must_use]
    pub fn other(&self) -> Option<&Arc<Object>> {
        if let Self::Other(object) = self { Some(object) } else { None }
    }
}

/// The object before and after.
#[derive(Clone, Debug, Default)]
pub struct ObjectChange {
    /// Before; `None` if it was added.
    pub old: Option<EventObject>,
    /// After; `None` if it was deleted.
    pub new: Option<EventObject>,
}

impl ObjectChange {
    /// The pod that changed, if the object is a pod: its new state, or its last one if it was deleted.
    #[must_use]
    pub fn pod(&self) -> Option<&Arc<Pod>> {
        self.new.as_ref().or(self.old.as_ref())?.pod()
    }

    /// The object before and after, as a plugin's own type, if it is read as that type.
    #[must_use]
    pub fn own<T: PluginObject>(&self) -> (Option<&T>, Option<&T>) {
        (self.old.as_ref().and_then(EventObject::own), self.new.as_ref().and_then(EventObject::own))
    }
}

/// A queueing hint: what an event means for a pod that the plugin rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It may be schedulable now.
    Queue,
    /// Nothing has changed for it.
    Skip,
}
