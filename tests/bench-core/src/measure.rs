//! One measurement.

use crate::Evaluation;
use crate::cluster::{self, NOW};
use crate::shapes::Shape;
use anyhow::Result;
use secondmate_core::EvaluationSettings;
use secondmate_core::port::{Input, PodWatch};
use secondmate_cycle::StandingSettings;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Pods that are made at a time, so that a million of them need not wait in memory.
const BATCH: usize = 1000;

/// What is measured.
pub struct Measurement {
    pub shape: Shape,
    pub evaluation: Evaluation,
    pub nodes: usize,
    pub pods: usize,
    /// Longest time, making the objects not counted.
    pub at_most: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub shape: Shape,
    pub evaluation: String,
    pub nodes: usize,
    /// Pods that were to be tried.
    pub pods: usize,
    /// Pods that were tried in the time.
    pub attempts: usize,
    /// Pods that were placed.
    pub placed: usize,
    /// Attempts in a second, with all that the core does for them.
    pub pods_per_second: f64,
    /// The step in which the node is chosen, in microseconds: median and 99th percentile.
    pub step_p50_us: f64,
    pub step_p99_us: f64,
    /// Nodes that plugins were asked about for a pod that was answered from a class, making the classes included.
    pub nodes_per_pod: f64,
    /// Groups of nodes that were given verdicts and scores, for such a pod.
    pub groups_per_pod: f64,
    /// Part of the pods that took the plain pass.
    pub plain: f64,
    /// Memory of the classes, in bytes.
    pub class_bytes: usize,
    /// Memory of the process at the end, in MiB.
    pub memory_mib: f64,
}

impl Measurement {
    pub fn run(&self) -> Result<Row> {
        let (settings, percentage) = match self.evaluation {
            Evaluation::Standing => (EvaluationSettings::Standing(StandingSettings::default()), 0),
            Evaluation::Plain => (EvaluationSettings::Plain, 100),
            Evaluation::Sampled => (EvaluationSettings::Plain, 0),
        };
        let mut scheduler = cluster::scheduler(self.nodes, percentage, settings, self.shape.has_service())?;
        let (mut steps, mut total, mut placed) = (Vec::new(), Duration::ZERO, 0_usize);
        while steps.len() < self.pods && total < self.at_most {
            let from = steps.len();
            let batch: Vec<_> = (from..self.pods.min(from + BATCH)).map(|n| self.shape.pod(n)).collect();
            for pod in batch {
                let began = Instant::now();
                scheduler.apply(Input::Pod(PodWatch::Pending, pod), NOW);
                let stepping = Instant::now();
                scheduler.step(NOW);
                let stepped = Instant::now();
                placed += usize::from(cluster::answer(&mut scheduler));
                total += began.elapsed();
                steps.push(stepped - stepping);
                if total >= self.at_most {
                    break;
                }
            }
        }
        let attempts = steps.len();
        steps.sort_unstable();
        let quantile = |percent: usize| steps[(attempts - 1) * percent / 100].as_secs_f64() * 1e6;
        let counts = scheduler.standing().cloned().unwrap_or_default();
        let plain: u64 = match self.evaluation {
            Evaluation::Standing => counts.plain.values().sum(),
            _ => attempts as u64,
        };
        Ok(Row {
            shape: self.shape,
            evaluation: self.evaluation.to_string(),
            nodes: self.nodes,
            pods: self.pods,
            attempts,
            placed,
            pods_per_second: attempts as f64 / total.as_secs_f64(),
            step_p50_us: quantile(50),
            step_p99_us: quantile(99),
            nodes_per_pod: counts.nodes_evaluated as f64 / counts.hits.max(1) as f64,
            groups_per_pod: counts.groups_visited as f64 / counts.hits.max(1) as f64,
            plain: plain as f64 / attempts as f64,
            class_bytes: counts.bytes,
            memory_mib: resident_mib(),
        })
    }
}

/// Memory that the process holds; 0 where the system does not say.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
