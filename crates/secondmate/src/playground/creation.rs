//! Creates nodes, the user's objects and the default pods in the cluster.

use super::api::{self, Kinds, Place, Refusal};
use super::manifests::Manifest;
use super::pods;
use anyhow::{Context, anyhow, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use kube_client::Client;
use secondmate_sandbox::{NodeShape, Sandbox, node_manifest_of};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Maximum concurrent requests: enough to keep the API server busy, few enough to leave room for the scheduler's.
const CONCURRENT: usize = 32;
/// Maximum number of problems in one error.
const PROBLEMS_MAX: usize = 50;
/// Number of nodes to create before other tasks get a turn.
const NODES_AT_ONCE: usize = 256;

/// Adds the simulated nodes. Kubelets are part of the sandbox, so they register without HTTP.
pub(super) async fn nodes(sandbox: &Sandbox, count: usize, shape: &NodeShape) -> anyhow::Result<()> {
    let objects = sandbox.objects();
    for index in 0..count {
        objects
            .create(node_manifest_of(index, shape))
            .with_context(|| format!("cannot create node {index}"))?;
        if index % NODES_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// A manifest, and where to post it.
pub(super) struct Addressed {
    path: String,
    manifest: Manifest,
}

/// The user's objects: those to create, and how many of each kind are skipped.
pub(super) struct Placed {
    pub manifests: Vec<Addressed>,
    skipped: BTreeMap<String, u64>,
}

impl Placed {
    /// `skipped: 2 Ingress, 1 ServiceMonitor`, if there are any.
    pub fn skipped(&self) -> Option<String> {
        let kinds: Vec<String> = self.skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        (!kinds.is_empty()).then(|| format!("skipped: {} (no scheduler reads them)", kinds.join(", ")))
    }

    /// Whether there is an object of a kind.
    pub fn has(&self, kind: &str) -> bool {
        self.manifests.iter().any(|one| one.manifest.kind == kind)
    }
}

/// Finds out where to post each manifest, so that everything that cannot be served is known before anything is created.
///
/// # Errors
/// Kinds cannot be served, or objects are given twice: all of them are reported.
pub(super) async fn address(client: &Client, manifests: Vec<Manifest>) -> anyhow::Result<Placed> {
    let mut kinds = Kinds::default();
    let mut placed = Placed { manifests: Vec::with_capacity(manifests.len()), skipped: BTreeMap::new() };
    let mut places: HashMap<(String, String), String> = HashMap::new();
    let mut problems = Vec::new();
    for manifest in manifests {
        let path = match kinds.place(client, &manifest).await? {
            Place::Path(path) => path,
            Place::Skipped => {
                *placed.skipped.entry(manifest.kind).or_default() += 1;
                continue;
            }
            Place::Refused(why) => {
                problems.push(why);
                continue;
            }
        };
        if let Some(name) = manifest.object["metadata"]["name"].as_str() {
            let key = (path.clone(), name.to_owned());
            if let Some(first) = places.insert(key, manifest.place.clone()) {
                let title = manifest.title();
                problems.push(format!("{title}: the same object stands in {first}: rename or remove one"));
                continue;
            }
        }
        placed.manifests.push(Addressed { path, manifest });
    }
    told(problems)?;
    Ok(placed)
}

/// All problems at once.
fn told(mut problems: Vec<String>) -> anyhow::Result<()> {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n       ")) }
}

/// Creates the user's objects in order; consecutive pods are created concurrently.
///
/// # Errors
/// The API server rejects some; the error says which, why, and what to do.
pub(super) async fn manifests(client: &Client, manifests: &[Addressed]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let is_pod = |one: &Addressed| one.manifest.api_version == "v1" && one.manifest.kind == "Pod";
    for run in manifests.chunk_by(|a, b| is_pod(a) && is_pod(b)) {
        let calls = run.iter().map(|one| async move {
            match api::create(client, &one.path, &one.manifest.object).await {
                Ok(()) => Ok(None),
                Err(refusal) => explain(&one.manifest, refusal),
            }
        });
        let refused: Vec<Option<String>> = stream::iter(calls).buffered(CONCURRENT).try_collect().await?;
        problems.extend(refused.into_iter().flatten());
    }
    told(problems)
}

/// Turns a refusal into a sentence with a remedy; `None` if the object already exists as wanted.
///
/// # Errors
/// The API server did not answer.
fn explain(manifest: &Manifest, refusal: Refusal) -> anyhow::Result<Option<String>> {
    let title = manifest.title();
    let (code, reason, message) = match refusal {
        Refusal::Answered { code, reason, message } => (code, reason, message),
        Refusal::Other(error) => return Err(error.context(title)),
    };
    let remedy = match (code, reason.as_str()) {
        // `default` and others exist from the start, which is what was wanted.
        (409, "AlreadyExists") if manifest.kind == "Namespace" => return Ok(None),
        (409, "AlreadyExists") => "an object of this kind and name is there already: rename or remove it",
        (404, _) if message.contains("namespaces") => "put a Namespace object of this name before it",
        _ => "correct the object in the file (`kubectl apply --dry-run=server` on a cluster says the same)",
    };
    Ok(Some(format!("{title}: refused by the API server ({code} {reason}): {message}; {remedy}")))
}

/// Creates the default pods; `rate`: at most this many per second.
///
/// # Errors
/// The API server rejects one.
pub(super) async fn default_pods(
    client: &Client,
    count: u64,
    scheduler_names: &[String],
    rate: Option<u32>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let calls = stream::iter(0..count).map(|index| async move {
        if let Some(rate) = rate {
            sleep_until(began + Duration::from_secs_f64(index as f64 / f64::from(rate))).await;
        }
        let pod = pods::pod(index, scheduler_names);
        api::create(client, pods::PATH, &pod).await.map_err(|refusal| match refusal {
            Refusal::Answered { code, message, .. } => anyhow!("pod {index} was refused ({code}): {message}"),
            Refusal::Other(error) => error,
        })
    });
    calls.buffer_unordered(CONCURRENT).try_collect::<()>().await
}
