//! The problems of a configuration: all of them at once, each with its path, its line and a remedy.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which step found a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is not YAML (or JSON), or contains the wrong documents.
    Syntax,
    /// A field is unknown, appears twice, or has the wrong type.
    Decoding,
    /// A value breaks one of kube-scheduler's rules.
    Validation,
    /// The plugins of a profile do not make a working profile.
    Plugins,
    /// Something that is not supported yet, reported with other problems. If there are no others, see
    /// [`Configuration::unsupported`](crate::Configuration::unsupported).
    Unsupported,
}

/// A single problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The step that found it.
    pub kind: ProblemKind,
    /// The field, as `profiles[0].plugins.score.enabled[1].weight`; empty when the whole text is meant.
    pub path: String,
    /// The line of the text (from 1) of the field, or of the closest field around it.
    pub line: Option<u32>,
    /// What is wrong, in kube-scheduler's words if it has any, and what to do.
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

/// Why a configuration was rejected. It lists every problem that could be found in one pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Never empty; in the order of the text, without duplicates.
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

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

/// Collects problems while a configuration is read. The readers share it by reference.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<Found>>,
    /// The line of each path in the text: validation happens after decoding, when the nodes are gone.
    lines: RefCell<BTreeMap<String, u32>>,
}

#[derive(Debug)]
struct Found {
    problem: Problem,
    /// Another field that it depends on.
    other: Option<String>,
    /// The field is unknown: any field that is missing beside it may have been meant.
    unknown: bool,
}

impl Problems {
    pub(crate) fn note_line(&self, path: &Path, line: u32) {
        self.lines.borrow_mut().insert(path.as_str().to_owned(), line);
    }

    /// The line of `path`, or of the closest field around it that is in the text.
    fn line_of(&self, path: &str) -> Option<u32> {
        let lines = self.lines.borrow();
        std::iter::successors(Some(path), |path| around(path)).find_map(|path| lines.get(path).copied())
    }

    fn push(&self, kind: ProblemKind, path: &Path, line: Option<u32>, message: String) {
        let problem = Problem { kind, path: path.as_str().to_owned(), line, message };
        self.found.borrow_mut().push(Found { problem, other: None, unknown: false });
    }

    pub(crate) fn report(&self, kind: ProblemKind, path: &Path, message: impl Into<String>) {
        self.push(kind, path, self.line_of(path.as_str()), message.into());
    }

    pub(crate) fn report_at(
        &self,
        kind: ProblemKind,
        path: &Path,
        line: Option<u32>,
        message: impl Into<String>,
    ) {
        self.push(kind, path, line, message.into());
    }

    /// Reports that the field at `path` is unknown.
    pub(crate) fn unknown(&self, path: &Path, line: Option<u32>, message: String) {
        self.push(ProblemKind::Decoding, path, line, message);
        if let Some(last) = self.found.borrow_mut().last_mut() {
            last.unknown = true;
        }
    }

    /// Marks the last problem as depending on `other` too: if `other` could not be read, the problem would be misleading.
    pub(crate) fn depends_on(&self, other: &Path) {
        if let Some(last) = self.found.borrow_mut().last_mut() {
            last.other = Some(other.as_str().to_owned());
        }
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

    /// The number of problems so far.
    pub(crate) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// Whether something at or below `path` could not be read.
    pub(crate) fn undecodable(&self, path: &str) -> bool {
        let of =
            |found: &Found| found.problem.kind == ProblemKind::Decoding && within(&found.problem.path, path);
        self.found.borrow().iter().any(of)
    }

    /// Forgets the broken rules that were found since there were `count`; decoding problems are kept.
    pub(crate) fn forget_validation_since(&self, count: usize) {
        let mut found = self.found.borrow_mut();
        let later = found.split_off(count);
        found.extend(later.into_iter().filter(|found| found.problem.kind != ProblemKind::Validation));
    }

    /// Everything that was found here and in `others`, as one error.
    ///
    /// Problems that a field that could not be read might have changed are left out: they would be misleading.
    pub(crate) fn check<'a>(&'a self, others: impl IntoIterator<Item = &'a Self>) -> Result<(), ConfigError> {
        let all = std::iter::once(self).chain(others);
        let mut problems: Vec<Problem> = all.flat_map(Self::take).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        problems.retain(|problem| seen.insert(problem.to_string()));
        problems.sort_by_key(|problem| problem.line.unwrap_or(0));
        Err(ConfigError { problems })
    }

    fn take(&self) -> Vec<Problem> {
        let mut found = self.found.take();
        let lost: Vec<(String, bool)> = found
            .iter()
            .filter(|found| found.problem.kind == ProblemKind::Decoding)
            .map(|found| (found.problem.path.clone(), found.unknown))
            .collect();
        found.retain(|found| {
            let mut paths = std::iter::once(&found.problem.path).chain(&found.other);
            found.problem.kind == ProblemKind::Decoding
                || !paths.any(|path| lost.iter().any(|(lost, unknown)| self.misled(path, lost, *unknown)))
        });
        found.into_iter().map(|found| found.problem).collect()
    }

    /// Whether a problem at `path` may be due to `lost`, which could not be read.
    fn misled(&self, path: &str, lost: &str, unknown: bool) -> bool {
        let parent = around(lost).unwrap_or_default();
        // If an entry of a list is missing, those after it have other indexes.
        let lost = if lost.ends_with(']') { parent } else { lost };
        if within(path, lost) || within(lost, path) {
            return true;
        }
        let lines = self.lines.borrow();
        let written = |path: &&str| path.is_empty() || lines.contains_key(*path);
        let closest = std::iter::successors(Some(path), |path| around(path)).find(written);
        unknown && closest != Some(path) && closest == Some(parent)
    }
}

/// The path of the field around `path`; `None` for the whole text.
fn around(path: &str) -> Option<&str> {
    (!path.is_empty()).then(|| &path[..path.rfind(['.', '[']).unwrap_or(0)])
}

/// Whether `path` is `outer` or below it.
fn within(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '[']))
}

/// A string as Go's `%q` shows plain text.
pub(crate) fn quoted(value: impl AsRef<str>) -> String {
    format!("{:?}", value.as_ref())
}
