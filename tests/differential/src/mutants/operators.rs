//! Small changes to source text: a comparison, a rounding, a constant, a condition.

use anyhow::{Context, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where verdicts and scores are made.
const FOLDERS: [&str; 2] = ["crates/plugins/src", "crates/cycle/src"];
/// The default weights.
const WEIGHTS: &str = "crates/config/src/plugins.rs";
/// Files that have no part in a verdict, a score or a preemption: hints, binding, arguments, tests.
const LEFT_OUT: [&str; 15] = [
    "cycle/src/probe.rs",
    "cycle/src/profile.rs",
    "cycle/src/pre_enqueue.rs",
    "tests",
    "hint",
    "fixture.rs",
    "default_binder.rs",
    "priority_sort.rs",
    "binding.rs",
    "assumed.rs",
    "arguments.rs",
    "args.rs",
    "src/lib.rs",
    "dynamic_resources.rs",
    "device_classes.rs",
];
/// Functions of the kind.
const FUNCTIONS_LEFT_OUT: [&str; 10] = [
    "hint",
    "events",
    "reserve",
    "unreserve",
    "pre_bind",
    "pre_flight",
    "bind",
    "post_bind",
    "compare",
    "fmt",
];

/// What is replaced by what. Each is tried at every place.
const REPLACEMENTS: [(&str, &str); 26] = [
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" == ", " != "),
    (" != ", " == "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" / ", " * "),
    (" += ", " -= "),
    (" -= ", " += "),
    (".min(", ".max("),
    (".max(", ".min("),
    (".min()", ".max()"),
    (".max()", ".min()"),
    (".any(", ".all("),
    (".all(", ".any("),
    (".is_some()", ".is_none()"),
    (".is_none()", ".is_some()"),
    (".div_ceil(", ".wrapping_div("),
    (".floor()", ".ceil()"),
    (".round()", ".floor()"),
    ("!self.", "self."),
];

/// One change.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The file, from the top of the tree.
    pub file: PathBuf,
    line: usize,
    column: usize,
    old: String,
    new: String,
    text: String,
}

impl Mutation {
    /// The file's text with the change.
    #[must_use]
    pub fn apply(&self, original: &str) -> String {
        let mut out = String::with_capacity(original.len() + 8);
        for (number, line) in original.split_inclusive('\n').enumerate() {
            if number + 1 == self.line {
                out.push_str(&line[..self.column]);
                out.push_str(&self.new);
                out.push_str(&line[self.column + self.old.len()..]);
            } else {
                out.push_str(line);
            }
        }
        out
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.old.trim(), self.new.trim());
        write!(f, "{}:{}: {old} becomes {new} in `{}`", self.file.display(), self.line, self.text)
    }
}

/// The files in which changes are made, in order.
///
/// # Errors
/// A folder that cannot be listed.
pub fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&tree.join(folder), &mut files)?;
    }
    files.push(tree.join(WEIGHTS));
    files.sort();
    Ok(files)
}

/// All changes, in the order of the files.
///
/// # Errors
/// A file that cannot be read.
pub fn mutations(tree: &Path, filter: &str) -> Result<Vec<Mutation>> {
    let files = files(tree)?;
    let mut found = Vec::new();
    for path in files {
        let file = path.strip_prefix(tree).unwrap_or(&path).to_owned();
        let shown = file.display().to_string();
        if LEFT_OUT.iter().any(|part| shown.contains(part)) || !shown.contains(filter) {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        of_file(&file, &text, shown == WEIGHTS, &mut found);
    }
    Ok(found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn of_file(file: &Path, text: &str, weights_only: bool, found: &mut Vec<Mutation>) {
    let mut function = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            return;
        }
        if let Some(name) = function_name(line) {
            function = name.to_owned();
        }
        let code = without_text(line);
        let trimmed = code.trim_start();
        // Only what scores has one.
        let is_weight = trimmed.starts_with("(\"") && trimmed.ends_with("),") && !trimmed.ends_with(", 0),");
        let skipped = trimmed.starts_with("//")
            || trimmed.starts_with("#[")
            || trimmed.starts_with("use ")
            || trimmed.starts_with("debug_assert")
            // How much room a vector has without the heap decides nothing.
            || code.contains("SmallVec<[")
            || FUNCTIONS_LEFT_OUT.contains(&function.as_str())
            || weights_only && !is_weight;
        if skipped {
            continue;
        }
        let mut add = |column: usize, old: &str, new: &str| {
            found.push(Mutation {
                file: file.to_owned(),
                line: number + 1,
                column,
                old: old.to_owned(),
                new: new.to_owned(),
                text: line.trim().to_owned(),
            });
        };
        for (old, new) in REPLACEMENTS {
            // A bound of a type is no sum.
            if old == " + " && (code.contains("dyn ") || code.contains("impl ") || code.contains("where ")) {
                continue;
            }
            for (column, _) in code.match_indices(old) {
                add(column, old, new);
            }
        }
        for (column, digits) in numbers(&code) {
            if let Ok(value) = digits.parse::<u64>() {
                add(column, digits, &(value + 1).to_string());
            }
        }
    }
}

fn function_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let before = line.trim_start();
    let declares = ["fn ", "pub ", "pub(", "const ", "async "].iter().any(|start| before.starts_with(start));
    (declares && end > 0).then(|| &rest[..end])
}

/// The line with what stands in strings and comments blanked out; columns stay.
fn without_text(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut in_string = false;
    let mut escaped = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            if c == '"' && !escaped {
                in_string = false;
                out.push(c);
            } else {
                for _ in 0..c.len_utf8() {
                    out.push('_');
                }
            }
            escaped = c == '\\' && !escaped;
        } else if c == '"' {
            in_string = true;
            out.push(c);
        } else if c == '/' && rest.peek() == Some(&'/') {
            break;
        } else {
            out.push(c);
        }
    }
    out
}

/// Whole numbers that stand alone, with their columns.
fn numbers(code: &str) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let before = start > 0
            && (word(bytes[start - 1]) || bytes[start - 1] == b'.' && start > 1 && bytes[start - 2] != b'.');
        let after =
            at < bytes.len() && (word(bytes[at]) || bytes[at] == b'.' && bytes.get(at + 1) != Some(&b'.'));
        if !before && !after {
            found.push((start, &code[start..at]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_in_code_only() {
        let text = "/// a < b\nfn filter(a: u8) -> bool {\n    let x = \"1 < 2\"; // 3 < 4\n    a < 10 && x.len() == 2\n}\n\
                    fn hint() {\n    1 < 2;\n}\n#[cfg(test)]\nmod tests { fn x() { 1 < 2 } }\n";
        let mut found = Vec::new();
        of_file(Path::new("f.rs"), text, false, &mut found);
        let shown: Vec<String> =
            found.iter().map(|m| format!("{}: {} {}", m.line, m.old.trim(), m.new.trim())).collect();
        assert_eq!(shown, ["4: < <=", "4: == !=", "4: && ||", "4: 10 11", "4: 2 3"]);
        assert_eq!(found[3].apply(text).lines().nth(3), Some("    a < 11 && x.len() == 2"));
    }

    #[test]
    fn numbers_in_names_and_fractions_are_no_constants() {
        let found: Vec<&str> =
            numbers("x1 + 20 * t.0 + 1.5 + v[3] + 0..4 + 5u64").into_iter().map(|(_, n)| n).collect();
        assert_eq!(found, ["20", "3", "0", "4"]);
    }
}
