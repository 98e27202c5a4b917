//! Whether the scheduler may do what it will have to do, asked before it starts.

use crate::call::{Call, CallError, Caller, Content};
use crate::connect::{ConnectError, step};
use crate::lease::LeaseName;
use crate::options::{Options, StartError};
use crate::watch::{self, Permission, Watch};
use futures::StreamExt;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// The name that kube-scheduler serves, and who is in its place.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// Reviews that are on their way at once.
const CONCURRENCY: usize = 8;
/// Longest wait for all of them.
const REVIEWS_TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    allowed: bool,
}

/// Asks for everything that the scheduler will do.
///
/// # Errors
/// It may not do something, or whether it may cannot be found out.
pub(crate) async fn check(caller: &Caller, options: &Options, watches: &[Watch]) -> Result<(), StartError> {
    let mut needed = watch::permissions(&options.profiles, watches);
    // In kube-scheduler's place the rights of kube-scheduler are enough, and it may not list Leases.
    if !options.profiles.iter().any(|profile| profile.name().as_str() == DEFAULT_SCHEDULER) {
        needed.insert(Permission::on("list", "coordination.k8s.io", "leases", "", ""));
    }
    if let Some(election) = &options.election {
        needed.extend(to_elect(&election.lease));
    }
    demand(caller, &options.cluster.cluster_url.to_string(), &needed).await
}

/// What an election needs to be allowed.
pub(crate) fn to_elect(lease: &LeaseName) -> [Permission; 3] {
    [("create", ""), ("get", &*lease.name), ("update", &*lease.name)]
        .map(|(verb, name)| Permission::on(verb, "coordination.k8s.io", "leases", &lease.namespace, name))
}

/// Asks for all of these permissions.
///
/// # Errors
/// Some are missing, or whether they are cannot be found out.
pub(crate) async fn demand(
    caller: &Caller,
    server: &str,
    needed: &BTreeSet<Permission>,
) -> Result<(), StartError> {
    let what = "the API server's word on what this process may do";
    let Ok(answer) = step(what, REVIEWS_TIMEOUT, missing(caller, needed)).await else {
        let reason = format!("no answer to {} reviews within {REVIEWS_TIMEOUT:?}", needed.len());
        return Err(StartError::AccessUnknown { reason });
    };
    match answer {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(StartError::Access { missing: missing.iter().map(ToString::to_string).collect() }),
        Err(CallError::Answered { code: 401, message, .. }) => {
            Err(StartError::Connect(ConnectError::Unauthorized {
                server: server.to_owned(),
                reason: message,
            }))
        }
        Err(error) => Err(StartError::AccessUnknown { reason: error.to_string() }),
    }
}

/// Those of the permissions that are not granted.
///
/// # Errors
/// The API server did not answer a review.
async fn missing(caller: &Caller, permissions: &BTreeSet<Permission>) -> Result<Vec<Permission>, CallError> {
    let reviews = futures::stream::iter(permissions.iter().cloned())
        .map(|permission| async move { Ok((is_granted(caller, &permission).await?, permission)) })
        .buffered(CONCURRENCY);
    let answers: Vec<Result<(bool, Permission), CallError>> = reviews.collect().await;
    let mut missing = Vec::new();
    for answer in answers {
        let (granted, permission) = answer?;
        if !granted {
            missing.push(permission);
        }
    }
    Ok(missing)
}

async fn is_granted(caller: &Caller, permission: &Permission) -> Result<bool, CallError> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "verb": permission.verb,
            "group": permission.group,
            "resource": permission.resource,
            "subresource": permission.subresource,
            "namespace": permission.namespace,
            "name": permission.name,
        } },
    });
    let call = Call::new(Method::POST, PATH.to_owned(), Content::Json, review.to_string().into_bytes());
    let body = caller.read(&call).await?;
    let review: Review = serde_json::from_slice(&body).unwrap_or_default();
    Ok(review.status.allowed)
}
