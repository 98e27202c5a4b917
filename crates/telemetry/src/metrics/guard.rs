//! The bind guard's metrics.

use super::family::Labelled;
use super::{Named, buckets};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum number of scheduler names that get their own series. Pods can name any scheduler, so this has to be bounded.
const SCHEDULERS_MAX: usize = 64;

/// What the bind guard counts.
#[derive(Clone, Debug)]
pub struct GuardMetrics {
    /// Time from a request to its answer, in seconds.
    pub answer_duration: Histogram,
    /// Binds that were approved and have not been seen yet.
    pub unseen: Gauge,
    /// Pods that were bound without a request that the guard knows of, while it was deciding.
    pub bound_unasked: Counter,
    /// Whether it decides (1) or lets everything pass (0).
    pub deciding: Gauge,
    /// Connections accepted for requests.
    pub connections: Counter,
    /// When the certificate being served expires, in seconds since 1970.
    pub certificate_expiry: Gauge,
    binds: Labelled<Counter, 2>,
    refused: Labelled<Counter, 2>,
    settled: Labelled<Counter, 1>,
    connections_failed: Labelled<Counter, 1>,
    schedulers: Arc<Mutex<BTreeSet<String>>>,
}

impl GuardMetrics {
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let binds = Labelled::counter(["scheduler", "verdict"]);
        registry.register(
            "guard_binds",
            "Number of binds sent to the guard, by the pod's scheduler and verdict: approved, refused, or why they were allowed without a decision; malformed if the request could not be read or decoded, overloaded if 64 MiB of requests were being read",
            binds.family(),
        );
        let refused = Labelled::counter(["reason", "first"]);
        registry.register(
            "guard_refused",
            "Number of binds that the guard refused, by what was missing and the scheduler that had taken it",
            refused.family(),
        );
        let settled = Labelled::counter(["outcome"]);
        registry.register(
            "guard_settled",
            "Number of binds allowed by the guard that were settled, by outcome: seen, elsewhere, not-carried-out, watch-lags, expired",
            settled.family(),
        );
        let answer_duration = buckets(0.000_05, 2.0, 16);
        registry.register(
            "guard_answer_duration_seconds",
            "Latency in seconds of the guard's responses",
            answer_duration.clone(),
        );
        let unseen = Gauge::default();
        registry.register(
            "guard_unseen",
            "Number of binds that the guard allowed and has not yet seen in its watches",
            unseen.clone(),
        );
        let bound_unasked = Counter::default();
        registry.register(
            "guard_bound_unasked",
            "Number of pods bound without a request that the guard knows of, while it was deciding: usually, the API server cannot reach it or does not call it; rarely, it was called and allowed the bind as unknown-pod, malformed or overloaded, or had given up an approval that was carried out later; not counted for 45 s after a change of leader",
            bound_unasked.clone(),
        );
        let deciding = Gauge::default();
        registry.register(
            "guard_deciding",
            "Whether the guard is deciding; 0 if it is not the leader or its caches are not synced, in which case it allows every bind",
            deciding.clone(),
        );
        let certificate_expiry = Gauge::default();
        registry.register(
            "guard_certificate_expiry_seconds",
            "Expiry of the guard's serving certificate, in seconds since the Unix epoch",
            certificate_expiry.clone(),
        );
        let connections = Counter::default();
        registry.register(
            "guard_connections",
            "Number of connections established to the guard: API servers call webhooks over HTTP/1.1 and keep 25 connections, so more than 25 concurrent binds open new ones",
            connections.clone(),
        );
        let connections_failed = Labelled::counter(["reason"]);
        registry.register(
            "guard_connections_failed",
            "Number of failed connections to the guard, by reason: tls (the API server may not accept the certificate), timeout, displaced (idle, closed to make room for another), limit (none was idle), accept (usually, too many files are open), no-certificate",
            connections_failed.family(),
        );
        Self {
            answer_duration,
            unseen,
            bound_unasked,
            deciding,
            connections,
            certificate_expiry,
            binds,
            refused,
            settled,
            connections_failed,
            schedulers: Arc::default(),
        }
    }

    /// The name itself, or `other` if there are too many names.
    fn scheduler(&self, name: &str) -> String {
        let mut known = self.schedulers.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= SCHEDULERS_MAX {
                return "other".to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }

    /// Binds of pods of this scheduler (empty: unknown) with this verdict.
    pub fn binds(&self, scheduler: &str, verdict: &str) -> Counter {
        self.binds.get([&self.scheduler(scheduler), verdict])
    }

    /// Binds that were refused for this reason, with the scheduler (empty: unknown) that was there first.
    pub fn refused(&self, reason: &str, first: &str) -> Counter {
        self.refused.get([reason, &self.scheduler(first)])
    }

    /// Approved binds with this outcome.
    pub fn settled(&self, outcome: &str) -> Counter {
        self.settled.get([outcome])
    }

    /// Connections that failed for this reason.
    pub fn connections_failed(&self, reason: &str) -> Counter {
        self.connections_failed.get([reason])
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    #[test]
    fn pods_that_make_scheduler_names_up_make_no_series_without_end() {
        let metrics = Metrics::new();
        for n in 0..1000 {
            metrics.guard.binds(&format!("made-up-{n}"), "approved").inc();
        }
        let text = metrics.encode();
        let series = text.lines().filter(|line| line.starts_with("secondmate_guard_binds_total{"));
        assert_eq!(series.count(), super::SCHEDULERS_MAX + 1);
        assert_eq!(metrics.guard.binds("made-up-999", "approved").get(), 1000 - 64);
    }
}
