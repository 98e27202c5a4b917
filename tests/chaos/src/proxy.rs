//! A proxy between a scheduler and the API server that breaks what it is told to break.
//!
//! The scheduler reaches it by plain HTTP on loopback; it reaches the API server with the client certificate of a kubeconfig.
//! What it holds: the rules of the moment, open connections, and the first answers to lists. Who writes it: the scene, by
//! [`Proxy::strike`] and [`Proxy::heal`]. What bounds it: bodies and remembered answers have limits, and everything ends when the
//! value is dropped. What it must never know: what a right answer is.

mod answer;
mod fault;
mod watch;

pub use fault::{BodyFault, EventFault, Fault, Kind, Reply, Rule};

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch::{Receiver, Sender};

/// A running proxy. Dropping it ends it, with every connection.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    /// Declared last, so that it ends last.
    _runtime: Runtime,
}

/// What happens at the moment.
#[derive(Clone, Copy, Debug)]
struct Weather {
    rules: &'static [Rule],
    /// All connections are closed, and new ones are closed at once.
    parted: bool,
}

impl Weather {
    const FAIR: Self = Self { rules: &[], parted: false };
}

/// A list as it was answered first.
#[derive(Clone)]
struct OldAnswer {
    content_type: http::HeaderValue,
    body: Bytes,
}

struct Shared {
    upstream: Client,
    weather: Sender<Weather>,
    chance: Mutex<fastrand::Rng>,
    /// Requests and events that were struck since the last change of weather.
    struck: AtomicUsize,
    /// By path and query.
    old_lists: Mutex<BTreeMap<String, OldAnswer>>,
}

impl Proxy {
    /// Starts a proxy to the API server of a kubeconfig. The seed decides which requests are struck.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used, or there is no port.
    pub fn start(kubeconfig: &Path, seed: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime of the proxy")?;
        let (upstream, listener) = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig)?;
            let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
            // What went wrong is for the scheduler to see.
            config.default_retry = false;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            anyhow::Ok((Client::try_from(config)?, listener))
        })?;
        Self::serve(runtime, upstream, listener, seed)
    }

    fn serve(runtime: Runtime, upstream: Client, listener: TcpListener, seed: u64) -> Result<Self> {
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream,
            weather: Sender::new(Weather::FAIR),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            struck: AtomicUsize::new(0),
            old_lists: Mutex::default(),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, port, _runtime: runtime })
    }

    /// Writes a kubeconfig for the proxy into `folder`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("proxy-{}.kubeconfig", self.port));
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://127.0.0.1:{}", self.port) } }],
            "users": [{ "name": "nobody", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "nobody" } }],
            "current-context": "proxy",
        });
        std::fs::write(&path, document.to_string()).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// From now on these rules hold. Watches that are open are cut, so that the rules see the next ones.
    pub fn strike(&self, rules: &'static [Rule]) {
        self.change(rules, false);
    }

    /// From now on every connection is closed.
    pub fn part(&self) {
        self.change(&[], true);
    }

    /// From now on all is well. What is on its way already is broken as it was to be.
    pub fn heal(&self) {
        self.change(&[], false);
    }

    /// Requests and events that were struck since the last change.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::Relaxed)
    }

    fn change(&self, rules: &'static [Rule], parted: bool) {
        self.shared.struck.store(0, Ordering::Relaxed);
        self.shared.weather.send_replace(Weather { rules, parted });
    }
}

impl Shared {
    fn weather(&self) -> Receiver<Weather> {
        self.weather.subscribe()
    }

    fn chance(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that strikes a request, if one does.
    fn fault(&self, kind: Kind) -> Option<Fault> {
        let rules = self.weather.borrow().rules;
        let rule = rules
            .iter()
            .find(|rule| rule.kinds.contains(&kind) && self.chance().u32(..100) < rule.percent)?;
        // Of a watch, each event that is struck counts.
        if !matches!(rule.fault, Fault::Events(_)) {
            self.count();
        }
        Some(rule.fault)
    }

    fn count(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    loop {
        // What cannot be accepted is gone already; the next may come.
        let Ok((stream, _)) = listener.accept().await else { continue };
        if shared.weather.borrow().parted {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut weather = shared.weather();
            let service = service_fn(|request| answer::answer(Arc::clone(&shared), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Its error is the fault that was asked for.
            tokio::select! {
                _ = connection => {}
                _ = weather.wait_for(|weather| weather.parted) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests;
