//! Nodes on the wire.

use super::{Condition, ObjectMeta, ResourceList, null_default};
use serde::Deserialize;

/// `v1.Node`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: NodeSpec,
    /// Status.
    pub status: NodeStatus,
}

/// `v1.NodeSpec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Cordoned.
    #[serde(deserialize_with = "null_default")]
    pub unschedulable: bool,
    /// Taints.
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<Taint>,
    /// How pods may be preempted here when a pod is resized in place. It is compared, not read.
    pub pod_preemption_policy: Option<serde_json::Value>,
}

/// `v1.Taint`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    /// Key.
    #[serde(deserialize_with = "null_default")]
    pub key: Box<str>,
    /// Value.
    #[serde(deserialize_with = "null_default")]
    pub value: Box<str>,
    /// Effect as written.
    #[serde(deserialize_with = "null_default")]
    pub effect: Box<str>,
}

/// `v1.NodeStatus`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// What pods may use; absent on a node for which no kubelet has reported yet.
    pub allocatable: Option<ResourceList>,
    /// Images on the node.
    #[serde(deserialize_with = "null_default")]
    pub images: Vec<ContainerImage>,
    /// Conditions.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
    /// Features that the kubelet declares.
    #[serde(deserialize_with = "null_default")]
    pub declared_features: Vec<Box<str>>,
}

/// `v1.ContainerImage`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerImage {
    /// All names of the image.
    #[serde(deserialize_with = "null_default")]
    pub names: Vec<Box<str>>,
    /// Size in bytes.
    #[serde(deserialize_with = "null_default")]
    pub size_bytes: i64,
}
