//! Counts, times and measures every request to the API server under client-go's names, and logs it at `-v 6`.

use bytes::{Buf, Bytes};
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, SizeHint};
use secondmate_telemetry::{Histogram, Metrics};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};
use tracing::trace;

/// What client-go uses in place of a status if no answer came.
pub(crate) const NO_ANSWER: &str = "<error>";

/// The host of an API server, as it appears in metrics.
pub(crate) fn server_host(server: &Uri) -> &str {
    server.authority().map_or("", |authority| authority.as_str())
}

/// Measures the requests of a client to one host.
#[derive(Clone)]
pub(crate) struct MeasureRequests {
    /// Shared, because every request needs it, and copying all metrics means incrementing a hundred reference counts.
    shared: Arc<(Metrics, Box<str>)>,
}

impl MeasureRequests {
    pub fn new(metrics: Metrics, host: &str) -> Self {
        Self { shared: Arc::new((metrics, host.into())) }
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
    B: Body,
    R: Body<Data = Bytes> + Unpin,
{
    type Response = Response<Counted<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let shared = Arc::clone(&self.measure.shared);
        if let Some(size @ 1..) = request.body().size_hint().exact() {
            let (metrics, host) = &*shared;
            metrics.rest_client.request_size(method.as_str(), host).observe(size as f64);
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let began = Instant::now();
            let answer = answer.await;
            // Up to the head of the answer, as in client-go, so that a watch is not timed for as long as it lasts.
            let took = began.elapsed();
            let status = answer.as_ref().ok().map(Response::status);
            let code = status.as_ref().map_or(NO_ANSWER, http::StatusCode::as_str);
            let (metrics, host) = &*shared;
            metrics.rest_client.requests(code, method.as_str(), host).inc();
            metrics.rest_client.duration(method.as_str(), host).observe(took.as_secs_f64());
            trace!(%method, path = uri.path_and_query().map_or("", |path| path.as_str()), code, took_ms = took.as_micros() as f64 / 1e3, "API request");
            let size = (!is_watch(&uri)).then(|| metrics.rest_client.response_size(method.as_str(), host));
            answer.map(|answer| answer.map(|body| Counted { inner: body, bytes: 0, size }))
        })
    }
}

/// Whether the answer is open-ended, and so has no size.
fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| matches!(part, "watch=true" | "watch=1")))
}

/// A body whose size is recorded at its end.
pub(crate) struct Counted<R> {
    inner: R,
    bytes: usize,
    size: Option<Histogram>,
}

impl<R: Body<Data = Bytes> + Unpin> Body for Counted<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Buf::remaining);
            }
            Poll::Ready(None) => {
                if let Some(size) = self.size.take() {
                    size.observe(self.bytes as f64);
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use tower::service_fn;

    #[tokio::test]
    async fn answers_are_counted_by_status_and_those_that_never_came_as_such() {
        let metrics = Metrics::new();
        let inner = service_fn(|request: Request<Full<Bytes>>| async move {
            match request.uri().path() {
                "/lost" => Err("reset"),
                _ => {
                    let body = Full::new(Bytes::from_static(b"0123456789"));
                    Ok(Response::builder().status(409).body(body).expect("a response"))
                }
            }
        });
        let mut client = MeasureRequests::new(metrics.clone(), "api:6443").layer(inner);
        for (path, body) in [("/a", "abc"), ("/b", ""), ("/c?x=1&watch=true", ""), ("/lost", "")] {
            let request = Request::post(path).body(Full::new(Bytes::from_static(body.as_bytes())));
            if let Ok(answer) = client.call(request.expect("a request")).await {
                let body = answer.into_body().collect().await.expect("a body");
                assert_eq!(body.to_bytes().len(), 10);
            }
        }
        let text = metrics.encode();
        for expected in [
            "rest_client_requests_total{code=\"409\",method=\"POST\",host=\"api:6443\"} 3",
            "rest_client_requests_total{code=\"<error>\",method=\"POST\",host=\"api:6443\"} 1",
            "rest_client_request_duration_seconds_count{verb=\"POST\",host=\"api:6443\"} 4",
            // Of the one request that has a body, and of the answers that arrived, except the watch's.
            "rest_client_request_size_bytes_sum{verb=\"POST\",host=\"api:6443\"} 3.0",
            "rest_client_request_size_bytes_count{verb=\"POST\",host=\"api:6443\"} 1",
            "rest_client_response_size_bytes_sum{verb=\"POST\",host=\"api:6443\"} 20.0",
        ] {
            assert!(text.lines().any(|line| line == expected), "missing: {expected}\n{text}");
        }
    }
}
