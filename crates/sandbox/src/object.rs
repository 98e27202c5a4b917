//! A stored object: its JSON, and in addition only what lists and watches select by.

use bytes::Bytes;
use serde_json::Value;

use crate::resource::{EVENT_SOURCE, ResourceType};

/// One version of one object. It never changes; a write creates a new one.
///
/// The parsed form is not kept: it would be ten times as large. A write parses, changes and serialises the object again,
/// which costs some microseconds; every list and watch sends the bytes unchanged.
#[derive(Debug)]
pub(crate) struct Object {
    /// The object as JSON, with apiVersion, kind and resourceVersion.
    pub bytes: Bytes,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    /// The UID of the controller among the ownerReferences; empty if there is none.
    pub owner: Box<str>,
    pub version: u64,
    /// Whether deletionTimestamp is set.
    pub deleting: bool,
    /// Sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the resource's field selectors, in the order of the resource's table.
    pub fields: Box<[Box<str>]>,
    /// The position of the digits of resourceVersion in `bytes`.
    version_at: Option<std::ops::Range<usize>>,
}

impl Object {
    /// Takes an object whose resourceVersion has been set to `version`.
    pub(crate) fn new(resource: &ResourceType, value: &Value, version: u64) -> Object {
        let bytes = Bytes::from(serde_json::to_vec(value).expect("a JSON value always serialises"));
        let meta = &value["metadata"];
        let text = |v: &Value| v.as_str().unwrap_or_default().into();
        let mut labels: Vec<(Box<str>, Box<str>)> = meta["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.as_str().into(), text(v)))
            .collect();
        labels.sort_unstable();
        let fields = resource
            .fields
            .iter()
            .map(|(_, pointer)| match value.pointer(pointer) {
                Some(Value::String(s)) if !s.is_empty() => s.as_str().into(),
                Some(Value::Bool(b)) => if *b { "true" } else { "false" }.into(),
                Some(Value::Number(n)) => n.to_string().into(),
                // Absent booleans are "false" in upstream's field sets.
                _ if pointer.ends_with("/unschedulable") || pointer.ends_with("/hostNetwork") => {
                    "false".into()
                }
                _ if *pointer == EVENT_SOURCE => text(&value["reportingComponent"]),
                _ => "".into(),
            })
            .collect();
        let version_at = find_version(&bytes, version);
        Object {
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            owner: controller_of(meta),
            version,
            deleting: !meta["deletionTimestamp"].is_null(),
            labels: labels.into(),
            fields,
            version_at,
            bytes,
        }
    }

    /// The parsed object.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("the store serialised these bytes itself")
    }

    /// The same object with another resourceVersion: what a watch shows when an object is deleted or leaves
    /// its selection.
    pub(crate) fn bytes_at_version(&self, version: u64) -> Bytes {
        match &self.version_at {
            Some(range) => {
                let digits = version.to_string();
                let mut bytes = Vec::with_capacity(self.bytes.len() + digits.len());
                bytes.extend_from_slice(&self.bytes[..range.start]);
                bytes.extend_from_slice(digits.as_bytes());
                bytes.extend_from_slice(&self.bytes[range.end..]);
                Bytes::from(bytes)
            }
            None => {
                let mut value = self.value();
                value["metadata"]["resourceVersion"] = Value::from(version.to_string());
                Bytes::from(serde_json::to_vec(&value).expect("a JSON value always serialises"))
            }
        }
    }

    /// The same object as a deleted one.
    pub(crate) fn deleted_at(&self, version: u64) -> Object {
        let bytes = self.bytes_at_version(version);
        Object {
            version_at: find_version(&bytes, version),
            bytes,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            owner: self.owner.clone(),
            version,
            deleting: self.deleting,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }

    /// The approximate size of the object in memory, by which the event log is bounded.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.bytes.len() + 256 + 48 * self.labels.len() + 24 * self.fields.len()
    }
}

fn controller_of(meta: &Value) -> Box<str> {
    let references = meta["ownerReferences"].as_array().into_iter().flatten();
    references.filter(|r| r["controller"] == true).find_map(|r| r["uid"].as_str()).unwrap_or_default().into()
}

/// The position of the digits, if it is unambiguous: the text occurs exactly once.
fn find_version(bytes: &[u8], version: u64) -> Option<std::ops::Range<usize>> {
    let needle = format!("\"resourceVersion\":\"{version}\"");
    let text = std::str::from_utf8(bytes).ok()?;
    let mut found = text.match_indices(&needle);
    let (at, _) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let end = at + needle.len() - 1;
    Some(end - version.to_string().len()..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_replaced_in_place_and_only_there() {
        let pods = crate::resource::stored_as(crate::resource::PODS);
        let value = json!({"metadata": {"name": "a", "resourceVersion": "9", "uid": "9"}});
        let object = Object::new(pods, &value, 9);
        let parsed: Value = serde_json::from_slice(&object.bytes_at_version(1234)).unwrap();
        assert_eq!(parsed, json!({"metadata": {"name": "a", "resourceVersion": "1234", "uid": "9"}}));

        // Two places look alike: falls back to parsing.
        let value = json!({"involvedObject": {"resourceVersion": "9"}, "metadata": {"resourceVersion": "9"}});
        let parsed: Value =
            serde_json::from_slice(&Object::new(pods, &value, 9).bytes_at_version(10)).unwrap();
        assert_eq!(
            parsed,
            json!({"involvedObject": {"resourceVersion": "9"}, "metadata": {"resourceVersion": "10"}})
        );
    }
}
