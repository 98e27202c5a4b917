//! `cargo xtask fuzz`: builds the fuzzing runner, optimised and with every check, and runs it.

use anyhow::Result;
use clap::{Args, Parser};

use crate::runner::check;
use crate::workspace::cargo;

// The options of the runner itself: help and mistakes are reported before anything is built.
#[path = "../../tests/fuzz/src/options.rs"]
mod options;

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Arguments of the runner, such as `--target pod --inputs 10000000 --seed 1`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn fuzz(arguments: &FuzzArgs) -> Result<()> {
    let own_name = "cargo xtask fuzz".to_owned();
    options::Options::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    let mut run = cargo(&["run", "--profile", "fuzz", "--quiet", "--package", "secondmate-fuzz", "--"]);
    run.args(&arguments.arguments);
    check(run)
}
