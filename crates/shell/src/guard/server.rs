//! The HTTPS server that the API server calls.
//!
//! What matters is that no request waits: a bind whose review is not answered in time passes, and is not counted. API servers call webhooks
//! over HTTP/1.1, one request at a time on each connection (over HTTP/2 only on their own loopback address). So connections are accepted at
//! once, from a long backlog; handshakes run concurrently; and connections are kept. Only an instance that does not lead closes a connection
//! after answering on it: the next request should find the leader. Unused connections are not kept either, and when there are too many, the
//! one that has been idle longest makes room.

use super::bodies::{Bodies, BodyError};
use super::connections::{Admitted, Connections, Held, Limits, Slot, keep};
use super::desk::Desk;
use super::review;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use secondmate_telemetry::Metrics;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// The path to which reviews are posted.
pub(super) const PATH: &str = "/bind";
/// Maximum connections waiting to be accepted; the kernel's own limit is 4,096 by default.
const BACKLOG: u32 = 4096;
/// Maximum size of what is read ahead on an HTTP/1.1 connection, so also of the headers of a request. An API server sends less than 1 KiB of
/// them; hyper would keep 400 KiB for each connection that never ends its headers.
const HEADERS_MAX: usize = 16 << 10;
/// Maximum concurrent requests on one HTTP/2 connection. A client with more opens another one.
const STREAMS_MAX: u32 = 100;
/// How much a connection, and one request on it, may send ahead of what has been read: both are kept in memory.
const CONNECTION_WINDOW: u32 = 128 << 10;
const STREAM_WINDOW: u32 = 64 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, most likely because file descriptors ran out: by then, the one that makes room is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The ALPN name of HTTP/2.
const HTTP2: &[u8] = b"h2";
/// The protocols offered in ALPN.
pub(super) const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// Listens on an address.
///
/// # Errors
/// The address is not available.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Lets a restarted guard take its port back even though connections of its predecessor linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until dropped. `tls` is `None` until there is a certificate, and changes with it; open connections keep theirs.
pub(super) async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    desk: Desk,
    metrics: Metrics,
    limits: Limits,
) {
    let mut served = JoinSet::new();
    let mut connections = Connections::new(limits);
    let bodies = Bodies::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                metrics.guard.connections_failed("accept").inc();
                // Otherwise the client is gone, and the next one may be here.
                if !is_about_the_client(&error) {
                    warn!(%error, "cannot accept a connection for the bind guard");
                    if connections.make_room() {
                        metrics.guard.connections_failed("displaced").inc();
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        while served.try_join_next().is_some() {}
        let Some(config) = tls.borrow().clone() else {
            metrics.guard.connections_failed("no-certificate").inc();
            continue;
        };
        let Some(Admitted { slot, displaces }) = connections.admit() else {
            metrics.guard.connections_failed("limit").inc();
            continue;
        };
        if displaces {
            metrics.guard.connections_failed("displaced").inc();
        }
        let asked = Asked { desk: desk.clone(), bodies: bodies.clone() };
        served.spawn(connection(stream, config, asked, metrics.clone(), slot));
    }
}

/// Whether a connection could not be accepted because of its other end, rather than for lack of file descriptors or memory.
fn is_about_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What answers requests, and what reads their bodies.
#[derive(Clone)]
struct Asked {
    desk: Desk,
    bodies: Bodies,
}

async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    asked: Asked,
    metrics: Metrics,
    slot: Slot,
) {
    let held = &slot.held;
    // Answers are small and wanted at once. A socket on which this fails is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(config).accept(stream);
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, handshake) => shaken,
        () = held.displaced() => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            metrics.guard.connections_failed("tls").inc();
            // A TLS alert: the client did not accept what it was shown.
            warn!(
                "a connection to the bind guard failed: {error}; if it came from the API server, it does not accept the certificate, and binds pass unseen: compare the webhook's caBundle, its host name and the dates"
            );
            return;
        }
        Err(_) => {
            metrics.guard.connections_failed("timeout").inc();
            return;
        }
    };
    metrics.guard.connections.inc();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let leading = asked.desk.leading();
    let used = Arc::clone(held);
    let service = service_fn(move |request| {
        let (asked, held) = (asked.clone(), Arc::clone(&used));
        async move { Ok::<_, Infallible>(answer(&asked, request, &held).await) }
    });
    let stream = TokioIo::new(stream);
    let result = if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .serve_connection(stream, service);
        keep(connection, http2::Connection::graceful_shutdown, leading, held).await
    } else {
        // A client that does not finish its headers counts as idle.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEADERS_MAX)
            .serve_connection(stream, service);
        keep(connection, http1::Connection::graceful_shutdown, leading, held).await
    };
    if let Err(error) = result {
        debug!(%error, "a connection to the bind guard ended");
    }
}

/// Answers a request. If this instance does not lead, the client is made to reconnect, so that it finds the one that does.
async fn answer(asked: &Asked, request: Request<Incoming>, held: &Arc<Held>) -> Response<Full<Bytes>> {
    let (version, _busy) = (request.version(), held.begin());
    let mut response = reply_to(asked, request).await;
    if !asked.desk.leading().may_write() {
        held.elsewhere();
        if version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

async fn reply_to(Asked { desk, bodies }: &Asked, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return text(StatusCode::NOT_FOUND, format!("not found; reviews of bindings are posted to {PATH}\n"));
    }
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "post an AdmissionReview\n".to_owned());
    }
    let body = match bodies.read(request.into_body()).await {
        Ok(body) => body,
        Err(error) => {
            let status = match error {
                BodyError::Full => StatusCode::SERVICE_UNAVAILABLE,
                BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                BodyError::TooLong | BodyError::Broken(_) => StatusCode::PAYLOAD_TOO_LARGE,
            };
            match error {
                BodyError::Full => desk.overloaded(),
                _ => desk.malformed(&error.to_string()),
            }
            return text(status, format!("{error}\n"));
        }
    };
    let asked = review::read(&body.bytes);
    // From here on it counts as one of the binds being decided, not as a body.
    drop(body);
    match asked {
        Ok(asked) => {
            let verdict = desk.decide(&asked).await;
            reply(StatusCode::OK, "application/json", review::answer(&asked, &verdict).into())
        }
        Err(error) => {
            desk.malformed(&error);
            text(StatusCode::BAD_REQUEST, format!("{error}\n"))
        }
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", text.into())
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
