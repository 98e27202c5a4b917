//! The API server: its clock and its version, and whether the programs that run follow that.

use super::{Doctor, Severity, check};
use crate::call::Call;
use crate::connect;
use crate::holders::{Holder, Observed};
use crate::lease::Program;
use jiff::{SignedDuration, Timestamp};
use kube_client::Client;
use secondmate_config::KUBERNETES_VERSION;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest supported minor version of the API server (Kubernetes 1.x).
const OLDEST_MINOR: u32 = 34;
/// What to do about a program that is older than the API server.
const UPGRADE: &str = "upgrade secondmate, or test it with this release before you rely on it";
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

/// The API server's version.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Version {
    major: String,
    minor: String,
    /// As it reports it.
    pub git_version: String,
}

impl Version {
    /// The minor version of Kubernetes 1.x; `None` if it is not understood.
    fn minor(&self) -> Option<u32> {
        // Some builds report `36+`.
        let digits: String = self.minor.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|_| self.major == "1")
    }
}

/// The minor version of a release, such as 37 of `1.37`.
fn minor_of(release: &str) -> Option<u32> {
    release.split_once('.')?.1.parse().ok()
}

/// The releases of API servers with which this program works.
fn supported() -> String {
    format!("1.{OLDEST_MINOR} to {KUBERNETES_VERSION} are supported")
}

impl Doctor {
    /// Checks version and clock; returns the version.
    pub(super) async fn server(&mut self) -> Option<Version> {
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
                Some(version)
            }
            Err(error) => {
                self.unknown(check::VERSION, "API server", &error);
                None
            }
        }
    }

    fn version(&mut self, version: &Version) {
        let (shown, supported) = (&version.git_version, supported());
        let object = "API server";
        match version.minor() {
            Some(minor) if minor < OLDEST_MINOR => {
                let problem = format!("it is {shown}, which is too old: {supported}");
                self.found(Severity::Fault, check::VERSION, object, problem, "upgrade the cluster");
            }
            Some(_) => {}
            None => {
                let problem = format!("its version is not understood: {shown:?}; {supported}");
                self.found(Severity::Unknown, check::VERSION, object, problem, "see kubectl version");
            }
        }
    }

    /// Whether the programs that hold Leases follow the API server's release, and whether they are what this program is. If no Lease says
    /// what its holder is, this program is compared with the API server in their place.
    pub(super) fn programs(&mut self, version: Option<&Version>, seen: Option<&Observed>) {
        let server = version.and_then(|version| Some((version.minor()?, &version.git_version)));
        let newer_than = |release: &str| -> Option<String> {
            let (minor, shown) = server?;
            (minor > minor_of(release)?).then(|| shown.clone())
        };
        let live = seen.into_iter().flat_map(|seen| seen.live.keys());
        let running: Vec<(&Holder, &Program)> =
            live.filter_map(|holder| Some((holder, holder.program.as_ref()?))).collect();
        if running.is_empty()
            && let Some(shown) = newer_than(KUBERNETES_VERSION)
        {
            let problem = format!("it is {shown}, newer than what this scheduler follows: {}", supported());
            self.found(Severity::Warning, check::VERSION, "API server", problem, UPGRADE);
        }
        let own = Program::own();
        for (holder, program) in running {
            let object = format!("{}, holder of the Lease {}", holder.identity, holder.lease);
            if let Some(shown) = newer_than(&program.kubernetes) {
                let problem = format!("it is {program}, and the API server is {shown}, which is newer");
                self.found(Severity::Warning, check::VERSION, object, problem, UPGRADE);
            } else if *program != own {
                let problem = format!("it is {program}, and this is {own}, which may need other rights");
                let remedy = format!("check its rights by the doctor of secondmate {}", program.version);
                self.found(Severity::Warning, check::VERSION, object, problem, remedy);
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
    use super::super::stub;
    use super::*;
    use crate::lease::LeaseName;
    use std::collections::BTreeSet;

    /// What is told of the holders of these Leases, each with the program that it says it is.
    fn told_of(server: &str, holders: &[(&str, Option<Program>)]) -> Vec<String> {
        let (major, minor) = server.split_once('.').expect("a release");
        let version =
            Version { major: major.to_owned(), minor: minor.to_owned(), git_version: format!("v{server}.0") };
        let live = |(name, program): &(&str, Option<Program>)| {
            let lease = LeaseName { namespace: "ns".to_owned(), name: (*name).to_owned() };
            let holder = Holder {
                lease,
                identity: format!("host-of-{name}"),
                names: Vec::new(),
                may_not_list: false,
                program: program.clone(),
            };
            (holder, (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH))
        };
        let seen = Observed { live: holders.iter().map(live).collect(), dead: BTreeSet::new() };
        let mut doctor = stub::doctor(|_, _| (404, String::new()));
        doctor.programs(Some(&version), Some(&seen));
        doctor.findings.iter().map(|found| format!("{}: {}", found.object, found.problem)).collect()
    }

    #[tokio::test]
    async fn the_programs_that_run_are_compared_with_the_api_server_and_with_this_one() {
        let own = Program::own();
        let newest = minor_of(KUBERNETES_VERSION).expect("1.x");
        let of = |minor: u32| Some(Program { version: "0.0.9".to_owned(), kubernetes: format!("1.{minor}") });
        let next = format!("1.{}", newest + 1);
        let holders = [
            ("behind", of(newest - 1)),
            ("equal", Some(own.clone())),
            ("following", of(newest + 1)),
            ("silent", None),
        ];
        assert_eq!(
            told_of(&next, &holders),
            [
                format!(
                    "host-of-behind, holder of the Lease ns/behind: it is secondmate 0.0.9 (Kubernetes 1.{}), and the API server is v{next}.0, which is newer",
                    newest - 1
                ),
                format!(
                    "host-of-equal, holder of the Lease ns/equal: it is {own}, and the API server is v{next}.0, which is newer"
                ),
                format!(
                    "host-of-following, holder of the Lease ns/following: it is secondmate 0.0.9 (Kubernetes {next}), and this is {own}, which may need other rights"
                ),
            ]
        );
        assert_eq!(told_of(KUBERNETES_VERSION, &[("equal", Some(own.clone()))]), Vec::<String>::new());
        // kube-scheduler says nothing, and without anybody who does, this program is what may run.
        assert_eq!(told_of(KUBERNETES_VERSION, &[("silent", None)]), Vec::<String>::new());
        assert_eq!(
            told_of(&next, &[("silent", None)]),
            [format!("API server: it is v{next}.0, newer than what this scheduler follows: {}", supported())]
        );
    }

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
