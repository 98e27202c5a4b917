//! The command line. `cargo xtask simulate` includes this file too, so that help and mistakes need no build.

use clap::Parser;
use std::num::NonZero;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask simulate",
    about = "Simulate years of a cluster's life, and check every invariant after every step",
    long_about = "Simulate years of a cluster's life, and check every invariant after every step.\n\n\
        Each year has its own cluster, generated from its seed: 12 nodes at first, three schedulers (secondmate with two names, and \
        two others), some 150 pods a day and 20 faults. A year that breaks an invariant ends the run: \
        its seed is printed, and its history is shrunk to a few steps, printed and written to a file."
)]
pub(crate) struct Options {
    /// Years to simulate.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) years: NonZero<u32>,
    /// Seed of the first year; each following year uses the next seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Maximum years simulated concurrently [default: the number of processors].
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// Number of days in each year.
    #[arg(long, value_name = "N", default_value = "365")]
    pub(crate) days: NonZero<u32>,
    /// Repeat futile evictions at once, as kube-scheduler does, and count them instead of treating them as a broken invariant.
    #[arg(long)]
    pub(crate) no_loop_breaker: bool,
    /// Folder into which a shrunk history is written.
    #[arg(long, value_name = "FOLDER", default_value = "target/simulation")]
    pub(crate) keep: PathBuf,
    /// Replay the history in this file instead, and print what happens.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["years", "seed", "jobs", "days", "no_loop_breaker", "keep"])]
    pub(crate) replay: Option<PathBuf>,
}
