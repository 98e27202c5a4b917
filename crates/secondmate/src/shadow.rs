//! `secondmate run --shadow NAME`: compares another scheduler's decisions with those that this one would make; nothing is written.

mod summary;

use crate::endpoints;
use crate::log::LogArgs;
use crate::output::print;
use crate::process::{self, Stop};
use crate::run::{ClusterSource, RunArgs};
use crate::version::VERSION;
use crate::{App, ConfigurationSource};
use anyhow::{Context, Result, bail};
use secondmate_config::Configuration;
use secondmate_core::shadow::CONFIRM_AFTER;
use secondmate_cycle::Profile;
use secondmate_shell::{ShadowOptions, ShadowService};
use secondmate_telemetry::{Admin, Probe};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Threads for I/O, decoding and evaluations.
const WORKERS: usize = 2;

/// Runs it until it is told to stop, and prints the comparison.
///
/// # Errors
/// The configuration cannot be decoded or has no profile for the name, the cluster cannot be reached, or a part of it failed.
pub(crate) fn shadow(app: &App, name: &str, args: RunArgs, log: LogArgs) -> Result<ExitCode> {
    log.init(false)?;
    let app = app.clone();
    process::run(Some(WORKERS), |stop| serve(app, name, args, stop))
}

/// The configuration with a single profile, which has the other scheduler's name.
fn configuration(
    source: &ConfigurationSource,
    app: &App,
    text: Option<&str>,
    name: &str,
) -> Result<Configuration> {
    if let Some(file) = &source.file {
        let mut configuration = source.parse(app, text)?;
        if configuration.profile(name).is_some() {
            configuration.profiles.retain(|profile| profile.scheduler_name == name);
            return Ok(configuration);
        }
        let file = file.display();
        if configuration.profiles.len() > 1 {
            bail!(
                "{file}: it has several profiles, and none for {name}: add one, or give a file with one profile"
            );
        }
        if !configuration.own.tenants.is_empty() {
            bail!(
                "{file}: it has tenants, which are told apart by scheduler name, and no profile for {name}: give --shadow the name of its \
                 profile ({}), or a file with a profile for {name}",
                configuration.scheduler_names().join(", ")
            );
        }
    }
    let named = ConfigurationSource { scheduler_names: vec![name.to_owned()], ..source.clone() };
    named.parse(app, text)
}

/// The configuration, and its one profile.
async fn load(app: &App, name: &str, file: Option<PathBuf>) -> Result<(Configuration, Profile)> {
    let source = ConfigurationSource {
        file,
        scheduler_names: Vec::new(),
        // Nothing is placed.
        replace_default_scheduler: true,
    };
    let name = name.to_owned();
    let parse = move |source: &ConfigurationSource, app: &App, text: Option<&str>| {
        configuration(source, app, text, &name)
    };
    let (configuration, mut profiles) = source.load_as(app, parse).await?;
    Ok((configuration, profiles.pop().context("one profile was chosen")?))
}

async fn serve(app: App, name: &str, args: RunArgs, mut stop: Stop) -> Result<ExitCode> {
    let (configuration, profile) = tokio::select! {
        loaded = load(&app, name, args.config.clone()) => loaded?,
        _ = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    for notice in configuration.notices() {
        warn!("{notice}");
    }
    if !configuration.extenders.is_empty() {
        warn!("extenders are not asked: what they reject counts as fit here, and their scores are missing");
    }
    let admin = Admin::new(VERSION.metrics());
    admin.set_configuration(configuration.to_value());
    admin.set_profiling(configuration.enable_profiling);
    let _starting = admin.health.flag("sched-handler-sync", Probe::Ready, "the shadow is starting");
    let stop_serving = CancellationToken::new();
    let mut serving = endpoints::serve(&admin, args.listen, args.debug_listen, &stop_serving).await?;
    let started = async {
        let source = ClusterSource { kubeconfig: args.kubeconfig, context: args.context, server: None };
        let cluster = source.find(&configuration).await?;
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
        anyhow::Ok(ShadowService::start(options).await?)
    };
    let mut shadow = tokio::select! {
        started = started => started?,
        _ = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    let failed = tokio::select! {
        failure = shadow.failed() => Some(failure.to_string()),
        Some(_) = serving.tasks.join_next() => Some("the server of probes and metrics, or of debug endpoints, ended".to_owned()),
        _ = stop.asked() => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_profile_of_a_tenant_keeps_its_name() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let source = |file: &str| ConfigurationSource {
            file: Some(root.join(file)),
            scheduler_names: Vec::new(),
            replace_default_scheduler: true,
        };
        let names = |file: &str, name: &str| {
            let source = source(file);
            let text = source.text().expect("a file of ours");
            let configuration = configuration(&source, &App::new(), text.as_deref(), name);
            configuration
                .map(|c| c.scheduler_names().into_iter().map(str::to_owned).collect::<Vec<_>>())
                .map_err(|error| format!("{error:#}"))
        };
        let red = "manifests/overlays/tenants/red/config.yaml";
        assert_eq!(names(red, "red-scheduler"), Ok(vec!["red-scheduler".to_owned()]));
        assert_eq!(
            names("examples/tenants/config.yaml", "blue-scheduler"),
            Ok(vec!["blue-scheduler".to_owned()])
        );
        assert_eq!(names("manifests/base/config.yaml", "other"), Ok(vec!["other".to_owned()]));
        let refused = names(red, "other").expect_err("another tenant");
        let told = format!(
            "{}: it has tenants, which are told apart by scheduler name, and no profile for other: give --shadow the name of its profile \
             (red-scheduler), or a file with a profile for other",
            root.join(red).display()
        );
        assert_eq!(refused, told);
    }
}
