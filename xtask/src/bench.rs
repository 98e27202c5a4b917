//! `cargo xtask bench`: builds both programs in release and runs the measurement; `cargo xtask bench core`: that of the core alone.

use anyhow::Result;
use clap::{Args, Parser};

use crate::runner::check;
use crate::workspace::{cargo, target_dir};

// The measurement's own: help and mistakes are told before anything is built.
#[path = "../../tests/bench/src/options.rs"]
mod options;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Arguments of the measurement; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn bench(arguments: &BenchArgs) -> Result<()> {
    if let [what, core_arguments @ ..] = arguments.arguments.as_slice()
        && what == "core"
    {
        let mut run = cargo(&["run", "--release", "--quiet", "--package", "secondmate-bench-core", "--"]);
        run.args(core_arguments);
        return check(run);
    }
    let own_name = "cargo xtask bench".to_owned();
    options::Options::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    // As a user builds it: together with the measurement its dependencies would have other features.
    check(cargo(&["build", "--release", "--package", "secondmate"]))?;
    check(cargo(&["build", "--release", "--package", "secondmate-bench"]))?;
    let mut run = cargo(&["run", "--release", "--quiet", "--package", "secondmate-bench", "--"]);
    run.args(&arguments.arguments);
    if std::env::var_os("SECONDMATE_BIN").is_none() {
        run.env("SECONDMATE_BIN", target_dir()?.join("release/secondmate"));
    }
    check(run)
}
