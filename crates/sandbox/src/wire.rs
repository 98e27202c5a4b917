//! Request bodies in protobuf: kubectl's `create deployment` and all typed Go clients send them.
//!
//! One generic decoder walks the wire format with a table of messages (`wire/messages.txt`) and produces the JSON that
//! the rest of the sandbox works on. Responses are always JSON, which such clients accept as well.

use std::collections::HashMap;
use std::sync::OnceLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// One message per line, `name:` and its fields `number=jsonName/type`. Types: `s` text, `b` boolean, `i` integer,
/// `B` bytes, another message; preceded by `*` for a list, by `%` for a map from text; the name `+` for a message whose
/// fields are inlined in this one. The numbers are those of the `generated.proto` files of k8s.io/api v0.36.3.
const MESSAGES: &str = include_str!("wire/messages.txt");

/// The prefix of a body in this format.
const MAGIC: &[u8] = b"k8s\0";
/// Nothing in Kubernetes is nested this deeply.
const DEPTH_MAX: usize = 32;

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
    /// The fields of the message are inlined in the one that contains it.
    Inline,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Boolean,
    Integer,
    Bytes,
    Message(&'static str),
}

type Messages = HashMap<&'static str, HashMap<u64, Field>>;

fn messages() -> &'static Messages {
    static PARSED: OnceLock<Messages> = OnceLock::new();
    PARSED.get_or_init(|| MESSAGES.lines().filter_map(parse_message).collect())
}

fn parse_message(line: &'static str) -> Option<(&'static str, HashMap<u64, Field>)> {
    let (name, fields) = line.split_once(':')?;
    Some((name, fields.split_ascii_whitespace().filter_map(parse_field).collect()))
}

fn parse_field(text: &'static str) -> Option<(u64, Field)> {
    let (number, rest) = text.split_once('=')?;
    let (name, kind) = rest.split_once('/')?;
    let (shape, kind) = match (name, kind.strip_prefix('*'), kind.strip_prefix('%')) {
        ("+", _, _) => (Shape::Inline, kind),
        (_, Some(kind), _) => (Shape::List, kind),
        (_, _, Some(kind)) => (Shape::Map, kind),
        _ => (Shape::One, kind),
    };
    let kind = match kind {
        "s" => Kind::Text,
        "b" => Kind::Boolean,
        "i" => Kind::Integer,
        "B" => Kind::Bytes,
        message => Kind::Message(message),
    };
    Some((number.parse().ok()?, Field { name, kind, shape }))
}

/// Why a protobuf body cannot be read.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("it does not begin with \"k8s\"")]
    Magic,
    #[error("the sandbox does not know the kind \"{kind}\" of \"{api_version}\" in this format; send JSON")]
    UnknownKind { api_version: String, kind: String },
    #[error("no message {0}")]
    UnknownMessage(&'static str),
    #[error("it is cut off")]
    CutOff,
    #[error("a number is too long")]
    LongNumber,
    #[error(transparent)]
    Length(#[from] std::num::TryFromIntError),
    #[error("unknown wire type {0}")]
    UnknownType(u64),
    #[error(transparent)]
    Text(#[from] std::string::FromUtf8Error),
    #[error(transparent)]
    Time(#[from] jiff::Error),
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("a map entry is no message")]
    MapEntry,
    #[error("a field is not of its type {0:?}")]
    OtherType(Kind),
}

/// The JSON form of a protobuf body.
pub(crate) fn to_json(body: &[u8]) -> Result<Value, ApiError> {
    decode_envelope(body).map_err(|why| {
        ApiError::bad_request(format!("the body of the request is no protobuf of a Kubernetes object: {why}"))
    })
}

fn decode_envelope(body: &[u8]) -> Result<Value, WireError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(WireError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in fields(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let Some(name) = message_of(&api_version, &kind) else {
        return Err(WireError::UnknownKind { api_version, kind });
    };
    let mut object = decode_message(name, raw, 0)?;
    object["apiVersion"] = Value::from(api_version);
    object["kind"] = Value::from(kind);
    Ok(object)
}

/// The message of a kind; `None` if the table has none.
pub(crate) fn message_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let package = match (group, kind) {
        // Options are sent with the version of what they apply to.
        (_, "DeleteOptions") => "meta",
        ("", _) => "core",
        (group, _) => group.split('.').next().unwrap_or_default(),
    };
    let name = format!("{package}.{kind}");
    messages().get_key_value(name.as_str()).map(|(name, _)| *name)
}

/// The paths of an object's fields that its kind does not have, in the order of the object; at most `max` of them.
pub(crate) fn unknown_fields(object: &Value, max: usize) -> Vec<String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let mut found = Vec::new();
    if let (Some(message), Value::Object(map)) = (message_of(text("apiVersion"), text("kind")), object) {
        for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind")) {
            find_unknown(message, key, value, key.clone(), &mut found);
        }
    }
    found.truncate(max);
    found
}

fn find_unknown(message: &'static str, key: &str, value: &Value, path: String, found: &mut Vec<String>) {
    let Some(field) = find_field(message, key) else {
        // Servers fill it in, and the table omits it.
        if path != "metadata.managedFields" {
            found.push(path);
        }
        return;
    };
    let Kind::Message(inner) = field.kind else { return };
    // Numbers, texts and free-form objects.
    if !messages().contains_key(inner) {
        return;
    }
    let mut look_into = |value: &Value, path: String| {
        for (key, value) in value.as_object().into_iter().flatten() {
            find_unknown(inner, key, value, format!("{path}.{key}"), found);
        }
    };
    match (field.shape, value) {
        (Shape::List, Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                look_into(item, format!("{path}[{i}]"));
            }
        }
        (Shape::Map, Value::Object(entries)) => {
            for (key, entry) in entries {
                look_into(entry, format!("{path}.{key}"));
            }
        }
        _ => look_into(value, path),
    }
}

/// All fields of a message in its JSON form, including those of inlined messages. Empty for a message whose JSON is not an
/// object with its fields.
pub(crate) fn fields_of(message: &str) -> Vec<Field> {
    let mut all = Vec::new();
    for field in messages().get(message).into_iter().flat_map(HashMap::values) {
        match (field.shape, field.kind) {
            (Shape::Inline, Kind::Message(inner)) => all.extend(fields_of(inner)),
            _ => all.push(*field),
        }
    }
    all.sort_unstable_by_key(|field| field.name);
    all
}

/// A field by its JSON name, also in inlined messages.
fn find_field(message: &'static str, key: &str) -> Option<Field> {
    let fields = messages().get(message)?.values();
    let direct = fields.clone().find(|f| f.shape != Shape::Inline && f.name == key).copied();
    direct.or_else(|| {
        fields.filter(|f| f.shape == Shape::Inline).find_map(|f| match f.kind {
            Kind::Message(inner) => find_field(inner, key),
            _ => None,
        })
    })
}

#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 and 64 bits: floats, which no served kind has.
    Fixed,
}

/// The fields of one message, as encoded on the wire.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), WireError>> {
    std::iter::from_fn(move || if rest.is_empty() { None } else { Some(next_field(&mut rest)) })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Wire<'a>), WireError> {
    let result = (|| {
        let tag = varint(rest)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(rest)?),
            1 => {
                take(rest, 8)?;
                Wire::Fixed
            }
            2 => {
                let length = usize::try_from(varint(rest)?)?;
                Wire::Bytes(take(rest, length)?)
            }
            5 => {
                take(rest, 4)?;
                Wire::Fixed
            }
            other => return Err(WireError::UnknownType(other)),
        };
        Ok((tag >> 3, wire))
    })();
    if result.is_err() {
        // Ends the iteration.
        *rest = &[];
    }
    result
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(WireError::CutOff)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::LongNumber)
}

fn utf8(bytes: &[u8]) -> Result<String, WireError> {
    Ok(String::from_utf8(bytes.to_vec())?)
}

fn decode_message(name: &'static str, bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::TooDeep);
    }
    if let Some(value) = decode_special(name, bytes)? {
        return Ok(value);
    }
    let known = messages().get(name).ok_or(WireError::UnknownMessage(name))?;
    let mut object = Map::new();
    for field in fields(bytes) {
        let (number, wire) = field?;
        // A field that is not in the table is newer than the table, as an unknown field in JSON would be.
        let Some(field) = known.get(&number) else { continue };
        match field.shape {
            Shape::One => {
                let value = decode_value(field.kind, wire, depth)?;
                // Go encodes fields that are not set; in JSON they are omitted.
                if !(value.is_null() || value == "") {
                    object.insert(field.name.to_owned(), value);
                }
            }
            Shape::List => {
                let items = object.entry(field.name).or_insert_with(|| json!([]));
                if let Value::Array(items) = items {
                    items.push(decode_value(field.kind, wire, depth)?);
                }
            }
            Shape::Map => {
                let Wire::Bytes(entry) = wire else { return Err(WireError::MapEntry) };
                let (key, value) = decode_entry(field.kind, entry, depth)?;
                object.entry(field.name).or_insert_with(|| json!({}))[key] = value;
            }
            Shape::Inline => {
                if let Value::Object(inner) = decode_value(field.kind, wire, depth)? {
                    object.extend(inner);
                }
            }
        }
    }
    Ok(Value::Object(object))
}

fn decode_entry(kind: Kind, entry: &[u8], depth: usize) -> Result<(String, Value), WireError> {
    let (mut key, mut value) = (String::new(), Value::from(""));
    for field in fields(entry) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => value = decode_value(kind, wire, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn decode_value(kind: Kind, wire: Wire<'_>, depth: usize) -> Result<Value, WireError> {
    Ok(match (kind, wire) {
        (Kind::Text, Wire::Bytes(text)) => Value::from(utf8(text)?),
        (Kind::Boolean, Wire::Varint(n)) => Value::from(n != 0),
        // Negative numbers are encoded as two's complement.
        (Kind::Integer, Wire::Varint(n)) => Value::from(n.cast_signed()),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::from(BASE64_STANDARD.encode(bytes)),
        (Kind::Message(name), Wire::Bytes(bytes)) => decode_message(name, bytes, depth + 1)?,
        (kind, _) => return Err(WireError::OtherType(kind)),
    })
}

/// The messages whose JSON is not an object with their fields.
fn decode_special(name: &str, bytes: &[u8]) -> Result<Option<Value>, WireError> {
    let mut numbers = [0i64; 3];
    let mut text = "";
    for field in fields(bytes) {
        match field? {
            (number @ 1..=2, Wire::Varint(n)) => numbers[number as usize] = n.cast_signed(),
            (_, Wire::Bytes(bytes)) => text = std::str::from_utf8(bytes).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(Some(match name {
        "quantity.Quantity" => Value::from(text),
        "intstr.IntOrString" if numbers[1] == 0 => Value::from(numbers[2]),
        "intstr.IntOrString" => Value::from(text),
        "meta.Time" | "meta.MicroTime" => {
            if bytes.is_empty() {
                return Ok(Some(Value::Null));
            }
            let at = jiff::Timestamp::new(numbers[1], numbers[2] as i32)?;
            let format = if name == "meta.Time" { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
            Value::from(at.strftime(format).to_string())
        }
        // Of metrics, which nobody sends.
        "meta.Duration" => Value::Null,
        "runtime.RawExtension" => serde_json::from_str(text).unwrap_or(Value::Null),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, content.len() as u8];
        out.extend_from_slice(content);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [bytes_field(1, api_version.as_bytes()), bytes_field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes_field(1, &type_meta), bytes_field(2, raw)].concat()
    }

    #[test]
    fn every_message_of_the_table_is_there() {
        for (name, fields) in messages() {
            for field in fields.values() {
                if let Kind::Message(wanted) = field.kind {
                    let special = matches!(
                        wanted,
                        "quantity.Quantity"
                            | "intstr.IntOrString"
                            | "meta.Time"
                            | "meta.MicroTime"
                            | "meta.Duration"
                            | "runtime.RawExtension"
                    );
                    assert!(special || messages().contains_key(wanted), "{name}.{}: {wanted}", field.name);
                }
            }
        }
        assert!(messages().len() > 200);
    }

    #[test]
    fn a_pod_with_maps_quantities_and_unset_fields_becomes_its_json() {
        let label = bytes_field(11, &[bytes_field(1, b"app"), bytes_field(2, b"web")].concat());
        // Unset: an empty namespace and an empty creationTimestamp.
        let meta = [bytes_field(1, b"p"), bytes_field(3, b""), bytes_field(8, b""), label].concat();
        let request =
            bytes_field(2, &[bytes_field(1, b"cpu"), bytes_field(2, &bytes_field(1, b"100m"))].concat());
        let port = [&[2 << 3, 0][..], &[3 << 3, 0x90, 0x3F]].concat();
        let container =
            [bytes_field(1, b"c"), bytes_field(3, b"run"), bytes_field(6, &port), bytes_field(8, &request)]
                .concat();
        let pod = [bytes_field(1, &meta), bytes_field(2, &bytes_field(2, &container))].concat();
        assert_eq!(
            to_json(&envelope("v1", "Pod", &pod)).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "c", "command": ["run"], "ports": [{"hostPort": 0, "containerPort": 8080}],
                    "resources": {"requests": {"cpu": "100m"}}}]}})
        );
    }

    #[test]
    fn fields_that_a_kind_does_not_have_are_found_wherever_they_stand() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "extra": 1,
            "metadata": {"name": "p", "labels": {"any": "thing"}, "managedFields": [], "lables": {}},
            "spec": {
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}, "imagePullPolicey": "x",
                    "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1, "every": 2}}],
                "volumes": [{"name": "v", "emptyDir": {"medium": "", "size": 1}}],
                "affinity": {"nodeAffinity": {"required": {}}}, "overhead": {"cpu": "1"}}});
        assert_eq!(
            unknown_fields(&pod, 10),
            [
                "extra",
                "metadata.lables",
                "spec.affinity.nodeAffinity.required",
                "spec.containers[0].imagePullPolicey",
                "spec.containers[0].livenessProbe.every",
                "spec.volumes[0].emptyDir.size"
            ]
        );
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_a_bad_request() {
        let whole = envelope("v1", "Namespace", &bytes_field(1, &bytes_field(1, b"n")));
        assert_eq!(to_json(&whole).unwrap()["metadata"]["name"], "n");
        for end in MAGIC.len() + 1..whole.len() {
            // Not every truncation is detected, but none may panic.
            let _ = to_json(&whole[..end]);
        }
        assert_eq!(to_json(b"{}").unwrap_err().code, 400);
        let unknown = to_json(&envelope("batch/v1", "Task", b"")).unwrap_err();
        assert!(unknown.message.contains("\"Task\""), "{unknown}");
    }

    #[test]
    fn bytes_are_written_in_base64() {
        let entry = [bytes_field(1, b"k"), bytes_field(2, &[0xFB, 0xFF, 0])].concat();
        let secret = [bytes_field(1, &bytes_field(1, b"s")), bytes_field(2, &entry)].concat();
        let json = to_json(&envelope("v1", "Secret", &secret)).unwrap();
        assert_eq!(json["data"], json!({"k": "+/8A"}));
    }
}
