//! The cluster of a playground, and what happens in it.

use super::api;
use super::creation::{self, Placed};
use super::left_over::LeftOvers;
use super::observations::Observations;
use super::observer::{Observer, look};
use super::options::Plan;
use super::progress::Progress;
use super::settling::{QUIET, Situation};
use super::summary::{Ended, Left, Summary};
use anyhow::Context;
use kube_client::Client;
use secondmate_sandbox::{Options, Sandbox, Window};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Time between two readings of the observations.
const TICK: Duration = Duration::from_millis(50);
/// Number of changes in one pod's life that the API server's log should hold, so that no watch has to restart.
const CHANGES_PER_POD: usize = 8;
/// Approximate size of one version of a pod in the log.
const CHANGE_BYTES: usize = 2 << 10;
/// Maximum size of the log in bytes, however many pods there are.
const LOG_BYTES_MAX: usize = 256 << 20;

const PODS: &str = "/api/v1/pods";
const DAEMON_SETS: &str = "/apis/apps/v1/daemonsets";
/// The kinds that create pods.
const WORKLOADS: [&str; 4] =
    ["/apis/apps/v1/replicasets", "/apis/apps/v1/statefulsets", DAEMON_SETS, "/apis/batch/v1/jobs"];

/// A cluster that is ready: API server, nodes, and a watch that sees everything.
pub(super) struct Stage {
    sandbox: Sandbox,
    client: Client,
    observer: Observer,
    placed: Placed,
    nodes: u64,
    /// Pods of DaemonSets, once that is known.
    daemons: u64,
}

/// The kubeconfig that was written, removed at the end if nobody asked for it by name.
pub(super) enum WrittenKubeconfig {
    None,
    Given(PathBuf),
    Temporary(tempfile::NamedTempFile),
}

impl WrittenKubeconfig {
    /// Its path, if the playground is to stay up.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Given(path) => Some(path),
            Self::Temporary(file) => Some(file.path()),
        }
    }
}

impl Stage {
    /// Sets it up.
    ///
    /// # Errors
    /// The address is taken, a manifest's kind is not served, or a node is rejected.
    pub async fn set(plan: &Plan) -> anyhow::Result<Self> {
        let pods = usize::try_from(plan.pods_expected()).unwrap_or(usize::MAX);
        let default = Options::default();
        let changes = pods.saturating_mul(CHANGES_PER_POD);
        let window = Window {
            events_max: default.window.events_max.max(changes),
            bytes_max: changes.saturating_mul(CHANGE_BYTES).clamp(default.window.bytes_max, LOG_BYTES_MAX),
            ..default.window
        };
        // The observer knows what was bound; the history is for tests.
        let options =
            Options { listen: plan.api_listen, window, bind_records_max: 0, volume_binder: true, ..default };
        let sandbox = Sandbox::start(options).await.context("--api-listen")?;
        let kubeconfig = sandbox.kubeconfig();
        let client = api::connect(&kubeconfig).await?;
        let placed = creation::address(&client, plan.manifests.clone()).await?;
        creation::nodes(&sandbox, plan.nodes, &plan.shape).await?;
        if !placed.has("StorageClass") {
            sandbox.objects().create(storage_class()).context("cannot create a StorageClass")?;
        }
        let nodes = sandbox.objects().count("nodes") as u64;
        let observations = Observations::new(plan.scheduler_names(), Instant::now());
        let observer = Observer::start(kubeconfig, observations).await?;
        Ok(Self { sandbox, client, observer, placed, nodes, daemons: 0 })
    }

    /// Number of nodes that exist from the start.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// The user's objects that are skipped.
    pub fn skipped(&self) -> Option<String> {
        self.placed.skipped()
    }

    /// The URL of the API server.
    pub fn url(&self) -> String {
        self.sandbox.url()
    }

    pub fn kubeconfig(&self) -> String {
        self.sandbox.kubeconfig()
    }

    /// Waits until a part of the cluster ends by itself, which none should.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        self.sandbox.failed()
    }

    /// Writes the kubeconfig to the requested place.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_kubeconfig(&self, plan: &Plan) -> anyhow::Result<WrittenKubeconfig> {
        use std::io::Write;
        let text = self.kubeconfig();
        if let Some(path) = &plan.kubeconfig_out {
            std::fs::write(path, text).with_context(|| {
                format!("cannot write the kubeconfig {}: give a file in a directory that you may write to by --kubeconfig-out", path.display())
            })?;
            return Ok(if plan.keep {
                WrittenKubeconfig::Given(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            } else {
                WrittenKubeconfig::None
            });
        }
        if !plan.keep {
            return Ok(WrittenKubeconfig::None);
        }
        let write = || {
            let mut file =
                tempfile::Builder::new().prefix("secondmate-playground-").suffix(".kubeconfig").tempfile()?;
            file.write_all(text.as_bytes())?;
            Ok::<_, std::io::Error>(file)
        };
        let file = write().context("cannot write a temporary kubeconfig: give a file by --kubeconfig-out")?;
        Ok(WrittenKubeconfig::Temporary(file))
    }

    /// Creates all objects, and waits until everything is settled. `idle` says whether the scheduler has nothing left to try.
    ///
    /// # Errors
    /// The API server rejects an object, or the watch fails.
    pub async fn settle(
        &mut self,
        plan: &Plan,
        idle: impl Fn() -> bool,
        progress: &mut Progress,
    ) -> anyhow::Result<Ended> {
        let began = Instant::now();
        let max_backoff = plan.configuration.pod_max_backoff;
        let mut expected = plan.pods_expected();
        // A DaemonSet's status says how many pods it has.
        let mut daemons_wait = self.placed.has("DaemonSet");
        let create = async {
            creation::manifests(&self.client, &self.placed.manifests).await?;
            creation::default_pods(&self.client, plan.pods, &plan.names_of_pods, plan.rate).await
        };
        let mut create = pin!(create);
        let mut created = false;
        let seen = self.observer.seen.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Number of pods that will never be created, and when it was determined.
        let (mut never, mut asked) = (0, began);
        let ended = loop {
            tokio::select! {
                result = &mut create, if !created => {
                    result?;
                    created = true;
                }
                error = self.observer.failed() => return Err(error),
                _ = ticks.tick() => {}
            }
            if created
                && daemons_wait
                && let Some(daemons) = daemons(&self.client).await?
            {
                (self.daemons, daemons_wait) = (daemons, false);
                expected += daemons;
            }
            let now = Instant::now();
            let (counts, quiet) =
                look(&seen, |observations| (observations.counts(), observations.quiet(now)));
            progress.show(&counts, expected, now - began, now);
            if created && !daemons_wait && counts.seen + never < expected && quiet.min(now - asked) >= QUIET {
                (never, asked) = (refused(&self.client, &mut LeftOvers::default()).await?, now);
            }
            let situation = Situation {
                counts,
                expected: expected - never.min(expected),
                created: created && !daemons_wait,
                idle: idle(),
                max_backoff,
                quiet,
            };
            if let Some(ended) = situation.end() {
                break ended;
            }
            if now - began > plan.timeout {
                break Ended::TimedOut;
            }
        };
        progress.finish(&look(&seen, |observations| observations.counts()), expected, began.elapsed());
        Ok(ended)
    }

    /// The result. Ends the measurement.
    ///
    /// # Errors
    /// Nodes or pods cannot be listed.
    pub async fn summary(self, plan: &Plan, ended: Ended) -> anyhow::Result<(Summary, Sandbox)> {
        let mut zones = BTreeMap::new();
        let add_node = |node: ListedNode| {
            let zone = node.metadata.labels.zone;
            zones.insert(node.metadata.name, zone);
        };
        api::list(&self.client, "/api/v1/nodes", "", add_node).await?;
        let names = plan.scheduler_names();
        let (mut left, mut pending) = (LeftOvers::default(), 0);
        let fields = "spec.nodeName=,status.phase!=Succeeded,status.phase!=Failed";
        let add_pod = |pod: Value| {
            left.add(&pod, &names);
            pending += 1;
        };
        api::list(&self.client, PODS, fields, add_pod).await?;
        refused(&self.client, &mut left).await?;
        let seen = self.observer.seen.clone();
        self.observer.stop().await;
        let left = Left { expected: plan.pods_expected() + self.daemons, pending, reasons: left.finish() };
        let summary = look(&seen, |observations| Summary::new(observations, &zones, left, ended));
        Ok((summary, self.sandbox))
    }
}

/// The class of claims that name none, if the user brings no class: like the default class of local clusters.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {
            "name": "standard", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "simulated.example.com", "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// The number of pods that their workloads cannot create, or cannot create yet.
async fn refused(client: &Client, left: &mut LeftOvers) -> anyhow::Result<u64> {
    let mut pods = 0;
    for path in WORKLOADS {
        api::list(client, path, "", |workload: Value| pods += left.add_refused(&workload)).await?;
    }
    Ok(pods)
}

/// The number of pods that the DaemonSets want, once their controller has observed all of them.
async fn daemons(client: &Client) -> anyhow::Result<Option<u64>> {
    let mut pods = Some(0);
    let add = |set: Value| {
        let seen = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        let wanted = set["status"]["desiredNumberScheduled"].as_u64().filter(|_| seen);
        pods = pods.zip(wanted).map(|(pods, wanted)| pods + wanted);
    };
    api::list(client, DAEMON_SETS, "", add).await?;
    Ok(pods)
}

/// A node, as far as the summary needs it.
#[derive(Deserialize)]
struct ListedNode {
    metadata: ListedMetadata,
}

#[derive(Deserialize)]
struct ListedMetadata {
    name: String,
    #[serde(default)]
    labels: ListedLabels,
}

#[derive(Default, Deserialize)]
struct ListedLabels {
    #[serde(rename = "topology.kubernetes.io/zone", default)]
    zone: String,
}
