//! The HTTP front end: connections, bodies, and the way from a request to its handler.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::discovery::{self, Answer};
use crate::error::ApiError;
use crate::faults::Plan;
use crate::handlers;
use crate::kubelet;
use crate::reply::{Reply, full, json, refusal};
use crate::request::{self, ApiRequest, Route};
use crate::server::{Server, until_down};
use crate::webhooks;

/// Upstream rejects larger bodies too.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// An idle connection is closed after this: longer than the clients keep one in their pools.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// A client that takes longer to send a body is considered gone.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection is closed without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed by a fault")]
pub(crate) struct Hangup;

/// Accepts connections until shutdown, then waits for the open ones, for a limited time.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>, mut shutdown: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&server), shutdown.clone()));
                }
                // Most likely out of file descriptors, until others are closed.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = until_down(&mut shutdown) => break,
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Requests in a black hole do not end by themselves.
    if tokio::time::timeout(Duration::from_secs(2), drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>, mut shutdown: watch::Receiver<bool>) {
    // Watch events are small and must be sent at once. A socket that rejects this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { handle(&server, request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = until_down(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

async fn handle(server: &Arc<Server>, request: Request<Incoming>) -> Result<Reply, Hangup> {
    let (parts, body) = request.into_parts();
    match request::route(&parts.method, &parts.uri) {
        Route::Path(path) => Ok(match discovery::answer(&path, &server.version) {
            Ok(Answer::Json(value)) => json(StatusCode::OK, &value),
            Ok(Answer::Text(text)) => full(StatusCode::OK, "text/plain", Bytes::from_static(text.as_bytes())),
            Ok(Answer::Protobuf(bytes)) => full(
                StatusCode::OK,
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                Bytes::from_static(bytes),
            ),
            Err(error) => refusal(&error),
        }),
        Route::Container { namespace, pod, what } => {
            Ok(refusal(&kubelet::of_container(&server.api, &namespace, &pod, &what)))
        }
        Route::NoVerb => Ok(refusal(&ApiError::no_such_method())),
        Route::Api(request) => api(server, request, &parts.headers, body).await,
    }
}

/// A request for a resource: faults first, then the handler, then faults again.
async fn api(
    server: &Arc<Server>,
    request: ApiRequest,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Hangup> {
    let class = request.class();
    let mut plan = server.faults.plan(&class);
    let mut quiesced = server.faults.subscribe_quiesced();
    if plan.black_hole {
        server.history.record_request(class, 0);
        // The end of the faults, or of the connection, ends this.
        let _ = quiesced.changed().await;
        return Err(Hangup);
    }
    if !plan.delay.is_zero() {
        let _ = tokio::time::timeout(plan.delay, quiesced.changed()).await;
    }
    if plan.lose_request {
        server.history.record_request(class, 0);
        return Err(Hangup);
    }
    let reply = match plan.refuse.take() {
        Some(error) => refusal(&error),
        None => answer(server, &request, headers, body, &plan).await,
    };
    if plan.lose_answer {
        server.history.record_request(class, 0);
        return Err(Hangup);
    }
    server.history.record_request(class, reply.status().as_u16());
    Ok(reply)
}

async fn answer(
    server: &Arc<Server>,
    request: &ApiRequest,
    headers: &HeaderMap,
    body: Incoming,
    plan: &Plan,
) -> Reply {
    let reply = async {
        server.access.check(&request.class(), &request.namespace, &request.name)?;
        let body = read_body(body).await?;
        webhooks::review(&server.webhooks, &server.api, request, &body).await?;
        handlers::answer(server, request, headers, &body, plan)
    };
    reply.await.unwrap_or_else(|error: ApiError| refusal(&error))
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    if http_body::Body::is_end_stream(&body) {
        return Ok(Bytes::new());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("cannot read the body of the request: {error}"))),
        Err(_) => Err(ApiError::new(408, "Timeout", "Timeout: the body of the request did not arrive")),
    }
}
