//! The kinds of objects that are watched: where each is served, and how it is compiled from the bytes of a watch.

use super::compiled::{Compiled, Key};
use secondmate_model::objects::{
    Object, ObjectKind, ObjectName, PersistentVolume, PersistentVolumeClaim, StorageClass,
};
use secondmate_model::{Atom, Node, Pod, Uid, wire};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// Where a kind is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

/// A kind of object that is watched.
pub(crate) trait Kind: Clone + Debug + Send + Sync + 'static {
    const PLACE: Place;
    type Wire: DeserializeOwned;
    fn metadata(wire: &Self::Wire) -> &wire::ObjectMeta;
    fn key(metadata: &wire::ObjectMeta) -> Key;
    /// # Errors
    /// What is wrong with the object, in words.
    fn compile(wire: &Self::Wire) -> Result<Compiled, String>;
}

fn object_key(kind: ObjectKind, metadata: &wire::ObjectMeta) -> Key {
    Key::Object(kind, ObjectName::new(&Atom::new(&metadata.namespace), &metadata.name))
}

/// One line a kind: the marker type, where it is served, its wire type, its key, how it is compiled.
macro_rules! kinds {
    ($($marker:ident: $group:literal $version:literal $plural:literal, $wire:ty, $key:expr, $compile:expr;)*) => {
        $(
            #[derive(Clone, Debug)]
            pub(crate) struct $marker;

            impl Kind for $marker {
                const PLACE: Place =
                    Place { group: $group, version: $version, kind: stringify!($marker), plural: $plural };
                type Wire = $wire;
                fn metadata(wire: &$wire) -> &wire::ObjectMeta {
                    &wire.metadata
                }
                fn key(metadata: &wire::ObjectMeta) -> Key {
                    let key: fn(&wire::ObjectMeta) -> Key = $key;
                    key(metadata)
                }
                fn compile(wire: &$wire) -> Result<Compiled, String> {
                    let compile: fn(&$wire) -> Result<Compiled, String> = $compile;
                    compile(wire)
                }
            }
        )*
    };
}

/// Names of the marker types: those of the objects in the API.
pub(crate) mod of {
    use super::*;

    kinds! {
        Pod: "" "v1" "pods", wire::Pod, |m| Key::Pod(Uid::from(&*m.uid)),
            |pod| super::Pod::new(pod).map(|p| Compiled::Pod(Arc::new(p))).map_err(|e| e.error.to_string());
        Node: "" "v1" "nodes", wire::Node, |m| Key::Node(Atom::new(&m.name)),
            |node| super::Node::new(node).map(|n| Compiled::Node(Arc::new(n))).map_err(|e| e.error.to_string());
        Namespace: "" "v1" "namespaces", wire::MetadataOnly, |m| object_key(ObjectKind::Namespace, m),
            |o| Ok(Object::namespace(o).into());
        Service: "" "v1" "services", wire::MapSelecting, |m| object_key(ObjectKind::Service, m),
            |o| Ok(Object::map_selecting(ObjectKind::Service, o).into());
        ReplicationController: "" "v1" "replicationcontrollers", wire::MapSelecting,
            |m| object_key(ObjectKind::ReplicationController, m),
            |o| Ok(Object::map_selecting(ObjectKind::ReplicationController, o).into());
        ReplicaSet: "apps" "v1" "replicasets", wire::LabelSelecting, |m| object_key(ObjectKind::ReplicaSet, m),
            |o| Ok(Object::label_selecting(ObjectKind::ReplicaSet, o).into());
        StatefulSet: "apps" "v1" "statefulsets", wire::LabelSelecting, |m| object_key(ObjectKind::StatefulSet, m),
            |o| Ok(Object::label_selecting(ObjectKind::StatefulSet, o).into());
        PodDisruptionBudget: "policy" "v1" "poddisruptionbudgets", wire::PodDisruptionBudget,
            |m| object_key(ObjectKind::DisruptionBudget, m), |o| Ok(Object::disruption_budget(o).into());
        PersistentVolume: "" "v1" "persistentvolumes", wire::PersistentVolume,
            |m| object_key(ObjectKind::PersistentVolume, m),
            |o| Ok(Object::PersistentVolume(Arc::new(super::PersistentVolume::new(o))).into());
        PersistentVolumeClaim: "" "v1" "persistentvolumeclaims", wire::PersistentVolumeClaim,
            |m| object_key(ObjectKind::PersistentVolumeClaim, m),
            |o| Ok(Object::PersistentVolumeClaim(Arc::new(super::PersistentVolumeClaim::new(o))).into());
        StorageClass: "storage.k8s.io" "v1" "storageclasses", wire::StorageClass,
            |m| object_key(ObjectKind::StorageClass, m),
            |o| Ok(Object::StorageClass(super::StorageClass::new(o)).into());
        CSINode: "storage.k8s.io" "v1" "csinodes", wire::CsiNode, |m| object_key(ObjectKind::CsiNode, m),
            |o| Ok(Object::csi_node(o).into());
        CSIDriver: "storage.k8s.io" "v1" "csidrivers", wire::CsiDriver, |m| object_key(ObjectKind::CsiDriver, m),
            |o| Ok(Object::csi_driver(o).into());
        CSIStorageCapacity: "storage.k8s.io" "v1" "csistoragecapacities", wire::CsiStorageCapacity,
            |m| object_key(ObjectKind::StorageCapacity, m), |o| Ok(Object::storage_capacity(o).into());
        VolumeAttachment: "storage.k8s.io" "v1" "volumeattachments", wire::VolumeAttachment,
            |m| object_key(ObjectKind::VolumeAttachment, m), |o| Ok(Object::volume_attachment(o).into());
        DeviceClass: "resource.k8s.io" "v1" "deviceclasses", wire::DeviceClass,
            |m| object_key(ObjectKind::DeviceClass, m), |o| Ok(Object::device_class(o).into());
    }
}
