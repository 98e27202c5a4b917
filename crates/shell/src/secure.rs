//! Serving as kube-scheduler does: HTTPS, with authentication and authorization delegated to the API server.
//!
//! ```text
//!  client ──TLS──▶ telemetry's port ──Asked──▶ Delegated ──▶ who is it?   certificate (authorities), token (TokenReview)
//!                                                      └──▶ allowed?     path, group, or SubjectAccessReview
//! ```
//!
//! It knows nothing about scheduling. Certificates and authorities are read again when they change; a connection uses those that are
//! current when it begins. The API server's answers are remembered for some seconds ([`remembered`]), in a bounded number; the number of
//! concurrent reviews is bounded too, and each has a timeout. Of a token, only the hash is kept.

mod authenticate;
mod authorities;
mod authorize;
mod certificate;
mod remembered;
#[cfg(test)]
mod tests;
mod tls;

pub use authorities::RequestHeaders;
pub use certificate::{NamedCertificate, ServingCertificate, own_certificate_in};
pub use tls::{TlsOptions, TlsVersion};

use crate::call::{Call, CallError, Caller, Content};
use crate::connect;
use crate::options::StartError;
use crate::requests::NO_ANSWER;
use crate::tasks::{Failure, Failures, Tasks};
use authenticate::Authenticator;
use authorities::{Authorities, AuthoritySources};
use authorize::Authorizer;
use certificate::Certificates;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use kube_client::Config;
use secondmate_telemetry::metrics::ReviewMetrics;
use secondmate_telemetry::{Asked, Gate, Metrics, Refusal, Security};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Maximum wait for a review, as upstream.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// How clients are authenticated.
#[derive(Debug)]
pub struct AuthenticationOptions {
    /// The cluster whose API server reviews tokens; `None`: tokens are not accepted.
    pub cluster: Option<Config>,
    /// Authority for client certificates (PEM); `None`: the one in the cluster's ConfigMap `extension-apiserver-authentication`.
    pub client_authority: Option<PathBuf>,
    /// How a front proxy passes on its client's identity; `None`: as that ConfigMap says.
    pub request_headers: Option<RequestHeaders>,
    /// Do not read the ConfigMap.
    pub skip_lookup: bool,
    /// Start even if the ConfigMap cannot be read.
    pub tolerate_lookup_failure: bool,
    /// How long the result of a token review is valid.
    pub remember: Duration,
}

/// How clients are authorized.
#[derive(Debug)]
pub struct AuthorizationOptions {
    /// The cluster whose API server decides; `None`: nothing is allowed except what is always allowed.
    pub cluster: Option<Config>,
    /// Paths that everyone may read; a trailing `*` matches any suffix.
    pub always_allow_paths: Vec<String>,
    /// How long a positive answer is valid.
    pub remember_allowed: Duration,
    /// How long a negative answer is valid.
    pub remember_denied: Duration,
}

/// How the port is served.
#[derive(Debug)]
pub struct SecureOptions {
    /// The certificate to present.
    pub certificate: ServingCertificate,
    /// Certificates to present to clients that ask for certain names.
    pub named: Vec<NamedCertificate>,
    /// TLS versions, cipher suites and curves.
    pub tls: TlsOptions,
    /// How to authenticate clients.
    pub authentication: AuthenticationOptions,
    /// How to authorize them.
    pub authorization: AuthorizationOptions,
    /// For the requests to the API server.
    pub metrics: Metrics,
}

/// Keeps certificates and authorities current. It ends when dropped.
#[derive(Debug)]
pub struct SecureServing {
    failures: Failures,
    _tasks: DropGuard,
}

impl SecureServing {
    /// Reads certificates and authorities, and starts keeping them current on the current tokio runtime.
    ///
    /// # Errors
    /// A certificate, key or authority cannot be used; no client can be built; or the ConfigMap cannot be read and that is not tolerated.
    pub fn start(options: SecureOptions) -> BoxFuture<'static, Result<(Self, Security), StartError>> {
        Self::begin(options).boxed()
    }

    async fn begin(options: SecureOptions) -> Result<(Self, Security), StartError> {
        let end = CancellationToken::new();
        let (tasks, failures) = Tasks::new(end.clone());
        let guard = end.drop_guard();
        let failed = |reason| StartError::Other { what: "cannot serve HTTPS", reason };
        let (certificates, tls) =
            Certificates::read(options.certificate, options.named, options.tls).await.map_err(failed)?;
        tasks.spawn_lasting("serving certificate", certificates.keep());

        let AuthenticationOptions { cluster, client_authority, request_headers, .. } = options.authentication;
        let reviews_tokens = caller(cluster.as_ref(), &options.metrics).await?;
        let sources = AuthoritySources {
            client_authority,
            request_headers,
            cluster: reviews_tokens.clone().filter(|_| !options.authentication.skip_lookup),
        };
        let tolerate = options.authentication.tolerate_lookup_failure;
        let (authorities, trusted) = Authorities::read(sources, tolerate).await.map_err(failed)?;
        tasks.spawn_lasting("authorities of client certificates", authorities.keep());

        let reviews_access = caller(options.authorization.cluster.as_ref(), &options.metrics).await?;
        let delegated = Delegated {
            authenticator: Authenticator::new(
                trusted,
                reviews_tokens,
                options.authentication.remember,
                &options.metrics,
            ),
            authorizer: Authorizer::new(
                reviews_access,
                options.authorization.always_allow_paths,
                (options.authorization.remember_allowed, options.authorization.remember_denied),
                &options.metrics,
            ),
        };
        Ok((Self { failures, _tasks: guard }, Security { tls, gate: Arc::new(delegated) }))
    }

    /// Waits until a part of it fails, which should never happen: the process must then exit.
    pub async fn failed(&mut self) -> Failure {
        self.failures.next().await
    }
}

async fn caller(cluster: Option<&Config>, metrics: &Metrics) -> Result<Option<Caller>, StartError> {
    let Some(cluster) = cluster else { return Ok(None) };
    let client = connect::client(cluster, metrics, None).await?;
    Ok(Some(Caller::new(client, None, REVIEW_TIMEOUT)))
}

/// Submits a review to the API server.
///
/// # Errors
/// It did not answer, or its answer is not a review; the text says which.
async fn review<T: DeserializeOwned>(
    caller: &Caller,
    path: &str,
    body: &Value,
    metrics: &ReviewMetrics,
) -> Result<T, String> {
    let call = Call::new(Method::POST, path.to_owned(), Content::Json, body.to_string().into_bytes());
    let began = Instant::now();
    let read = caller.read(&call).await;
    let code = match &read {
        Ok(_) => StatusCode::CREATED.as_u16().to_string(),
        Err(CallError::Answered { code, .. }) => code.to_string(),
        Err(CallError::NotSent(_) | CallError::Lost(_)) => NO_ANSWER.to_owned(),
    };
    metrics.answered(&code, began.elapsed());
    answer(&read.map_err(|error| error.to_string())?)
}

fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// What is read from an API server's answer to a token review and to an access review, and from the ConfigMap with its authorities.
pub(crate) fn understood(body: &[u8]) -> [(&'static str, Result<String, String>); 3] {
    [
        ("TokenReview", authenticate::understood(body)),
        ("SubjectAccessReview", authorize::understood(body)),
        ("ConfigMap", authorities::understood(body)),
    ]
}

/// Decides who a client is, and what it may do.
struct Delegated {
    authenticator: Authenticator,
    authorizer: Authorizer,
}

impl Gate for Delegated {
    fn admit<'a>(
        &'a self,
        asked: Asked<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async move {
            let user = self.authenticator.who(asked).await.ok_or_else(unauthorized)?;
            self.authorizer.may(&user, asked.method, asked.path).await
        })
    }
}

fn unauthorized() -> Refusal {
    refusal(401, "Unauthorized", "Unauthorized".to_owned())
}

/// A refusal in the words of an API server.
fn refusal(status: u16, reason: &str, message: String) -> Refusal {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {},
        "code": status,
    });
    Refusal { status, body }
}
