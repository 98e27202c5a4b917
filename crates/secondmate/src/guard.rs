//! `secondmate guard`: the bind guard alone. `run --guard-listen` runs it beside the scheduler.

use crate::endpoints::{self, DebugListen};
use crate::log::LogArgs;
use crate::process::{self, Stop};
use crate::version::VERSION;
use anyhow::bail;
use clap::{ArgAction, Args};
use secondmate_shell::{CertificateSource, ClusterConfig, Endpoint, GuardOptions, GuardService};
use secondmate_telemetry::{Admin, Probe};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Threads for answers and decoding.
const WORKERS: usize = 2;
/// The default address of the guard.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10362);
/// The file in which a pod's service account states the pod's namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace of the manifests, used outside of a pod.
const NAMESPACE: &str = "secondmate-guard";

/// The heading above its options in help texts.
pub(crate) const HEADING: &str = "Bind guard";

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate guard --kubeconfig admin.conf --guard-listen 10.0.0.5:10362 \\
    --guard-name 10.0.0.5
  secondmate guard --guard-tls-cert-file tls.crt \\
    --guard-tls-private-key-file tls.key

In a cluster, install it with manifests/overlays/guard: see docs/guard.md.
The ValidatingWebhookConfiguration must exist (webhook.yaml there).";

/// How the guard is served; the same for `guard` and `run`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct ServingArgs {
    /// Namespace of the guard's Service and Secret [default: that of the pod's service account, else secondmate-guard].
    #[arg(long, value_name = "NAME")]
    pub guard_namespace: Option<String>,
    /// Service through which the API server reaches the guard; empty for none. The instance that decides writes its
    /// --guard-address into the Service's EndpointSlice.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard")]
    pub guard_service: String,
    /// Address of this instance behind the Service: the pod's IP.
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pub guard_address: Option<IpAddr>,
    /// Additional DNS name or IP address for the certificate, at which the API server reaches the guard. May be repeated.
    #[arg(long = "guard-name", value_name = "NAME")]
    pub guard_names: Vec<String>,
    /// Secret in which the guard keeps its certificate.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard-tls")]
    pub guard_secret: String,
    /// ValidatingWebhookConfiguration into which the guard writes its caBundle.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard")]
    pub guard_webhook: String,
    /// Certificate chain (PEM) of the guard, reloaded when it changes; the Secret and the caBundle are then left unchanged.
    #[arg(long, alias = "tls-cert-file", value_name = "FILE", requires = "guard_tls_private_key_file")]
    pub guard_tls_cert_file: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, alias = "tls-private-key-file", value_name = "FILE", requires = "guard_tls_cert_file")]
    pub guard_tls_private_key_file: Option<PathBuf>,
    /// CA bundle (PEM) for client certificates, which the guard's clients must then present [default: not required].
    #[arg(long, value_name = "FILE")]
    pub guard_client_ca_file: Option<PathBuf>,
}

/// Options of `guard`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuardArgs {
    /// Kubeconfig file [default: KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig context [default: the current context].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Address at which the API server reaches the guard (HTTPS, POST /bind).
    #[arg(long, value_name = "ADDR", default_value_t = LISTEN)]
    pub guard_listen: SocketAddr,
    /// Address for probes (/livez, /readyz, /healthz) and /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10361")]
    pub listen: SocketAddr,
    /// Elect a leader, so that only one of several replicas decides.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    pub leader_elect: bool,
    /// How long non-leaders wait after the last observed renewal before they try to take the Lease.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "15s")]
    pub lease_duration: Duration,
    /// How long the leader retries renewing the Lease before it gives up leadership.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    pub renew_deadline: Duration,
    /// Time between attempts to acquire or renew the Lease.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2s")]
    pub retry_period: Duration,
    #[command(flatten)]
    pub serving: ServingArgs,
}

impl ServingArgs {
    /// How the guard is run at this address, with the default election timings.
    pub fn options(&self, cluster: ClusterConfig, listen: SocketAddr, admin: Admin) -> GuardOptions {
        let namespace = self.guard_namespace.clone().unwrap_or_else(own_namespace);
        let service = Some(&self.guard_service).filter(|service| !service.is_empty());
        let certificate = match (&self.guard_tls_cert_file, &self.guard_tls_private_key_file) {
            (Some(certificate), Some(key)) => {
                CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ => CertificateSource::Own {
                namespace: namespace.clone(),
                secret: self.guard_secret.clone(),
                webhook: self.guard_webhook.clone(),
                names: self.names(&namespace, service),
            },
        };
        let endpoint = service.zip(self.guard_address).map(|(service, address)| Endpoint {
            namespace,
            service: service.clone(),
            address,
        });
        GuardOptions {
            cluster,
            listen,
            certificate,
            client_authority: self.guard_client_ca_file.clone(),
            election: Some(GuardOptions::election()),
            endpoint,
            admin,
        }
    }

    fn names(&self, namespace: &str, service: Option<&String>) -> BTreeSet<String> {
        let of_service = service.map(|service| format!("{service}.{namespace}.svc"));
        self.guard_names.iter().map(|name| as_in_certificates(name)).chain(of_service).collect()
    }
}

/// An address has only one form in a certificate, and names are compared with those in the certificate.
fn as_in_certificates(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn own_namespace() -> String {
    let own = std::fs::read_to_string(Path::new(OWN_NAMESPACE)).ok();
    own.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| NAMESPACE.to_owned())
}

pub(crate) fn guard(args: GuardArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.init(false)?;
    process::run(Some(WORKERS), |stop| serve(args, stop))
}

async fn serve(args: GuardArgs, mut stop: Stop) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(VERSION.metrics());
    // The guard takes over this check once it has connected; until then nothing is ready.
    let _starting = admin.health.flag("guard", Probe::Ready, "the guard is starting");
    let stop_serving = CancellationToken::new();
    let debug = Some(DebugListen::Off);
    let mut serving = endpoints::serve(&admin, args.listen, debug, &stop_serving).await?;
    let mut guard = tokio::select! {
        guard = start(&args, admin, serving.listen.unwrap_or(args.listen)) => guard?,
        _ = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    let failed = tokio::select! {
        failure = guard.failed() => Some(failure.to_string()),
        Some(_) = serving.tasks.join_next() => Some("the server of probes and metrics ended".to_owned()),
        _ = stop.asked() => None,
    };
    match &failed {
        Some(failure) => error!("{failure}: stopping"),
        None => info!("stopping"),
    }
    guard.stop().await;
    stop_serving.cancel();
    serving.tasks.join_all().await;
    info!("stopped");
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => bail!("{failure}: this is a bug, please report it with the log"),
    }
}

async fn start(args: &GuardArgs, admin: Admin, listen: SocketAddr) -> anyhow::Result<GuardService> {
    let cluster = secondmate_shell::cluster_in(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    info!(
        version = VERSION.version,
        commit = VERSION.commit,
        kubernetes = VERSION.kubernetes,
        server = %cluster.cluster_url,
        %listen,
        "starting the bind guard"
    );
    let mut options = args.serving.options(cluster, args.guard_listen, admin);
    if !args.leader_elect {
        options.election = None;
    }
    if let Some(election) = &mut options.election {
        election.lease_duration = args.lease_duration;
        election.renew_deadline = args.renew_deadline;
        election.retry_period = args.retry_period;
    }
    Ok(GuardService::start(options).await?)
}
