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
    /// What is wrong with the term, one by one: what [`NodeSelectorTerm::error`] says in one text.
    pub problems: Box<[Box<str>]>,
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

/// Compiles a requirement on labels; else all that is wrong with it, each with its place.
fn node_requirement(expression: &wire::SelectorRequirement) -> Result<Requirement, Vec<String>> {
    let mut problems = Vec::new();
    let mut wrong_values = |rule: &str| {
        let quoted: Vec<_> = expression.values.iter().map(|v| format!("{v:?}")).collect();
        problems.push(format!("values: Invalid value: [{}]: {rule}", quoted.join(",")));
    };
    let operator = &*expression.operator;
    match operator {
        "In" | "NotIn" if expression.values.is_empty() => {
            wrong_values("for 'in', 'notin' operators, values set can't be empty");
        }
        "Exists" | "DoesNotExist" if !expression.values.is_empty() => {
            wrong_values("values set must be empty for exists and does not exist");
        }
        "Gt" | "Lt" => {
            if expression.values.len() != 1 {
                wrong_values("for 'Gt', 'Lt' operators, exactly one value is required");
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
    for (index, value) in expression.values.iter().enumerate() {
        if let Some(rule) = broken_label_value_rule(value) {
            problems.push(format!("values[{index}][{}]: Invalid value: {value:?}: {rule}", expression.key));
        }
    }
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

/// Which rule a text breaks that is to be the value of a label, if any. The API server lets such values pass in preferred terms.
fn broken_label_value_rule(value: &str) -> Option<String> {
    const FORM: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let bytes = value.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let well_formed = ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    match (bytes.len() > 63, well_formed) {
        (false, true) => None,
        (true, true) => Some("must be no more than 63 bytes".to_owned()),
        (false, false) => Some(FORM.to_owned()),
        (true, false) => Some(format!("must be no more than 63 bytes; {FORM}")),
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
        let quoted: Vec<_> = expression.values.iter().map(|v| format!("{v:?}")).collect();
        return Err(format!("values: Invalid value: [{}]: must have one element", quoted.join(",")));
    };
    Ok(FieldRequirement { field: Atom::new(&expression.key), equal, value: Atom::new(value) })
}
