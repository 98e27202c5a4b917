//! The API server: its version, and its clock.

use super::{Doctor, Severity, check};
use crate::call::Call;
use crate::connect;
use jiff::{SignedDuration, Timestamp};
use kube_client::Client;
use secondmate_config::KUBERNETES_VERSION;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest supported minor version of the API server (Kubernetes 1.x).
const OLDEST_MINOR: u32 = 34;
/// Smaller clock differences are not reported.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The date of the last answer, and when it arrived by this machine's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Dated(Arc<Mutex<Option<(Timestamp, Timestamp)>>>);

impl Dated {
    /// The same client, but the date of each answer is recorded.
    pub fn observe(&self, client: Client) -> Client {
        let last = Arc::clone(&self.0);
        connect::observed(client, move |answer| {
            let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
            if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
                *last.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((date.timestamp(), Timestamp::now()));
            }
        })
    }

    fn take(&self) -> Option<(Timestamp, Timestamp)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Version {
    major: String,
    minor: String,
    git_version: String,
}

impl Doctor {
    /// Checks version and clock; returns the version.
    pub(super) async fn server(&mut self) -> Option<String> {
        self.dated.take();
        let sent = Timestamp::now();
        let answer = self.caller.read(&Call::get("/version".to_owned())).await;
        match self.dated.take() {
            Some((date, received)) => self.clock(sent, received, date),
            None => {
                self.found(
                    Severity::Unknown,
                    check::CLOCKS,
                    "API server",
                    "its answers have no date",
                    "compare its clock by hand",
                );
            }
        }
        match answer {
            Ok(body) => {
                let version: Version = serde_json::from_slice(&body).unwrap_or_default();
                self.version(&version);
                Some(version.git_version)
            }
            Err(error) => {
                self.unknown(check::VERSION, "API server", &error);
                None
            }
        }
    }

    fn version(&mut self, version: &Version) {
        let shown = &version.git_version;
        let newest = KUBERNETES_VERSION.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
        let newest = newest.unwrap_or(OLDEST_MINOR);
        let supported = format!("1.{OLDEST_MINOR} to 1.{newest} are supported");
        // Some builds report `36+`.
        let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
        let object = "API server";
        match digits.parse::<u32>() {
            Ok(minor) if version.major == "1" && minor < OLDEST_MINOR => {
                let problem = format!("it is {shown}, which is too old: {supported}");
                self.found(Severity::Fault, check::VERSION, object, problem, "upgrade the cluster");
            }
            Ok(minor) if version.major == "1" && minor > newest => {
                let problem = format!("it is {shown}, newer than what this scheduler follows: {supported}");
                let remedy = "upgrade secondmate, or test it with this release before you rely on it";
                self.found(Severity::Warning, check::VERSION, object, problem, remedy);
            }
            Ok(_) if version.major == "1" => {}
            _ => {
                let problem = format!("its version is not understood: {shown:?}; {supported}");
                self.found(Severity::Unknown, check::VERSION, object, problem, "see kubectl version");
            }
        }
    }

    fn clock(&mut self, sent: Timestamp, received: Timestamp, date: Timestamp) {
        let Some(ahead) = ahead(sent, received, date) else { return };
        self.ahead = ahead;
        let way = if ahead.is_positive() { "ahead of" } else { "behind" };
        self.found(
            Severity::Warning,
            check::CLOCKS,
            "API server",
            format!(
                "its clock is {} s {way} this machine's: ages and latencies that are told here or by a scheduler on this machine are wrong by that, and new certificates and tokens may not be valid yet",
                ahead.abs().as_secs()
            ),
            "synchronise both clocks (NTP)",
        );
    }
}

/// How far the API server's clock is ahead, at least; `None` if it may be right. A date is truncated to the second, and was written at some
/// time between the request and the answer.
fn ahead(sent: Timestamp, received: Timestamp, date: Timestamp) -> Option<SignedDuration> {
    let least = date.duration_since(received);
    let most = date.duration_since(sent) + SignedDuration::from_secs(1);
    if least > TOLERANCE {
        return Some(least);
    }
    (most < -TOLERANCE).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_to_differ_only_where_it_must() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (sent, received) = (at("2026-01-01T00:00:10.2Z"), at("2026-01-01T00:00:10.9Z"));
        let seconds = |date: &str| ahead(sent, received, at(date)).map(|by| by.as_secs_f64());
        assert_eq!(seconds("2026-01-01T00:00:10Z"), None);
        assert_eq!(seconds("2026-01-01T00:00:12Z"), None, "it may be ahead by a second, which is nothing");
        assert_eq!(seconds("2026-01-01T00:00:15Z"), Some(4.1));
        assert_eq!(seconds("2026-01-01T00:00:05Z"), Some(-4.2));
    }
}
