//! `cargo xtask compatibility`: the end-to-end tests on every pinned Kubernetes release.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use secondmate_harness::{
    KUBERNETES_VARIABLE, LACKS_VARIABLE, Program, Release, SKIP_REPORT_VARIABLE, binaries_of, release_of,
    releases,
};

use crate::runner::{check, stream};
use crate::workspace::{cargo, programs_dir};

#[derive(Debug, Args)]
pub(crate) struct CompatibilityArgs {
    /// Test only this release. May be repeated.
    #[arg(long, value_name = "VERSION")]
    kubernetes: Vec<String>,
    /// Run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// How the tests went on one release.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    version: String,
    passed: u32,
    failed: u32,
    skipped: u32,
    /// The names of the tests that failed.
    failures: Vec<String>,
    /// What the API server does not support, as the tests found by asking it.
    lacks: Vec<String>,
}

pub(crate) fn compatibility(arguments: &CompatibilityArgs) -> Result<()> {
    let chosen = if arguments.kubernetes.is_empty() {
        releases()?
    } else {
        arguments.kubernetes.iter().map(|version| release_of(version)).collect::<Result<_>>()?
    };
    check(cargo(&["build", "--package", "secondmate"]))?;
    check(cargo(&["test", "--package", "secondmate-suite", "--no-run"]))?;
    let mut rows = Vec::new();
    for release in &chosen {
        eprintln!("== Kubernetes {}", release.version);
        let row = run_suite(release, arguments.filter.as_deref())?;
        println!("{}", table(std::slice::from_ref(&row)));
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    let failures: Vec<String> = rows
        .iter()
        .flat_map(|row| row.failures.iter().map(move |name| format!("{name} on {}", row.version)))
        .collect();
    ensure!(failures.is_empty(), "failed: {}", failures.join(", "));
    Ok(())
}

fn run_suite(release: &Release, filter: Option<&str>) -> Result<Row> {
    binaries_of(Some(release), &Program::ALL).context("there is no control plane on this machine")?;
    let skips = tempfile::NamedTempFile::new().context("cannot create a file for the report of skips")?;
    let lacks = tempfile::NamedTempFile::new().context("cannot create a file for what is lacking")?;
    let mut test = cargo(&["test", "--package", "secondmate-suite", "--no-fail-fast"]);
    test.args(filter);
    test.env(KUBERNETES_VARIABLE, &release.version)
        .env("SECONDMATE_BIN", programs_dir()?.join("secondmate"))
        .env(SKIP_REPORT_VARIABLE, skips.path())
        .env(LACKS_VARIABLE, lacks.path());
    let mut row = Row { version: release.version.clone(), ..Row::default() };
    let status = stream(test, |line| row.read(line))?;
    row.skip(&lines(skips.path())?);
    row.lacks = lines(lacks.path())?;
    if !status.success() && row.failures.is_empty() {
        bail!("cargo test failed ({status})");
    }
    Ok(row)
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

impl Row {
    /// Counts from the output of `cargo test`.
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u32>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// A test that had nothing to run on reported this, and passed.
    fn skip(&mut self, reports: &[String]) {
        let skipped = u32::try_from(reports.len()).unwrap_or(u32::MAX);
        self.passed = self.passed.saturating_sub(skipped);
        self.skipped += skipped;
    }
}

/// The table, as docs/parity.md shows it.
fn table(rows: &[Row]) -> String {
    let mut text =
        "| Kubernetes | passed | failed | skipped | what its API server lacks |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let lacks = if row.lacks.is_empty() { "nothing".to_owned() } else { row.lacks.join(", ") };
        text +=
            &format!("| {} | {} | {} | {} | {lacks} |\n", row.version, row.passed, row.failed, row.skipped);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_files_are_counted() {
        let mut row = Row { version: "1.36.3".to_owned(), ..Row::default() };
        for line in [
            "running 3 tests",
            "test one ... ok",
            "test two::deep ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.21s",
            "test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
        ] {
            row.read(line);
        }
        row.skip(&["x: no Go".to_owned()]);
        row.lacks = vec!["the kind A".to_owned(), "the field b".to_owned()];
        assert_eq!((row.passed, row.failed, row.skipped), (5, 1, 2));
        assert_eq!(row.failures, ["two::deep"]);
        let table = table(&[row]);
        assert!(table.ends_with("| 1.36.3 | 5 | 1 | 2 | the kind A, the field b |\n"), "{table}");
    }
}
