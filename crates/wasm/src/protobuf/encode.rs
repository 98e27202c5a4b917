//! From JSON text to protobuf in one pass, driven by the table.

use super::schema::{Field, Form, Message, Schema, Shape, schema};
use secondmate_model::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

const VARINT: u32 = 0;
const BYTES: u32 = 2;

/// Encodes the message of this name.
pub(crate) fn encode(name: &str, text: &str) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Body { message: schema().named(name), out: &mut bytes }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(bytes)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits, and the flag that more follow.
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn tag(out: &mut Vec<u8>, number: u32, kind: u32) {
    varint(out, u64::from(number << 3 | kind));
}

fn length(out: &mut Vec<u8>, length: usize) {
    varint(out, u64::try_from(length).expect("a length has at most 64 bits"));
}

/// A length-delimited field: a message, or a string.
pub(super) fn message(out: &mut Vec<u8>, number: u32, body: &[u8]) {
    tag(out, number, BYTES);
    length(out, body.len());
    out.extend_from_slice(body);
}

fn int(out: &mut Vec<u8>, number: u32, value: i64) {
    tag(out, number, VARINT);
    varint(out, u64::from_le_bytes(value.to_le_bytes()));
}

/// What is written for an absent field.
pub(super) fn absent(schema: &Schema, field: &Field, out: &mut Vec<u8>) {
    if field.shape != Shape::Value {
        return;
    }
    let number = field.number;
    match field.form {
        Form::String | Form::Time | Form::Raw => message(out, number, &[]),
        Form::Bool | Form::Int => int(out, number, 0),
        Form::Quantity => message(out, number, b"\x0a\x010"),
        Form::IntOrString => message(out, number, &[0x08, 0, 0x10, 0, 0x1a, 0]),
        Form::Message(of) => message(out, number, schema.empty_at(of)),
    }
}

/// Writes the fields of a message.
struct Body<'a> {
    message: usize,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A message whose fields are inlined into another.
struct Inlined<'s> {
    at: usize,
    message: &'s Message,
    seen: u64,
    body: Vec<u8>,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.extend_from_slice(schema().empty_at(self.message));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let message = schema().at(self.message);
        let mut inlined: Vec<Inlined<'_>> = Vec::new();
        for (at, field) in message.fields.iter().enumerate().filter(|(_, field)| field.inlined) {
            if let Form::Message(of) = field.form {
                inlined.push(Inlined { at, message: schema().at(of), seen: 0, body: Vec::new() });
            }
        }
        let mut seen = 0_u64;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            // kube-scheduler drops managedFields too: they are long, and no plugin reads them.
            if name == "managedFields" {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(at) = message.field(&name) {
                let present = map.next_value_seed(Member { field: &message.fields[at], out: self.out })?;
                seen |= u64::from(present) << at;
            } else if let Some((of, at)) =
                inlined.iter_mut().find_map(|of| of.message.field(&name).map(|at| (of, at)))
            {
                let field = &of.message.fields[at];
                let present = map.next_value_seed(Member { field, out: &mut of.body })?;
                of.seen |= u64::from(present) << at;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        for mut of in inlined {
            seen |= 1 << of.at;
            finish(of.message, of.seen, &mut of.body);
            self::message(self.out, message.fields[of.at].number, &of.body);
        }
        finish(message, seen, self.out);
        Ok(())
    }
}

/// Writes what was absent.
fn finish(message: &Message, seen: u64, out: &mut Vec<u8>) {
    for (at, field) in message.fields.iter().enumerate().filter(|(at, _)| seen & 1 << at == 0) {
        debug_assert!(!field.inlined || seen & 1 << at != 0, "what is inlined was written");
        absent(schema(), field, out);
    }
}

/// Writes a field; returns whether it was present.
struct Member<'a> {
    field: &'a Field,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        match self.field.shape {
            Shape::List => deserializer.deserialize_any(List(self)),
            Shape::Map => deserializer.deserialize_any(Entries(self)),
            Shape::Value | Shape::Pointer => {
                Element { number: self.field.number, form: self.field.form, out: self.out }
                    .deserialize(deserializer)
            }
        }
    }
}

struct List<'a>(Member<'a>);

impl<'de> Visitor<'de> for List<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Member { field, out } = self.0;
        while let Some(present) =
            list.next_element_seed(Element { number: field.number, form: field.form, out: &mut *out })?
        {
            if !present {
                let value = Field { shape: Shape::Value, ..field.clone() };
                absent(schema(), &value, out);
            }
        }
        Ok(true)
    }
}

struct Entries<'a>(Member<'a>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Member { field, out } = self.0;
        let mut entry = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            entry.clear();
            message(&mut entry, 1, key.as_bytes());
            if !map.next_value_seed(Element { number: 2, form: field.form, out: &mut entry })? {
                let value = Field { number: 2, shape: Shape::Value, ..field.clone() };
                absent(schema(), &value, &mut entry);
            }
            message(out, field.number, &entry);
        }
        Ok(true)
    }
}

/// Writes one value under a field number; returns whether it was present.
struct Element<'a> {
    number: u32,
    form: Form,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.form == Form::Raw {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            let mut body = Vec::new();
            message(&mut body, 1, raw.get().as_bytes());
            message(self.out, self.number, &body);
            return Ok(true);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::String => "a string",
            Form::Bool => "true or false",
            Form::Int => "a whole number",
            Form::Quantity => "a quantity",
            Form::Time => "a time (RFC 3339)",
            Form::IntOrString => "a number or a string",
            Form::Raw => "anything",
            Form::Message(_) => "an object",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        if self.form != Form::Bool {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self));
        }
        int(self.out, self.number, i64::from(value));
        Ok(true)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        match self.form {
            Form::Int => int(self.out, self.number, value),
            Form::Quantity => quantity(self.out, self.number, &value.to_string()),
            Form::IntOrString => int_or_string(self.out, self.number, Ok(value)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
        Ok(true)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        let signed = i64::try_from(value);
        self.visit_i64(signed.map_err(|_| E::custom(format_args!("{value} is beyond 63 bits")))?)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        if self.form != Form::Quantity {
            return Err(E::invalid_type(serde::de::Unexpected::Float(value), &self));
        }
        quantity(self.out, self.number, &value.to_string());
        Ok(true)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
        match self.form {
            Form::String => message(self.out, self.number, value.as_bytes()),
            Form::Quantity => quantity(self.out, self.number, value),
            Form::IntOrString => int_or_string(self.out, self.number, Err(value)),
            Form::Time => {
                let time = Timestamp::parse(value)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(value), &self))?;
                let mut body = Vec::new();
                // As in JSON, times have whole seconds.
                int(&mut body, 1, time.nanos.div_euclid(1_000_000_000));
                int(&mut body, 2, 0);
                message(self.out, self.number, &body);
            }
            _ => return Err(E::invalid_type(serde::de::Unexpected::Str(value), &self)),
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Form::Message(of) = self.form else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut body = Vec::new();
        Body { message: of, out: &mut body }.visit_map(map)?;
        message(self.out, self.number, &body);
        Ok(true)
    }
}

fn quantity(out: &mut Vec<u8>, number: u32, text: &str) {
    let mut body = Vec::with_capacity(text.len() + 2);
    message(&mut body, 1, text.as_bytes());
    message(out, number, &body);
}

fn int_or_string(out: &mut Vec<u8>, number: u32, value: Result<i64, &str>) {
    let mut body = Vec::new();
    int(&mut body, 1, i64::from(value.is_err()));
    int(&mut body, 2, value.unwrap_or_default());
    message(&mut body, 3, value.err().unwrap_or_default().as_bytes());
    message(out, number, &body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_seven_bits_a_byte() {
        for (value, expected) in [(0, &[0][..]), (127, &[127]), (300, &[0xac, 2])] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, expected);
        }
        let mut out = Vec::new();
        int(&mut out, 1, -1);
        assert_eq!(out, [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }

    #[test]
    fn what_is_inlined_in_json_is_a_message_of_its_own() {
        let bytes = encode("ConfigMapKeySelector", r#"{"key":"k","name":"n"}"#).expect("an object");
        assert_eq!(bytes, [0x12, 1, b'k', 0x0a, 3, 0x0a, 1, b'n']);
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        for text in
            [r#"{"spec":[]}"#, r#"{"spec":{"containers":"x"}}"#, r#"{"spec":{"nodeName":1}}"#, "7", "{"]
        {
            assert!(encode("Pod", text).is_err(), "{text}");
        }
        assert_eq!(encode("Pod", "null").expect("nothing"), encode("Pod", "{}").expect("nothing"));
    }
}
