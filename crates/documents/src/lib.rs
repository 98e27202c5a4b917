//! Files in YAML or JSON, split into documents: the only reader of configurations, manifests and dumps.
//!
//! It knows where each document begins, so that messages name the line of the file, and recognises common mistakes
//! (a template that was not rendered, a table that `kubectl get` printed). It holds no state, does no I/O, and must never know what
//! the documents are about.

mod mistake;

pub use mistake::{Mistake, mistake, unrendered};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML; a text that begins like JSON may be in YAML's flow style.
    Yaml,
}

impl Format {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }
}

/// One document of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its format.
    pub format: Format,
    /// Line of the text on which it begins, from 1.
    pub line: usize,
    /// The text of the document alone.
    pub text: &'a str,
}

/// A document that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid {}: {cause}", .format.name())]
pub struct SyntaxError {
    /// The format that it was assumed to have.
    pub format: Format,
    /// Line of the text, if the parser knows it.
    pub line: Option<usize>,
    /// What is wrong, in the parser's words.
    pub cause: String,
}

/// The documents of a text, in order: YAML documents between `---`, or consecutive JSON values. Empty ones are
/// left out.
///
/// A line of YAML may end with a carriage return alone, as the parser counts it; a line of JSON ends with a line feed.
///
/// If a JSON value cannot be read to its end, it and everything that follows are one document, whose decoding says what is wrong.
#[must_use]
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parts = split(text);
    match parts.as_slice() {
        [(line, only)] if only.trim_start().starts_with(['{', '[']) => json_values(*line, only),
        _ => parts.into_iter().map(|(line, text)| Document { format: Format::Yaml, line, text }).collect(),
    }
}

impl<'a> Document<'a> {
    /// Decodes the document. Words that were booleans in YAML 1.1 (`n`, `no`, `off`) are text: they are names.
    ///
    /// # Errors
    /// It is not valid YAML or JSON, or not of this type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SyntaxError> {
        if self.format == Format::Json {
            return self.decode_json();
        }
        // JSON between `---` is read as JSON, which is faster.
        let json = self.text.trim_start_matches("---").trim_start().starts_with(['{', '[']);
        match json.then(|| serde_json::from_str(self.text.trim_start_matches("---"))) {
            Some(Ok(value)) => Ok(value),
            _ => self.decode_yaml(),
        }
    }

    /// Decodes a document in JSON into a type that may borrow from its text.
    ///
    /// # Errors
    /// It is not valid JSON, or not of this type.
    pub fn decode_json<T: Deserialize<'a>>(&self) -> Result<T, SyntaxError> {
        serde_json::from_str(self.text).map_err(|error| {
            let text = error.to_string();
            SyntaxError {
                format: Format::Json,
                line: (error.line() > 0).then(|| self.line + error.line() - 1),
                cause: text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]).to_owned(),
            }
        })
    }

    /// Decodes the document as YAML, of which JSON is a subset: for types that record the position of a value
    /// (`serde_saphyr::Spanned`). Their lines count from the document's own first line.
    ///
    /// # Errors
    /// As [`Document::decode`].
    pub fn decode_yaml<T: DeserializeOwned>(&self) -> Result<T, SyntaxError> {
        // The size of a file depends on that of the cluster; what aliases can multiply stays bounded.
        let mut budget = serde_saphyr::Budget::default();
        budget.max_events = usize::MAX;
        budget.max_nodes = usize::MAX;
        budget.max_total_scalar_bytes = usize::MAX;
        let options = serde_saphyr::options! {
            budget: Some(budget),
            with_snippet: false,
            // Types that keep repeated keys report them with their path.
            duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
            // A node may be called `n`, and Norway (`no`) is not false.
            strict_booleans: true,
        };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            let within = error.location().map(|location| location.line()).filter(|line| *line > 0);
            SyntaxError {
                format: Format::Yaml,
                line: within.and_then(|line| usize::try_from(line).ok()).map(|line| self.line + line - 1),
                cause: first_line(&error.to_string()),
            }
        })
    }

    /// The document as a tree.
    ///
    /// # Errors
    /// It is not valid YAML or JSON.
    pub fn value(&self) -> Result<Value, SyntaxError> {
        self.decode()
    }

    /// The line of the text with the first content, after `---` and comments.
    #[must_use]
    pub fn first_line(&self) -> usize {
        self.line + lines(self.text).position(says_something).unwrap_or(0)
    }

    /// The line of the text at which a part of the document begins. Lines of JSON end with a line feed; see [`documents`].
    ///
    /// # Panics
    /// `part` is not part of the document's text.
    #[must_use]
    pub fn line_of(&self, part: &str) -> usize {
        let start = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
        let before = start.and_then(|start| self.text.get(..start)).expect("a part of the document");
        let ends = match self.format {
            Format::Json => before.matches('\n').count(),
            Format::Yaml => lines(before).filter(|line| line.ends_with(['\n', '\r'])).count(),
        };
        self.line + ends
    }
}

/// A parser's message, without its position (which counts from the document's first line, not the file's) and its excerpt.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if let Some(at) = line.find(" at line ") {
        return line[..at].to_owned();
    }
    match (line.find("line "), line.find(": ")) {
        (Some(0), Some(colon)) => line[colon + 2..].to_owned(),
        _ => line.to_owned(),
    }
}

/// The values of a JSON text.
fn json_values(line: usize, text: &str) -> Vec<Document<'_>> {
    let document = |format, text| Document { format, line, text };
    let whole = document(Format::Json, text);
    let mut found = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    // Only JSON's own whitespace: any other is an error in the text.
    let blanks = [' ', '\t', '\n', '\r'];
    loop {
        let rest = text.get(values.byte_offset()..).unwrap_or_default().trim_start_matches(blanks);
        match values.next() {
            None => return found,
            Some(Ok(value)) => {
                let line = whole.line_of(value.get());
                found.push(Document { line, ..document(Format::Json, value.get()) });
            }
            // `{kind: Node}` begins like JSON but is YAML.
            Some(Err(_)) if found.is_empty() => {
                let yaml = document(Format::Yaml, text);
                return vec![if yaml.decode_yaml::<Value>().is_ok() { yaml } else { whole }];
            }
            Some(Err(_)) => {
                found.push(Document { line: whole.line_of(rest), ..document(Format::Json, rest) });
                return found;
            }
        }
    }
}

/// The documents of a YAML text, each with the number of its first line.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (index, line) in lines(text).enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with([' ', '\t']));
        if is_marker {
            found.push((first_line, &text[start..at]));
            (start, first_line) = (at, index + 1);
        }
        at += line.len();
    }
    found.push((first_line, &text[start..]));
    found.retain(|(_, document)| lines(document).any(says_something));
    found
}

/// The lines of a YAML text, with their ends: a line feed, a carriage return, or both (YAML 1.2, 5.4). A JSON parser counts only line
/// feeds.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = match rest.find(['\n', '\r']) {
            Some(at) if rest[at..].starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
            None if rest.is_empty() => return None,
            None => rest.len(),
        };
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line != "---" && line != "..." && !line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, String)> {
        let value = |document: &Document<'_>| match document.value() {
            Ok(value) => value.to_string(),
            Err(error) => format!("{error} ({:?})", error.line),
        };
        documents(text).iter().map(|document| (document.line, value(document))).collect()
    }

    #[test]
    fn yaml_documents_begin_on_their_lines() {
        let text = "# first\n---\na: 1\n---\n---\n# nothing\n---\nb: n\nc: yes\n";
        assert_eq!(read(text), [(2, r#"{"a":1}"#.to_owned()), (7, r#"{"b":"n","c":"yes"}"#.to_owned())]);
        assert_eq!(read(""), []);
        assert_eq!(read("# nothing\n---\n...\n"), []);
        assert_eq!(read("{a: 1}\n"), [(1, r#"{"a":1}"#.to_owned())]);
        assert_eq!(
            read("{\"a\": 1}\n---\n{b: 2}\n"),
            [(1, r#"{"a":1}"#.to_owned()), (2, r#"{"b":2}"#.to_owned())]
        );
    }

    /// YAML 1.2, 5.4: what old Macs wrote, and what remains if a line feed was lost.
    #[test]
    fn a_carriage_return_alone_ends_a_line_of_yaml() {
        let text = "# first\ra: 1\r---\r\n\r# second\rb: 2\r";
        assert_eq!(read(text), [(1, r#"{"a":1}"#.to_owned()), (3, r#"{"b":2}"#.to_owned())]);
        assert_eq!(documents(text).iter().map(Document::first_line).collect::<Vec<_>>(), [2, 6]);
        let error = documents("a: 1\r\rb: [\r")[0].value().expect_err("refused");
        assert!(error.line.is_some_and(|line| (3..=4).contains(&line)), "{error:?}");
        assert_eq!(read("a: 1\r\n---\r\nb: 2\r\n").iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn json_values_follow_each_other() {
        let text = "\n{\"a\":\n 1}\n[2]\n";
        assert_eq!(read(text), [(2, r#"{"a":1}"#.to_owned()), (4, "[2]".to_owned())]);
    }

    #[test]
    fn what_cannot_be_parsed_says_on_which_line_of_the_file() {
        let error = |text: &str, at: usize| documents(text)[at].value().expect_err("refused");
        let yaml = error("a: 1\n---\nb:\n  c: [\n", 1);
        assert_eq!(yaml.format, Format::Yaml);
        assert!(yaml.line.is_some_and(|line| line >= 4), "{yaml:?}");
        assert!(!yaml.to_string().contains("column"), "{yaml}");
        let json = error("{\"a\": 1}\n\n{\"b\":\n x}", 1);
        assert_eq!((json.format, json.line), (Format::Json, Some(4)));
        assert_eq!(error("{\"a\": ", 0).format, Format::Json);
        // A blank character that is not whitespace in JSON counts as part of a line, too.
        assert_eq!(documents("[1]\n\u{85}\n")[1].line, 2);
    }
}
