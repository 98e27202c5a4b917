//! Node selectors: required and preferred node affinity, and volumes' node affinity.
//!
//! The rules are those of `k8s.io/component-helpers/scheduling/corev1/nodeaffinity`: a term that cannot be parsed does not
//! match; a term without requirements matches nothing.

use crate::label_syntax;
use crate::labels::{Labels, Requirement, SelectorError, parse_go_int};
use crate::{Atom, wire};
use std::fmt;

/// A requirement on `metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// Field; nodes have only `metadata.name`, any other field is empty.
    pub field: Atom,
    /// `In` (equal) or `NotIn` (different).
    pub equal: bool,
    /// The one value.
    pub value: Atom,
}

impl FieldRequirement {
    /// Whether a node with this name meets the requirement. Any other field is empty on every node.
    #[must_use]
    pub fn matches(&self, name: &Atom) -> bool {
        let value = if self.field == "metadata.name" { name.as_str() } else { "" };
        (self.value == *value) == self.equal
    }
}

/// `metadata.name=n1`, `metadata.name!=n1`.
impl fmt::Display for FieldRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.equal { "=" } else { "!=" };
        write!(f, "{}{operator}{}", self.field, self.value)
    }
}

/// A compiled `v1.NodeSelectorTerm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeSelectorTerm {
    /// Requirements on labels.
    pub labels: Box<[Requirement]>,
    /// Requirements on fields.
    pub fields: Box<[FieldRequirement]>,
    /// Why the term cannot be evaluated; if set, the term matches nothing.
    pub error: Option<SelectorError>,
    /// The individual problems that [`NodeSelectorTerm::error`] combines into one text.
    pub problems: Box<[Box<str>]>,
    /// The names that `metadata.name In` lists, one list per requirement as written; used for PreFilter's node set.
    pub name_lists: Box<[Box<[Atom]>]>,
}

impl NodeSelectorTerm {
    /// Compiles a term; problems are kept in [`NodeSelectorTerm::error`].
    #[must_use]
    pub fn new(term: &wire::NodeSelectorTerm) -> Self {
        let mut errors = Vec::new();
        let mut labels = Vec::with_capacity(term.match_expressions.len());
        for (index, expression) in term.match_expressions.iter().enumerate() {
            match node_requirement(expression) {
                Ok(requirement) => labels.push(requirement),
                Err(problems) => {
                    errors.extend(problems.iter().map(|p| format!("matchExpressions[{index}].{p}")));
                }
            }
        }
        let mut fields = Vec::with_capacity(term.match_fields.len());
        let mut name_lists = Vec::new();
        for (index, expression) in term.match_fields.iter().enumerate() {
            if &*expression.key == "metadata.name" && &*expression.operator == "In" {
                name_lists.push(expression.values.iter().map(|v| Atom::new(v)).collect());
            }
            match field_requirement(expression) {
                Ok(requirement) => fields.push(requirement),
                Err(error) => errors.push(format!("matchFields[{index}].{error}")),
            }
        }
        let error = match errors.as_slice() {
            [] => None,
            [only] => Some(SelectorError(only.as_str().into())),
            _ => Some(SelectorError(format!("[{}]", errors.join(", ")).into())),
        };
        Self {
            labels: labels.into(),
            fields: fields.into(),
            error,
            problems: errors.into_iter().map(Into::into).collect(),
            name_lists: name_lists.into(),
        }
    }

    /// Whether the term has no requirements; such a term matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.error.is_none() && self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the node matches the term.
    #[must_use]
    pub fn matches(&self, name: &Atom, labels: &Labels) -> bool {
        !self.is_empty()
            && self.error.is_none()
            && self.labels.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|f| f.matches(name))
    }
}

/// A compiled `v1.NodeSelector`: one matching term is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelector {
    /// The alternatives.
    pub terms: Box<[NodeSelectorTerm]>,
}

impl NodeSelector {
    /// Compiles a node selector.
    #[must_use]
    pub fn new(selector: &wire::NodeSelector) -> Self {
        Self { terms: selector.node_selector_terms.iter().map(NodeSelectorTerm::new).collect() }
    }

    /// Whether the node matches one of the terms. Without terms, no node matches.
    #[must_use]
    pub fn matches(&self, name: &Atom, labels: &Labels) -> bool {
        self.terms.iter().any(|term| term.matches(name, labels))
    }

    /// Whether a node with these labels matches one of the terms, ignoring requirements on fields.
    ///
    /// Used for volumes' node affinity: upstream evaluates it against a node without a name, and then ignores fields.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.terms.iter().any(|term| {
            !term.is_empty() && term.error.is_none() && term.labels.iter().all(|r| r.matches(labels))
        })
    }

    /// The errors of the terms with their indices, as upstream joins them.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &SelectorError)> {
        self.terms.iter().enumerate().filter_map(|(i, t)| t.error.as_ref().map(|e| (i, e)))
    }
}

/// Compiles a requirement on labels, or returns everything that is wrong with it, with paths.
fn node_requirement(expression: &wire::SelectorRequirement) -> Result<Requirement, Vec<String>> {
    let values_must =
        |rule: &str| format!("values: Invalid value: {}: {rule}", label_syntax::shown(&expression.values));
    let mut problems: Vec<String> = label_syntax::key_problem(&expression.key).into_iter().collect();
    let operator = &*expression.operator;
    match operator {
        "In" | "NotIn" if expression.values.is_empty() => {
            problems.push(values_must("for 'in', 'notin' operators, values set can't be empty"));
        }
        "Exists" | "DoesNotExist" if !expression.values.is_empty() => {
            problems.push(values_must("values set must be empty for exists and does not exist"));
        }
        "Gt" | "Lt" => {
            if expression.values.len() != 1 {
                problems.push(values_must("for 'Gt', 'Lt' operators, exactly one value is required"));
            }
            for (index, value) in
                expression.values.iter().enumerate().filter(|(_, v)| parse_go_int(v).is_none())
            {
                problems.push(format!(
                    "values[{index}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            return Err(vec![format!(
                "operator: Unsupported value: {other:?}: supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""
            )]);
        }
    }
    problems.extend(label_syntax::value_problems(&expression.key, &expression.values));
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = Atom::new(&expression.key);
    let values = || -> Box<[Atom]> { expression.values.iter().map(|v| Atom::new(v)).collect() };
    let bound = || expression.values.first().and_then(|v| parse_go_int(v)).unwrap_or(0);
    Ok(match operator {
        "In" => Requirement::In(key, values()),
        "NotIn" => Requirement::NotIn(key, values()),
        "Exists" => Requirement::Exists(key),
        "DoesNotExist" => Requirement::DoesNotExist(key),
        "Gt" => Requirement::Gt(key, bound()),
        _ => Requirement::Lt(key, bound()),
    })
}

fn field_requirement(expression: &wire::SelectorRequirement) -> Result<FieldRequirement, String> {
    let equal = match &*expression.operator {
        "In" => true,
        "NotIn" => false,
        other => {
            return Err(format!(
                "operator: Unsupported value: {other:?}: supported values: \"In\", \"NotIn\""
            ));
        }
    };
    let [value] = &*expression.values else {
        let shown = label_syntax::shown(&expression.values);
        return Err(format!("values: Invalid value: {shown}: must have one element"));
    };
    Ok(FieldRequirement { field: Atom::new(&expression.key), equal, value: Atom::new(value) })
}
