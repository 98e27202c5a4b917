use super::super::certificate::{Lives, Material, server_config, unix_now};
use super::*;
use crate::call::Caller;
use crate::lease::Term;
use crate::watch::Currency;
use crate::write::Leading;
use hyper::client::conn::{http1, http2};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server without a cluster behind it.
struct Server {
    address: SocketAddr,
    authority: String,
    metrics: Metrics,
    _leads: watch::Sender<Option<Term>>,
    _serving: JoinSet<()>,
}

enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Server {
    fn start(limits: Limits) -> Self {
        let names = BTreeSet::from(["127.0.0.1".to_owned()]);
        let made = Material::new(&names, Lives::default(), unix_now()).expect("a name");
        let config = server_config(&made.certificate, &made.key, None).expect("they fit");
        let nowhere = kube_client::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let client = kube_client::Client::try_from(nowhere).expect("a client");
        let (leads, leading) = watch::channel(Some(Term::unlimited()));
        let metrics = Metrics::new();
        let caller = Caller::new(client, None, Duration::from_secs(1));
        let desk = Desk::new(Leading::new(leading), Currency::default(), caller, metrics.clone());
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let mut serving = JoinSet::new();
        let (_, tls) = watch::channel(Some(config));
        serving.spawn(serve(listener, tls, desk, metrics.clone(), limits));
        Self { address, authority: made.authority, metrics, _leads: leads, _serving: serving }
    }

    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
    }

    async fn open(&self, protocol: &[u8]) -> Client {
        let stream = self.connect(protocol).await;
        if protocol == HTTP2 {
            let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = made.expect("HTTP/2");
            tokio::spawn(connection);
            return Client::Http2(sender);
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Client::Http1(sender)
    }
}

impl Client {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Posts something that is not a review; returns the status of the answer.
    async fn post(&mut self) -> StatusCode {
        let request = |uri: &str| Request::post(uri).body(Full::default()).expect("a request");
        let answer = match self {
            Self::Http1(sender) => sender.send_request(request(PATH)).await,
            Self::Http2(sender) => sender.send_request(request("https://127.0.0.1/bind")).await,
        };
        answer.expect("an answer").status()
    }
}

async fn until(what: &str, yes: impl Fn() -> bool) {
    let waited = async {
        while !yes() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), waited).await.expect(what);
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_whatever_it_speaks() {
    let server = Server::start(Limits { idle: Duration::from_secs(3), ..Limits::default() });
    for protocol in PROTOCOLS {
        let mut used = server.open(protocol).await;
        assert_eq!(used.post().await, StatusCode::BAD_REQUEST);
        let unused = server.open(protocol).await;
        until("both are closed", || used.is_closed() && unused.is_closed()).await;
    }
}

#[tokio::test]
async fn headers_without_an_end_are_kept_up_to_a_bound() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect(b"http/1.1").await;
    let mut head = format!("POST {PATH} HTTP/1.1\r\nx: ");
    head.extend(std::iter::repeat_n('x', HEADERS_MAX - head.len()));
    stream.write_all(head.as_bytes()).await.expect("it is read");
    stream.flush().await.expect("it is read");
    let mut answer = [0; 12];
    let read = timeout(Duration::from_secs(60), stream.read_exact(&mut answer));
    read.await.expect("it waits for no more").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_counted_as_a_bind_that_passes() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect(b"http/1.1").await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(format!("{head}no number\r\n").as_bytes()).await.expect("it is read");
    stream.flush().await.expect("it is read");
    let mut answer = [0; 12];
    let read = timeout(Duration::from_secs(60), stream.read_exact(&mut answer));
    read.await.expect("it is answered").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(server.metrics.guard.binds("", "malformed").get(), 1);
}

#[tokio::test]
async fn whoever_takes_all_connections_and_uses_none_does_not_keep_the_api_server_out() {
    let limits = Limits { connections: 3, makes_room_after: Duration::ZERO, ..Limits::default() };
    let server = Server::start(limits);
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(server.address).await.expect("it listens"));
    }
    let mut kept = Vec::new();
    for protocol in PROTOCOLS {
        let mut client = server.open(protocol).await;
        assert_eq!(client.post().await, StatusCode::BAD_REQUEST);
        kept.push(client);
    }
    assert_eq!(server.metrics.guard.connections_failed("displaced").get(), 2);
    assert!(kept.iter().all(|client| !client.is_closed()));
    // The connection used most recently stays: first the last of the silent ones goes, then the first of the kept ones.
    for protocol in PROTOCOLS {
        let mut client = server.open(protocol).await;
        assert_eq!(client.post().await, StatusCode::BAD_REQUEST);
        kept.push(client);
    }
    until("it makes room", || kept[0].is_closed()).await;
    assert!(kept[1..].iter().all(|client| !client.is_closed()));
    assert_eq!(server.metrics.guard.connections_failed("displaced").get(), 4);
}
