//! The arguments.

use secondmate_framework::model::url::{bare, credentials};
use secondmate_framework::serde_json::Value;
use serde::Deserialize;
use std::time::Duration;

/// How nodes are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Strategy {
    /// Nodes whose CPU use comes near to the target are the best; above it they get worse fast.
    #[default]
    TargetLoadPacking,
    /// Nodes whose use of CPU and memory is low and varies little are the best.
    LoadVariationRiskBalancing,
}

/// Queries for Prometheus. Each answers with a vector that has one sample a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Where Prometheus is, such as `http://prometheus.monitoring:9090`. Without a name and password, which logs would show.
    pub url: String,
    /// A file with the authorities (PEM) that are trusted for `https`; by default the system's.
    pub ca_file: Option<String>,
    /// A file with a bearer token.
    pub token_file: Option<String>,
    /// The label that holds the node's name.
    #[serde(default = "node")]
    pub node_label: String,
    /// Used share of the node's CPU, 0 to 1.
    pub cpu: String,
    /// Used share of the node's memory, 0 to 1.
    pub memory: Option<String>,
    /// Standard deviation of the used share of CPU.
    pub cpu_deviation: Option<String>,
    /// Standard deviation of the used share of memory.
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
    /// Asked instead of `metrics.k8s.io`.
    pub prometheus: Option<Prometheus>,
    /// For TargetLoadPacking: the use of CPU up to which nodes are filled, in percent, 1 to 99.
    pub target_utilization: u8,
    /// A pod is expected to use this many times the CPU and memory that it asks for; at least 0.
    pub default_requests_multiplier: f64,
    /// CPU that is expected of a pod that asks for none, in thousandths of a core.
    pub default_milli_cpu: u32,
    /// For LoadVariationRiskBalancing: the weight of the deviation; at least 0.
    pub safe_variance_margin: f64,
    /// For LoadVariationRiskBalancing: the deviation counts with the power of one by this; above 0.
    pub safe_variance_sensitivity: f64,
    /// Between two polls, in seconds; 1 to 3600.
    pub poll_seconds: u32,
    /// A measurement that is older than this, in seconds, counts as none; more than `poll_seconds`.
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
    /// From the `args` of the plugin's `pluginConfig`.
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

    /// Between two polls.
    #[must_use]
    pub fn poll_every(&self) -> Duration {
        Duration::from_secs(self.poll_seconds.into())
    }

    /// Age from which on a measurement counts as none.
    #[must_use]
    pub fn stale_after(&self) -> Duration {
        Duration::from_secs(self.stale_after_seconds.into())
    }
}
