//! `cargo xtask test`: the one test command.

use anyhow::{Context, Result, bail};
use clap::Args;
use secondmate_harness::{BinariesError, Program, SKIP_REPORT_VARIABLE, Unavailable, binaries, in_ci};

use crate::parity;
use crate::runner::{check, stream_tests};
use crate::steps::{self, Outcome, Report, Step};
use crate::workspace::{cargo, programs_dir};

#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Refuse to change Cargo.lock.
    #[arg(long)]
    pub(crate) locked: bool,
    /// Arguments for `cargo test`, and after a second `--` for the tests.
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn test(arguments: &TestArgs) -> Result<()> {
    steps::run(test_steps(arguments))
}

/// The steps of the test command. A new part of it (a parity run, say) is one more line here.
pub(crate) fn test_steps(arguments: &TestArgs) -> Vec<Step<'_>> {
    vec![
        Step::new("control plane", |_| control_plane()).essential(),
        Step::new("secondmate binary", |_| secondmate(arguments)).essential(),
        Step::new("tests", |report| cargo_test(arguments, report)),
        Step::new("tests without guests", |report| without_guests(arguments, report)),
        Step::new("oracle", parity::oracle_step),
        Step::new("parity", |_| parity::step(arguments.locked)),
    ]
}

/// Builds the programs of the control plane before any test waits for them.
fn control_plane() -> Result<Outcome> {
    let found = binaries().and_then(|binaries| {
        Program::ALL.iter().try_for_each(|program| binaries.path(*program).map(drop))?;
        Ok(())
    });
    match found {
        Ok(()) => Ok(Outcome::Passed),
        Err(BinariesError::Unavailable(Unavailable { reason })) if in_ci() => {
            bail!("{reason}; in CI the tests on the real control plane must run")
        }
        Err(BinariesError::Unavailable(Unavailable { reason })) => Ok(Outcome::Skipped(reason)),
        Err(BinariesError::Failed(reason)) => bail!("{reason}"),
    }
}

fn secondmate(arguments: &TestArgs) -> Result<Outcome> {
    let mut build = cargo(&["build", "--package", "secondmate"]);
    if arguments.locked {
        build.arg("--locked");
    }
    check(build)?;
    Ok(Outcome::Passed)
}

/// A build without the guests. Its program would replace the one with them, so its library is tested instead.
fn without_guests(arguments: &TestArgs, report: &mut Report) -> Result<Outcome> {
    let mut test = cargo(&["test", "--package", "secondmate", "--no-default-features", "--lib"]);
    if arguments.locked {
        test.arg("--locked");
    }
    test.args(&arguments.filter);
    let (status, closing_lines) = stream_tests(test)?;
    report.closing_lines.extend(closing_lines);
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(Outcome::Passed)
}

fn cargo_test(arguments: &TestArgs, report: &mut Report) -> Result<Outcome> {
    let skips = tempfile::NamedTempFile::new().context("cannot create a file for the report of skips")?;
    let mut test = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if arguments.locked {
        test.arg("--locked");
    }
    let mut own = arguments.arguments.splitn(2, |word| word == "--");
    test.args(own.next().unwrap_or_default());
    test.args(&arguments.filter);
    if let Some(words) = own.next() {
        test.arg("--").args(words);
    }
    test.env("SECONDMATE_BIN", programs_dir()?.join("secondmate")).env(SKIP_REPORT_VARIABLE, skips.path());
    let (status, closing_lines) = stream_tests(test)?;
    report.closing_lines.extend(closing_lines);
    let skipped = std::fs::read_to_string(skips.path()).context("cannot read the report of skips")?;
    report.skipped_parts.extend(skipped.lines().map(|line| format!("test {line}")));
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(Outcome::Passed)
}
