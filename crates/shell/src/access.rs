//! Whether the scheduler may do what it will have to do, asked before it starts.

use crate::call::{Call, CallError, Caller, Content};
use crate::watch::Permission;
use futures::StreamExt;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// Reviews that are on their way at once.
const CONCURRENCY: usize = 8;

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

/// Those of the permissions that are not granted.
///
/// # Errors
/// The API server did not answer a review.
pub(crate) async fn missing(
    caller: &Caller,
    permissions: &BTreeSet<Permission>,
) -> Result<Vec<Permission>, CallError> {
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
