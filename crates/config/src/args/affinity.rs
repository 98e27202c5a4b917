//! Arguments of `NodeAffinity`: an affinity that is added to every pod's own.

use serde_json::{Value, json};

use crate::document::Node;
use crate::names;
use crate::object::Object;
use crate::problem::{Path, Problems, quoted};

/// Arguments of `NodeAffinity`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeAffinityArgs {
    /// A core/v1 `NodeAffinity`, with its shape checked. Nodes must match both it and the pod's own.
    pub added_affinity: Option<Value>,
}

#[derive(Default)]
struct Term {
    match_expressions: Vec<Requirement>,
    match_fields: Vec<Requirement>,
}

struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn read(object: &Object<'_>, problems: &Problems) -> NodeAffinityArgs {
    let args = NodeAffinityArgs { added_affinity: object.node("addedAffinity").map(Node::to_json) };
    let Some(affinity) = object.object("addedAffinity") else { return args };
    if let Some(selector) = affinity.object(REQUIRED) {
        selector.list("nodeSelectorTerms", |node, path| {
            validate_term(&read_term(node, path, problems)?, path, problems);
            Some(())
        });
        selector.close();
    }
    affinity.list(PREFERRED, |node, path| {
        let object = Object::open(node, path, problems)?;
        let weight = object.int32("weight").unwrap_or(0);
        if let Some(preference) = object.node("preference") {
            let term = read_term(preference, &path.child("preference"), problems)?;
            // kube-scheduler does not check terms that have no effect, and omits `preference` from the path.
            if weight != 0 {
                validate_term(&term, path, problems);
            }
        }
        object.close();
        Some(())
    });
    affinity.close();
    args
}

fn read_term(node: &Node, path: &Path, problems: &Problems) -> Option<Term> {
    let object = Object::open(node, path, problems)?;
    let requirements = |name| {
        object
            .list(name, |node, path| {
                let object = Object::open(node, path, problems)?;
                let requirement = Requirement {
                    key: object.text("key"),
                    operator: object.text("operator"),
                    values: object.strings("values").unwrap_or_default(),
                };
                object.close();
                Some(requirement)
            })
            .unwrap_or_default()
    };
    let term = Term {
        match_expressions: requirements("matchExpressions"),
        match_fields: requirements("matchFields"),
    };
    object.close();
    Some(term)
}

impl NodeAffinityArgs {
    pub(super) fn to_value(&self) -> Value {
        self.added_affinity
            .as_ref()
            .map_or_else(|| json!({}), |affinity| json!({ "addedAffinity": affinity }))
    }
}

fn validate_term(term: &Term, path: &Path, problems: &Problems) {
    for (index, requirement) in term.match_expressions.iter().enumerate() {
        validate_expression(requirement, &path.child("matchExpressions").index(index), problems);
    }
    for (index, requirement) in term.match_fields.iter().enumerate() {
        let path = path.child("matchFields").index(index);
        if !matches!(requirement.operator.as_str(), "In" | "NotIn") {
            problems.not_supported(&path.child("operator"), &requirement.operator, &["In", "NotIn"]);
        } else if requirement.values.len() != 1 {
            problems.invalid(&path.child("values"), list(&requirement.values), "must have one element");
        }
    }
}

fn validate_expression(requirement: &Requirement, path: &Path, problems: &Problems) {
    let Requirement { key, operator, values } = requirement;
    const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    if !OPERATORS.contains(&operator.as_str()) {
        problems.not_supported(&path.child("operator"), operator, &OPERATORS);
        return;
    }
    let wrong_key = names::is_label_key(key);
    if !wrong_key.is_empty() {
        problems.invalid(&path.child("key"), quoted(key), wrong_key.join("; "));
    }
    let path = path.child("values");
    match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            problems.invalid(&path, list(values), "for 'in', 'notin' operators, values set can't be empty");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            problems.invalid(&path, list(values), "values set must be empty for exists and does not exist");
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                problems.invalid(
                    &path,
                    list(values),
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                );
            }
            for (index, value) in values.iter().enumerate() {
                if value.parse::<i64>().is_err() {
                    problems.invalid(
                        &path.index(index),
                        quoted(value),
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    );
                }
            }
        }
        _ => {}
    }
    for (index, value) in values.iter().enumerate() {
        let wrong = names::is_label_value(value);
        if !wrong.is_empty() {
            problems.invalid(&path.index(index).key(key), quoted(value), wrong.join("; "));
        }
    }
}

fn list(values: &[String]) -> String {
    json!(values).to_string()
}
