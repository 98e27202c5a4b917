//! For tests of single checks: a doctor whose API server answers as the test says.

use super::server::Dated;
use super::{Doctor, DoctorOptions, GuardsService};
use crate::call::Caller;
use crate::unserved::LookLimits;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube_client::client::Body;
use kube_client::{Client, Config};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// `answer` gets the path and the body of a request, and returns the status and the body of the response.
pub(super) fn doctor<F>(answer: F) -> Doctor
where
    F: Fn(&str, &Value) -> (u16, String) + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (status, text) = answer(&path, &body);
            let response = Response::builder().status(status).body(Body::from(text.into_bytes()));
            Ok::<_, kube_client::Error>(response.expect("a response"))
        }
    });
    Doctor {
        options: DoctorOptions {
            cluster: Config::new("http://127.0.0.1".parse().expect("a URL")),
            profiles: Vec::new(),
            lease: None,
            service_account: None,
            guard_account: None,
            pending_for: Duration::ZERO,
            limits: LookLimits::default(),
            tenants: Vec::new(),
            webhook: "secondmate-guard".to_owned(),
            secret: "secondmate-guard-tls".to_owned(),
            guard: GuardsService {
                namespace: "secondmate-guard".to_owned(),
                name: "secondmate-guard".to_owned(),
            },
        },
        caller: Caller::new(Client::new(service, "default"), None, Duration::from_secs(60)),
        dated: Dated::default(),
        ahead: Default::default(),
        findings: Vec::new(),
    }
}
