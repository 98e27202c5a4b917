//! The table of messages: which JSON field has which number, and in which form.

use rustc_hash::FxHashMap;
use std::sync::{LazyLock, OnceLock};

/// Printed by the oracle in `tests/parity` with `-wire schema`, from the API's Go types.
pub(super) const TEXT: &str = include_str!("schema.txt");

/// The form of a field, or of an element of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    String,
    Bool,
    Int,
    Quantity,
    Time,
    IntOrString,
    /// JSON as bytes.
    Raw,
    /// A message, by its index in the table.
    Message(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Always written.
    Value,
    /// Written if present.
    Pointer,
    List,
    /// With string keys.
    Map,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub number: u32,
    pub form: Form,
    pub shape: Shape,
    /// In JSON, the fields of this message are among those around it.
    pub inlined: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    /// At most 64: a bit for each records whether it is present.
    pub fields: Vec<Field>,
    by_name: FxHashMap<&'static str, usize>,
    empty: OnceLock<Vec<u8>>,
}

impl Message {
    /// The index of a field.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

#[derive(Debug)]
pub(super) struct Schema {
    messages: Vec<Message>,
    by_name: FxHashMap<&'static str, usize>,
}

/// The table.
pub(super) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(TEXT));
    &SCHEMA
}

impl Schema {
    fn read(text: &'static str) -> Self {
        let name = |line: &'static str| line.split(' ').next().unwrap_or_default();
        let by_name: FxHashMap<_, _> = text.lines().enumerate().map(|(at, line)| (name(line), at)).collect();
        let messages = text.lines().map(|line| read_message(line, &by_name)).collect();
        Self { messages, by_name }
    }

    /// A message by name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(&self, name: &str) -> usize {
        *self.by_name.get(name).expect("the table has it")
    }

    pub fn at(&self, message: usize) -> &Message {
        &self.messages[message]
    }

    /// The encoding of a message with no fields present.
    pub fn empty(&self, name: &str) -> &[u8] {
        self.empty_at(self.named(name))
    }

    pub fn empty_at(&self, message: usize) -> &[u8] {
        let message = self.at(message);
        message.empty.get_or_init(|| {
            let mut bytes = Vec::new();
            message.fields.iter().for_each(|field| super::encode::absent(self, field, &mut bytes));
            bytes
        })
    }
}

fn read_message(line: &'static str, names: &FxHashMap<&str, usize>) -> Message {
    let mut message = Message { fields: Vec::new(), by_name: FxHashMap::default(), empty: OnceLock::new() };
    for field in line.split(' ').skip(1) {
        let (name, rest) = field.split_once('=').expect("a field is NAME=NUMBER:TYPE");
        let (number, mut form) = rest.split_once(':').expect("a field is NAME=NUMBER:TYPE");
        let mut shape = Shape::Value;
        for (suffix, of) in [("?", Shape::Pointer), ("[]", Shape::List), ("{}", Shape::Map)] {
            if let Some(plain) = form.strip_suffix(suffix) {
                (form, shape) = (plain, of);
            }
        }
        let form = match form {
            "string" => Form::String,
            "bool" => Form::Bool,
            "int" => Form::Int,
            "quantity" => Form::Quantity,
            "time" => Form::Time,
            "intorstring" => Form::IntOrString,
            "raw" => Form::Raw,
            other => Form::Message(*names.get(other).expect("every message has a line")),
        };
        let number = number.parse().expect("a number");
        if name != "^" {
            message.by_name.insert(name, message.fields.len());
        }
        message.fields.push(Field { number, form, shape, inlined: name == "^" });
    }
    assert!(message.fields.len() <= 64, "a bit for each field of {line}");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let pod = schema().at(schema().named("Pod"));
        let spec = &pod.fields[pod.field("spec").expect("a pod has a spec")];
        assert_eq!((spec.number, spec.shape), (2, Shape::Value));
        let Form::Message(spec) = spec.form else { panic!("{spec:?}") };
        let spec = schema().at(spec);
        let selector = &spec.fields[spec.field("nodeSelector").expect("it has one")];
        assert_eq!((selector.number, selector.form, selector.shape), (7, Form::String, Shape::Map));
        assert!(schema().at(schema().named("Volume")).fields.iter().any(|field| field.inlined));
    }
}
