//! The regression corpus: cases with the oracle's answers, so that it runs where there is no Go.
//!
//! A file is one case: `objects` as an API server stores them, `config`, and the oracle's `results`.

use crate::case::{Answer, Case};
use crate::compare::{Difference, compare};
use crate::extenders::Table;
use crate::judge::{Verdict, verdict};
use crate::oracle::Oracle;
use crate::ours::Ours;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A case with its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// What it shows, or which run found it.
    pub about: String,
    /// The configuration; absent means upstream's defaults.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// What the extenders of the configuration answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extenders: Vec<Table>,
    /// Objects, as stored.
    pub objects: Vec<Value>,
    /// The oracle's results.
    pub results: Vec<Value>,
}

impl Recorded {
    /// The question again.
    #[must_use]
    pub fn case(&self) -> Case {
        Case {
            id: self.about.clone(),
            objects: self.objects.clone(),
            config: self.config.clone(),
            extenders: self.extenders.clone(),
            ..Case::default()
        }
    }

    /// Where our answer differs from the recorded one.
    #[must_use]
    pub fn check(&self, ours: &mut Ours) -> Option<Difference> {
        let answer = Answer { results: self.results.clone(), ..Answer::default() };
        match verdict(&self.case(), &answer, ours) {
            Verdict::Differs(difference) => Some(difference),
            _ => None,
        }
    }
}

/// The folder of the corpus.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/cases")
}

/// All cases of the corpus, by file name.
///
/// # Errors
/// A file that cannot be read.
pub fn read() -> Result<Vec<(String, Recorded)>> {
    let folder = folder();
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let recorded: Recorded =
            serde_json::from_str(&text).with_context(|| format!("{} is no recorded case", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        cases.push((name, recorded));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(cases)
}

/// Asks the oracle about a case and writes case and answer into the corpus.
///
/// # Errors
/// The oracle refuses the case or a part of it, or the file cannot be written.
pub fn record(case: &Case, name: &str, about: &str, oracle: &mut Oracle) -> Result<PathBuf> {
    let stored = oracle.ask(&Case { validate: true, evaluate: true, ..case.clone() })?;
    let answer = if stored.rejected.is_empty() {
        stored
    } else {
        // Not what an API server stores: asked as it stands, as the oracle's own examples of malformed objects are.
        let plain = oracle.ask(&Case { validate: false, evaluate: false, ..case.clone() })?;
        Answer { objects: case.objects.clone(), ..plain }
    };
    if !answer.error.is_empty() {
        bail!("{name}: {}", answer.error);
    }
    let recorded = Recorded {
        about: about.to_owned(),
        config: case.config.clone(),
        extenders: case.extenders.clone(),
        objects: answer.objects,
        results: answer.results,
    };
    let path = folder().join(format!("{name}.json"));
    std::fs::create_dir_all(folder()).with_context(|| format!("cannot create {}", folder().display()))?;
    // One object a line: changes can be read.
    let mut text = format!("{{\"about\":{},\n", Value::from(recorded.about.as_str()));
    if !recorded.config.is_null() {
        text += &format!("\"config\":{},\n", recorded.config);
    }
    if !recorded.extenders.is_empty() {
        let tables = serde_json::to_string(&recorded.extenders).context("the extenders as JSON")?;
        text += &format!("\"extenders\":{tables},\n");
    }
    for (field, list) in [("objects", &recorded.objects), ("results", &recorded.results)] {
        let lines: Vec<String> = list.iter().map(Value::to_string).collect();
        text += &format!("\"{field}\":[\n{}\n]", lines.join(",\n"));
        text += if field == "objects" { ",\n" } else { "}\n" };
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Whether the oracle still says what was recorded.
///
/// # Errors
/// The oracle has ended.
pub fn still_true(recorded: &Recorded, oracle: &mut Oracle) -> Result<Option<Difference>> {
    let answer = oracle.ask(&recorded.case())?;
    if !answer.error.is_empty() {
        bail!("{}: {}", recorded.about, answer.error);
    }
    // Upstream's choice among right answers is not recorded as such: compare in the direction that knows the alternatives.
    Ok(compare(&recorded.results, &answer.results))
}
