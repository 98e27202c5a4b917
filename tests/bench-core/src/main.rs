//! How fast the core decides, without any API: one thread, all inputs and answers made up in memory; and beside it, in the same run,
//! kube-scheduler's own scheduling step for the same pods.
//!
//! Each measurement has a cluster of its own, with some pods of the shape on nodes. A pod of the shape comes in, is tried, and what the
//! core asks for is answered at once: bound, and seen on its node. The time of making the objects is not counted; what the core does
//! with them is, and the step in which the node is chosen is timed on its own. kube-scheduler is driven in the same way. A measurement
//! ends with its pods or its seconds, whichever comes first, so that slow rows cost no more than fast ones.

mod cluster;
mod measure;
mod memory;
mod options;
mod peer;
mod plots;
mod report;
mod shapes;
mod svg;

use anyhow::Result;
use clap::Parser;
use measure::{Measurement, Row};
use options::{Evaluation, Options, Part, Peer, Shape};
use report::Report;
use std::process::ExitCode;
use std::time::Duration;

/// As the scheduler's own program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pods that are placed on each cluster for `growth`.
const GROWTH_PODS: usize = 20_000;
/// The first of them, of which each shape's class is made.
const GROWTH_WARM_UP: usize = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    match Run::new(options).and_then(Run::all) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A run of the parts that were asked for.
struct Run {
    options: Options,
    report: Report,
}

impl Run {
    fn new(options: Options) -> Result<Self> {
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            ..Report::default()
        };
        if options.oracle.is_none() && !options.peers().is_empty() {
            let reason = options.no_oracle.clone();
            let reason = reason.unwrap_or_else(|| "no program was given with --oracle".to_owned());
            eprintln!("LEFT OUT: kube-scheduler's step: {reason}");
            report.peer_left_out = Some(reason);
        }
        Ok(Self { options, report })
    }

    fn all(mut self) -> Result<()> {
        if !self.options.json {
            report::print_head();
        }
        // Memory first, while the process has used none.
        for part in [Part::Memory, Part::Shapes, Part::Large, Part::Growth] {
            if !self.options.parts.contains(&part) {
                continue;
            }
            match part {
                Part::Memory => self.report.memory = Some(memory::measure()?),
                Part::Shapes => self.shapes()?,
                Part::Large => self.large()?,
                Part::Growth => self.growth()?,
            }
            // After each part: what was measured is not lost where a later one fails.
            if let Some(folder) = &self.options.out {
                self.report.write(folder)?;
            }
        }
        if let Some(memory) = self.report.memory {
            self.print_memory(memory)?;
        }
        Ok(())
    }

    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    fn print_memory(&self, memory: memory::Memory) -> Result<()> {
        if self.options.json {
            println!("{}", serde_json::to_string(&memory)?);
        } else {
            println!(
                "bytes a node {}, a pod {}, a class at {} nodes {}",
                memory.bytes_a_node, memory.bytes_a_pod, memory.class_nodes, memory.bytes_a_class
            );
        }
        Ok(())
    }

    fn shapes(&mut self) -> Result<()> {
        for (nodes, pods) in self.options.sizes.clone() {
            for shape in self.options.shapes.clone() {
                let measurement = Measurement { shape, nodes, pods, at_most: self.own_time(), warm_up: 0 };
                for evaluation in self.options.with.clone() {
                    let at_most =
                        if evaluation == Evaluation::Standing { self.own_time() } else { self.peer_time() };
                    self.own(Part::Shapes, Measurement { at_most, ..measurement }, evaluation)?;
                }
                for peer in self.options.peers() {
                    self.peer(Part::Shapes, measurement, peer)?;
                }
            }
        }
        Ok(())
    }

    fn large(&mut self) -> Result<()> {
        let sizes = self.options.large_sizes.clone();
        let largest = sizes.iter().copied().max();
        let at_most = Duration::from_secs_f64(self.options.large_seconds);
        for (nodes, pods) in sizes {
            let basic = Measurement { shape: Shape::Basic, nodes, pods, at_most, warm_up: 0 };
            self.own(Part::Large, basic, Evaluation::Standing)?;
            if nodes <= self.options.peer_nodes {
                for peer in self.options.peers() {
                    self.peer(Part::Large, basic, peer)?;
                }
            }
            // The classes of the wider mix need more memory on a million nodes than the standing evaluation uses.
            let mix = if Some((nodes, pods)) == largest { Shape::MixedByZone } else { Shape::Mixed };
            self.own(Part::Large, Measurement { shape: mix, ..basic }, Evaluation::Standing)?;
        }
        Ok(())
    }

    fn growth(&mut self) -> Result<()> {
        for nodes in self.options.growth_nodes.clone() {
            for shape in self.options.growth_shapes.clone() {
                let measurement = Measurement {
                    shape,
                    nodes,
                    pods: GROWTH_PODS,
                    at_most: self.own_time(),
                    warm_up: GROWTH_WARM_UP,
                };
                self.own(Part::Growth, measurement, Evaluation::Standing)?;
                // As it is run: with every node it takes too long on large clusters.
                if nodes <= self.options.peer_nodes && self.options.peers().contains(&Peer::Sampled) {
                    self.peer(Part::Growth, measurement, Peer::Sampled)?;
                }
            }
        }
        Ok(())
    }

    fn own(&mut self, part: Part, measurement: Measurement, evaluation: Evaluation) -> Result<()> {
        let (tally, own) = measurement.run(evaluation)?;
        let row = measurement.row(part.name(), ("secondmate", evaluation.name()), tally)?;
        self.add(Row { own: Some(own), ..row })
    }

    /// kube-scheduler on the same, where there is an oracle.
    fn peer(&mut self, part: Part, measurement: Measurement, peer: Peer) -> Result<()> {
        let Some(oracle) = &self.options.oracle else { return Ok(()) };
        let measurement = Measurement { at_most: self.peer_time(), ..measurement };
        let (tally, kubernetes) = peer::run(oracle, &measurement, peer)?;
        self.report.kubernetes = kubernetes;
        self.add(measurement.row(part.name(), ("kube-scheduler", peer.name()), tally)?)
    }

    fn add(&mut self, row: Row) -> Result<()> {
        report::print_row(self.report.add(row), self.options.json)
    }

    fn own_time(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds)
    }

    fn peer_time(&self) -> Duration {
        Duration::from_secs_f64(self.options.peer_seconds)
    }
}

#[cfg(test)]
mod tests;
