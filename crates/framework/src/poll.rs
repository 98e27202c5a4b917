//! What a plugin polls from its own endpoint, outside of the cycle.
//!
//! The plugin declares what to poll, how often and for how long; the shell sends the requests. An answer is decoded off the
//! scheduling thread and enters the core like an object that changed, so a cycle never waits and the same inputs lead to the same
//! decisions.

use crate::declaration::Right;
use secondmate_model::objects::{OwnKind, OwnObject, PluginObject};
use secondmate_model::url::bare;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Minimum polling interval.
pub const POLL_EVERY_MIN: Duration = Duration::from_millis(100);

/// A function that the plugin provides to get a value; it is called in a thread of its own.
pub type PollFunction = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// Returns how many parts of an answer the plugin ignores.
pub type LeftOut = Arc<dyn Fn(&OwnObject) -> usize + Send + Sync>;

/// Where a value is polled from. Every source yields JSON.
#[derive(Clone)]
pub enum Endpoint {
    /// The API server, with the scheduler's own credentials: for resources that can be listed but not watched.
    ApiServer {
        /// Path and query, such as `/apis/metrics.k8s.io/v1beta1/nodes`.
        path: String,
        /// The permission that this needs; checked at startup.
        right: Right,
    },
    /// A GET of this `http` or `https` URL.
    Url {
        /// The URL. Credentials in it are not shown.
        url: String,
        /// A file with CA certificates (PEM) that are trusted instead of the system's.
        ca_file: Option<String>,
        /// A file whose content is sent as a bearer token. It is read for each request.
        token_file: Option<String>,
    },
    /// A function of the plugin. It may block: it runs in its own thread, and no call begins before the previous one has ended.
    Function(PollFunction),
}

impl Endpoint {
    /// A URL without a CA file or token.
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

/// An endpoint that is polled regularly.
#[derive(Clone)]
pub struct Poll {
    /// The kind that the answer is read as.
    pub kind: OwnKind,
    /// Name of the answer among the objects of its kind. Of several polls with the same kind and name, for example from different
    /// profiles, only the first is used.
    pub name: String,
    /// The endpoint to poll.
    pub endpoint: Endpoint,
    /// Interval from the end of one request to the start of the next; at least [`POLL_EVERY_MIN`].
    pub every: Duration,
    /// Maximum time to wait for an answer, after which the request has failed.
    pub timeout: Duration,
    /// An answer is removed from the objects if no new one has arrived for this long.
    pub keep_for: Duration,
    /// For the metric `secondmate_poll_left_out`: counts the parts of an answer that are not used, for example because they are
    /// too old.
    pub left_out: Option<LeftOut>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} from {}", self.kind, self.name, self.endpoint)
    }
}

impl Poll {
    /// Polls every 15 seconds with a time-out of 5 seconds; an answer is valid for one minute.
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

    /// Sets the polling interval.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Sets the time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long an answer stays valid.
    #[must_use]
    pub fn keep_for(mut self, keep_for: Duration) -> Self {
        self.keep_for = keep_for;
        self
    }

    /// Sets the function that counts the unused parts of each answer. The answer's time is [`OwnObject::at`].
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
