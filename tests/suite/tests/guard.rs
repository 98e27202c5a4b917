//! The bind guard on the real control plane: kube-scheduler and secondmate fill the same nodes, and binds go on whatever becomes of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Guard, GuardCertificate, Options};
use secondmate_suite::{BOTH, SharedStage, Stage, World, merge, node, over_allocatable, pod, requests};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Stage::new(Cluster::start(binaries, Options::default())?).with_secondmate())
}

/// Nodes with room for ten pods each, and for each scheduler half of the pods that fill them.
fn fill(world: &World<'_>, prefix: &str, nodes: usize) -> Result<usize> {
    let label =
        json!({ "metadata": { "labels": { "of": prefix } }, "status": { "allocatable": { "cpu": "1" } } });
    let nodes: Vec<Value> =
        (0..nodes).map(|number| node(&format!("{prefix}-{number:02}"), label.clone())).collect();
    world.create_nodes(&nodes)?;
    let count = nodes.len() * 10;
    for number in 0..count {
        let mut changes = requests(json!({ "cpu": "100m" }));
        merge(&mut changes, json!({ "spec": { "nodeSelector": { "of": prefix } } }));
        world.create("pods", &pod(&format!("{prefix}-{number}"), BOTH[number % 2], changes))?;
    }
    Ok(count)
}

fn wait_bound(world: &World<'_>, count: usize) -> Result<()> {
    world.stage.wait(&format!("{count} pods to be bound"), || {
        let bound = world.pods()?.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        Ok((bound == count).then_some(()))
    })
}

fn approved(guard: &Guard) -> Result<f64> {
    let binds = |scheduler: &str| {
        guard
            .value(&format!("secondmate_guard_binds_total{{scheduler=\"{scheduler}\",verdict=\"approved\"}}"))
    };
    Ok(binds(BOTH[0])? + binds(BOTH[1])?)
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

    guard.process.signal("STOP")?;
    let second = fill(&world, "frozen", 2)?;
    wait_bound(&world, first + second)?;
    guard.process.signal("CONT")?;
    stage.wait(
        "the guard to decide again, and to tell of the binds that it was not asked about in time",
        || {
            let deciding = guard.value("secondmate_guard_deciding")? > 0.0;
            let unseen = guard.value("secondmate_guard_unseen")?;
            Ok((deciding && unseen == 0.0).then_some(()))
        },
    )?;

    guard.process.kill()?;
    let third = fill(&world, "killed", 2)?;
    wait_bound(&world, first + second + third)?;
    let failed_open = stage.cluster.api().call("GET", "/metrics", "text/plain", b"")?.body;
    let failed_open = secondmate_harness::sum(&failed_open, "apiserver_admission_webhook_fail_open_count")?;
    ensure!(failed_open > 0.0, "the API server let binds pass without an answer");
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
    stage.wait("the metrics to tell", || {
        let failed = guard.value("secondmate_guard_connections_failed_total{reason=\"tls\"}")?;
        let unasked = guard.value("secondmate_guard_bound_unasked_total")?;
        Ok((failed > 0.0 && unasked >= count as f64).then_some(()))
    })
}
