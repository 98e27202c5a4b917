//! Other processes that serve one of our scheduler names under another Lease: each believes that it leads, and both bind.
//!
//! They are looked for at startup, every few minutes, and when a pod of ours turns out to have been bound by something else. Every
//! secondmate labels its Lease and writes its scheduler names into it. Whether a holder is alive is judged by renewals, never by comparing
//! clocks. The API server does not record who made a Binding (a pod's `managedFields` do not show it), so the holder of another Lease is
//! all that can be found out about the other binder.

use crate::call::{CallError, Caller};
use crate::holders::{self, Holder, Listed};
use crate::lease::LeaseName;
use secondmate_model::Atom;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

/// Interval between two unprompted looks.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Interval between two messages about pods that something else bound; those in between are counted.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of sightings waiting to be reported. Further ones are counted in the metric, but not reported individually.
const SIGHTINGS_MAX: usize = 64;
pub(crate) const REMEDY: &str = "let all processes of the name take one Lease: remove leaderElection.resourceName and resourceNamespace from the configuration of each (the Lease is then derived from the scheduler names), and give no name to two different sets of names";

/// A process that serves one of our names under another Lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rival {
    lease: LeaseName,
    holder: String,
    /// The names that both processes serve.
    names: Vec<String>,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, holder, names } = self;
        write!(f, "{holder} holds the Lease {lease} and serves the scheduler name {} too", names.join(", "))
    }
}

/// A pod that something else bound.
struct Sighting {
    pod: String,
    node: String,
}

/// Where sightings are reported.
#[derive(Clone)]
pub(crate) struct Sightings(mpsc::Sender<Sighting>);

impl Sightings {
    /// Reports a pod that something else bound; never waits.
    pub fn tell(&self, pod: String, node: &Atom) {
        // If the queue is full, enough of them are already waiting to be reported.
        let _ = self.0.try_send(Sighting { pod, node: node.to_string() });
    }
}

/// Looks for rivals.
pub(crate) struct Rivals {
    caller: Caller,
    /// Our own Lease, if we use one.
    own: Option<LeaseName>,
    /// The names we serve.
    names: BTreeSet<String>,
    sightings: mpsc::Receiver<Sighting>,
    told: BTreeSet<Rival>,
}

impl Rivals {
    pub fn new(
        caller: Caller,
        own: Option<LeaseName>,
        names: impl IntoIterator<Item = String>,
    ) -> (Self, Sightings) {
        let (sender, sightings) = mpsc::channel(SIGHTINGS_MAX);
        let names = names.into_iter().collect();
        (Self { caller, own, names, sightings, told: BTreeSet::new() }, Sightings(sender))
    }

    /// Looks at intervals and after sightings; ends with the scheduling thread, which reports the sightings.
    pub async fn run(mut self) {
        self.look().await;
        loop {
            match timeout(LOOK_EVERY, self.sightings.recv()).await {
                Ok(Some(sighting)) => {
                    let rivals = self.look().await;
                    let more = self.more_sightings();
                    warn!(pod = sighting.pod, node = sighting.node, more, "{}", cause(rivals.as_deref()));
                    sleep(SAID_EVERY).await;
                }
                Ok(None) => return,
                Err(_) => {
                    self.look().await;
                }
            }
        }
    }

    /// How many more sightings are waiting; one message covers them together with the first.
    fn more_sightings(&mut self) -> usize {
        std::iter::from_fn(|| self.sightings.try_recv().ok()).count()
    }

    /// Returns the live rivals, logging each once; `None` if they could not be determined.
    async fn look(&mut self) -> Option<Vec<Rival>> {
        match self.live().await {
            Ok(rivals) => {
                for rival in &rivals {
                    if self.told.insert(rival.clone()) {
                        let own = self.own.as_ref().map_or_else(
                            || "takes no Lease (no leader election)".to_owned(),
                            |own| format!("takes the Lease {own}"),
                        );
                        error!("{rival}, while this process {own}: both schedule; {REMEDY}");
                    }
                }
                self.told.retain(|told| rivals.contains(told));
                Some(rivals)
            }
            Err(error) => {
                debug!(
                    "whether others serve these scheduler names under another Lease is not known: {error}"
                );
                None
            }
        }
    }

    /// Those whose Leases are being renewed.
    async fn live(&self) -> Result<Vec<Rival>, CallError> {
        let concerns = |holder: &Holder| self.rival(holder).is_some();
        let seen = holders::observe(&self.caller, Listed::OfSecondmates, concerns).await?;
        Ok(seen.live.keys().filter_map(|holder| self.rival(holder)).collect())
    }

    /// The holder of another Lease whose names include one of ours.
    fn rival(&self, holder: &Holder) -> Option<Rival> {
        let Holder { lease, identity, names, .. } = holder;
        let names: Vec<String> = names.iter().filter(|name| self.names.contains(*name)).cloned().collect();
        if names.is_empty() || self.own.as_ref() == Some(lease) {
            return None;
        }
        Some(Rival { lease: lease.clone(), holder: identity.clone(), names })
    }
}

/// Who bound a pod of ours, as far as this can be known.
fn cause(rivals: Option<&[Rival]>) -> String {
    let who = match rivals {
        None => "who it was is not known, as the Leases cannot be listed".to_owned(),
        Some([]) => "no other Lease names this scheduler: it was a process without leader election, or another program that serves the name; end it, or give it another scheduler name".to_owned(),
        Some(rivals) => {
            let list: Vec<String> = rivals.iter().map(ToString::to_string).collect();
            format!("{}; {REMEDY}", list.join("; "))
        }
    };
    format!("a pod of this scheduler was bound by somebody else: {who}")
}
