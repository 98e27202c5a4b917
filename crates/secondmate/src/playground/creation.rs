//! Putting nodes, the user's objects and the default pods into the cluster.

use super::api::{self, Kinds, Refusal};
use super::manifests::Manifest;
use super::pods;
use anyhow::{Context, anyhow, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use kube_client::Client;
use secondmate_sandbox::{NodeShape, Sandbox, node_manifest_of};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Requests under way at once: enough to keep the API server busy, few enough to leave it room for the scheduler's.
const CONCURRENT: usize = 32;
/// Nodes that are made before other tasks get a turn.
const NODES_AT_ONCE: usize = 256;

/// Adds the simulated nodes. Kubelets are part of the sandbox, so they register past HTTP.
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

/// A manifest and where it is posted to.
pub(super) struct Addressed {
    path: String,
    manifest: Manifest,
}

/// Finds out where each manifest is posted to, so that a kind that is not served is known before anything is created.
///
/// # Errors
/// A kind is not served, or cannot be created; an object is there twice.
pub(super) async fn address(client: &Client, manifests: Vec<Manifest>) -> anyhow::Result<Vec<Addressed>> {
    let mut kinds = Kinds::default();
    let mut addressed = Vec::with_capacity(manifests.len());
    let mut places: HashMap<(String, String), String> = HashMap::new();
    for manifest in manifests {
        let path = kinds.path(client, &manifest).await?;
        if let Some(name) = manifest.object["metadata"]["name"].as_str() {
            let key = (path.clone(), name.to_owned());
            if let Some(first) = places.insert(key, manifest.place.clone()) {
                bail!("{}: the same object stands in {first}: rename or remove one", manifest.title());
            }
        }
        addressed.push(Addressed { path, manifest });
    }
    Ok(addressed)
}

/// Creates the user's objects in their order; pods that follow each other at once.
///
/// # Errors
/// The API server refuses one: which, why, and what to do.
pub(super) async fn manifests(client: &Client, manifests: &[Addressed]) -> anyhow::Result<()> {
    let is_pod = |one: &Addressed| one.manifest.api_version == "v1" && one.manifest.kind == "Pod";
    for run in manifests.chunk_by(|a, b| is_pod(a) && is_pod(b)) {
        let calls = run.iter().map(|one| async move {
            match api::create(client, &one.path, &one.manifest.object).await {
                Ok(()) => Ok(()),
                Err(refusal) => explain(&one.manifest, refusal),
            }
        });
        stream::iter(calls).buffered(CONCURRENT).try_collect::<()>().await?;
    }
    Ok(())
}

/// Turns a refusal into a sentence with a remedy.
fn explain(manifest: &Manifest, refusal: Refusal) -> anyhow::Result<()> {
    let title = manifest.title();
    let (code, reason, message) = match refusal {
        Refusal::Answered { code, reason, message } => (code, reason, message),
        Refusal::Other(error) => return Err(error.context(title)),
    };
    let remedy = match (code, reason.as_str()) {
        // `default` and others are there from the start: what was wanted.
        (409, "AlreadyExists") if manifest.kind == "Namespace" => return Ok(()),
        (409, "AlreadyExists") => "an object of this kind and name is there already: rename or remove it",
        (404, _) if message.contains("namespaces") => "put a Namespace object of this name before it",
        _ => "correct the object in the file (`kubectl apply --dry-run=server` on a cluster says the same)",
    };
    Err(anyhow!("{title}: refused by the API server ({code} {reason}): {message}; {remedy}"))
}

/// Creates the default pods, at most so many a second where a rate is given.
///
/// # Errors
/// The API server refuses one.
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
