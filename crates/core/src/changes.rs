//! What a change of an object means as cluster events (upstream: `pkg/scheduler/framework/events.go`).

use secondmate_framework::{ActionType, ClusterEvent, EventResource};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Node, Pod};

pub(crate) const NODE_ADD: ClusterEvent = ClusterEvent::new(EventResource::Node, ActionType::ADD, "NodeAdd");
pub(crate) const NODE_DELETE: ClusterEvent =
    ClusterEvent::new(EventResource::Node, ActionType::DELETE, "NodeDelete");
pub(crate) const ASSIGNED_POD_ADD: ClusterEvent =
    ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD, "AssignedPodAdd");
pub(crate) const ASSIGNED_POD_DELETE: ClusterEvent =
    ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE, "AssignedPodDelete");

/// Events of pods that no plugin can register as such: names for the metrics.
pub(crate) const UNSCHEDULABLE_POD_ADD: &str = "UnschedulablePodAdd";
pub(crate) const UNSCHEDULABLE_POD_UPDATE: &str = "UnschedulablePodUpdate";
pub(crate) const UNSCHEDULABLE_POD_DELETE: &str = "UnschedulablePodDelete";
pub(crate) const ASSIGNED_POD_UPDATE: &str = "AssignedPodUpdate";

/// What changed on a node; nothing where only its heartbeat did.
pub(crate) fn node_events(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let event = |action, label| ClusterEvent::new(EventResource::Node, action, label);
    let mut events = Vec::new();
    if (old.unschedulable && !new.unschedulable) || old.taints != new.taints {
        events.push(event(ActionType::UPDATE_NODE_TAINT, "NodeUpdateNodeTaint"));
    }
    if old.allocatable != new.allocatable {
        events.push(event(ActionType::UPDATE_NODE_ALLOCATABLE, "NodeUpdateNodeAllocatable"));
    }
    if old.labels != new.labels {
        events.push(event(ActionType::UPDATE_NODE_LABEL, "NodeUpdateNodeLabel"));
    }
    if old.conditions != new.conditions {
        events.push(event(ActionType::UPDATE_NODE_CONDITION, "NodeUpdateNodeCondition"));
    }
    if old.annotations_hash != new.annotations_hash {
        events.push(event(ActionType::UPDATE_NODE_ANNOTATION, "NodeUpdateNodeAnnotation"));
    }
    if old.declared_features != new.declared_features {
        events.push(event(ActionType::UPDATE_NODE_DECLARED_FEATURE, "NodeUpdateNodeDeclaredFeature"));
    }
    events
}

/// What changed on a pod.
pub(crate) fn pod_events(old: &Pod, new: &Pod) -> Vec<ClusterEvent> {
    let assigned = new.node_name.is_some();
    let resource = if assigned { EventResource::AssignedPod } else { EventResource::UnschedulablePod };
    let event = |action, assigned_label, waiting_label| {
        ClusterEvent::new(resource, action, if assigned { assigned_label } else { waiting_label })
    };
    let mut events = Vec::new();
    if old.labels != new.labels {
        events.push(event(
            ActionType::UPDATE_POD_LABEL,
            "AssignedPodUpdatePodLabel",
            "UnschedulablePodUpdatePodLabel",
        ));
    }
    if scaled_down(old, new) {
        events.push(event(
            ActionType::UPDATE_POD_SCALE_DOWN,
            "AssignedPodUpdatePodScaleDown",
            "UnschedulablePodUpdatePodScaleDown",
        ));
    }
    if !old.scheduling_gates.is_empty() && new.scheduling_gates.is_empty() {
        events.push(event(
            ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
            "AssignedPodUpdatePodSchedulingGatesEliminated",
            "UnschedulablePodUpdatePodSchedulingGatesEliminated",
        ));
    }
    // Tolerations can only be added, so their number tells.
    if old.tolerations.len() != new.tolerations.len() {
        events.push(event(
            ActionType::UPDATE_POD_TOLERATION,
            "AssignedPodUpdatePodToleration",
            "UnschedulablePodUpdatePodToleration",
        ));
    }
    if events.is_empty() {
        events.push(event(ActionType::UPDATE, ASSIGNED_POD_UPDATE, UNSCHEDULABLE_POD_UPDATE));
    }
    events
}

fn scaled_down(old: &Pod, new: &Pod) -> bool {
    let (old, new) = (&old.requests.on_node, &new.requests.on_node);
    old.milli_cpu > new.milli_cpu
        || old.memory > new.memory
        || old.ephemeral_storage > new.ephemeral_storage
        || old.scalars.iter().any(|(name, amount)| {
            let now = new.scalars.iter().find(|(n, _)| n == name).map(|(_, a)| *a);
            now.is_none_or(|now| *amount > now)
        })
}

/// The event of another object, or none where no plugin can register it.
pub(crate) fn object_event(kind: ObjectKind, action: ActionType) -> Option<ClusterEvent> {
    let (resource, labels) = match kind {
        ObjectKind::PersistentVolume => (
            EventResource::PersistentVolume,
            ["PersistentVolumeAdd", "PersistentVolumeUpdate", "PersistentVolumeDelete"],
        ),
        ObjectKind::PersistentVolumeClaim => (
            EventResource::PersistentVolumeClaim,
            ["PersistentVolumeClaimAdd", "PersistentVolumeClaimUpdate", "PersistentVolumeClaimDelete"],
        ),
        ObjectKind::StorageClass => (
            EventResource::StorageClass,
            [
                "storage.k8s.io/StorageClassAdd",
                "storage.k8s.io/StorageClassUpdate",
                "storage.k8s.io/StorageClassDelete",
            ],
        ),
        ObjectKind::CsiNode => (
            EventResource::CsiNode,
            ["storage.k8s.io/CSINodeAdd", "storage.k8s.io/CSINodeUpdate", "storage.k8s.io/CSINodeDelete"],
        ),
        ObjectKind::CsiDriver => (
            EventResource::CsiDriver,
            [
                "storage.k8s.io/CSIDriverAdd",
                "storage.k8s.io/CSIDriverUpdate",
                "storage.k8s.io/CSIDriverDelete",
            ],
        ),
        ObjectKind::StorageCapacity => (
            EventResource::CsiStorageCapacity,
            [
                "storage.k8s.io/CSIStorageCapacityAdd",
                "storage.k8s.io/CSIStorageCapacityUpdate",
                "storage.k8s.io/CSIStorageCapacityDelete",
            ],
        ),
        ObjectKind::VolumeAttachment => (
            EventResource::VolumeAttachment,
            [
                "storage.k8s.io/VolumeAttachmentAdd",
                "storage.k8s.io/VolumeAttachmentUpdate",
                "storage.k8s.io/VolumeAttachmentDelete",
            ],
        ),
        ObjectKind::DeviceClass => (
            EventResource::DeviceClass,
            [
                "resource.k8s.io/DeviceClassAdd",
                "resource.k8s.io/DeviceClassUpdate",
                "resource.k8s.io/DeviceClassDelete",
            ],
        ),
        ObjectKind::Namespace
        | ObjectKind::Service
        | ObjectKind::ReplicationController
        | ObjectKind::ReplicaSet
        | ObjectKind::StatefulSet
        | ObjectKind::DisruptionBudget => return None,
    };
    let label = match action {
        ActionType::ADD => labels[0],
        ActionType::DELETE => labels[2],
        _ => labels[1],
    };
    Some(ClusterEvent::new(resource, action, label))
}
