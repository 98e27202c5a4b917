//! Whether two answers are the same.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// The first place in which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The pod, or nothing where the lists of pods differ.
    pub pod: String,
    /// The place, such as `nodes.n1.scores.ImageLocality.raw`.
    pub path: String,
    /// What the oracle says.
    pub theirs: String,
    /// What secondmate says.
    pub ours: String,
}

impl Difference {
    /// The kind of difference: the path with the node's name taken out. Shrinking keeps to it.
    #[must_use]
    pub fn kind(&self) -> String {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        if parts.first() == Some(&"nodes") && parts.len() > 1 {
            parts[1] = "*";
        }
        parts.join("/")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pod {} at {}\n  kube-scheduler: {}\n  secondmate:     {}",
            self.pod, self.path, self.theirs, self.ours
        )
    }
}

/// Compares the oracle's results with ours; the oracle's alternatives (`any`, `postFilterAny`) are all right.
#[must_use]
pub fn compare(theirs: &[Value], ours: &[Value]) -> Option<Difference> {
    let names = |list: &[Value]| -> Vec<String> {
        list.iter().map(|result| result["pod"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let (their_names, our_names) = (names(theirs), names(ours));
    if their_names != our_names {
        return Some(Difference {
            pod: String::new(),
            path: "pods".to_owned(),
            theirs: their_names.join(" "),
            ours: our_names.join(" "),
        });
    }
    theirs.iter().zip(ours).find_map(|(theirs, ours)| compare_pod(theirs, ours))
}

/// Compares the answers for one pod.
#[must_use]
pub fn compare_pod(theirs: &Value, ours: &Value) -> Option<Difference> {
    let first = differs(theirs, ours)?;
    let others = theirs["any"].as_array().map(Vec::as_slice).unwrap_or_default();
    if others.iter().any(|other| differs(other, ours).is_none()) {
        return None;
    }
    Some(first)
}

fn differs(theirs: &Value, ours: &Value) -> Option<Difference> {
    let pod = theirs["pod"].as_str().unwrap_or_default();
    let difference = |path: &str, theirs: &Value, ours: &Value| {
        Some(Difference {
            pod: pod.to_owned(),
            path: path.to_owned(),
            theirs: theirs.to_string(),
            ours: ours.to_string(),
        })
    };
    for field in ["pod", "profile", "result", "preFilter"] {
        if theirs[field] != ours[field] {
            return difference(field, &theirs[field], &ours[field]);
        }
    }
    let empty = Map::new();
    let their_nodes = theirs["nodes"].as_object().unwrap_or(&empty);
    let our_nodes = ours["nodes"].as_object().unwrap_or(&empty);
    let names: BTreeSet<&String> = their_nodes.keys().chain(our_nodes.keys()).collect();
    for name in names {
        let get = |nodes: &Map<String, Value>| nodes.get(name).cloned().unwrap_or_default();
        let (theirs, ours) = (get(their_nodes), get(our_nodes));
        for field in ["code", "plugin"] {
            if theirs[field] != ours[field] {
                return difference(&format!("nodes/{name}/{field}"), &theirs, &ours);
            }
        }
        if as_set(&theirs["reasons"]) != as_set(&ours["reasons"]) {
            return difference(&format!("nodes/{name}/reasons"), &theirs, &ours);
        }
        let plugins = |node: &Value| -> BTreeSet<String> {
            node["scores"].as_object().map(|scores| scores.keys().cloned().collect()).unwrap_or_default()
        };
        if plugins(&theirs) != plugins(&ours) {
            return difference(&format!("nodes/{name}/scores"), &theirs["scores"], &ours["scores"]);
        }
        for plugin in plugins(&theirs) {
            let (their_score, our_score) = (&theirs["scores"][&plugin], &ours["scores"][&plugin]);
            if their_score != our_score {
                return difference(&format!("nodes/{name}/scores/{plugin}"), their_score, our_score);
            }
        }
        if theirs["total"] != ours["total"] {
            return difference(&format!("nodes/{name}/total"), &theirs["total"], &ours["total"]);
        }
    }
    if theirs["best"] != ours["best"] {
        return difference("best", &theirs["best"], &ours["best"]);
    }
    let right = theirs["postFilterAny"].as_array();
    // Of several right answers each has its message.
    let chosen = right.and_then(|answers| answers.iter().position(|answer| *answer == ours["postFilter"]));
    let message = chosen.map_or(&theirs["message"], |at| &theirs["messageAny"][at]);
    if *message != ours["message"] {
        return difference("message", message, &ours["message"]);
    }
    let agrees = match right {
        Some(answers) => answers.contains(&ours["postFilter"]),
        None => theirs["postFilter"] == ours["postFilter"],
    };
    if !agrees {
        let theirs = if right.is_some() { &theirs["postFilterAny"] } else { &theirs["postFilter"] };
        return difference("postFilter", theirs, &ours["postFilter"]);
    }
    None
}

/// The reasons as what they are: a set with counts.
fn as_set(reasons: &Value) -> Vec<&str> {
    let mut list: Vec<&str> =
        reasons.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    list.sort_unstable();
    list
}
