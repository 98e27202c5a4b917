//! One watch on pods, with the time at which each was seen and seen bound.

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use kube::api::WatchParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{Request, WatchEvent};
use kube::{Client, Config};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodList {
    metadata: ListMetadata,
    items: Vec<Pod>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

#[derive(Clone, Copy)]
struct Times {
    seen: Instant,
    bound: Option<Instant>,
}

#[derive(Default)]
struct Seen {
    pods: HashMap<String, Times>,
    bound: Vec<Instant>,
}

impl Seen {
    fn pod(&mut self, pod: &Pod) {
        let now = Instant::now();
        let times = self.pods.entry(pod.metadata.name.clone()).or_insert(Times { seen: now, bound: None });
        if pod.spec.node_name.is_some() && times.bound.is_none() {
            times.bound = Some(now);
            self.bound.push(now);
        }
    }
}

/// A watch that runs until it is dropped.
pub struct PodWatch {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client for a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

impl PodWatch {
    /// Lists the pods of the namespace and watches from there on.
    pub fn start(runtime: &tokio::runtime::Runtime, kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = runtime.block_on(client(kubeconfig))?;
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let version = runtime.block_on(list(&client, &path, &seen))?;
        let task = runtime.spawn(follow(client, path, version, Arc::clone(&seen)));
        Ok(Self { seen, task })
    }

    fn wait(&self, what: &str, count: usize, deadline: Duration, now: impl Fn(&Seen) -> usize) -> Result<()> {
        let started = Instant::now();
        loop {
            let reached = now(&self.seen.lock().unwrap_or_else(PoisonError::into_inner));
            if reached >= count {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!("only {reached} of {count} pods were {what} within {} s", deadline.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the watch has shown so many pods.
    pub fn wait_seen(&self, count: usize, deadline: Duration) -> Result<()> {
        self.wait("seen", count, deadline, |s| s.pods.len())
    }

    /// Waits until the watch has shown so many pods on nodes.
    pub fn wait_bound(&self, count: usize, deadline: Duration) -> Result<()> {
        self.wait("bound", count, deadline, |s| s.bound.len())
    }

    /// When pods were seen bound, in order.
    pub fn bound_times(&self) -> Vec<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).bound.clone()
    }

    /// Milliseconds between seeing a pod and seeing it bound, for pods whose number is at least `first`.
    pub fn latencies_ms(&self, prefix: &str, first: usize) -> Vec<f64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |name: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
        seen.pods
            .iter()
            .filter(|(name, _)| number(name).is_some_and(|n| n >= first))
            .filter_map(|(_, times)| Some((times.bound? - times.seen).as_secs_f64() * 1000.0))
            .collect()
    }
}

async fn list(client: &Client, path: &str, seen: &Mutex<Seen>) -> Result<String> {
    let request = Request::new(path).list(&kube::api::ListParams::default())?;
    let list: PodList = client.request(request).await.context("cannot list pods")?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    list.items.iter().for_each(|pod| seen.pod(pod));
    Ok(list.metadata.resource_version)
}

/// The API server closes the watch of a slow reader without an error: go on from the last version, and list after 410.
async fn follow(client: Client, path: String, mut version: String, seen: Arc<Mutex<Seen>>) {
    loop {
        let params = WatchParams::default().timeout(290);
        let Ok(request) = Request::new(&path).watch(&params, &version) else { return };
        if let Ok(stream) = client.request_events::<Pod>(request).await {
            futures::pin_mut!(stream);
            let mut expired = false;
            while let Ok(Some(event)) = stream.try_next().await {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        version.clone_from(&pod.metadata.resource_version);
                        seen.lock().unwrap_or_else(PoisonError::into_inner).pod(&pod);
                    }
                    WatchEvent::Deleted(pod) => version.clone_from(&pod.metadata.resource_version),
                    WatchEvent::Bookmark(mark) => version.clone_from(&mark.metadata.resource_version),
                    WatchEvent::Error(_) => expired = true,
                }
            }
            if !expired {
                continue;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Ok(listed) = list(&client, &path, &seen).await {
            version = listed;
        }
    }
}
