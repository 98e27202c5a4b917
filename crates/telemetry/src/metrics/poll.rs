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
            "Number of requests to a plugin's endpoint, by kind and name of the plugin's data and by result (ok, error, timeout; undecodable: the plugin cannot decode the response)",
            polls.family(),
        );
        let expired = Labelled::gauge(["kind", "name"]);
        registry.register(
            "poll_expired",
            "Whether a plugin's endpoint has not responded for so long that the last response is no longer used, by kind and name",
            expired.family(),
        );
        let left_out = Labelled::gauge(["kind", "name"]);
        registry.register(
            "poll_left_out",
            "Number of items in the last response of a plugin's endpoint that the plugin ignores, such as measurements that are too old, by kind and name",
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
