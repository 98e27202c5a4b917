//! Text to trees: YAML (JSON is a part of it) to nodes that remember their line and repeated keys.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::problem::{ConfigError, Path, Problem, ProblemKind, Problems};

/// A value with its position in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// From 1; 0 when unknown.
    pub line: u32,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Huge(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Repeated keys are kept, so that they can be reported with their path.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The name of the value's type in a message about a wrong type.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Int(value) => value.to_string(),
            Kind::Huge(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Text(value) => format!("{value:?}"),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "an object".to_owned(),
        }
    }

    /// The value as JSON. If a key is repeated, the last value is kept; [`note_lines`] reports the repetition.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::from(*value),
            Kind::Huge(value) => Value::from(*value),
            Kind::Float(value) => Value::from(*value),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(fields) => {
                Value::Object(fields.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// Adjusts the line numbers for a text in which this starts `lines` further down.
    fn move_down(&mut self, lines: u32) {
        if self.line > 0 {
            self.line += lines;
        }
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Kind::Map(fields) => fields.iter_mut().for_each(|(_, value)| value.move_down(lines)),
            _ => {}
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `Spanned` passes on the value together with its position.
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { line: u32::try_from(spanned.referenced.line()).unwrap_or(0), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Huge(value), Kind::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Kind>()? {
            let key = match key {
                Kind::Text(key) => key,
                Kind::Bool(key) => key.to_string(),
                Kind::Int(key) => key.to_string(),
                other => {
                    let other = Node { line: 0, kind: other };
                    return Err(A::Error::custom(format!(
                        "a field name must be a plain string, not {}",
                        other.describe()
                    )));
                }
            };
            fields.push((key, map.next_value::<Node>()?));
        }
        Ok(Kind::Map(fields))
    }
}

/// Reads all documents of a text; empty ones are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, ConfigError> {
    let refused = |line: Option<usize>, message: String| {
        let line = line.and_then(|line| u32::try_from(line).ok());
        ConfigError {
            problems: vec![Problem { kind: ProblemKind::Syntax, path: String::new(), line, message }],
        }
    };
    if let Some(mistake) = secondmate_documents::mistake(text) {
        return Err(refused(None, mistake.to_string()));
    }
    let mut nodes = Vec::new();
    for document in secondmate_documents::documents(text) {
        let mut node: Node = document.decode_yaml().map_err(|error| {
            let message =
                format!("{error}; expected a document of kind {} ({})", crate::KIND, crate::API_VERSION);
            refused(error.line, message)
        })?;
        node.move_down(u32::try_from(document.line - 1).unwrap_or(0));
        if node.kind != Kind::Null {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// Records in `problems` the line of every field below `node`, and reports fields that appear twice.
pub(crate) fn note_lines(node: &Node, path: &Path, problems: &Problems) {
    match &node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = path.index(index);
                problems.note_line(&path, item.line);
                note_lines(item, &path, problems);
            }
        }
        Kind::Map(fields) => {
            for (position, (key, value)) in fields.iter().enumerate() {
                let path = path.child(key);
                if let Some((_, first)) = fields[..position].iter().find(|(earlier, _)| earlier == key) {
                    problems.report_at(
                        ProblemKind::Decoding,
                        &path,
                        Some(value.line),
                        format!(
                            "duplicate field {key:?}: it already has a value on line {}; keep one",
                            first.line
                        ),
                    );
                } else {
                    problems.note_line(&path, value.line);
                    note_lines(value, &path, problems);
                }
            }
        }
        _ => {}
    }
}
