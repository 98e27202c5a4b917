//! How the API server is found and reached, and what is said when it is not.

use crate::call::{Call, CallError, Caller, chain};
use http::{HeaderValue, header};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube_client::client::{Body, ConfigExt};
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config};
use std::path::Path;
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// Longest wait for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two probes of a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// An unused connection is closed after this.
const POOL_IDLE: Duration = Duration::from_secs(90);
const REMEDY: &str = "give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a service account";

/// Why there is no cluster to schedule.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read, or says nothing usable.
    #[error("kubeconfig {path}: {reason}; correct it, or give another by --kubeconfig")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// There is neither kubeconfig nor service account.
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
    /// Nobody answers there.
    #[error("cannot reach the API server at {server}: {reason}; {remedy}")]
    Unreachable {
        /// URL.
        server: String,
        /// What happened.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The API server does not know who we are.
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

/// The cluster that a kubeconfig, `KUBECONFIG`, `~/.kube/config` or the pod's service account leads to, in this order.
///
/// # Errors
/// None of them is there, or the one that is cannot be used.
pub async fn cluster(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    let Some(path) = kubeconfig else {
        if std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty()) {
            let path = std::env::var("KUBECONFIG").unwrap_or_default();
            let wrong = |reason: String| ConnectError::Kubeconfig { path: path.clone(), reason };
            let file = Kubeconfig::from_env().map_err(|e| wrong(first_line(&e)))?;
            let file = file.ok_or_else(|| wrong("it names no file".to_owned()))?;
            return from_file(file, &path).await;
        }
        return Config::infer().await.map_err(|error| ConnectError::NoCluster { reason: chain(&error) });
    };
    let shown = path.display().to_string();
    let file = Kubeconfig::read_from(path)
        .map_err(|error| ConnectError::Kubeconfig { path: shown.clone(), reason: first_line(&error) })?;
    from_file(file, &shown).await
}

/// What is wrong with a kubeconfig, without the picture that the YAML parser draws below it.
fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}

async fn from_file(file: Kubeconfig, path: &str) -> Result<Config, ConnectError> {
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Kubeconfig { path: path.to_owned(), reason: first_line(&error) })
}

/// A client with no retries behind our back, small packets sent at once, dead connections noticed, and an end to the wait for
/// the head of every answer.
pub(crate) fn client(config: &Config) -> Result<Client, ConnectError> {
    let failed = |error: kube_client::Error| ConnectError::Client {
        server: config.cluster_url.to_string(),
        reason: chain(&error),
    };
    let mut config = config.clone();
    config.default_retry = false;
    let agent = concat!("secondmate/", env!("CARGO_PKG_VERSION"));
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(agent)));
    if config.proxy_url.is_some() {
        return Client::try_from(config.clone()).map_err(failed);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = config.rustls_https_connector_with_connector(connector).map_err(failed)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .map_err(BoxError::from)
        .timeout(HEAD_TIMEOUT)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// Asks the API server who it is, so that whatever is wrong is said at once and in full.
pub(crate) async fn check(caller: &Caller, server: &str) -> Result<(), ConnectError> {
    let unreachable = |reason: String| {
        let text = reason.to_lowercase();
        let remedy = if text.contains("certificate") || text.contains("handshake") || text.contains("tls") {
            "check the dates and the authority of the certificates in the kubeconfig (an expired client certificate must be renewed)"
        } else {
            "check that the address is right and the API server runs"
        };
        ConnectError::Unreachable { server: server.to_owned(), reason, remedy }
    };
    match caller.read(&Call::get("/version".to_owned())).await {
        Ok(_) => Ok(()),
        Err(CallError::Answered { code: 401, message, .. }) => {
            Err(ConnectError::Unauthorized { server: server.to_owned(), reason: message })
        }
        // Not everybody may ask for the version; the reviews that follow tell what counts.
        Err(CallError::Answered { code: 403 | 404, .. }) => Ok(()),
        Err(CallError::Answered { code, message, .. }) => Err(unreachable(format!("{code} {message}"))),
        Err(CallError::NotSent(reason) | CallError::Lost(reason)) => Err(unreachable(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};

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
