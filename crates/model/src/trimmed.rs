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

/// The members of an object, in their original order.
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
}
