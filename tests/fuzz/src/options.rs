//! The command line. `cargo xtask fuzz` includes this file too, so that help and mistakes need no build.

use std::path::PathBuf;

use clap::Parser;

/// Feed damaged inputs, made from seeds, to parsers; report what breaks them, and how to reproduce it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask fuzz")]
pub(crate) struct Options {
    /// Target to run. May be repeated [default: all, one after another].
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Vec<String>,
    /// Number of inputs for each target.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..INPUTS_MAX))]
    pub(crate) inputs: u64,
    /// Number of the first input, to split a long run.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..INPUTS_MAX))]
    pub(crate) first: u64,
    /// Seed of the inputs [default: a new one each time].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Run only the input with this number, and print it.
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub(crate) input: Option<u64>,
    /// Run only the input in this file.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) file: Option<PathBuf>,
    /// List the targets.
    #[arg(long)]
    pub(crate) list: bool,
}

/// Above the number of every input.
const INPUTS_MAX: u64 = 1 << 48;
