//! `cargo xtask simulate`: builds the simulation in release and runs it.

use anyhow::Result;
use clap::{Args, Parser};

use crate::runner::check;
use crate::workspace::cargo;

// The options of the simulation itself: help and mistakes are reported before anything is built.
#[path = "../../tests/simulation/src/command.rs"]
mod command;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Arguments of the simulation, such as `--years 10 --seed 1`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn simulate(arguments: &SimulateArgs) -> Result<()> {
    let own_name = "cargo xtask simulate".to_owned();
    command::Options::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    let mut run = cargo(&["run", "--release", "--quiet", "--package", "secondmate-simulation", "--"]);
    run.args(&arguments.arguments);
    check(run)
}
