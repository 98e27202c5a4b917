//! Entry points to the parsers of what an API server and a user write, one function each, for fuzzing and for the differential test. Not
//! part of the crate's interface.

use crate::ConnectError;
use crate::call::chain;
use crate::connect::{self, of_kubeconfig};
use crate::extender::answer::{bound, filtered, preempted, priorities};
use crate::extender::error::AskError;
pub use crate::extender::without_http::{Post, extenders as extenders_without_http};
use crate::guard::certificate::{Facts, server_config};
use crate::guard::review;
use crate::lease::{Claim, LeaseName, Observation};
use crate::watch::Originals;
use crate::watch::compiled::Watched;
use crate::watch::needs::{Roles, Subject};
use http::Uri;
use k8s_openapi::List;
use k8s_openapi::api::coordination::v1::Lease;
use kube_client::Config;
use kube_client::api::WatchEvent;
use kube_client::config::Kubeconfig;
use secondmate_guard::{Bind, Verdict};
use secondmate_model::objects::ObjectKind;

/// Every subject that a watch can have.
fn subjects() -> impl Iterator<Item = Subject> {
    [Subject::Pods, Subject::Nodes].into_iter().chain(ObjectKind::ALL.iter().copied().map(Subject::Objects))
}

/// Reads a line of a watch as each kind that is watched. The result says for each kind whether its object was understood; it is empty for
/// an event without an object: an error, a bookmark.
///
/// # Errors
/// It is not a line of a watch; or reading it violates a rule, which the error states.
pub fn watch_line(line: &str) -> Result<Vec<bool>, LineError> {
    let event: WatchEvent<Watched> =
        serde_json::from_str(line).map_err(|error| LineError::NoEvent(error.to_string()))?;
    let (WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) = event
    else {
        return Ok(Vec::new());
    };
    let originals = Originals::default().or_all(true);
    let compiled = |subject: Subject| {
        let (key, compiled) = object.compile(subject, &Roles::default(), &originals);
        if let Err(unfit) = &compiled
            && unfit.reason.is_empty()
        {
            return Err(LineError::Broken(format!("{subject:?} is unfit for no reason")));
        }
        // A deletion that yields a different key than the addition did would leave the object behind.
        if compiled.is_ok() && object.key(subject) != key {
            return Err(LineError::Broken(format!(
                "{subject:?}: {key:?} is deleted as {:?}",
                object.key(subject)
            )));
        }
        Ok(compiled.is_ok())
    };
    subjects().map(compiled).collect()
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It cannot be read.
    #[error("{0}")]
    NoEvent(String),
    /// It was read, but wrongly.
    #[error("{0}")]
    Broken(String),
}

/// Reads the text of a kubeconfig as startup does, and chooses the proxy; nothing is executed or contacted.
///
/// # Errors
/// As for [`crate::cluster`].
pub async fn kubeconfig(text: &str) -> Result<Config, ConnectError> {
    let file = Kubeconfig::from_yaml(text).map_err(|error| ConnectError::Kubeconfig {
        path: "kubeconfig".to_owned(),
        reason: error.to_string(),
    })?;
    of_kubeconfig(file, "kubeconfig").await
}

/// Which proxy is used for a server: `configured` as in a kubeconfig, `environment` as in `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
///
/// # Errors
/// As for [`crate::cluster`].
pub fn proxy(
    server: &Uri,
    configured: Option<&Uri>,
    environment: [&str; 3],
) -> Result<Option<Uri>, ConnectError> {
    connect::proxy_for(server, configured, environment)
}

/// Reads a review for the bind guard. Returns the bind that it is about, and the approval that would be sent.
///
/// # Errors
/// It is not a review of a bind.
pub fn bind_review(body: &[u8]) -> Result<(Bind, Vec<u8>), String> {
    let asked = review::read(body)?;
    let approval = review::answer(&asked, &Verdict::Approved);
    Ok((asked.bind, approval))
}

/// Reads a list of Leases as the search for other holders does, and each of them as a candidate for it does. Returns what was understood.
///
/// # Errors
/// It is not a list of Leases.
pub fn leases(body: &[u8]) -> Result<String, String> {
    let held = crate::holders::understood(body)?;
    let list: List<Lease> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let own = Claim::new(&["my-scheduler"], "configuration");
    let name = LeaseName { namespace: "kube-system".to_owned(), name: "my-scheduler".to_owned() };
    let seen = list.items.iter().map(|lease| {
        let observation = Observation::of(lease, &name, "host_1");
        let conflict = observation.conflict(&own).map(|conflict| conflict.to_string());
        (observation, conflict)
    });
    Ok(format!("{held} {:?}", seen.collect::<Vec<_>>()))
}

/// Reads an API server's answer to a token review and to an access review, and the ConfigMap with its authorities. Returns what was
/// understood.
pub fn access_answer(body: &[u8]) -> [(&'static str, Result<String, String>); 3] {
    crate::secure::understood(body)
}

/// Reads an API server's metrics as `secondmate doctor` does. Returns what was understood.
#[must_use]
pub fn server_metrics(text: &str) -> String {
    crate::doctor::guard::understood(text)
}

/// Reads an extender's answer as the answer to each verb. Returns what was understood.
pub fn extender_answer(body: &[u8]) -> [(&'static str, Result<String, String>); 5] {
    fn shown<T: std::fmt::Debug>(read: Result<T, AskError>) -> Result<String, String> {
        match read {
            Err(error) if error.is_failure() => Err(error.to_string()),
            understood => Ok(format!("{understood:?}")),
        }
    }
    [
        ("filter, nodes by name", shown(filtered(body, true))),
        ("filter, whole nodes", shown(filtered(body, false))),
        ("prioritize", shown(priorities(body).map_err(AskError::from))),
        ("preempt", shown(preempted(body).map_err(AskError::from))),
        ("bind", shown(bound(body))),
    ]
}

/// Reads a PEM text with a certificate and its key as the bind guard does, for itself and as its clients' authority. The results say
/// whether the certificate is understood, and whether TLS can be served with it.
///
/// # Errors
/// What is wrong with each.
pub fn certificate(pem: &str, now_s: i64) -> [Result<(), String>; 2] {
    let facts = Facts::of(pem).map(|facts| {
        std::hint::black_box(facts.is_due(now_s));
    });
    let served = server_config(pem, pem, Some(pem)).map(drop);
    [facts.map_err(|error| chain(&error)), served.map_err(|error| chain(&error))]
}
