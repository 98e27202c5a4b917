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
    /// Pods that were bound without asking the guard, while it was deciding.
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
            "Binds that the guard was asked about, by the pod's scheduler and verdict: approved, refused, or why they passed without a decision, malformed where the question could not be understood, overloaded where 64 MiB of questions were being read",
            binds.family(),
        );
        let refused = Labelled::counter(["reason", "first"]);
        registry.register(
            "guard_refused",
            "Binds that the guard refused, by what was missing and the scheduler that had taken it",
            refused.family(),
        );
        let settled = Labelled::counter(["outcome"]);
        registry.register(
            "guard_settled",
            "What became of binds that the guard let through: seen, not carried out, expired",
            settled.family(),
        );
        let answer_duration = buckets(0.000_05, 2.0, 16);
        registry.register(
            "guard_answer_duration_seconds",
            "Time that the guard took for an answer",
            answer_duration.clone(),
        );
        let unseen = Gauge::default();
        registry.register(
            "guard_unseen",
            "Binds that the guard let through and has not seen in its watches yet",
            unseen.clone(),
        );
        let bound_unasked = Counter::default();
        registry.register(
            "guard_bound_unasked",
            "Pods that were bound without the guard having been asked while it decided: the API server does not reach it, or does not ask it; none in the 45 s after a change of leaders",
            bound_unasked.clone(),
        );
        let deciding = Gauge::default();
        registry.register(
            "guard_deciding",
            "Whether the guard decides: 0 where it does not lead, or its caches are not in sync, and it lets everything pass",
            deciding.clone(),
        );
        let certificate_expiry = Gauge::default();
        registry.register(
            "guard_certificate_expiry_seconds",
            "When the certificate that the guard serves with expires, in seconds since 1970",
            certificate_expiry.clone(),
        );
        let connections = Counter::default();
        registry.register(
            "guard_connections",
            "Connections to the guard on which requests could come: over HTTP/1.1, by which API servers reach a Service, more than 25 binds at once open new ones; over HTTP/2 a few are enough",
            connections.clone(),
        );
        let connections_failed = Labelled::counter(["reason"]);
        registry.register(
            "guard_connections_failed",
            "Connections to the guard that failed: tls (the API server may not accept the certificate), timeout, displaced (idle, to make room for another one), limit (none was idle), no-certificate",
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
