//! `cargo xtask bench`: builds the program with the image's profile and runs the measurement. `cargo xtask bench core` measures the core
//! alone, beside kube-scheduler's own step.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use secondmate_harness::{BinariesError, parity_oracle};

use crate::runner::check;
use crate::workspace::{cargo, target_dir};

// The options of the measurements themselves: help and mistakes are reported before anything is built.
#[path = "../../tests/bench-core/src/options.rs"]
mod core_options;
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
        return core(core_arguments);
    }
    let own_name = "cargo xtask bench".to_owned();
    options::Options::parse_from(std::iter::once(&own_name).chain(&arguments.arguments));
    // Built separately: in the same build as the benchmark, its dependencies would be built with other features.
    if std::env::var_os("SECONDMATE_BIN").is_none() {
        check(cargo(&["build", "--profile", "dist", "--package", "secondmate"]))?;
    }
    check(cargo(&["build", "--release", "--package", "secondmate-bench"]))?;
    let mut run = cargo(&["run", "--release", "--quiet", "--package", "secondmate-bench", "--"]);
    run.args(&arguments.arguments);
    if std::env::var_os("SECONDMATE_BIN").is_none() {
        run.env("SECONDMATE_BIN", target_dir()?.join("dist/secondmate"));
    }
    check(run)
}

fn core(arguments: &[String]) -> Result<()> {
    let own_name = "cargo xtask bench core".to_owned();
    let options = core_options::Options::parse_from(std::iter::once(&own_name).chain(arguments));
    // Before anything is measured: building takes minutes of CPU time.
    check(cargo(&["build", "--release", "--package", "secondmate-bench-core"]))?;
    let mut run = cargo(&["run", "--release", "--quiet", "--package", "secondmate-bench-core", "--"]);
    run.args(arguments);
    if options.oracle.is_none() && !options.peers().is_empty() {
        match parity_oracle() {
            Ok(program) => {
                let program = program.to_str().context("the path of the parity oracle is not UTF-8")?;
                run.args(["--oracle", program]);
            }
            Err(BinariesError::Unavailable(unavailable)) => {
                run.args(["--no-oracle", &unavailable.to_string()]);
            }
            Err(BinariesError::Failed(reason)) => bail!("the parity oracle cannot be built: {reason}"),
        }
    }
    check(run)
}
