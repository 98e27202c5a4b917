//! The HTTP ports for probes, Prometheus and operators.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz`, `/livez`, `/readyz` | `ok`, or 500 and the checks; `?verbose`, `?exclude=NAME`; `/readyz/NAME` for one check |
//! | `/metrics` | the metrics: OpenMetrics for clients that ask for it, otherwise the Prometheus text format |
//! | `/metrics/slis` | the results of the checks that probes ran, in the same formats |
//!
//! and, on a separate address ([`Admin::serve_debug`]):
//!
//! | path | answer |
//! |---|---|
//! | `/configz` | the effective configuration as JSON |
//! | `/debug` | what is mounted below `/debug/` |
//! | `/debug/flags/v` | `PUT` with a number as the body changes the log's verbosity |
//! | `/debug/…` | what the shell mounted: see [`Admin::mount`] |
//!
//! A port with TLS ([`Admin::serve_secure`]) serves all of this together, as well as the CPU profiles of [`profile`] and the pages that the
//! program adds ([`Admin::add_page`]); there, a [`Gate`] decides who may see what.
//!
//! The other ports have no authentication. Probes and metrics contain counts and the names of profiles, plugins and nodes of the program's
//! own making; what is below `/debug/` names pods of all namespaces, so its address is on loopback unless configured otherwise. Request
//! bodies are not read, except for the few bytes of a verbosity.

pub mod profile;
mod secure;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::health::{Endpoint, Health, Report};
use crate::logging;
use crate::metrics::{self, Exposition, Metrics};
pub use secure::{Asked, Gate, Refusal, Security};
use server::Server;
pub use server::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER};

/// Maximum time from the start of the connection to the last byte of the answer, for a probe or a scrape.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A debug request that takes longer is cancelled.
pub const DEBUG_TIMEOUT: Duration = Duration::from_secs(60);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type DebugHandler = Arc<dyn Fn(DebugRequest) -> BoxFuture<DebugResponse> + Send + Sync>;

/// A request below `/debug/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The query parameters; of a repeated one, the last.
    pub query: BTreeMap<String, String>,
}

/// The answer to a [`DebugRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugResponse {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl DebugResponse {
    /// 200 with text.
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// 200 with JSON.
    pub fn json(value: &Value) -> Self {
        Self { status: 200, content_type: "application/json", body: format!("{value:#}\n") }
    }

    /// Another status with text.
    pub fn error(status: u16, message: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{}\n", message.into()) }
    }
}

impl IntoResponse for DebugResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is in use, or not an address of this machine.
    #[error("cannot listen on {address} for {what}: {source}; choose another address with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What would have been served there.
        what: &'static str,
        /// The option that sets the address.
        option: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// What the port serves. Clones share it; parts of the program add to it at run time.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The checks.
    pub health: Health,
    /// The metrics.
    pub metrics: Metrics,
    shared: Arc<Shared>,
}

struct Shared {
    configuration: RwLock<Value>,
    debug: RwLock<BTreeMap<String, Mounted>>,
    /// Additional pages of the port with TLS, by path.
    pages: RwLock<BTreeMap<String, DebugHandler>>,
    /// Whether CPU profiles are served.
    profiling: AtomicBool,
    /// Metrics that are left out.
    disabled_metrics: RwLock<BTreeSet<String>>,
    /// Debug requests may be expensive, so they run one at a time.
    debug_slot: Semaphore,
    /// A client that scrapes without a pause takes one thread's time, but not all threads'.
    scrape_slot: Semaphore,
}

/// A debug endpoint.
#[derive(Clone)]
struct Mounted {
    help: String,
    handler: DebugHandler,
    /// Minimum time between the starts of two requests, and when the last one started.
    pause: Duration,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Mounted {
    /// Starts a request now, if allowed.
    ///
    /// # Errors
    /// How long it is until the next one may start.
    fn begin(&self) -> Result<(), Duration> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.map(|last| last + self.pause).filter(|due| *due > Instant::now());
        if let Some(due) = due {
            return Err(due - Instant::now());
        }
        *last = Some(Instant::now());
        Ok(())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let debug = self.debug.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Shared").field("debug", &debug.keys()).finish_non_exhaustive()
    }
}

impl Admin {
    /// A port that serves these metrics, with no checks yet.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            health: Health::default(),
            metrics,
            shared: Arc::new(Shared {
                configuration: RwLock::new(Value::Object(serde_json::Map::new())),
                debug: RwLock::default(),
                pages: RwLock::default(),
                profiling: AtomicBool::new(true),
                disabled_metrics: RwLock::default(),
                debug_slot: Semaphore::new(1),
                scrape_slot: Semaphore::new(1),
            }),
        }
    }

    /// Sets what `/configz` shows below `componentconfig`. It must not contain secrets.
    pub fn set_configuration(&self, configuration: Value) {
        *self.shared.configuration.write().unwrap_or_else(PoisonError::into_inner) = configuration;
    }

    /// Whether CPU profiles are served; the default is yes.
    pub fn set_profiling(&self, on: bool) {
        self.shared.profiling.store(on, Ordering::Relaxed);
    }

    /// Leaves metrics out of `/metrics`, by name.
    pub fn disable_metrics(&self, names: impl IntoIterator<Item = String>) {
        *self.shared.disabled_metrics.write().unwrap_or_else(PoisonError::into_inner) =
            names.into_iter().collect();
    }

    /// Serves a page at this path on the port with TLS. An existing page with the same path is replaced.
    pub fn add_page<F, R>(&self, path: &str, handler: F)
    where
        F: Fn(DebugRequest) -> R + Send + Sync + 'static,
        R: Future<Output = DebugResponse> + Send + 'static,
    {
        let handler: DebugHandler = Arc::new(move |request| Box::pin(handler(request)));
        self.shared.pages.write().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), handler);
    }

    /// Serves `/debug/NAME` (a `NAME` may contain slashes) with a handler; `help` is shown by `/debug`. An existing handler with the same
    /// name is replaced. One request runs at a time, for at most [`DEBUG_TIMEOUT`].
    pub fn mount<F, R>(&self, name: &str, help: &str, handler: F)
    where
        F: Fn(DebugRequest) -> R + Send + Sync + 'static,
        R: Future<Output = DebugResponse> + Send + 'static,
    {
        self.mount_costly(name, help, Duration::ZERO, handler);
    }

    /// Like [`Admin::mount`], for endpoints that are costly to others, such as the API server: there is at least this much time between the
    /// starts of two requests.
    pub fn mount_costly<F, R>(&self, name: &str, help: &str, pause: Duration, handler: F)
    where
        F: Fn(DebugRequest) -> R + Send + Sync + 'static,
        R: Future<Output = DebugResponse> + Send + 'static,
    {
        let handler: DebugHandler = Arc::new(move |request| Box::pin(handler(request)));
        let mounted = Mounted { help: help.to_owned(), handler, pause, last: Arc::default() };
        let mut debug = self.shared.debug.write().unwrap_or_else(PoisonError::into_inner);
        debug.insert(name.trim_matches('/').to_owned(), mounted);
    }

    /// The paths of the port with TLS.
    pub fn paths(&self) -> Vec<String> {
        let fixed = ["/configz", "/debug", "/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz"];
        let profiles = self.shared.profiling.load(Ordering::Relaxed).then_some("/debug/pprof/");
        let pages = self.shared.pages.read().unwrap_or_else(PoisonError::into_inner);
        let mut paths: Vec<String> =
            fixed.into_iter().chain(profiles).map(str::to_owned).chain(pages.keys().cloned()).collect();
        paths.sort();
        paths
    }

    /// Listens on the address for probes and metrics. Port 0 selects a free port: ask the listener which.
    ///
    /// # Errors
    /// The address is not available.
    pub async fn listen(address: SocketAddr) -> Result<TcpListener, AdminError> {
        let failed =
            |source| AdminError::Listen { address, what: "probes and metrics", option: "--listen", source };
        TcpListener::bind(address).await.map_err(failed)
    }

    /// Listens on the address for debug endpoints, like [`Admin::listen`].
    ///
    /// # Errors
    /// The address is not available.
    pub async fn listen_debug(address: SocketAddr) -> Result<TcpListener, AdminError> {
        let failed = |source| AdminError::Listen {
            address,
            what: "debug endpoints",
            option: "--debug-listen",
            source,
        };
        TcpListener::bind(address).await.map_err(failed)
    }

    /// Listens on the address for the port with TLS, like [`Admin::listen`].
    ///
    /// # Errors
    /// The address is not available.
    pub fn listen_secure(address: SocketAddr, share_port: bool) -> Result<TcpListener, AdminError> {
        let failed = |source| AdminError::Listen {
            address,
            what: "HTTPS",
            option: "--bind-address and --secure-port",
            source,
        };
        secure::listen(address, share_port).map_err(failed)
    }

    /// Serves probes and metrics until cancelled.
    pub fn serve(self, listener: TcpListener, cancel: CancellationToken) -> BoxFuture<()> {
        Box::pin(self.probes().serve(listener, cancel))
    }

    fn probes(self) -> Server {
        let closed = self.metrics.http_connections_closed.clone();
        let router = probes()
            .fallback(async || {
                DebugResponse::error(
                    404,
                    "not found; here are /healthz, /livez, /readyz and /metrics. /configz and /debug are at the address of --debug-listen",
                )
            })
            .with_state(self);
        Server { router, lifetime: REQUEST_TIMEOUT, closed, tls: None }
    }

    /// Serves the debug endpoints until cancelled.
    pub fn serve_debug(self, listener: TcpListener, cancel: CancellationToken) -> BoxFuture<()> {
        Box::pin(self.debugging().serve(listener, cancel))
    }

    fn debugging(self) -> Server {
        let closed = self.metrics.http_connections_closed.clone();
        let router = debugging()
            .fallback(async || {
                DebugResponse::error(
                    404,
                    "not found; here are /configz and /debug. Probes and metrics are at the address of --listen",
                )
            })
            .with_state(self);
        Server { router, lifetime: DEBUG_TIMEOUT + REQUEST_TIMEOUT, closed, tls: None }
    }

    /// Serves one connection of the port for probes and metrics, or of the debug port, over any transport: for fuzzing. Not part of the
    /// crate's interface.
    #[doc(hidden)]
    pub async fn serve_connection<S>(self, debugging: bool, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = if debugging { self.debugging() } else { self.probes() };
        server.connection(stream).await;
    }

    /// Serves everything that the gate admits, over TLS, until cancelled.
    pub fn serve_secure(
        self,
        listener: TcpListener,
        security: Security,
        cancel: CancellationToken,
    ) -> BoxFuture<()> {
        let closed = self.metrics.http_connections_closed.clone();
        let router = probes().merge(debugging()).fallback(page).with_state(self);
        let router = secure::gated(router, security.gate);
        let lifetime = DEBUG_TIMEOUT + REQUEST_TIMEOUT;
        Box::pin(Server { router, lifetime, closed, tls: Some(security.tls) }.serve(listener, cancel))
    }
}

fn probes() -> Router<Admin> {
    Router::new()
        .route("/healthz", get(async |admin, query| health(&admin, Endpoint::Healthz, query)))
        .route("/livez", get(async |admin, query| health(&admin, Endpoint::Livez, query)))
        .route("/readyz", get(async |admin, query| health(&admin, Endpoint::Readyz, query)))
        .route("/healthz/{check}", get(one_check))
        .route("/livez/{check}", get(one_check))
        .route("/readyz/{check}", get(one_check))
        .route("/metrics", get(scrape))
        .route("/metrics/slis", get(scrape_slis))
}

fn debugging() -> Router<Admin> {
    Router::new()
        .route("/configz", get(configuration))
        .route("/debug", get(debug_index))
        .route("/debug/", get(debug_index))
        .route("/debug/flags/v", any(verbosity))
        .route("/debug/pprof", get(profile::index))
        .route("/debug/pprof/", get(profile::index))
        .route("/debug/pprof/{name}", any(profile::serve))
        .route("/debug/{*name}", any(debug))
}

/// The parameters of a query, percent-decoded.
fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let hex = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (byte, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = tail;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn health(State(admin): &State<Admin>, endpoint: Endpoint, RawQuery(query): RawQuery) -> Response {
    let parameters = parameters(query.as_deref().unwrap_or_default());
    let verbose = parameters.iter().any(|(name, _)| name == "verbose");
    let excluded: BTreeSet<String> =
        parameters.into_iter().filter(|(name, _)| name == "exclude").map(|(_, value)| value).collect();
    respond(admin.health.report(endpoint, &excluded, verbose))
}

fn respond(report: Report) -> Response {
    let status = if report.healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], report.text).into_response()
}

async fn one_check(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    match admin.health.report_one(&name) {
        Some(report) => respond(report),
        None => DebugResponse::error(404, format!("there is no check {name:?}; see /readyz?verbose"))
            .into_response(),
    }
}

async fn scrape(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let _turn = admin.shared.scrape_slot.acquire().await.expect("the semaphore is never closed");
    exposed(&admin, &headers, admin.metrics.encode())
}

async fn scrape_slis(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    exposed(&admin, &headers, admin.health.slis())
}

/// OpenMetrics text without the disabled metrics, in the format that a client prefers.
fn exposed(admin: &Admin, headers: &HeaderMap, text: String) -> Response {
    let disabled = admin.shared.disabled_metrics.read().unwrap_or_else(PoisonError::into_inner).clone();
    let accept = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let format = Exposition::negotiate(accept);
    let text = format.of(metrics::without(text, &disabled));
    ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")], text).into_response()
}

/// A page that the program added.
async fn page(State(admin): State<Admin>, request: axum::extract::Request) -> DebugResponse {
    let path = request.uri().path();
    let handler = admin.shared.pages.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    let Some(handler) = handler else {
        let pages = admin.paths().join(", ");
        return DebugResponse::error(404, format!("not found; here are {pages}"));
    };
    let query = parameters(request.uri().query().unwrap_or_default()).into_iter().collect();
    let request = DebugRequest { method: request.method().to_string(), query };
    timeout(DEBUG_TIMEOUT, handler(request)).await.unwrap_or_else(|_| {
        DebugResponse::error(504, format!("the page took longer than {DEBUG_TIMEOUT:?} and was given up"))
    })
}

async fn configuration(State(admin): State<Admin>) -> DebugResponse {
    let configuration = admin.shared.configuration.read().unwrap_or_else(PoisonError::into_inner).clone();
    DebugResponse::json(&serde_json::json!({ "componentconfig": configuration }))
}

/// Maximum size of a verbosity, including surrounding white space.
const VERBOSITY_BYTES_MAX: usize = 64;

/// Like kube-scheduler, which serves this in the same place as profiles.
async fn verbosity(State(admin): State<Admin>, method: Method, body: Body) -> DebugResponse {
    if !admin.shared.profiling.load(Ordering::Relaxed) {
        return DebugResponse::error(404, "not found: profiling, and with it this, is switched off");
    }
    if method != Method::PUT {
        return DebugResponse::error(
            405,
            format!("{method} is not allowed here; use PUT with a number as the body"),
        );
    }
    let Ok(body) = to_bytes(body, VERBOSITY_BYTES_MAX).await else {
        return DebugResponse::error(
            400,
            format!("the body cannot be read, or is longer than {VERBOSITY_BYTES_MAX} bytes"),
        );
    };
    match logging::set_verbosity(&String::from_utf8_lossy(&body)) {
        Ok(verbosity) => DebugResponse::text(format!("the log's verbosity is {verbosity} now\n")),
        Err(reason) => DebugResponse::error(400, reason),
    }
}

async fn debug_index(State(admin): State<Admin>) -> DebugResponse {
    let debug = admin.shared.debug.read().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> =
        debug.iter().map(|(name, mounted)| format!("/debug/{name}\t{}\n", mounted.help)).collect();
    DebugResponse::text(lines.concat())
}

async fn debug(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    method: Method,
    RawQuery(query): RawQuery,
) -> DebugResponse {
    let mounted = {
        let debug = admin.shared.debug.read().unwrap_or_else(PoisonError::into_inner);
        debug.get(name.trim_matches('/')).cloned()
    };
    let Some(mounted) = mounted else {
        return DebugResponse::error(404, format!("nothing is mounted at /debug/{name}; see /debug"));
    };
    if method != Method::GET && method != Method::POST {
        return DebugResponse::error(405, format!("{method} is not allowed here; use GET or POST"));
    }
    let Ok(_slot) = admin.shared.debug_slot.try_acquire() else {
        return DebugResponse::error(429, "another debug request runs; try again when it has ended");
    };
    if let Err(wait) = mounted.begin() {
        return DebugResponse::error(
            429,
            format!(
                "/debug/{name} costs the API server something and has just run; try again in {} s",
                wait.as_secs() + 1
            ),
        );
    }
    let query = parameters(query.as_deref().unwrap_or_default()).into_iter().collect();
    let request = DebugRequest { method: method.to_string(), query };
    timeout(DEBUG_TIMEOUT, (mounted.handler)(request)).await.unwrap_or_else(|_| {
        DebugResponse::error(
            504,
            format!("/debug/{name} took longer than {DEBUG_TIMEOUT:?} and was given up"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let pairs = |query| {
            parameters(query).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(pairs("verbose"), ["verbose="]);
        assert_eq!(pairs("a=1&b=x%20y+z&&c=%2Fp%zz%"), ["a=1", "b=x y z", "c=/p%zz%"]);
        assert_eq!(pairs(""), Vec::<String>::new());
    }
}
