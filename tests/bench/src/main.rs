//! How fast a scheduler places pods, what it costs, and how kube-scheduler does in the same run.
//!
//! Each measurement has a fresh cluster. All pods are pending before the scheduler starts (throughput), or arrive at a steady rate
//! while it runs (latency). Times are taken from one watch on pods, never from a scheduler's own word; processor time and
//! memory are those of the scheduler's process alone, as the kernel accounts for them. API server, etcd, load and
//! scheduler share the machine: compare rows of one run, not rows of different runs.

mod arena;
mod audit;
mod extender;
mod neighbour;
mod options;
mod plugs;
mod report;
mod shapes;
mod watch;

use anyhow::{Context, Result};
use arena::Arena;
use clap::Parser;
use options::{Options, Scenario, Shape, Subject, Target};
use report::Row;
use secondmate_harness::{Binaries, binaries, secondmate_binary};
use std::process::ExitCode;
use std::time::Duration;
use watch::PodWatch;

/// Longest time that one measurement may take.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.scenario {
        Some(Scenario::Neighbour(options)) => runtime()
            .and_then(|runtime| neighbour::run(&runtime, options))
            .map(|rows| neighbour::print(&rows, options.json)),
        Some(Scenario::Plugs(options)) => runtime().and_then(|runtime| {
            let rows = plugs::run(&runtime, options)?;
            plugs::print(&rows, options.json);
            let write = |folder| report::write_as("plugs", plugs::markdown(&rows), &rows, folder);
            options.out.as_deref().map_or(Ok(()), write)
        }),
        None => run(&options).and_then(|rows| {
            report::print(&rows, options.json);
            options.out.as_deref().map_or(Ok(()), |folder| report::write(&rows, folder))
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn run(options: &Options) -> Result<Vec<Row>> {
    // It may have to be built, which belongs to no measurement.
    secondmate_binary()?;
    let runtime = runtime()?;
    let mut rows = Vec::new();
    for target in &options.on {
        let binaries = match target {
            Target::Sandbox => None,
            Target::ControlPlane => Some(binaries().context("the real control plane")?),
        };
        // kube-scheduler has no business with the sandbox.
        let subjects: &[Subject] =
            if *target == Target::Sandbox { &[Subject::Secondmate] } else { &options.who };
        for nodes in &options.nodes {
            if *target == Target::Sandbox && *nodes != options.nodes[0] {
                continue;
            }
            for shape in &options.shapes {
                for subject in subjects {
                    let size = Size { nodes: *nodes, pods: options.pods, shape: *shape };
                    rows.push(throughput(&runtime, *target, *subject, binaries, size)?);
                }
            }
        }
        if options.rate > 0 && *target == Target::ControlPlane {
            for subject in subjects {
                rows.push(latency(&runtime, *target, *subject, binaries, options)?);
            }
        }
    }
    Ok(rows)
}

/// How much there is to do.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    pods: usize,
    shape: Shape,
}

/// All pods wait before the scheduler starts.
fn throughput(
    runtime: &tokio::runtime::Runtime,
    target: Target,
    subject: Subject,
    binaries: Option<&Binaries>,
    size: Size,
) -> Result<Row> {
    let Size { nodes, pods, shape } = size;
    eprintln!("{subject} on the {target}: {nodes} nodes, {pods} pods ({shape})");
    let mut arena = Arena::start(runtime, target, binaries, nodes, shape)?;
    arena.create_pods(runtime, subject, 0, pods)?;
    let watch = PodWatch::start(runtime, arena.kubeconfig(), arena::NAMESPACE)?;
    watch.wait_seen(pods, DEADLINE)?;
    let started = std::time::Instant::now();
    arena.start_subject(subject)?;
    watch.wait_bound(pods, DEADLINE).with_context(|| arena.diagnosis())?;
    let usage = arena.usage(subject)?;
    let bound = watch.bound_times();
    let first = *bound.first().context("no pod was bound")?;
    let last = *bound.last().context("no pod was bound")?;
    Ok(Row {
        target: target.to_string(),
        subject: subject.to_string(),
        scenario: "throughput",
        shape: shape.to_string(),
        nodes,
        pods,
        pods_per_s: (pods.saturating_sub(1)) as f64 / (last - first).as_secs_f64().max(0.001),
        seconds_from_start: (last - started).as_secs_f64(),
        cpu_seconds: usage.cpu_seconds,
        peak_memory_mib: usage.peak_memory_bytes as f64 / f64::from(1 << 20),
        latency_ms: None,
    })
}

/// Pods arrive at a steady rate while the scheduler runs.
fn latency(
    runtime: &tokio::runtime::Runtime,
    target: Target,
    subject: Subject,
    binaries: Option<&Binaries>,
    options: &Options,
) -> Result<Row> {
    /// Bound before the measurement, so that caches, connections and code paths are warm.
    const WARM_UP: usize = 200;
    let (nodes, pods) = (options.latency_nodes, options.rate * options.seconds);
    eprintln!("{subject} on the {target}: {nodes} nodes, {} pods/s for {} s", options.rate, options.seconds);
    let mut arena = Arena::start(runtime, target, binaries, nodes, Shape::Basic)?;
    let watch = PodWatch::start(runtime, arena.kubeconfig(), arena::NAMESPACE)?;
    arena.start_subject(subject)?;
    arena.create_pods(runtime, subject, 0, WARM_UP)?;
    watch.wait_bound(WARM_UP, DEADLINE).with_context(|| arena.diagnosis())?;
    let before = arena.usage(subject)?;
    arena.create_pods_at_rate(runtime, subject, WARM_UP, pods, options.rate)?;
    watch.wait_bound(WARM_UP + pods, DEADLINE).with_context(|| arena.diagnosis())?;
    let usage = arena.usage(subject)?;
    let mut latencies = watch.latencies_ms(&format!("{}-", arena::POD_PREFIX), WARM_UP);
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    let bound = watch.bound_times();
    let span = (bound[bound.len() - 1] - bound[WARM_UP]).as_secs_f64().max(0.001);
    Ok(Row {
        target: target.to_string(),
        subject: subject.to_string(),
        scenario: "latency",
        shape: Shape::Basic.to_string(),
        nodes,
        pods,
        pods_per_s: pods as f64 / span,
        seconds_from_start: span,
        cpu_seconds: usage.cpu_seconds - before.cpu_seconds,
        peak_memory_mib: usage.peak_memory_bytes as f64 / f64::from(1 << 20),
        latency_ms: Some([quantile(0.5), quantile(0.99)]),
    })
}
