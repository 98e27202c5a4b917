//! One extender's HTTP client: connections that are kept, TLS as configured, and an end to every wait.

use super::go_json::first_value;
use crate::call::chain;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube_client::Config as ClientConfig;
use kube_client::client::ConfigExt;
use kube_client::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use secondmate_config::{Extender, ExtenderTls};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// Longest answer: all nodes of a big cluster, whole.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Longest wait for an answer where the configuration names none.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An unused connection is closed after this.
const POOL_IDLE: Duration = Duration::from_secs(90);
const KEEPALIVE: Duration = Duration::from_secs(30);

type Send = BoxCloneSyncService<Request<Full<Bytes>>, http::Response<Incoming>, ClientError>;

/// Sends requests to one extender.
pub(super) struct Http {
    send: Send,
    /// In front of every verb, without a slash at the end.
    prefix: String,
    /// Longest wait for an answer, all in all.
    pub timeout: Duration,
}

impl Http {
    /// A client for an extender.
    ///
    /// # Errors
    /// The URL is none, or certificates and keys cannot be used.
    pub async fn new(extender: &Extender) -> Result<Self, String> {
        let url: Uri =
            extender.url_prefix.parse().map_err(|error| format!("urlPrefix is not a URL: {error}"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err("urlPrefix must begin with http:// or https:// and a host".to_owned());
        }
        let tls = tls(extender, url.scheme_str() == Some("https")).await?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        let connector =
            tls.rustls_https_connector_with_connector(connector).map_err(|error| chain(&error))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build::<_, Full<Bytes>>(connector);
        Ok(Self {
            send: BoxCloneSyncService::new(client),
            prefix: extender.url_prefix.trim_end_matches('/').to_owned(),
            timeout: extender.http_timeout.unwrap_or(TIMEOUT),
        })
    }

    /// Posts a question and returns the answer.
    ///
    /// # Errors
    /// There is none: in upstream's words.
    pub async fn post(&self, verb: &str, body: Vec<u8>) -> Result<Bytes, String> {
        let url = format!("{}/{verb}", self.prefix);
        let uri: Uri = url.parse().map_err(|error| format!("parse {url:?}: {error}"))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("secondmate/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.timeout;
        let response = match timeout_at(deadline, self.send.clone().oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(format!("Post {url:?}: {}", no_answer(&error, &host))),
            Err(_) => {
                return Err(format!(
                    "Post {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                ));
            }
        };
        let code = response.status();
        if code != StatusCode::OK {
            return Err(failed(verb, &url, code.as_u16()));
        }
        let mut body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let mut answer = Vec::new();
        loop {
            let broken = match timeout_at(deadline, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    answer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    continue;
                }
                Ok(Some(Err(error))) => broken_off(&*error),
                Err(_) => {
                    "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
                        .to_owned()
                }
            };
            // Upstream reads no further than the value, and does not notice what follows it.
            return if first_value(&answer).is_ok() { Ok(answer.into()) } else { Err(broken) };
        }
        Ok(answer.into())
    }
}

/// What upstream says of an answer that is not 200.
pub(super) fn failed(verb: &str, url: &str, code: u16) -> String {
    format!("failed {verb} with extender at URL {url}, code {code}")
}

/// TLS as the extender's configuration has it, by the rules of client-go: without a certificate authority `enableHTTPS` trusts anyone.
async fn tls(extender: &Extender, https: bool) -> Result<ClientConfig, String> {
    let given = extender.tls_config.clone().unwrap_or_default();
    let ExtenderTls { server_name, cert_file, key_file, ca_file, cert_data, key_data, ca_data, .. } = given;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let has_ca = !(ca_file.is_empty() && ca_data.is_empty());
    let insecure = given.insecure || (extender.enable_https && !has_ca);
    if insecure && has_ca {
        return Err(
            "tlsConfig: insecure and a certificate authority exclude each other: remove one".to_owned()
        );
    }
    let has_cert = !(cert_file.is_empty() && cert_data.is_empty());
    let has_key = !(key_file.is_empty() && key_data.is_empty());
    if has_cert != has_key {
        return Err(
            "tlsConfig: a client certificate needs its key, and a key its certificate: give both".to_owned()
        );
    }
    let cluster = Cluster {
        server: Some(extender.url_prefix.clone()),
        insecure_skip_tls_verify: Some(insecure),
        certificate_authority: some(ca_file),
        certificate_authority_data: some(ca_data),
        tls_server_name: some(server_name),
        ..Cluster::default()
    };
    let auth_info = AuthInfo {
        client_certificate: some(cert_file),
        client_certificate_data: some(cert_data),
        client_key: some(key_file),
        client_key_data: some(key_data).map(Into::into),
        ..AuthInfo::default()
    };
    let name = || "extender".to_owned();
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(auth_info),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(Context { cluster: name(), user: Some(name()), ..Context::default() }),
            ..NamedContext::default()
        }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    };
    let mut config = ClientConfig::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| format!("tlsConfig: {}", chain(&error)))?;
    if insecure || !https {
        // Nobody is verified, so that no trusted certificates need to be on this machine.
        config.root_cert = Some(config.root_cert.unwrap_or_default());
    }
    Ok(config)
}

/// A cause of this type.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Why there is no answer, as Go says it where it has a word for it.
fn no_answer(error: &ClientError, host: &str) -> String {
    let kind = cause::<io::Error>(error).map(io::Error::kind);
    if error.is_connect() {
        return match kind {
            Some(ErrorKind::ConnectionRefused) => format!("dial tcp {host}: connect: connection refused"),
            Some(ErrorKind::HostUnreachable) => format!("dial tcp {host}: connect: no route to host"),
            Some(ErrorKind::NetworkUnreachable) => {
                format!("dial tcp {host}: connect: network is unreachable")
            }
            _ if chain(error).contains("dns error") => format!("dial tcp: lookup {host}: {}", chain(error)),
            _ => chain(error),
        };
    }
    match cause::<hyper::Error>(error) {
        Some(cause) if cause.is_incomplete_message() => "EOF".to_owned(),
        Some(cause) if cause.is_parse() => {
            format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response ({cause})")
        }
        _ if kind == Some(ErrorKind::ConnectionReset) => "read: connection reset by peer".to_owned(),
        _ => chain(error),
    }
}

/// Why an answer broke off.
fn broken_off(error: &(dyn Error + std::marker::Send + Sync + 'static)) -> String {
    if cause::<LengthLimitError>(error).is_some() {
        return format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
    }
    let incomplete = cause::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message);
    let reset = cause::<io::Error>(error).is_some_and(|error| error.kind() == ErrorKind::UnexpectedEof);
    if incomplete || reset { "unexpected EOF".to_owned() } else { chain(error) }
}
