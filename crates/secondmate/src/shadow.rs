//! `secondmate run --shadow NAME`: what another scheduler decides, held against what this one would decide; nothing is written.

mod summary;

use crate::endpoints;
use crate::log::LogArgs;
use crate::output::print;
use crate::run::{ClusterSource, RunArgs};
use crate::version::VERSION;
use crate::{App, ConfigurationSource, profiles};
use anyhow::{Context, Result, bail};
use secondmate_config::Configuration;
use secondmate_core::shadow::CONFIRM_AFTER;
use secondmate_cycle::Profile;
use secondmate_shell::{ShadowOptions, ShadowService};
use secondmate_telemetry::{Admin, Probe};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Threads for I/O, decoding and evaluations.
const WORKERS: usize = 2;

/// Runs it until it is told to end, and prints what was compared.
///
/// # Errors
/// The configuration is not understood or has no profile for the name, the cluster cannot be reached, or a part of it failed.
pub(crate) fn shadow(app: &App, name: &str, args: RunArgs, log: LogArgs) -> Result<ExitCode> {
    let configuration = configuration(app, name, &args)?;
    let profile = profiles(app, &configuration)?.pop().context("one profile was chosen")?;
    log.init(false)?;
    for notice in configuration.notices() {
        warn!("{notice}");
    }
    if !configuration.extenders.is_empty() {
        warn!("extenders are not asked: what they reject counts as fit here, and their scores are missing");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(name, args, &configuration, profile));
    runtime.shutdown_background();
    code
}

/// The configuration with the one profile that is called like the other scheduler.
fn configuration(app: &App, name: &str, args: &RunArgs) -> Result<Configuration> {
    let mut source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: Vec::new(),
        // Nothing is placed.
        replace_default_scheduler: true,
    };
    if let Some(file) = &source.file {
        let mut configuration = source.read(app)?;
        if configuration.profiles.len() > 1 {
            configuration.profiles.retain(|profile| profile.scheduler_name == name);
            if configuration.profiles.is_empty() {
                bail!(
                    "{}: it has several profiles, and none for {name}: add one, or give a file with one profile",
                    file.display()
                );
            }
            return Ok(configuration);
        }
    }
    source.scheduler_names = vec![name.to_owned()];
    source.read(app)
}

async fn serve(
    name: &str,
    args: RunArgs,
    configuration: &Configuration,
    profile: Profile,
) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let admin = Admin::new(VERSION.metrics());
    admin.set_configuration(configuration.to_value());
    admin.set_profiling(configuration.enable_profiling);
    let _starting = admin.health.flag("sched-handler-sync", Probe::Ready, "the shadow is starting");
    let stop_serving = CancellationToken::new();
    let mut serving = endpoints::serve(&admin, args.listen, args.debug_listen, &stop_serving).await?;
    let cluster = ClusterSource { kubeconfig: args.kubeconfig, server: None }.find(configuration).await?;
    info!(
        version = VERSION.version,
        commit = VERSION.commit,
        kubernetes = VERSION.kubernetes,
        server = %cluster.cluster_url,
        shadows = name,
        listen = serving.listen.map(|address| address.to_string()),
        debug_listen = serving.debug_listen.map(|address| address.to_string()),
        "starting a shadow: nothing is written"
    );
    let seed = RandomState::new().build_hasher().finish();
    let options = ShadowOptions { cluster, profile, seed, confirm_after: CONFIRM_AFTER, admin };
    let mut shadow = tokio::select! {
        started = ShadowService::start(options) => started?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    let failed = tokio::select! {
        failure = shadow.failed() => Some(failure.to_string()),
        Some(_) = serving.tasks.join_next() => Some("the server of probes and metrics, or of debug endpoints, ended".to_owned()),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if let Some(failure) = &failed {
        error!("{failure}: stopping");
    }
    print(summary::text(name, &shadow.tally()).as_bytes())?;
    drop(shadow);
    stop_serving.cancel();
    serving.tasks.join_all().await;
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => bail!("{failure}: this is a bug, please report it with the log"),
    }
}
