//! `cargo xtask parity`: builds the differential test in release and runs it.

use anyhow::{Result, bail};
use clap::{Args, Parser};
use secondmate_harness::{BinariesError, Unavailable, in_ci, oracle_tests, parity_oracle};

use crate::runner::{check, stream_tests};
use crate::steps::{Outcome, Report};
use crate::workspace::cargo;

/// Fresh random cases of each test run.
const FRESH_CASES: &str = "3000";
/// Random cases of each test run in which the oracle itself is checked.
const SELF_CHECKED_CASES: &str = "1000";
/// Cases of the oracle's own tests, which have a generator of their own.
const ORACLE_TEST_CASES: u32 = 300;

// The options of the differential test itself: help and mistakes are reported before anything is built.
#[path = "../../tests/differential/src/command.rs"]
mod command;

#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// Arguments of the differential test; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn parity(arguments: &ParityArgs) -> Result<()> {
    let own_name = "cargo xtask parity".to_owned();
    command::Cli::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    let mut run = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "secondmate-differential",
        "--bin",
        "parity",
        "--",
    ]);
    run.args(&arguments.arguments);
    check(run)
}

/// Checks the oracle itself: its answers against the real scheduler's own cycles.
pub(crate) fn oracle_step(report: &mut Report) -> Result<Outcome> {
    let test = match oracle_tests(seed_of_commit(), ORACLE_TEST_CASES) {
        Ok(test) => test,
        Err(BinariesError::Unavailable(Unavailable { reason })) if in_ci() => {
            bail!("{reason}; in CI the oracle must be checked")
        }
        Err(BinariesError::Unavailable(Unavailable { reason })) => return Ok(Outcome::Skipped(reason)),
        Err(BinariesError::Failed(reason)) => bail!("{reason}"),
    };
    let (status, closing_lines) = stream_tests(test)?;
    report.closing_lines.extend(closing_lines);
    if !status.success() {
        bail!("the oracle's tests failed ({status})");
    }
    Ok(Outcome::Passed)
}

/// The part of the test command that runs some thousand fresh cases. The corpus with its recorded answers is a separate test, which
/// needs no Go.
pub(crate) fn step(locked: bool) -> Result<Outcome> {
    match parity_oracle() {
        Ok(_) => {}
        Err(BinariesError::Unavailable(Unavailable { reason })) if in_ci() => {
            bail!("{reason}; in CI the differential test must run")
        }
        Err(BinariesError::Unavailable(Unavailable { reason })) => return Ok(Outcome::Skipped(reason)),
        Err(BinariesError::Failed(reason)) => bail!("{reason}"),
    }
    let mut run = cargo(&["run", "--quiet", "--package", "secondmate-differential", "--bin", "parity"]);
    if locked {
        run.arg("--locked");
    }
    run.args(["--", "--cases", FRESH_CASES, "--no-coverage", "--seed", &seed_of_commit().to_string()]);
    check(run)?;
    let mut judge = cargo(&["run", "--quiet", "--package", "secondmate-differential", "--bin", "parity"]);
    judge.args([
        "--",
        "--self-check",
        "--cases",
        SELF_CHECKED_CASES,
        "--seed",
        &seed_of_commit().to_string(),
    ]);
    check(judge)?;
    let mut corpus = cargo(&["run", "--quiet", "--package", "secondmate-differential", "--bin", "parity"]);
    corpus.args(["--", "--corpus"]);
    check(corpus)?;
    Ok(Outcome::Passed)
}

/// Fresh cases for each commit, and the same ones whenever that commit is tested, so that a difference can be reproduced.
fn seed_of_commit() -> u64 {
    let commit = std::process::Command::new("git").args(["rev-parse", "--short=8", "HEAD"]).output();
    let digits = commit.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    u64::from_str_radix(digits.trim(), 16).unwrap_or(1)
}
