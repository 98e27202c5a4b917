//! The answer for one pod, in the form in which the parity oracle gives its answers.

use crate::facts::Facts;
use secondmate_framework::Code;
use secondmate_model::Atom;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;

/// How the attempt would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Verdict {
    /// At least one node is feasible.
    Schedulable,
    /// No node is feasible.
    Unschedulable,
    /// A PreEnqueue plugin holds the pod back.
    Gated,
    /// A plugin failed.
    Error,
}

impl Verdict {
    /// The word used in the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedulable => "Schedulable",
            Self::Unschedulable => "Unschedulable",
            Self::Gated => "Gated",
            Self::Error => "Error",
        }
    }
}

/// The rejection of the whole pod by a PreFilter plugin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PreFilterRejection {
    /// The plugin; absent if the plugins' node sets have no node in common.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option_text")]
    pub plugin: Option<Atom>,
    /// Name of the status code.
    pub code: &'static str,
    /// Reasons.
    pub reasons: Vec<String>,
}

/// One score plugin's part in a node's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ScoreAnswer {
    /// As returned by Score.
    pub raw: i64,
    /// After NormalizeScore.
    pub normalized: i64,
    /// Normalised score times weight.
    pub weighted: i64,
}

/// The verdict on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAnswer {
    /// It passed every filter.
    Feasible {
        /// By plugin; empty if no scoring took place.
        scores: Vec<(Atom, ScoreAnswer)>,
        /// Weighted sum.
        total: i64,
    },
    /// A filter rejected it, or it is outside PreFilter's node set.
    Rejected {
        /// Status code.
        code: Code,
        /// The first plugin, in the profile's order, that rejects it.
        plugin: Option<Atom>,
        /// Its reasons.
        reasons: Vec<String>,
    },
}

impl Serialize for NodeAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Feasible { scores, total } => {
                map.serialize_entry("code", Code::Success.name())?;
                if !scores.is_empty() {
                    let by_name: BTreeMap<&str, &ScoreAnswer> =
                        scores.iter().map(|(name, score)| (name.as_str(), score)).collect();
                    map.serialize_entry("scores", &by_name)?;
                }
                map.serialize_entry("total", total)?;
            }
            Self::Rejected { code, plugin, reasons } => {
                map.serialize_entry("code", code.name())?;
                if let Some(plugin) = plugin {
                    map.serialize_entry("plugin", plugin.as_str())?;
                }
                if !reasons.is_empty() {
                    map.serialize_entry("reasons", reasons)?;
                }
            }
        }
        map.end()
    }
}

/// What preemption would do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostFilterAnswer {
    /// The node.
    #[serde(serialize_with = "text")]
    pub nominated_node: Atom,
    /// Pods to evict, from the most to the least important, as `NAMESPACE/NAME`.
    pub victims: Vec<String>,
}

/// The answer for one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Scheduler name of its profile.
    pub profile: Atom,
    /// How the attempt would end.
    pub result: Verdict,
    /// Set if PreFilter rejected the pod.
    pub pre_filter: Option<PreFilterRejection>,
    /// Each node's verdict, in the order of the snapshot.
    pub nodes: Vec<(Atom, NodeAnswer)>,
    /// The feasible nodes with the highest total, sorted by name.
    pub best: Vec<Atom>,
    /// Set if no node is feasible and PostFilter nominated one.
    pub post_filter: Option<PostFilterAnswer>,
    /// Text of the FailedScheduling event.
    pub message: Option<String>,
    /// For people only: not part of the JSON.
    pub facts: Facts,
}

impl Explanation {
    /// An answer that contains only the verdict.
    #[must_use]
    pub fn new(pod: String, profile: Atom, result: Verdict) -> Self {
        Self {
            pod,
            profile,
            result,
            pre_filter: None,
            nodes: Vec::new(),
            best: Vec::new(),
            post_filter: None,
            message: None,
            facts: Facts::default(),
        }
    }

    /// The answer as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers only")
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // First, so that the answers of equivalent pods differ only in this field.
        map.serialize_entry("pod", &self.pod)?;
        map.serialize_entry("profile", self.profile.as_str())?;
        map.serialize_entry("result", self.result.name())?;
        if let Some(rejection) = &self.pre_filter {
            map.serialize_entry("preFilter", rejection)?;
        }
        let by_name: BTreeMap<&str, &NodeAnswer> =
            self.nodes.iter().map(|(name, answer)| (name.as_str(), answer)).collect();
        map.serialize_entry("nodes", &by_name)?;
        let best: Vec<&str> = self.best.iter().map(Atom::as_str).collect();
        map.serialize_entry("best", &best)?;
        if let Some(post_filter) = &self.post_filter {
            map.serialize_entry("postFilter", post_filter)?;
        }
        if let Some(message) = &self.message {
            map.serialize_entry("message", message)?;
        }
        map.end()
    }
}

fn text<S: Serializer>(atom: &Atom, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(atom.as_str())
}

fn option_text<S: Serializer>(atom: &Option<Atom>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(atom.as_ref().map_or("", Atom::as_str))
}
