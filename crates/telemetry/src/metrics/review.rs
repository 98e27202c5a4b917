//! What the API server is asked about clients of the HTTPS port: who a token belongs to (`authn`), and what a user may do (`authz`).

use super::Labelled;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// As in `k8s.io/apiserver`.
const SECONDS: [f64; 8] = [0.25, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0];

/// The metrics of one kind of review.
#[derive(Clone, Debug)]
pub struct ReviewMetrics {
    requests: Labelled<Counter, 1>,
    duration: Labelled<Histogram, 1>,
}

impl ReviewMetrics {
    /// Registers those of one kind, and adds their names.
    pub(super) fn register(root: &mut Registry, names: &mut Vec<String>, kind: &str, review: &str) -> Self {
        let requests = Labelled::counter(["code"]);
        let name = format!("apiserver_delegated_{kind}_request");
        let help =
            format!("Number of {review}s requested from the API server, by status (<error>: no response)");
        root.register(&name, help, requests.family());
        names.push(name.clone());
        let duration = Labelled::histogram(["code"], || Histogram::new(SECONDS));
        let name = format!("{name}_duration_seconds");
        let help =
            format!("Latency in seconds of a {review} by the API server, by status (<error>: no response)");
        root.register(&name, help, duration.family());
        names.push(name);
        Self { requests, duration }
    }

    /// Records that the API server answered with this status, or not at all (`<error>`).
    pub fn answered(&self, code: &str, took: Duration) {
        self.requests.get([code]).inc();
        self.duration.get([code]).observe(took.as_secs_f64());
    }
}
