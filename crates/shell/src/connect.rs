//! How the API server is found and reached, and what is reported when it is not.
//!
//! Every step of startup may hang: a kubeconfig that is a FIFO, a credential plugin, an API server that never answers. So each step says
//! after a few seconds what it is waiting for, has a deadline, and ends at once if startup is cancelled.

mod client;
mod proxy;
mod server;
mod step;

pub(crate) use client::{client, observed};
pub use step::in_time;
pub(crate) use step::step;

use crate::call::{Call, CallError, Caller, chain};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use kube_client::Config;
use kube_client::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum wait for the kubeconfig and the files that it refers to.
const KUBECONFIG_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum wait for the kubeconfig's credential plugin.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum wait for the API server's first answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of contexts that an error lists.
const CONTEXTS_NAMED_MAX: usize = 10;
const REMEDY: &str = "give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a service account";

/// Why no cluster can be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read, or contains nothing usable.
    #[error("kubeconfig {path}: {reason}; correct it, or give another by --kubeconfig")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The kubeconfig has no context of this name, or, if none was named, no current context.
    #[error("kubeconfig {path}: {}; {}", missing_context(name.as_deref()), remedy_for_context(known))]
    NoContext {
        /// The file.
        path: String,
        /// The requested context.
        name: Option<String>,
        /// The contexts that exist.
        known: Vec<String>,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("no cluster: {reason}; {REMEDY}")]
    NoCluster {
        /// What was tried.
        reason: String,
    },
    /// Certificates or keys cannot be used.
    #[error(
        "cannot make a client for {server}: {reason}; check certificates, keys and proxy in the kubeconfig"
    )]
    Client {
        /// URL.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// A step of startup did not finish in time.
    #[error("{what}: nothing came within {at_most:?}; {}", remedy_for_silence(what))]
    TooLong {
        /// What was waited for.
        what: String,
        /// How long.
        at_most: Duration,
    },
    /// The proxy cannot be used.
    #[error(
        "the proxy {proxy}, from {from}, cannot be used: give http://HOST:PORT (HTTP CONNECT) or socks5://HOST:PORT"
    )]
    Proxy {
        /// Scheme and host; no password.
        proxy: String,
        /// Where it was configured.
        from: &'static str,
    },
    /// No connection to the API server could be made, or it did not answer properly.
    #[error("cannot reach the API server at {server}: {reason}; {remedy}")]
    Unreachable {
        /// URL.
        server: String,
        /// What happened.
        reason: String,
        /// What to do.
        remedy: &'static str,
        /// It may go away by itself.
        may_pass: bool,
    },
    /// The API server does not accept our credentials.
    #[error(
        "the API server at {server} does not accept the credentials (401 {reason}): the token or client certificate is wrong or has expired; renew it in the kubeconfig"
    )]
    Unauthorized {
        /// URL.
        server: String,
        /// Its message.
        reason: String,
    },
}

fn missing_context(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("there is no context {name:?}"),
        None => "there is no current-context: name one by --context".to_owned(),
    }
}

fn remedy_for_context(known: &[String]) -> String {
    if known.is_empty() {
        return "it has no contexts: give another by --kubeconfig".to_owned();
    }
    let named: Vec<&str> = known.iter().take(CONTEXTS_NAMED_MAX).map(String::as_str).collect();
    let more = known.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has {}{more}", named.join(", "))
}

fn remedy_for_silence(what: &str) -> &'static str {
    if what.contains("credential plugin") {
        "run the plugin by hand to see what it waits for"
    } else {
        "check that what it reads or asks is there and answers"
    }
}

/// Finds the cluster through a kubeconfig, `KUBECONFIG`, `~/.kube/config` or the pod's service account, in this order.
///
/// # Errors
/// There is none of them, the one found cannot be used, or reading it takes too long.
pub fn cluster(kubeconfig: Option<&Path>) -> BoxFuture<'static, Result<Config, ConnectError>> {
    cluster_in(kubeconfig, None)
}

/// Like [`cluster`], but uses the named context of the kubeconfig instead of its current one.
///
/// # Errors
/// As for [`cluster`]; or there is no such context.
pub fn cluster_in(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> BoxFuture<'static, Result<Config, ConnectError>> {
    find_in_time(kubeconfig.map(Path::to_owned), context.map(str::to_owned)).boxed()
}

async fn find_in_time(given: Option<PathBuf>, context: Option<String>) -> Result<Config, ConnectError> {
    let what = match &given {
        Some(path) => format!("kubeconfig {}", path.display()),
        None => "the kubeconfig".to_owned(),
    };
    // A file may be a FIFO that nobody writes to, so no runtime task waits for it.
    let runtime = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || runtime.block_on(find(given, context)));
    match step(&what, KUBECONFIG_TIMEOUT, read).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => Err(ConnectError::NoCluster { reason: error.to_string() }),
        Err(_) => Err(ConnectError::TooLong { what, at_most: KUBECONFIG_TIMEOUT }),
    }
}

async fn find(given: Option<PathBuf>, context: Option<String>) -> Result<Config, ConnectError> {
    if let Some(path) = given {
        let shown = path.display().to_string();
        let file = Kubeconfig::read_from(&path).map_err(|error| ConnectError::Kubeconfig {
            path: shown.clone(),
            reason: reason(&error, &path),
        })?;
        return from_file(file, &shown, context).await;
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty()) {
        let path = std::env::var("KUBECONFIG").unwrap_or_default();
        let wrong = |reason: String| ConnectError::Kubeconfig { path: path.clone(), reason };
        let file = Kubeconfig::from_env().map_err(|error| wrong(reason(&error, Path::new(&path))))?;
        let file = file.ok_or_else(|| wrong("it names no file".to_owned()))?;
        return from_file(file, &path, context).await;
    }
    let no_file = match Kubeconfig::read() {
        Ok(file) => return from_file(file, "~/.kube/config", context).await,
        // The problem is not in a file that the message names.
        Err(error) => reason(&error, Path::new("")),
    };
    if let Some(context) = context {
        let reason =
            format!("{no_file}; and there is no other kubeconfig that could have the context {context:?}");
        return Err(ConnectError::NoCluster { reason });
    }
    Config::incluster().map_err(|error| ConnectError::NoCluster {
        reason: match error {
            // Every pod has this variable.
            InClusterError::ReadEnvironmentVariable(_) => {
                format!("{no_file}; and this is no pod (KUBERNETES_SERVICE_HOST is not set)")
            }
            error => format!("{no_file}; and no service account: {}", first_line(&error)),
        },
    })
}

/// What is wrong with the kubeconfig at this path; the path itself is not repeated.
fn reason(error: &KubeconfigError, shown: &Path) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) if path == shown => error.to_string(),
        KubeconfigError::ReadConfig(error, path) => format!("{}: {error}", path.display()),
        error => first_line(error),
    }
}

/// What is wrong with a kubeconfig, without the excerpt that the YAML parser prints below the message.
fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}

async fn from_file(
    mut file: Kubeconfig,
    path: &str,
    context: Option<String>,
) -> Result<Config, ConnectError> {
    if context.is_some() {
        file.current_context = context;
    }
    let name = file.current_context.clone().filter(|name| !name.is_empty());
    let known: Vec<String> = file.contexts.iter().map(|context| context.name.clone()).collect();
    if name.as_ref().is_none_or(|name| !known.contains(name)) {
        return Err(ConnectError::NoContext { path: path.to_owned(), name, known });
    }
    let has_proxy = has_proxy(&file);
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Kubeconfig { path: path.to_owned(), reason: first_line(&error) })?;
    config.cluster_url =
        server::url(&config).map_err(|reason| ConnectError::Kubeconfig { path: path.to_owned(), reason })?;
    // The proxies from the environment have their own rules, which are applied where the client is built.
    if !has_proxy {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Treats a kubeconfig that has already been read as startup does: its current context, and the proxy.
pub(crate) async fn of_kubeconfig(file: Kubeconfig, path: &str) -> Result<Config, ConnectError> {
    let config = from_file(file, path, None).await?;
    proxy::proxy(&config.cluster_url, config.proxy_url.as_ref(), &proxy::Environment::default())?;
    Ok(config)
}

/// The URL of the proxy used for a server, from a kubeconfig and the environment.
pub(crate) fn proxy_for(
    server: &Uri,
    configured: Option<&Uri>,
    [https, all, no]: [&str; 3],
) -> Result<Option<Uri>, ConnectError> {
    let own = str::to_owned;
    let environment =
        proxy::Environment { https: own(https), http: String::new(), all: own(all), no: own(no) };
    let proxy = proxy::proxy(server, configured, &environment)?;
    Ok(proxy.map(|proxy| proxy.intercept.uri().clone()))
}

/// Whether the cluster of the current context has a proxy configured.
fn has_proxy(file: &Kubeconfig) -> bool {
    let context = file.contexts.iter().find(|c| Some(&c.name) == file.current_context.as_ref());
    let cluster = context.and_then(|c| c.context.as_ref()).map(|c| &c.cluster);
    let cluster = file.clusters.iter().find(|c| Some(&c.name) == cluster);
    cluster.and_then(|c| c.cluster.as_ref()?.proxy_url.as_ref()).is_some_and(|url| !url.is_empty())
}

/// Asks the API server for its version, so that any problem is reported at once and in full.
pub(crate) async fn check(caller: &Caller, server: &str) -> Result<(), ConnectError> {
    let unreachable = |reason: String, may_pass: bool| {
        let text = reason.to_lowercase();
        let remedy = if text.contains("certificate") || text.contains("handshake") || text.contains("tls") {
            "check the dates and the authority of the certificates in the kubeconfig (an expired client certificate must be renewed)"
        } else {
            "check that the address is right and the API server runs"
        };
        ConnectError::Unreachable { server: server.to_owned(), reason, remedy, may_pass }
    };
    let what = format!("the first answer of the API server at {server}");
    let call = Call::get("/version".to_owned());
    let answer = step(&what, FIRST_ANSWER_TIMEOUT, caller.read(&call)).await;
    let Ok(answer) = answer else {
        return Err(ConnectError::TooLong { what, at_most: FIRST_ANSWER_TIMEOUT });
    };
    match answer {
        Ok(_) => Ok(()),
        Err(CallError::Answered { code: 401, message, .. }) => {
            Err(ConnectError::Unauthorized { server: server.to_owned(), reason: message })
        }
        // Not every user may read the version; the access reviews that follow decide.
        Err(CallError::Answered { code: 403 | 404, .. }) => Ok(()),
        Err(error) => {
            let may_pass = error.may_pass();
            let reason = match error {
                CallError::Answered { code, message, .. } => format!("{code} {message}"),
                CallError::NotSent(reason) | CallError::Lost(reason) => reason,
            };
            Err(unreachable(reason, may_pass))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use tower::BoxError;

    async fn said(code: u16, message: &str) -> Result<(), String> {
        let body = serde_json::json!({ "kind": "Status", "code": code, "message": message }).to_string();
        let service = tower::service_fn(move |_: Request<Body>| {
            let response = Response::builder().status(code).body(Body::from(body.clone().into_bytes()));
            async move { Ok::<_, kube_client::Error>(response.expect("a response")) }
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(1));
        check(&caller, "https://x/").await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_the_first_answer_means() {
        assert_eq!(said(200, "").await, Ok(()));
        assert_eq!(said(403, "not for you").await, Ok(()));
        assert_eq!(
            said(401, "Unauthorized").await,
            Err("the API server at https://x/ does not accept the credentials (401 Unauthorized): the token or client certificate is wrong or has expired; renew it in the kubeconfig".to_owned())
        );
        assert_eq!(
            said(503, "not now").await,
            Err("cannot reach the API server at https://x/: 503 not now; check that the address is right and the API server runs".to_owned())
        );
    }

    #[tokio::test]
    async fn a_certificate_that_is_refused_is_told_as_such() {
        let service = tower::service_fn(|_: Request<Body>| async {
            let error = std::io::Error::other("received fatal alert: CertificateExpired");
            Err::<Response<Body>, BoxError>(Box::new(error))
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(1));
        let error = check(&caller, "https://x/").await.expect_err("no connection").to_string();
        assert!(error.contains("CertificateExpired"), "{error}");
        assert!(error.contains("an expired client certificate must be renewed"), "{error}");
    }
}
