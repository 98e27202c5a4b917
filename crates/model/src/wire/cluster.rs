//! Namespaces, workloads and budgets on the wire.

use super::{LabelSelector, ObjectMeta, StringMap, null_default};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `v1.Namespace`, and any other kind of which only the metadata is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct MetadataOnly {
    /// Metadata.
    pub metadata: ObjectMeta,
}

/// `v1.Service` or `v1.ReplicationController`: the selector of both is a plain map.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct MapSelecting {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: MapSelectingSpec,
}

/// Spec of [`MapSelecting`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct MapSelectingSpec {
    /// Selector; absent selects nothing.
    pub selector: Option<StringMap>,
}

/// `apps/v1` ReplicaSet or StatefulSet: both select by a label selector.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelecting {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: LabelSelectingSpec,
}

/// Spec of [`LabelSelecting`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelectingSpec {
    /// Selector.
    pub selector: Option<LabelSelector>,
}

/// `policy/v1` PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudget {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: LabelSelectingSpec,
    /// Status.
    pub status: PodDisruptionBudgetStatus,
}

/// Status of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudgetStatus {
    /// Disruptions allowed now.
    #[serde(deserialize_with = "null_default")]
    pub disruptions_allowed: i32,
    /// Names of the pods whose eviction was granted but not yet observed.
    #[serde(deserialize_with = "null_default")]
    pub disrupted_pods: BTreeMap<Box<str>, serde_json::Value>,
}

/// `resource.k8s.io` DeviceClass, read for the extended resource that it names.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceClass {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: DeviceClassSpec,
}

/// Spec of a DeviceClass.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceClassSpec {
    /// Extended resource that the class satisfies.
    pub extended_resource_name: Option<Box<str>>,
}
