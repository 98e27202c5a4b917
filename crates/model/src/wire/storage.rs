//! Volumes, claims and CSI objects on the wire.

use super::{LabelSelector, NodeSelector, ObjectMeta, QuantityText, ResourceList, null_default};
use serde::Deserialize;

/// `v1.PersistentVolumeClaim`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaim {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: PersistentVolumeClaimSpec,
    /// Status.
    pub status: Phase,
}

/// A status of which only the phase is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Phase {
    /// Phase.
    #[serde(deserialize_with = "null_default")]
    pub phase: Box<str>,
}

/// `v1.PersistentVolumeClaimSpec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimSpec {
    /// Access modes.
    #[serde(deserialize_with = "null_default")]
    pub access_modes: Vec<Box<str>>,
    /// Selector over volumes.
    pub selector: Option<LabelSelector>,
    /// Requests.
    #[serde(deserialize_with = "null_default")]
    pub resources: ClaimResources,
    /// Bound volume.
    #[serde(deserialize_with = "null_default")]
    pub volume_name: Box<str>,
    /// Class; absent differs from empty.
    pub storage_class_name: Option<Box<str>>,
    /// `Filesystem` (the default) or `Block`.
    pub volume_mode: Option<Box<str>>,
    /// Volume attributes class.
    pub volume_attributes_class_name: Option<Box<str>>,
}

/// Requests of a claim.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimResources {
    /// Requests: `storage`.
    #[serde(deserialize_with = "null_default")]
    pub requests: ResourceList,
}

/// `v1.PersistentVolume`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolume {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: PersistentVolumeSpec,
    /// Status.
    pub status: Phase,
}

/// `v1.PersistentVolumeSpec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeSpec {
    /// Capacity: `storage`.
    #[serde(deserialize_with = "null_default")]
    pub capacity: ResourceList,
    /// Access modes.
    #[serde(deserialize_with = "null_default")]
    pub access_modes: Vec<Box<str>>,
    /// The claim that the volume is bound to or reserved for.
    pub claim_ref: Option<ObjectReference>,
    /// Class.
    #[serde(deserialize_with = "null_default")]
    pub storage_class_name: Box<str>,
    /// `Filesystem` (the default) or `Block`.
    pub volume_mode: Option<Box<str>>,
    /// Volume attributes class.
    pub volume_attributes_class_name: Option<Box<str>>,
    /// Which nodes can access the volume.
    pub node_affinity: Option<VolumeNodeAffinity>,
    /// CSI source.
    pub csi: Option<CsiSource>,
    /// GCE persistent disk.
    pub gce_persistent_disk: Option<super::GcePersistentDisk>,
    /// EBS volume.
    pub aws_elastic_block_store: Option<super::AwsElasticBlockStore>,
    /// Azure disk.
    pub azure_disk: Option<super::AzureDisk>,
    /// Cinder volume.
    pub cinder: Option<super::Cinder>,
    /// Portworx volume.
    pub portworx_volume: Option<super::PortworxVolume>,
}

/// `v1.ObjectReference`, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectReference {
    /// Namespace.
    #[serde(deserialize_with = "null_default")]
    pub namespace: Box<str>,
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// UID; empty if the volume is reserved by name only.
    #[serde(deserialize_with = "null_default")]
    pub uid: Box<str>,
}

/// `v1.VolumeNodeAffinity`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeNodeAffinity {
    /// Hard terms.
    pub required: Option<NodeSelector>,
}

/// `v1.CSIPersistentVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiSource {
    /// Driver.
    #[serde(deserialize_with = "null_default")]
    pub driver: Box<str>,
    /// Handle, unique per driver.
    #[serde(deserialize_with = "null_default")]
    pub volume_handle: Box<str>,
}

/// `storage.k8s.io/v1` StorageClass.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct StorageClass {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Provisioner.
    #[serde(deserialize_with = "null_default")]
    pub provisioner: Box<str>,
    /// `Immediate` (the default) or `WaitForFirstConsumer`.
    pub volume_binding_mode: Option<Box<str>>,
    /// Where volumes may be provisioned.
    #[serde(deserialize_with = "null_default")]
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

/// `v1.TopologySelectorTerm`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct TopologySelectorTerm {
    /// Requirements: all must hold.
    #[serde(deserialize_with = "null_default")]
    pub match_label_expressions: Vec<TopologySelectorRequirement>,
}

/// `v1.TopologySelectorLabelRequirement`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct TopologySelectorRequirement {
    /// Label key.
    #[serde(deserialize_with = "null_default")]
    pub key: Box<str>,
    /// Values.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<Box<str>>,
}

/// `storage.k8s.io/v1` CSINode.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiNode {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: CsiNodeSpec,
}

/// `storage.k8s.io/v1` CSINodeSpec.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiNodeSpec {
    /// Drivers registered on the node.
    #[serde(deserialize_with = "null_default")]
    pub drivers: Vec<CsiNodeDriver>,
}

/// `storage.k8s.io/v1` CSINodeDriver.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiNodeDriver {
    /// Driver name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Limits.
    pub allocatable: Option<VolumeNodeResources>,
}

/// `storage.k8s.io/v1` VolumeNodeResources.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeNodeResources {
    /// Maximum number of the driver's volumes on the node.
    pub count: Option<i32>,
}

/// `storage.k8s.io/v1` CSIDriver.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiDriver {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: CsiDriverSpec,
}

/// `storage.k8s.io/v1` CSIDriverSpec.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiDriverSpec {
    /// Whether the driver publishes capacities.
    pub storage_capacity: Option<bool>,
    /// Whether pods with the driver's volumes are kept off nodes where it is not installed.
    pub prevent_pod_scheduling_if_missing: Option<bool>,
}

/// `storage.k8s.io/v1` CSIStorageCapacity.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiStorageCapacity {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Nodes that the capacity applies to; absent means none.
    pub node_topology: Option<LabelSelector>,
    /// Class that the capacity applies to.
    #[serde(deserialize_with = "null_default")]
    pub storage_class_name: Box<str>,
    /// Remaining capacity.
    pub capacity: Option<QuantityText>,
    /// Largest volume that can be provisioned.
    pub maximum_volume_size: Option<QuantityText>,
}

/// `storage.k8s.io/v1` VolumeAttachment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeAttachment {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: VolumeAttachmentSpec,
}

/// `storage.k8s.io/v1` VolumeAttachmentSpec.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeAttachmentSpec {
    /// Attacher: the CSI driver.
    #[serde(deserialize_with = "null_default")]
    pub attacher: Box<str>,
    /// Node.
    #[serde(deserialize_with = "null_default")]
    pub node_name: Box<str>,
    /// What is attached.
    pub source: VolumeAttachmentSource,
}

/// `storage.k8s.io/v1` VolumeAttachmentSource.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeAttachmentSource {
    /// The volume.
    pub persistent_volume_name: Option<Box<str>>,
}
