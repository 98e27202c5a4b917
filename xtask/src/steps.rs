//! A list of named steps with a closing table: what ran, how it ended, how long it took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a step that did not fail ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// This machine cannot run it, and why.
    Skipped(String),
}

/// What the steps leave for the end of the run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The summary lines of the runners, as they wrote them.
    pub(crate) closing_lines: Vec<String>,
    /// Parts that were skipped inside a step that passed, as `NAME: REASON`.
    pub(crate) skipped_parts: Vec<String>,
}

/// What a step does.
type Work<'a> = Box<dyn FnOnce(&mut Report) -> Result<Outcome> + 'a>;

/// One step.
pub(crate) struct Step<'a> {
    name: &'static str,
    /// The steps after this one make no sense when it fails.
    essential: bool,
    run: Work<'a>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(name: &'static str, run: impl FnOnce(&mut Report) -> Result<Outcome> + 'a) -> Self {
        Self { name, essential: false, run: Box::new(run) }
    }

    /// The list ends when this step fails.
    pub(crate) fn essential(mut self) -> Self {
        self.essential = true;
        self
    }
}

/// A line of the closing table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    result: String,
    duration: Duration,
}

/// Runs the steps in order, prints the closing lines and the table, and fails when one of them failed.
pub(crate) fn run(steps: Vec<Step<'_>>) -> Result<()> {
    let mut report = Report::default();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut stopped = false;
    for step in steps {
        if stopped {
            rows.push(Row { name: step.name, result: "not run".to_owned(), duration: Duration::ZERO });
            continue;
        }
        eprintln!("== {}", step.name);
        let start = Instant::now();
        let result = match (step.run)(&mut report) {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => {
                report.skipped_parts.push(format!("{}: {reason}", step.name));
                "skipped".to_owned()
            }
            Err(error) => {
                eprintln!("error: {}: {error:#}", step.name);
                failed.push(step.name);
                stopped = step.essential;
                "FAILED".to_owned()
            }
        };
        rows.push(Row { name: step.name, result, duration: start.elapsed() });
    }
    println!("\n{}", closing(&report, &rows));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn closing(report: &Report, rows: &[Row]) -> String {
    let mut text = String::new();
    if !report.closing_lines.is_empty() {
        text += "closing lines of the test runners:\n";
        for line in &report.closing_lines {
            text += &format!("{line}\n");
        }
        text += "\n";
    }
    if report.skipped_parts.is_empty() {
        text += "skipped: nothing\n";
    } else {
        text += &format!("skipped: {}\n", report.skipped_parts.len());
        for part in &report.skipped_parts {
            text += &format!("  {part}\n");
        }
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("step".len());
    text += &format!("\n{:width$}  {:7}  {:>7}\n", "step", "result", "seconds");
    for row in rows {
        text += &format!("{:width$}  {:7}  {:>7.1}\n", row.name, row.result, row.duration.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_run_and_only_an_essential_one_ends_it() {
        let ran = std::cell::RefCell::new(Vec::new());
        let step = |name: &'static str, passes: bool| {
            let ran = &ran;
            Step::new(name, move |_| {
                ran.borrow_mut().push(name);
                if passes { Ok(Outcome::Passed) } else { bail!("broken") }
            })
        };
        let steps = vec![step("a", true), step("b", false), step("c", false).essential(), step("d", true)];
        assert_eq!(run(steps).unwrap_err().to_string(), "failed: b, c");
        assert_eq!(*ran.borrow(), ["a", "b", "c"]);
    }

    #[test]
    fn the_closing_table() {
        let report = Report {
            closing_lines: vec!["   Running x".to_owned(), "test result: ok.".to_owned()],
            skipped_parts: vec!["parity: no Go".to_owned()],
        };
        let row = |name, result: &str, seconds| Row {
            name,
            result: result.to_owned(),
            duration: Duration::from_secs_f64(seconds),
        };
        let rows = [row("tests", "ok", 12.34), row("parity", "skipped", 0.0)];
        assert_eq!(
            closing(&report, &rows),
            "closing lines of the test runners:\n   Running x\ntest result: ok.\n\nskipped: 1\n  parity: no Go\n\n\
             step    result   seconds\ntests   ok          12.3\nparity  skipped      0.0\n"
        );
    }
}
