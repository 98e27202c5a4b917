//! What an API server does on one connection to a guard.

use super::{NAMESPACE, SERVICE, WEBHOOK};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secondmate_sandbox::Sandbox;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One connection.
pub enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The header `Connection`.
    pub connection: String,
    pub body: Value,
}

/// The authority published to the API server.
pub fn authority(sandbox: &Sandbox) -> String {
    let found = sandbox.objects().get("validatingwebhookconfigurations", "", WEBHOOK).expect("registered");
    let bundle = found["webhooks"][0]["clientConfig"]["caBundle"].as_str().expect("it was told").to_owned();
    String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("PEM")
}

impl Client {
    /// Opens a connection with HTTP/1.1 or HTTP/2.
    pub async fn open(address: SocketAddr, authority: &str, is_http2: bool) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from(format!("{SERVICE}.{NAMESPACE}.svc")).expect("a name");
        let stream = TcpStream::connect(address).await.expect("it is served");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a certificate");
        if is_http2 {
            let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = made.expect("HTTP/2");
            tokio::spawn(connection);
            return Self::Http2(sender);
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Asks whether a pod may be bound.
    pub async fn ask(&mut self, pod: &str, node: &str) -> Answer {
        let binding = json!({ "metadata": { "name": pod }, "target": { "name": node } });
        let request = json!({ "uid": "r-1", "name": pod, "namespace": "default", "object": binding });
        self.post(&json!({ "request": request }).to_string()).await
    }

    pub async fn post(&mut self, body: &str) -> Answer {
        let host = format!("{SERVICE}.{NAMESPACE}.svc");
        let uri = match self {
            Self::Http1(_) => "/bind".to_owned(),
            Self::Http2(_) => format!("https://{host}/bind"),
        };
        let request = Request::post(uri)
            .header(header::HOST, host)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        let response = match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        };
        let (parts, body) = response.expect("an answer").into_parts();
        let connection = parts.headers.get(header::CONNECTION);
        let connection = connection.map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            connection,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }
}
