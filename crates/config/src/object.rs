//! Strict reading of one object: every field that is not read is an error.

use std::cell::RefCell;
use std::time::Duration;

use crate::document::{Kind, Node};
use crate::problem::{Path, ProblemKind, Problems, quoted};
use secondmate_model::duration;

/// An object being read. [`Object::close`] reports the fields that were not read.
pub(crate) struct Object<'a> {
    fields: &'a [(String, Node)],
    pub path: Path,
    problems: &'a Problems,
    /// The fields that exist, in the order in which they are read; listed in a message about an unknown field.
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Object<'a> {
    /// Starts reading `node`; reports and returns `None` if it is not an object.
    pub(crate) fn open(node: &'a Node, path: &Path, problems: &'a Problems) -> Option<Self> {
        let fields: &[(String, Node)] = match &node.kind {
            Kind::Map(fields) => fields,
            Kind::Null => &[],
            _ => {
                wrong_type(node, path, problems, "an object");
                return None;
            }
        };
        Some(Self { fields, path: path.clone(), problems, known: RefCell::default() })
    }

    /// The node of a field; `null` counts as absent, as in Go.
    pub(crate) fn node(&self, name: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(name);
        let node = self.fields.iter().find(|(key, _)| key == name).map(|(_, node)| node)?;
        (node.kind != Kind::Null).then_some(node)
    }

    fn typed<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Kind) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(name)?;
        let value = read(&node.kind);
        if value.is_none() {
            wrong_type(node, &self.path.child(name), self.problems, expected);
        }
        value
    }

    pub(crate) fn string(&self, name: &'static str) -> Option<String> {
        self.typed(name, "a string", |kind| match kind {
            Kind::Text(value) => Some(value.clone()),
            _ => None,
        })
    }

    /// A string; `""` if absent, as in Go.
    pub(crate) fn text(&self, name: &'static str) -> String {
        self.string(name).unwrap_or_default()
    }

    pub(crate) fn boolean(&self, name: &'static str) -> Option<bool> {
        self.typed(name, "true or false", |kind| match kind {
            Kind::Bool(value) => Some(*value),
            // Words that are booleans to Go's YAML libraries.
            Kind::Text(word) => match word.to_lowercase().as_str() {
                "y" | "yes" | "on" => Some(true),
                "n" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        })
    }

    pub(crate) fn int64(&self, name: &'static str) -> Option<i64> {
        self.typed(name, "an integer (int64)", integer)
    }

    pub(crate) fn int32(&self, name: &'static str) -> Option<i32> {
        self.typed(name, "an integer (int32)", |kind| i32::try_from(integer(kind)?).ok())
    }

    pub(crate) fn float(&self, name: &'static str) -> Option<f64> {
        self.typed(name, "a number", |kind| match kind {
            Kind::Int(value) => Some(*value as f64),
            Kind::Float(value) => Some(*value),
            _ => None,
        })
    }

    /// A duration in Go's notation, in nanoseconds. It may be negative; validation rejects that where it is wrong.
    pub(crate) fn duration(&self, name: &'static str) -> Option<i64> {
        self.typed(name, "a duration such as \"15s\" or \"1m30s\"", |kind| match kind {
            Kind::Text(value) => duration::parse(value),
            _ => None,
        })
    }

    pub(crate) fn list<T>(
        &self,
        name: &'static str,
        mut read: impl FnMut(&'a Node, &Path) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items: &'a [Node] = self.typed(name, "a list", |kind| match kind {
            Kind::List(items) => Some(items.as_slice()),
            _ => None,
        })?;
        let path = self.path.child(name);
        Some(items.iter().enumerate().filter_map(|(index, item)| read(item, &path.index(index))).collect())
    }

    pub(crate) fn strings(&self, name: &'static str) -> Option<Vec<String>> {
        self.list(name, |node, path| match &node.kind {
            Kind::Text(value) => Some(value.clone()),
            _ => {
                wrong_type(node, path, self.problems, "a string");
                None
            }
        })
    }

    pub(crate) fn object(&self, name: &'static str) -> Option<Object<'a>> {
        Object::open(self.node(name)?, &self.path.child(name), self.problems)
    }

    /// Ends reading: fields that were not read are unknown.
    pub(crate) fn close(self) {
        let known = self.known.into_inner();
        let mut reported: Vec<&str> = Vec::new();
        for (key, node) in self.fields {
            if known.contains(&key.as_str()) || reported.contains(&key.as_str()) {
                continue;
            }
            reported.push(key);
            let here = if self.path.as_str().is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in {}", self.path.as_str())
            };
            let remedy = match closest(key, &known) {
                Some(similar) => format!("did you mean {}?", quoted(similar)),
                None if known.is_empty() => format!("nothing can be set {here}; remove it"),
                None => format!("remove it; the fields {here} are {}", known.join(", ")),
            };
            self.problems.unknown(
                &self.path.child(key),
                (node.line > 0).then_some(node.line),
                format!("unknown field {}: {remedy}", quoted(key)),
            );
        }
    }
}

fn integer(kind: &Kind) -> Option<i64> {
    match kind {
        Kind::Int(value) => Some(*value),
        // Go reads 1.0 and 1e2 as integers from YAML that was converted to JSON.
        Kind::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Some(*value as i64),
        _ => None,
    }
}

pub(crate) fn wrong_type(node: &Node, path: &Path, problems: &Problems, expected: &str) {
    problems.report_at(
        ProblemKind::Decoding,
        path,
        (node.line > 0).then_some(node.line),
        format!("Invalid value: {}: must be {expected}", node.describe()),
    );
}

/// The known name that a typo most likely meant.
pub(crate) fn closest<'n>(given: &str, known: &[&'n str]) -> Option<&'n str> {
    let limit = (given.len() / 3).max(1);
    known
        .iter()
        .map(|name| (distance(&given.to_lowercase(), &name.to_lowercase()), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edit distance (Levenshtein); names are short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (position, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = position + 1;
        for (index, other) in right.iter().enumerate() {
            let above = row[index + 1];
            let substituted = diagonal + usize::from(character != *other);
            row[index + 1] = substituted.min(above + 1).min(row[index] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

/// Nanoseconds that validation found to be non-negative.
pub(crate) fn to_duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}
