//! The shell's leader election: starting it, watching it, and reporting on it.

use crate::connect;
use crate::heartbeat::Heartbeat;
use crate::lease::{Claim, Election, ElectionConfig, ElectionEnd, KubeLease, Observation, Term};
use crate::options::{Options, StartError};
use crate::tasks::Tasks;
use tokio::sync::watch as value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// A running election, or an endless term without one.
pub(crate) struct Elected {
    /// Completes when the election ends; `None` without an election.
    pub election: Option<JoinHandle<ElectionEnd>>,
    /// The right to write.
    pub term: value::Receiver<Option<Term>>,
}

/// Starts the election that the options ask for. It ends when `cancel` is cancelled, after everything else has ended.
///
/// # Errors
/// Its times contradict each other, or no client can be built for the Lease.
pub(crate) async fn start(
    options: &Options,
    api: &Heartbeat,
    cancel: &CancellationToken,
    tasks: &Tasks,
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
    let (election, handle) = Election::new(KubeLease::new(client, &config.lease), told)?;
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
    Ok(Elected { election: Some(tokio::spawn(election.run(cancel.clone()))), term: handle.term })
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
