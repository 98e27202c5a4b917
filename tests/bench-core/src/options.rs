//! The command line of the measurement. `cargo xtask bench core` has this file too, so that help and mistakes cost no build.

use clap::{Parser, ValueEnum};
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench core",
    about = "Measure the core alone, in process, without any API, beside kube-scheduler's own scheduling step"
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
    /// Evaluations of secondmate to measure for `shapes`; `large` and `growth` have the standing one.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Evaluation::Standing, Evaluation::Plain])]
    pub(crate) with: Vec<Evaluation>,
    /// kube-scheduler's step beside it, or `none`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Peer::Sampled, Peer::Every])]
    pub(crate) peer: Vec<Peer>,
    /// Most nodes with which kube-scheduler is measured for `growth`.
    #[arg(long, default_value_t = 100_000, value_name = "NODES")]
    pub(crate) peer_nodes: usize,
    /// Longest time for one row of the standing evaluation, in seconds, making the objects not counted.
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The same for `large`.
    #[arg(long, default_value_t = 120.0, value_parser = seconds)]
    pub(crate) large_seconds: f64,
    /// The same for everything that it is compared with.
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    pub(crate) peer_seconds: f64,
    /// One JSON object a row instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write core.md, core.json and the plots into this folder as well.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// The parity oracle's program; `cargo xtask bench core` builds it.
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
    /// Bytes that a node and a pod take.
    Memory,
    /// Every shape, beside kube-scheduler.
    Shapes,
    /// Large clusters: basic pods and a mix of shapes.
    Large,
    /// How the cost of a pod grows with the number of nodes.
    Growth,
}

/// How the nodes are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Evaluation {
    /// Classes of pods; every node is scored.
    Standing,
    /// One node after the other; every node is scored.
    Plain,
    /// One node after the other; as many as kube-scheduler looks at by default.
    Sampled,
}

/// How kube-scheduler's step is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Not at all.
    None,
    /// As many nodes as it looks at by default, from where the last pod ended.
    Sampled,
    /// Every node.
    Every,
}

/// What the pods of a measurement are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// CPU and memory, nothing else.
    Basic,
    /// A zone that is required, and a disk that is preferred.
    NodeAffinity,
    /// A hundred kinds of basic pods in turn.
    ManyClasses,
    /// Every pod asks for something else.
    Alone,
    /// Every second pod fits on no node.
    Unschedulable,
    /// Every second pod has a scheduling gate.
    Gated,
    /// With each pod that comes, the one that came a hundred pods before is deleted.
    DeletionChurn,
    /// A daemon's pods, each for one node by name.
    DaemonSet,
    /// The nodes are full of pods of lower priority; each pod evicts one.
    Preemption,
    /// Spread over zones, if it can be.
    SpreadSoft,
    /// Spread over zones, or not at all.
    SpreadHard,
    /// Spread over nodes, or not at all.
    SpreadHardHost,
    /// By the default constraints, for a Service that selects the pods.
    SpreadDefault,
    /// Not beside its likes on a node, if it can be.
    AntiAffinityHost,
    /// Not beside its likes on a node, or not at all; of 25 kinds in turn.
    AntiAffinityHostRequired,
    /// Not beside its likes in a zone, if it can be.
    AntiAffinityZone,
    /// Not beside its likes in a zone, or not at all; three pods of a kind, so that each zone has one.
    AntiAffinityZoneRequired,
    /// As anti-affinity-host, and its likes in all namespaces with a label count; pods of five namespaces.
    AntiAffinityNamespaces,
    /// The same, required; of 25 kinds in turn.
    AntiAffinityNamespacesRequired,
    /// On a node with its likes, if it can be.
    AffinityHost,
    /// On a node with its likes, or not at all; fifty pods of a kind.
    AffinityHostRequired,
    /// In a zone with its likes, if it can be.
    AffinityZone,
    /// In a zone with its likes, or not at all.
    AffinityZoneRequired,
    /// As affinity-zone, and its likes in all namespaces with a label count; pods of five namespaces.
    AffinityNamespaces,
    /// The same, required.
    AffinityNamespacesRequired,
    /// Seven of the shapes in turn.
    Mixed,
    /// Five of them, none of which counts pods by node.
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
