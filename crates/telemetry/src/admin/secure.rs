//! The port with TLS: the client is authenticated and authorized before anything is answered.
//!
//! A client may present a certificate but need not; the handshake only proves that it has the key. What the certificate is worth is up to
//! the gate, as is everything else about the client: this crate knows neither users nor permissions.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// Maximum connections waiting to be accepted.
const BACKLOG: u32 = 128;

/// What protects the port.
#[derive(Clone)]
pub struct Security {
    /// The current TLS configuration, used for new connections.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// Decides who is let in.
    pub gate: Arc<dyn Gate>,
}

/// The parts of a request that determine who may make it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The chain that the client presented, its own certificate first; the client has the key for that one. It has not been verified yet.
    pub certificates: &'a [CertificateDer<'static>],
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub body: Value,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", self.body)).into_response()
    }
}

/// Decides who may ask what.
pub trait Gate: Send + Sync {
    /// Whether the request may be answered.
    ///
    /// # Errors
    /// What to answer instead.
    fn admit<'a>(
        &'a self,
        asked: Asked<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;
}

/// The certificates that the client of a connection presented.
#[derive(Clone)]
pub(super) struct PeerCertificates(Arc<[CertificateDer<'static>]>);

impl PeerCertificates {
    pub fn of(connection: &ServerConnection) -> Self {
        let shown = connection.peer_certificates().unwrap_or_default();
        Self(shown.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }
}

/// The router behind the gate.
pub(super) fn gated(router: Router, gate: Arc<dyn Gate>) -> Router {
    router.layer(from_fn_with_state(gate, admit))
}

async fn admit(
    State(gate): State<Arc<dyn Gate>>,
    Extension(peer): Extension<PeerCertificates>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked {
        method: request.method(),
        path: request.uri().path(),
        headers: request.headers(),
        certificates: &peer.0,
    };
    match gate.admit(asked).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Listens on an address; if the port is shared, other processes of the same user may listen on it too.
pub(super) fn listen(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted process takes its port back even though connections of its predecessor linger.
    socket.set_reuseaddr(true)?;
    if share_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
