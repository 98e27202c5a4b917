//! kube-scheduler's own step: the real scheduler in the parity oracle's program is given the same cluster and the same pods.

use crate::cluster;
use crate::measure::{Measurement, Tally};
use crate::options::Peer;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Pods that it is given at most; it seldom gets so far in the time.
const PODS_MAX: usize = 5000;

/// What the oracle's mode `-steps` reads; see `tests/parity/steps.go`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    id: String,
    config: Value,
    objects: Vec<Value>,
    steps: Vec<Step>,
    at_most_ms: u128,
    warm_up: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Step {
    Add(Value),
    Delete(String),
}

/// What it answers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    placed: Vec<String>,
    rejected: Vec<String>,
    gated: Vec<String>,
    evicted: Vec<String>,
    deleted: usize,
    step_ns: Vec<u64>,
    total_ns: u64,
    kubernetes: String,
    error: String,
}

impl Peer {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sampled => "sampled",
            Self::Every => "every",
        }
    }

    fn percentage(self) -> u8 {
        if self == Self::Every { 100 } else { 0 }
    }
}

/// Has kube-scheduler place the pods; answers also with its release.
///
/// # Errors
/// The oracle does not run, or the scheduler failed.
pub fn run(oracle: &Path, measurement: &Measurement, peer: Peer) -> Result<(Tally, String)> {
    // A process of its own for each, so that none inherits another's garbage.
    let mut child = Command::new(oracle)
        .arg("-steps")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", oracle.display()))?;
    let mut stdin = BufWriter::new(child.stdin.take().context("the oracle has no standard input")?);
    let stdout = BufReader::new(child.stdout.take().context("the oracle has no standard output")?);
    // It reads the whole line before it answers.
    let written = serde_json::to_writer(&mut stdin, &case(measurement, peer))
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(stdin.write_all(b"\n").and_then(|()| stdin.flush())?));
    drop(stdin);
    let answer: Result<Answer, _> = serde_json::from_reader(stdout);
    let status = child.wait().context("cannot wait for the oracle")?;
    written.with_context(|| format!("the oracle does not read its case ({status})"))?;
    let answer = answer.with_context(|| format!("the oracle's answer ({status})"))?;
    if !answer.error.is_empty() {
        bail!("kube-scheduler failed on {} ({}): {}", measurement.shape, peer.name(), answer.error);
    }
    let tally = Tally {
        steps: answer.step_ns.into_iter().map(Duration::from_nanos).collect(),
        total: Duration::from_nanos(answer.total_ns),
        placed: answer.placed.len(),
        rejected: answer.rejected,
        gated: answer.gated.len(),
        evicted: answer.evicted.len(),
        deleted: answer.deleted,
    };
    Ok((tally, answer.kubernetes))
}

fn case(measurement: &Measurement, peer: Peer) -> Case {
    let (shape, nodes) = (measurement.shape, measurement.nodes);
    let objects = cluster::objects(shape).into_iter().map(|(_, document)| document);
    let objects = objects.chain((0..nodes).map(cluster::node)).chain(shape.initial(nodes));
    let mut steps = Vec::new();
    for number in 0..measurement.pods().min(PODS_MAX) {
        if let Some(deleted) = shape.deletes(number) {
            steps.push(Step::Delete(format!("default/pod-{deleted}")));
        }
        steps.push(Step::Add(shape.document(number, nodes)));
    }
    Case {
        id: format!("{shape}-{}", peer.name()),
        config: cluster::configuration(peer.percentage()),
        objects: objects.collect(),
        steps,
        at_most_ms: measurement.at_most.as_millis(),
        warm_up: measurement.warm_up,
    }
}
