//! The shell's leader election: starting it, watching it, and reporting on it.

use crate::connect;
use crate::heartbeat::Heartbeat;
use crate::lease::{
    Claim, Credentials, Election, ElectionConfig, ElectionEnd, KubeLease, Observation, Term, are_read_once,
};
use crate::options::{Options, StartError};
use crate::tasks::Tasks;
use secondmate_telemetry::Probe;
use tokio::sync::watch as value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// A running election, or an endless term without one.
pub(crate) struct Elected {
    /// Completes when the election ends; `None` without an election.
    pub election: Option<JoinHandle<ElectionEnd>>,
    /// The right to write.
    pub term: value::Receiver<Option<Term>>,
}

/// Starts the election that the options ask for. It ends when `cancel` is cancelled, after everything else. With `listed`, it begins when
/// that is cancelled: when every list is in. As in kube-scheduler, whoever cannot schedule yet takes the Lease from nobody who can.
///
/// # Errors
/// Its times contradict each other, or no client can be built for the Lease.
pub(crate) async fn start(
    options: &Options,
    api: &Heartbeat,
    cancel: &CancellationToken,
    tasks: &Tasks,
    listed: Option<CancellationToken>,
) -> Result<Elected, StartError> {
    let Some(config) = &options.election else {
        let (sender, term) = value::channel(Some(Term::unlimited()));
        // The term ends with the shell.
        tasks.spawn("term without end", async move { sender.closed().await });
        return Ok(Elected { election: None, term });
    };
    // Uses its own client, because renewals must not wait behind other requests.
    let client = connect::client(&options.cluster, &options.admin.metrics, Some(api.clone())).await?;
    let slow_path = options.admin.metrics.leader_election_slow_path(&config.lease.name);
    let told = ElectionConfig { slow_path, ..config.clone() };
    let credentials = Credentials::default();
    let lease = KubeLease::new(client, &config.lease).telling(credentials.clone());
    let (election, handle) = Election::new(lease, told)?;
    if are_read_once(&options.cluster) {
        options.admin.health.register("credentials", Probe::Live, move || credentials.check());
    }
    tasks.spawn(
        "report of election conflicts",
        report_conflicts(handle.observation.clone(), config.claim.clone()),
    );
    let gauge = options.admin.metrics.leader_election_master_status(&config.lease.name);
    let mut term = handle.term.clone();
    tasks.spawn("metric of the election", async move {
        loop {
            gauge.set(i64::from(term.borrow_and_update().is_some()));
            if term.changed().await.is_err() {
                gauge.set(0);
                return;
            }
        }
    });
    let (cancel, lease) = (cancel.clone(), config.lease.clone());
    let run = async move {
        if let Some(listed) = listed.filter(|listed| !listed.is_cancelled()) {
            info!(%lease, "waiting for the caches before standing for election");
            tokio::select! {
                biased;
                () = cancel.cancelled() => return ElectionEnd::NeverLed,
                () = listed.cancelled() => {}
            }
        }
        election.run(cancel).await
    };
    Ok(Elected { election: Some(tokio::spawn(run)), term: handle.term })
}

/// Reports when another live process holds the Lease for a different purpose; once per holder.
async fn report_conflicts(mut observation: value::Receiver<Option<Observation>>, claim: Claim) {
    let mut reported = None;
    loop {
        let conflict = observation.borrow_and_update().as_ref().and_then(|o| o.conflict(&claim));
        if let Some(conflict) = conflict
            && reported.as_ref() != Some(&conflict)
        {
            error!("{conflict}");
            reported = Some(conflict);
        }
        if observation.changed().await.is_err() {
            return;
        }
    }
}
