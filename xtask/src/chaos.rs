//! `cargo xtask chaos`: builds the scheduler and plays the scenes in which the control plane breaks.

use anyhow::Result;
use clap::{Args, Parser};

use crate::runner::check;
use crate::workspace::{cargo, programs_dir};

// The options of the scenes themselves: help and mistakes are reported before anything is built.
#[path = "../../tests/chaos/src/options.rs"]
mod options;

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// Scenes and options; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn chaos(arguments: &ChaosArgs) -> Result<()> {
    let own_name = "cargo xtask chaos".to_owned();
    options::Options::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    check(cargo(&["build", "--package", "secondmate"]))?;
    let mut run = cargo(&["run", "--quiet", "--package", "secondmate-chaos", "--"]);
    run.args(&arguments.arguments);
    if std::env::var_os("SECONDMATE_BIN").is_none() {
        run.env("SECONDMATE_BIN", programs_dir()?.join("secondmate"));
    }
    check(run)
}
