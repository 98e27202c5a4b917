//! Label sets and label selectors.

use crate::Atom;
use crate::label_syntax;
use crate::wire;
use std::fmt;
use std::sync::Arc;

/// A label set, sorted by key. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[(Atom, Atom)]>);

impl Labels {
    /// Compiles a string map.
    #[must_use]
    pub fn new(map: &wire::StringMap) -> Self {
        if map.is_empty() {
            // Does not allocate.
            return Self::default();
        }
        // The map is already sorted by key.
        Self(map.iter().map(|(k, v)| (Atom::new(k), Atom::new(v))).collect())
    }

    /// Value of a key.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &Atom) -> Option<&Atom> {
        // Label sets are small: a linear scan that compares pointers beats a search by text.
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Whether the label exists with this value.
    #[must_use]
    #[inline]
    pub fn has(&self, key: &Atom, value: &Atom) -> bool {
        self.get(key).is_some_and(|v| v == value)
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Atom, &Atom)> {
        self.0.iter().map(|(k, v)| (k, v))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let map: wire::StringMap =
            iter.into_iter().map(|(k, v)| (Box::from(k.as_ref()), Box::from(v.as_ref()))).collect();
        Self::new(&map)
    }
}

/// A selector that cannot be compiled, with the message of upstream's conversion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub Box<str>);

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// The label exists and has one of the values.
    In(Atom, Box<[Atom]>),
    /// The label is absent or has none of the values.
    NotIn(Atom, Box<[Atom]>),
    /// The label exists.
    Exists(Atom),
    /// The label is absent.
    DoesNotExist(Atom),
    /// The label exists and its value is an integer greater than the number.
    Gt(Atom, i64),
    /// The label exists and its value is an integer less than the number.
    Lt(Atom, i64),
}

impl Requirement {
    /// Whether the label set meets the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Self::Exists(key) => labels.get(key).is_some(),
            Self::DoesNotExist(key) => labels.get(key).is_none(),
            Self::Gt(key, bound) => integer(labels, key).is_some_and(|v| v > *bound),
            Self::Lt(key, bound) => integer(labels, key).is_some_and(|v| v < *bound),
        }
    }
}

/// As kubectl writes it: `app=web`, `tier in (a,b)`, `!x`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[Atom]| values.iter().map(Atom::as_str).collect::<Vec<_>>().join(",");
        match self {
            Self::In(key, values) => match &**values {
                [one] => write!(f, "{key}={one}"),
                values => write!(f, "{key} in ({})", list(values)),
            },
            Self::NotIn(key, values) => match &**values {
                [one] => write!(f, "{key}!={one}"),
                values => write!(f, "{key} notin ({})", list(values)),
            },
            Self::Exists(key) => write!(f, "{key}"),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
            Self::Gt(key, bound) => write!(f, "{key}>{bound}"),
            Self::Lt(key, bound) => write!(f, "{key}<{bound}"),
        }
    }
}

fn integer(labels: &Labels, key: &Atom) -> Option<i64> {
    parse_go_int(labels.get(key)?.as_str())
}

/// Parses an integer like Go's `strconv.ParseInt(s, 10, 64)`: an optional sign and digits, nothing else.
#[must_use]
pub fn parse_go_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A compiled `metav1.LabelSelector`: all requirements must hold. Without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Box<[Requirement]>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches nothing: what an absent selector means.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Box::new([]), nothing: true }
    }

    /// Matches everything: what an empty selector means.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Compiles an optional selector: absent matches nothing, empty matches everything.
    ///
    /// # Errors
    /// An unknown operator, or an operator whose values are not allowed or missing.
    pub fn optional(selector: Option<&wire::LabelSelector>) -> Result<Self, SelectorError> {
        selector.map_or_else(|| Ok(Self::nothing()), Self::new)
    }

    /// Compiles a selector.
    ///
    /// # Errors
    /// Like [`LabelSelector::optional`].
    pub fn new(selector: &wire::LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements =
            Vec::with_capacity(selector.match_labels.len() + selector.match_expressions.len());
        for (key, value) in &selector.match_labels {
            check(key, std::slice::from_ref(value), None)?;
            requirements.push(Requirement::In(Atom::new(key), Box::new([Atom::new(value)])));
        }
        for expression in &selector.match_expressions {
            requirements.push(label_requirement(expression)?);
        }
        Ok(Self { requirements: requirements.into(), nothing: false })
    }

    /// A selector from equality pairs, as used by Services.
    #[must_use]
    pub fn from_map(map: &wire::StringMap) -> Self {
        let requirements =
            map.iter().map(|(k, v)| Requirement::In(Atom::new(k), Box::new([Atom::new(v)]))).collect();
        Self { requirements, nothing: false }
    }

    /// This selector with further requirements; all must hold.
    #[must_use]
    pub fn and(&self, more: impl IntoIterator<Item = Requirement>) -> Self {
        let requirements = self.requirements.iter().cloned().chain(more).collect();
        Self { requirements, nothing: self.nothing }
    }

    /// The requirements; empty if the selector matches nothing.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether this is the selector without requirements.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether this is the selector that matches nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether the label set meets all requirements.
    #[must_use]
    #[inline]
    pub fn matches(&self, labels: &Labels) -> bool {
        if self.nothing {
            return false;
        }
        match &*self.requirements {
            // The form that most Services and workloads use. It is evaluated for every pod on every node, so it is handled
            // inline.
            [Requirement::In(key, values)] if values.len() == 1 => labels.has(key, &values[0]),
            requirements => requirements.iter().all(|r| r.matches(labels)),
        }
    }
}

/// As kubectl writes it: `app=web,tier in (a,b)`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nothing, &*self.requirements) {
            (true, _) => f.write_str("<none>"),
            (false, []) => f.write_str("<all>"),
            (false, requirements) => {
                let texts: Vec<String> = requirements.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

fn label_requirement(expression: &wire::SelectorRequirement) -> Result<Requirement, SelectorError> {
    let rule = match &*expression.operator {
        "In" | "NotIn" => {
            expression.values.is_empty().then_some("for 'in', 'notin' operators, values set can't be empty")
        }
        "Exists" | "DoesNotExist" => (!expression.values.is_empty())
            .then_some("values set must be empty for exists and does not exist"),
        other => {
            return Err(SelectorError(format!("{other:?} is not a valid label selector operator").into()));
        }
    };
    check(&expression.key, &expression.values, rule)?;
    let key = Atom::new(&expression.key);
    let values = || -> Box<[Atom]> { expression.values.iter().map(|v| Atom::new(v)).collect() };
    Ok(match &*expression.operator {
        "In" => Requirement::In(key, values()),
        "NotIn" => Requirement::NotIn(key, values()),
        "Exists" => Requirement::Exists(key),
        _ => Requirement::DoesNotExist(key),
    })
}

/// Checks the syntax of key and values; `broken` is anything else that is wrong with the values.
fn check(key: &str, values: &[Box<str>], broken: Option<&str>) -> Result<(), SelectorError> {
    let mut problems: Vec<String> = label_syntax::key_problem(key).into_iter().collect();
    if let Some(rule) = broken {
        problems.push(format!("values: Invalid value: {}: {rule}", label_syntax::shown(values)));
    }
    problems.extend(label_syntax::value_problems(key, values));
    label_syntax::joined(&problems).map_or(Ok(()), |text| Err(SelectorError(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',').filter(|p| !p.is_empty()).map(|p| p.split_once('=').expect("key=value")).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> wire::LabelSelector {
        wire::LabelSelector {
            match_expressions: vec![wire::SelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(|v| Box::from(*v)).collect(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn operators_match_as_upstream() {
        for (operator, values, set, expected) in [
            ("In", &["1", "2"][..], "a=1", true),
            ("In", &["1", "2"], "a=3", false),
            ("In", &["1"], "", false),
            ("NotIn", &["1"], "a=1", false),
            ("NotIn", &["1"], "a=2", true),
            ("NotIn", &["1"], "", true),
            ("Exists", &[], "a=", true),
            ("Exists", &[], "b=1", false),
            ("DoesNotExist", &[], "b=1", true),
            ("DoesNotExist", &[], "a=1", false),
        ] {
            let selector = LabelSelector::new(&expression("a", operator, values)).expect("valid");
            assert_eq!(selector.matches(&labels(set)), expected, "{operator} {values:?} on {set}");
        }
    }

    #[test]
    fn absent_matches_nothing_and_empty_matches_everything() {
        let absent = LabelSelector::optional(None).expect("valid");
        assert!(!absent.matches(&labels("a=1")));
        let empty = LabelSelector::optional(Some(&wire::LabelSelector::default())).expect("valid");
        assert!(empty.matches(&labels("")));
    }

    #[test]
    fn an_invalid_selector_says_why() {
        let error = LabelSelector::new(&expression("a", "Near", &["1"])).expect_err("unknown operator");
        assert_eq!(error.to_string(), "\"Near\" is not a valid label selector operator");
        LabelSelector::new(&expression("a", "In", &[])).expect_err("no values");
        LabelSelector::new(&expression("a", "Exists", &["1"])).expect_err("values");
    }

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("12", Some(12)),
            ("+12", Some(12)),
            ("-3", Some(-3)),
            ("", None),
            ("+", None),
            (" 1", None),
            ("1_0", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(parse_go_int(text), expected, "{text:?}");
        }
    }
}
