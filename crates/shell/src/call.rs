//! One HTTP request to the API server: with a timeout, without hidden retries, and with an error that says what is known of the outcome.

use crate::limit::RateLimit;
use crate::requests::NO_ANSWER;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube_client::client::{AuthError, Body};
use kube_client::{Client, Error};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Maximum length of the part of an answer that is quoted in a message.
const QUOTE_BYTES_MAX: usize = 512;

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The API server answered that it refused the request (4xx), or that something went wrong (5xx).
    Answered { code: u16, message: String, retry_after: Option<Duration> },
    /// No connection could be made: the request was not sent.
    NotSent(String),
    /// The request was sent but no answer came: it may have been carried out.
    Lost(String),
}

impl CallError {
    /// Whether the API server did not answer, or answered that it is temporarily unable to.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Answered { code, .. } => *code >= 500,
            Self::NotSent(_) | Self::Lost(_) => true,
        }
    }

    /// Whether the error may go away by itself, without anyone changing a configuration.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Answered { code, .. } => *code == 429 || *code >= 500,
            Self::NotSent(reason) | Self::Lost(reason) => {
                !reason.to_ascii_lowercase().contains("certificate")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { message, .. } => f.write_str(message),
            Self::NotSent(message) => write!(f, "cannot connect to the API server: {message}"),
            Self::Lost(message) => write!(f, "no answer from the API server: {message}"),
        }
    }
}

/// Type of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    MergePatch,
    StrategicMergePatch,
}

impl Content {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::StrategicMergePatch => "application/strategic-merge-patch+json",
        }
    }
}

/// A request that can be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub method: Method,
    pub path: String,
    pub content: Content,
    pub body: Bytes,
}

impl Call {
    pub fn get(path: String) -> Self {
        Self { method: Method::GET, path, content: Content::Json, body: Bytes::new() }
    }

    pub fn new(method: Method, path: String, content: Content, body: Vec<u8>) -> Self {
        Self { method, path, content, body: body.into() }
    }
}

/// Sends calls. Clones share the connections and the limit.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    limit: Option<Arc<RateLimit>>,
    timeout: Duration,
    /// Where waits and retries are counted, and the API server's host.
    told: Option<Arc<(Metrics, Box<str>)>>,
}

impl Caller {
    pub fn new(client: Client, limit: Option<Arc<RateLimit>>, timeout: Duration) -> Self {
        Self { client, limit, timeout, told: None }
    }

    /// The same caller, but it records how long calls to this host wait for the rate limit, and which are retried.
    pub fn telling(self, metrics: &Metrics, host: &str) -> Self {
        Self { told: Some(Arc::new((metrics.clone(), host.into()))), ..self }
    }

    /// Waits until the limit on writes lets this one through.
    pub async fn wait_for_turn(&self, call: &Call) {
        let Some(limit) = &self.limit else { return };
        let waited = limit.wait().await;
        if let Some((metrics, host)) = self.told.as_deref() {
            metrics.rest_client.rate_limiter(call.method.as_str(), host).observe(waited.as_secs_f64());
        }
    }

    /// Records that a call is retried.
    pub fn tell_retry(&self, call: &Call, after: &CallError) {
        let Some((metrics, host)) = self.told.as_deref() else { return };
        let code = match after {
            CallError::Answered { code, .. } => code.to_string(),
            CallError::NotSent(_) | CallError::Lost(_) => NO_ANSWER.to_owned(),
        };
        metrics.rest_client.retries(&code, call.method.as_str(), host).inc();
    }

    /// Sends a write; a caller with a rate limit waits for its turn first ([`Self::wait_for_turn`]). The body of a successful answer is
    /// read and discarded, so that the connection can be reused.
    pub async fn write(&self, call: &Call) -> Result<(), CallError> {
        self.send(call, false).await.map(|_| ())
    }

    /// Sends a request and returns the answer's body.
    pub async fn read(&self, call: &Call) -> Result<Bytes, CallError> {
        self.send(call, true).await
    }

    async fn send(&self, call: &Call, keep: bool) -> Result<Bytes, CallError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(header::ACCEPT, "application/json");
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, call.content.media_type());
        }
        let request = request
            .body(Body::from(call.body.clone()))
            .map_err(|error| CallError::NotSent(format!("{} {}: {error}", call.method, call.path)))?;
        match tokio::time::timeout(self.timeout, self.exchange(request, keep)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Lost(format!(
                "{} {} took longer than {:?}",
                call.method, call.path, self.timeout
            ))),
        }
    }

    async fn exchange(&self, request: Request<Body>, keep: bool) -> Result<Bytes, CallError> {
        let response = self.client.send(request).await.map_err(classify)?;
        let status = response.status();
        let lost = |error: Error| CallError::Lost(chain(&error));
        if status.is_success() && !keep {
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                frame.map_err(lost)?;
            }
            return Ok(Bytes::new());
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(CallError::Answered { code: status.as_u16(), message: message(status, &body), retry_after })
    }
}

/// The message of a `Status` object, or else the text of the body.
fn message(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        message: String,
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(body)
        && !answer.message.is_empty()
    {
        return answer.message;
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTE_BYTES_MAX)]);
    format!("the API server answered {status}: {}", text.trim())
}

/// Whether the request may have reached the API server.
fn classify(error: Error) -> CallError {
    let connects = |error: &(dyn std::error::Error + 'static)| {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        // Without credentials, nothing is sent either.
        if connects(error) || error.is::<AuthError>() {
            return CallError::NotSent(chain(error));
        }
        cause = error.source();
    }
    if matches!(error, Error::Auth(_) | Error::BuildRequest(_) | Error::HttpError(_)) {
        return CallError::NotSent(chain(&error));
    }
    CallError::Lost(chain(&error))
}

/// What a credential plugin did wrong. What it printed may contain the token, so none of it is quoted; nor are its arguments and
/// environment variables.
fn of_plugin(error: &AuthError) -> Option<String> {
    let failed = |how: String| {
        Some(format!(
            "the kubeconfig's credential plugin {how}; run it by hand to see why (what it printed is not repeated, as it may be the token)"
        ))
    };
    match error {
        AuthError::AuthExecRun { out, .. } => failed(format!("failed with {}", out.status)),
        AuthError::AuthExecParse(_)
        | AuthError::ExecPluginFailed
        | AuthError::ParseTokenKey(_)
        | AuthError::InvalidBearerToken(_) => failed("printed no usable ExecCredential".to_owned()),
        AuthError::MalformedTokenExpirationDate(_) => {
            failed("printed an expirationTimestamp that is no time".to_owned())
        }
        AuthError::AuthExec(_) => failed("failed".to_owned()),
        AuthError::AuthExecStart(error) => {
            Some(format!("the kubeconfig's credential plugin cannot be started: {error}"))
        }
        _ => None,
    }
}

/// Whether an error was caused by a lack of file descriptors: the limit of the process (EMFILE) or of the machine (ENFILE).
fn lacks_files(error: &(dyn std::error::Error + 'static)) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.and_then(std::io::Error::raw_os_error).is_some_and(|code| code == EMFILE || code == ENFILE) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with all its causes, each mentioned once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // This comes first because an error repeats the text of its cause.
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(text) = error.downcast_ref::<AuthError>().and_then(of_plugin) {
            return text;
        }
        cause = error.source();
    }
    if lacks_files(error) {
        return "this process has no file descriptor left for another connection (too many open files): raise its limit (ulimit -n, or LimitNOFILE of its unit)".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    // Prefixes that libraries put before the cause, and that mean nothing to people.
    text.trim_start_matches("ServiceError: ").trim_start_matches("client error (Connect): ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_certificate_that_is_not_accepted_does_not_pass_by_itself() {
        let answered = |code| CallError::Answered { code, message: String::new(), retry_after: None };
        for (error, expected) in [
            (CallError::NotSent("tcp connect error: Connection refused (os error 111)".to_owned()), true),
            (CallError::Lost("tls handshake eof".to_owned()), true),
            (CallError::NotSent("invalid peer certificate: UnknownIssuer".to_owned()), false),
            (answered(503), true),
            (answered(429), true),
            (answered(400), false),
        ] {
            assert_eq!(error.may_pass(), expected, "{error}");
        }
    }

    #[test]
    fn too_few_file_descriptors_are_told_as_that() {
        let text = chain(&Outer(std::io::Error::from_raw_os_error(24)));
        assert!(text.starts_with("this process has no file descriptor left"), "{text}");
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }
}
