//! Every request to the API server, counted and timed under client-go's names, and told at `-v 6`.

use http::{Request, Response};
use secondmate_telemetry::Metrics;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};
use tracing::trace;

/// What client-go puts where a status would stand, when no answer came.
const NO_ANSWER: &str = "<error>";

/// Measures the requests of a client to one host.
#[derive(Clone)]
pub(crate) struct MeasureRequests {
    metrics: Metrics,
    host: Arc<str>,
}

impl MeasureRequests {
    pub fn new(metrics: Metrics, host: &str) -> Self {
        Self { metrics, host: host.into() }
    }
}

impl<S> Layer<S> for MeasureRequests {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, measure: self.clone() }
    }
}

/// A client whose requests are measured.
#[derive(Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    measure: MeasureRequests,
}

impl<S, B, R> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let MeasureRequests { metrics, host } = self.measure.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let began = Instant::now();
            let answer = answer.await;
            // Up to the head of the answer, as client-go: a watch does not take as long as it lasts.
            let took = began.elapsed();
            let status = answer.as_ref().ok().map(Response::status);
            let code = status.as_ref().map_or(NO_ANSWER, http::StatusCode::as_str);
            metrics.rest_client_requests(code, method.as_str(), &host).inc();
            metrics.rest_client_request_duration(method.as_str(), &host).observe(took.as_secs_f64());
            trace!(%method, path = uri.path_and_query().map_or("", |path| path.as_str()), code, took_ms = took.as_micros() as f64 / 1e3, "API request");
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::service_fn;

    #[tokio::test]
    async fn answers_are_counted_by_status_and_those_that_never_came_as_such() {
        let metrics = Metrics::new();
        let inner = service_fn(|request: Request<()>| async move {
            match request.uri().path() {
                "/lost" => Err("reset"),
                _ => Ok(Response::builder().status(409).body(()).expect("a response")),
            }
        });
        let mut client = MeasureRequests::new(metrics.clone(), "api:6443").layer(inner);
        for path in ["/a", "/b", "/lost"] {
            let request = Request::post(path).body(()).expect("a request");
            let _ = client.call(request).await;
        }
        let text = metrics.encode();
        for expected in [
            "rest_client_requests_total{code=\"409\",method=\"POST\",host=\"api:6443\"} 2",
            "rest_client_requests_total{code=\"<error>\",method=\"POST\",host=\"api:6443\"} 1",
            "rest_client_request_duration_seconds_count{verb=\"POST\",host=\"api:6443\"} 3",
        ] {
            assert!(text.lines().any(|line| line == expected), "missing: {expected}\n{text}");
        }
    }
}
