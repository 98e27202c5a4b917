//! The syntax of label keys and values, and upstream's messages for violations.
//!
//! The API server rejects most malformed ones, but the scheduler parses selectors again, and a selector that does not parse
//! affects how the pod is scheduled. Source of the rules: `IsQualifiedName`, `IsValidLabelValue` and `NewRequirement` in
//! `k8s.io/apimachinery`.

const NAME_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const NAME_FORM: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_FORM: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const SUBDOMAIN_FORM: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What is wrong with the key of a requirement, in the words of upstream's parser.
pub(crate) fn key_problem(key: &str) -> Option<String> {
    let rules = broken_key_rules(key);
    (!rules.is_empty()).then(|| format!("key: Invalid value: {key:?}: {}", rules.join("; ")))
}

/// What is wrong with the values of a requirement on the key, each with its index.
pub(crate) fn value_problems(key: &str, values: &[Box<str>]) -> impl Iterator<Item = String> {
    values.iter().enumerate().filter_map(move |(index, value)| {
        let rules = broken_value_rules(value);
        (!rules.is_empty())
            .then(|| format!("values[{index}][{key}]: Invalid value: {value:?}: {}", rules.join("; ")))
    })
}

/// How error messages show the values of a requirement: `null` if there are none.
pub(crate) fn shown(values: &[Box<str>]) -> String {
    if values.is_empty() {
        return "null".to_owned();
    }
    let quoted: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
    format!("[{}]", quoted.join(","))
}

/// Joins problems into one text as upstream joins errors: without duplicates, and in brackets if there are several.
pub(crate) fn joined(problems: &[String]) -> Option<Box<str>> {
    let mut distinct: Vec<&str> = Vec::new();
    for problem in problems {
        if !distinct.contains(&problem.as_str()) {
            distinct.push(problem);
        }
    }
    match distinct.as_slice() {
        [] => None,
        [only] => Some((*only).into()),
        several => Some(format!("[{}]", several.join(", ")).into()),
    }
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn broken_key_rules(key: &str) -> Vec<String> {
    let mut rules = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match *parts {
        [name] => name,
        ["", name] => {
            rules.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            if prefix.len() > SUBDOMAIN_MAX {
                rules.push(format!("prefix part must be no more than {SUBDOMAIN_MAX} bytes"));
            }
            if !is_subdomain(prefix) {
                rules.push(format!("prefix part {SUBDOMAIN_FORM}"));
            }
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {NAME_FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        rules.push("name part must be non-empty".to_owned());
    } else if name.len() > NAME_MAX {
        rules.push(format!("name part must be no more than {NAME_MAX} bytes"));
    }
    if !is_name(name) {
        rules.push(format!("name part {NAME_FORM}"));
    }
    rules
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| {
        let bytes = label.as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    })
}

fn broken_value_rules(value: &str) -> Vec<String> {
    let mut rules = Vec::new();
    if value.len() > NAME_MAX {
        rules.push(format!("must be no more than {NAME_MAX} bytes"));
    }
    if !value.is_empty() && !is_name(value) {
        rules.push(VALUE_FORM.to_owned());
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_judged_as_upstream_judges_them() {
        let name = format!("name part {NAME_FORM}");
        for (key, expected) in [
            ("app", vec![]),
            ("example.com/app", vec![]),
            ("", vec!["name part must be non-empty".to_owned(), name.clone()]),
            ("not a key!", vec![name.clone()]),
            ("/app", vec!["prefix part must be non-empty".to_owned()]),
            ("Example.com/app", vec![format!("prefix part {SUBDOMAIN_FORM}")]),
            (&"x".repeat(64), vec!["name part must be no more than 63 bytes".to_owned()]),
        ] {
            assert_eq!(broken_key_rules(key), expected, "{key:?}");
        }
        assert!(broken_key_rules("a/b/c")[0].starts_with("a qualified name must consist of"));
    }

    #[test]
    fn problems_are_joined_and_told_once() {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&texts(&["a", "a"])).as_deref(), Some("a"));
        assert_eq!(joined(&texts(&["a", "b"])).as_deref(), Some("[a, b]"));
    }
}
