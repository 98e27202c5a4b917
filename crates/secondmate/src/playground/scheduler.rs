//! The scheduler of the playground, started as by `run`, with a kubeconfig for the sandbox.

use super::api;
use super::options::Plan;
use crate::version::VERSION;
use crate::{App, profiles, run};
use anyhow::Context;
use secondmate_shell::{End, Shell};
use secondmate_telemetry::Admin;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Maximum time to wait for the scheduler's first lists.
const SYNC_TIMEOUT: Duration = Duration::from_secs(120);

/// A running scheduler.
pub(super) struct RunningScheduler {
    shell: Shell,
    /// The addresses of probes and metrics, and of debug endpoints.
    addresses: [Option<SocketAddr>; 2],
    /// The tasks that serve them.
    serving: JoinSet<()>,
    _end_of_serving: DropGuard,
}

impl RunningScheduler {
    /// Starts it and waits until its caches are synced.
    ///
    /// # Errors
    /// The configuration cannot be run, the address is taken, or the scheduler does not come up.
    pub async fn start(app: &App, plan: &Plan, kubeconfig: &str) -> anyhow::Result<Self> {
        let profiles = profiles(app, &plan.configuration)?;
        let admin = Admin::new(VERSION.metrics());
        admin.set_configuration(plan.configuration.to_value());
        let cancel = CancellationToken::new();
        let (mut addresses, mut serving) = ([None; 2], JoinSet::new());
        if let Some(address) = plan.listen {
            let listener = Admin::listen(address).await?;
            addresses[0] = Some(listener.local_addr()?);
            serving.spawn(admin.clone().serve(listener, cancel.clone()));
        }
        if let Some(address) = plan.debug_listen {
            let listener = Admin::listen_debug(address).await?;
            addresses[1] = Some(listener.local_addr()?);
            serving.spawn(admin.clone().serve_debug(listener, cancel.clone()));
        }
        let cluster = api::cluster(kubeconfig).await?;
        let options = run::shell_options(&plan.configuration, cluster, profiles, admin);
        let shell = Shell::start(options).await?;
        let mut this = Self { shell, addresses, serving, _end_of_serving: cancel.drop_guard() };
        let mut progress = this.shell.progress();
        tokio::select! {
            synced = tokio::time::timeout(SYNC_TIMEOUT, progress.wait_for(|progress| progress.synced)) => {
                synced
                    .with_context(|| format!("the scheduler has not listed the cluster within {SYNC_TIMEOUT:?}"))?
                    .context("the scheduler ended")?;
            }
            error = this.failed() => return Err(error),
        }
        Ok(this)
    }

    /// The endpoints that are served, and their addresses.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> + use<> {
        let served = ["probes and metrics", "debug endpoints"].into_iter().zip(self.addresses);
        served.filter_map(|(what, address)| Some((what, address?)))
    }

    /// Whether it has nothing left to try: everything pending waits for the cluster to change.
    pub fn idleness(&self) -> impl Fn() -> bool + use<> {
        let progress = self.shell.progress();
        move || {
            let progress = *progress.borrow();
            let (sizes, queue) = (progress.sizes, progress.sizes.queue);
            progress.outstanding == 0
                && sizes.bindings + sizes.preemptions == 0
                && queue.active + queue.backoff + queue.in_flight == 0
        }
    }

    /// Waits until it ends by itself, which it never should.
    pub async fn failed(&mut self) -> anyhow::Error {
        let end = tokio::select! {
            end = self.shell.ended() => end,
            Some(end) = self.serving.join_next() => {
                let reason = end.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string());
                return anyhow::anyhow!("the server of probes and metrics, or of debug endpoints, ended ({reason}): this is a bug, please report it with the log");
            }
        };
        match end {
            End::Failed(failure) => {
                anyhow::anyhow!("{failure}: this is a bug, please report it with the log")
            }
            End::LeadershipLost { reason } => anyhow::anyhow!("the scheduler lost its leadership ({reason})"),
            End::Stopped => anyhow::anyhow!("the scheduler stopped"),
        }
    }

    /// Stops it, after waiting for bindings in flight.
    pub async fn stop(self) {
        self.shell.stop().await;
    }
}
