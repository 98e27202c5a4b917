//! The cache comparer: compares the cache with fresh lists.

use crate::call::{Call, CallError, Caller};
use crate::inbox::Inbox;
use crate::watch::{Currency, Key, UnfitObjects};
use secondmate_core::CacheDifference;
use secondmate_model::{Atom, Uid};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Objects per page.
const PAGE: usize = 500;
/// The lists and the cache are not from the same instant: a difference counts only if it is still there after this time.
const SETTLE: Duration = Duration::from_secs(2);

/// Why no comparison could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// A list failed.
    #[error("cannot list {resource}: {reason}")]
    List {
        /// What was listed.
        resource: &'static str,
        /// What happened.
        reason: String,
    },
    /// A watch has not shown everything, so that the cache is known to lack something.
    #[error("a watch is behind: {reason}")]
    Behind {
        /// Which, and why.
        reason: String,
    },
    /// The scheduling thread has ended.
    #[error("the scheduler has stopped")]
    Stopped,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    metadata: ListMeta,
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    r#continue: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    metadata: ItemMeta,
    spec: ItemSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ItemMeta {
    name: String,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ItemSpec {
    node_name: Option<String>,
}

/// Compares the cache with the cluster.
#[derive(Clone)]
pub(crate) struct Comparer {
    pub caller: Caller,
    pub inbox: Inbox,
    pub metrics: Metrics,
    pub currency: Currency,
    /// The cache lacks these, which is known and told.
    pub unfit: Arc<UnfitObjects>,
}

impl Comparer {
    /// Returns the differences that persist.
    pub async fn compare(&self) -> Result<Vec<CacheDifference>, CompareError> {
        let mut differences = self.compare_once().await?;
        if !differences.is_empty() {
            sleep(SETTLE).await;
            let again: BTreeSet<CacheDifference> = self.compare_once().await?.into_iter().collect();
            differences.retain(|d| again.contains(d));
        }
        self.metrics.cache_comparer_runs.inc();
        self.metrics.cache_comparer_differences.set(i64::try_from(differences.len()).unwrap_or(i64::MAX));
        Ok(differences)
    }

    /// Says nothing about a cache that is behind, be it before or after.
    async fn compare_once(&self) -> Result<Vec<CacheDifference>, CompareError> {
        self.demand_current()?;
        let nodes = self.list("nodes", "/api/v1/nodes?").await?;
        let nodes: BTreeSet<String> = nodes.into_iter().map(|n| n.metadata.name).collect();
        let selector = "spec.nodeName%21%3D%2Cstatus.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
        let pods = self.list("pods", &format!("/api/v1/pods?fieldSelector={selector}&")).await?;
        let assigned: BTreeMap<String, String> =
            pods.into_iter().map(|p| (p.metadata.uid, p.spec.node_name.unwrap_or_default())).collect();
        let compared = self.inbox.look(move |scheduler, _| scheduler.compare(&nodes, &assigned)).await;
        let mut differences = compared.ok_or(CompareError::Stopped)?;
        differences.retain(|difference| !self.unfit.contains(&key(difference)));
        self.demand_current()?;
        Ok(differences)
    }

    /// Of the watches, those of what is compared: another one, of a kind that is not served any more, may stay behind for ever.
    fn demand_current(&self) -> Result<(), CompareError> {
        self.currency
            .check_those(|name| matches!(name.split(' ').next(), Some("nodes" | "pods")))
            .map_err(|reason| CompareError::Behind { reason })
    }

    async fn list(&self, resource: &'static str, path: &str) -> Result<Vec<Item>, CompareError> {
        let failed = |reason: String| CompareError::List { resource, reason };
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let from = next.map(|token| format!("&continue={token}")).unwrap_or_default();
            let call = Call::get(format!("{path}limit={PAGE}{from}"));
            let body = self.caller.read(&call).await.map_err(|e: CallError| failed(e.to_string()))?;
            let page: List = serde_json::from_slice(&body).map_err(|e| failed(e.to_string()))?;
            items.extend(page.items);
            next = page.metadata.r#continue.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(items);
            }
        }
    }
}

/// What the difference is about.
fn key(difference: &CacheDifference) -> Key {
    match difference {
        CacheDifference::MissingNode(node) | CacheDifference::RedundantNode(node) => {
            Key::Node(Atom::new(node))
        }
        CacheDifference::MissingPod { pod, .. } | CacheDifference::RedundantPod { pod, .. } => {
            Key::Pod(Uid::from(pod.as_str()))
        }
    }
}

/// Compares again and again.
pub(crate) async fn periodically(comparer: Comparer, every: Duration) {
    loop {
        sleep(every).await;
        match comparer.compare().await {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => {
                let shown: Vec<String> = differences.iter().take(10).map(ToString::to_string).collect();
                tracing::error!(
                    count = differences.len(),
                    "the cache differs from the cluster: {}; restart the scheduler and report this",
                    shown.join(", ")
                );
            }
            Err(CompareError::Stopped) => return,
            Err(error) => tracing::warn!("the cache was not compared: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Message;
    use crate::watch::Unfit;
    use kube_client::Client;
    use kube_client::client::Body;
    use secondmate_core::{Scheduler, SchedulerConfig};
    use secondmate_model::Timestamp;
    use secondmate_model::objects::ApiResource;
    use serde_json::json;

    /// A comparer of an empty cache with two nodes and a pod.
    fn comparer() -> Comparer {
        let service = tower::service_fn(|request: http::Request<Body>| {
            let items = match request.uri().path() {
                "/api/v1/nodes" => json!([{ "metadata": { "name": "a" } }, { "metadata": { "name": "b" } }]),
                _ => json!([{ "metadata": { "name": "p", "uid": "u" }, "spec": { "nodeName": "a" } }]),
            };
            let list = json!({ "metadata": {}, "items": items }).to_string();
            let answer = http::Response::new(Body::from(list.into_bytes()));
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let metrics = Metrics::new();
        let (inbox, mut messages) = Inbox::new(&metrics);
        tokio::spawn(async move {
            let scheduler = Scheduler::new(SchedulerConfig::default(), Vec::new());
            while let Some(message) = messages.recv().await {
                if let Message::Look(look) = message {
                    look(&scheduler, Timestamp { nanos: 0 });
                }
            }
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(1));
        let (currency, unfit) = (Currency::default(), Arc::default());
        currency.add(0, "nodes".to_owned());
        currency.add(1, "resourceclaims".to_owned());
        Comparer { caller, inbox, metrics, currency, unfit }
    }

    fn behind(reason: &str) -> Result<Vec<CacheDifference>, CompareError> {
        Err(CompareError::Behind { reason: reason.to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_is_behind_is_not_compared() {
        let comparer = comparer();
        assert_eq!(comparer.compare().await, behind("nodes are being listed"));
        comparer.currency.listed(0);
        // Interrupted between the comparison and the one that confirms it.
        let interrupted = async {
            sleep(SETTLE / 2).await;
            comparer.currency.failed(0);
        };
        let (compared, ()) = tokio::join!(comparer.compare(), interrupted);
        assert_eq!(compared, behind("the watch of nodes was interrupted"));
        let metrics = &comparer.metrics;
        assert_eq!((metrics.cache_comparer_runs.get(), metrics.cache_comparer_differences.get()), (0, 0));
        comparer.currency.answered(0);
        assert_eq!(comparer.compare().await.expect("it is compared").len(), 3);
        assert_eq!((metrics.cache_comparer_runs.get(), metrics.cache_comparer_differences.get()), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_cannot_be_understood_is_no_difference() {
        let comparer = comparer();
        comparer.currency.listed(0);
        let unfit = |api, name: &str| Unfit {
            api,
            namespace: "".into(),
            name: name.into(),
            uid: "".into(),
            resource_version: "".into(),
            generation: 0,
            scheduler_name: None,
            reason: "12 apples".to_owned(),
        };
        comparer.unfit.add(Key::Node(Atom::new("a")), unfit(ApiResource::NODES, "a"));
        comparer.unfit.add(Key::Pod(Uid::from("u")), unfit(ApiResource::PODS, "p"));
        assert_eq!(comparer.compare().await, Ok(vec![CacheDifference::MissingNode("b".to_owned())]));
    }
}
