//! How fast the core decides, without any API: one thread, all inputs and answers made up in memory.
//!
//! Each measurement has a cluster of its own without pods. A pod of the shape comes in, is tried, and what the core asks for is answered
//! at once: bound, and seen on its node. The time of making the objects is not counted; what the core does with them is, and the
//! step in which the node is chosen is timed on its own. A measurement ends with its pods or its seconds, whichever comes first, so
//! that slow rows cost no more than fast ones.

mod cluster;
mod measure;
mod report;
mod shapes;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use measure::Measurement;
use shapes::Shape;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

/// As the scheduler's own program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench core", about = "Measure the core alone, in process, without any API")]
struct Options {
    /// Sizes: numbers of nodes and pods.
    #[arg(long, value_delimiter = ',', default_value = "5000x50000,100000x100000", value_parser = size)]
    sizes: Vec<(usize, usize)>,
    /// Shapes of pods.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Shape::value_variants().to_vec())]
    shapes: Vec<Shape>,
    /// Evaluations to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Evaluation::Standing, Evaluation::Plain])]
    with: Vec<Evaluation>,
    /// Longest time for one row, in seconds, making the objects not counted.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// One JSON object a row instead of the table.
    #[arg(long)]
    json: bool,
}

/// How the nodes are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Evaluation {
    /// Classes of pods; every node is scored.
    Standing,
    /// One node after the other; every node is scored.
    Plain,
    /// One node after the other; as many as kube-scheduler looks at by default.
    Sampled,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standing => "standing",
            Self::Plain => "plain",
            Self::Sampled => "sampled",
        })
    }
}

/// `NODESxPODS`.
fn size(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is not NODESxPODS, such as 5000x50000");
    let (nodes, pods) = text.split_once('x').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or_else(wrong);
    Ok((number(nodes)?, number(pods)?))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if !options.json {
        report::head();
    }
    for (nodes, pods) in &options.sizes {
        for shape in &options.shapes {
            for evaluation in &options.with {
                let measurement = Measurement {
                    shape: *shape,
                    evaluation: *evaluation,
                    nodes: *nodes,
                    pods: *pods,
                    at_most: Duration::from_secs(options.seconds),
                };
                report::row(&measurement.run()?, options.json)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_placed_by_every_evaluation() {
        for shape in Shape::value_variants() {
            for evaluation in Evaluation::value_variants() {
                let measurement = Measurement {
                    shape: *shape,
                    evaluation: *evaluation,
                    nodes: 30,
                    pods: 20,
                    at_most: Duration::from_secs(600),
                };
                let row = measurement.run().expect("a measurement");
                assert_eq!(row.attempts, 20, "{shape:?} {evaluation}");
                let placed = if *shape == Shape::Unschedulable { 10 } else { 20 };
                assert_eq!(row.placed, placed, "{shape:?} {evaluation}");
            }
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("5000x50000"), Ok((5000, 50_000)));
        for wrong in ["", "5000", "x5", "5x0", "5x5x5"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
