//! The options of `playground`: as given, and as meant.

use super::manifests::{self, Manifest};
use crate::endpoints::DebugListen;
use crate::{App, ConfigurationSource};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use secondmate_config::Configuration;
use secondmate_model::Quantity;
use secondmate_sandbox::NodeShape;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const NODES: u32 = 100;
const PODS: u32 = 1000;
/// The name that the README and the examples use.
const SCHEDULER_NAME: &str = "my-scheduler";
/// The scheduler name of pods that do not name a scheduler.
const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// Options of `playground`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaygroundArgs {
    /// Number of simulated nodes, spread over zones [default: 100, or 0 if a manifest has nodes].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub nodes: Option<u32>,
    /// Number of pods to create [default: 1000, or 0 with -f].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=5_000_000))]
    pub pods: Option<u32>,
    /// Manifest to apply: a YAML or JSON file, a directory, or - for standard input. May be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Format of the summary, which goes to standard output; progress goes to standard error.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Exit with code 1 if pods are left unbound.
    #[arg(long)]
    pub fail_on_pending: bool,
    /// Keep running until Ctrl-C, for kubectl and other clients.
    #[arg(long)]
    pub keep: bool,
    /// Write a kubeconfig for the playground to this file [default with --keep: a temporary file].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,
    /// Schedule pods with this spec.schedulerName. May be repeated, for several profiles; generated pods are spread over them. Without
    /// --config, default-scheduler is served too [default: my-scheduler, or those in --config].
    #[arg(long = "scheduler-name", value_name = "NAME")]
    pub scheduler_names: Vec<String>,
    /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1). Leader election is always off here.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the API server, on loopback; port 0 picks a free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub api_listen: SocketAddr,
    /// Address for the scheduler's probes and /metrics, as with `run` [default: none].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address for the scheduler's /debug/ and /configz, as with `run` [default: off].
    #[arg(long, value_name = "ADDR")]
    pub debug_listen: Option<DebugListen>,
    /// Pods to create per second [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// CPU of each simulated node.
    #[arg(long, value_name = "QUANTITY", default_value = "32", value_parser = quantity)]
    pub node_cpu: String,
    /// Memory of each simulated node.
    #[arg(long, value_name = "QUANTITY", default_value = "256Gi", value_parser = quantity)]
    pub node_memory: String,
    /// Maximum pods per simulated node.
    #[arg(long, value_name = "N", default_value_t = 110)]
    pub node_pods: u32,
    /// Number of zones that the simulated nodes are spread over.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=26))]
    pub zones: u32,
    /// Maximum time to wait for pods to settle.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

fn quantity(text: &str) -> Result<String, String> {
    let quantity = Quantity::parse(text).map_err(|error| error.to_string())?;
    if quantity.milli_value() < 0 {
        return Err("it must not be negative".to_owned());
    }
    Ok(text.to_owned())
}

/// Format of the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Human-readable text.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// The options as meant, with the files read and checked.
pub(super) struct Plan {
    pub configuration: Configuration,
    /// The scheduler names over which the default pods are spread.
    pub names_of_pods: Vec<String>,
    pub manifests: Vec<Manifest>,
    pub nodes: usize,
    pub shape: NodeShape,
    /// Default pods.
    pub pods: u64,
    pub rate: Option<u32>,
    pub output: Output,
    pub fail_on_pending: bool,
    pub keep: bool,
    pub kubeconfig_out: Option<PathBuf>,
    pub api_listen: SocketAddr,
    pub listen: Option<SocketAddr>,
    pub debug_listen: Option<SocketAddr>,
    pub timeout: Duration,
}

impl Plan {
    /// Reads and checks everything that is given.
    ///
    /// # Errors
    /// A file cannot be read or decoded, or the configuration has problems.
    pub fn new(app: &App, args: PlaygroundArgs) -> anyhow::Result<Self> {
        let mut scheduler_names = args.scheduler_names;
        if scheduler_names.is_empty() && args.config.is_none() {
            scheduler_names.push(SCHEDULER_NAME.to_owned());
        }
        let mut names_of_pods = scheduler_names.clone();
        // Nobody else schedules here, so every name is free, and pods that do not name a scheduler are scheduled too.
        if args.config.is_none() && !scheduler_names.iter().any(|name| name == DEFAULT_SCHEDULER_NAME) {
            scheduler_names.push(DEFAULT_SCHEDULER_NAME.to_owned());
        }
        let source =
            ConfigurationSource { file: args.config, scheduler_names, replace_default_scheduler: true };
        let mut configuration = source.read(app)?;
        configuration.leader_election.leader_elect = false;
        if names_of_pods.is_empty() {
            names_of_pods =
                configuration.profiles.iter().map(|profile| profile.scheduler_name.clone()).collect();
        }
        if let Some(path) = &configuration.client_connection.kubeconfig {
            bail!(
                "the configuration names a cluster (clientConnection.kubeconfig: {path}), and a playground is its own cluster: \
                 remove the field, or use `secondmate run`"
            );
        }
        let manifests = manifests::read(&args.files, std::io::stdin().lock())?;
        let has_nodes = manifests.iter().any(|one| one.api_version == "v1" && one.kind == "Node");
        let nodes = args.nodes.unwrap_or(if has_nodes { 0 } else { NODES });
        let pods = args.pods.unwrap_or(if args.files.is_empty() { PODS } else { 0 });
        Ok(Self {
            configuration,
            names_of_pods,
            manifests,
            nodes: usize::try_from(nodes).context("--nodes")?,
            shape: NodeShape {
                cpu: args.node_cpu,
                memory: args.node_memory,
                pods: args.node_pods,
                zones: args.zones,
            },
            pods: u64::from(pods),
            rate: args.rate,
            output: args.output,
            fail_on_pending: args.fail_on_pending,
            keep: args.keep,
            kubeconfig_out: args.kubeconfig_out,
            api_listen: args.api_listen,
            listen: args.listen,
            debug_listen: args.debug_listen.and_then(DebugListen::address),
            timeout: args.timeout,
        })
    }

    /// The expected number of pods, including those of the controllers.
    pub fn pods_expected(&self) -> u64 {
        self.pods + self.manifests.iter().map(Manifest::pods).sum::<u64>()
    }

    /// All names whose pods are scheduled.
    pub fn scheduler_names(&self) -> Vec<String> {
        self.configuration.profiles.iter().map(|profile| profile.scheduler_name.clone()).collect()
    }
}
