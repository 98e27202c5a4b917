//! The command line of the measurement. `cargo xtask bench` includes this file too, so that help and mistakes need no build.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Measure the scheduler, side by side with kube-scheduler; `bench core` measures the core alone"
)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    /// Number of nodes for throughput.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
    pub(crate) nodes: Vec<usize>,
    /// Number of pods for throughput.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) pods: usize,
    /// Shape of the pods for throughput.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Basic])]
    pub(crate) shapes: Vec<Shape>,
    /// Number of nodes for latency.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) latency_nodes: usize,
    /// Pods that arrive per second, for latency; 0 skips latency.
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: usize,
    /// Number of seconds during which pods arrive, for latency.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: usize,
    /// Where to measure: `sandbox`, `control-plane`, or both.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Target::Sandbox, Target::ControlPlane])]
    pub(crate) on: Vec<Target>,
    /// Schedulers to measure on the control plane.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Subject::KubeScheduler, Subject::Secondmate])]
    pub(crate) who: Vec<Subject>,
    /// Print one JSON object per row instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the table as bench.md and the rows as bench.json into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

/// A scenario that measures something other than one scheduler alone.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Measure two schedulers that fill the same nodes, with and without the bind guard, and with and without reading nearly full nodes
    /// before a bind: how many pods are bound where there is no room.
    Neighbour(NeighbourOptions),
    /// Measure the same plugin as a WebAssembly guest, with and without the exports that only this scheduler uses, as an HTTP extender
    /// on loopback, and without it.
    Plugs(PlugsOptions),
}

/// Options of `plugs`.
#[derive(Debug, Args)]
pub(crate) struct PlugsOptions {
    /// Number of nodes.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) nodes: usize,
    /// Number of pods.
    #[arg(long, default_value_t = 3_000)]
    pub(crate) pods: usize,
    /// Number of measurements of each.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// Measure only those whose name in the table contains one of these.
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    pub(crate) only: Vec<String>,
    /// Print one JSON object per row instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the table as plugs.md and the rows as plugs.json into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

/// Options of `neighbour`.
#[derive(Debug, Args)]
pub(crate) struct NeighbourOptions {
    /// Number of nodes, with room for 40 pods each.
    #[arg(long, default_value_t = 50)]
    pub(crate) nodes: usize,
    /// Percentage of the nodes' room that the pods fill.
    #[arg(long, value_delimiter = ',', default_value = "100,95")]
    pub(crate) fill: Vec<usize>,
    /// Number of measurements of each combination.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// Pods that arrive per second while the schedulers run; 0 means that all are pending before they start.
    #[arg(long, value_delimiter = ',', default_value = "0,50")]
    pub(crate) arriving: Vec<usize>,
    /// Leave out the combinations with the bind guard.
    #[arg(long)]
    pub(crate) without_guard: bool,
    /// Measure only two kube-schedulers.
    #[arg(long)]
    pub(crate) without_secondmate: bool,
    /// Leave out the combinations in which secondmate's reads or yields are turned off.
    #[arg(long)]
    pub(crate) defaults_only: bool,
    /// What limits the requests to the API server: one or more of these.
    #[arg(long, value_delimiter = ',', default_value = "default,raised")]
    pub(crate) limits: Vec<Limits>,
    /// Print one JSON object per row instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What limits the requests of kube-schedulers: their client (50 requests per second and bursts of 100 by default), and the API server's
/// priority and fairness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limits {
    /// Both, as a cluster is installed.
    Default,
    /// The API server only; the schedulers' client limits are raised.
    ApiServer,
    /// Nothing: the limits of both are raised.
    Raised,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::ApiServer => "api-server",
            Self::Raised => "raised",
        })
    }
}

/// The shape of the pods: all request CPU and memory, and some have further constraints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// No further constraints.
    Basic,
    /// Required node affinity: two of three zones.
    NodeAffinity,
    /// A preferred spread constraint over zones (ScheduleAnyway).
    SpreadSoft,
    /// A required spread constraint over zones (DoNotSchedule).
    SpreadHard,
    /// Required anti-affinity by node, 25 kinds of pods in turn.
    AntiAffinityHost,
    /// Required affinity by zone.
    AffinityZone,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic => "basic",
            Self::NodeAffinity => "node-affinity",
            Self::SpreadSoft => "spread-soft",
            Self::SpreadHard => "spread-hard",
            Self::AntiAffinityHost => "anti-affinity-host",
            Self::AffinityZone => "affinity-zone",
        })
    }
}

/// Where to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The embedded API server, over HTTP.
    Sandbox,
    /// etcd and kube-apiserver.
    ControlPlane,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Sandbox { "sandbox" } else { "control-plane" })
    }
}

/// The scheduler to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// This project's scheduler.
    Secondmate,
    /// kube-scheduler, with raised client limits.
    KubeScheduler,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Secondmate { "secondmate" } else { "kube-scheduler" })
    }
}
