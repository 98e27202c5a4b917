//! `cargo xtask parity`: builds the differential test in release and runs it.

use anyhow::{Result, bail};
use clap::Args;
use secondmate_harness::{BinariesError, Unavailable, in_ci, parity_oracle};

use crate::runner::check;
use crate::steps::Outcome;
use crate::workspace::cargo;

/// Fresh random cases of each test run.
const FRESH_CASES: &str = "3000";

#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// Arguments of the differential test; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn parity(arguments: &ParityArgs) -> Result<()> {
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

/// The part of the test command: some thousand fresh cases. The corpus with its recorded answers is a test of its own, which
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
    run.args(["--", "--cases", FRESH_CASES, "--no-coverage", "--seed", &seed_of_commit()]);
    check(run)?;
    let mut corpus = cargo(&["run", "--quiet", "--package", "secondmate-differential", "--bin", "parity"]);
    corpus.args(["--", "--corpus"]);
    check(corpus)?;
    Ok(Outcome::Passed)
}

/// Fresh cases for each commit, the same whenever that commit is tested: a difference can be met again.
fn seed_of_commit() -> String {
    let commit = std::process::Command::new("git").args(["rev-parse", "--short=8", "HEAD"]).output();
    let digits = commit.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    u64::from_str_radix(digits.trim(), 16).unwrap_or(1).to_string()
}
