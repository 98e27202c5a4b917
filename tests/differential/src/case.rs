//! Cases and answers as they go over the oracle's pipes and into files.

use crate::extenders::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question to the oracle: one line of its input.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Case {
    /// Comes back in the answer.
    pub id: String,
    /// Kubernetes objects.
    pub objects: Vec<Value>,
    /// A KubeSchedulerConfiguration; absent means one profile `my-scheduler` with upstream's defaults.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// What the extenders of the configuration answer, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extenders: Vec<Table>,
    /// The pods to evaluate; none means all that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Put the objects through creation as an API server does it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validate: bool,
    /// With `validate`: evaluate what was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluate: bool,
}

/// One line of the oracle's output.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// That of the case.
    #[serde(default)]
    pub id: String,
    /// One explain object a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Value>,
    /// With `validate`: the objects as an API server stores them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Value>,
    /// With `validate`: what an API server refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
    /// The case is invalid, or the oracle contradicts itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// With `-self-check`: where the real scheduler's own cycle says something else than the oracle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub self_check: Vec<String>,
    /// With `-self-check`: pods that were compared so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checked: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An object that an API server refuses.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Rejection {
    /// Its place in the case.
    pub index: usize,
    /// Why.
    pub errors: Vec<String>,
}
