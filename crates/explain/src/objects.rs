//! One object of the file, decoded and compiled by its kind.

use secondmate_model::objects::{Object, ObjectKind, PersistentVolume, PersistentVolumeClaim, StorageClass};
use secondmate_model::{Node, NodeError, Pod, PodError, wire};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Where an object stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Document of the file, from 1.
    pub document: usize,
    /// Item of the document's list, from 1, where it is one.
    pub item: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", item {item}"))
    }
}

/// An object that scheduling reads.
#[derive(Clone, Debug)]
pub enum Item {
    /// A pod.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// Any other.
    Other(Object),
}

impl Item {
    /// Kind and name, for messages and to find what is there twice.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Pod(pod) => format!("Pod {}", pod.full_name()),
            Self::Node(node) => format!("Node {}", node.name),
            Self::Other(object) => format!("{} {}", kind_name(object.kind()), object.name()),
        }
    }
}

fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Namespace => "Namespace",
        ObjectKind::Service => "Service",
        ObjectKind::ReplicationController => "ReplicationController",
        ObjectKind::ReplicaSet => "ReplicaSet",
        ObjectKind::StatefulSet => "StatefulSet",
        ObjectKind::DisruptionBudget => "PodDisruptionBudget",
        ObjectKind::PersistentVolume => "PersistentVolume",
        ObjectKind::PersistentVolumeClaim => "PersistentVolumeClaim",
        ObjectKind::StorageClass => "StorageClass",
        ObjectKind::CsiNode => "CSINode",
        ObjectKind::CsiDriver => "CSIDriver",
        ObjectKind::StorageCapacity => "CSIStorageCapacity",
        ObjectKind::VolumeAttachment => "VolumeAttachment",
        ObjectKind::DeviceClass => "DeviceClass",
    }
}

/// An object as it came: JSON text, or the tree that was made of YAML.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    Text(&'a RawValue),
    Tree(&'a Value),
}

impl<'a> Given<'a> {
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        match self {
            Self::Text(text) => serde_json::from_str(text.get()),
            Self::Tree(tree) => T::deserialize(tree),
        }
    }
}

/// What tells one object from another.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Header {
    #[serde(deserialize_with = "nullable")]
    pub api_version: String,
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    pub metadata: HeaderMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HeaderMeta {
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// Why an object cannot be used.
pub(crate) enum ObjectError {
    Decode(serde_json::Error),
    Pod(PodError),
    Node(NodeError),
    NoName,
}

/// The kinds that scheduling reads, each in the one version that it is read in.
pub(crate) fn is_read(api_version: &str, kind: &str) -> bool {
    let expected = match kind {
        "Pod"
        | "Node"
        | "Namespace"
        | "PersistentVolume"
        | "PersistentVolumeClaim"
        | "Service"
        | "ReplicationController" => "v1",
        "ReplicaSet" | "StatefulSet" => "apps/v1",
        "PodDisruptionBudget" => "policy/v1",
        "DeviceClass" => "resource.k8s.io/v1",
        "StorageClass" | "CSINode" | "CSIDriver" | "CSIStorageCapacity" | "VolumeAttachment" => {
            "storage.k8s.io/v1"
        }
        _ => return false,
    };
    api_version == expected
}

/// Decodes and compiles an object of a kind that [`is_read`].
pub(crate) fn compile(kind: &str, header: &Header, given: Given<'_>) -> Result<Item, ObjectError> {
    if header.metadata.name.is_empty() {
        return Err(ObjectError::NoName);
    }
    fn decoded<T: DeserializeOwned>(given: Given<'_>) -> Result<T, ObjectError> {
        given.decode().map_err(ObjectError::Decode)
    }
    let object = match kind {
        "Pod" => {
            let mut pod: wire::Pod = decoded(given)?;
            let meta = &mut pod.metadata;
            if meta.namespace.is_empty() {
                meta.namespace = "default".into();
            }
            if meta.uid.is_empty() {
                meta.uid = format!("pod-{}-{}", meta.namespace, meta.name).into();
            }
            return Ok(Item::Pod(Arc::new(Pod::new(&pod).map_err(ObjectError::Pod)?)));
        }
        "Node" => {
            let node: wire::Node = decoded(given)?;
            return Ok(Item::Node(Arc::new(Node::new(&node).map_err(ObjectError::Node)?)));
        }
        "Namespace" => Object::namespace(&decoded(given)?),
        "Service" => Object::map_selecting(ObjectKind::Service, &decoded(given)?),
        "ReplicationController" => Object::map_selecting(ObjectKind::ReplicationController, &decoded(given)?),
        "ReplicaSet" => Object::label_selecting(ObjectKind::ReplicaSet, &decoded(given)?),
        "StatefulSet" => Object::label_selecting(ObjectKind::StatefulSet, &decoded(given)?),
        "PodDisruptionBudget" => Object::disruption_budget(&decoded(given)?),
        "PersistentVolume" => Object::PersistentVolume(Arc::new(PersistentVolume::new(&decoded(given)?))),
        "PersistentVolumeClaim" => {
            let mut claim: wire::PersistentVolumeClaim = decoded(given)?;
            if claim.metadata.namespace.is_empty() {
                claim.metadata.namespace = "default".into();
            }
            if claim.metadata.uid.is_empty() {
                let meta = &mut claim.metadata;
                meta.uid = format!("claim-{}-{}", meta.namespace, meta.name).into();
            }
            Object::PersistentVolumeClaim(Arc::new(PersistentVolumeClaim::new(&claim)))
        }
        "StorageClass" => Object::StorageClass(StorageClass::new(&decoded(given)?)),
        "CSINode" => Object::csi_node(&decoded(given)?),
        "CSIDriver" => Object::csi_driver(&decoded(given)?),
        "CSIStorageCapacity" => Object::storage_capacity(&decoded(given)?),
        "VolumeAttachment" => Object::volume_attachment(&decoded(given)?),
        "DeviceClass" => Object::device_class(&decoded(given)?),
        other => unreachable!("kind {other} is among those that are read"),
    };
    Ok(Item::Other(object))
}
