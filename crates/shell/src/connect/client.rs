//! The client: no retries behind our back, small packets sent at once, dead connections noticed, and an end to the wait for the head
//! of every answer, and for a credential plugin before it.

use super::proxy::{Environment, Kind, proxy};
use super::step::step;
use super::{ConnectError, PLUGIN_TIMEOUT};
use crate::call::chain;
use crate::heartbeat::Heartbeat;
use crate::requests::{MeasureRequests, server_host};
use http::{HeaderValue, Request, Uri, header};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube_client::client::{Body, ConfigExt};
use kube_client::{Client, Config};
use secondmate_telemetry::Metrics;
use std::time::Duration;
use tower::{BoxError, Service, ServiceBuilder};

/// Maximum wait for a connection; TLS and the proxy come on top, within [`HEAD_TIMEOUT`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer, with all that comes before it: a credential plugin that is run for a new token holds up all other
/// requests meanwhile.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two probes of a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Unused connections are closed after this time.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Builds a client whose requests are measured; `api` beats at each answer. The kubeconfig's credential plugin runs as part of this, on its
/// own thread, and may hang.
///
/// # Errors
/// Certificates, keys, the proxy or the plugin cannot be used, or the plugin takes too long.
pub(crate) async fn client(
    config: &Config,
    metrics: &Metrics,
    api: Option<Heartbeat>,
) -> Result<Client, ConnectError> {
    let server = config.cluster_url.to_string();
    let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
    let what = match &plugin {
        Some(command) => format!("the credential plugin {command:?} of the kubeconfig"),
        None => "certificates and keys of the kubeconfig".to_owned(),
    };
    let requests = MeasureRequests::new(metrics.clone(), server_host(&config.cluster_url));
    let seen = Seen { requests, api };
    let config = config.clone();
    let build = tokio::task::spawn_blocking(move || build(config, seen));
    match step(&what, PLUGIN_TIMEOUT, build).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => Err(ConnectError::Client { server, reason: error.to_string() }),
        Err(_) => Err(ConnectError::TooLong { what, at_most: PLUGIN_TIMEOUT }),
    }
}

/// What requests and answers are reported to.
struct Seen {
    requests: MeasureRequests,
    api: Option<Heartbeat>,
}

fn build(mut config: Config, seen: Seen) -> Result<Client, ConnectError> {
    config.default_retry = false;
    let agent = concat!("secondmate/", env!("CARGO_PKG_VERSION"));
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(agent)));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let Some(proxy) = proxy(&config.cluster_url, config.proxy_url.as_ref(), &Environment::read())? else {
        return over(&config, connector, seen);
    };
    let address = proxy.intercept.uri().clone();
    tracing::info!(proxy = %address, "the API server is reached by a proxy");
    match proxy.kind {
        Kind::Http => {
            let mut tunnel = Tunnel::new(address, connector);
            if let Some(auth) = proxy.intercept.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            over(&config, tunnel, seen)
        }
        Kind::Socks5 => {
            let mut socks = SocksV5::new(address, connector);
            if let Some((user, password)) = proxy.intercept.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            over(&config, socks, seen)
        }
    }
}

/// Builds a client over connections of this kind.
fn over<C>(config: &Config, connector: C, seen: Seen) -> Result<Client, ConnectError>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let failed = |error: kube_client::Error| ConnectError::Client {
        server: config.cluster_url.to_string(),
        reason: chain(&error),
    };
    let connector = config.rustls_https_connector_with_connector(connector).map_err(failed)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .build(connector);
    let Seen { requests, api } = seen;
    let service = ServiceBuilder::new()
        .layer(requests)
        .layer(config.base_uri_layer())
        .timeout(HEAD_TIMEOUT)
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .map_err(BoxError::from)
        .map_response(move |response| {
            if let Some(api) = &api {
                api.beat();
            }
            response
        })
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The same client, but `answered` is shown the head of each answer.
pub(crate) fn observed(
    client: Client,
    answered: impl Fn(&http::Response<Body>) + Clone + Send + Sync + 'static,
) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, answered) = (client.clone(), answered.clone());
        async move {
            let answer = client.send(request).await;
            if let Ok(answer) = &answer {
                answered(answer);
            }
            answer
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube_client::config::{ExecConfig, ExecInteractiveMode};
    use std::path::Path;
    use tokio::task::yield_now;
    use tokio::time::advance;

    /// A plugin whose tokens have always expired. It hangs as long as there is a file `hold`, and makes a file `hangs` then.
    fn plugin(folder: &Path) -> ExecConfig {
        let folder = folder.display();
        let hold = format!("while [ -e '{folder}/hold' ]; do touch '{folder}/hangs'; sleep 0.05; done");
        let status = r#"{"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"}"#;
        let version = "client.authentication.k8s.io/v1";
        let credential =
            format!(r#"{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {status}}}"#);
        ExecConfig {
            api_version: Some(version.to_owned()),
            command: Some("sh".to_owned()),
            args: Some(vec!["-c".to_owned(), format!("{hold}; echo '{credential}'")]),
            interactive_mode: Some(ExecInteractiveMode::Never),
            ..ExecConfig::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_plugin_that_hangs_is_not_waited_for_longer_than_for_an_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(Uri::from_static("http://127.0.0.1:1"));
        config.auth_info.exec = Some(plugin(folder.path()));
        let requests = MeasureRequests::new(Metrics::new(), "127.0.0.1:1");
        let client = build(config, Seen { requests, api: None }).expect("the plugin works");
        std::fs::write(folder.path().join("hold"), "").expect("a writable folder");
        let request = tokio::spawn(async move { client.send(Request::new(Body::empty())).await });
        // The plugin runs in real time, and the clock stands still meanwhile.
        let began = std::time::Instant::now();
        while !folder.path().join("hangs").exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "the plugin is never run");
            std::thread::sleep(Duration::from_millis(5));
            yield_now().await;
        }
        advance(HEAD_TIMEOUT + Duration::from_secs(1)).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(request.is_finished(), "it still waits for the plugin");
        let Err(error) = request.await.expect("no panic") else { panic!("there is no API server") };
        assert!(chain(&error).contains("timed out"), "{}", chain(&error));
    }
}
