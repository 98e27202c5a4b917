//! What a plugin reads from an endpoint of its own, outside of the cycle.
//!
//! The plugin says what is to be asked, how often and how long; the shell asks. An answer is decoded off the scheduling thread
//! and comes into the core like an object that changed, so that a cycle never waits and the same inputs lead to the same decisions.

use crate::declaration::Right;
use secondmate_model::objects::{OwnKind, OwnObject, PluginObject};
use secondmate_model::url::bare;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An endpoint is asked no more often than this.
pub const POLL_EVERY_MIN: Duration = Duration::from_millis(100);

/// What a plugin calls in a thread of its own to get a value.
pub type PollFunction = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// Says how many parts of an answer the plugin leaves out.
pub type LeftOut = Arc<dyn Fn(&OwnObject) -> usize + Send + Sync>;

/// Where a value is polled from. Whatever it is, it yields JSON.
#[derive(Clone)]
pub enum Endpoint {
    /// The API server, with the scheduler's own rights: for what can be listed and not watched.
    ApiServer {
        /// Path and query, such as `/apis/metrics.k8s.io/v1beta1/nodes`.
        path: String,
        /// The right that this needs; it is checked at the start.
        right: Right,
    },
    /// A GET of this `http` or `https` URL.
    Url {
        /// The URL. A name and password in it are not shown.
        url: String,
        /// A file with certificates of authorities (PEM) that are trusted instead of the system's.
        ca_file: Option<String>,
        /// A file whose text is sent as a bearer token. It is read for each request.
        token_file: Option<String>,
    },
    /// A function of the plugin. It may wait: it runs in a thread of its own, and while one call has not ended no other begins.
    Function(PollFunction),
}

impl Endpoint {
    /// A URL without further ado.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self::Url { url: url.into(), ca_file: None, token_file: None }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServer { path, .. } => write!(f, "{path} of the API server"),
            Self::Url { url, .. } => f.write_str(&bare(url)),
            Self::Function(_) => f.write_str("a function of the plugin"),
        }
    }
}

/// An endpoint that is asked again and again.
#[derive(Clone)]
pub struct Poll {
    /// The kind as which the answer is read.
    pub kind: OwnKind,
    /// Name of the answer among the objects of its kind. Polls of the same kind and name, of other profiles say, are one: the first.
    pub name: String,
    /// What is asked.
    pub endpoint: Endpoint,
    /// From the end of one request to the next; at least [`POLL_EVERY_MIN`].
    pub every: Duration,
    /// Longest wait for an answer; later it is a failure.
    pub timeout: Duration,
    /// After this time without a new answer the old one is withdrawn: it is no longer among the objects.
    pub keep_for: Duration,
    /// For the metric `secondmate_poll_left_out`: how much of an answer is not used, since it is too old, say.
    pub left_out: Option<LeftOut>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} from {}", self.kind, self.name, self.endpoint)
    }
}

impl Poll {
    /// Asks every 15 seconds, with a time-out of 5; an answer counts for a minute.
    #[must_use]
    pub fn new<T: PluginObject>(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            kind: OwnKind::of::<T>(),
            name: name.into(),
            endpoint,
            every: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            keep_for: Duration::from_secs(60),
            left_out: None,
        }
    }

    /// The same, asked this often.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// The same with this time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same; an answer counts this long.
    #[must_use]
    pub fn keep_for(mut self, keep_for: Duration) -> Self {
        self.keep_for = keep_for;
        self
    }

    /// The same; this says of each answer how much of it is not used. The answer's time is [`OwnObject::at`].
    #[must_use]
    pub fn left_out(mut self, count: impl Fn(&OwnObject) -> usize + Send + Sync + 'static) -> Self {
        self.left_out = Some(Arc::new(count));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_an_endpoint_are_not_shown() {
        let endpoint = Endpoint::url("https://me:s3cret@host:9090/api?query=up");
        assert_eq!(endpoint.to_string(), "https://host:9090/api?query=up");
    }
}
