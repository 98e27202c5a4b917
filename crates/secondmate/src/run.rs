//! `secondmate run`: the scheduler against a cluster.

use crate::endpoints::{self, DebugListen, Endpoints, Serving};
use crate::guard::ServingArgs;
use crate::kube_scheduler::{Feature, features};
use crate::log::LogArgs;
use crate::process::{self, Stop};
use crate::secure_args::SecureArgs;
use crate::started;
use crate::version::VERSION;
use crate::{App, ConfigurationSource};
use anyhow::{Context, bail};
use clap::{ArgAction, Args};
use secondmate_config::{Configuration, LeaderElection};
use secondmate_core::SchedulerConfig;
use secondmate_core::queue::QueueConfig;
use secondmate_cycle::Profile;
use secondmate_shell::lease::{Claim, ElectionConfig, LeaseName, LeaseNameSources, identity};
use secondmate_shell::{ClusterConfig, End, Failure, GuardService, Options, Shell, WriteLimit};
use secondmate_telemetry::{Admin, Probe};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Threads for I/O and decoding.
const WORKERS: usize = 2;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate run --scheduler-name my-scheduler
  secondmate run --config scheduler.yaml --log-format json
  secondmate run --scheduler-name my-scheduler --kubeconfig admin.conf -v 4
  secondmate run --shadow default-scheduler    # compare only, write nothing";

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Kubeconfig file [default: the one in the configuration, then KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig context [default: the current context].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Schedule pods with this spec.schedulerName. May be repeated, for several profiles.
    #[arg(long = "scheduler-name", value_name = "NAME")]
    pub scheduler_names: Vec<String>,
    /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Elect a leader, so that only one of several replicas schedules [default: as configured, else true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    /// How long non-leaders wait after the last observed renewal before they try to take the Lease [default: as configured, else
    /// 15s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub lease_duration: Option<Duration>,
    /// How long the leader retries renewing the Lease before it gives up leadership [default: as configured, else 10s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub renew_deadline: Option<Duration>,
    /// Time between attempts to acquire or renew the Lease [default: as configured, else 2s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub retry_period: Option<Duration>,
    /// Address for probes (/livez, /readyz, /healthz) and /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10359")]
    pub listen: SocketAddr,
    /// Address for /debug/ and /configz, which show pod names of all namespaces to anyone who can connect; "off" disables them
    /// [default: 127.0.0.1:10360, or off if that port is in use].
    #[arg(long, value_name = "ADDR")]
    pub debug_listen: Option<DebugListen>,
    /// Maximum concurrent binding requests. Fewer are sent if more would only make the API server slower.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub bind_concurrency: u16,
    /// Allow the name default-scheduler, and take kube-scheduler's Lease. Stop kube-scheduler first.
    #[arg(long)]
    pub i_replace_the_default_scheduler: bool,
    /// Compare decisions with the scheduler of this name without writing anything; report by metrics, at /debug/shadow, and in a
    /// summary on standard output at the end. Uses the profile of this name from --config, or its only one.
    #[arg(long, value_name = "NAME", conflicts_with_all = [
        "scheduler_names", "leader_elect", "lease_duration", "renew_deadline", "retry_period", "bind_concurrency",
        "i_replace_the_default_scheduler", "guard_listen",
    ])]
    pub shadow: Option<String>,
    #[command(flatten)]
    pub secure: SecureArgs,
    /// Also run the bind guard, at this address (HTTPS, POST /bind) and with its own Lease; see secondmate guard [default: off].
    #[arg(long, value_name = "ADDR", help_heading = crate::guard::HEADING)]
    pub guard_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub guard: ServingArgs,
}

impl RunArgs {
    /// Applies the command line's election options over those of the configuration.
    fn apply_to(&self, election: &mut LeaderElection) {
        if let Some(elect) = self.leader_elect {
            election.leader_elect = elect;
        }
        for (given, field) in [
            (self.lease_duration, &mut election.lease_duration),
            (self.renew_deadline, &mut election.renew_deadline),
            (self.retry_period, &mut election.retry_period),
        ] {
            if let Some(given) = given {
                *field = given;
            }
        }
    }
}

/// What to run, apart from the configuration.
pub(crate) struct Plan {
    pub cluster: ClusterSource,
    pub replace_default_scheduler: bool,
    pub bind_concurrency: usize,
    /// Maximum time that a pod stays in the unschedulable queue; `None`: the default.
    pub max_unschedulable: Option<Duration>,
    pub disabled_metrics: Vec<String>,
    pub endpoints: Endpoints,
    /// The state of kube-scheduler's features in this program.
    pub features: Vec<Feature>,
    /// The bind guard to run beside it, and its address.
    pub guard: Option<(SocketAddr, ServingArgs)>,
    /// Remarks on the command line, to be logged once there is a log.
    pub remarks: Vec<String>,
}

/// How to find the cluster; overrides the configuration.
pub(crate) struct ClusterSource {
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, if not its current one.
    pub context: Option<String>,
    /// URL of the API server, in place of the kubeconfig's.
    pub server: Option<String>,
}

impl ClusterSource {
    pub async fn find(&self, configuration: &Configuration) -> anyhow::Result<ClusterConfig> {
        let configured = configuration.client_connection.kubeconfig.as_ref().map(PathBuf::from);
        let kubeconfig = self.kubeconfig.clone().or(configured);
        let Some(server) = &self.server else {
            return Ok(secondmate_shell::cluster_in(kubeconfig.as_deref(), self.context.as_deref()).await?);
        };
        let server: http::Uri = server.parse().with_context(|| format!("--master={server}"))?;
        if server.authority().is_none() || server.scheme().is_none() {
            bail!("--master={server}: expected a URL such as https://10.0.0.1:6443");
        }
        // As in kube-scheduler: without a kubeconfig, only the address is known.
        let mut cluster = match &kubeconfig {
            Some(path) => secondmate_shell::cluster(Some(path)).await?,
            None => ClusterConfig::new(server.clone()),
        };
        cluster.cluster_url = server;
        Ok(cluster)
    }
}

pub(crate) fn run(app: &App, args: RunArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.shadow.clone() {
        return crate::shadow::shadow(app, &name, args, log);
    }
    let source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: args.scheduler_names.clone(),
        replace_default_scheduler: args.i_replace_the_default_scheduler,
    };
    let app = app.clone();
    execute(log, async move {
        let (mut configuration, profiles) = source.load(&app).await?;
        args.apply_to(&mut configuration.leader_election);
        let plan = plan(args, &configuration);
        Ok(Ready { plan, configuration, profiles })
    })
}

fn plan(args: RunArgs, configuration: &Configuration) -> Plan {
    let configured = configuration.client_connection.kubeconfig.as_ref().map(PathBuf::from);
    let kubeconfig = args.kubeconfig.clone().or(configured);
    let secure = args.secure.endpoint(kubeconfig, args.context.clone());
    let plain = Endpoints::Plain { listen: args.listen, debug_listen: args.debug_listen };
    Plan {
        cluster: ClusterSource { kubeconfig: args.kubeconfig, context: args.context, server: None },
        replace_default_scheduler: args.i_replace_the_default_scheduler,
        bind_concurrency: usize::from(args.bind_concurrency),
        max_unschedulable: None,
        disabled_metrics: Vec::new(),
        endpoints: secure.unwrap_or(plain),
        // `/flagz` and `/statusz` are served only in kube-scheduler's place.
        features: features(false, false),
        guard: args.guard_listen.map(|listen| (listen, args.guard)),
        remarks: Vec::new(),
    }
}

/// What a scheduler is run with, once it has been read.
pub(crate) struct Ready {
    pub plan: Plan,
    pub configuration: Configuration,
    pub profiles: Vec<Profile>,
}

/// Runs a scheduler until it ends. `ready` is awaited after the signal handlers are installed.
pub(crate) fn execute(
    log: LogArgs,
    ready: impl Future<Output = anyhow::Result<Ready>>,
) -> anyhow::Result<ExitCode> {
    log.init(false)?;
    // I/O and decoding, beside the scheduling thread: two workers keep up with it, and more would only wake each other.
    process::run(Some(WORKERS), |stop| serve(stop, ready))
}

async fn serve(
    mut signals: Stop,
    ready: impl Future<Output = anyhow::Result<Ready>>,
) -> anyhow::Result<ExitCode> {
    // Handled from the very start, like the others: unhandled, it would end the process.
    let mut dump = signal(SignalKind::user_defined2()).context("cannot listen for SIGUSR2")?;
    let Ready { plan, configuration, profiles } = tokio::select! {
        ready = ready => ready?,
        _ = signals.asked() => return Ok(ExitCode::SUCCESS),
    };
    for notice in configuration.notices() {
        warn!("{notice}");
    }
    for remark in &plan.remarks {
        warn!("{remark}");
    }
    let admin = Admin::new(VERSION.metrics());
    admin.set_configuration(configuration.to_value());
    admin.set_profiling(configuration.enable_profiling);
    admin.disable_metrics(plan.disabled_metrics.iter().cloned());
    for Feature { gate, stage, enabled } in &plan.features {
        admin.metrics.set_feature(gate, stage, *enabled);
    }
    // The shell takes over this check once it has connected; until then nothing is ready.
    let _starting = admin.health.flag("sched-handler-sync", Probe::Ready, "the scheduler is starting");
    let stop_serving = CancellationToken::new();
    let Plan { cluster, replace_default_scheduler, bind_concurrency, max_unschedulable, .. } = plan;
    let start =
        Start { cluster, replace_default_scheduler, bind_concurrency, max_unschedulable, guard: plan.guard };
    let started = async {
        let serving = plan.endpoints.serve(&admin, &stop_serving).await?;
        let (shell, guard) = start.start(&configuration, profiles, admin.clone(), &serving).await?;
        anyhow::Ok((serving, shell, guard))
    };
    let (mut serving, mut shell, mut guard) = tokio::select! {
        started = started => started?,
        _ = signals.asked() => return Ok(ExitCode::SUCCESS),
    };
    let end = loop {
        break tokio::select! {
            end = shell.ended() => {
                if let End::Failed(failure) = &end {
                    error!("{failure}: stopping");
                }
                // Everything that still works is shut down in order, and the Lease is released.
                stop(shell, "it ended by itself").await;
                end
            }
            failure = failure_of(&mut guard) => {
                error!("{failure}: stopping");
                stop(shell, "the bind guard ended by itself").await;
                End::Failed(failure)
            }
            failure = endpoints::failure_of(&mut serving.secure) => {
                error!("{failure}: stopping");
                stop(shell, "HTTPS is not served any more").await;
                End::Failed(failure)
            }
            Some(end) = serving.tasks.join_next() => {
                stop(shell, "an address is not served any more").await;
                let reason = end.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string());
                bail!("the server of probes and metrics, or of debug endpoints, ended ({reason}): this is a bug, please report it with the log");
            }
            _ = dump.recv() => {
                shell.log_state();
                continue;
            }
            signal = signals.asked() => stop(shell, signal).await,
        };
    };
    // Last, because the API server calls it for the bindings that are still in flight.
    if let Some(guard) = guard {
        guard.stop().await;
    }
    stop_serving.cancel();
    serving.tasks.join_all().await;
    match end {
        End::Stopped => Ok(ExitCode::SUCCESS),
        End::LeadershipLost { reason } => bail!("leadership was lost ({reason}): start again, as a standby"),
        End::Failed(failure) => {
            bail!("{failure}; the Lease was given up: this is a bug, please report it with the log")
        }
    }
}

/// Resolves when a running guard fails; never resolves without one.
async fn failure_of(guard: &mut Option<GuardService>) -> Failure {
    match guard {
        Some(guard) => guard.failed().await,
        None => std::future::pending().await,
    }
}

async fn stop(shell: Shell, why: &str) -> End {
    info!("{why}: stopping");
    let end = shell.stop().await;
    info!("stopped");
    end
}

/// What is needed to start, apart from configuration and profiles.
struct Start {
    cluster: ClusterSource,
    replace_default_scheduler: bool,
    bind_concurrency: usize,
    max_unschedulable: Option<Duration>,
    guard: Option<(SocketAddr, ServingArgs)>,
}

impl Start {
    async fn start(
        self,
        configuration: &Configuration,
        profiles: Vec<Profile>,
        admin: Admin,
        serving: &Serving,
    ) -> anyhow::Result<(Shell, Option<GuardService>)> {
        let cluster = self.cluster.find(configuration).await?;
        let election = election(configuration, self.replace_default_scheduler)?;
        let lease = election.as_ref().map(|election| election.lease.to_string());
        let server = cluster.cluster_url.to_string();
        started::say(configuration, &server, lease.as_deref(), serving.listen, serving.debug_listen);
        let guard = match self.guard {
            Some((listen, args)) => {
                let options = args.options(cluster.clone(), listen, admin.clone());
                Some(GuardService::start(options).await?)
            }
            None => None,
        };
        let mut options = Options {
            election,
            bind_concurrency: self.bind_concurrency,
            ..shell_options(configuration, cluster, profiles, admin)
        };
        if let Some(longest) = self.max_unschedulable {
            options.scheduler.queue.max_unschedulable = longest;
        }
        Ok((Shell::start(options).await?, guard))
    }
}

/// What a configuration says about how a scheduler is run, except for the election.
pub(crate) fn shell_options(
    configuration: &Configuration,
    cluster: kube_client::Config,
    profiles: Vec<Profile>,
    admin: Admin,
) -> Options {
    let connection = &configuration.client_connection;
    Options {
        extenders: configuration.extenders.clone(),
        delay_watches: configuration.delay_cache_until_active,
        write_limit: connection
            .limited
            .then_some(WriteLimit { per_second: connection.qps, burst: connection.burst }),
        scheduler: SchedulerConfig {
            queue: QueueConfig {
                initial_backoff: configuration.pod_initial_backoff,
                max_backoff: configuration.pod_max_backoff,
                ..QueueConfig::default()
            },
            seed: RandomState::new().build_hasher().finish(),
            break_preemption_loops: configuration.own.preemption.break_loops,
            read_before_bind: configuration.own.read_before_bind,
            yield_last_room: configuration.own.yield_last_room,
            ..SchedulerConfig::default()
        },
        ..Options::new(cluster, profiles, admin)
    }
}

/// The Lease that a scheduler with this configuration takes: kube-scheduler's, if the configuration has its name.
pub(crate) fn lease_of(configuration: &Configuration) -> anyhow::Result<Option<LeaseName>> {
    Ok(election(configuration, true)?.map(|election| election.lease))
}

fn election(configuration: &Configuration, replace: bool) -> anyhow::Result<Option<ElectionConfig>> {
    let election = &configuration.leader_election;
    if !election.leader_elect {
        return Ok(None);
    }
    let names = configuration.scheduler_names();
    let sources = LeaseNameSources {
        configured_name: election.resource_name.as_deref(),
        configured_namespace: election.resource_namespace.as_deref(),
        replace_default_scheduler: replace,
    };
    let lease = LeaseName::derive(&names, sources)?;
    let plain = LeaseNameSources { replace_default_scheduler: replace, ..LeaseNameSources::default() };
    if let Ok(derived) = LeaseName::derive(&names, plain)
        && derived != lease
    {
        warn!(
            "leaderElection.resourceName and resourceNamespace make {lease} the Lease of this scheduler; a process of the same name without them takes {derived}, and both would schedule: remove both fields, or set them for every process of the name"
        );
    }
    let claim = Claim::new(&names, configuration.fingerprint());
    Ok(Some(ElectionConfig {
        lease_duration: election.lease_duration,
        renew_deadline: election.renew_deadline,
        retry_period: election.retry_period,
        ..ElectionConfig::new(lease, identity(), claim)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    fn manifests() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(manifests().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn lease_from(source: &ConfigurationSource) -> LeaseName {
        let configuration = source.read(&App::new()).expect("a valid configuration");
        let election = election(&configuration, false).expect("a Lease can be derived");
        election.expect("leaders are elected").lease
    }

    fn of_manifest(path: &str) -> LeaseName {
        lease_from(&ConfigurationSource {
            file: Some(manifests().join(path)),
            ..ConfigurationSource::default()
        })
    }

    fn of_flag(name: &str) -> LeaseName {
        lease_from(&ConfigurationSource { scheduler_names: vec![name.to_owned()], ..Default::default() })
    }

    /// The Lease that the Role in the manifests grants access to.
    fn granted() -> LeaseName {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&read("base/rbac.yaml")).expect("YAML");
        let role = documents.iter().find(|document| document["kind"] == "Role").expect("a Role");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        LeaseName {
            namespace: text(&role["metadata"]["namespace"]),
            name: text(&role["rules"][1]["resourceNames"][0]),
        }
    }

    #[test]
    fn manifests_and_flags_lead_to_one_lease_and_the_role_grants_it() {
        let lease = of_flag("my-scheduler");
        assert_eq!(lease.to_string(), "kube-system/my-scheduler");
        assert_eq!(of_manifest("base/config.yaml"), lease);
        assert_eq!(granted(), lease);
        for tenant in ["red", "blue"] {
            let folder = format!("overlays/tenants/{tenant}");
            let lease = of_flag(&format!("{tenant}-scheduler"));
            assert_eq!(of_manifest(&format!("{folder}/config.yaml")), lease);
            let overlay: Value =
                serde_saphyr::from_str(&read(&format!("{folder}/kustomization.yaml"))).expect("YAML");
            let patches = overlay["patches"].as_array().expect("patches");
            let role = patches.iter().find(|patch| patch["target"]["kind"] == "Role").expect("of the Role");
            let steps: Value =
                serde_saphyr::from_str(role["patch"].as_str().expect("a text")).expect("a patch");
            assert_eq!(steps[0]["path"], "/rules/1/resourceNames/0");
            assert_eq!(steps[0]["value"], lease.name.as_str());
        }
    }
}
