//! The addresses that a scheduler serves: one for probes and metrics and one for debugging, over plain HTTP; or one for everything, over TLS.

use crate::kube_scheduler::mount_pages;
use anyhow::Context;
use secondmate_shell::{
    AuthenticationOptions, AuthorizationOptions, ClusterConfig, Failure, NamedCertificate, RequestHeaders,
    SecureOptions, SecureServing, ServingCertificate, TlsOptions,
};
use secondmate_telemetry::{Admin, AdminError};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The default address of the debug endpoints: on loopback, so that they can only be reached from the machine or the pod itself,
/// or by port forwarding (`kubectl port-forward`, which the API server authorizes).
const DEBUG_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10360);

/// `--debug-listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DebugListen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl DebugListen {
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for DebugListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let wrong = |_| format!("expected an address such as {DEBUG_DEFAULT}, or off");
        text.parse().map(Self::At).map_err(wrong)
    }
}

/// Where a scheduler is served, and how.
pub(crate) enum Endpoints {
    /// Over plain HTTP, to anyone who can connect.
    Plain {
        /// Probes and metrics.
        listen: SocketAddr,
        /// Debug endpoints.
        debug_listen: Option<DebugListen>,
    },
    /// Over TLS, as kube-scheduler does.
    Secure(Box<SecureEndpoint>),
    /// Nowhere.
    Nowhere,
}

/// The API server that authenticates clients and authorizes their requests.
pub(crate) enum Reviews {
    /// The API server of each kubeconfig; without one, that of the pod.
    Of { authentication: Option<PathBuf>, authorization: Option<PathBuf> },
    /// The scheduler's own, which is found through this kubeconfig and context or, without them, as the scheduler finds it.
    OfTheScheduler { kubeconfig: Option<PathBuf>, context: Option<String> },
}

/// How the TLS port is served.
pub(crate) struct SecureEndpoint {
    pub address: SocketAddr,
    pub share_port: bool,
    pub certificate: ServingCertificate,
    pub named: Vec<NamedCertificate>,
    pub tls: TlsOptions,
    pub reviews: Reviews,
    pub client_authority: Option<PathBuf>,
    pub request_headers: Option<RequestHeaders>,
    pub skip_lookup: bool,
    pub tolerate_lookup_failure: bool,
    pub remember_tokens: Duration,
    pub always_allow_paths: Vec<String>,
    pub remember_allowed: Duration,
    pub remember_denied: Duration,
    /// The text of `/flagz`, if it is served.
    pub flagz: Option<String>,
    pub statusz: bool,
}

/// What is served.
pub(crate) struct Serving {
    pub tasks: JoinSet<()>,
    /// Probes and metrics.
    pub listen: Option<SocketAddr>,
    /// Debug endpoints.
    pub debug_listen: Option<SocketAddr>,
    pub secure: Option<SecureServing>,
}

/// Resolves when the task that keeps TLS current fails; never resolves without one.
pub(crate) async fn failure_of(secure: &mut Option<SecureServing>) -> Failure {
    match secure {
        Some(secure) => secure.failed().await,
        None => std::future::pending().await,
    }
}

impl Endpoints {
    /// Binds the addresses and serves until cancelled.
    ///
    /// # Errors
    /// An address cannot be bound; certificates, authorities or kubeconfigs cannot be used.
    pub async fn serve(self, admin: &Admin, cancel: &CancellationToken) -> anyhow::Result<Serving> {
        match self {
            Self::Plain { listen, debug_listen } => Ok(serve(admin, listen, debug_listen, cancel).await?),
            Self::Secure(endpoint) => endpoint.serve(admin, cancel).await,
            Self::Nowhere => {
                // The end of a task is an error, so there has to be one that lasts.
                let mut tasks = JoinSet::new();
                tasks.spawn(cancel.clone().cancelled_owned());
                Ok(Serving { tasks, listen: None, debug_listen: None, secure: None })
            }
        }
    }
}

impl SecureEndpoint {
    async fn serve(self, admin: &Admin, cancel: &CancellationToken) -> anyhow::Result<Serving> {
        let listener = listen(self.address, self.share_port)?;
        let address = listener.local_addr().unwrap_or(self.address);
        let (who, may) = match self.reviews {
            Reviews::Of { authentication, authorization } => (
                cluster(authentication.as_deref(), "--authentication-kubeconfig").await?,
                cluster(authorization.as_deref(), "--authorization-kubeconfig").await?,
            ),
            Reviews::OfTheScheduler { kubeconfig, context } => {
                let cluster = secondmate_shell::cluster_in(kubeconfig.as_deref(), context.as_deref()).await?;
                (Some(cluster.clone()), Some(cluster))
            }
        };
        let authentication = AuthenticationOptions {
            cluster: who,
            client_authority: self.client_authority,
            request_headers: self.request_headers,
            skip_lookup: self.skip_lookup,
            tolerate_lookup_failure: self.tolerate_lookup_failure,
            remember: self.remember_tokens,
        };
        let authorization = AuthorizationOptions {
            cluster: may,
            always_allow_paths: self.always_allow_paths,
            remember_allowed: self.remember_allowed,
            remember_denied: self.remember_denied,
        };
        if authentication.cluster.is_none() {
            warn!("no --authentication-kubeconfig, and no service account: tokens are rejected");
        }
        if authorization.cluster.is_none() {
            warn!(
                "no --authorization-kubeconfig, and no service account: only the always-allowed paths are served"
            );
        }
        let options = SecureOptions {
            certificate: self.certificate,
            named: self.named,
            tls: self.tls,
            authentication,
            authorization,
            metrics: admin.metrics.clone(),
        };
        let (secure, security) = SecureServing::start(options).await?;
        mount_pages(admin, self.flagz, self.statusz);
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.clone().serve_secure(listener, security, cancel.clone()));
        Ok(Serving { tasks, listen: Some(address), debug_listen: None, secure: Some(secure) })
    }
}

/// Binds the address; an unspecified one stands for those of both address families.
fn listen(address: SocketAddr, share_port: bool) -> Result<TcpListener, AdminError> {
    if address.ip() == Ipv4Addr::UNSPECIFIED {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        // Some machines have no IPv6.
        if let Ok(listener) = Admin::listen_secure(both, share_port) {
            return Ok(listener);
        }
    }
    Admin::listen_secure(address, share_port)
}

/// The cluster of a kubeconfig, or that of the pod; `None`: this process does not run in a pod.
async fn cluster(kubeconfig: Option<&Path>, flag: &str) -> anyhow::Result<Option<ClusterConfig>> {
    match kubeconfig {
        Some(path) => secondmate_shell::cluster(Some(path)).await.map(Some).with_context(|| flag.to_owned()),
        None => Ok(ClusterConfig::incluster().ok()),
    }
}

/// Binds the addresses and serves until cancelled.
///
/// # Errors
/// A requested address cannot be bound.
pub(crate) async fn serve(
    admin: &Admin,
    listen: SocketAddr,
    debug_listen: Option<DebugListen>,
    cancel: &CancellationToken,
) -> Result<Serving, AdminError> {
    let mut tasks = JoinSet::new();
    let listener = Admin::listen(listen).await?;
    let listen = listener.local_addr().unwrap_or(listen);
    tasks.spawn(admin.clone().serve(listener, cancel.clone()));
    let debug_listener = match debug_listen {
        Some(DebugListen::Off) => None,
        Some(DebugListen::At(address)) => Some(Admin::listen_debug(address).await?),
        None => match Admin::listen_debug(DEBUG_DEFAULT).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                // Most likely another scheduler on this machine has the port. Debugging is not worth a failed start.
                warn!("debug endpoints are off: {error}");
                None
            }
        },
    };
    let mut debug_listen = None;
    if let Some(listener) = debug_listener {
        let address = listener.local_addr().unwrap_or(DEBUG_DEFAULT);
        debug_listen = Some(address);
        if !address.ip().is_loopback() {
            warn!(
                %address,
                "debug endpoints show pod names of all namespaces to anyone who can connect: restrict access to the port"
            );
        }
        tasks.spawn(admin.clone().serve_debug(listener, cancel.clone()));
    }
    Ok(Serving { tasks, listen: Some(listen), debug_listen, secure: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_off() {
        assert_eq!("off".parse(), Ok(DebugListen::Off));
        let any: SocketAddr = "[::]:1".parse().expect("an address");
        assert_eq!("[::]:1".parse(), Ok(DebugListen::At(any)));
        let wrong = "expected an address such as 127.0.0.1:10360, or off".to_owned();
        assert_eq!("10360".parse::<DebugListen>(), Err(wrong));
    }
}
