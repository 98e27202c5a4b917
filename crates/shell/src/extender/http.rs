//! One extender's HTTP client: connections that are kept, TLS as configured, and an end to every wait.

use super::error::{AskError, ExtenderConfigError};
use super::go_json::first_value;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
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
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// Longest answer: all nodes of a big cluster, whole.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;
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
    pub async fn new(extender: &Extender) -> Result<Self, ExtenderConfigError> {
        let url: Uri = extender.url_prefix.parse().map_err(ExtenderConfigError::Url)?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(ExtenderConfigError::Scheme);
        }
        let tls = tls(extender, url.scheme_str() == Some("https")).await?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        let connector =
            tls.rustls_https_connector_with_connector(connector).map_err(ExtenderConfigError::Tls)?;
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
    /// There is none.
    pub async fn post(&self, verb: &str, body: Vec<u8>) -> Result<Bytes, AskError> {
        let url = format!("{}/{verb}", self.prefix);
        let uri: Uri = match url.parse() {
            Ok(uri) => uri,
            Err(source) => return Err(AskError::Url { url, source }),
        };
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("secondmate/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(body))?;
        let deadline = Instant::now() + self.timeout;
        let response = match timeout_at(deadline, self.send.clone().oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(source)) => return Err(AskError::NoAnswer { url, host, source }),
            Err(_) => return Err(AskError::Late { url }),
        };
        let code = response.status();
        if code != StatusCode::OK {
            return Err(AskError::Code { verb: verb.to_owned(), url, code: code.as_u16() });
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
                Ok(Some(Err(source))) => AskError::BrokenOff { source },
                Err(_) => AskError::LateBody,
            };
            // Upstream reads no further than the value, and does not notice what follows it.
            return if first_value(&answer).is_ok() { Ok(answer.into()) } else { Err(broken) };
        }
        Ok(answer.into())
    }
}

/// TLS as the extender's configuration has it, by the rules of client-go: without a certificate authority `enableHTTPS` trusts anyone.
async fn tls(extender: &Extender, https: bool) -> Result<ClientConfig, ExtenderConfigError> {
    let given = extender.tls_config.clone().unwrap_or_default();
    let ExtenderTls { server_name, cert_file, key_file, ca_file, cert_data, key_data, ca_data, .. } = given;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let has_ca = !(ca_file.is_empty() && ca_data.is_empty());
    let insecure = given.insecure || (extender.enable_https && !has_ca);
    if insecure && has_ca {
        return Err(ExtenderConfigError::InsecureWithAuthority);
    }
    let has_cert = !(cert_file.is_empty() && cert_data.is_empty());
    let has_key = !(key_file.is_empty() && key_data.is_empty());
    if has_cert != has_key {
        return Err(ExtenderConfigError::HalfACertificate);
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
        .map_err(ExtenderConfigError::Files)?;
    if insecure || !https {
        // Nobody is verified, so that no trusted certificates need to be on this machine.
        config.root_cert = Some(config.root_cert.unwrap_or_default());
    }
    Ok(config)
}
