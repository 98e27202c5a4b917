//! The JSON of an object as upstream's informers keep it.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// An object's JSON without `kind`, `apiVersion` and `metadata.managedFields`: upstream's scheduler does not have them, and the
/// last can be longer than everything else. `None` if the text is not a JSON object.
#[must_use]
pub fn trimmed(text: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    members.write(&mut out, |name, value, out| match name {
        "kind" | "apiVersion" => false,
        "metadata" => {
            let Ok(metadata) = serde_json::from_str::<Members<'_>>(value.get()) else { return true };
            write_name(name, out);
            metadata.write(out, |name, _, _| name != "managedFields");
            false
        }
        _ => true,
    });
    Some(out)
}

/// A pod's JSON with this node as `spec.nodeName`; everything else stays as it is written. `None` where the spec names a node already, and
/// where the text is no pod.
pub(crate) fn placed(text: &str, node: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let spec: Members<'_> = match members.0.iter().find(|(name, _)| name == "spec") {
        Some((_, spec)) if spec.get() != "null" => serde_json::from_str(spec.get()).ok()?,
        _ => Members(Vec::new()),
    };
    let names_a_node =
        |(name, value): &(String, &RawValue)| name == "nodeName" && !matches!(value.get(), "null" | "\"\"");
    if spec.0.iter().any(names_a_node) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + node.len() + 32);
    out.push('{');
    write_name("spec", &mut out);
    out.push('{');
    write_name("nodeName", &mut out);
    out.push_str(&serde_json::to_string(node).expect("a text can be written as JSON"));
    let mut rest = |members: &Members<'_>, but: &str| {
        for (name, value) in members.0.iter().filter(|(name, _)| name != but) {
            out.push(',');
            write_name(name, &mut out);
            out.push_str(value.get());
        }
        out.push('}');
    };
    rest(&spec, "nodeName");
    rest(&members, "spec");
    Some(out)
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    /// Writes the object. `keep` decides whether a member is copied unchanged; if not, `keep` may have written a replacement
    /// itself.
    fn write(&self, out: &mut String, mut keep: impl FnMut(&str, &RawValue, &mut String) -> bool) {
        out.push('{');
        for (name, value) in &self.0 {
            let before = out.len();
            if keep(name, value, out) {
                write_name(name, out);
                out.push_str(value.get());
            }
            if out.len() > before {
                out.push(',');
            }
        }
        if out.ends_with(',') {
            out.pop();
        }
        out.push('}');
    }
}

fn write_name(name: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(name).expect("a text can be written as JSON"));
    out.push(':');
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Read).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stays_as_it_is_but_for_what_upstream_drops() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","managedFields":[{"manager":"x"}],"uid":"u"},"spec":{"cpu": 1e3,"t":"é\u00e9"},"status":{}}"#;
        assert_eq!(
            trimmed(text).expect("an object"),
            r#"{"metadata":{"name":"a","uid":"u"},"spec":{"cpu": 1e3,"t":"é\u00e9"},"status":{}}"#
        );
        assert_eq!(trimmed(r#"{"kind":"Pod"}"#).as_deref(), Some("{}"));
        assert_eq!(trimmed(r#"{"metadata":null}"#).as_deref(), Some(r#"{"metadata":null}"#));
        assert_eq!(trimmed("[1]"), None);
    }

    #[test]
    fn a_node_is_filled_in_where_the_spec_names_none() {
        let labelled =
            r#"{"metadata":{"labels":{"nodeName":"z"}},"spec":{"a": 1e3,"nodeName":"","t":"\u00e9"}}"#;
        assert_eq!(
            placed(labelled, "x").expect("a pod"),
            r#"{"spec":{"nodeName":"x","a":1e3,"t":"\u00e9"},"metadata":{"labels":{"nodeName":"z"}}}"#
        );
        for without in ["{}", r#"{"spec":null}"#, r#"{"spec":{}}"#, r#"{"spec":{"nodeName":null}}"#] {
            assert_eq!(placed(without, "x").as_deref(), Some(r#"{"spec":{"nodeName":"x"}}"#), "{without}");
        }
        for other in [r#"{"spec":{"nodeName" : "y"}}"#, r#"{"spec":7}"#, "[1]"] {
            assert_eq!(placed(other, "x"), None, "{other}");
        }
    }
}
