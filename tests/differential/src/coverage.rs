//! What the cases have hit: each status reason of each plugin, each class of score, each end of a message.

mod known;

use known::KNOWN;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Counts of cases by what they hit.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    cases: u64,
    hits: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        for (key, count) in &other.hits {
            *self.hits.entry(key.clone()).or_insert(0) += count;
        }
    }

    /// Number of cases that hit something.
    #[must_use]
    pub fn hits(&self, key: &str) -> u64 {
        self.hits.get(key).copied().unwrap_or(0)
    }

    /// Takes the oracle's answers of a case in.
    pub fn record(&mut self, config: &Value, results: &[Value]) {
        self.cases += 1;
        let mut hit = BTreeSet::new();
        for result in results {
            record_result(config, result, &mut hit);
        }
        for key in hit {
            *self.hits.entry(key).or_insert(0) += 1;
        }
    }

    /// The table: what was hit how often, and what is known and was not.
    #[must_use]
    pub fn table(&self) -> (String, Vec<String>) {
        let mut text = format!("coverage of {} cases (in how many cases each was met):\n", self.cases);
        for (key, count) in &self.hits {
            let _ = writeln!(text, "{count:>9}  {key}");
        }
        let holes: Vec<String> =
            KNOWN.iter().filter(|key| self.hits(key) == 0).map(|key| (*key).to_owned()).collect();
        if holes.is_empty() {
            let _ = writeln!(text, "never met: nothing of the {} that are known", KNOWN.len());
        } else {
            let _ = writeln!(text, "never met, of {} that are known:", KNOWN.len());
            for hole in &holes {
                let _ = writeln!(text, "           {hole}");
            }
        }
        (text, holes)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn record_result(config: &Value, result: &Value, hit: &mut BTreeSet<String>) {
    hit.insert(format!("result: {}", text(&result["result"])));
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|r| normal(text(r))).collect()
    };
    if let Some(rejection) = result.get("preFilter") {
        for reason in list(&rejection["reasons"]) {
            hit.insert(format!(
                "preFilter {}: {}: {reason}",
                text(&rejection["plugin"]),
                text(&rejection["code"])
            ));
        }
    }
    let mut plugins: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for node in result["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values()) {
        for reason in list(&node["reasons"]) {
            hit.insert(format!("filter {}: {}: {reason}", text(&node["plugin"]), text(&node["code"])));
        }
        for (plugin, score) in node["scores"].as_object().into_iter().flatten() {
            let number = |field: &str| score[field].as_i64().unwrap_or_default();
            plugins.entry(plugin).or_default().push((number("raw"), number("normalized")));
        }
    }
    for (plugin, scores) in plugins {
        record_scores(config, text(&result["profile"]), plugin, &scores, hit);
    }
    let message = text(&result["message"]);
    if text(&result["result"]) == "Error" {
        hit.insert(format!("error: {}", normal(message)));
    } else if let Some((_, end)) = message.split_once("preemption: ") {
        for part in end.split(", ").flat_map(|part| part.split(": ")) {
            if !part.is_empty() && part != "preemption" {
                hit.insert(format!("preemption says: {}", normal(part.trim_end_matches('.'))));
            }
        }
    } else if message.ends_with(" not found") {
        hit.insert("message: PostFilter finds no state".to_owned());
    }
    if message.len() == 1024 {
        hit.insert("message: cut".to_owned());
    }
    if let Some(answer) = result.get("postFilter") {
        let victims = answer["victims"].as_array().map_or(0, Vec::len);
        hit.insert(format!(
            "preemption: {} victims",
            if victims > 2 { "more than 2".to_owned() } else { victims.to_string() }
        ));
    }
    if result.get("postFilterAny").is_some() {
        hit.insert("preemption: several right answers".to_owned());
    }
    if result.get("any").is_some() {
        hit.insert("volumes: several right answers".to_owned());
    }
    if result["best"].as_array().is_some_and(|best| best.len() > 1) {
        hit.insert("best: several nodes".to_owned());
    }
}

fn record_scores(
    config: &Value,
    profile: &str,
    plugin: &str,
    scores: &[(i64, i64)],
    hit: &mut BTreeSet<String>,
) {
    let plugin = match plugin {
        "NodeResourcesFit" => format!("NodeResourcesFit {}", strategy(config, profile)),
        other => other.to_owned(),
    };
    for (raw, normalized) in scores {
        let raw = match raw {
            ..0 => "below 0",
            0 => "0",
            1..100 => "1 to 99",
            100 => "100",
            _ => "above 100",
        };
        let normalized = match normalized {
            0 => "0",
            100 => "100",
            _ => "1 to 99",
        };
        hit.insert(format!("score {plugin}: raw {raw} becomes {normalized}"));
    }
    let all_equal = scores.windows(2).all(|pair| pair[0].1 == pair[1].1);
    hit.insert(format!("score {plugin}: nodes {}", if all_equal { "alike" } else { "differ" }));
}

/// The scoring strategy of NodeResourcesFit in a profile.
fn strategy<'a>(config: &'a Value, profile: &str) -> &'a str {
    let profiles = config["profiles"].as_array().into_iter().flatten();
    profiles
        .filter(|p| p["schedulerName"] == profile)
        .flat_map(|p| p["pluginConfig"].as_array().into_iter().flatten())
        .filter(|entry| entry["name"] == "NodeResourcesFit")
        .find_map(|entry| entry["args"]["scoringStrategy"]["type"].as_str())
        .unwrap_or("LeastAllocated")
}

/// A text with what differs from case to case taken out: what is in quotes, names of pods and claims, and numbers.
#[must_use]
pub fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for word in text.split_inclusive([' ', '(', ')', '[', ']', ',']) {
        let name =
            ["default/", "team/", "other/", "nowhere/"].iter().any(|namespace| word.starts_with(namespace));
        if name && !quoted {
            out.push('…');
            out.extend(word.chars().last().filter(|c| matches!(c, ' ' | '(' | ')' | '[' | ']' | ',')));
            continue;
        }
        let mut last_was_digit = false;
        for c in word.chars() {
            if c == '"' {
                quoted = !quoted;
                out.push_str(if quoted { "\"…" } else { "\"" });
            } else if quoted {
                continue;
            } else if c.is_ascii_digit() {
                if !last_was_digit {
                    out.push('N');
                }
            } else {
                out.push(c);
            }
            last_was_digit = c.is_ascii_digit();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_from_case_to_case_is_taken_out() {
        assert_eq!(
            normal("PVC default/run-1-v0 was not created for pod default/run-1 (pod is not owner)"),
            "PVC … was not created for pod … (pod is not owner)"
        );
        assert_eq!(
            normal("persistentvolumeclaim \"claim 12\" not found"),
            "persistentvolumeclaim \"…\" not found"
        );
        assert_eq!(normal("Insufficient hugepages-2Mi"), "Insufficient hugepages-NMi");
    }

    #[test]
    fn a_case_counts_once_for_each_thing_that_it_meets() {
        let result = json!({"pod": "default/p", "profile": "s", "result": "Unschedulable", "best": [], "nodes": {
            "a": {"code": "Unschedulable", "plugin": "P", "reasons": ["x 1"]},
            "b": {"code": "Unschedulable", "plugin": "P", "reasons": ["x 2"]},
        }, "message": "0/2 nodes are available: 1 x 1, 1 x 2."});
        let mut coverage = Coverage::default();
        coverage.record(&Value::Null, &[result]);
        assert_eq!(coverage.hits("filter P: Unschedulable: x N"), 1);
        assert_eq!(coverage.hits("result: Unschedulable"), 1);
        let (_, holes) = coverage.table();
        assert!(holes.contains(&"result: Schedulable".to_owned()));
        assert!(!holes.contains(&"result: Unschedulable".to_owned()));
    }
}
