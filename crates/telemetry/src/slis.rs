//! The results of the checks behind the probes, for service level indicators: `/metrics/slis`, with the names and labels of Kubernetes' own
//! components (`k8s.io/component-base/metrics/prometheus/slis`).
//!
//! A check is counted each time a probe runs it, so these metrics are driven by the kubelet's probes.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::Labelled;

/// The metrics. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slis {
    registry: Arc<Registry>,
    last: Labelled<Gauge, 2>,
    all: Labelled<Counter, 3>,
}

impl Default for Slis {
    fn default() -> Self {
        let mut registry = Registry::default();
        let last = Labelled::gauge(["name", "type"]);
        registry.register(
            "kubernetes_healthcheck",
            "Whether a check passed (1) or failed (0) the last time a probe ran it, by check and probe",
            last.family(),
        );
        let all = Labelled::counter(["name", "type", "status"]);
        registry.register(
            "kubernetes_healthchecks",
            "Number of checks run by probes, by check, probe and status: success, error",
            all.family(),
        );
        Self { registry: Arc::new(registry), last, all }
    }
}

impl Slis {
    /// Records that a probe (`livez`) ran a check.
    pub(crate) fn observe(&self, check: &str, probe: &str, passed: bool) {
        self.last.get([check, probe]).set(passed.into());
        self.all.get([check, probe, if passed { "success" } else { "error" }]).inc();
    }

    /// As OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        let mut written = String::new();
        text::encode(&mut written, &self.registry).expect("writing to a String does not fail");
        written
    }
}
