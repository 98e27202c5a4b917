//! Why there is no usable answer from an extender. Where upstream has a text, it is used: these texts appear in events and conditions.

use super::answer::AnswerError;
use super::http::ANSWER_BYTES_MAX;
use super::tls;
use crate::call::chain;
use http::uri::InvalidUri;
use http_body_util::LengthLimitError;
use hyper_util::client::legacy::Error as ClientError;
use std::error::Error;
use std::io::{self, ErrorKind};

/// How a call of an extender failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It was not called: it is ignorable, and keeps failing.
    #[error("not asked, as it has failed {failures} times in a row: {last}")]
    Suspended { failures: u32, last: String },
    /// Its verb does not make a valid URL.
    #[error("parse {url:?}: {source}")]
    Url { url: String, source: InvalidUri },
    /// The request cannot be built.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// There was no answer.
    #[error("Post {url:?}: {}", no_answer(source, host))]
    NoAnswer { url: String, host: String, source: ClientError },
    /// There was no answer in time.
    #[error("Post {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Late { url: String },
    /// It answered with a status code other than 200.
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Code { verb: String, url: String, code: u16 },
    /// Its answer is incomplete.
    #[error("{}", broken_off(&**source))]
    BrokenOff { source: Box<dyn Error + Send + Sync> },
    /// Its answer was not complete in time.
    #[error("context deadline exceeded (Client.Timeout or context cancellation while reading body)")]
    LateBody,
    /// Its answer cannot be understood.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It reported itself that it could not do what it was asked to do.
    #[error("{0}")]
    Said(String),
}

impl AskError {
    /// Whether the extender is broken; one that reports an error itself is working.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Said(_))
    }
}

/// Why an extender cannot be called as configured.
#[derive(Debug, thiserror::Error)]
pub enum ExtenderConfigError {
    /// The text is not a URL.
    #[error("urlPrefix is not a URL: {0}")]
    Url(#[source] InvalidUri),
    /// It is a URL of an unsupported kind.
    #[error("urlPrefix must begin with http:// or https:// and a host")]
    Scheme,
    /// Two settings contradict each other.
    #[error("tlsConfig: insecure and a certificate authority exclude each other: remove one")]
    InsecureWithAuthority,
    /// This cannot be the name of a server.
    #[error("tlsConfig: serverName {0:?} is neither a DNS name nor an address")]
    ServerName(String),
    /// The client certificate cannot be read, or its key does not match.
    #[error("tlsConfig: the client certificate cannot be used: {0}")]
    Certificate(String),
    /// Certificates or keys cannot be read.
    #[error("tlsConfig: {}", chain(.0))]
    Files(#[source] kube_client::config::KubeconfigError),
    /// Certificates or keys cannot be used.
    #[error("{}", chain(.0))]
    Tls(#[source] kube_client::Error),
}

/// The cause of this type, if there is one.
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

/// The TLS error inside a connection error, which may be wrapped in another error.
fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| of_tls(inner.downcast_ref()?))
}

/// Why there was no answer, in Go's words where Go has a wording for it.
fn no_answer(error: &ClientError, host: &str) -> String {
    let io = cause::<io::Error>(error);
    if let Some(words) = io.and_then(of_tls).and_then(tls::words) {
        return words;
    }
    let kind = io.map(io::Error::kind);
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
fn broken_off(error: &(dyn Error + Send + Sync + 'static)) -> String {
    if cause::<LengthLimitError>(error).is_some() {
        return format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
    }
    let incomplete = cause::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message);
    let reset = cause::<io::Error>(error).is_some_and(|error| error.kind() == ErrorKind::UnexpectedEof);
    if incomplete || reset { "unexpected EOF".to_owned() } else { chain(error) }
}
