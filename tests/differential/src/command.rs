//! The command line. `cargo xtask parity` includes this file too, so that help and mistakes need no build.

use clap::Parser;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask parity",
    about = "Compare secondmate's decisions with those of the real kube-scheduler framework"
)]
pub(crate) struct Cli {
    /// Number of random cases.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) cases: u64,
    /// Seed of the cases [default: the time].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Number of the first case; with --cases 1, run that case again.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) first: u64,
    /// Workers, each with its own oracle.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(crate) jobs: usize,
    /// Stop after this many differing cases.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) differences: usize,
    /// Directory for differing cases, shrunk.
    #[arg(long, default_value = "target/parity", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Do not print a coverage table at the end.
    #[arg(long)]
    pub(crate) no_coverage: bool,
    /// Fail if a known reason or branch was never met. Meant for 100,000 cases and more.
    #[arg(long)]
    pub(crate) complete: bool,
    /// Instead: run the case in this file through both sides, and shrink it if they differ. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) case: Vec<PathBuf>,
    /// Instead: check the regression corpus against its recorded answers and, if Go is installed, also the oracle against them.
    #[arg(long)]
    pub(crate) corpus: bool,
    /// Instead: add this case (or each line of a .jsonl file) to the regression corpus, with the oracle's answer.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Instead: check the oracle against whole cycles of the real scheduler.
    #[arg(long)]
    pub(crate) self_check: bool,
    /// Instead: measure one decision on both sides for 100, 1,000 and 5,000 nodes.
    #[arg(long)]
    pub(crate) timing: bool,
    /// Instead: mutate the source of plugins and evaluation, one change at a time in a copy, and check whether the cases catch it. With
    /// TEXT, only in files whose path contains it.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    pub(crate) mutants: Option<String>,
    /// With --mutants: maximum number of changes, spread over all possible ones.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true, value_name = "N")]
    pub(crate) mutants_max: usize,
    /// Compare this program with answers that --mutants has recorded.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) replay: Option<PathBuf>,
}
