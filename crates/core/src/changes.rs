//! Translates changes of objects into cluster events (upstream: `pkg/scheduler/framework/events.go`).

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

/// Events of pods that plugins are not notified of; used as names in metrics.
pub(crate) const UNSCHEDULED_POD_ADD: &str = "UnscheduledPodAdd";
pub(crate) const UNSCHEDULED_POD_UPDATE: &str = "UnscheduledPodUpdate";
pub(crate) const UNSCHEDULED_POD_DELETE: &str = "UnscheduledPodDelete";
pub(crate) const ASSIGNED_POD_UPDATE: &str = "AssignedPodUpdate";

/// What changed on a node, in upstream's order; empty if only the heartbeat changed.
pub(crate) fn node_events(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let event = |action, label| ClusterEvent::new(EventResource::Node, action, label);
    let mut events = Vec::new();
    if old.unschedulable && !new.unschedulable {
        events.push(event(ActionType::UPDATE_NODE_TAINT, "NodeUpdateNodeTaint"));
    }
    if old.allocatable != new.allocatable {
        events.push(event(ActionType::UPDATE_NODE_ALLOCATABLE, "NodeUpdateNodeAllocatable"));
    }
    if old.labels != new.labels {
        events.push(event(ActionType::UPDATE_NODE_LABEL, "NodeUpdateNodeLabel"));
    }
    if old.taints != new.taints {
        events.push(event(ActionType::UPDATE_NODE_TAINT, "NodeUpdateNodeTaint"));
    }
    if old.conditions != new.conditions {
        events.push(event(ActionType::UPDATE_NODE_CONDITION, "NodeUpdateNodeCondition"));
    }
    if old.annotations_hash != new.annotations_hash {
        events.push(event(ActionType::UPDATE_NODE_ANNOTATION, "NodeUpdateNodeAnnotation"));
    }
    if old.preemption_policy_hash != new.preemption_policy_hash {
        events.push(event(ActionType::UPDATE_NODE_PREEMPTION_POLICY, "NodeUpdateNodePreemptionPolicy"));
    }
    if old.declared_features != new.declared_features {
        events.push(event(ActionType::UPDATE_NODE_DECLARED_FEATURE, "NodeUpdateNodeDeclaredFeature"));
    }
    events
}

/// What changed on a pod, in upstream's order. An update without any relevant change gets the general event.
///
/// `resource` says in which role the pod is seen: assigned to a node, as the pod that plugins are asked about, or (for the metric
/// of handled events) as an unscheduled pod.
pub(crate) fn pod_events(old: &Pod, new: &Pod, resource: EventResource) -> Vec<ClusterEvent> {
    let changes = [
        (old.labels != new.labels, ActionType::UPDATE_POD_LABEL),
        (asks_for_more(old, new), ActionType::UPDATE_POD_SCALE_DOWN),
        (asks_for_more(new, old), ActionType::UPDATE_POD_SCALE_UP),
        (
            !old.scheduling_gates.is_empty() && new.scheduling_gates.is_empty(),
            ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
        ),
        // Tolerations can only be added, so comparing their number is enough.
        (old.tolerations.len() != new.tolerations.len(), ActionType::UPDATE_POD_TOLERATION),
        (old.claim_statuses_hash != new.claim_statuses_hash, ActionType::UPDATE_POD_GENERATED_RESOURCE_CLAIM),
    ];
    let found = changes.iter().filter(|(changed, _)| *changed).map(|(_, action)| *action);
    let mut events: Vec<ClusterEvent> = found.map(|action| pod_update(resource, action)).collect();
    if events.is_empty() {
        events.push(pod_update(resource, ActionType::UPDATE));
    }
    events
}

/// The event for an update of a pod, with its label.
fn pod_update(resource: EventResource, action: ActionType) -> ClusterEvent {
    let labels = match action {
        ActionType::UPDATE_POD_LABEL => {
            ["AssignedPodUpdatePodLabel", "TargetPodUpdatePodLabel", "UnscheduledPodUpdatePodLabel"]
        }
        ActionType::UPDATE_POD_SCALE_DOWN => [
            "AssignedPodUpdatePodScaleDown",
            "TargetPodUpdatePodScaleDown",
            "UnscheduledPodUpdatePodScaleDown",
        ],
        ActionType::UPDATE_POD_SCALE_UP => {
            ["AssignedPodUpdatePodScaleUp", "TargetPodUpdatePodScaleUp", "UnscheduledPodUpdatePodScaleUp"]
        }
        ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED => [
            "AssignedPodUpdatePodSchedulingGatesEliminated",
            "TargetPodUpdatePodSchedulingGatesEliminated",
            "UnscheduledPodUpdatePodSchedulingGatesEliminated",
        ],
        ActionType::UPDATE_POD_TOLERATION => [
            "AssignedPodUpdatePodToleration",
            "TargetPodUpdatePodToleration",
            "UnscheduledPodUpdatePodToleration",
        ],
        ActionType::UPDATE_POD_GENERATED_RESOURCE_CLAIM => [
            "AssignedPodUpdatePodGeneratedResourceClaim",
            "TargetPodUpdatePodGeneratedResourceClaim",
            "UnscheduledPodUpdatePodGeneratedResourceClaim",
        ],
        _ => [ASSIGNED_POD_UPDATE, "TargetPodUpdate", UNSCHEDULED_POD_UPDATE],
    };
    let label = match resource {
        EventResource::AssignedPod => labels[0],
        EventResource::TargetPod => labels[1],
        _ => labels[2],
    };
    ClusterEvent::new(resource, action, label)
}

/// Whether one version of a pod requests more of a resource than the other, or a resource that the other does not.
fn asks_for_more(one: &Pod, other: &Pod) -> bool {
    let (one, other) = (&one.requests.on_node, &other.requests.on_node);
    one.milli_cpu > other.milli_cpu
        || one.memory > other.memory
        || one.ephemeral_storage > other.ephemeral_storage
        || one.scalars.iter().any(|(name, amount)| other.scalar(name).is_none_or(|there| *amount > there))
}

/// The event for another object, or `None` if no plugin can register it.
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
        ObjectKind::Own(kind) => (EventResource::Own(kind), kind.event_labels()),
        ObjectKind::Namespace => {
            (EventResource::Namespace, ["NamespaceAdd", "NamespaceUpdate", "NamespaceDelete"])
        }
        ObjectKind::Service
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

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::wire;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        let wire: wire::Pod = serde_json::from_value(value).expect("a pod");
        Pod::new(&wire).expect("a pod that compiles")
    }

    fn labels(events: &[ClusterEvent]) -> Vec<&'static str> {
        events.iter().map(|event| event.label).collect()
    }

    #[test]
    fn updates_of_a_pod_are_told_apart_in_upstreams_order() {
        let requests = |requests: Value| json!([{"name": "c", "resources": {"requests": requests}}]);
        let old = pod(json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"schedulingGates": [{"name": "g"}],
                "containers": requests(json!({"cpu": "2", "memory": "1Gi"}))}}));
        let new = pod(json!({"metadata": {"name": "p"},
            "spec": {"tolerations": [{"operator": "Exists"}],
                "containers": requests(json!({"cpu": "1", "memory": "1Gi", "example.com/gpu": "1"}))},
            "status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "p-c"}]}}));
        for (resource, prefix) in [
            (EventResource::AssignedPod, "AssignedPod"),
            (EventResource::TargetPod, "TargetPod"),
            (EventResource::UnscheduledPod, "UnscheduledPod"),
        ] {
            let expected: Vec<String> = [
                "UpdatePodLabel",
                "UpdatePodScaleDown",
                "UpdatePodScaleUp",
                "UpdatePodSchedulingGatesEliminated",
                "UpdatePodToleration",
                "UpdatePodGeneratedResourceClaim",
            ]
            .iter()
            .map(|action| format!("{prefix}{action}"))
            .collect();
            assert_eq!(labels(&pod_events(&old, &new, resource)), expected);
            assert_eq!(labels(&pod_events(&old, &old, resource)), [format!("{prefix}Update")]);
        }
    }

    #[test]
    fn a_request_that_is_new_or_gone_counts_as_more_or_less() {
        let asking = |requests: Value| {
            pod(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
        };
        let (with, without) = (asking(json!({"example.com/gpu": "1"})), asking(json!({})));
        let told = |old, new| labels(&pod_events(old, new, EventResource::TargetPod));
        assert_eq!(told(&with, &without), ["TargetPodUpdatePodScaleDown"]);
        assert_eq!(told(&without, &with), ["TargetPodUpdatePodScaleUp"]);
    }

    #[test]
    fn a_node_that_is_opened_and_changed_has_events_in_upstreams_order() {
        let node = |value: Value| {
            let wire: wire::Node = serde_json::from_value(value).expect("a node");
            Node::new(&wire).expect("a node that compiles")
        };
        let old = node(json!({"metadata": {"name": "n"},
            "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]}}));
        let new = node(json!({"metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"x": "y"}},
            "spec": {"podPreemptionPolicy": {"disableResizePreemption": ["example.com/a"]}},
            "status": {"allocatable": {"cpu": "1"}, "declaredFeatures": ["F"],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Cold", "status": "False"}]}}));
        assert_eq!(
            labels(&node_events(&old, &new)),
            [
                "NodeUpdateNodeTaint",
                "NodeUpdateNodeAllocatable",
                "NodeUpdateNodeLabel",
                "NodeUpdateNodeTaint",
                "NodeUpdateNodeCondition",
                "NodeUpdateNodeAnnotation",
                "NodeUpdateNodePreemptionPolicy",
                "NodeUpdateNodeDeclaredFeature",
            ]
        );
        assert!(node_events(&new, &new).is_empty());
        assert!(node_events(&new, &node(json!({"metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"x": "y"}},
            "spec": {"unschedulable": true, "podPreemptionPolicy": {"disableResizePreemption": ["example.com/a"]}},
            "status": {"allocatable": {"cpu": "1"}, "declaredFeatures": ["F"],
                "conditions": [{"type": "Cold", "status": "False"}, {"type": "Ready", "status": "True"}]}}))).is_empty());
    }
}
