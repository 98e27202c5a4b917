//! `cargo xtask ci`: the checks that a change must pass before it is merged.

use std::process::Command;

use anyhow::{Context, Result, bail};
use secondmate_harness::in_ci;

use crate::runner::check;
use crate::steps::{self, Outcome, Step};
use crate::test_command::{TestArgs, test_steps};
use crate::workspace::{cargo, root};

pub(crate) fn ci() -> Result<()> {
    // A clone has every lock file as committed, so a change that forgot to update one fails here.
    let arguments = TestArgs { locked: true, ..TestArgs::default() };
    let mut steps = vec![
        Step::new("format", |_| passed(cargo(&["fmt", "--all", "--check"]))),
        Step::new("format of Go", |_| gofmt()),
        Step::new("clippy", |_| {
            passed(cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        Step::new("clippy without guests", |_| {
            let features = ["clippy", "--locked", "--package", "secondmate", "--no-default-features"];
            let mut clippy = cargo(&features);
            clippy.args(["--all-targets", "--", "-D", "warnings"]);
            passed(clippy)
        }),
        Step::new("documentation", |_| {
            let mut doc = cargo(&["doc", "--locked", "--workspace", "--no-deps"]);
            doc.env("RUSTDOCFLAGS", "-D warnings");
            passed(doc)
        }),
    ];
    steps.extend(test_steps(&arguments));
    steps::run(steps)
}

fn passed(command: Command) -> Result<Outcome> {
    check(command)?;
    Ok(Outcome::Passed)
}

/// `gofmt -l` lists unformatted files, but exits with success.
fn gofmt() -> Result<Outcome> {
    let output = match Command::new("gofmt").args(["-l", "tests", "examples"]).current_dir(root()).output() {
        Ok(output) => output,
        Err(error) if in_ci() => return Err(error).context("cannot start gofmt, which CI needs"),
        Err(_) => return Ok(Outcome::Skipped("there is no gofmt".to_owned())),
    };
    let (files, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !files.trim().is_empty() {
        bail!("gofmt would change:\n{}{}", files, errors);
    }
    Ok(Outcome::Passed)
}
