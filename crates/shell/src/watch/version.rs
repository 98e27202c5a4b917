//! Reads the resource version of an object from its text, no further than necessary: the API server writes it near the beginning, and most
//! of the text comes after it.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// `metadata.resourceVersion` of an object given as JSON; `None` if it has none that is a string.
pub(super) fn resource_version(object: &str) -> Option<String> {
    let mut found = None;
    let search = Search { path: &["metadata", "resourceVersion"], found: &mut found };
    // Once it has been found, reading ends with an error.
    let _ = search.deserialize(&mut serde_json::Deserializer::from_str(object));
    found
}

/// Looks for a string at this path of keys.
struct Search<'a> {
    path: &'a [&'a str],
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            *self.found = Some(String::deserialize(deserializer)?);
            return Ok(());
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((key, rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(is_wanted) = map.next_key_seed(Is(key))? {
            if is_wanted {
                map.next_value_seed(Search { path: rest, found: self.found })?;
                return Err(A::Error::custom("nothing else is of interest"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Whether a key equals this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_stands() {
        for (object, expected) in [
            (
                r#"{"metadata":{"name":"n","resourceVersion":"7","labels":{"resourceVersion":"8"}},"spec":{}}"#,
                Some("7"),
            ),
            (
                r#"{"spec":{"metadata":{"resourceVersion":"8"}},"metadata":{"labels":{"a":"b"},"resourceVersion":"7"}}"#,
                Some("7"),
            ),
            (r#"{"metad\u0061ta":{"resourceVersion":"\u0037"}}"#, Some("7")),
            (r#"{"metadata":{"resourceVersion":7}}"#, None),
            (r#"{"metadata":{"name":"n"},"resourceVersion":"8"}"#, None),
            (r#"{"metadata":null}"#, None),
            (r#"{}"#, None),
            (r#"[1]"#, None),
        ] {
            assert_eq!(resource_version(object).as_deref(), expected, "{object}");
        }
    }
}
