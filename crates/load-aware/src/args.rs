//! The arguments.

use secondmate_framework::model::url::{bare, credentials};
use secondmate_framework::serde_json::Value;
use serde::Deserialize;
use std::time::Duration;

/// How nodes are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Strategy {
    /// Prefers nodes whose CPU usage comes close to the target; above it the score falls quickly.
    #[default]
    TargetLoadPacking,
    /// Prefers nodes whose CPU and memory usage is low and varies little.
    LoadVariationRiskBalancing,
}

/// Queries for Prometheus. Each returns a vector with one sample per node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// The URL of Prometheus, such as `http://prometheus.monitoring:9090`. Must not contain a user name or password, which would appear in
    /// logs.
    pub url: String,
    /// A file with the certificate authorities (PEM) to trust for `https`; by default the system's.
    pub ca_file: Option<String>,
    /// A file with a bearer token.
    pub token_file: Option<String>,
    /// The label that contains the node's name.
    #[serde(default = "node")]
    pub node_label: String,
    /// Used fraction of the node's CPU, 0 to 1.
    pub cpu: String,
    /// Used fraction of the node's memory, 0 to 1.
    pub memory: Option<String>,
    /// Standard deviation of the used fraction of CPU.
    pub cpu_deviation: Option<String>,
    /// Standard deviation of the used fraction of memory.
    pub memory_deviation: Option<String>,
}

fn node() -> String {
    "node".to_owned()
}

/// The arguments in `pluginConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadAwareArgs {
    /// How nodes are preferred.
    pub strategy: Strategy,
    /// Queried instead of `metrics.k8s.io`.
    pub prometheus: Option<Prometheus>,
    /// For TargetLoadPacking: the CPU usage up to which nodes are filled, in percent, 1 to 99.
    pub target_utilization: u8,
    /// A pod is expected to use its CPU and memory requests multiplied by this; at least 0.
    pub default_requests_multiplier: f64,
    /// CPU that a pod without a CPU request is expected to use, in milli-CPU.
    pub default_milli_cpu: u32,
    /// For LoadVariationRiskBalancing: the weight of the deviation; at least 0.
    pub safe_variance_margin: f64,
    /// For LoadVariationRiskBalancing: the deviation is raised to the power of 1 divided by this; above 0.
    pub safe_variance_sensitivity: f64,
    /// Interval between two polls, in seconds; 1 to 3600.
    pub poll_seconds: u32,
    /// A measurement older than this, in seconds, does not count; must be more than `poll_seconds`.
    pub stale_after_seconds: u32,
}

impl Default for LoadAwareArgs {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            prometheus: None,
            target_utilization: 40,
            default_requests_multiplier: 1.5,
            default_milli_cpu: 1000,
            safe_variance_margin: 1.0,
            safe_variance_sensitivity: 1.0,
            poll_seconds: 15,
            stale_after_seconds: 180,
        }
    }
}

impl LoadAwareArgs {
    /// Reads the `args` of the plugin's `pluginConfig`.
    ///
    /// # Errors
    /// An argument is unknown or out of range.
    pub fn read(args: &Value) -> Result<Self, String> {
        if args.is_null() {
            return Ok(Self::default());
        }
        let args = Self::deserialize(args).map_err(|error| error.to_string())?;
        args.check()?;
        Ok(args)
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, given: f64, least: f64, most: f64| {
            if given >= least && given <= most {
                return Ok(());
            }
            Err(format!("{name}: {given} is not {least} to {most}"))
        };
        within("targetUtilization", self.target_utilization.into(), 1.0, 99.0)?;
        within("defaultRequestsMultiplier", self.default_requests_multiplier, 0.0, 1000.0)?;
        within("safeVarianceMargin", self.safe_variance_margin, 0.0, 1000.0)?;
        within("safeVarianceSensitivity", self.safe_variance_sensitivity, 0.01, 1000.0)?;
        within("pollSeconds", self.poll_seconds.into(), 1.0, 3600.0)?;
        if self.stale_after_seconds <= self.poll_seconds {
            return Err(format!(
                "staleAfterSeconds: {} is not more than pollSeconds ({})",
                self.stale_after_seconds, self.poll_seconds
            ));
        }
        let Some(Prometheus { url, .. }) = &self.prometheus else { return Ok(()) };
        if !url.starts_with("http") {
            return Err(format!("prometheus.url: {:?} does not begin with http:// or https://", bare(url)));
        }
        if credentials(url).is_some() {
            return Err(
                "prometheus.url: a name or password in it would be shown in logs; give a bearer token in a file (prometheus.tokenFile)"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Interval between two polls.
    #[must_use]
    pub fn poll_every(&self) -> Duration {
        Duration::from_secs(self.poll_seconds.into())
    }

    /// Age from which a measurement no longer counts.
    #[must_use]
    pub fn stale_after(&self) -> Duration {
        Duration::from_secs(self.stale_after_seconds.into())
    }
}
