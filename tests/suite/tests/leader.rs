//! Two secondmates with leader election on one control plane: what becomes of 1,000 pods when the leader is killed, is
//! asked to go, or loses the API server.

use std::path::Path;
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Result, anyhow, bail, ensure};
use secondmate_harness::{Cluster, Component, NodeShape, Options, Process, wait_until};
use secondmate_suite::{
    Audit, Bindings, DEADLINE, SharedStage, Stage, condition, node_of, over_allocatable, pod, requests,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();
static AUDIT: std::sync::OnceLock<Audit> = std::sync::OnceLock::new();

const PODS: usize = 1_000;

/// So many are bound when the blow falls.
const MIDDLE: usize = 250;

/// Writes a second: slow enough that the middle lasts for some seconds, however late it is looked at.
const PACE: usize = 100;

/// Nothing but the API server and the schedulers under test: nodes are Ready as they are created.
fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        let mut options =
            Options { controller_manager: false, scheduler: None, kwok: false, ..Options::default() };
        let audit = Audit::arrange(&mut options, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("leader"))?;
        AUDIT.set(audit).map_err(|_| anyhow!("the file has one stage"))?;
        let cluster = Cluster::start(binaries, options)?;
        cluster.create_nodes(20, &NodeShape::default())?;
        Ok(Stage::new(cluster))
    })
}

/// One test's scheduler name, with the Lease and the namespace that go with it.
struct Scene<'a> {
    stage: &'a Stage,
    name: &'static str,
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage, name: &'static str) -> Result<Self> {
        stage.cluster.create_namespace(name)?;
        Ok(Self { stage, name })
    }

    /// A candidate. Its lease is shorter than by default, so that the test is.
    fn candidate(&self) -> Result<Process> {
        self.start(&["--lease-duration", "8s", "--renew-deadline", "6s", "--retry-period", "1s"])
    }

    /// A scheduler that writes no faster than [`PACE`], so that there is a middle.
    fn start(&self, arguments: &[&str]) -> Result<Process> {
        let kubeconfig = self.stage.cluster.kubeconfig_for("mate", &["system:masters"])?;
        let configuration = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": { "qps": PACE, "burst": PACE },
            "profiles": [{ "schedulerName": self.name }],
        });
        let path = self.stage.cluster.directory().join(format!("{}.config", self.name));
        std::fs::write(&path, configuration.to_string())?;
        let path = path.to_str().context("a path that is text")?;
        self.stage.start_secondmate(&kubeconfig, &[&["--config", path], arguments].concat())
    }

    /// Who leads; empty after a release and before the first election.
    fn holder(&self) -> Result<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{}", self.name);
        let answer = self.stage.cluster.api().call("GET", &path, "application/json", b"")?;
        if answer.status == 404 {
            return Ok(String::new());
        }
        ensure!(answer.status == 200, "GET {path}: {}", answer.body);
        Ok(answer.json()?["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until somebody other than `not` leads.
    fn leader(&self, not: &str) -> Result<String> {
        wait_until(DEADLINE, "a leader", || {
            let holder = self.holder()?;
            Ok((!holder.is_empty() && holder != not).then_some(holder))
        })
    }

    fn pods(&self) -> Result<Vec<Value>> {
        self.stage.cluster.list(&format!("/api/v1/namespaces/{}/pods", self.name))
    }

    fn bound(&self) -> Result<usize> {
        Ok(self.pods()?.iter().filter(|pod| node_of(pod).is_some()).count())
    }

    fn create(&self, count: usize, prefix: &str) -> Result<()> {
        let tiny = requests(json!({ "cpu": "10m" }));
        let pods: Vec<Value> =
            (0..count).map(|number| pod(&format!("{prefix}-{number:04}"), self.name, tiny.clone())).collect();
        let path = format!("/api/v1/namespaces/{}/pods", self.name);
        self.stage.cluster.api().create_all(&path, &pods)
    }

    /// Waits until `MIDDLE` pods are bound, and makes sure that not all of them are.
    fn wait_for_the_middle(&self) -> Result<()> {
        let bound = wait_until(DEADLINE, "the middle of the pods", || {
            let bound = self.bound()?;
            Ok((bound >= MIDDLE).then_some(bound))
        })?;
        ensure!(bound < PODS, "all pods were bound before anything happened: choose an earlier middle");
        Ok(())
    }

    /// Every pod has a node, by exactly one binding that the API server took.
    fn check(&self, count: usize, schedulers: &mut [&mut Process]) -> Result<()> {
        let all = wait_until(DEADLINE, "all pods to be bound", || {
            for scheduler in schedulers.iter_mut() {
                if let Some(status) = scheduler.try_wait()? {
                    return Ok(Some(Err(anyhow!(
                        "{} ended with {status}:\n{}",
                        scheduler.name(),
                        scheduler.tail(15)
                    ))));
                }
            }
            let pods = self.pods()?;
            let waiting: Vec<&Value> = pods.iter().filter(|pod| node_of(pod).is_none()).collect();
            match waiting.first() {
                None if pods.len() == count => Ok(Some(Ok(()))),
                Some(pod) => bail!("{} wait, one of them: {:?}", waiting.len(), condition(pod)),
                None => bail!("{} pods are there", pods.len()),
            }
        });
        match all {
            Ok(ended) => ended?,
            Err(error) => {
                let tails: Vec<String> =
                    schedulers.iter().map(|s| format!("\n{}:\n{}", s.name(), s.tail(15))).collect();
                return Err(error.context(tails.concat()));
            }
        }
        let audit = AUDIT.get().context("the stage keeps an audit log")?.bindings(self.name)?;
        let once =
            |bindings: &Bindings| bindings.done == 1 || (bindings.done == 0 && bindings.unanswered == 1);
        let not_once: Vec<_> = audit.iter().filter(|(_, bindings)| !once(bindings)).collect();
        ensure!(not_once.is_empty(), "pods that were not bound exactly once: {not_once:?}");
        ensure!(audit.len() == count, "the API server was asked to bind {} of {count} pods", audit.len());
        let refused: usize = audit.values().map(|bindings| bindings.refused).sum();
        let unanswered: usize = audit.values().map(|bindings| bindings.unanswered).sum();
        eprintln!("{count} pods were bound; further bindings: {refused} refused, {unanswered} not answered");
        ensure!(over_allocatable(&self.stage.cluster)?.is_empty(), "a node is over its allocatable");
        let path = format!("/api/v1/namespaces/{}/pods?gracePeriodSeconds=0", self.name);
        self.stage.cluster.api().delete(&path).map(drop)
    }
}

fn joined(creation: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    creation.join().map_err(|_| anyhow!("creating pods panicked"))?
}

#[test]
fn the_standby_finishes_what_a_killed_leader_left() -> Result<()> {
    let Some(stage) = stage("the_standby_finishes_what_a_killed_leader_left")? else { return Ok(()) };
    let _turn = stage.turn();
    let scene = Scene::new(stage, "killed")?;
    let mut first = scene.candidate()?;
    let leader = scene.leader("")?;
    let mut second = scene.candidate()?;
    std::thread::scope(|scope| {
        let creation = scope.spawn(|| scene.create(PODS, "pod"));
        scene.wait_for_the_middle()?;
        first.kill()?;
        joined(creation)
    })?;
    scene.check(PODS, &mut [&mut second])?;
    assert_ne!(scene.holder()?, leader, "the standby leads");
    Ok(())
}

#[test]
fn a_leader_that_is_asked_to_go_hands_over() -> Result<()> {
    let Some(stage) = stage("a_leader_that_is_asked_to_go_hands_over")? else { return Ok(()) };
    let _turn = stage.turn();
    let scene = Scene::new(stage, "graceful")?;
    let mut first = scene.candidate()?;
    let leader = scene.leader("")?;
    let mut second = scene.candidate()?;
    std::thread::scope(|scope| {
        let creation = scope.spawn(|| scene.create(PODS, "pod"));
        scene.wait_for_the_middle()?;
        let status = first.terminate(DEADLINE)?;
        ensure!(status.code() == Some(0), "the leader ended with {status}:\n{}", first.tail(15));
        // A lease that is not given back names the old leader until it has run out.
        let holder = scene.holder()?;
        ensure!(holder != leader, "the leader is gone, and the Lease still names it");
        joined(creation)
    })?;
    scene.check(PODS, &mut [&mut second])?;

    // A standby goes as quietly.
    let leader = scene.leader("")?;
    let mut third = scene.candidate()?;
    wait_until(DEADLINE, "the standby to stand by", || {
        Ok(third.log()?.contains("caches synced").then_some(()))
    })?;
    let status = third.terminate(DEADLINE)?;
    assert_eq!(status.code(), Some(0), "the standby:\n{}", third.tail(15));
    assert_eq!(scene.holder()?, leader);
    Ok(())
}

#[test]
fn a_restart_of_the_api_server_loses_nothing() -> Result<()> {
    let Some(stage) = stage("a_restart_of_the_api_server_loses_nothing")? else { return Ok(()) };
    let _turn = stage.turn();
    let scene = Scene::new(stage, "restart")?;
    scene.create(PODS, "pod")?;
    // Without an election: the API server may be away for longer than a lease, and then a leader has to go.
    let mut scheduler = scene.start(&["--leader-elect=false"])?;
    scene.wait_for_the_middle()?;
    stage.cluster.restart_component(Component::KubeApiserver)?;
    scene.check(PODS, &mut [&mut scheduler])
}
