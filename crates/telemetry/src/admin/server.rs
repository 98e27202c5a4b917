//! Connections: how many there may be, how long they last, and which is closed when there are too many.
//!
//! No client can keep others out. A connection serves one request and then closes, and its lifetime is limited; if there are too many, from
//! one peer or in total, the oldest connection of the peer that has the most is closed to make room for the newcomer. A client that sends
//! its request at once, as a probe does, is answered long before its connection is the oldest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::secure::PeerCertificates;
use crate::metrics::Labelled;
use prometheus_client::metrics::counter::Counter;

/// Maximum concurrent connections.
pub const MAX_CONNECTIONS: usize = 64;
/// Maximum concurrent connections per peer (by address).
pub const MAX_CONNECTIONS_PER_PEER: usize = 16;
/// Maximum time until the head of a request has arrived.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request, and of what is read ahead.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause after a connection could not be accepted, most likely because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What is served, and within which limits.
pub(super) struct Server {
    pub router: Router,
    /// Maximum time from the start of the connection to the last byte of the answer.
    pub lifetime: Duration,
    /// Connections closed because of a limit, by `reason`.
    pub closed: Labelled<Counter, 1>,
    /// The current TLS configuration; `None`: plain HTTP.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
}

/// A connection that is open, or has just ended.
struct Open {
    peer: IpAddr,
    task: AbortHandle,
}

impl Server {
    /// Serves until cancelled.
    pub async fn serve(self, listener: TcpListener, cancel: CancellationToken) {
        // Dropped at the end, together with all connections.
        let mut tasks = JoinSet::new();
        // In order of arrival.
        let mut open: Vec<Open> = Vec::with_capacity(MAX_CONNECTIONS);
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            while tasks.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    self.make_room(&mut open, peer);
                    open.push(Open { peer, task: tasks.spawn(self.connection(stream)) });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for health and metrics");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes a connection if there are too many for one more of this peer.
    fn make_room(&self, open: &mut Vec<Open>, peer: IpAddr) {
        open.retain(|connection| !connection.task.is_finished());
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for connection in &*open {
            *counts.entry(connection.peer).or_default() += 1;
        }
        let (whose, reason) = if counts.get(&peer).is_some_and(|count| *count >= MAX_CONNECTIONS_PER_PEER) {
            (Some(peer), "peer_limit")
        } else if open.len() >= MAX_CONNECTIONS {
            (counts.into_iter().max_by_key(|(_, count)| *count).map(|(peer, _)| peer), "limit")
        } else {
            return;
        };
        if let Some(oldest) = open.iter().position(|connection| Some(connection.peer) == whose) {
            open.remove(oldest).task.abort();
            self.closed.get([reason]).inc();
        }
    }

    pub fn connection<S>(&self, stream: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (lifetime, timed_out) = (self.lifetime, self.closed.get(["timeout"]));
        let (router, tls) = (self.router.clone(), self.tls.as_ref().map(|tls| Arc::clone(&tls.borrow())));
        let served = async move {
            let Some(config) = tls else { return http(TokioIo::new(stream), router, lifetime).await };
            match timeout(HEAD_TIMEOUT.min(lifetime), TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => {
                    let peer = PeerCertificates::of(stream.get_ref().1);
                    http(TokioIo::new(stream), router.layer(Extension(peer)), lifetime).await
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    Ended::InTime
                }
                Err(_) => Ended::TooLate,
            }
        };
        async move {
            if matches!(timeout(lifetime, served).await, Ok(Ended::TooLate) | Err(_)) {
                timed_out.inc();
            }
        }
    }
}

/// How a connection ended.
enum Ended {
    InTime,
    /// A time limit was reached.
    TooLate,
}

async fn http(stream: impl Read + Write + Unpin, router: Router, lifetime: Duration) -> Ended {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT.min(lifetime))
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(stream, TowerToHyperService::new(router));
    match connection.await {
        Ok(()) => Ended::InTime,
        Err(error) if error.is_timeout() => Ended::TooLate,
        Err(error) => {
            tracing::trace!(%error, "connection for health and metrics ended");
            Ended::InTime
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Without a limit, each of them would stay open for ever.
    #[tokio::test]
    async fn a_connection_does_not_outlive_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let closed = Labelled::counter(["reason"]);
        let large = "x".repeat(64 << 20);
        let router = Router::new()
            .route("/never", axum::routing::get(std::future::pending::<()>))
            .route("/large", axum::routing::get(async move || large.clone()));
        let server =
            Server { router, lifetime: Duration::from_millis(50), closed: closed.clone(), tls: None };
        tokio::spawn(server.serve(listener, CancellationToken::new()));
        for sent in [
            "",
            "GET /never HT",
            "GET /never HTTP/1.1\r\nHost: x\r\n",
            "GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let before = closed.get(["timeout"]).get();
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(sent.as_bytes()).await.expect("sent");
            // The answer to the last request is not read until the connection is gone.
            while closed.get(["timeout"]).get() == before {
                tokio::task::yield_now().await;
            }
            let mut answer = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.len() < 64 << 20, "{sent:?}");
        }
    }
}
