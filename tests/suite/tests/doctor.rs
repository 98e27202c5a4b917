//! `secondmate doctor` on the real control plane: what the API server counts, and the fields that it selects events by.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, GuardCertificate, Options, secondmate_binary};
use secondmate_suite::{DEFAULT, OWN, SharedStage, Stage, World, events, node, pod, requests};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

/// kube-scheduler takes no Lease here, so that its events alone tell that it serves its name.
fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        let stage = Stage::new(Cluster::start(binaries, Options::default())?);
        stage.with_secondmate()
    })
}

/// The exit code and the answer.
fn doctor(kubeconfig: &Path) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(secondmate_binary()?);
    command.args(["doctor", "-o", "json", "--pending-for", "0s", "--scheduler-name", OWN]);
    let output = command.arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), serde_json::from_slice(&output.stdout).context(text)?))
}

/// The findings of a check.
fn found(answer: &Value, check: &str) -> Vec<Value> {
    let findings = answer["findings"].as_array().cloned().unwrap_or_default();
    findings.into_iter().filter(|finding| finding["check"] == check).collect()
}

#[test]
fn names_that_nobody_serves_and_a_guard_that_is_not_reached_are_found() -> Result<()> {
    let Some(stage) = stage("names_that_nobody_serves_and_a_guard_that_is_not_reached_are_found")? else {
        return Ok(());
    };
    let world = World::new(stage, "doctor")?;
    world.create_nodes(&[node("doctor-0", json!({}))])?;
    let kubeconfig = stage.cluster.kubeconfig();

    // Neither scheduler has a Lease; each has said of a pod that it fits nowhere.
    for scheduler in [DEFAULT, OWN] {
        let name = World::pod_name("too-big", scheduler);
        world.create("pods", &pod(&name, scheduler, requests(json!({ "cpu": "100" }))))?;
    }
    stage.wait("an event of each scheduler", || {
        let events = events(&stage.cluster, &world.namespace)?;
        let of = |name: &str| events.iter().any(|event| event.controller == name);
        Ok((of(DEFAULT) && of(OWN)).then_some(()))
    })?;
    let (code, answer) = doctor(kubeconfig)?;
    ensure!(code == Some(0), "{answer:#}");
    assert_eq!(answer["findings"], json!([]), "{answer:#}");

    world.create("pods", &pod("lost", "mistyped", json!({})))?;
    let (code, answer) = doctor(kubeconfig)?;
    assert_eq!(code, Some(1), "{answer:#}");
    let names = found(&answer, "names");
    assert_eq!(names.len(), 1, "{answer:#}");
    assert_eq!(names[0]["object"], "scheduler name \"mistyped\"");
    assert_eq!(names[0]["pods"], json!([format!("{}/lost", world.namespace)]));

    // The API server counts the binds that went on without the guard.
    let guard = stage.cluster.start_guard(GuardCertificate::Expired)?;
    world.create("pods", &pod("unseen", DEFAULT, json!({})))?;
    world.wait_bound(&["unseen".to_owned()])?;
    let (_, answer) = doctor(kubeconfig)?;
    let told = found(&answer, "guard");
    ensure!(
        told.iter().any(|finding| {
            finding["severity"] == "fault"
                && finding["problem"].as_str().is_some_and(|text| text.contains("has never been answered"))
        }),
        "{answer:#}"
    );
    drop(guard);
    let guard = stage.cluster.start_guard(GuardCertificate::Own)?;
    world.create("pods", &pod("seen", DEFAULT, json!({})))?;
    world.wait_bound(&["seen".to_owned()])?;
    let (_, answer) = doctor(kubeconfig)?;
    let told = found(&answer, "guard");
    ensure!(
        told.iter().all(|finding| finding["severity"] == "warning"),
        "it is reached now, and was not once: {answer:#}"
    );
    drop(guard);
    Ok(())
}
