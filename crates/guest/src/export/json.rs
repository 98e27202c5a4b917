//! The little JSON that the ABI has: lists of texts, objects from text to number, and objects of such.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The texts of a list, or the keys of an object.
pub fn texts(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let start = rest.iter().position(|byte| *byte == b'"')? + 1;
        let (text, after) = take_text(&rest[start..])?;
        rest = after;
        Some(text)
    })
}

/// The text up to the quote that ends it, and what follows.
fn take_text(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let plain = core::str::from_utf8(&bytes[..end]).ok()?;
    if bytes[end] == b'"' {
        return Some((plain.into(), &bytes[end + 1..]));
    }
    let mut text: Vec<u8> = plain.as_bytes().to_vec();
    let mut rest = &bytes[end..];
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b'"' => return Some((String::from_utf8(text).ok()?.into(), rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                rest = after;
                match escaped {
                    b'n' => text.push(b'\n'),
                    b't' => text.push(b'\t'),
                    b'u' => {
                        let digits = core::str::from_utf8(rest.get(..4)?).ok()?;
                        let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                        text.extend_from_slice(format!("{character}").as_bytes());
                        rest = &rest[4..];
                    }
                    other => text.push(*other),
                }
            }
            other => text.push(*other),
        }
    }
}

/// The entries of an object.
pub fn numbers(bytes: &[u8]) -> Vec<(String, i64)> {
    let mut rest = bytes;
    let mut entries = Vec::new();
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let Some((name, after)) = take_text(&rest[start + 1..]) else { break };
        let number: Vec<u8> = after
            .iter()
            .skip_while(|byte| matches!(byte, b':' | b' '))
            .take_while(|byte| matches!(byte, b'-' | b'0'..=b'9'))
            .copied()
            .collect();
        let number = String::from_utf8(number).unwrap_or_default().parse().unwrap_or(0);
        entries.push((name.into_owned(), number));
        rest = after;
    }
    entries
}

/// The entries of an object whose values are objects from text to number; `null` counts as 0.
pub fn objects(bytes: &[u8]) -> Vec<(String, Vec<(String, i64)>)> {
    let mut rest = bytes;
    let mut entries = Vec::new();
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let Some((name, after)) = take_text(&rest[start + 1..]) else { break };
        let Some(end) = after.iter().position(|byte| *byte == b'}') else { break };
        entries.push((name.into_owned(), numbers(&after[..end])));
        rest = &after[end..];
    }
    entries
}

/// An object of entries.
#[must_use]
pub fn object(entries: &[(String, i64)]) -> String {
    let mut text = String::from("{");
    for (name, number) in entries {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&format!("{}:{number}", quoted(name)));
    }
    text.push('}');
    text
}

/// A text as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lists_and_objects_are_read_and_written() {
        assert!(texts(br#"["a","b\"c\u0041"]"#).eq(["a", "b\"cA"]));
        assert_eq!(texts(b"[]").count(), 0);
        let entries = [("a".to_string(), 5), ("b".to_string(), -7)];
        assert_eq!(numbers(br#"{"a":5,"b": -7}"#), entries);
        assert_eq!(object(&entries), r#"{"a":5,"b":-7}"#);
        assert_eq!(numbers(b"{\"a"), []);
        let images = br#"{"i:1":{"Size":7,"NumNodes":2,"Nodes":null},"j":{}}"#;
        let fields = [("Size", 7), ("NumNodes", 2), ("Nodes", 0)].map(|(name, n)| (name.to_string(), n));
        assert_eq!(objects(images), [("i:1".to_string(), fields.to_vec()), ("j".to_string(), Vec::new())]);
        assert_eq!((objects(b"null"), objects(b"{\"a")), (Vec::new(), Vec::new()));
        assert_eq!(quoted("a\"\\\nü"), r#""a\"\\\u000aü""#);
    }
}
