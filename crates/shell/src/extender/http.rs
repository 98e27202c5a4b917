//! The HTTP client for one extender: persistent connections, TLS as configured, and every wait bounded.

use super::error::{AskError, ExtenderConfigError};
use super::go_json::{Brackets, first_value};
use super::tls;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use secondmate_config::Extender;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// Maximum size of an answer: the complete nodes of a big cluster.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Maximum redirects followed for one request, as in Go's client.
const REDIRECTS_MAX: usize = 10;
/// Maximum wait for an answer if the configuration does not set one.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So long the end of an answer is waited for that is whole without it, so that the connection can be used again.
const END_WAIT: Duration = Duration::from_millis(20);
/// An unused connection is closed after this.
const POOL_IDLE: Duration = Duration::from_secs(90);
const KEEPALIVE: Duration = Duration::from_secs(30);

type Send = BoxCloneSyncService<Request<Full<Bytes>>, http::Response<Incoming>, ClientError>;

/// Sends requests to one extender.
pub(super) struct Http {
    send: Send,
    /// Prefix of every verb, without a trailing slash.
    prefix: String,
    /// From the user name and password in the URL.
    authorization: Option<HeaderValue>,
    /// Maximum wait for an answer, in total.
    pub timeout: Duration,
}

impl Http {
    /// Builds the client for an extender.
    ///
    /// # Errors
    /// The URL is invalid, or certificates and keys cannot be used.
    pub async fn new(extender: &Extender) -> Result<Self, ExtenderConfigError> {
        let bare = extender.bare_url();
        let url: Uri = bare.parse().map_err(ExtenderConfigError::Url)?;
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
            prefix: bare.trim_end_matches('/').to_owned(),
            authorization: extender.credentials().map(basic),
            timeout: extender.http_timeout.unwrap_or(TIMEOUT),
        })
    }

    /// Posts a request and returns the answer.
    ///
    /// # Errors
    /// There is no usable answer.
    pub async fn post(&self, verb: &str, body: Vec<u8>) -> Result<Bytes, AskError> {
        let url = format!("{}/{verb}", self.prefix);
        let uri: Uri = match url.parse() {
            Ok(uri) => uri,
            Err(source) => return Err(AskError::Url { url, source }),
        };
        let deadline = Instant::now() + self.timeout;
        let (body, mut at) = (Bytes::from(body), uri.clone());
        let mut redirects = 0;
        let response = loop {
            let host = at.authority().map(ToString::to_string).unwrap_or_default();
            // Credentials are not sent to any other host.
            let authorization = self.authorization.as_ref().filter(|_| at.authority() == uri.authority());
            let asked = self.send.clone().oneshot(question(&at, authorization, body.clone())?);
            let response = match timeout_at(deadline, asked).await {
                Ok(Ok(response)) => response,
                Ok(Err(source)) => return Err(AskError::NoAnswer { url, host, source }),
                Err(_) => return Err(AskError::Late { url }),
            };
            match redirected(&response, &at) {
                Some(to) if redirects < REDIRECTS_MAX => (at, redirects) = (to, redirects + 1),
                _ => break response,
            }
        };
        let code = response.status();
        if code != StatusCode::OK {
            return Err(AskError::Code { verb: verb.to_owned(), url, code: code.as_u16() });
        }
        let mut body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let (mut answer, mut brackets, mut end) = (Vec::new(), Brackets::default(), deadline);
        loop {
            let broken = match timeout_at(end, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    let part: &[u8] = frame.data_ref().map_or(&[], |data| data);
                    answer.extend_from_slice(part);
                    if brackets.closed_by(part) && first_value(&answer).is_ok() {
                        end = end.min(Instant::now() + END_WAIT);
                    }
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

fn question(
    uri: &Uri,
    authorization: Option<&HeaderValue>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("secondmate/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Full::new(body))
}

/// The header for a user name and password in a URL.
fn basic(credentials: &str) -> HeaderValue {
    let (name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let plain = [decoded(name), decoded(password)].join(&b':');
    let text = format!("Basic {}", STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text).expect("base64 is ASCII");
    value.set_sensitive(true);
    value
}

/// Where an answer says that the same request is to be sent again: 307 and 308. Other redirects would change the method of the request, and
/// a redirect to another scheme would need another client; these are treated like any other status that is not 200.
fn redirected(response: &Response<Incoming>, from: &Uri) -> Option<Uri> {
    if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let folder = || from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let scheme = from.scheme_str()?;
    let whole = location.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
    let to = match whole {
        Some(whole) => whole,
        None if location.starts_with("//") => format!("{scheme}:{location}").parse().ok()?,
        None if location.starts_with('/') => {
            format!("{scheme}://{}{location}", from.authority()?).parse().ok()?
        }
        None => format!("{scheme}://{}{}/{location}", from.authority()?, folder()).parse().ok()?,
    };
    (to.scheme() == from.scheme() && to.host().is_some()).then_some(to)
}
