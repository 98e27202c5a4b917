//! Starting and stopping a sandbox, and the handle to it.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::Access;
use crate::api::{self, Api};
use crate::disruption;
use crate::faults::Faults;
use crate::history::History;
use crate::http;
use crate::kubelet::{self, KubeletOptions, Kubelets};
use crate::list::Pagings;
use crate::nodes::{self, NodeShape};
use crate::objects::Objects;
use crate::server::{Server, until_down};
use crate::store::{Held, Retention, Store, Transaction, Window};
use crate::volumes;
use crate::webhooks::Webhooks;
use crate::workloads;

/// Time between two checks for what is too old.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// The options of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 picks a free one. Loopback only, because there is no authentication.
    pub listen: SocketAddr,
    /// The version that the API server reports, such as `v1.36.0`. It does not change its behaviour.
    pub version: String,
    /// The seed of UIDs, generated names and faults.
    pub seed: u64,
    /// The event log of each resource.
    pub window: Window,
    /// How long an Event object is kept after it was last written, by the sandbox's clock.
    pub event_ttl: Duration,
    /// Maximum number of Event objects; the oldest are deleted.
    pub stored_events_max: usize,
    /// Maximum number of bindings in the history; the oldest are forgotten.
    pub bind_records_max: usize,
    /// Time between two bookmarks of a watch.
    pub bookmark_interval: Duration,
    /// The simulated kubelets.
    pub kubelets: KubeletOptions,
    /// How often the kubelets renew the heartbeat of each node's conditions; `None` for never. A thousand nodes with a heartbeat
    /// every ten seconds mean a hundred events per second without information.
    pub heartbeat: Option<Duration>,
    /// Whether the status of disruption budgets follows their pods; otherwise it is whatever is written.
    pub disruption_controller: bool,
    /// Whether claims are bound, and volumes provisioned for them; otherwise both are whatever is written.
    pub volume_binder: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            version: crate::VERSION.to_owned(),
            seed: 1,
            window: Window {
                events_max: 100_000,
                bytes_max: 64 << 20,
                // Upstream's API server compacts etcd every five minutes.
                age_max: Duration::from_secs(300),
            },
            event_ttl: Duration::from_secs(3600),
            stored_events_max: 50_000,
            bind_records_max: 1_000_000,
            bookmark_interval: Duration::from_secs(60),
            kubelets: KubeletOptions::default(),
            heartbeat: None,
            disruption_controller: true,
            volume_binder: false,
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is not a loopback address.
    #[error(
        "the sandbox asks nobody who he is, so it listens on loopback only: {0} is not a loopback address; use 127.0.0.1:PORT"
    )]
    NotLoopback(SocketAddr),
    /// Listening on the address failed.
    #[error("cannot listen on {address}: {source}; choose another port, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A running sandbox. Dropping it stops it, without waiting.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    server: Arc<Server>,
    kubelets: Arc<Kubelets>,
    tasks: Tasks,
}

impl Sandbox {
    /// Starts the API server and the simulated controllers on the current tokio runtime.
    ///
    /// # Errors
    /// Listening on the address failed.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Sandbox, SandboxError>> {
        Self::begin(options).boxed()
    }

    async fn begin(options: Options) -> Result<Sandbox, SandboxError> {
        if !options.listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(options.listen));
        }
        let listen_error = |source| SandboxError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let retention = Retention { age_max: options.event_ttl, count_max: options.stored_events_max };
        let store = Arc::new(Store::new(options.window, retention, options.seed));
        api::bootstrap(&store);
        let history = Arc::new(History::new(options.bind_records_max));
        let access = Arc::new(Access::default());
        let api = Arc::new(Api { store, history: Arc::clone(&history) });
        let server = Arc::new(Server {
            api: Arc::clone(&api),
            faults: Arc::new(Faults::new(options.seed)),
            history,
            access,
            pagings: Pagings::default(),
            webhooks: Webhooks::default(),
            version: options.version,
            bookmark_interval: options.bookmark_interval,
            shutdown: watch::Sender::new(false),
        });
        let shutdown = || server.shutdown.subscribe();
        let kubelets = Arc::new(Kubelets::default());
        let mut tasks = Tasks::new(server.shutdown.subscribe());
        tasks.start("API server", http::serve(listener, Arc::clone(&server), shutdown()));
        tasks.start("controllers of workloads", workloads::run(Arc::clone(&api), shutdown()));
        tasks.start("expiry", expire(Arc::clone(&api), shutdown()));
        if options.disruption_controller {
            tasks.start("controller of disruption budgets", disruption::run(Arc::clone(&api), shutdown()));
        }
        if options.volume_binder {
            tasks.start("volume binder", volumes::run(Arc::clone(&api), shutdown()));
        }
        if options.kubelets.enabled {
            let run =
                kubelet::run(api, Arc::clone(&kubelets), options.kubelets, options.heartbeat, shutdown());
            tasks.start("kubelets", run);
        }
        Ok(Sandbox { address, server, kubelets, tasks })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for this sandbox.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: sandbox\n\
             \x20 cluster:\n\
             \x20   server: {}\n\
             users:\n\
             - name: sandbox\n\
             \x20 user: {{}}\n\
             contexts:\n\
             - name: sandbox\n\
             \x20 context:\n\
             \x20   cluster: sandbox\n\
             \x20   user: sandbox\n\
             \x20   namespace: default\n\
             current-context: sandbox\n",
            self.url()
        )
    }

    /// Direct access to the objects, without HTTP and faults, but with the same rules.
    pub fn objects(&self) -> Objects {
        Objects::new(Arc::clone(&self.server.api))
    }

    /// Adds `count` nodes with a shape, named by index from `first`.
    pub fn add_nodes(&self, first: usize, count: usize, shape: &NodeShape) {
        for index in first..first + count {
            let node: Value = nodes::node_manifest_of(index, shape);
            // A node with this name already exists, which is what was wanted.
            let _ = self.objects().create(node);
        }
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// The bindings and requests so far.
    pub fn history(&self) -> &History {
        &self.server.history
    }

    /// The denials.
    pub fn access(&self) -> &Access {
        &self.server.access
    }

    /// The simulated kubelets.
    pub fn kubelets(&self) -> &Kubelets {
        &self.kubelets
    }

    /// Sets the sandbox's clock forward: everything that expires by then is gone when this returns. Delays of kubelets and
    /// controllers are not shortened.
    pub fn advance(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.server.api.store.write(|tx| tx.advance(by));
    }

    /// What the sandbox holds in memory.
    pub fn held(&self) -> Held {
        Held {
            bind_records: self.server.history.bind_records(),
            kubelet_pods: self.kubelets.known_pods(),
            ..self.server.api.store.read(Transaction::held)
        }
    }

    /// The nodes whose pods request more than is allocatable, with the resource: empty unless several schedulers
    /// race or one of them miscounts. Finished pods do not count.
    pub fn overcommitted_nodes(&self) -> Vec<(String, String)> {
        self.server.api.store.read(kubelet::overcommitted)
    }

    /// Waits until a part of it ends although it was not shut down, which should never happen: that part's work is not done from
    /// then on. Says which part, and why.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failure = self.tasks.failure.subscribe();
        async move {
            match failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone()) {
                Some(failure) => failure,
                // The sandbox is gone.
                None => std::future::pending().await,
            }
        }
    }

    /// Stops it: watches end cleanly, requests in progress are answered, then everything is dropped.
    pub async fn shutdown(mut self) {
        self.server.shutdown.send_replace(true);
        while self.tasks.running.join_next().await.is_some() {}
    }
}

/// Drops what is too old, from time to time: writes do it too, but there may be none.
async fn expire(api: Arc<Api>, mut shutdown: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRY_INTERVAL) => {}
            () = until_down(&mut shutdown) => return,
        }
        api.store.write(Transaction::expire);
    }
}

/// The parts of a sandbox. They end when it is dropped.
#[derive(Debug)]
struct Tasks {
    running: JoinSet<()>,
    shutdown: watch::Receiver<bool>,
    /// The first one that ended prematurely.
    failure: watch::Sender<Option<String>>,
}

impl Tasks {
    fn new(shutdown: watch::Receiver<bool>) -> Tasks {
        Tasks { running: JoinSet::new(), shutdown, failure: watch::Sender::new(None) }
    }

    fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, failure) = (self.shutdown.clone(), self.failure.clone());
        self.running.spawn(async move {
            let how = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(()) if *shutdown.borrow() => return,
                Ok(()) => "ended by itself".to_owned(),
                Err(panic) => {
                    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                    text.map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
                }
            };
            failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert_with(|| format!("{name} of the sandbox: {how}"));
                first
            });
        });
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.shutdown.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_part_is_told_unless_it_was_shut_down() {
        let shutdown = watch::Sender::new(false);
        let mut tasks = Tasks::new(shutdown.subscribe());
        let mut told = tasks.failure.subscribe();
        let mut down = shutdown.subscribe();
        tasks.start("expiry", async move { until_down(&mut down).await });
        shutdown.send_replace(true);
        assert!(tasks.running.join_next().await.is_some_and(|end| end.is_ok()));
        assert_eq!(*told.borrow_and_update(), None);
        shutdown.send_replace(false);
        tasks.start("kubelets", async { panic!("node {} is lost", 7) });
        told.changed().await.expect("it is told");
        assert_eq!(
            told.borrow_and_update().as_deref(),
            Some("kubelets of the sandbox: panicked: node 7 is lost")
        );
        let mut tasks = Tasks::new(shutdown.subscribe());
        tasks.start("volume binder", async {});
        let mut told = tasks.failure.subscribe();
        let told = told.wait_for(Option::is_some).await.expect("it is told");
        assert_eq!(told.as_deref(), Some("volume binder of the sandbox: ended by itself"));
    }
}
