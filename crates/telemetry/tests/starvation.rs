//! Probes are answered even though other clients are silent, slow or greedy.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use secondmate_telemetry::admin::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER};
use secondmate_telemetry::{Admin, Asked, DebugResponse, Gate, Metrics, Refusal, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Less than the time after which a silent connection is closed, and far more than an answer takes: this distinguishes being served from
/// waiting until others are gone.
const HANG: Duration = Duration::from_secs(8);

const SELF: Ipv4Addr = Ipv4Addr::LOCALHOST;

struct Port {
    admin: Admin,
    address: SocketAddr,
    debug: SocketAddr,
}

impl Port {
    async fn open() -> Self {
        let admin = Admin::new(Metrics::new());
        let any = SocketAddr::from((SELF, 0));
        let listener = Admin::listen(any).await.expect("a free port");
        let debug_listener = Admin::listen_debug(any).await.expect("a free port");
        let (address, debug) =
            (listener.local_addr().expect("bound"), debug_listener.local_addr().expect("bound"));
        tokio::spawn(admin.clone().serve(listener, CancellationToken::new()));
        tokio::spawn(admin.clone().serve_debug(debug_listener, CancellationToken::new()));
        Self { admin, address, debug }
    }

    /// The probe is answered, even for a client with the same address as the others.
    async fn assert_alive(&self) {
        for peer in [SELF, Ipv4Addr::new(127, 0, 0, 99)] {
            let answer = within(get(peer, self.address, "/livez")).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"), "{answer:?}");
        }
    }

    fn closed(&self, reason: &str) -> u64 {
        closed(&self.admin, reason)
    }
}

/// The number of connections closed for this reason.
fn closed(admin: &Admin, reason: &str) -> u64 {
    let name = format!("secondmate_http_connections_closed_total{{reason=\"{reason}\"}} ");
    let text = admin.metrics.encode();
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().expect("a number"))
}

#[track_caller]
fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let future = timeout(HANG, future);
    async { future.await.expect("it is served, though others hold connections") }
}

/// A connection from this address; all of 127.0.0.0/8 is ours.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("loopback");
    socket.connect(to).await.expect("accepted by the kernel")
}

async fn get(from: Ipv4Addr, to: SocketAddr, path: &str) -> String {
    let mut stream = connect(from, to).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// Connections that send this and wait.
async fn hold(from: Ipv4Addr, to: SocketAddr, count: usize, said: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, to).await;
        // A connection that has already been closed cannot be written to.
        let _ = stream.write_all(said.as_bytes()).await;
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn clients_that_are_silent_or_stop_in_the_middle() {
    for said in [
        "",
        "GET /livez HT",
        "GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: ",
        "GET /livez HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf",
        "POST /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n",
        "POST /livez HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    ] {
        let port = Port::open().await;
        let held = hold(SELF, port.address, 2 * MAX_CONNECTIONS, said).await;
        port.assert_alive().await;
        drop(held);
    }
}

#[tokio::test]
async fn clients_that_ask_and_do_not_read() {
    let port = Port::open().await;
    let requests = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100);
    let held = hold(SELF, port.address, 2 * MAX_CONNECTIONS, &requests).await;
    port.assert_alive().await;
    drop(held);
}

/// Connections that are reopened as soon as they are closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_again_and_again() {
    let port = Port::open().await;
    let address = port.address;
    let mut greedy = tokio::task::JoinSet::new();
    for _ in 0..8 {
        greedy.spawn(async move {
            loop {
                drop(hold(SELF, address, 4, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await);
            }
        });
    }
    for _ in 0..20 {
        let answer = within(get(Ipv4Addr::new(127, 0, 0, 99), port.address, "/livez")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_newcomer_gets_the_place_of_the_oldest_of_the_peer_with_the_most() {
    let port = Port::open().await;
    let modest = Ipv4Addr::new(127, 0, 0, 50);
    let mut first = hold(modest, port.address, 1, "GET /livez HTTP/1.1\r\n").await.remove(0);
    let mut held = hold(SELF, port.address, MAX_CONNECTIONS_PER_PEER + 3, "").await;
    // The first one's place was needed for the last.
    let mut nothing = [0];
    let read = within(held[0].read(&mut nothing)).await;
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    within(async {
        while port.closed("peer_limit") < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(port.closed("limit"), 0);
    for peer in 1..=MAX_CONNECTIONS / 4 {
        let peer = Ipv4Addr::new(127, 0, 1, u8::try_from(peer).expect("few"));
        held.extend(hold(peer, port.address, 6, "").await);
    }
    within(async {
        while port.closed("limit") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    port.assert_alive().await;
    // A client with a single connection keeps it, even though it is the oldest of all.
    first.write_all(b"Host: test\r\n\r\n").await.expect("open");
    let mut answer = String::new();
    within(first.read_to_string(&mut answer)).await.expect("open");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn debugging_takes_nothing_from_probes() {
    let port = Port::open().await;
    port.admin.mount("slow", "never ends", |_| std::future::pending::<DebugResponse>());
    let slow = "GET /debug/slow HTTP/1.1\r\nHost: test\r\n\r\n";
    let held = hold(SELF, port.debug, 2 * MAX_CONNECTIONS, slow).await;
    port.assert_alive().await;
    let index = within(get(SELF, port.debug, "/debug")).await;
    assert!(index.ends_with("/debug/slow\tnever ends\n"), "{index:?}");
    // A body that never arrives does not hold anything up either.
    let bodies = "POST /debug/slow HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n";
    let more = hold(SELF, port.debug, 2 * MAX_CONNECTIONS, bodies).await;
    within(get(SELF, port.debug, "/debug")).await;
    drop((held, more));
}

/// The port with TLS, which serves probes and debugging together.
struct SecurePort {
    admin: Admin,
    address: SocketAddr,
    client: TlsConnector,
}

struct Everybody;

impl Gate for Everybody {
    fn admit<'a>(&'a self, _: Asked<'a>) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }
}

impl SecurePort {
    fn open() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let server = server.with_single_cert(vec![certificate.clone()], key).expect("a pair");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().expect("versions");
        let client = client.with_root_certificates(roots).with_no_client_auth();

        let admin = Admin::new(Metrics::new());
        let listener = Admin::listen_secure(SocketAddr::from((SELF, 0)), false).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let security = Security { tls: watch::channel(Arc::new(server)).1, gate: Arc::new(Everybody) };
        tokio::spawn(admin.clone().serve_secure(listener, security, CancellationToken::new()));
        Self { admin, address, client: TlsConnector::from(Arc::new(client)) }
    }

    async fn get(&self, from: Ipv4Addr, path: &str) -> String {
        let stream = connect(from, self.address).await;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = self.client.connect(name, stream).await.expect("a handshake");
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    async fn assert_alive(&self) {
        for peer in [SELF, Ipv4Addr::new(127, 0, 0, 99)] {
            let answer = within(self.get(peer, "/livez")).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn clients_that_never_finish_a_handshake() {
    // Silent; half of a ClientHello; its first bytes only.
    let half = format!("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}{}", "x".repeat(100));
    for said in ["", &half, "\u{16}\u{3}\u{1}"] {
        let port = SecurePort::open();
        let held = hold(SELF, port.address, 2 * MAX_CONNECTIONS, said).await;
        port.assert_alive().await;
        assert!(closed(&port.admin, "peer_limit") > 0, "as many are open as come");
        drop(held);
    }
}

#[tokio::test]
async fn clients_with_tls_that_are_silent_or_debug_for_ever() {
    let port = SecurePort::open();
    port.admin.mount("slow", "never ends", |_| std::future::pending::<DebugResponse>());
    for said in ["", "GET /livez HT", "GET /debug/slow HTTP/1.1\r\nHost: test\r\n\r\n"] {
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS_PER_PEER {
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = connect(SELF, port.address).await;
            let mut stream = within(port.client.connect(name, stream)).await.expect("a handshake");
            stream.write_all(said.as_bytes()).await.expect("sent");
            held.push(stream);
        }
        port.assert_alive().await;
    }
}
