//! One extender's HTTP client: connections that are kept, TLS as configured, and an end to every wait.

use super::error::{AskError, ExtenderConfigError};
use super::go_json::first_value;
use super::tls;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secondmate_config::Extender;
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
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        let connector = tls::connector(extender, url.scheme_str() == Some("https"), connector).await?;
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
