//! Patience with an API server that does not answer at the start.
//!
//! As kube-scheduler does, a process that is to stay asks again. One that ended instead would be started again by its kubelet, later each
//! time, and come back minutes after the API server.

use crate::access;
use crate::call::Caller;
use crate::connect::{self, ConnectError};
use crate::options::StartError;
use crate::watch::Permission;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Pause after the first question that got no answer; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two words about it in the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Waits until the API server answers, and asks whether everything is granted that this process will do.
///
/// # Errors
/// The credentials are not accepted, a permission is missing, or what keeps it from answering does not pass by itself.
pub(crate) async fn with_access(
    caller: &Caller,
    server: &str,
    needed: &BTreeSet<Permission>,
) -> Result<(), StartError> {
    let mut patience = Patience::default();
    loop {
        let asked = async {
            connect::check(caller, server).await?;
            access::demand(caller, server, needed).await
        };
        match asked.await {
            Err(error) if passes(&error) => patience.wait(&error).await,
            answer => {
                if answer.is_ok() && patience.since.is_some() {
                    info!("the API server answers");
                }
                return answer;
            }
        }
    }
}

fn passes(error: &StartError) -> bool {
    match error {
        StartError::Connect(ConnectError::TooLong { .. }) => true,
        StartError::Connect(ConnectError::Unreachable { may_pass, .. })
        | StartError::AccessUnknown { may_pass, .. } => *may_pass,
        _ => false,
    }
}

/// Pauses that grow, and what is said meanwhile.
#[derive(Debug)]
struct Patience {
    pause: Duration,
    /// When it was last said.
    since: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE, since: None }
    }
}

impl Patience {
    async fn wait(&mut self, error: &impl Display) {
        if self.since.is_none_or(|since| since.elapsed() >= TOLD_EVERY) {
            self.since = Some(Instant::now());
            warn!("{error}; trying again until it answers");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
