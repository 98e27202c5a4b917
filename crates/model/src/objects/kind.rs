//! The kinds of objects that scheduling reads: where each is served and how it is compiled, in one table.

use super::{Object, OwnKind, PersistentVolume, PersistentVolumeClaim, StorageClass};
use crate::wire;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Where the API serves a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiResource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind, such as `Pod`.
    pub kind: &'static str,
    /// Name in paths, such as `pods`.
    pub plural: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl ApiResource {
    /// Pods.
    pub const PODS: Self = Self { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true };
    /// Nodes.
    pub const NODES: Self =
        Self { group: "", version: "v1", kind: "Node", plural: "nodes", namespaced: false };

    /// Group and version in the form of `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether an object with this `apiVersion` and `kind` is of this resource.
    #[must_use]
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let version = match api_version.rsplit_once('/') {
            Some((group, version)) => (group, version),
            None => ("", api_version),
        };
        self.kind == kind && (self.group, self.version) == version
    }
}

impl fmt::Display for ApiResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)
    }
}

/// What an object is decoded from. Pods, nodes and the kinds of [`ObjectKind`] are decoded in this crate, so that their decoding
/// code is compiled once and not in each crate that reads objects.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// JSON text.
    Text(&'a str),
    /// A JSON tree.
    Tree(&'a Value),
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Value> for Source<'a> {
    fn from(tree: &'a Value) -> Self {
        Self::Tree(tree)
    }
}

impl<'a> TryFrom<&'a [u8]> for Source<'a> {
    type Error = serde_json::Error;
    fn try_from(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        std::str::from_utf8(bytes).map(Self::Text).map_err(serde_json::Error::custom)
    }
}

impl Source<'_> {
    /// Decodes a value of any type.
    ///
    /// # Errors
    /// If the source is not a valid `T`.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        match self {
            Self::Text(text) => serde_json::from_str(text),
            Self::Tree(tree) => T::deserialize(tree),
        }
    }

    /// Decodes a pod.
    ///
    /// # Errors
    /// If it is not a pod.
    pub fn pod(self) -> Result<wire::Pod, serde_json::Error> {
        self.decode_as_text()
    }

    /// Decodes a node.
    ///
    /// # Errors
    /// If it is not a node.
    pub fn node(self) -> Result<wire::Node, serde_json::Error> {
        self.decode_as_text()
    }

    /// Like [`Self::decode`], but a tree is converted to text first, so that code for types as large as a pod is not generated
    /// for both.
    fn decode_as_text<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        let tree = match self {
            Self::Text(text) => return serde_json::from_str(text),
            Self::Tree(tree) => tree.to_string(),
        };
        serde_json::from_str(&tree).map_err(|error| {
            // The position within that text would help nobody.
            let message = error.to_string();
            serde_json::Error::custom(message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what))
        })
    }
}

/// One line per kind: its name here, where it is served, the wire type, and how it is compiled.
macro_rules! kinds {
    ($($kind:ident: $group:literal $version:literal $name:literal $plural:literal $scope:ident,
        $wire:ty, $compile:expr;)*) => {
        /// The kinds of [`Object`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each is the kind of its name")]
        pub enum ObjectKind {
            $($kind,)*
            /// A kind that a plugin reads as its own type.
            Own(OwnKind),
        }

        /// Positions of the kinds.
        enum Position {
            $($kind,)*
        }

        impl ObjectKind {
            /// All kinds that the in-tree plugins read.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its position in [`Self::ALL`], or the plugin's own kind.
            pub(super) fn position(self) -> Result<usize, OwnKind> {
                match self {
                    $(Self::$kind => Ok(Position::$kind as usize),)*
                    Self::Own(kind) => Err(kind),
                }
            }

            /// Where it is served.
            #[must_use]
            pub const fn api(self) -> ApiResource {
                match self {
                    Self::Own(kind) => kind.api(),
                    $(Self::$kind => ApiResource {
                        group: $group,
                        version: $version,
                        kind: $name,
                        plural: $plural,
                        namespaced: kinds!(@ $scope),
                    },)*
                }
            }

            /// Decodes and compiles an object of this kind, and returns its metadata with it.
            ///
            /// # Errors
            /// If it cannot be decoded. Problems inside the object are kept in it, for the code that they concern.
            pub fn compile<'a>(
                self,
                source: impl Into<Source<'a>>,
            ) -> Result<(Object, wire::ObjectMeta), serde_json::Error> {
                self.compile_source(source.into())
            }

            fn compile_source(
                self,
                source: Source<'_>,
            ) -> Result<(Object, wire::ObjectMeta), serde_json::Error> {
                match self {
                    Self::Own(kind) => {
                        let text: Box<RawValue> = source.decode_as_text()?;
                        let (object, metadata) = kind.compile(text.get())?;
                        Ok((Object::Own(object), metadata))
                    }
                    $(Self::$kind => {
                        let compile: fn(&$wire) -> Object = $compile;
                        let wire: $wire = source.decode_as_text()?;
                        let object = compile(&wire);
                        Ok((object, wire.metadata))
                    })*
                }
            }
        }
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

kinds! {
    Namespace: "" "v1" "Namespace" "namespaces" cluster, wire::MetadataOnly, Object::namespace;
    Service: "" "v1" "Service" "services" namespaced,
        wire::MapSelecting, |o| Object::map_selecting(ObjectKind::Service, o);
    ReplicationController: "" "v1" "ReplicationController" "replicationcontrollers" namespaced,
        wire::MapSelecting, |o| Object::map_selecting(ObjectKind::ReplicationController, o);
    ReplicaSet: "apps" "v1" "ReplicaSet" "replicasets" namespaced,
        wire::LabelSelecting, |o| Object::label_selecting(ObjectKind::ReplicaSet, o);
    StatefulSet: "apps" "v1" "StatefulSet" "statefulsets" namespaced,
        wire::LabelSelecting, |o| Object::label_selecting(ObjectKind::StatefulSet, o);
    DisruptionBudget: "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" namespaced,
        wire::PodDisruptionBudget, Object::disruption_budget;
    PersistentVolume: "" "v1" "PersistentVolume" "persistentvolumes" cluster,
        wire::PersistentVolume, |o| Object::PersistentVolume(Arc::new(PersistentVolume::new(o)));
    PersistentVolumeClaim: "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims" namespaced,
        wire::PersistentVolumeClaim,
        |o| Object::PersistentVolumeClaim(Arc::new(PersistentVolumeClaim::new(o)));
    StorageClass: "storage.k8s.io" "v1" "StorageClass" "storageclasses" cluster,
        wire::StorageClass, |o| Object::StorageClass(StorageClass::new(o));
    CsiNode: "storage.k8s.io" "v1" "CSINode" "csinodes" cluster, wire::CsiNode, Object::csi_node;
    CsiDriver: "storage.k8s.io" "v1" "CSIDriver" "csidrivers" cluster, wire::CsiDriver, Object::csi_driver;
    StorageCapacity: "storage.k8s.io" "v1" "CSIStorageCapacity" "csistoragecapacities" namespaced,
        wire::CsiStorageCapacity, Object::storage_capacity;
    VolumeAttachment: "storage.k8s.io" "v1" "VolumeAttachment" "volumeattachments" cluster,
        wire::VolumeAttachment, Object::volume_attachment;
    DeviceClass: "resource.k8s.io" "v1" "DeviceClass" "deviceclasses" cluster,
        wire::DeviceClass, Object::device_class;
}

impl ObjectKind {
    /// The kind of objects with this `apiVersion` and `kind`, if the in-tree plugins read it.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.api().is(api_version, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_what_stands_in_its_objects_and_compiles_to_itself() {
        for kind in ObjectKind::ALL {
            let api = kind.api();
            assert_eq!(ObjectKind::of(&api.api_version(), api.kind), Some(*kind));
            let namespace = if api.namespaced { r#""namespace":"n","# } else { "" };
            let text = format!(r#"{{"metadata":{{{namespace}"name":"x","resourceVersion":"7"}}}}"#);
            let (object, metadata) = kind.compile(text.as_str()).expect("metadata is enough");
            assert_eq!((object.kind(), &*metadata.resource_version), (*kind, "7"));
            let name = if api.namespaced { "n/x" } else { "x" };
            assert_eq!(object.name().to_string(), name);
        }
        assert_eq!(ObjectKind::of("v1beta1", "Service"), None);
        assert_eq!(ObjectKind::of("apps/v1", "Service"), None);
    }
}
