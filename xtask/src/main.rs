//! The development tasks of this project, one entry for each.
//!
//! `cargo xtask test` is the one test command, `cargo xtask ci` is what CI runs, `cargo xtask bench` measures, `cargo xtask
//! parity` compares decisions with the real kube-scheduler's, `cargo xtask fuzz` feeds damaged inputs to the parsers,
//! `cargo xtask simulate` simulates years of a cluster's life, `cargo xtask chaos` breaks a real control plane while pods are
//! being bound, `cargo xtask cluster` starts one for experiments,
//! `cargo xtask compatibility` runs the end-to-end tests on every pinned Kubernetes release, and `cargo xtask upstream`
//! moves the pins to another release.

mod bench;
mod chaos;
mod checks;
mod cluster;
mod compatibility;
mod fuzz;
mod go_mod;
mod parity;
mod runner;
mod simulate;
mod steps;
mod test_command;
mod upstream;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of secondmate", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run every test, including those on a real control plane if this machine can have one.
    Test(test_command::TestArgs),
    /// Check formatting, lints and documentation, then run every test. If CI is set, a skipped test is a failure.
    Ci,
    /// Measure pods per second, latency, CPU time and memory, side by side with kube-scheduler.
    #[command(disable_help_flag = true)]
    Bench(bench::BenchArgs),
    /// Compare decisions with those of the real kube-scheduler framework, on random clusters.
    #[command(disable_help_flag = true)]
    Parity(parity::ParityArgs),
    /// Feed damaged inputs to every parser of untrusted input, in a release build with overflow checks.
    #[command(disable_help_flag = true)]
    Fuzz(fuzz::FuzzArgs),
    /// Simulate years of a cluster's life, and check every invariant after every step.
    #[command(disable_help_flag = true)]
    Simulate(simulate::SimulateArgs),
    /// Break a real control plane, and the connection to it, while the scheduler binds pods, and check what became of the pods.
    #[command(disable_help_flag = true)]
    Chaos(chaos::ChaosArgs),
    /// Run the end-to-end tests on API servers of every pinned Kubernetes release, and print a table.
    Compatibility(compatibility::CompatibilityArgs),
    /// Move the reference to another Kubernetes release: change the pins, build, and show the differences by plugin.
    Upstream(upstream::UpstreamArgs),
    /// Run a real control plane with simulated nodes, for experiments.
    #[command(subcommand)]
    Cluster(ClusterChore),
}

#[derive(Debug, Subcommand)]
enum ClusterChore {
    /// Start etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok; print the kubeconfig's path.
    Up {
        #[command(flatten)]
        options: cluster::UpArgs,
        #[command(flatten)]
        place: Place,
        /// Stay in the foreground; Ctrl-C stops the cluster.
        #[arg(long)]
        foreground: bool,
    },
    /// Stop what `up` started and remove its folder.
    Down {
        #[command(flatten)]
        place: Place,
    },
    /// Run the background process of `up`.
    #[command(hide = true)]
    Hold {
        #[command(flatten)]
        options: cluster::UpArgs,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Folder of the cluster [default: `cluster` in the target folder].
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Test(arguments) => test_command::test(&arguments),
        Chore::Ci => checks::ci(),
        Chore::Bench(arguments) => bench::bench(&arguments),
        Chore::Parity(arguments) => parity::parity(&arguments),
        Chore::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Chore::Simulate(arguments) => simulate::simulate(&arguments),
        Chore::Chaos(arguments) => chaos::chaos(&arguments),
        Chore::Compatibility(arguments) => compatibility::compatibility(&arguments),
        Chore::Upstream(arguments) => upstream::upstream(&arguments),
        Chore::Cluster(ClusterChore::Up { options, place, foreground }) => {
            cluster::up(place.dir, &options, foreground)
        }
        Chore::Cluster(ClusterChore::Down { place }) => cluster::down(place.dir),
        Chore::Cluster(ClusterChore::Hold { options, place }) => cluster::hold(place.dir, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
