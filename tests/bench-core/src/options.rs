//! The command line of the measurement. `cargo xtask bench core` includes this file too, so that help and mistakes need no build.

use clap::{Parser, ValueEnum};
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench core",
    about = "Measure the core alone, in process and without any API, beside kube-scheduler's own scheduling step"
)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::value_variants().to_vec())]
    pub(crate) parts: Vec<Part>,
    /// Shapes of pods for `shapes`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Shape::value_variants().to_vec())]
    pub(crate) shapes: Vec<Shape>,
    /// Numbers of nodes and pods for `shapes`.
    #[arg(long, value_delimiter = ',', default_value = "5000x50000", value_parser = size)]
    pub(crate) sizes: Vec<(usize, usize)>,
    /// Numbers of nodes and pods for `large`.
    #[arg(long, value_delimiter = ',', default_value = "100000x100000,1000000x1000000", value_parser = size)]
    pub(crate) large_sizes: Vec<(usize, usize)>,
    /// Shapes of pods for `growth`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Basic, Shape::SpreadHard, Shape::AntiAffinityHost, Shape::AffinityZoneRequired])]
    pub(crate) growth_shapes: Vec<Shape>,
    /// Numbers of nodes for `growth`.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000,100000,1000000")]
    pub(crate) growth_nodes: Vec<usize>,
    /// Evaluations of secondmate to measure for `shapes`; `large` and `growth` use the standing evaluation.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Evaluation::Standing, Evaluation::Plain])]
    pub(crate) with: Vec<Evaluation>,
    /// kube-scheduler's step to measure beside it, or `none`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Peer::Sampled, Peer::Every])]
    pub(crate) peer: Vec<Peer>,
    /// Maximum number of nodes with which kube-scheduler is measured for `growth`.
    #[arg(long, default_value_t = 100_000, value_name = "NODES")]
    pub(crate) peer_nodes: usize,
    /// Maximum time for one row of the standing evaluation, in seconds, not counting the creation of the objects.
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Maximum time for one row of `large`, in seconds.
    #[arg(long, default_value_t = 120.0, value_parser = seconds)]
    pub(crate) large_seconds: f64,
    /// Maximum time for one row of anything that it is compared with, in seconds.
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    pub(crate) peer_seconds: f64,
    /// Print one JSON object per row instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write core.md, core.json and the plots into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Program of the parity oracle; `cargo xtask bench core` builds it.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "no_oracle")]
    pub(crate) oracle: Option<PathBuf>,
    /// Why there is no oracle, for the report.
    #[arg(long, value_name = "REASON", hide = true)]
    pub(crate) no_oracle: Option<String>,
}

impl Options {
    /// The ways in which kube-scheduler is to be measured.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        if self.peer.contains(&Peer::None) { Vec::new() } else { self.peer.clone() }
    }
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Memory per node and per pod, in bytes.
    Memory,
    /// Every shape of pods, beside kube-scheduler.
    Shapes,
    /// Large clusters: basic pods and a mix of shapes.
    Large,
    /// How the cost of a pod grows with the number of nodes.
    Growth,
}

/// How the nodes are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Evaluation {
    /// By classes of pods; every node is scored.
    Standing,
    /// One node after another; every node is scored.
    Plain,
    /// One node after another; as many as kube-scheduler examines by default.
    Sampled,
}

/// How kube-scheduler's step is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Not at all.
    None,
    /// As many nodes as it examines by default, starting where the last pod ended.
    Sampled,
    /// Every node.
    Every,
}

/// The shape of the pods of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Only CPU and memory.
    Basic,
    /// A required zone and a preferred disk.
    NodeAffinity,
    /// A hundred kinds of basic pods, in rotation.
    ManyClasses,
    /// Every pod requests something different.
    Alone,
    /// Every second pod does not fit on any node.
    Unschedulable,
    /// Every second pod has a scheduling gate.
    Gated,
    /// With each new pod, the one created a hundred pods earlier is deleted.
    DeletionChurn,
    /// Pods of a DaemonSet, each for one node by name.
    DaemonSet,
    /// The nodes are full of pods with lower priority; each pod evicts one.
    Preemption,
    /// Spread over zones if possible.
    SpreadSoft,
    /// Spread over zones, required.
    SpreadHard,
    /// Spread over nodes, required.
    SpreadHardHost,
    /// Spread by the default constraints, for a Service that selects the pods.
    SpreadDefault,
    /// Apart from pods of the same kind by node, if possible.
    AntiAffinityHost,
    /// Apart from pods of the same kind by node, required; 25 kinds in rotation.
    AntiAffinityHostRequired,
    /// Apart from pods of the same kind by zone, if possible.
    AntiAffinityZone,
    /// Apart from pods of the same kind by zone, required; three pods of a kind, so that each zone has one.
    AntiAffinityZoneRequired,
    /// Like anti-affinity-host, but counting pods of the same kind in all namespaces with a label; pods in five namespaces.
    AntiAffinityNamespaces,
    /// Like anti-affinity-namespaces, but required; 25 kinds in rotation.
    AntiAffinityNamespacesRequired,
    /// Together with pods of the same kind by node, if possible.
    AffinityHost,
    /// Together with pods of the same kind by node, required; fifty pods of a kind.
    AffinityHostRequired,
    /// Together with pods of the same kind by zone, if possible.
    AffinityZone,
    /// Together with pods of the same kind by zone, required.
    AffinityZoneRequired,
    /// Like affinity-zone, but counting pods of the same kind in all namespaces with a label; pods in five namespaces.
    AffinityNamespaces,
    /// Like affinity-namespaces, but required.
    AffinityNamespacesRequired,
    /// Seven of the shapes, in rotation.
    Mixed,
    /// Five of them, none of which counts pods by node, in rotation.
    MixedByZone,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no shape is skipped").get_name())
    }
}

/// `NODESxPODS`.
fn size(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is not NODESxPODS, such as 5000x50000");
    let (nodes, pods) = text.split_once('x').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or_else(wrong);
    Ok((number(nodes)?, number(pods)?))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds.ok_or_else(|| format!("{text:?} is no number of seconds from 0.001 to 3600"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("5000x50000"), Ok((5000, 50_000)));
        for wrong in ["", "5000", "x5", "5x0", "5x5x5"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn none_leaves_kube_scheduler_out() {
        let peers = |arguments: &[&str]| Options::parse_from(arguments).peers();
        assert_eq!(peers(&["core"]), [Peer::Sampled, Peer::Every]);
        assert_eq!(peers(&["core", "--peer", "none"]), []);
        assert_eq!(peers(&["core", "--peer", "every"]), [Peer::Every]);
    }

    #[test]
    fn the_command_line_is_sound() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }
}
