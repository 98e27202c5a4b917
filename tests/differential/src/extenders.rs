//! Extenders of a case: each is a table, which is served on both sides (`tests/parity/extenders.go` has the other server).

use secondmate_config::Configuration;
use secondmate_framework::Extenders;
use secondmate_shell::fuzzing::{Post, extenders_without_http};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an extender answers. An empty table lets everything pass, scores nothing and confirms every victim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Table {
    /// By verb, an answer that is given as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<String, Broken>,
    /// Nodes that do not pass, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reject: BTreeMap<String, String>,
    /// Nodes that do not pass and that no eviction helps, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unresolvable: BTreeMap<String, String>,
    /// Nodes that do not pass without a word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Nodes that pass though nobody asked about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// The error of every answer to filter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Scores by node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, i64>,
    /// Nodes on which nobody is to be evicted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<String>,
    /// Of how many victims on a node, the first ones, the eviction is confirmed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keep: BTreeMap<String, usize>,
    /// Nodes to whose victims a pod is added that is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ghosts: Vec<String>,
    /// What is answered instead of the violated budgets that were asked about.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations: BTreeMap<String, i64>,
}

/// An answer as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// The extenders of a configuration, answered by the tables in the same order.
#[must_use]
pub fn extenders(configuration: &Configuration, tables: &[Table]) -> Extenders {
    let by_prefix: BTreeMap<String, Table> = configuration
        .extenders
        .iter()
        .enumerate()
        .map(|(at, extender)| {
            let prefix = extender.url_prefix.trim_end_matches('/').to_owned();
            (prefix, tables.get(at).cloned().unwrap_or_default())
        })
        .collect();
    let post: Post = Arc::new(move |url, body| {
        let (prefix, verb) = url.rsplit_once('/').unwrap_or_default();
        match by_prefix.get(prefix) {
            Some(table) => table.answer(verb, body),
            None => (502, format!("no extender is at {url}").into_bytes()),
        }
    });
    extenders_without_http(&configuration.extenders, &post)
}

impl Table {
    fn answer(&self, verb: &str, body: &[u8]) -> (u16, Vec<u8>) {
        if let Some(Broken { status, body }) = self.broken.get(verb) {
            return (*status, body.clone().into_bytes());
        }
        let asked: Value = match serde_json::from_slice(body) {
            Ok(asked) => asked,
            Err(error) => return (400, error.to_string().into_bytes()),
        };
        let answer = match verb {
            "filter" => self.filter(&asked),
            "prioritize" => {
                self.scores.iter().map(|(node, score)| json!({"Host": node, "Score": score})).collect()
            }
            "preempt" => self.preempt(&asked),
            _ => return (400, format!("verb {verb:?} is not known").into_bytes()),
        };
        (200, answer.to_string().into_bytes())
    }

    fn passes(&self, node: &Value) -> bool {
        let node = node.as_str().unwrap_or_default();
        !self.reject.contains_key(node)
            && !self.unresolvable.contains_key(node)
            && !self.drop.iter().any(|dropped| dropped == node)
    }

    fn filter(&self, asked: &Value) -> Value {
        let (mut names, mut nodes) = (Value::Null, Value::Null);
        if let Some(asked) = asked["NodeNames"].as_array() {
            let passed = asked.iter().filter(|node| self.passes(node)).cloned();
            names = passed.chain(self.add.iter().map(|name| json!(name))).collect();
        } else if let Some(asked) = asked["Nodes"]["items"].as_array() {
            let passed = asked.iter().filter(|node| self.passes(&node["metadata"]["name"])).cloned();
            let added = self.add.iter().map(|name| json!({"metadata": {"name": name}}));
            nodes = json!({"metadata": {}, "items": passed.chain(added).collect::<Value>()});
        }
        json!({
            "Nodes": nodes,
            "NodeNames": names,
            "FailedNodes": self.reject,
            "FailedAndUnresolvableNodes": self.unresolvable,
            "Error": self.error,
        })
    }

    fn preempt(&self, asked: &Value) -> Value {
        let whole = asked["NodeNameToVictims"].as_object();
        let candidates = whole.or_else(|| asked["NodeNameToMetaVictims"].as_object());
        let mut confirmed = serde_json::Map::new();
        for (node, victims) in candidates.into_iter().flatten() {
            if self.spare.contains(node) {
                continue;
            }
            let uid = |pod: &Value| {
                if whole.is_some() { pod["metadata"]["uid"].clone() } else { pod["UID"].clone() }
            };
            let mut uids: Vec<Value> = victims["Pods"].as_array().into_iter().flatten().map(uid).collect();
            uids.truncate(self.keep.get(node).copied().unwrap_or(usize::MAX));
            if self.ghosts.contains(node) {
                uids.push("nobody".into());
            }
            let pods: Value = uids.into_iter().map(|uid| json!({"UID": uid})).collect();
            let asked = victims["NumPDBViolations"].as_i64().unwrap_or_default();
            let violations = self.violations.get(node).copied().unwrap_or(asked);
            confirmed.insert(node.clone(), json!({"Pods": pods, "NumPDBViolations": violations}));
        }
        json!({"NodeNameToMetaVictims": confirmed})
    }
}
