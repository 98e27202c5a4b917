//! kube-controller-manager, or kwok in the place of the kubelets, stands still or dies while the scheduler works.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Component, wait_until};
use secondmate_suite::{DEADLINE, node_of, object};
use serde_json::json;

use super::Played;
use crate::arena::{ALONE, Ground, NODES};

/// Two such pods fill a node of 4 CPUs, as far as a third one is concerned.
const HALF_A_NODE_MILLI_CPU: usize = 1_900;

/// Components that no other scene has. They end with the scene, so that nobody writes in the next one.
struct Staff<'a> {
    cluster: &'a Cluster,
    started: Vec<Component>,
}

impl<'a> Staff<'a> {
    fn start(ground: &Ground<'a>, components: &[Component]) -> Result<Self> {
        let mut staff = Self { cluster: ground.cluster, started: Vec::new() };
        for component in components {
            staff.cluster.start_component(*component)?;
            staff.started.insert(0, *component);
        }
        Ok(staff)
    }
}

impl Drop for Staff<'_> {
    fn drop(&mut self) {
        for component in &self.started {
            // One that was killed and could not be started again does not run.
            let _ = self.cluster.kill_component(*component);
        }
    }
}

/// What is done to a component.
#[derive(Clone, Copy)]
enum Blow {
    Freeze,
    Kill,
}

impl Blow {
    fn strike(self, ground: &Ground<'_>, component: Component) -> Result<()> {
        match self {
            Self::Freeze => ground.cluster.signal_component(component, "STOP"),
            Self::Kill => ground.cluster.kill_component(component),
        }
    }

    fn end(self, ground: &Ground<'_>, component: Component) -> Result<()> {
        match self {
            Self::Freeze => ground.cluster.signal_component(component, "CONT"),
            Self::Kill => ground.cluster.start_component(component),
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Freeze => "frozen",
            Self::Kill => "killed and restarted",
        }
    }
}

pub(super) fn freeze_controller_manager(ground: &mut Ground<'_>) -> Result<Played> {
    controller_manager(ground, Blow::Freeze)
}

pub(super) fn kill_controller_manager(ground: &mut Ground<'_>) -> Result<Played> {
    controller_manager(ground, Blow::Kill)
}

/// A ReplicaSet has half of its pods when the controller manager is struck, and gets the others afterwards.
fn controller_manager(ground: &mut Ground<'_>, blow: Blow) -> Result<Played> {
    let component = Component::KubeControllerManager;
    let pods = ground.scale.pods;
    let sets = format!("/apis/apps/v1/namespaces/{}/replicasets", ground.name);
    let set = format!("{sets}/set");
    // Nodes without a kubelet would be tainted by the controller manager.
    let staff = Staff::start(ground, &[Component::Kwok, component])?;
    let api = ground.cluster.api();
    let labels = json!({ "set": "set" });
    let container = json!({ "name": "c", "image": "c", "resources": { "requests": { "cpu": "50m" } } });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "schedulerName": ground.name, "containers": [container] },
    });
    let spec = json!({ "replicas": pods / 2, "selector": { "matchLabels": labels }, "template": template });
    api.create(&sets, &object("apps/v1", "ReplicaSet", "set", json!({ "spec": spec })))?;
    let replicas = |count: usize| {
        wait_until(DEADLINE, &format!("a ReplicaSet of {count} pods"), || {
            let pods = ground.cluster.list(&format!("{}?labelSelector=set", ground.path()))?;
            Ok((pods.len() == count).then_some(()))
        })
    };
    replicas(pods / 2)?;
    let kubeconfig = ground.direct()?;
    let mut scheduler = ground.start(&kubeconfig, Some(ground.pace()), ALONE)?;
    ground.wait_bound(pods / 10, &mut [&mut scheduler])?;
    blow.strike(ground, component)?;
    api.patch(&set, &json!({ "spec": { "replicas": pods } }))?;
    // Who is there needs nobody else to be bound.
    ground.wait_bound(pods / 2, &mut [&mut scheduler])?;
    blow.end(ground, component)?;
    replicas(pods)?;
    ground.wait_bound(pods, &mut [&mut scheduler])?;
    ground.end(scheduler)?;
    drop(staff);
    // Nobody is there to make or to collect pods: they are judged.
    ground.cluster.api().delete(&set)?;
    ground.adopt()?;
    Ok(Played { done: blow.done().to_owned(), in_vain_max: 0 })
}

pub(super) fn freeze_kubelets(ground: &mut Ground<'_>) -> Result<Played> {
    kubelets(ground, Blow::Freeze)
}

pub(super) fn kill_kubelets(ground: &mut Ground<'_>) -> Result<Played> {
    kubelets(ground, Blow::Kill)
}

/// Pods that are deleted hold their room until a kubelet says that they have ended.
fn kubelets(ground: &mut Ground<'_>, blow: Blow) -> Result<Played> {
    let _staff = Staff::start(ground, &[Component::Kwok])?;
    let (pods, going) = (2 * NODES, NODES / 2);
    ground.create_asking(pods, HALF_A_NODE_MILLI_CPU)?;
    let kubeconfig = ground.direct()?;
    let mut scheduler = ground.start(&kubeconfig, Some(ground.pace()), ALONE)?;
    ground.wait_bound(pods / 5, &mut [&mut scheduler])?;
    blow.strike(ground, Component::Kwok)?;
    ground.wait_all(&mut [&mut scheduler])?;
    let gone = ground.delete_gracefully(going)?;
    let instead = ground.create_asking(going, HALF_A_NODE_MILLI_CPU)?;
    // Nothing is waited for: this is how long it stands still.
    std::thread::sleep(ground.scale.frozen);
    let list = ground.cluster.list(&ground.path())?;
    let early = list
        .iter()
        .filter(|pod| node_of(pod).is_some() && instead.iter().any(|name| pod["metadata"]["name"] == **name));
    let early = early.count();
    ensure!(early == 0, "{early} pods were bound into room that no kubelet has said to be free");
    blow.end(ground, Component::Kwok)?;
    wait_until(DEADLINE, "the deleted pods to end, and all others to run", || {
        let list = ground.cluster.list(&ground.path())?;
        let name = |pod: &serde_json::Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        let names: Option<Vec<String>> = list.iter().map(name).collect();
        let left = names.context("names")?.into_iter().filter(|name| gone.contains(name)).count();
        let running = list.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        ensure!(scheduler.is_running()?, "the scheduler ended:\n{}", scheduler.tail(12));
        Ok((left == 0 && running == pods).then_some(()))
    })?;
    ground.end(scheduler)?;
    Ok(Played { done: format!("{}, {going} pods replaced", blow.done()), in_vain_max: 0 })
}
