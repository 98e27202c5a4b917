//! Measurements, as returned by the endpoints.

use secondmate_framework::model::Quantity;
use secondmate_framework::serde_json::{self, Value};
use secondmate_framework::{ApiResource, PluginObject, Timestamp};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The usage of a node, according to `metrics.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// CPU, in milli-CPU.
    pub milli_cpu: f64,
    /// Memory, in bytes.
    pub memory: f64,
    /// End of the measurement.
    pub at: Timestamp,
}

/// A list of NodeMetrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeUse {
    /// By the node's name.
    pub nodes: BTreeMap<String, Used>,
    /// Entries that could not be understood.
    pub misread: usize,
}

impl PluginObject for NodeUse {
    const API: ApiResource = ApiResource::polled("NodeUse");
}

#[derive(Deserialize)]
struct NodeMetricsList {
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct NodeMetrics {
    metadata: Metadata,
    timestamp: String,
    usage: Usage,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Usage {
    cpu: String,
    memory: String,
}

impl NodeMetrics {
    fn used(&self) -> Option<Used> {
        Some(Used {
            // Milli-CPU is precise enough here: a core is a thousand of them.
            milli_cpu: Quantity::parse(&self.usage.cpu).ok()?.milli_value() as f64,
            memory: Quantity::parse(&self.usage.memory).ok()?.value() as f64,
            at: Timestamp::parse(&self.timestamp)?,
        })
    }
}

impl<'de> Deserialize<'de> for NodeUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut this = Self::default();
        for item in NodeMetricsList::deserialize(deserializer)?.items {
            let node = NodeMetrics::deserialize(item).ok();
            match node.and_then(|node| Some((node.used()?, node.metadata.name))) {
                Some((used, name)) => {
                    this.nodes.insert(name, used);
                }
                None => this.misread += 1,
            }
        }
        Ok(this)
    }
}

impl NodeUse {
    /// The number of entries that do not count, given when the answer arrived.
    #[must_use]
    pub fn left_out(&self, told_at: Timestamp, stale_after: Duration) -> usize {
        self.misread + self.nodes.values().filter(|used| told_at.since(used.at) > stale_after).count()
    }
}

/// One number, and when it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The number; finite.
    pub value: f64,
    /// When.
    pub at: Timestamp,
}

/// Prometheus's answer to a query: a vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// By label name and value.
    by_label: BTreeMap<String, BTreeMap<String, Sample>>,
    ages: Vec<Timestamp>,
    misread: usize,
}

impl PluginObject for Samples {
    const API: ApiResource = ApiResource::polled("PrometheusSamples");
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// Seconds since the epoch, and the number as text.
    value: (f64, String),
}

impl Series {
    fn sample(&self) -> Option<Sample> {
        let value = self.value.1.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some(Sample { value, at: Timestamp::from_millis((self.value.0 * 1000.0) as i64) })
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = Answer::deserialize(deserializer)?;
        let Some(data) = answer.data.filter(|_| answer.status == "success") else {
            return Err(D::Error::custom(format!("Prometheus says: {} {}", answer.status, answer.error)));
        };
        if data.result_type != "vector" {
            return Err(D::Error::custom(format!(
                "the query answers with a {}: write one that answers with a vector",
                data.result_type
            )));
        }
        let series: Vec<Value> = serde_json::from_value(data.result).map_err(D::Error::custom)?;
        let mut this = Self::default();
        for series in series {
            let series = Series::deserialize(series).ok();
            let Some((sample, labels)) = series.and_then(|series| Some((series.sample()?, series.metric)))
            else {
                this.misread += 1;
                continue;
            };
            this.ages.push(sample.at);
            for (label, value) in labels {
                this.by_label.entry(label).or_default().insert(value, sample);
            }
        }
        Ok(this)
    }
}

impl Samples {
    /// The sample of the series that has this value for this label.
    #[must_use]
    pub fn of(&self, label: &str, value: &str) -> Option<Sample> {
        self.by_label.get(label)?.get(value).copied()
    }

    /// The number of samples that do not count, given when the answer arrived.
    #[must_use]
    pub fn left_out(&self, told_at: Timestamp, stale_after: Duration) -> usize {
        self.misread + self.ages.iter().filter(|at| told_at.since(**at) > stale_after).count()
    }
}
