//! Label and field selectors, as written in a query string.

use crate::error::ApiError;

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelRequirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    /// `key > n` and `key < n`: kept for completeness, since upstream has them.
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed `labelSelector`: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<LabelRequirement>,
}

impl LabelSelector {
    /// Parses the grammar of `labels.Parse`.
    pub(crate) fn parse(text: &str) -> Result<LabelSelector, ApiError> {
        let refuse = |why: String| {
            ApiError::bad_request(format!(
                "unable to parse requirement: {why} (in label selector \"{text}\")"
            ))
        };
        let mut parser = Lexer { rest: text };
        let mut requirements = Vec::new();
        parser.skip_space();
        if parser.rest.is_empty() {
            return Ok(LabelSelector::default());
        }
        loop {
            requirements.push(parse_requirement(&mut parser).map_err(&refuse)?);
            parser.skip_space();
            if parser.rest.is_empty() {
                return Ok(LabelSelector { requirements });
            }
            if !parser.take(",") {
                return Err(refuse(format!("found '{}', expected: ',' or end of string", parser.rest)));
            }
        }
    }

    /// From the structured form in an object (`matchLabels`, `matchExpressions`).
    /// An absent selector matches nothing and an empty one everything; absence is left to the caller.
    pub(crate) fn from_object(selector: &serde_json::Value) -> LabelSelector {
        let mut requirements = Vec::new();
        if let Some(labels) = selector["matchLabels"].as_object() {
            for (key, value) in labels {
                requirements.push(LabelRequirement::In(
                    key.clone(),
                    vec![value.as_str().unwrap_or_default().to_owned()],
                ));
            }
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            requirements.push(match expression["operator"].as_str().unwrap_or_default() {
                "In" => LabelRequirement::In(key, values),
                "NotIn" => LabelRequirement::NotIn(key, values),
                "DoesNotExist" => LabelRequirement::Absent(key),
                _ => LabelRequirement::Exists(key),
            });
        }
        LabelSelector { requirements }
    }

    /// Whether there are no requirements.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the labels satisfy every requirement.
    pub(crate) fn matches(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        let get = |key: &str| labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|i| &*labels[i].1);
        self.requirements.iter().all(|requirement| match requirement {
            LabelRequirement::In(key, values) => get(key).is_some_and(|v| values.iter().any(|x| x == v)),
            LabelRequirement::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|x| x != v)),
            LabelRequirement::Exists(key) => get(key).is_some(),
            LabelRequirement::Absent(key) => get(key).is_none(),
            LabelRequirement::Greater(key, n) => {
                get(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n)
            }
            LabelRequirement::Less(key, n) => {
                get(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n)
            }
        })
    }
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')' | '<' | '>'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

fn parse_requirement(lexer: &mut Lexer<'_>) -> Result<LabelRequirement, String> {
    let absent = lexer.take("!");
    let key = lexer.word().to_owned();
    if key.is_empty() {
        return Err(format!("found '{}', expected: identifier", lexer.rest));
    }
    check_label_key(&key)?;
    if absent {
        return Ok(LabelRequirement::Absent(key));
    }
    lexer.skip_space();
    if lexer.rest.is_empty() || lexer.rest.starts_with(',') {
        return Ok(LabelRequirement::Exists(key));
    }
    if lexer.take("==") || lexer.take("=") {
        let value = label_value(lexer)?;
        return Ok(LabelRequirement::In(key, vec![value]));
    }
    if lexer.take("!=") {
        let value = label_value(lexer)?;
        return Ok(LabelRequirement::NotIn(key, vec![value]));
    }
    if lexer.take(">") {
        return Ok(LabelRequirement::Greater(key, integer(lexer)?));
    }
    if lexer.take("<") {
        return Ok(LabelRequirement::Less(key, integer(lexer)?));
    }
    match lexer.word() {
        "in" => Ok(LabelRequirement::In(key, value_set(lexer)?)),
        "notin" => Ok(LabelRequirement::NotIn(key, value_set(lexer)?)),
        other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn integer(lexer: &mut Lexer<'_>) -> Result<i64, String> {
    let word = lexer.word();
    word.parse()
        .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, found '{word}'"))
}

fn label_value(lexer: &mut Lexer<'_>) -> Result<String, String> {
    let value = lexer.word();
    check_label_value(value)?;
    Ok(value.to_owned())
}

fn value_set(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
    if !lexer.take("(") {
        return Err(format!("found '{}' expected: '('", lexer.rest));
    }
    let mut values = Vec::new();
    loop {
        values.push(label_value(lexer)?);
        if lexer.take(")") {
            return Ok(values);
        }
        if !lexer.take(",") {
            return Err(format!("found '{}', expected: ',' or ')'", lexer.rest));
        }
    }
}

/// A qualified name: an optional DNS prefix, a slash, and a name of at most 63 characters.
pub(crate) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(is_dns_subdomain);
    if prefix_ok && !name.is_empty() && name.len() <= 63 && is_label_word(name) {
        return Ok(());
    }
    Err("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        .to_owned())
}

/// At most 63 characters of the label alphabet, possibly none.
pub(crate) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || (value.len() <= 63 && is_label_word(value)) {
        return Ok(());
    }
    if value.len() > 63 {
        return Err("must be no more than 63 bytes".to_owned());
    }
    Err("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
         start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
         validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        .to_owned())
}

fn is_label_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends_ok = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    ends_ok && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// RFC 1123 subdomain of at most 253 characters.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_word)
}

/// RFC 1123 label of at most 63 characters.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_word(name)
}

fn is_dns_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}

/// A parsed `fieldSelector` over a resource's list of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    Extracted(usize),
}

impl FieldSelector {
    /// Parses `a=b,c!=d`; `known` are the field labels other than `metadata.name` and `metadata.namespace`.
    pub(crate) fn parse(
        text: &str,
        known: &[(&'static str, &'static str)],
    ) -> Result<FieldSelector, ApiError> {
        let mut requirements = Vec::new();
        for term in split_unescaped(text).into_iter().filter(|t| !t.is_empty()) {
            let Some((label, equal, value)) = split_term(term) else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let value = unescape(value)
                .map_err(|why| ApiError::bad_request(format!("invalid field selector: {why}")))?;
            let field = match label {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                other => match known.iter().position(|(name, _)| *name == other) {
                    Some(index) => Field::Extracted(index),
                    None => {
                        return Err(ApiError::bad_request(format!("field label not supported: {other}")));
                    }
                },
            };
            requirements.push(FieldRequirement { field, value, equal });
        }
        Ok(FieldSelector { requirements })
    }

    /// Whether there are no requirements.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these fields satisfies every requirement.
    pub(crate) fn matches(&self, namespace: &str, name: &str, fields: &[Box<str>]) -> bool {
        self.requirements.iter().all(|requirement| {
            let actual = match requirement.field {
                Field::Name => name,
                Field::Namespace => namespace,
                Field::Extracted(index) => fields.get(index).map_or("", |f| &**f),
            };
            (actual == requirement.value) == requirement.equal
        })
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// The label, whether the values must be equal, and the value as written, split at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find('=')?;
    let (label, rest) = term.split_at(at);
    match label.strip_suffix('!') {
        Some(label) => Some((label, false, &rest[1..])),
        None => Some((label, true, rest.strip_prefix("==").unwrap_or(&rest[1..]))),
    }
}

/// As `fields.UnescapeValue`.
fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(other) => return Err(format!("invalid escape sequence: \\{other}")),
                None => return Err("invalid escape sequence: \\".to_owned()),
            },
            // Go shows the character's code.
            ',' | '=' => return Err(format!("unescaped character in value: {}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
        let mut labels: Vec<_> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        labels.sort();
        labels
    }

    #[test]
    fn every_operator_of_the_label_grammar_is_understood() {
        let object = labels(&[("app", "web"), ("tier", "front"), ("example.com/size", "7")]);
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app == web", true),
            ("app!=web", false),
            ("absent!=web", true),
            ("app in (web, db)", true),
            ("app notin (web,db)", false),
            ("app", true),
            ("!app", false),
            ("!absent", true),
            ("app=web,tier in (back),!x", false),
            ("app=web,tier in (front),!x", true),
            ("example.com/size>6", true),
            ("example.com/size<6", false),
            ("empty in ()", false),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn a_label_selector_that_is_no_selector_is_a_bad_request() {
        for text in ["app in web", "=x", "app=web db", "-a=b", "app in (a", "a=b,,c=d", "a>x"] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn field_selectors_compare_and_refuse_what_they_do_not_know() {
        let known = [("spec.nodeName", "/spec/nodeName"), ("status.phase", "/status/phase")];
        let fields: Vec<Box<str>> = vec!["".into(), "Pending".into()];
        for (text, expected) in [
            ("spec.nodeName=", true),
            ("spec.nodeName!=", false),
            ("spec.nodeName==,status.phase=Pending", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("metadata.name=p", true),
            ("metadata.namespace!=default", false),
        ] {
            let selector = FieldSelector::parse(text, &known).unwrap();
            assert_eq!(selector.matches("default", "p", &fields), expected, "{text}");
        }
        let error = FieldSelector::parse("spec.color=red", &known).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (400, "field label not supported: spec.color"));
        assert_eq!(FieldSelector::parse("spec.nodeName", &known).unwrap_err().code, 400);
    }

    #[test]
    fn commas_equals_signs_and_backslashes_in_a_value_have_to_be_escaped() {
        let known = [("spec.schedulerName", "/spec/schedulerName")];
        for (text, value) in [
            (r"spec.schedulerName=a\,b", "a,b"),
            (r"spec.schedulerName=a\=b", "a=b"),
            (r"spec.schedulerName=a\\b", r"a\b"),
            (r"spec.schedulerName==a\,b!\=c", "a,b!=c"),
            (r"metadata.name!=x!\=y,spec.schedulerName=a", "a"),
        ] {
            let fields: Vec<Box<str>> = vec![value.into()];
            let matches = FieldSelector::parse(text, &known).map(|s| s.matches("default", "p", &fields));
            assert_eq!(matches.map_err(|error| error.message), Ok(true), "{text}");
        }
        for (text, message) in [
            (r"spec.schedulerName=a\b", r"invalid field selector: invalid escape sequence: \b"),
            (r"spec.schedulerName=a\", r"invalid field selector: invalid escape sequence: \"),
            ("spec.schedulerName=a=b", "invalid field selector: unescaped character in value: 61"),
            ("spec.schedulerName=a!=b", "invalid field selector: unescaped character in value: 61"),
            ("spec.schedulerName=a,b", "invalid selector: 'spec.schedulerName=a,b'; can't understand 'b'"),
        ] {
            let error = FieldSelector::parse(text, &known).expect_err(text);
            assert_eq!((error.code, error.message.as_str()), (400, message), "{text}");
        }
    }
}
