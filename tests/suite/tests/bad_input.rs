//! Wrong input: a message that names the object and the remedy, a failure as exit code, and nothing else disturbed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options, wait_until};
use secondmate_suite::{DEADLINE, OWN, SharedStage, Stage, World, condition, node, object, pod};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Ok(Stage::new(Cluster::start(binaries, Options::default())?)))
}

fn write(stage: &Stage, name: &str, text: &str) -> Result<PathBuf> {
    let path = stage.cluster.directory().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Whether a refusal says all of this, as an error for people and not as a crash.
fn says(log: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(log.contains(word), "{word:?} is not said:\n{log}");
    }
    ensure!(!log.contains("panicked"), "it crashed:\n{log}");
    Ok(())
}

/// A KubeSchedulerConfiguration with these fields beside its kind.
fn configured(stage: &Stage, name: &str, fields: Value) -> Result<PathBuf> {
    let mut document = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
    });
    secondmate_suite::merge(&mut document, fields);
    write(stage, name, &document.to_string())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

#[test]
fn there_is_no_cluster() -> Result<()> {
    let Some(stage) = stage("there_is_no_cluster")? else { return Ok(()) };
    let name = ["--scheduler-name", OWN];
    let absent = stage.cluster.directory().join("absent.kubeconfig");
    says(&stage.refused(&absent, &name)?, &[text(&absent)?, "--kubeconfig"])?;

    let garbage = write(stage, "garbage.kubeconfig", "{ this: is: not: a kubeconfig")?;
    says(&stage.refused(&garbage, &name)?, &[text(&garbage)?, "correct it"])?;

    let admin = std::fs::read_to_string(stage.cluster.kubeconfig())?;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nobody = format!("https://127.0.0.1:{port}");
    let elsewhere = write(stage, "elsewhere.kubeconfig", &admin.replace(&stage.cluster.server(), &nobody))?;
    // It may come yet: that is said, and waited for.
    let mut waits = stage.start_secondmate(&elsewhere, &name)?;
    let log = stage.wait("it says that it waits", || {
        let log = waits.log()?;
        Ok(log.contains("trying again").then_some(log))
    })?;
    says(&log, &[&nobody, "refused", "check that"])?;
    ensure!(waits.terminate(DEADLINE)?.success(), "it did not end in order:\n{}", waits.log()?);

    let expired = stage.cluster.kubeconfig_with_expired_certificate("mate")?;
    says(&stage.refused(&expired, &name)?, &[&stage.cluster.server(), "expired", "renew"])?;

    let token = stage.cluster.kubeconfig_for_token("forged", "not-a-token")?;
    says(&stage.refused(&token, &name)?, &[&stage.cluster.server(), "401", "renew"])
}

#[test]
fn the_configuration_is_wrong() -> Result<()> {
    let Some(stage) = stage("the_configuration_is_wrong")? else { return Ok(()) };
    let kubeconfig = stage.cluster.kubeconfig();
    let profile = json!([{ "schedulerName": OWN }]);
    let refused = |name: &str, fields: Value, words: &[&str]| -> Result<()> {
        let path = configured(stage, name, fields)?;
        let log = stage.refused(kubeconfig, &["--config", text(&path)?])?;
        says(&log, &[&[text(&path)?], words].concat())
    };
    refused(
        "unknown-field.yaml",
        json!({ "profiles": profile, "podInitialBackofSeconds": 1 }),
        &["podInitialBackofSeconds", "unknown"],
    )?;
    refused(
        "unknown-plugin.yaml",
        json!({ "profiles": [{
        "schedulerName": OWN, "plugins": { "score": { "enabled": [{ "name": "Dice" }] } },
    }] }),
        &["Dice"],
    )?;
    refused(
        "negative.yaml",
        json!({ "profiles": profile, "podInitialBackoffSeconds": -1 }),
        &["podInitialBackoffSeconds"],
    )?;
    refused("other-kind.yaml", json!({ "kind": "Deployment", "profiles": profile }), &["Deployment"])?;
    let default_name = json!({ "profiles": [{ "schedulerName": "default-scheduler" }] });
    let default_name = configured(stage, "default-name.yaml", default_name)?;
    says(
        &stage.refused(kubeconfig, &["--config", text(&default_name)?])?,
        &["default-scheduler", "--i-replace-the-default-scheduler"],
    )?;

    let broken = write(stage, "broken.yaml", "profiles: [\n")?;
    says(&stage.refused(kubeconfig, &["--config", text(&broken)?])?, &[text(&broken)?, "line"])?;
    let absent = stage.cluster.directory().join("absent.yaml");
    says(&stage.refused(kubeconfig, &["--config", text(&absent)?])?, &[text(&absent)?, "--config"])?;
    says(&stage.refused(kubeconfig, &[])?, &["--scheduler-name", "--config"])?;
    says(
        &stage.refused(kubeconfig, &["--scheduler-name", "default-scheduler"])?,
        &["default-scheduler", "--i-replace-the-default-scheduler"],
    )
}

#[test]
fn a_name_that_another_live_process_serves_otherwise_is_told() -> Result<()> {
    let Some(stage) = stage("a_name_that_another_live_process_serves_otherwise_is_told")? else {
        return Ok(());
    };
    let kubeconfig = stage.cluster.kubeconfig();
    let mut first = stage.start_secondmate(kubeconfig, &["--scheduler-name", "shared"])?;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/shared";
    let holder = stage.wait("the first to lead", || {
        let holder = stage.cluster.api().get(lease)?["spec"]["holderIdentity"].clone();
        Ok(holder.as_str().filter(|holder| !holder.is_empty()).map(str::to_owned))
    })?;
    let other = configured(
        stage,
        "other.yaml",
        json!({ "profiles": [{
        "schedulerName": "shared",
        "plugins": { "score": { "disabled": [{ "name": "ImageLocality" }] } },
    }] }),
    )?;
    let mut second = stage.start_secondmate(kubeconfig, &["--config", text(&other)?])?;
    let told = wait_until(DEADLINE, "the second to say so", || {
        let log = second.log()?;
        let line = log.lines().find(|line| line.contains("another configuration")).map(str::to_owned);
        line.map(Some).with_context(|| second.tail(10))
    })?;
    says(
        &told,
        &["shared", &holder, "kube-system/shared", "the same configuration", "another scheduler name"],
    )?;

    // The first is not disturbed, and the same configuration is no conflict.
    let mut replica = stage.start_secondmate(kubeconfig, &["--scheduler-name", "shared"])?;
    // A process that has only just begun has no ear for signals yet.
    stage.wait("the replica to stand by", || Ok(replica.log()?.contains("caches synced").then_some(())))?;
    assert_eq!(second.terminate(DEADLINE)?.code(), Some(0), "{}", second.tail(10));
    assert_eq!(replica.terminate(DEADLINE)?.code(), Some(0), "{}", replica.tail(10));
    assert!(!replica.log()?.contains("another configuration"), "{}", replica.tail(10));
    assert_eq!(stage.cluster.api().get(lease)?["spec"]["holderIdentity"], json!(holder));
    assert!(first.is_running()?, "{}", first.tail(10));
    Ok(())
}

/// What a configuration asks for and is not there: refused by its name, never ignored.
#[test]
fn what_is_not_supported_is_named() -> Result<()> {
    let Some(stage) = stage("what_is_not_supported_is_named")? else { return Ok(()) };
    let path = configured(
        stage,
        "gangs.yaml",
        json!({
            "profiles": [{
                "schedulerName": OWN,
                "plugins": { "permit": { "enabled": [{ "name": "GangScheduling" }] } },
            }],
        }),
    )?;
    let log = stage.refused(stage.cluster.kubeconfig(), &["--config", text(&path)?])?;
    says(&log, &["profiles[0].plugins.permit.enabled[0]", "not supported", "remove it"])
}

#[test]
fn odd_nodes_and_pods_disturb_nobody() -> Result<()> {
    let Some(stage) = stage("odd_nodes_and_pods_disturb_nobody")? else { return Ok(()) };
    let world = World::new(stage, "odd")?;
    let mut scheduler = stage
        .start_secondmate(stage.cluster.kubeconfig(), &["--scheduler-name", OWN, "--leader-elect=false"])?;
    // kwok gives a whole allocatable to a node that has none at all.
    let labels: serde_json::Map<String, Value> =
        (0..1_000).map(|n| (format!("label-{n}"), json!("x"))).collect();
    let empty = object(
        "v1",
        "Node",
        "empty",
        json!({
            "metadata": { "labels": labels },
            "status": { "allocatable": { "ephemeral-storage": "0" } },
        }),
    );
    world.create_outside("/api/v1/nodes", &empty)?;
    world.create_nodes(&[node(
        "sound",
        json!({ "spec": { "taints": [
        { "key": "odd", "value": "", "effect": "NoSchedule" },
    ] } }),
    )])?;
    let tolerant = json!({ "spec": { "tolerations": [{ "key": "odd", "operator": "Exists" }] } });
    world.create("pods", &pod("before", OWN, tolerant.clone()))?;
    world.wait_bound(&["before".to_owned()])?;

    // A claim for devices: secondmate says that it cannot do this, and never places the pod as if it had not asked.
    world.create(
        "pods",
        &pod(
            "devices",
            OWN,
            json!({ "spec": {
        "resourceClaims": [{ "name": "gpu", "resourceClaimName": "gpu" }],
        "tolerations": [{ "operator": "Exists" }],
    } }),
        ),
    )?;
    let said = stage.wait("the pod with a resource claim to be told", || {
        let pod = stage.cluster.api().get(&format!("{}/devices", world.path("pods")))?;
        let condition = condition(&pod);
        Ok((!condition[0].is_empty()).then_some(condition))
    })?;
    assert_eq!(said[0], "False", "{said:?}");
    assert!(said[2].contains("claim"), "{said:?}");

    world.create("pods", &pod("after", OWN, tolerant))?;
    world.wait_bound(&["after".to_owned()])?;
    assert!(scheduler.is_running()?, "{}", scheduler.tail(20));
    Ok(())
}
