//! A fresh cluster with a scheduler to be measured.

use crate::options::{Shape, Subject, Target};
use crate::shapes;
use crate::watch::client;
use anyhow::{Context, Result, anyhow, bail};
use secondmate_harness::{
    Binaries, Cluster, Component, NodeShape, Options, Process, SchedulerOptions, Usage, secondmate_binary,
};
use secondmate_sandbox::{NodeShape as SandboxShape, Sandbox};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Namespace of the pods.
pub const NAMESPACE: &str = "default";
/// Pods are named by this, a dash and a number.
pub const POD_PREFIX: &str = "bench";
/// Scheduler name of the pods that secondmate takes.
const NAME: &str = "bench-scheduler";

/// The scheduler name of the pods that it takes.
fn scheduler_name(subject: Subject) -> &'static str {
    if subject == Subject::Secondmate { NAME } else { "default-scheduler" }
}

enum Server {
    /// Held for as long as it serves.
    Sandbox {
        _server: Box<Sandbox>,
    },
    Real(Box<Cluster>),
}

/// A fresh cluster.
pub struct Arena {
    // Ended before the server it talks to.
    scheduler: Option<Process>,
    server: Server,
    shape: Shape,
    kubeconfig: PathBuf,
    folder: tempfile::TempDir,
}

impl Arena {
    /// Starts a cluster with nodes of 32 CPUs, 256 GiB and 110 pods over three zones, for pods of one shape.
    pub fn start(
        runtime: &Runtime,
        target: Target,
        binaries: Option<&Binaries>,
        nodes: usize,
        shape: Shape,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (server, kubeconfig) = match (target, binaries) {
            (Target::Sandbox, _) => {
                let sandbox = runtime.block_on(Sandbox::start(secondmate_sandbox::Options::default()))?;
                sandbox.add_nodes(0, nodes, &SandboxShape::default());
                let path = folder.path().join("kubeconfig");
                std::fs::write(&path, sandbox.kubeconfig())?;
                (Server::Sandbox { _server: Box::new(sandbox) }, path)
            }
            (Target::ControlPlane, Some(binaries)) => {
                // Nothing but the scheduler writes, and nodes are Ready at once.
                let options = Options {
                    controller_manager: false,
                    scheduler: None,
                    kwok: false,
                    for_load: true,
                    ..Options::default()
                };
                let cluster = Cluster::start(binaries, options)?;
                let shape =
                    NodeShape { cpu: "32".to_owned(), memory: "256Gi".to_owned(), ..NodeShape::default() };
                cluster.create_nodes(nodes, &shape)?;
                let path = cluster.kubeconfig().to_owned();
                (Server::Real(Box::new(cluster)), path)
            }
            (Target::ControlPlane, None) => bail!("the control plane's programs are not at hand"),
        };
        Ok(Self { scheduler: None, server, shape, kubeconfig, folder })
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Creates pods as fast as it goes.
    pub fn create_pods(&self, runtime: &Runtime, subject: Subject, first: usize, count: usize) -> Result<()> {
        let pods: Vec<Value> = (first..first + count).map(|n| self.pod(n, subject)).collect();
        match &self.server {
            Server::Real(cluster) => {
                cluster.api().create_all(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), &pods)
            }
            Server::Sandbox { .. } => self.create_pods_at_rate(runtime, subject, first, count, usize::MAX),
        }
    }

    /// Creates pods at a steady rate, each at its time whether the one before is done or not.
    pub fn create_pods_at_rate(
        &self,
        runtime: &Runtime,
        subject: Subject,
        first: usize,
        count: usize,
        rate: usize,
    ) -> Result<()> {
        /// Calls on the way at the same time.
        const AT_ONCE: usize = 32;
        runtime.block_on(async {
            let client = client(&self.kubeconfig).await?;
            let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
            let started = tokio::time::Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..count {
                let due = Duration::from_secs_f64(n as f64 / rate as f64);
                tokio::time::sleep_until(started + due).await;
                let slot = std::sync::Arc::clone(&slots).acquire_owned().await?;
                let client = client.clone();
                let body = serde_json::to_vec(&self.pod(first + n, subject))?;
                tasks.spawn(async move {
                    let request = kube::core::Request::new(format!("/api/v1/namespaces/{NAMESPACE}/pods"))
                        .create(&kube::api::PostParams::default(), body)?;
                    let answer = client.request_text(request).await;
                    drop(slot);
                    answer.map(drop).map_err(|error| anyhow!(error))
                });
            }
            while let Some(result) = tasks.join_next().await {
                result?.context("cannot create a pod")?;
            }
            Ok(())
        })
    }

    /// Starts the scheduler to be measured.
    pub fn start_subject(&mut self, subject: Subject) -> Result<()> {
        match (&self.server, subject) {
            (Server::Real(cluster), Subject::KubeScheduler) => {
                cluster.start_scheduler(SchedulerOptions::unlimited())
            }
            (Server::Sandbox { .. }, Subject::KubeScheduler) => {
                bail!("kube-scheduler is measured on the real control plane")
            }
            (_, Subject::Secondmate) => {
                let mut command = Command::new(secondmate_binary()?);
                command.arg("run").arg("--kubeconfig").arg(&self.kubeconfig);
                command.args(["--scheduler-name", NAME, "--leader-elect=false"]);
                let log = self.folder.path().join("secondmate.log");
                self.scheduler = Some(Process::spawn("secondmate", command, &log)?);
                Ok(())
            }
        }
    }

    /// What the scheduler has used so far.
    pub fn usage(&self, subject: Subject) -> Result<Usage> {
        match (&self.server, &self.scheduler) {
            (_, Some(process)) => process.usage(),
            (Server::Real(cluster), None) if subject == Subject::KubeScheduler => {
                cluster.usage(Component::KubeScheduler)
            }
            _ => bail!("no scheduler was started"),
        }
    }

    /// The end of the scheduler's log, for an error.
    pub fn diagnosis(&self) -> String {
        match (&self.server, &self.scheduler) {
            (_, Some(process)) => process.tail(20),
            (Server::Real(cluster), None) => {
                let log = cluster.log(Component::KubeScheduler).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                lines[lines.len().saturating_sub(20)..].join("\n")
            }
            _ => String::new(),
        }
    }

    fn pod(&self, number: usize, subject: Subject) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("{POD_PREFIX}-{number}"), "namespace": NAMESPACE, "labels": {"app": "bench"}},
            "spec": {
                "schedulerName": scheduler_name(subject),
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "c",
                    "image": "registry.example/bench:1",
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                }],
            },
        });
        shapes::apply(self.shape, &mut pod, number);
        pod
    }
}
