//! The three calls that an election makes.

use std::future::Future;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};

use super::{Credentials, LeaseName};
use crate::call::chain;

/// What an election needs from an API server. All calls are about one Lease.
pub trait LeaseApi: Send + Sync + 'static {
    /// Reads the Lease; `None` if it does not exist.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, CallError>> + Send;

    /// Creates the Lease; [`CallError::Conflict`] if it already exists.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;

    /// Replaces the Lease if it still has the `resourceVersion` of `lease`; [`CallError::Conflict`] if it does not.
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Another process wrote first (409).
    #[error("somebody else wrote the Lease first: {0}")]
    Conflict(String),
    /// The Lease does not exist (404).
    #[error("the Lease does not exist: {0}")]
    NotFound(String),
    /// The API server no longer accepts the scheduler's credentials (401).
    #[error(
        "the API server does not accept the credentials (401 {0}): the token or client certificate has expired or was revoked; renew it in the kubeconfig (a service account's token is renewed by the kubelet)"
    )]
    Unauthorized(String),
    /// The scheduler lacks permission (403).
    #[error("{0}; grant get, create and update on leases in coordination.k8s.io to this scheduler's user")]
    Forbidden(String),
    /// There was no answer in time. The request may still have taken effect.
    #[error("no answer from the API server within {0:?}")]
    Timeout(std::time::Duration),
    /// Anything else: a 5xx status, or no connection.
    #[error("{0}")]
    Other(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                409 => Self::Conflict(status.message),
                404 => Self::NotFound(status.message),
                401 => Self::Unauthorized(status.message),
                403 => Self::Forbidden(status.message),
                code => Self::Other(format!("{code} {}: {}", status.reason, status.message)),
            },
            // Not the error's own text, which may repeat what a credential plugin printed.
            other => Self::Other(chain(&other)),
        }
    }
}

/// A Lease in a cluster.
#[derive(Clone, Debug)]
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
    credentials: Credentials,
}

impl KubeLease {
    /// Accesses the Lease through the given client, which must not retry by itself.
    pub fn new(client: kube::Client, lease: &LeaseName) -> Self {
        let api = Api::namespaced(client, &lease.namespace);
        Self { api, name: lease.name.clone(), credentials: Credentials::default() }
    }

    /// The same, and each call tells whether the credentials were accepted.
    pub(crate) fn telling(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    fn heard<T>(&self, answer: Result<T, kube::Error>) -> Result<T, CallError> {
        self.credentials.heard(&answer);
        answer.map_err(CallError::from)
    }
}

impl LeaseApi for KubeLease {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        self.heard(self.api.get_opt(&self.name).await)
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        self.heard(self.api.create(&PostParams::default(), lease).await)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        self.heard(self.api.replace(&self.name, &PostParams::default(), lease).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// A Lease behind a server that gives the same answer to everything, and the requests sent to it.
    fn lease_behind(code: u16, answer: Value) -> (KubeLease, Arc<Mutex<Vec<String>>>) {
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (log, answer) = (log.clone(), answer.to_string());
            async move {
                let (head, body) = request.into_parts();
                let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                let version = body["metadata"]["resourceVersion"].as_str().unwrap_or("-").to_owned();
                log.lock().unwrap().push(format!("{} {} {version}", head.method, head.uri.path()));
                let status = StatusCode::from_u16(code).expect("a status code");
                Ok::<_, kube::Error>(
                    Response::builder()
                        .status(status)
                        .body(Body::from(answer.into_bytes()))
                        .expect("a response"),
                )
            }
        });
        let name = LeaseName { namespace: "ns".to_owned(), name: "a".to_owned() };
        (KubeLease::new(kube::Client::new(service, "default"), &name), sent)
    }

    fn refusal(code: u16, reason: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"})
    }

    #[tokio::test]
    async fn calls_and_answers() {
        let stored =
            json!({"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "7"}, "spec": {}});
        let lease: Lease = serde_json::from_value(stored.clone()).expect("a Lease");
        let (api, sent) = lease_behind(200, stored);
        assert_eq!(api.get().await, Ok(Some(lease.clone())));
        assert_eq!(
            api.create(&Lease { metadata: Default::default(), ..lease.clone() }).await,
            Ok(lease.clone())
        );
        assert_eq!(api.replace(&lease).await, Ok(lease.clone()));
        let path = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
        assert_eq!(
            *sent.lock().unwrap(),
            [format!("GET {path}/a -"), format!("POST {path} -"), format!("PUT {path}/a 7")]
        );

        let (api, _) = lease_behind(404, refusal(404, "NotFound"));
        assert_eq!(api.get().await, Ok(None));
        assert_eq!(api.replace(&lease).await, Err(CallError::NotFound("no".to_owned())));
        let (api, _) = lease_behind(409, refusal(409, "Conflict"));
        assert_eq!(api.replace(&lease).await, Err(CallError::Conflict("no".to_owned())));
        assert_eq!(api.create(&lease).await, Err(CallError::Conflict("no".to_owned())));
        let (api, _) = lease_behind(403, refusal(403, "Forbidden"));
        let error = api.get().await.expect_err("forbidden").to_string();
        assert!(error.starts_with("no; grant get, create and update on leases"), "{error}");
        let (api, _) = lease_behind(401, refusal(401, "Unauthorized"));
        let error = api.get().await.expect_err("a dead token").to_string();
        assert!(
            error.starts_with("the API server does not accept the credentials (401 no): the token"),
            "{error}"
        );
        assert!(!error.contains("grant"), "{error}");
        let (api, sent) = lease_behind(500, refusal(500, "InternalError"));
        assert_eq!(api.get().await, Err(CallError::Other("500 InternalError: no".to_owned())));
        assert_eq!(sent.lock().unwrap().len(), 1, "no retries behind our back");
    }
}
