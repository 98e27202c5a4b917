//! One measurement: a shape, a cluster, and who places the pods.

use crate::cluster::{self, Cluster, NOW};
use crate::options::{Evaluation, Shape};
use anyhow::{Result, ensure};
use secondmate_core::EvaluationSettings;
use secondmate_core::port::{Input, PodWatch};
use secondmate_cycle::{StandingCounts, StandingSettings};
use secondmate_model::Uid;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Pods that are made at a time, so that a million of them need not wait in memory.
const BATCH: usize = 1000;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    pub shape: Shape,
    pub nodes: usize,
    pub pods: usize,
    /// Longest time, making the objects not counted.
    pub at_most: Duration,
    /// Pods that come first and are not measured, so that the class is known by then.
    pub warm_up: usize,
}

/// What became of the pods.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How long each pod's first attempt took, in the order in which they were tried.
    pub steps: Vec<Duration>,
    /// With all that is done for the pods beside it.
    pub total: Duration,
    /// Pods that were placed by it.
    pub placed: usize,
    /// Pods that fitted nowhere, by their names.
    pub rejected: Vec<String>,
    /// Pods that were not tried.
    pub gated: usize,
    /// Pods that were evicted.
    pub evicted: usize,
    /// Pods that were deleted.
    pub deleted: usize,
}

/// What came of it, for the report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Part of the measurement.
    pub part: &'static str,
    pub shape: String,
    /// `secondmate` or `kube-scheduler`.
    pub scheduler: &'static str,
    /// How the nodes were evaluated: `standing`, `plain`, `sampled` or `every`.
    pub with: &'static str,
    pub nodes: usize,
    /// Pods that were tried in the time.
    pub tried: usize,
    pub placed: usize,
    pub gated: usize,
    pub evicted: usize,
    /// Pods tried in a second, with all that is done for them beside the API.
    pub pods_per_second: f64,
    /// The step in which the node is chosen, in microseconds: median and 99th percentile.
    pub step_p50_us: f64,
    pub step_p99_us: f64,
    /// How much shorter the median step of secondmate's standing evaluation is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What secondmate tells of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
}

/// What secondmate tells of itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Own {
    /// Nodes that plugins were asked about for a pod that was answered from a class, making the classes included.
    pub nodes_per_pod: f64,
    /// Groups of nodes that were given verdicts and scores, for such a pod.
    pub groups_per_pod: f64,
    /// Part of the pods that took the plain pass.
    pub plain: f64,
    /// Classes at the end, and the memory that they take.
    pub classes: usize,
    pub class_bytes: usize,
    /// Memory of the process at the end, in MiB.
    pub memory_mib: f64,
}

impl Evaluation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standing => "standing",
            Self::Plain => "plain",
            Self::Sampled => "sampled",
        }
    }
}

impl Measurement {
    /// Pods that can be tried.
    pub fn pods(&self) -> usize {
        self.pods.min(self.shape.pods_max(self.nodes))
    }

    /// Has secondmate place the pods.
    ///
    /// # Errors
    /// None in practice: what is made here is well-formed.
    pub fn run(&self, evaluation: Evaluation) -> Result<(Tally, Own)> {
        let (settings, percentage) = match evaluation {
            Evaluation::Standing => (EvaluationSettings::Standing(StandingSettings::default()), 0),
            Evaluation::Plain => (EvaluationSettings::Plain, 100),
            Evaluation::Sampled => (EvaluationSettings::Plain, 0),
        };
        let mut cluster = Cluster::new(self.shape, self.nodes, percentage, settings, true)?;
        let (mut tally, pods) = (Tally::default(), self.pods());
        let remember = self.shape.deletes(usize::MAX).is_some();
        let mut number = 0;
        while number < pods && (tally.total < self.at_most || number <= self.warm_up) {
            let batch: Vec<_> = (number..pods.min(number + BATCH))
                .map(|number| cluster::pod(self.shape.document(number, self.nodes)))
                .collect();
            for pod in batch {
                let deleted = self.shape.deletes(number).map(|number| Uid::from(&*format!("pod-{number}")));
                number += 1;
                let began = Instant::now();
                if let Some(deleted) = deleted {
                    tally.deleted += usize::from(cluster.delete(&deleted));
                }
                cluster.scheduler.apply(Input::Pod(PodWatch::Pending, pod), NOW);
                let stepping = Instant::now();
                let report = cluster.scheduler.step(NOW);
                let stepped = Instant::now();
                let answered = cluster.answer(remember);
                if answered.evicted > 0 {
                    // The victims are gone: it is placed now.
                    let again = cluster.scheduler.step(NOW);
                    ensure!(cluster.answer(remember).bound, "not placed after its victims went: {again:?}");
                }
                tally.total += began.elapsed();
                tally.evicted += answered.evicted;
                let Some(report) = report else {
                    tally.gated += 1;
                    continue;
                };
                tally.steps.push(stepped - stepping);
                if answered.bound {
                    tally.placed += 1;
                } else {
                    tally.rejected.push(format!("{}/{}", report.pod.namespace, report.pod.name));
                }
                if number == self.warm_up {
                    tally.total = Duration::ZERO;
                    tally.steps.clear();
                } else if number > self.warm_up && tally.total >= self.at_most {
                    break;
                }
            }
        }
        let counts = cluster.scheduler.standing().cloned().unwrap_or_default();
        let own = Own::new(&counts, evaluation, tally.steps.len());
        Ok((tally, own))
    }

    /// The row of the report.
    ///
    /// # Errors
    /// No pod was tried.
    pub fn row(
        &self,
        part: &'static str,
        (scheduler, with): (&'static str, &'static str),
        tally: Tally,
    ) -> Result<Row> {
        let mut steps = tally.steps;
        let tried = steps.len();
        ensure!(tried > 0, "{scheduler} tried no pod of the shape {}", self.shape);
        steps.sort_unstable();
        let quantile = |percent: usize| steps[(tried - 1) * percent / 100].as_secs_f64() * 1e6;
        Ok(Row {
            part,
            shape: self.shape.to_string(),
            scheduler,
            with,
            nodes: self.nodes,
            tried,
            placed: tally.placed,
            gated: tally.gated,
            evicted: tally.evicted,
            pods_per_second: (tried + tally.gated) as f64 / tally.total.as_secs_f64().max(1e-9),
            step_p50_us: quantile(50),
            step_p99_us: quantile(99),
            ratio: None,
            own: None,
        })
    }
}

impl Own {
    fn new(counts: &StandingCounts, evaluation: Evaluation, tried: usize) -> Self {
        let plain = match evaluation {
            Evaluation::Standing => counts.plain.values().sum(),
            Evaluation::Plain | Evaluation::Sampled => tried as u64,
        };
        Self {
            nodes_per_pod: counts.nodes_evaluated as f64 / counts.hits.max(1) as f64,
            groups_per_pod: counts.groups_visited as f64 / counts.hits.max(1) as f64,
            plain: plain as f64 / tried.max(1) as f64,
            classes: counts.classes,
            class_bytes: counts.bytes,
            memory_mib: resident_bytes() as f64 / f64::from(1 << 20),
        }
    }
}

/// Memory that the process holds; 0 where the system does not say.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
