//! Values in the syntax of Go's flags, and the forms in which flags may be written.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The highest verbosity that makes a difference.
const VERBOSITY_MAX: i64 = 10;

/// Arguments in the form that is parsed here: `_` in the name of a flag becomes `-`, and any number is a valid verbosity.
pub(super) fn normalised(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut normalised = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            normalised.push(argument);
            continue;
        };
        if text == "--" {
            normalised.push(argument);
            break;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match (name, value) {
            ("-v" | "--v", value) => {
                let value = value.map(OsString::from).or_else(|| arguments.next());
                let value = value.map(|value| verbosity(&value));
                normalised.push("-v".into());
                normalised.extend(value);
            }
            (name, value) if name.starts_with("--") => {
                let name = name.replace('_', "-");
                normalised.push(value.map_or(name.clone(), |value| format!("{name}={value}")).into());
            }
            _ => normalised.push(argument),
        }
    }
    normalised.extend(arguments);
    normalised
}

fn verbosity(text: &OsString) -> OsString {
    match text.to_str().and_then(|text| text.parse::<i64>().ok()) {
        Some(number) => number.clamp(0, VERBOSITY_MAX).to_string().into(),
        None => text.clone(),
    }
}

/// A boolean in any of Go's spellings.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A duration as Go writes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanoseconds =
        secondmate_model::duration::parse(text).ok_or("expected a duration such as 15s, 1m30s or 500ms")?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| "must not be negative".to_owned())
}

/// `KEY=VALUE` pairs, as they are.
pub(super) fn map(text: &str) -> Result<String, String> {
    let is_pair = text.is_empty() || text.contains('=');
    is_pair.then(|| text.to_owned()).ok_or_else(|| "expected METRIC,LABEL=VALUE,VALUE".to_owned())
}

/// The items of a flag that is given several times, with several items each.
pub(super) fn list(given: &[String]) -> Vec<String> {
    let items = given.iter().flat_map(|given| given.split(','));
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// A path, if one is given; an empty one counts as none.
pub(super) fn path(given: Option<&String>) -> Option<PathBuf> {
    given.filter(|given| !given.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(arguments: &[&str]) -> Vec<String> {
        let normalised = normalised(arguments.iter().map(OsString::from));
        normalised.into_iter().map(|argument| argument.into_string().expect("text")).collect()
    }

    #[test]
    fn flags_have_gos_forms() {
        assert_eq!(written(&["--bind_address=::1", "--a_b", "c_d"]), ["--bind-address=::1", "--a-b", "c_d"]);
        assert_eq!(written(&["-v=4"]), ["-v", "4"]);
        assert_eq!(written(&["--v=99", "-v", "-1", "-v", "x"]), ["-v", "10", "-v", "0", "-v", "x"]);
        assert_eq!(written(&["--config=a_b=c", "--", "--x_y"]), ["--config=a_b=c", "--", "--x_y"]);
    }

    #[test]
    fn values_are_gos() {
        assert_eq!((boolean("T"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err() && boolean("").is_err());
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("90").is_err() && duration("-1s").is_err());
        assert_eq!(list(&["a,b".to_owned(), String::new(), "c".to_owned()]), ["a", "b", "c"]);
    }
}
