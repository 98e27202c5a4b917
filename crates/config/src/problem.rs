//! What is wrong with a configuration: all of it at once, each with its path, its line and what to do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which step found a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is not YAML (or JSON), or holds the wrong documents.
    Syntax,
    /// A field is unknown, appears twice, or has the wrong type.
    Decoding,
    /// A value breaks one of kube-scheduler's rules.
    Validation,
    /// The plugins of a profile do not add up to a working profile.
    Plugins,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The step that found it.
    pub kind: ProblemKind,
    /// The field, as `profiles[0].plugins.score.enabled[1].weight`; empty when the whole text is meant.
    pub path: String,
    /// The line of the text (from 1) where the field, or the closest field around it, stands.
    pub line: Option<u32>,
    /// What is wrong, in kube-scheduler's words where it has any, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Why a configuration was refused. It lists every problem that could be found in one pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Never empty; in the order of the text, without repetitions.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "the configuration is invalid: {one}"),
            many => {
                write!(f, "the configuration has {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

/// The path of a field, in the notation of the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Collects problems while a configuration is read. Shared by reference through the readers.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<Problem>>,
    /// Line of each path of the text: validation happens after decoding, when the nodes are gone.
    lines: RefCell<BTreeMap<String, u32>>,
}

impl Problems {
    pub(crate) fn note_line(&self, path: &Path, line: u32) {
        self.lines.borrow_mut().insert(path.as_str().to_owned(), line);
    }

    /// The line of `path`, or of the closest field around it that stands in the text.
    fn line_of(&self, path: &str) -> Option<u32> {
        let lines = self.lines.borrow();
        let mut path = path;
        loop {
            if let Some(line) = lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    pub(crate) fn report(&self, kind: ProblemKind, path: &Path, message: impl Into<String>) {
        let line = self.line_of(path.as_str());
        self.found.borrow_mut().push(Problem {
            kind,
            path: path.as_str().to_owned(),
            line,
            message: message.into(),
        });
    }

    pub(crate) fn report_at(
        &self,
        kind: ProblemKind,
        path: &Path,
        line: Option<u32>,
        message: impl Into<String>,
    ) {
        self.found.borrow_mut().push(Problem {
            kind,
            path: path.as_str().to_owned(),
            line,
            message: message.into(),
        });
    }

    pub(crate) fn required(&self, path: &Path, detail: &str) {
        let colon = if detail.is_empty() { "" } else { ": " };
        self.report(ProblemKind::Validation, path, format!("Required value{colon}{detail}"));
    }

    /// `value` is shown as given: quote strings with [`quoted`].
    pub(crate) fn invalid(&self, path: &Path, value: impl fmt::Display, detail: impl fmt::Display) {
        self.report(ProblemKind::Validation, path, format!("Invalid value: {value}: {detail}"));
    }

    pub(crate) fn duplicate(&self, path: &Path, value: impl fmt::Display) {
        self.report(ProblemKind::Validation, path, format!("Duplicate value: {value}"));
    }

    pub(crate) fn not_supported(&self, path: &Path, value: &str, supported: &[&str]) {
        let list = supported.iter().map(quoted).collect::<Vec<_>>().join(", ");
        self.report(
            ProblemKind::Validation,
            path,
            format!("Unsupported value: {}: supported values: {list}", quoted(value)),
        );
    }

    pub(crate) fn forbidden(&self, path: &Path, detail: &str) {
        self.report(ProblemKind::Validation, path, format!("Forbidden: {detail}"));
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// Forgets the broken rules that were found since there were `count`; what could not be read stays.
    pub(crate) fn forget_validation_since(&self, count: usize) {
        let mut found = self.found.borrow_mut();
        let later = found.split_off(count);
        found.extend(later.into_iter().filter(|problem| problem.kind != ProblemKind::Validation));
    }

    /// Everything that was found, as one error.
    ///
    /// Where fields could not be read, only that is told: what the rules say about their absence would mislead.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = self.found.take();
        if problems.is_empty() {
            return Ok(());
        }
        if problems.iter().any(|problem| problem.kind == ProblemKind::Decoding) {
            problems.retain(|problem| problem.kind == ProblemKind::Decoding);
        }
        let mut seen = BTreeSet::new();
        problems.retain(|problem| seen.insert(problem.to_string()));
        problems.sort_by_key(|problem| problem.line.unwrap_or(0));
        Err(ConfigError { problems })
    }
}

/// A string as Go's `%q` shows plain text.
pub(crate) fn quoted(value: impl AsRef<str>) -> String {
    format!("{:?}", value.as_ref())
}
