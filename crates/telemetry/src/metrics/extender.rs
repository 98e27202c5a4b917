//! Calls of HTTP extenders.

use super::{Labelled, Named, buckets};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// The metrics of all extenders.
#[derive(Clone, Debug)]
pub struct ExtenderMetrics {
    calls: Labelled<Counter, 3>,
    duration: Labelled<Histogram, 2>,
    suspended: Labelled<Gauge, 1>,
}

impl ExtenderMetrics {
    /// Registers them among secondmate's own metrics.
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let calls = Labelled::counter(["extender", "verb", "result"]);
        registry.register(
            "extender_calls",
            "Number of calls to HTTP extenders, by URL prefix, verb (filter, prioritize, preempt, bind) and result (ok, error; skipped: not sent because the extender keeps failing)",
            calls.family(),
        );
        let duration = Labelled::histogram(["extender", "verb"], || buckets(0.0005, 2.0, 16));
        registry.register(
            "extender_call_duration_seconds",
            "Latency in seconds of calls to HTTP extenders, up to the end of the response, by URL prefix and verb",
            duration.family(),
        );
        let suspended = Labelled::gauge(["extender"]);
        registry.register(
            "extender_suspended",
            "Whether an ignorable HTTP extender is not called because it keeps failing, by URL prefix",
            suspended.family(),
        );
        Self { calls, duration, suspended }
    }

    /// Calls with this result: `ok`, `error` or `skipped`.
    pub fn calls(&self, extender: &str, verb: &str, result: &str) -> Counter {
        self.calls.get([extender, verb, result])
    }

    /// Duration of calls.
    pub fn duration(&self, extender: &str, verb: &str) -> Histogram {
        self.duration.get([extender, verb])
    }

    /// 1 while the extender is suspended.
    pub fn suspended(&self, extender: &str) -> Gauge {
        self.suspended.get([extender])
    }
}
