//! Checks, before the scheduler starts, whether it is allowed to do what it will have to do.

use crate::call::{Call, CallError, Caller, Content};
use crate::connect::{ConnectError, step};
use crate::lease::LeaseName;
use crate::options::StartError;
use crate::watch::{self, Permission, Watch};
use futures::StreamExt;
use http::Method;
use secondmate_cycle::Profile;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// The name that kube-scheduler serves, and that a scheduler running in its place serves.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// Maximum concurrent reviews.
const CONCURRENCY: usize = 8;
/// Maximum wait for all of them.
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

/// Whose permissions are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Those of this process.
    Own,
    /// Those of a service account.
    ServiceAccount { namespace: String, name: String },
}

/// All the permissions that a scheduler with these profiles, watches and Lease needs.
pub(crate) fn needed(
    profiles: &[Profile],
    watches: &[Watch],
    lease: Option<&LeaseName>,
) -> BTreeSet<Permission> {
    let mut needed = watch::permissions(profiles, watches);
    // In kube-scheduler's place, kube-scheduler's permissions must suffice, and it may not list Leases.
    if !profiles.iter().any(|profile| profile.name().as_str() == DEFAULT_SCHEDULER) {
        needed.insert(Permission::on("list", "coordination.k8s.io", "leases", "", ""));
    }
    if let Some(lease) = lease {
        needed.extend(to_elect(lease));
    }
    needed
}

/// The permissions that leader election needs.
pub(crate) fn to_elect(lease: &LeaseName) -> [Permission; 3] {
    [("create", ""), ("get", &*lease.name), ("update", &*lease.name)]
        .map(|(verb, name)| Permission::on(verb, "coordination.k8s.io", "leases", &lease.namespace, name))
}

/// Checks that all of these permissions are granted.
///
/// # Errors
/// Some are missing, or this cannot be determined.
pub(crate) async fn demand(
    caller: &Caller,
    server: &str,
    needed: &BTreeSet<Permission>,
) -> Result<(), StartError> {
    let what = "the API server's word on what this process may do";
    let Ok(answer) = step(what, REVIEWS_TIMEOUT, missing(caller, &Subject::Own, needed)).await else {
        let reason = format!("no answer to {} reviews within {REVIEWS_TIMEOUT:?}", needed.len());
        return Err(StartError::AccessUnknown { reason, may_pass: true });
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
        Err(error) => {
            Err(StartError::AccessUnknown { may_pass: error.may_pass(), reason: error.to_string() })
        }
    }
}

/// Returns the permissions that are not granted.
///
/// # Errors
/// The API server did not answer a review.
pub(crate) async fn missing(
    caller: &Caller,
    subject: &Subject,
    permissions: &BTreeSet<Permission>,
) -> Result<Vec<Permission>, CallError> {
    let reviews = futures::stream::iter(permissions.iter().cloned())
        .map(|permission| async move { Ok((is_granted(caller, subject, &permission).await?, permission)) })
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

async fn is_granted(caller: &Caller, subject: &Subject, permission: &Permission) -> Result<bool, CallError> {
    let mut spec = json!({ "resourceAttributes": {
        "verb": permission.verb,
        "group": permission.group,
        "resource": permission.resource,
        "subresource": permission.subresource,
        "namespace": permission.namespace,
        "name": permission.name,
    } });
    let (kind, plural) = match subject {
        Subject::Own => ("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        Subject::ServiceAccount { namespace, name } => {
            spec["user"] = format!("system:serviceaccount:{namespace}:{name}").into();
            // The groups that the API server assigns to a service account's token.
            let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
            let own = format!("system:serviceaccounts:{namespace}");
            spec["groups"] = groups.into_iter().chain([own]).collect::<Vec<_>>().into();
            ("SubjectAccessReview", "subjectaccessreviews")
        }
    };
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec });
    let path = format!("/apis/authorization.k8s.io/v1/{plural}");
    let call = Call::new(Method::POST, path, Content::Json, review.to_string().into_bytes());
    let body = caller.read(&call).await?;
    let review: Review = serde_json::from_slice(&body).unwrap_or_default();
    Ok(review.status.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn the_rights_of_a_service_account_are_asked_for_as_its_token_would_have_them() {
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = Arc::clone(&log);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await?;
                let review: Value = serde_json::from_slice(&body).expect("a review");
                log.lock().expect("not poisoned").push((path, review));
                let answer = json!({ "status": { "allowed": false } }).to_string();
                Ok::<_, kube_client::Error>(Response::new(Body::from(answer.into_bytes())))
            }
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(1));
        let wanted = BTreeSet::from([Permission::on("list", "", "nodes", "", "")]);
        let subject = Subject::ServiceAccount { namespace: "ns".to_owned(), name: "mate".to_owned() };
        let missing = missing(&caller, &subject, &wanted).await.expect("an answer");
        assert_eq!(missing.iter().map(ToString::to_string).collect::<Vec<_>>(), ["list nodes"]);
        let asked = asked.lock().expect("not poisoned");
        let (path, review) = &asked[0];
        assert_eq!(path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
        assert_eq!(review["kind"], "SubjectAccessReview");
        assert_eq!(review["spec"]["user"], "system:serviceaccount:ns:mate");
        assert_eq!(
            review["spec"]["groups"],
            json!(["system:serviceaccounts", "system:authenticated", "system:serviceaccounts:ns"])
        );
    }
}
