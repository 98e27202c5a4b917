//! Leases of schedulers: who holds which, and which holders are alive.
//!
//! Whether a holder is alive is judged by renewals, never by comparing clocks.

use crate::call::{CallError, Caller};
use crate::dump::read_patiently;
use crate::lease::{Claim, LEASE_LABEL, LeaseName, MAY_NOT_LIST_ANNOTATION, Program};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Interval between two reads of the same Leases, to see whether they are renewed: a holder renews every two seconds by default.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// The name that kube-scheduler serves by default.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// A Lease with a longer duration is not waited for.
const LEASE_DURATION_MAX: Duration = Duration::from_secs(60);

/// The process that holds a Lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub lease: LeaseName,
    pub identity: String,
    /// The scheduler names that it serves, according to the Lease; empty if the holder is not a secondmate.
    pub names: Vec<String>,
    /// It has reported that it may not list what is needed to find names that nobody serves.
    pub may_not_list: bool,
    /// The program that it runs, if its Lease says so.
    pub program: Option<Program>,
}

impl Holder {
    /// Whether it serves the pods of this scheduler name. The Lease of a scheduler that is not a secondmate contains no names, so the name
    /// of the Lease decides.
    pub fn serves(&self, scheduler_name: &str) -> bool {
        if !self.names.is_empty() {
            return self.names.iter().any(|name| name == scheduler_name);
        }
        self.lease.name == scheduler_name
            || (is_kube_schedulers(&self.lease) && scheduler_name == DEFAULT_SCHEDULER)
    }

    /// The scheduler names that it serves, as far as its Lease shows.
    pub fn scheduler_names(&self) -> Vec<String> {
        if !self.names.is_empty() {
            return self.names.clone();
        }
        let name: &str = if is_kube_schedulers(&self.lease) { DEFAULT_SCHEDULER } else { &self.lease.name };
        vec![name.to_owned()]
    }
}

/// Whether this is the Lease that kube-scheduler takes.
pub(crate) fn is_kube_schedulers(lease: &LeaseName) -> bool {
    lease.namespace == "kube-system" && lease.name == "kube-scheduler"
}

/// Which Leases to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Those held by secondmates.
    OfSecondmates,
    /// All except those of nodes.
    All,
}

impl Listed {
    fn path(self) -> String {
        let all = "/apis/coordination.k8s.io/v1/leases";
        match self {
            Self::OfSecondmates => {
                let (label, value) = LEASE_LABEL;
                let selector = format!("{label}={value}").replace('/', "%2F").replace('=', "%3D");
                format!("{all}?labelSelector={selector}")
            }
            Self::All => format!("{all}?fieldSelector=metadata.namespace%21%3Dkube-node-lease"),
        }
    }
}

/// The relevant parts of a Lease besides its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub renewed: Option<Timestamp>,
    pub duration: Duration,
}

/// The Leases that have a holder.
type Held = BTreeMap<LeaseName, (Holder, Term)>;

async fn held(caller: &Caller, listed: Listed) -> Result<Held, CallError> {
    let body = read_patiently(caller, &listed.path()).await?;
    of_list(&body).map_err(|error| CallError::Lost(format!("no list: {error}")))
}

fn of_list(body: &[u8]) -> serde_json::Result<Held> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Lease>,
    }
    let list: List = serde_json::from_slice(body)?;
    let held = list.items.iter().filter_map(read);
    Ok(held.map(|(holder, term)| (holder.lease.clone(), (holder, term))).collect())
}

/// What is read from a list of Leases.
///
/// # Errors
/// It is not a list of Leases.
pub(crate) fn understood(body: &[u8]) -> Result<String, String> {
    of_list(body).map(|held| format!("{held:?}")).map_err(|error| error.to_string())
}

fn read(lease: &Lease) -> Option<(Holder, Term)> {
    let metadata = &lease.metadata;
    let name = LeaseName { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
    let spec = lease.spec.as_ref()?;
    let identity = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let names = Claim::read(lease).map(|claim| claim.scheduler_names().to_vec()).unwrap_or_default();
    // The guard serves no scheduler name, which its Lease states as an empty text.
    let names = names.into_iter().filter(|name| !name.is_empty()).collect();
    let annotations = metadata.annotations.as_ref();
    let may_not_list = annotations.and_then(|all| all.get(MAY_NOT_LIST_ANNOTATION)) == Some(&identity);
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = Duration::from_secs(seconds.unwrap_or_default());
    let renewed = spec.renew_time.as_ref().map(|time| time.0);
    let program = Program::read(lease);
    Some((Holder { lease: name, identity, names, may_not_list, program }, Term { renewed, duration }))
}

/// Holders whose Leases were observed for their duration. A holder that released or lost its Lease in the meantime is not included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Those that acquired or renewed their Lease, each with the renewal time written in it, and the local time at which that was first
    /// seen.
    pub live: BTreeMap<Holder, (Timestamp, Timestamp)>,
    /// Those that did not.
    pub dead: BTreeSet<Holder>,
}

/// Observes the Leases of these holders until all of them have been renewed, or have expired.
///
/// # Errors
/// They cannot be listed, even when tried again.
pub(crate) async fn observe(
    caller: &Caller,
    listed: Listed,
    of: impl Fn(&Holder) -> bool,
) -> Result<Observed, CallError> {
    let concerning = async || {
        let mut now = held(caller, listed).await?;
        now.retain(|_, (holder, _)| of(holder));
        Ok::<_, CallError>(now)
    };
    let mut looks = Looks::new(concerning().await?);
    let longest = looks.first.values().map(|(_, term)| term.duration).max().unwrap_or_default();
    let end = Instant::now() + longest.min(LEASE_DURATION_MAX);
    while looks.waits() && Instant::now() < end {
        sleep(RENEWAL_PAUSE).await;
        looks.look(concerning().await?, Timestamp::now());
    }
    Ok(looks.end())
}

/// What reading the same Leases repeatedly has shown so far.
struct Looks {
    first: Held,
    last: Held,
    /// Holders that acquired or renewed a Lease since the first read, and still hold it; with the times of [`Observed::live`].
    live: BTreeMap<LeaseName, (Holder, (Timestamp, Timestamp))>,
}

impl Looks {
    fn new(first: Held) -> Self {
        Self { last: first.clone(), first, live: BTreeMap::new() }
    }

    /// Whether some Lease has not been seen to be renewed.
    fn waits(&self) -> bool {
        self.first.keys().any(|lease| !self.live.contains_key(lease))
    }

    fn look(&mut self, now: Held, seen: Timestamp) {
        let holds = |holder: &Holder| {
            now.get(&holder.lease).is_some_and(|(present, _)| present.identity == holder.identity)
        };
        self.live.retain(|_, (holder, _)| holds(holder));
        for (lease, (holder, term)) in &now {
            let before = self.first.get(lease).map(|(holder, term)| (&holder.identity, term.renewed));
            if let Some(renewed) = term.renewed
                && before != Some((&holder.identity, term.renewed))
            {
                self.live.entry(lease.clone()).or_insert_with(|| (holder.clone(), (renewed, seen)));
            }
        }
        self.last = now;
    }

    fn end(self) -> Observed {
        let still_held = |holder: &Holder| {
            self.last.get(&holder.lease).is_some_and(|(present, _)| present.identity == holder.identity)
        };
        let silent = self.first.into_values().map(|(holder, _)| holder);
        let dead =
            silent.filter(|holder| !self.live.contains_key(&holder.lease) && still_held(holder)).collect();
        Observed { live: self.live.into_values().collect(), dead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(lease: &str, names: &[&str]) -> Holder {
        let (namespace, name) = lease.split_once('/').expect("NAMESPACE/NAME");
        Holder {
            lease: LeaseName { namespace: namespace.to_owned(), name: name.to_owned() },
            identity: "host_1".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            may_not_list: false,
            program: None,
        }
    }

    #[test]
    fn whom_a_holder_serves() {
        for (lease, names, serves, expected) in [
            ("kube-system/a", &["a", "b"][..], "b", true),
            // For a secondmate, the names in its Lease count, not the name of the Lease.
            ("kube-system/mine", &["a"], "mine", false),
            ("kube-system/kube-scheduler", &[], "default-scheduler", true),
            ("elsewhere/kube-scheduler", &[], "default-scheduler", false),
            ("kube-system/kube-scheduler", &["other"], "default-scheduler", false),
            ("volcano-system/volcano", &[], "volcano", true),
        ] {
            let holder = holder(lease, names);
            assert_eq!(holder.serves(serves), expected, "{lease} {names:?} {serves}");
            assert_eq!(holder.scheduler_names().iter().any(|name| name == serves), expected, "{holder:?}");
        }
    }

    #[test]
    fn a_lease_is_judged_by_who_holds_it_in_the_end() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let held = |leases: &[(&str, &str, i64)]| -> Held {
            let of = |(lease, identity, renewed): &(&str, &str, i64)| {
                let holder =
                    Holder { identity: (*identity).to_owned(), ..holder(&format!("ns/{lease}"), &[]) };
                let term = Term { renewed: Some(at(*renewed)), duration: Duration::from_secs(15) };
                (holder.lease.clone(), (holder, term))
            };
            leases.iter().map(of).collect()
        };
        let mut looks = Looks::new(held(&[
            ("renewed", "a", 1),
            ("silent", "b", 1),
            ("handed", "c", 1),
            ("released", "d", 1),
            ("renewed-and-released", "e", 1),
            ("renewed-and-handed", "f", 1),
        ]));
        looks.look(
            held(&[
                ("renewed", "a", 2),
                ("silent", "b", 1),
                ("renewed-and-released", "e", 2),
                ("renewed-and-handed", "f", 2),
                ("taken", "g", 2),
            ]),
            at(12),
        );
        assert!(looks.waits());
        looks.look(
            held(&[
                ("renewed", "a", 3),
                ("silent", "b", 1),
                ("handed", "x", 3),
                ("renewed-and-handed", "y", 3),
                ("taken", "g", 3),
            ]),
            at(13),
        );
        let Observed { live, dead } = looks.end();
        let live: Vec<_> = live
            .into_iter()
            .map(|(holder, (renewed, seen))| {
                (holder.lease.name, holder.identity, renewed.as_second(), seen.as_second())
            })
            .collect();
        let expected = [
            ("handed", "x", 3, 13),
            ("renewed", "a", 2, 12),
            ("renewed-and-handed", "y", 3, 13),
            ("taken", "g", 2, 12),
        ];
        assert_eq!(
            live,
            expected.map(|(lease, who, renewed, seen)| (lease.to_owned(), who.to_owned(), renewed, seen))
        );
        let dead: Vec<String> = dead.into_iter().map(|holder| holder.lease.name).collect();
        assert_eq!(dead, ["silent"]);
    }
}
