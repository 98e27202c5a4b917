//! Why there is no answer of an extender that could be used. The texts are upstream's, where upstream has any: they are in events and
//! conditions.

use super::answer::AnswerError;
use super::http::ANSWER_BYTES_MAX;
use super::tls;
use crate::call::chain;
use http::uri::InvalidUri;
use http_body_util::LengthLimitError;
use hyper_util::client::legacy::Error as ClientError;
use std::error::Error;
use std::io::{self, ErrorKind};

/// How a call of an extender ended that brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It was not asked: it may be ignored, and keeps failing.
    #[error("not asked, as it has failed {failures} times in a row: {last}")]
    Suspended { failures: u32, last: String },
    /// Its verb makes no URL.
    #[error("parse {url:?}: {source}")]
    Url { url: String, source: InvalidUri },
    /// No request can be made.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// Nothing came back.
    #[error("Post {url:?}: {}", no_answer(source, host))]
    NoAnswer { url: String, host: String, source: ClientError },
    /// Nothing came back in time.
    #[error("Post {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Late { url: String },
    /// It answered with another code than 200.
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Code { verb: String, url: String, code: u16 },
    /// Its answer is not whole.
    #[error("{}", broken_off(&**source))]
    BrokenOff { source: Box<dyn Error + Send + Sync> },
    /// Its answer was not whole in time.
    #[error("context deadline exceeded (Client.Timeout or context cancellation while reading body)")]
    LateBody,
    /// Its answer cannot be understood.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It says itself that it could not do what it was asked for.
    #[error("{0}")]
    Said(String),
}

impl AskError {
    /// Whether the extender does not work: one that says what is wrong does.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Said(_))
    }
}

/// Why an extender cannot be called as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ExtenderConfigError {
    /// The text is no URL.
    #[error("urlPrefix is not a URL: {0}")]
    Url(#[source] InvalidUri),
    /// It is one of another kind.
    #[error("urlPrefix must begin with http:// or https:// and a host")]
    Scheme,
    /// Two settings contradict each other.
    #[error("tlsConfig: insecure and a certificate authority exclude each other: remove one")]
    InsecureWithAuthority,
    /// It is no name that a server could have.
    #[error("tlsConfig: serverName {0:?} is neither a DNS name nor an address")]
    ServerName(String),
    /// The client certificate cannot be read, or its key is another one's.
    #[error("tlsConfig: the client certificate cannot be used: {0}")]
    Certificate(String),
    /// Certificates or keys cannot be read.
    #[error("tlsConfig: {}", chain(.0))]
    Files(#[source] kube_client::config::KubeconfigError),
    /// They cannot be used.
    #[error("{}", chain(.0))]
    Tls(#[source] kube_client::Error),
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

/// The error of TLS in an error of a connection, which may be wrapped in another one.
fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| of_tls(inner.downcast_ref()?))
}

/// Why there is no answer, as Go says it where it has a word for it.
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
