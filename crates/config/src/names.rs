//! The forms of names in the Kubernetes API: subdomains, label keys and label values.

const LABEL_MAX_LENGTH: usize = 63;
const SUBDOMAIN_MAX_LENGTH: usize = 253;

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with `value` as a DNS subdomain (the form of object names); empty if nothing is.
pub fn is_subdomain(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > SUBDOMAIN_MAX_LENGTH {
        wrong.push(format!("must be no more than {SUBDOMAIN_MAX_LENGTH} bytes"));
    }
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    if !value.split('.').all(part) {
        wrong.push(SUBDOMAIN_RULE.to_owned());
    }
    wrong
}

fn is_label_name(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// What is wrong with `value` as a label key or qualified name; empty if nothing is.
pub fn is_label_key(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong
                    .extend(is_subdomain(prefix).into_iter().map(|message| format!("prefix part {message}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {KEY_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX_LENGTH {
        wrong.push(format!("name part must be no more than {LABEL_MAX_LENGTH} bytes"));
    }
    if !is_label_name(name) {
        wrong.push(format!("name part {KEY_RULE}"));
    }
    wrong
}

/// What is wrong with `value` as a label value; empty if nothing is.
pub fn is_label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > LABEL_MAX_LENGTH {
        wrong.push(format!("must be no more than {LABEL_MAX_LENGTH} bytes"));
    }
    if !value.is_empty() && !is_label_name(value) {
        wrong.push(VALUE_RULE.to_owned());
    }
    wrong
}

/// Whether `name` can be a resource that an extender manages: qualified and outside of `kubernetes.io`.
pub(crate) fn is_extended_resource(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && is_label_key(&format!("requests.{name}")).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_names() {
        let long = "a".repeat(64);
        for (key, valid) in [
            ("zone", true),
            ("topology.kubernetes.io/zone", true),
            ("Upper_case.ok", true),
            ("", false),
            ("/zone", false),
            ("a/b/c", false),
            ("-zone", false),
            ("UPPER/zone", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_label_key(key).is_empty(), valid, "{key:?}");
        }
        for (value, valid) in
            [("", true), ("v1.2_a-b", true), ("a b", false), ("-a", false), (long.as_str(), false)]
        {
            assert_eq!(is_label_value(value).is_empty(), valid, "{value:?}");
        }
        for (value, valid) in
            [("my-scheduler", true), ("a.b", true), ("", false), ("a..b", false), ("A", false)]
        {
            assert_eq!(is_subdomain(value).is_empty(), valid, "{value:?}");
        }
        for (name, valid) in [
            ("example.com/foo", true),
            ("cpu", false),
            ("kubernetes.io/foo", false),
            ("requests.example.com/foo", false),
        ] {
            assert_eq!(is_extended_resource(name), valid, "{name:?}");
        }
    }
}
