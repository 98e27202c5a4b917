//! The events that each plugin registers, compared with the `EventsToRegister` of kube-scheduler 1.37.

use secondmate_framework::{ActionType, EventRegistration, EventResource, Handle, Parity};
use secondmate_model::Atom;
use serde_json::{Value, json};

const ADD: ActionType = ActionType::ADD;
const DELETE: ActionType = ActionType::DELETE;
const UPDATE: ActionType = ActionType::UPDATE;

fn registered(plugin: &str, parity: Parity) -> Vec<EventRegistration> {
    let handle = Handle::new(Atom::new("default-scheduler"), parity);
    let args = match plugin {
        "NodeResourcesFit" => json!({"scoringStrategy": {"type": "LeastAllocated",
            "resources": [{"name": "cpu", "weight": 1}]}}),
        _ => Value::Null,
    };
    let plugin = crate::registry().expect("in-tree plugins").make(plugin, &args, &handle);
    let mut events = plugin.expect("sound arguments").events();
    events.sort_by_key(|event| (event.resource, event.actions));
    events
}

fn sorted(events: &[(EventResource, ActionType)]) -> Vec<EventRegistration> {
    let mut events: Vec<_> = events.iter().map(|(r, a)| EventRegistration::new(*r, *a)).collect();
    events.sort_by_key(|event| (event.resource, event.actions));
    events
}

#[test]
fn the_events_are_upstreams() {
    use EventResource::{
        AssignedPod, CsiDriver, CsiNode, CsiStorageCapacity, DeviceClass, Node, PersistentVolume,
        PersistentVolumeClaim, StorageClass, TargetPod, VolumeAttachment,
    };
    let (label, taint) = (ActionType::UPDATE_NODE_LABEL, ActionType::UPDATE_NODE_TAINT);
    let allocatable = ActionType::UPDATE_NODE_ALLOCATABLE;
    let (pod_label, toleration) = (ActionType::UPDATE_POD_LABEL, ActionType::UPDATE_POD_TOLERATION);
    let scale_down = ActionType::UPDATE_POD_SCALE_DOWN;
    for (plugin, expected) in [
        ("SchedulingGates", vec![(TargetPod, ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED)]),
        ("NodeName", vec![(Node, ADD)]),
        ("NodeUnschedulable", vec![(Node, ADD | taint), (TargetPod, toleration)]),
        ("TaintToleration", vec![(Node, ADD | taint), (TargetPod, toleration)]),
        ("NodeAffinity", vec![(Node, ADD | label)]),
        ("NodePorts", vec![(AssignedPod, DELETE), (Node, ADD)]),
        (
            "NodeResourcesFit",
            vec![
                (AssignedPod, DELETE | scale_down),
                (TargetPod, scale_down),
                (Node, ADD | allocatable),
                (DeviceClass, ADD | UPDATE),
            ],
        ),
        ("VolumeRestrictions", vec![(AssignedPod, DELETE), (Node, ADD), (PersistentVolumeClaim, ADD)]),
        (
            "NodeVolumeLimits",
            vec![
                (CsiNode, ADD),
                (CsiNode, UPDATE),
                (AssignedPod, DELETE),
                (PersistentVolumeClaim, ADD),
                (VolumeAttachment, DELETE),
            ],
        ),
        (
            "VolumeBinding",
            vec![
                (StorageClass, ADD | UPDATE),
                (PersistentVolumeClaim, ADD | UPDATE),
                (PersistentVolume, ADD | UPDATE),
                (CsiNode, ADD | UPDATE),
                (CsiDriver, UPDATE),
                (CsiStorageCapacity, ADD | UPDATE),
                (Node, ADD | label),
            ],
        ),
        (
            "VolumeZone",
            vec![
                (StorageClass, ADD),
                (Node, ADD | label),
                (PersistentVolumeClaim, ADD | UPDATE),
                (PersistentVolume, ADD | UPDATE),
            ],
        ),
        (
            "PodTopologySpread",
            vec![
                (AssignedPod, ADD | pod_label | DELETE),
                (TargetPod, pod_label | toleration),
                (Node, ADD | DELETE | label | taint),
            ],
        ),
        (
            "InterPodAffinity",
            vec![(AssignedPod, ADD | pod_label | DELETE), (TargetPod, pod_label), (Node, ADD | label)],
        ),
        ("DefaultPreemption", vec![(AssignedPod, DELETE)]),
        (
            "NodeDeclaredFeatures",
            vec![(Node, ADD | ActionType::UPDATE_NODE_DECLARED_FEATURE), (TargetPod, UPDATE)],
        ),
    ] {
        assert_eq!(registered(plugin, Parity::Strict), sorted(&expected), "{plugin}");
    }
}

#[test]
fn namespaces_are_asked_for_where_forgotten_wake_ups_are_cured() {
    let namespaces = EventRegistration::new(EventResource::Namespace, ADD | UPDATE);
    assert!(registered("InterPodAffinity", Parity::Sensible).contains(&namespaces));
}
