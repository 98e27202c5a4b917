//! The bind guard as a service: the webhook that the API server asks about every bind.
//!
//! ```text
//!  API server ──review──▶ server (TLS, HTTP/1.1 and 2) ──▶ desk (one lock, the books of `secondmate-guard`)
//!      │                                                     ▲
//!      └────watches (nodes, pods of all schedulers)──▶ feed ─┘ looks at pods, expiry, whether the books may be trusted
//! ```
//!
//! The cluster never depends on it: the webhook's `failurePolicy` is `Ignore`, and the desk lets everything pass while this process does
//! not hold the Lease, while a watch is behind, or after the process was suspended for a while. One instance decides at a time. Like the
//! scheduler, it becomes a candidate when its caches are filled; unlike the scheduler, an instance that loses the Lease becomes a candidate
//! again.
//!
//! Bounds: connections (module `connections`), requests per connection (module `server`), the inbox of the watches, and looks at pods
//! (module `desk`). An approval whose pod never shows up is given back after a time.

mod bodies;
pub(crate) mod certificate;
mod connections;
mod desk;
mod endpoint;
mod feed;
mod files;
mod registration;
pub(crate) mod review;
mod server;

pub use endpoint::Endpoint;
pub use registration::CertificateSource;

use crate::access;
use crate::call::Caller;
use crate::connect;
use crate::heartbeat::WatchHeartbeats;
use crate::inbox::Inbox;
use crate::lease::{
    Claim, Credentials, Election, ElectionConfig, ElectionEnd, KubeLease, LeaseName, Term, are_read_once,
    identity,
};
use crate::options::StartError;
use crate::patience;
use crate::tasks::{Failure, Failures, Tasks};
use crate::watch::{self, Currency, Permission};
use crate::write::Leading;
use connections::Limits;
use desk::Desk;
use futures::FutureExt;
use futures::future::BoxFuture;
use registration::Registration;
use secondmate_telemetry::{Admin, Probe};
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as value;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

/// Namespace and name of the Lease: one guard decides for the whole cluster, however many are running.
pub(crate) const LEASE: (&str, &str) = ("kube-system", "secondmate-guard");
/// Name of the task that takes part in the election.
const ELECTION: &str = "election of the bind guard";
/// Maximum wait for an answer of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum wait for the Lease to be released.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the Service to stop leading here.
const WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether this is the bind guard's Lease.
pub(crate) fn is_lease(lease: &LeaseName) -> bool {
    (lease.namespace.as_str(), lease.name.as_str()) == LEASE
}

/// The bind guard's Lease.
pub(crate) fn lease() -> LeaseName {
    let (namespace, name) = LEASE;
    LeaseName { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The permissions that these watches, and looks at single pods, need: every guard's.
pub(crate) fn to_decide(watches: &[watch::Watch]) -> BTreeSet<Permission> {
    let mut needed = watch::to_watch(watches);
    needed.insert(Permission::on("get", "", "pods", "", ""));
    needed
}

/// The permissions that a guard needs to keep a certificate of its own.
pub(crate) fn to_keep_certificate(namespace: &str, secret: &str, webhook: &str) -> [Permission; 5] {
    let secrets = |verb, name| Permission::on(verb, "", "secrets", namespace, name);
    let (group, resource) = ("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    let configuration = |verb| Permission::on(verb, group, resource, "", webhook);
    [
        secrets("create", ""),
        secrets("get", secret),
        secrets("update", secret),
        configuration("get"),
        configuration("update"),
    ]
}

/// The permissions that a guard needs to make its Service lead to the deciding instance. Permission to delete is not among them: it is only
/// used if the address family has changed.
pub(crate) fn to_lead_service(namespace: &str, service: &str) -> [Permission; 3] {
    [("create", ""), ("get", service), ("update", service)]
        .map(|(verb, name)| Permission::on(verb, "discovery.k8s.io", "endpointslices", namespace, name))
}

/// How to run a guard.
#[derive(Debug)]
pub struct GuardOptions {
    /// The cluster.
    pub cluster: kube_client::Config,
    /// The address on which the API server reaches it.
    pub listen: SocketAddr,
    /// Its certificate.
    pub certificate: CertificateSource,
    /// PEM file with the authority for client certificates; `None`: no client certificate is required, from the API server or anyone else.
    pub client_authority: Option<PathBuf>,
    /// How one of several instances is elected; `None`: this one always decides.
    pub election: Option<ElectionConfig>,
    /// The Service that should lead to the deciding instance, if this instance is to take care of that.
    pub endpoint: Option<Endpoint>,
    /// Metrics and health.
    pub admin: Admin,
}

impl GuardOptions {
    /// The election of guards, with kube-scheduler's timing.
    #[must_use]
    pub fn election() -> ElectionConfig {
        // It serves no scheduler name.
        ElectionConfig::new(lease(), identity(), Claim::new::<&str>(&[], "guard"))
    }

    /// The permissions it needs.
    fn permissions(&self, watches: &[watch::Watch]) -> BTreeSet<Permission> {
        let mut needed = to_decide(watches);
        if let Some(election) = &self.election {
            needed.extend(access::to_elect(&election.lease));
        }
        if let CertificateSource::Own { namespace, secret, webhook, .. } = &self.certificate {
            needed.extend(to_keep_certificate(namespace, secret, webhook));
        }
        if let Some(Endpoint { namespace, service, .. }) = &self.endpoint {
            needed.extend(to_lead_service(namespace, service));
        }
        needed
    }
}

/// A running guard. It ends when dropped; [`Self::stop`] releases the Lease first.
pub struct GuardService {
    address: SocketAddr,
    failures: Failures,
    /// Cancelled once the Lease has been released; `None` without an election.
    election_ended: Option<CancellationToken>,
    end_of_election: CancellationToken,
    /// How the Service is made to lead here.
    way_here: Option<(Endpoint, Caller)>,
    _tasks: DropGuard,
}

impl fmt::Debug for GuardService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardService").field("address", &self.address).finish_non_exhaustive()
    }
}

impl GuardService {
    /// Connects, checks permissions, and starts the guard on the current tokio runtime.
    ///
    /// # Errors
    /// There is no cluster, a permission is missing, the address is taken, or the election's times contradict each other.
    pub fn start(options: GuardOptions) -> BoxFuture<'static, Result<Self, StartError>> {
        Self::begin(options).boxed()
    }

    async fn begin(options: GuardOptions) -> Result<Self, StartError> {
        let (end, end_of_election) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, failures) = Tasks::new(end.clone());
        // If startup fails, what has been started is ended.
        let guard = end.drop_guard();
        let heartbeats = WatchHeartbeats::new();
        let metrics = options.admin.metrics.clone();
        let client = connect::client(&options.cluster, &metrics, Some(heartbeats.api.clone())).await?;
        let caller = Caller::new(client.clone(), None, CALL_TIMEOUT);
        let api_server = options.cluster.cluster_url.to_string();
        let watches = watch::guard_watches();
        patience::with_access(&caller, &api_server, &options.permissions(&watches)).await?;
        let listener = server::listen(options.listen).map_err(|error| StartError::Other {
            what: "cannot listen for the bind guard (choose another address with --guard-listen)",
            reason: format!("{}: {error}", options.listen),
        })?;
        let address = listener.local_addr().unwrap_or(options.listen);
        let limits = Limits::default();
        let limits = Limits { connections: files::connections(limits.connections), ..limits };

        let (term, leading) = value::channel(None);
        let leading = Leading::new(leading);
        let currency = Currency::default();
        let desk = Desk::new(leading.clone(), currency.clone(), caller.clone(), metrics.clone());
        let (tls, certificate) = value::channel(None);
        let ready = ready(desk.clone(), certificate.clone());
        let election_ended = elect(&options, &tasks, term, &end_of_election, ready).await?;
        register_checks(&options.admin, &heartbeats, &desk, &certificate);

        let (inbox, messages) = Inbox::new(&metrics);
        let context = watch::Context {
            currency,
            ..watch::Context::new(client, inbox, metrics.clone(), tasks.clone(), heartbeats)
        };
        let unsynced = (0..watches.len()).collect();
        for (number, watch) in watches.into_iter().enumerate() {
            watch::spawn(context.clone(), watch, number);
        }
        tasks.spawn_lasting(
            "books of the bind guard",
            feed::feed(desk.clone(), messages, unsynced, tasks.clone()),
        );
        let way_here = options.endpoint.clone().map(|endpoint| (endpoint, caller.clone()));
        if let Some(endpoint) = options.endpoint {
            tasks.spawn_lasting(
                "endpoint of the bind guard",
                endpoint::keep(endpoint, address.port(), leading, caller.clone()),
            );
        }
        let registration = Registration {
            source: options.certificate,
            client_authority: options.client_authority,
            caller,
            metrics: metrics.clone(),
            tls,
        };
        tasks.spawn_lasting("certificate of the bind guard", registration.keep());
        tasks.spawn_lasting(
            "server of the bind guard",
            server::serve(listener, certificate, desk, metrics, limits),
        );
        info!(%address, path = server::PATH, "the bind guard is served");
        Ok(Self { address, failures, election_ended, end_of_election, way_here, _tasks: guard })
    }

    /// The address on which it is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a part of it fails, which should never happen: the process must then exit.
    pub async fn failed(&mut self) -> Failure {
        self.failures.next().await
    }

    /// Releases the Lease, so that another instance takes over at once, stops the Service from leading here, and ends.
    pub async fn stop(mut self) {
        self.end_of_election.cancel();
        if let Some(ended) = self.election_ended.take()
            && timeout(RELEASE_TIMEOUT, ended.cancelled()).await.is_err()
        {
            warn!("the Lease of the bind guard was not given back within {RELEASE_TIMEOUT:?}");
        }
        let Some((endpoint, caller)) = &self.way_here else { return };
        match timeout(WITHDRAWAL_TIMEOUT, endpoint.withdraw(caller, self.address.port())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the guard's Service may still lead here: {error}"),
            Err(_) => warn!(
                "the guard's Service may still lead here: no answer from the API server within {WITHDRAWAL_TIMEOUT:?}"
            ),
        }
    }
}

impl Drop for GuardService {
    fn drop(&mut self) {
        self.end_of_election.cancel();
    }
}

fn register_checks(
    admin: &Admin,
    heartbeats: &WatchHeartbeats,
    desk: &Desk,
    certificate: &value::Receiver<Option<Arc<rustls::ServerConfig>>>,
) {
    let (watches, books) = (heartbeats.clone(), desk.clone());
    admin.health.register("guard-watches", Probe::Live, move || watches.check());
    admin.health.register("guard-books", Probe::Live, move || books.turns());
    let (books, certificate) = (desk.clone(), certificate.clone());
    admin.health.register("guard", Probe::Ready, move || {
        if certificate.borrow().is_none() {
            return Err("there is no certificate yet to serve with".to_owned());
        }
        books.is_listed()
    });
}

/// Returns when this instance can decide, and can be reached: its books contain the first lists, and there is a certificate to serve with,
/// even if no API server accepts it.
async fn ready(desk: Desk, mut certificate: value::Receiver<Option<Arc<rustls::ServerConfig>>>) {
    desk.first_lists().await;
    if certificate.wait_for(Option::is_some).await.is_err() {
        // Its task has ended, which ends the guard.
        std::future::pending::<()>().await;
    }
}

/// Takes part in the election until cancelled, but not before it is ready: whoever cannot decide yet takes the Lease from nobody who can. The
/// token is cancelled when this ends.
async fn elect(
    options: &GuardOptions,
    tasks: &Tasks,
    term: value::Sender<Option<Term>>,
    cancel: &CancellationToken,
    ready: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<CancellationToken>, StartError> {
    let Some(mut config) = options.election.clone() else {
        term.send_replace(Some(Term::unlimited()));
        // The term ends with its receivers.
        tasks.spawn("term without end of the bind guard", async move { term.closed().await });
        return Ok(None);
    };
    // Uses its own client, because renewals must not wait behind other requests.
    let metrics = &options.admin.metrics;
    let client = connect::client(&options.cluster, metrics, None).await?;
    let gauge = metrics.leader_election_master_status(&config.lease.name);
    config.slow_path = metrics.leader_election_slow_path(&config.lease.name);
    let credentials = Credentials::default();
    let lease = KubeLease::new(client, &config.lease).telling(credentials.clone());
    // Checks the times; the first one to stand.
    let mut next = Election::new(lease.clone(), config.clone())?;
    if are_read_once(&options.cluster) {
        options.admin.health.register("guard-credentials", Probe::Live, move || credentials.check());
    }
    let (cancel, ended, teller) = (cancel.clone(), CancellationToken::new(), tasks.clone());
    let end = ended.clone().drop_guard();
    // Without it, no instance decides any more, and every bind passes.
    tasks.spawn(ELECTION, async move {
        let _end = end;
        info!(lease = %config.lease, "waiting for the caches and a certificate before standing for election");
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = ready => {}
        }
        loop {
            let (election, handle) = next;
            let mut own = handle.term;
            let forward = async {
                loop {
                    let now = own.borrow_and_update().clone();
                    gauge.set(i64::from(now.is_some()));
                    term.send_replace(now);
                    if own.changed().await.is_err() {
                        return;
                    }
                }
            };
            let (end, ()) = tokio::join!(election.run(cancel.clone()), forward);
            gauge.set(0);
            term.send_replace(None);
            if !matches!(end, ElectionEnd::Lost { .. }) {
                return;
            }
            match Election::new(lease.clone(), config.clone()) {
                Ok(election) => next = election,
                Err(error) => return teller.tell(ELECTION.to_owned(), error.to_string()),
            }
        }
    });
    Ok(Some(ended))
}
