//! The bind guard on the real control plane: kube-scheduler and secondmate fill the same nodes, and binds go on whatever becomes of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use secondmate_harness::{Cluster, Guard, GuardCertificate, Options};
use secondmate_suite::{BOTH, SharedStage, Stage, World, merge, node, over_allocatable, pod, requests};
use serde_json::{Value, json};

/// Nodes that take long enough to fill that something can happen in the middle: kube-scheduler's half of the pods are more than it may
/// bind in one burst.
const MIDDLE: usize = 30;

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Stage::new(Cluster::start(binaries, Options::default())?).with_secondmate())
}

/// Nodes with room for ten pods each, and for each scheduler half of the pods that fill them. The pods are there first, so that all are bound
/// at once.
fn fill(world: &World<'_>, prefix: &str, nodes: usize) -> Result<usize> {
    let label =
        json!({ "metadata": { "labels": { "of": prefix } }, "status": { "allocatable": { "cpu": "1" } } });
    let nodes: Vec<Value> =
        (0..nodes).map(|number| node(&format!("{prefix}-{number:02}"), label.clone())).collect();
    let count = nodes.len() * 10;
    for number in 0..count {
        let mut changes = requests(json!({ "cpu": "100m" }));
        merge(&mut changes, json!({ "spec": { "nodeSelector": { "of": prefix } } }));
        world.create("pods", &pod(&format!("{prefix}-{number}"), BOTH[number % 2], changes))?;
    }
    world.create_nodes(&nodes)?;
    Ok(count)
}

fn bound(world: &World<'_>) -> Result<usize> {
    Ok(world.pods()?.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count())
}

fn wait_bound(world: &World<'_>, count: usize) -> Result<()> {
    world.stage.wait(&format!("{count} pods to be bound"), || Ok((bound(world)? == count).then_some(())))
}

/// Waits until a third of the last pods is bound; says how many are.
fn wait_third(world: &World<'_>, before: usize, count: usize) -> Result<usize> {
    world
        .stage
        .wait("a third to be bound", || Ok(Some(bound(world)?).filter(|now| *now >= before + count / 3)))
}

fn approved(guard: &Guard) -> Result<f64> {
    let binds = |scheduler: &str| {
        guard
            .value(&format!("secondmate_guard_binds_total{{scheduler=\"{scheduler}\",verdict=\"approved\"}}"))
    };
    Ok(binds(BOTH[0])? + binds(BOTH[1])?)
}

/// Requests that the API server let pass since it started, as the guard did not answer.
fn failed_open_count(world: &World<'_>) -> Result<f64> {
    let text = world.stage.cluster.api().call("GET", "/metrics", "text/plain", b"")?.body;
    secondmate_harness::sum(&text, "apiserver_admission_webhook_fail_open_count")
}

/// Whether the guard refuses to let a pod onto a node that is full. The pod is gone again either way.
fn refuses(world: &World<'_>, pod_name: &str, node: &str) -> Result<Option<()>> {
    let api = world.stage.cluster.api();
    world.create("pods", &pod(pod_name, "nobody", requests(json!({ "cpu": "100m" }))))?;
    let path = format!("{}/{pod_name}", world.path("pods"));
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod_name },
        "target": { "kind": "Node", "name": node },
    });
    let binding = binding.to_string();
    let answer = api.call("POST", &format!("{path}/binding"), "application/json", binding.as_bytes())?;
    let gone = api.call("DELETE", &path, "application/json", br#"{ "gracePeriodSeconds": 0 }"#)?;
    ensure!(gone.status == 200, "cannot delete it: {}", gone.body);
    match answer.status {
        201 => Ok(None),
        403 if answer.body.contains("has no room") => Ok(Some(())),
        status => bail!("{status} {}", answer.body),
    }
}

#[test]
fn with_the_guard_two_schedulers_fill_the_nodes_exactly() -> Result<()> {
    let Some(stage) = stage("with_the_guard_two_schedulers_fill_the_nodes_exactly")? else { return Ok(()) };
    let world = World::new(stage, "guarded")?;
    let guard = stage.cluster.start_guard(GuardCertificate::Own)?;
    let count = fill(&world, "exact", 12)?;
    wait_bound(&world, count)?;
    assert_eq!(over_allocatable(&stage.cluster)?, BTreeMap::new(), "nodes over their allocatable");
    ensure!(approved(&guard)? >= count as f64, "the guard was asked about {} binds only", approved(&guard)?);
    assert_eq!(guard.value("secondmate_guard_bound_unasked_total")?, 0.0);
    stage.wait("every approval to be seen", || {
        Ok((guard.value("secondmate_guard_unseen")? == 0.0).then_some(()))
    })
}

#[test]
fn binds_go_on_without_a_guard_that_was_killed_or_frozen_and_its_metrics_tell() -> Result<()> {
    let test = "binds_go_on_without_a_guard_that_was_killed_or_frozen_and_its_metrics_tell";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let world = World::new(stage, "broken")?;
    let mut guard = stage.cluster.start_guard(GuardCertificate::Own)?;
    let first = fill(&world, "alive", 2)?;
    wait_bound(&world, first)?;

    let second = fill(&world, "frozen", MIDDLE)?;
    let then = wait_third(&world, first, second)?;
    let failed_open = failed_open_count(&world)?;
    guard.process.signal("STOP")?;
    ensure!(then < first + second, "it was frozen too late, with {then} pods bound");
    wait_bound(&world, first + second)?;
    ensure!(failed_open_count(&world)? > failed_open, "the API server let binds pass without an answer");
    guard.process.signal("CONT")?;
    // The metrics say the same before it has noticed anything: what it decides tells whether it knows what was bound without it.
    stage.wait("the guard to decide again, by what was bound while it stood still", || {
        refuses(&world, "one-more", "frozen-00")
    })?;
    stage.wait("everything to be seen", || {
        let deciding = guard.value("secondmate_guard_deciding")? > 0.0;
        let unseen = guard.value("secondmate_guard_unseen")?;
        Ok((deciding && unseen == 0.0).then_some(()))
    })?;

    let third = fill(&world, "killed", MIDDLE)?;
    let then = wait_third(&world, first + second, third)?;
    let failed_open = failed_open_count(&world)?;
    guard.process.kill()?;
    ensure!(then < first + second + third, "it was killed too late, with {then} pods bound");
    wait_bound(&world, first + second + third)?;
    ensure!(failed_open_count(&world)? > failed_open, "the API server let binds pass without an answer");
    Ok(())
}

#[test]
fn with_an_expired_certificate_binds_pass_and_the_metrics_tell() -> Result<()> {
    let test = "with_an_expired_certificate_binds_pass_and_the_metrics_tell";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let world = World::new(stage, "expired")?;
    let guard = stage.cluster.start_guard(GuardCertificate::Expired)?;
    let count = fill(&world, "expired", 2)?;
    wait_bound(&world, count)?;
    assert_eq!(approved(&guard)?, 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("after 1970")?;
    ensure!(guard.value("secondmate_guard_certificate_expiry_seconds")? < now.as_secs_f64());
    // For a while after the guard of another test it may have been that one which was asked.
    let later = format!("{}/later", world.path("pods"));
    stage.wait("the metrics to tell", || {
        world.create("pods", &pod("later", BOTH[0], json!({})))?;
        world.wait_bound(&["later".to_owned()])?;
        let gone = br#"{ "gracePeriodSeconds": 0 }"#;
        let gone = stage.cluster.api().call("DELETE", &later, "application/json", gone)?;
        ensure!(gone.status == 200, "cannot delete it: {}", gone.body);
        let failed = guard.value("secondmate_guard_connections_failed_total{reason=\"tls\"}")?;
        let unasked = guard.value("secondmate_guard_bound_unasked_total")?;
        Ok((failed > 0.0 && unasked > 0.0).then_some(()))
    })
}
