//! The cache comparer: compares the cache with fresh lists.

use crate::call::{Call, CallError, Caller};
use crate::inbox::Inbox;
use secondmate_core::CacheDifference;
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
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

    async fn compare_once(&self) -> Result<Vec<CacheDifference>, CompareError> {
        let nodes = self.list("nodes", "/api/v1/nodes?").await?;
        let nodes: BTreeSet<String> = nodes.into_iter().map(|n| n.metadata.name).collect();
        let selector = "spec.nodeName%21%3D%2Cstatus.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
        let pods = self.list("pods", &format!("/api/v1/pods?fieldSelector={selector}&")).await?;
        let assigned: BTreeMap<String, String> =
            pods.into_iter().map(|p| (p.metadata.uid, p.spec.node_name.unwrap_or_default())).collect();
        self.inbox
            .look(move |scheduler, _| scheduler.compare(&nodes, &assigned))
            .await
            .ok_or(CompareError::Stopped)
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

/// Compares at regular intervals, for ever.
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
