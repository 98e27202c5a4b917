//! Endpoints that are polled for plugins.

use super::{Labelled, Named};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics of all polls.
#[derive(Clone, Debug)]
pub struct PollMetrics {
    polls: Labelled<Counter, 3>,
    expired: Labelled<Gauge, 2>,
    left_out: Labelled<Gauge, 2>,
}

impl PollMetrics {
    /// Registers them among secondmate's own metrics.
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let polls = Labelled::counter(["kind", "name", "result"]);
        registry.register(
            "polls",
            "Requests to the endpoint of a plugin, by the kind and name of what it answers and result (ok, error, timeout; undecodable: an answer that the plugin does not understand)",
            polls.family(),
        );
        let expired = Labelled::gauge(["kind", "name"]);
        registry.register(
            "poll_expired",
            "Whether the plugin has no answer of its endpoint, as none has come for so long that the last one no longer counts, by kind and name",
            expired.family(),
        );
        let left_out = Labelled::gauge(["kind", "name"]);
        registry.register(
            "poll_left_out",
            "Parts of the last answer of a plugin's endpoint that the plugin leaves out, such as measurements that are too old, by kind and name",
            left_out.family(),
        );
        Self { polls, expired, left_out }
    }

    /// Requests with this result: `ok`, `error`, `timeout` or `undecodable`.
    pub fn polls(&self, kind: &str, name: &str, result: &str) -> Counter {
        self.polls.get([kind, name, result])
    }

    /// 1 while there is no valid answer.
    pub fn expired(&self, kind: &str, name: &str) -> Gauge {
        self.expired.get([kind, name])
    }

    /// Parts of the last answer that are not used.
    pub fn left_out(&self, kind: &str, name: &str) -> Gauge {
        self.left_out.get([kind, name])
    }
}
