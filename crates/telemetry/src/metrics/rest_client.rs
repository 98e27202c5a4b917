//! Requests to the API server, under client-go's names.

use super::Labelled;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// client-go's buckets for durations.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// client-go's buckets for sizes: 64 bytes to 16 MiB.
const BYTES: [f64; 11] = [
    64.0,
    256.0,
    512.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// The metrics of all API server clients.
#[derive(Clone, Debug)]
pub struct RestClientMetrics {
    requests: Labelled<Counter, 3>,
    retries: Labelled<Counter, 3>,
    duration: Labelled<Histogram, 2>,
    rate_limiter: Labelled<Histogram, 2>,
    request_size: Labelled<Histogram, 2>,
    response_size: Labelled<Histogram, 2>,
}

impl RestClientMetrics {
    /// Registers them, and adds their names.
    pub(super) fn register(root: &mut Registry, names: &mut Vec<String>) -> Self {
        let seconds = || Labelled::histogram(["verb", "host"], || Histogram::new(SECONDS));
        let bytes = || Labelled::histogram(["verb", "host"], || Histogram::new(BYTES));
        let requests = Labelled::counter(["code", "method", "host"]);
        let retries = Labelled::counter(["code", "verb", "host"]);
        let (duration, rate_limiter) = (seconds(), seconds());
        let (request_size, response_size) = (bytes(), bytes());
        let counters = [
            (
                "rest_client_requests",
                "Number of requests to the API server, by status (<error>: no response), method and host",
                &requests,
            ),
            (
                "rest_client_request_retries",
                "Number of retried requests to the API server, by the previous result (a status, or <error>), method and host",
                &retries,
            ),
        ];
        for (name, help, metric) in counters {
            names.push(name.to_owned());
            root.register(name, help, metric.family());
        }
        let histograms = [
            (
                "rest_client_request_duration_seconds",
                "Latency in seconds of requests to the API server, up to the response headers, by method and host",
                &duration,
            ),
            (
                "rest_client_rate_limiter_duration_seconds",
                "Duration in seconds that writes waited for the client-side rate limit (qps and burst in clientConnection), if one is set, by method and host",
                &rate_limiter,
            ),
            (
                "rest_client_request_size_bytes",
                "Size in bytes of request bodies sent to the API server, for requests that have one, by method and host",
                &request_size,
            ),
            (
                "rest_client_response_size_bytes",
                "Size in bytes of response bodies from the API server, excluding watches, by method and host",
                &response_size,
            ),
        ];
        for (name, help, metric) in histograms {
            names.push(name.to_owned());
            root.register(name, help, metric.family());
        }
        Self { requests, retries, duration, rate_limiter, request_size, response_size }
    }

    /// Requests with this status (or `<error>`) and method.
    pub fn requests(&self, code: &str, method: &str, host: &str) -> Counter {
        self.requests.get([code, method, host])
    }

    /// Requests that were retried after this status (or `<error>`).
    pub fn retries(&self, code: &str, verb: &str, host: &str) -> Counter {
        self.retries.get([code, verb, host])
    }

    /// Time up to the head of the answer.
    pub fn duration(&self, verb: &str, host: &str) -> Histogram {
        self.duration.get([verb, host])
    }

    /// Time spent waiting for the rate limit.
    pub fn rate_limiter(&self, verb: &str, host: &str) -> Histogram {
        self.rate_limiter.get([verb, host])
    }

    /// Size of request bodies.
    pub fn request_size(&self, verb: &str, host: &str) -> Histogram {
        self.request_size.get([verb, host])
    }

    /// Size of response bodies.
    pub fn response_size(&self, verb: &str, host: &str) -> Histogram {
        self.response_size.get([verb, host])
    }
}
