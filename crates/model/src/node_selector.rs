//! Node selectors: required and preferred node affinity, and volumes' node affinity.
//!
//! The rules are those of `k8s.io/component-helpers/scheduling/corev1/nodeaffinity`: a term that cannot be parsed does not
//! match; a term without requirements matches nothing.

use crate::labels::{Labels, Requirement, SelectorError, parse_go_int};
use crate::{Atom, wire};

/// A requirement on `metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// Field; only `metadata.name` exists on nodes.
    pub field: Atom,
    /// `In` (equal) or `NotIn` (different).
    pub equal: bool,
    /// The one value.
    pub value: Atom,
}

/// A compiled `v1.NodeSelectorTerm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeSelectorTerm {
    /// Requirements on labels.
    pub labels: Box<[Requirement]>,
    /// Requirements on fields.
    pub fields: Box<[FieldRequirement]>,
    /// Why the term cannot be evaluated, if so: it then matches nothing.
    pub error: Option<SelectorError>,
    /// Names that `metadata.name In` lists, one list for each such requirement as written; for the node set of PreFilter.
    pub name_lists: Box<[Box<[Atom]>]>,
}

impl NodeSelectorTerm {
    /// Compiles a term; what is wrong in it is kept in [`NodeSelectorTerm::error`].
    #[must_use]
    pub fn new(term: &wire::NodeSelectorTerm) -> Self {
        let mut errors = Vec::new();
        let mut labels = Vec::with_capacity(term.match_expressions.len());
        for (index, expression) in term.match_expressions.iter().enumerate() {
            match node_requirement(expression) {
                Ok(requirement) => labels.push(requirement),
                Err(error) => errors.push(format!("matchExpressions[{index}].{error}")),
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
        let error = match errors.len() {
            0 => None,
            1 => Some(SelectorError(errors.remove(0).into())),
            _ => Some(SelectorError(format!("[{}]", errors.join(", ")).into())),
        };
        Self { labels: labels.into(), fields: fields.into(), error, name_lists: name_lists.into() }
    }

    /// Whether nothing is required: such a term matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.error.is_none() && self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the node meets the term.
    #[must_use]
    pub fn matches(&self, name: &Atom, labels: &Labels) -> bool {
        !self.is_empty()
            && self.error.is_none()
            && self.labels.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|f| f.field == "metadata.name" && (f.value == *name) == f.equal)
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

    /// Whether the node meets one of the terms. Without terms it meets none.
    #[must_use]
    pub fn matches(&self, name: &Atom, labels: &Labels) -> bool {
        self.terms.iter().any(|term| term.matches(name, labels))
    }

    /// Whether a node with these labels meets one of the terms, whatever the terms say about fields.
    ///
    /// Volumes' node affinity is evaluated so: upstream asks about a node without a name, and then leaves fields out.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.terms.iter().any(|term| {
            !term.is_empty() && term.error.is_none() && term.labels.iter().all(|r| r.matches(labels))
        })
    }

    /// The errors of the terms, each with its place, as upstream joins them.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &SelectorError)> {
        self.terms.iter().enumerate().filter_map(|(i, t)| t.error.as_ref().map(|e| (i, e)))
    }
}

fn node_requirement(expression: &wire::SelectorRequirement) -> Result<Requirement, String> {
    let key = Atom::new(&expression.key);
    let values = || -> Box<[Atom]> { expression.values.iter().map(|v| Atom::new(v)).collect() };
    let shown = || {
        let quoted: Vec<_> = expression.values.iter().map(|v| format!("{v:?}")).collect();
        format!("[{}]", quoted.join(","))
    };
    match &*expression.operator {
        "In" | "NotIn" if expression.values.is_empty() => {
            Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                .to_owned())
        }
        "In" => Ok(Requirement::In(key, values())),
        "NotIn" => Ok(Requirement::NotIn(key, values())),
        "Exists" | "DoesNotExist" if !expression.values.is_empty() => Err(format!(
            "values: Invalid value: {}: values set must be empty for exists and does not exist",
            shown()
        )),
        "Exists" => Ok(Requirement::Exists(key)),
        "DoesNotExist" => Ok(Requirement::DoesNotExist(key)),
        operator @ ("Gt" | "Lt") => {
            let [value] = &*expression.values else {
                return Err(format!(
                    "values: Invalid value: {}: for 'Gt', 'Lt' operators, exactly one value is required",
                    shown()
                ));
            };
            let Some(bound) = parse_go_int(value) else {
                return Err(format!(
                    "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            };
            Ok(if operator == "Gt" { Requirement::Gt(key, bound) } else { Requirement::Lt(key, bound) })
        }
        other => Err(format!(
            "operator: Unsupported value: {other:?}: supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""
        )),
    }
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
        return Err("values: Required value: must have one element".to_owned());
    };
    Ok(FieldRequirement { field: Atom::new(&expression.key), equal, value: Atom::new(value) })
}
