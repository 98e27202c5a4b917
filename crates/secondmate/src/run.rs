//! `secondmate run`: the scheduler against a cluster.

use crate::cli::LogFormat;
use crate::{App, ConfigurationSource, profiles};
use clap::{ArgAction, Args};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Kubeconfig of the cluster. Else that of the configuration, KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Schedules pods with this spec.schedulerName. Repeatable: each name is a profile of its own.
    #[arg(long = "scheduler-name", value_name = "NAME")]
    pub scheduler_names: Vec<String>,
    /// KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whether one of several processes is elected to schedule. Else as configured; true by default.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    /// How long a standby waits after the last renewal that it saw. Else as configured; 15s by default.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub lease_duration: Option<std::time::Duration>,
    /// How long the leader tries to renew before it stops. Else as configured; 10s by default.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub renew_deadline: Option<std::time::Duration>,
    /// Pause between two attempts at the lease. Else as configured; 2s by default.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub retry_period: Option<std::time::Duration>,
    /// Address for health, metrics and debugging.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10359")]
    pub listen: SocketAddr,
    /// Bindings that are on their way to the API server at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub bind_concurrency: u16,
    /// Takes the name default-scheduler, and kube-scheduler's lease with it. kube-scheduler must be stopped.
    #[arg(long)]
    pub i_replace_the_default_scheduler: bool,
}

pub(crate) fn run(app: &App, args: RunArgs, _log_format: LogFormat) -> anyhow::Result<ExitCode> {
    let source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: args.scheduler_names.clone(),
        replace_default_scheduler: args.i_replace_the_default_scheduler,
    };
    let configuration = source.read(app)?;
    let profiles = profiles(app, &configuration)?;
    anyhow::bail!("{} profiles are ready, and the shell is not there yet", profiles.len())
}
