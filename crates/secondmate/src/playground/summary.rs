//! The summary of a playground, as text or as one JSON object.

use super::left_over::LeftOver;
use super::observations::Observations;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A shorter span says nothing about a rate: so few pods were bound that the result depends on the clock and the watch.
const MEASURED_S_MIN: f64 = 0.01;

/// Why the playground stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Ended {
    /// Each pod is bound or has a final verdict.
    Settled,
    /// Nothing has changed for a long time, and some pods have no verdict.
    Stalled,
    /// The timeout was reached.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
}

/// The result. Field names are part of the command's interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Number of pods that have a node.
    pub bound: u64,
    /// Number of pods that have none.
    pub pending: u64,
    /// Number of pods bound while the playground watched, divided by the time from the first creation to the last binding; null if
    /// that is less than 10 ms.
    pub pods_per_s: Option<f64>,
    pub latency_ms: Latency,
    /// Why pods are pending or were never created, by group.
    pub reasons: Vec<LeftOver>,
    /// From the first creation to the last binding.
    pub elapsed_s: Option<f64>,
    /// Number of pods that were to be created but never were.
    pub missing: u64,
    /// Number of pods that were deleted in the meantime: usually victims of preemption.
    pub deleted: u64,
    /// Number of pods that ended as Succeeded or Failed.
    pub ended_pods: u64,
    pub spread: Spread,
    pub ended: Ended,
}

/// From creation to bound, in milliseconds, as seen by a watch; null if no pod was bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// How the bound pods are spread over the nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub nodes: u64,
    pub pods_per_node: PerNode,
    pub zones: Vec<Zone>,
}

/// Number of pods per node over a set of nodes; zero if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PerNode {
    pub min: u64,
    pub median: u64,
    pub max: u64,
}

/// Nodes with one value of `topology.kubernetes.io/zone`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Zone {
    /// The label's value; empty for nodes without the label.
    pub zone: String,
    pub nodes: u64,
    pub pods: u64,
    pub pods_per_node: PerNode,
}

/// What is left over.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    /// Number of pods that were to be created.
    pub expected: u64,
    /// Number of pods that have no node.
    pub pending: u64,
    /// Why they are pending, and why other pods were never created.
    pub reasons: Vec<LeftOver>,
}

impl Summary {
    /// `nodes` gives the zone of each node.
    pub fn new(
        observations: &Observations,
        nodes: &BTreeMap<String, String>,
        left: Left,
        ended: Ended,
    ) -> Self {
        let counts = observations.counts();
        let latencies = observations.latencies();
        let elapsed_s = observations.span().map(|span| span.as_secs_f64());
        let rate =
            |elapsed: f64| (elapsed >= MEASURED_S_MIN).then(|| round(latencies.len() as f64 / elapsed, 1));
        Self {
            bound: counts.bound,
            pending: left.pending,
            pods_per_s: elapsed_s.and_then(rate),
            latency_ms: Latency {
                p50: percentile_ms(&latencies, 50),
                p99: percentile_ms(&latencies, 99),
                max: percentile_ms(&latencies, 100),
            },
            reasons: left.reasons,
            elapsed_s: elapsed_s.map(|elapsed| round(elapsed, 4)),
            missing: left.expected.saturating_sub(counts.seen),
            deleted: counts.gone,
            ended_pods: counts.ended,
            spread: Spread::new(observations, nodes),
            ended,
        }
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// The nearest rank, of sorted values.
fn percentile_ms(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|latency| round(latency.as_secs_f64() * 1000.0, 3))
}

impl Spread {
    fn new(observations: &Observations, nodes: &BTreeMap<String, String>) -> Self {
        let pods = observations.per_node();
        let mut all = Vec::with_capacity(nodes.len());
        let mut by_zone: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (node, zone) in nodes {
            let count = pods.get(node.as_str()).copied().unwrap_or(0);
            all.push(count);
            by_zone.entry(zone).or_default().push(count);
        }
        let zone = |(zone, counts): (&str, Vec<u64>)| Zone {
            zone: zone.to_owned(),
            nodes: counts.len() as u64,
            pods: counts.iter().sum(),
            pods_per_node: PerNode::of(counts),
        };
        Self {
            nodes: all.len() as u64,
            pods_per_node: PerNode::of(all),
            zones: by_zone.into_iter().map(zone).collect(),
        }
    }
}

impl PerNode {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        match (counts.first(), counts.last()) {
            (Some(min), Some(max)) => Self { min: *min, median: counts[counts.len() / 2], max: *max },
            _ => Self::default(),
        }
    }
}

/// `1 pod`, `2 pods`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.bound + self.pending;
        let (bound, nodes) = (self.bound, self.spread.nodes);
        write!(f, "{bound} of {} bound on {}", counted(total, "pod"), counted(nodes, "node"))?;
        match self.elapsed_s {
            Some(elapsed) if elapsed >= MEASURED_S_MIN => writeln!(f, " in {elapsed:.2} s")?,
            _ => writeln!(f)?,
        }
        if self.missing > 0 {
            writeln!(f, "{} never created", counted(self.missing, "pod"))?;
        }
        if self.deleted > 0 {
            writeln!(f, "{} deleted meanwhile", counted(self.deleted, "pod"))?;
        }
        if self.ended_pods > 0 {
            writeln!(f, "{} ended as Succeeded or Failed", counted(self.ended_pods, "pod"))?;
        }
        match self.ended {
            Ended::Settled => {}
            Ended::Stalled => writeln!(f, "given up: nothing changes any more")?,
            Ended::TimedOut => writeln!(f, "timed out (--timeout)")?,
            Ended::Interrupted => writeln!(f, "interrupted")?,
        }
        writeln!(f)?;
        if let Some(rate) = self.pods_per_s {
            writeln!(f, "  pods/s    {rate}")?;
        }
        if let Latency { p50: Some(p50), p99: Some(p99), max: Some(max) } = self.latency_ms {
            writeln!(
                f,
                "  latency   p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms (creation to bound, seen by a watch)"
            )?;
        }
        let PerNode { min, median, max } = &self.spread.pods_per_node;
        writeln!(f, "  per node  min {min}, median {median}, max {max} pods")?;
        self.zones(f)?;
        self.left_over(f)
    }
}

impl Summary {
    fn zones(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.spread.zones.len() < 2 {
            return Ok(());
        }
        let name = |zone: &Zone| if zone.zone.is_empty() { "(none)".to_owned() } else { zone.zone.clone() };
        let width = self.spread.zones.iter().map(|zone| name(zone).len()).max().unwrap_or(0).max(4);
        writeln!(f, "\n  {:width$}  nodes    pods   min  median   max", "zone")?;
        for zone in &self.spread.zones {
            let PerNode { min, median, max } = &zone.pods_per_node;
            writeln!(
                f,
                "  {:width$}  {:5}  {:6}  {min:4}  {median:6}  {max:4}",
                name(zone),
                zone.nodes,
                zone.pods
            )?;
        }
        Ok(())
    }

    fn left_over(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return Ok(());
        }
        let total = self.reasons.iter().map(|left| left.pods).sum();
        writeln!(f, "\n  {} not bound:", counted(total, "pod"))?;
        for left in &self.reasons {
            writeln!(f, "  {:6}  {}  ({})\n          {}", left.pods, left.group, left.reason, left.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playground::observations::SeenPod;
    use serde_json::json;
    use std::time::Instant;

    fn bound(uid: &str, node: &str) -> SeenPod {
        serde_json::from_value(
            json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "schedulerName": "mine"}}),
        )
        .expect("a pod")
    }

    fn example() -> Summary {
        let zero = Instant::now();
        let mut observations = Observations::new(["mine".to_owned()], zero);
        for index in 1..=10_u64 {
            observations.applied(&bound(&index.to_string(), ""), zero);
        }
        for index in 1..=9_u64 {
            let node = if index > 6 { "n2" } else { "n1" };
            observations.applied(&bound(&index.to_string(), node), zero + Duration::from_millis(50 * index));
        }
        let nodes = [("n1", "a"), ("n2", "a"), ("n3", "b")].map(|(n, z)| (n.to_owned(), z.to_owned()));
        let left = LeftOver {
            group: "Deployment default/web".to_owned(),
            pods: 1,
            reason: "Unschedulable".to_owned(),
            message: "0/3 nodes are available: 3 Insufficient cpu.".to_owned(),
        };
        Summary::new(
            &observations,
            &nodes.into(),
            Left { expected: 10, pending: 1, reasons: vec![left] },
            Ended::Settled,
        )
    }

    #[test]
    fn the_text_says_it_all() {
        let expected = "\
9 of 10 pods bound on 3 nodes in 0.45 s

  pods/s    20
  latency   p50 250.0 ms, p99 450.0 ms, max 450.0 ms (creation to bound, seen by a watch)
  per node  min 0, median 3, max 6 pods

  zone  nodes    pods   min  median   max
  a         2       9     3       6     6
  b         1       0     0       0     0

  1 pod not bound:
       1  Deployment default/web  (Unschedulable)
          0/3 nodes are available: 3 Insufficient cpu.
";
        assert_eq!(example().to_string(), expected);
    }

    #[test]
    fn the_json_has_the_promised_fields() {
        let json = serde_json::to_value(example()).expect("JSON");
        assert_eq!(
            json,
            json!({
                "bound": 9, "pending": 1, "pods_per_s": 20.0, "elapsed_s": 0.45,
                "latency_ms": {"p50": 250.0, "p99": 450.0, "max": 450.0},
                "reasons": [{"group": "Deployment default/web", "pods": 1, "reason": "Unschedulable",
                             "message": "0/3 nodes are available: 3 Insufficient cpu."}],
                "missing": 0, "deleted": 0, "ended_pods": 0, "ended": "settled",
                "spread": {
                    "nodes": 3, "pods_per_node": {"min": 0, "median": 3, "max": 6},
                    "zones": [
                        {"zone": "a", "nodes": 2, "pods": 9, "pods_per_node": {"min": 3, "median": 6, "max": 6}},
                        {"zone": "b", "nodes": 1, "pods": 0, "pods_per_node": {"min": 0, "median": 0, "max": 0}},
                    ],
                },
            })
        );
    }

    #[test]
    fn a_moment_has_no_rate() {
        let zero = Instant::now();
        let mut observations = Observations::new(["mine".to_owned()], zero);
        observations.applied(&bound("1", ""), zero);
        observations.applied(&bound("1", "n1"), zero + Duration::from_micros(44));
        let nodes = BTreeMap::from([("n1".to_owned(), String::new())]);
        let summary = Summary::new(&observations, &nodes, Left::default(), Ended::Settled);
        assert_eq!((summary.pods_per_s, summary.elapsed_s), (None, Some(0.0)));
        assert!(summary.to_string().starts_with("1 of 1 pod bound on 1 node\n\n  latency"), "{summary}");
    }

    #[test]
    fn nothing_bound_has_neither_rate_nor_latency() {
        let observations = Observations::new(["mine".to_owned()], Instant::now());
        let summary = Summary::new(&observations, &BTreeMap::new(), Left::default(), Ended::Settled);
        assert_eq!((summary.pods_per_s, summary.latency_ms.p50, summary.latency_ms.p99), (None, None, None));
        assert!(summary.to_string().starts_with("0 of 0 pods bound on 0 nodes\n"));
    }
}
