//! The cluster of all scenes, and what one scene has of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use secondmate_harness::{Binaries, Cluster, MeasuredScheduler, NodeShape, Options, Process, wait_until};
use secondmate_suite::{Audit, DEADLINE, node_of, over_allocatable, pod, requests};
use serde_json::{Value, json};

use crate::judge::{Count, Promise, judge};
use crate::proxy::Proxy;

/// Nodes of 4 CPUs and 110 pods each.
pub(crate) const NODES: usize = 30;
/// What each pod asks for, in thousandths of a CPU.
const POD_MILLI_CPU: usize = 50;
/// Pods that are there at a time at most: what the nodes have room for.
pub(crate) const PODS_MAX: usize = NODES * 4_000 / POD_MILLI_CPU;
/// Pods of each scene that fit on no node.
pub(crate) const GIANTS: usize = 2;
/// A scheduler that is asked to end gives its last writes 15 s.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Lines of a log in a message.
const TAIL: usize = 12;

/// For how long the pods of a scene are bound at its pace.
const BINDING_SECONDS: usize = 10;
/// Writes that a scheduler with a pace makes at once.
pub(crate) const BURST: usize = 10;

/// The arguments of a candidate: its lease is shorter than by default, so that a scene is, and long enough for a busy machine.
pub(crate) const CANDIDATE: &[&str] =
    &["--lease-duration", "8s", "--renew-deadline", "6s", "--retry-period", "1s"];
/// Those of one that is to lose its lease now and then.
pub(crate) const HASTY: &[&str] =
    &["--lease-duration", "4s", "--renew-deadline", "3s", "--retry-period", "500ms"];
/// Those of a scheduler that is alone.
pub(crate) const ALONE: &[&str] = &["--leader-elect=false"];

/// How large a scene is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pods where processes are stopped or killed; where answers are broken, a fifth.
    pub pods: usize,
    /// How often schedulers are killed.
    pub kills: usize,
    /// Rounds of churn.
    pub rounds: usize,
    /// For how long a component stands still: longer than most patience, shorter than a request's.
    pub frozen: Duration,
    /// For how long schedulers are starved.
    pub starved: Duration,
}

impl Default for Scale {
    fn default() -> Self {
        let (frozen, starved) = (Duration::from_secs(8), Duration::from_secs(30));
        Self { pods: 300, kills: 20, rounds: 20, frozen, starved }
    }
}

/// etcd and kube-apiserver, with nodes and nobody else who writes, and an audit log of the bindings.
pub struct Arena {
    pub(crate) cluster: Cluster,
    audit: Audit,
}

impl Arena {
    /// Starts them. The audit log is kept in `folder`.
    ///
    /// # Errors
    ///
    /// When they do not start, or the nodes are refused.
    pub fn start(binaries: &Binaries, folder: &Path) -> Result<Self> {
        let mut options =
            Options { controller_manager: false, scheduler: None, kwok: false, ..Options::default() };
        let audit = Audit::arrange(&mut options, folder)?;
        let cluster = Cluster::start(binaries, options)?;
        cluster.create_nodes(NODES, &NodeShape::default())?;
        Ok(Self { cluster, audit })
    }
}

/// A scene that is being played: its name is that of its namespace, its scheduler and its Lease.
pub(crate) struct Ground<'a> {
    pub cluster: &'a Cluster,
    audit: &'a Audit,
    pub name: &'static str,
    pub seed: u64,
    pub scale: Scale,
    pub chance: fastrand::Rng,
    /// Pods that were created and not deleted.
    pods: BTreeSet<String>,
    deleted: BTreeSet<String>,
    started: Cell<usize>,
}

impl<'a> Ground<'a> {
    /// Makes the namespace, with pods in it that fit nowhere.
    pub fn new(arena: &'a Arena, name: &'static str, seed: u64, scale: Scale) -> Result<Self> {
        arena.cluster.create_namespace(name)?;
        let ground = Self {
            cluster: &arena.cluster,
            audit: &arena.audit,
            name,
            seed,
            scale,
            chance: fastrand::Rng::with_seed(seed),
            pods: BTreeSet::new(),
            deleted: BTreeSet::new(),
            started: Cell::new(0),
        };
        for giant in ground.giants() {
            let object = pod(&giant, name, requests(json!({ "cpu": "5" })));
            ground.cluster.api().create(&ground.path(), &object)?;
        }
        Ok(ground)
    }

    fn giants(&self) -> BTreeSet<String> {
        (0..GIANTS).map(|number| format!("giant-{number}")).collect()
    }

    /// The path of its pods.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.name)
    }

    /// Creates pods that fit, at most [`PODS_MAX`] at a time.
    pub fn create(&mut self, count: usize) -> Result<Vec<String>> {
        self.create_asking(count, POD_MILLI_CPU)
    }

    /// The same, each of which asks for so many thousandths of a CPU.
    pub fn create_asking(&mut self, count: usize, milli_cpu: usize) -> Result<Vec<String>> {
        let first = self.pods.len() + self.deleted.len();
        let names: Vec<String> = (first..first + count).map(|number| format!("pod-{number:05}")).collect();
        let spec = requests(json!({ "cpu": format!("{milli_cpu}m") }));
        let objects: Vec<Value> = names.iter().map(|name| pod(name, self.name, spec.clone())).collect();
        self.cluster.api().create_all(&self.path(), &objects)?;
        self.pods.extend(names.iter().cloned());
        ensure!(self.pods.len() <= PODS_MAX, "the nodes have room for only {PODS_MAX} pods");
        Ok(names)
    }

    /// Takes the pods that a controller has made for those of the scene.
    pub fn adopt(&mut self) -> Result<()> {
        let giants = self.giants();
        for pod in self.cluster.list(&self.path())? {
            let name = pod["metadata"]["name"].as_str().context("a name")?;
            if !giants.contains(name) {
                self.pods.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// Deletes some pods that fit, as a user does: they are there until their kubelet has ended them.
    pub fn delete_gracefully(&mut self, count: usize) -> Result<Vec<String>> {
        let names: Vec<String> = self.pods.iter().take(count).cloned().collect();
        for name in &names {
            // What is left of the time to end it spends with its kubelet.
            self.cluster.api().delete(&format!("{}/{name}?gracePeriodSeconds=1", self.path()))?;
            self.pods.remove(name);
            self.deleted.insert(name.clone());
        }
        Ok(names)
    }

    /// Deletes all pods that fit.
    pub fn delete_all(&mut self) -> Result<()> {
        let api = self.cluster.api();
        // Two selectors would do, had the giants a label; their names are told apart more simply.
        let path = format!(
            "{}?gracePeriodSeconds=0&fieldSelector=metadata.name!=giant-0,metadata.name!=giant-1",
            self.path()
        );
        api.delete(&path)?;
        self.deleted.append(&mut self.pods);
        Ok(())
    }

    /// Bindings a second of a scheduler that takes [`BINDING_SECONDS`] for the pods of the scene: slow enough that there is a middle,
    /// however late and on however slow a machine it is looked at.
    pub fn pace(&self) -> usize {
        self.scale.pods.div_ceil(BINDING_SECONDS)
    }

    /// Starts a scheduler of this scene. `pace` is its writes a second, or `None` for no limit.
    pub fn start(&self, kubeconfig: &Path, pace: Option<usize>, arguments: &[&str]) -> Result<Process> {
        let file = self.configuration(pace)?;
        let common = ["--config", &file, "--listen", "127.0.0.1:0", "--debug-listen", "off"];
        self.cluster.start_secondmate(&self.next_name(), kubeconfig, &[arguments, &common].concat())
    }

    /// The same without a limit, with metrics that are read.
    pub fn start_measured(&self, arguments: &[&str]) -> Result<MeasuredScheduler> {
        let file = self.configuration(None)?;
        self.cluster.start_measured_secondmate(&self.next_name(), &[arguments, &["--config", &file]].concat())
    }

    fn next_name(&self) -> String {
        self.started.set(self.started.get() + 1);
        format!("{}-{}", self.name, self.started.get())
    }

    /// Writes the configuration of a scheduler of this scene.
    fn configuration(&self, pace: Option<usize>) -> Result<String> {
        let mut configuration = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [{ "schedulerName": self.name }],
        });
        if let Some(pace) = pace {
            configuration["clientConnection"] = json!({ "qps": pace, "burst": BURST });
        }
        let file = self.cluster.directory().join(format!("{}.config", self.name));
        std::fs::write(&file, configuration.to_string())?;
        Ok(file.to_str().context("a path that is text")?.to_owned())
    }

    /// The kubeconfig of a scheduler that reaches the API server directly.
    pub fn direct(&self) -> Result<PathBuf> {
        self.cluster.kubeconfig_for("mate", &["system:masters"])
    }

    /// A proxy, and the kubeconfig of a scheduler that goes through it.
    pub fn proxy(&self) -> Result<(Proxy, PathBuf)> {
        let proxy = Proxy::start(&self.direct()?, self.seed)?;
        let kubeconfig = proxy.kubeconfig(self.cluster.directory())?;
        Ok((proxy, kubeconfig))
    }

    /// How many pods have a node.
    pub fn bound(&self) -> Result<usize> {
        Ok(self.cluster.list(&self.path())?.iter().filter(|pod| node_of(pod).is_some()).count())
    }

    /// Waits until so many pods are bound; returns how many are.
    pub fn wait_bound(&self, count: usize, schedulers: &mut [&mut Process]) -> Result<usize> {
        let mut bound = 0;
        let waited = wait_until(DEADLINE, &format!("{count} pods to be bound"), || {
            for scheduler in schedulers.iter_mut() {
                if let Some(status) = scheduler.try_wait()? {
                    let ended =
                        format!("{} ended with {status}:\n{}", scheduler.name(), scheduler.tail(TAIL));
                    return Ok(Some(Err(anyhow::anyhow!(ended))));
                }
            }
            bound = self.bound()?;
            Ok((bound >= count).then_some(Ok(())))
        });
        match waited {
            Ok(ended) => ended.map(|()| bound),
            Err(error) => {
                let tails: Vec<String> =
                    schedulers.iter().map(|s| format!("\n{}:\n{}", s.name(), s.tail(TAIL))).collect();
                Err(error.context(format!("{bound} are bound{}", tails.concat())))
            }
        }
    }

    /// Waits until all pods that fit are bound.
    pub fn wait_all(&self, schedulers: &mut [&mut Process]) -> Result<()> {
        self.wait_bound(self.pods.len(), schedulers).map(drop)
    }

    /// Who leads; empty after a release and before the first election.
    pub fn holder(&self) -> Result<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{}", self.name);
        let answer = self.cluster.api().call("GET", &path, "application/json", b"")?;
        if answer.status == 404 {
            return Ok(String::new());
        }
        ensure!(answer.status == 200, "GET {path}: {}", answer.body);
        Ok(answer.json()?["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until somebody other than `not` leads.
    pub fn leader(&self, not: &str) -> Result<String> {
        wait_until(DEADLINE, "a leader", || {
            let holder = self.holder()?;
            Ok((!holder.is_empty() && holder != not).then_some(holder))
        })
    }

    /// A scheduler that runs at the end of a scene: it ends when it is asked to, and nothing in it has panicked.
    pub fn end(&self, mut scheduler: Process) -> Result<()> {
        if let Some(status) = scheduler.try_wait()? {
            bail!("{} ended by itself with {status}:\n{}", scheduler.name(), scheduler.tail(TAIL));
        }
        let status = scheduler.terminate(END_DEADLINE)?;
        ensure!(
            status.code() == Some(0),
            "{} ended on SIGTERM with {status}:\n{}",
            scheduler.name(),
            scheduler.tail(TAIL)
        );
        ensure!(
            !scheduler.log()?.contains("panicked"),
            "{} panicked: see {}",
            scheduler.name(),
            scheduler.log_path().display()
        );
        Ok(())
    }

    /// A scheduler that is to end by itself, since it has lost the Lease.
    pub fn ended_as_loser(&self, scheduler: &mut Process) -> Result<()> {
        let status = scheduler.wait(DEADLINE).with_context(|| scheduler.tail(TAIL))?;
        ensure!(
            status.code() == Some(1) && scheduler.log()?.contains("leadership was lost"),
            "{} should have ended because it lost the Lease, not with {status}:\n{}",
            scheduler.name(),
            scheduler.tail(TAIL)
        );
        Ok(())
    }

    /// Judges, and leaves the nodes empty. Nobody binds any more.
    pub fn close(&self, in_vain_max: usize) -> (Count, Result<()>) {
        match self.judged(in_vain_max) {
            Ok((count, wrong)) if wrong.is_empty() => (count, Ok(())),
            Ok((count, wrong)) => (count, Err(anyhow::anyhow!(wrong.join("\n")))),
            Err(error) => (Count::default(), Err(error)),
        }
    }

    fn judged(&self, in_vain_max: usize) -> Result<(Count, Vec<String>)> {
        // An API server that has just been thawed may not answer at once.
        let pods = wait_until(DEADLINE, "a list of the pods", || self.cluster.list(&self.path()).map(Some))?;
        let promise = Promise {
            fit: self.pods.clone(),
            unfit: self.giants(),
            deleted: self.deleted.clone(),
            in_vain_max,
        };
        let (count, mut wrong) = judge(&pods, &self.audit.bindings(self.name)?, &promise);
        for (node, (cpu, pods)) in over_allocatable(self.cluster)? {
            wrong.push(format!("node {node} is overcommitted: {cpu}m CPU, {pods} pods"));
        }
        self.cluster.api().delete(&format!("{}?gracePeriodSeconds=0", self.path()))?;
        Ok((count, wrong))
    }
}
