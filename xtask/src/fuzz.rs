//! `cargo xtask fuzz`: builds the fuzzing runner, fast and with every check, and runs it.

use anyhow::Result;
use clap::Args;

use crate::runner::check;
use crate::workspace::cargo;

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Arguments of the runner, such as `--target pod --inputs 10000000 --seed 1`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn fuzz(arguments: &FuzzArgs) -> Result<()> {
    let mut run = cargo(&["run", "--profile", "fuzz", "--quiet", "--package", "secondmate-fuzz", "--"]);
    run.args(&arguments.arguments);
    check(run)
}
