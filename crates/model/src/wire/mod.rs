//! Slim wire types: what the API server's JSON is decoded into.
//!
//! They contain only the fields that scheduling reads, so decoding skips the rest (managed fields, environment variables, probes)
//! without allocating. Decoding is lenient about absent fields, like Kubernetes' own decoder. Invalid field values (a quantity
//! that does not parse, an unknown operator) are found when the object is compiled, where the error can name the object.

mod cluster;
mod node;
mod pod;
mod storage;

pub use cluster::*;
pub use node::*;
pub use pod::*;
pub use storage::*;

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// A string map as decoded, in key order.
pub type StringMap = BTreeMap<Box<str>, Box<str>>;
/// Requests, capacities: resource name to quantity text.
pub type ResourceList = BTreeMap<Box<str>, QuantityText>;

/// A quantity as written; it is parsed when the object is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuantityText(pub Box<str>);

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = QuantityText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a quantity: a string or a number")
            }
            fn visit_str<E>(self, v: &str) -> Result<QuantityText, E> {
                Ok(QuantityText(v.into()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<QuantityText, E> {
                Ok(QuantityText(v.to_string().into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<QuantityText, E> {
                Ok(QuantityText(v.to_string().into()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<QuantityText, E> {
                Ok(QuantityText(v.to_string().into()))
            }
            fn visit_unit<E>(self) -> Result<QuantityText, E> {
                Ok(QuantityText("0".into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `null` in place of a list, map or string means absent, as in Kubernetes' decoder.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The part of `metadata` that scheduling reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(deserialize_with = "null_default")]
    pub namespace: Box<str>,
    /// UID.
    #[serde(deserialize_with = "null_default")]
    pub uid: Box<str>,
    /// Resource version, opaque.
    #[serde(deserialize_with = "null_default")]
    pub resource_version: Box<str>,
    /// Generation of the spec.
    #[serde(deserialize_with = "null_default")]
    pub generation: i64,
    /// Labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: StringMap,
    /// Annotations.
    #[serde(deserialize_with = "null_default")]
    pub annotations: StringMap,
    /// Creation time, RFC 3339.
    pub creation_timestamp: Option<Box<str>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<Box<str>>,
    /// Owners.
    #[serde(deserialize_with = "null_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// API version of the owner.
    #[serde(deserialize_with = "null_default")]
    pub api_version: Box<str>,
    /// Kind of the owner.
    #[serde(deserialize_with = "null_default")]
    pub kind: Box<str>,
    /// Name of the owner, in the same namespace.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// UID of the owner.
    #[serde(deserialize_with = "null_default")]
    pub uid: Box<str>,
    /// Whether this owner is the managing controller.
    #[serde(deserialize_with = "null_default")]
    pub controller: bool,
}

/// `metav1.LabelSelector`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Equality requirements.
    #[serde(deserialize_with = "null_default")]
    pub match_labels: StringMap,
    /// Set-based requirements.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// A label or node selector requirement.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct SelectorRequirement {
    /// Label key or field name.
    #[serde(deserialize_with = "null_default")]
    pub key: Box<str>,
    /// Operator as written.
    #[serde(deserialize_with = "null_default")]
    pub operator: Box<str>,
    /// Values.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<Box<str>>,
}

/// `v1.NodeSelectorTerm`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// Requirements on labels.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<SelectorRequirement>,
    /// Requirements on fields.
    #[serde(deserialize_with = "null_default")]
    pub match_fields: Vec<SelectorRequirement>,
}

/// `v1.NodeSelector`: terms are alternatives.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    /// The alternatives.
    #[serde(deserialize_with = "null_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}
