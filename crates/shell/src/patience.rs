//! Patience with an API server that does not answer during startup.
//!
//! Like kube-scheduler, a long-running process keeps asking. If it exited instead, its kubelet would restart it with increasing backoff,
//! and it would come back minutes after the API server.

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

/// Pause after the first unanswered request; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Interval between two log lines about it.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Waits until the API server answers, and checks that all the permissions that this process needs are granted.
///
/// # Errors
/// The credentials are not accepted, a permission is missing, or there is a problem that will not go away by itself.
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

/// Growing pauses, and what is logged in the meantime.
#[derive(Debug)]
struct Patience {
    pause: Duration,
    /// When it was last logged.
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
