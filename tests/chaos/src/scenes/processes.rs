//! etcd, kube-apiserver and the scheduler are stopped or killed amid the binding.

use std::time::Duration;

use anyhow::{Result, ensure};
use secondmate_harness::{Component, Process};

use super::Played;
use crate::arena::{ALONE, Ground};

/// The longest time for which a scheduler goes on before it is killed, once it has bound a pod.
const MERCY: Duration = Duration::from_millis(150);

/// Starts a scheduler on pods that wait, and waits until some of them are bound and others are not.
fn middle(ground: &mut Ground<'_>) -> Result<Process> {
    let pods = ground.scale.pods;
    ground.create(pods)?;
    let kubeconfig = ground.direct()?;
    let mut scheduler = ground.start(&kubeconfig, Some(ground.pace()), ALONE)?;
    let bound = ground.wait_bound(pods / 5, &mut [&mut scheduler])?;
    ensure!(bound < pods, "all pods were bound before anything happened: more pods are needed");
    Ok(scheduler)
}

fn finish(ground: &Ground<'_>, mut scheduler: Process) -> Result<()> {
    ground.wait_all(&mut [&mut scheduler])?;
    ground.end(scheduler)
}

fn freeze(ground: &mut Ground<'_>, component: Component, in_vain_max: usize) -> Result<Played> {
    let scheduler = middle(ground)?;
    ground.cluster.signal_component(component, "STOP")?;
    // Nothing is waited for: this is how long it stands still.
    let frozen = ground.scale.frozen;
    std::thread::sleep(frozen);
    ground.cluster.signal_component(component, "CONT")?;
    finish(ground, scheduler)?;
    Ok(Played { done: format!("frozen for {} s", frozen.as_secs()), in_vain_max })
}

pub(super) fn freeze_apiserver(ground: &mut Ground<'_>) -> Result<Played> {
    freeze(ground, Component::KubeApiserver, 0)
}

pub(super) fn freeze_etcd(ground: &mut Ground<'_>) -> Result<Played> {
    // The API server may give up what etcd carries out later.
    freeze(ground, Component::Etcd, usize::MAX)
}

fn kill(ground: &mut Ground<'_>, component: Component) -> Result<Played> {
    let scheduler = middle(ground)?;
    ground.cluster.kill_component(component)?;
    ground.cluster.start_component(component)?;
    finish(ground, scheduler)?;
    Ok(Played { done: "killed and restarted".to_owned(), in_vain_max: usize::MAX })
}

pub(super) fn kill_apiserver(ground: &mut Ground<'_>) -> Result<Played> {
    kill(ground, Component::KubeApiserver)
}

pub(super) fn kill_etcd(ground: &mut Ground<'_>) -> Result<Played> {
    kill(ground, Component::Etcd)
}

pub(super) fn kill_scheduler(ground: &mut Ground<'_>) -> Result<Played> {
    let kubeconfig = ground.direct()?;
    let (kills, pods) = (ground.scale.kills, ground.scale.pods);
    for _ in 0..kills {
        // Some are left over for the next.
        ground.create((pods / kills).max(2))?;
        let before = ground.bound()?;
        let mut scheduler = ground.start(&kubeconfig, Some(ground.pace()), ALONE)?;
        ground.wait_bound(before + 1, &mut [&mut scheduler])?;
        std::thread::sleep(MERCY.mul_f64(ground.chance.f64()));
        scheduler.kill()?;
    }
    ground.create(pods / 10)?;
    let last = ground.start(&kubeconfig, Some(ground.pace()), ALONE)?;
    finish(ground, last)?;
    Ok(Played { done: format!("killed {kills} times"), in_vain_max: usize::MAX })
}
