//! The chart on the real control plane: installed as Helm does it, used by scheduler and guard with their own tokens, uninstalled.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use secondmate_chart::Tools;
use secondmate_harness::{
    Cluster, NodeShape, Options, Process, require_or_skip, run, secondmate_binary, wait_until,
};
use serde_json::{Value, json};

/// Whatever waits longer waits for ever.
const DEADLINE: Duration = Duration::from_secs(180);
const NAMESPACE: &str = "schedulers";

/// A scheduler for each of two tenants, and the guard.
fn release(tools: &Tools) -> Result<Value> {
    let objects = tools.render(
        "team",
        NAMESPACE,
        &json!({
            "tenants": { "red": {}, "blue": { "schedulerNames": ["blue-web", "blue-batch"] } },
            "guard": { "enabled": true },
        }),
    )?;
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": objects.values().collect::<Vec<_>>() }))
}

/// Hands the objects to the API server as Helm does: it applies them, by server-side apply, and a field that a kind does not have is an
/// error. Nothing may be warned of: the namespace enforces the restricted Pod Security Standard.
fn install(cluster: &Cluster, objects: &Value) -> Result<()> {
    let mut command = cluster.kubectl_command()?;
    command.args(["apply", "--server-side", "--field-manager=helm", "--validate=strict", "-f", "-"]);
    let output = run(command, objects.to_string().as_bytes(), DEADLINE)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "kubectl apply: {said}");
    Ok(())
}

/// The kubeconfig of a service account of the release.
fn account(cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let token = cluster.service_account_token(NAMESPACE, name)?;
    cluster.kubeconfig_for_token(name, &token)
}

/// It runs, and the API server refused it nothing.
fn content(process: &mut Process) -> Result<()> {
    ensure!(process.is_running()?, "{} ended:\n{}", process.name(), process.tail(20));
    let log = process.log()?;
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "{} was refused: {refused:#?}", process.name());
    Ok(())
}

/// The scheduler of a tenant, as its Deployment runs it, binds a pod that names it.
fn scheduler_works(cluster: &Cluster, tenant: &str, scheduler_name: &str) -> Result<()> {
    let api = cluster.api();
    let deployment = format!("team-{tenant}");
    let pod = api.get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{deployment}"))?;
    let name = pod["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].as_str();
    let name = name.context("the name of a ConfigMap")?;
    let config = api.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"))?;
    let file = cluster.directory().join(format!("{name}.yaml"));
    std::fs::write(&file, config["data"]["config.yaml"].as_str().context("a configuration")?)?;
    let file = file.to_str().context("a path that is text")?;
    let mut process =
        cluster.start_secondmate(&deployment, &account(cluster, &deployment)?, &["--config", file])?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": scheduler_name },
        "spec": { "schedulerName": scheduler_name, "containers": [{ "name": "c", "image": "c" }] },
    });
    api.create("/api/v1/namespaces/default/pods", &pod)?;
    wait_until(DEADLINE, &format!("{scheduler_name} to bind its pod"), || {
        content(&mut process)?;
        let pod = api.get(&format!("/api/v1/namespaces/default/pods/{scheduler_name}"))?;
        Ok(pod["spec"]["nodeName"].is_string().then_some(()))
    })
}

/// The guard, as its Deployment runs it, puts its certificate into the webhook and leads the Service to itself.
fn guard_works(cluster: &Cluster) -> Result<()> {
    let mut command = Command::new(secondmate_binary()?);
    command
        .args(["guard", "--guard-listen=127.0.0.1:0", "--listen=127.0.0.1:0"])
        // What the pod has of its service account and of its status.
        .args(["--guard-namespace", NAMESPACE])
        .env("POD_IP", "10.0.0.7")
        .arg("--kubeconfig")
        .arg(account(cluster, "secondmate-guard")?)
        .env("HOME", cluster.directory())
        .env_remove("KUBECONFIG");
    let mut process = cluster.spawn("guard-of-the-chart", command)?;
    let api = cluster.api();
    wait_until(DEADLINE, "the guard to be where the webhook leads", || {
        content(&mut process)?;
        let webhook = api
            .get("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/secondmate-guard")?;
        let slices =
            cluster.list(&format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"))?;
        let leads = slices.iter().any(|slice| slice["endpoints"][0]["addresses"] == json!(["10.0.0.7"]));
        Ok((leads && webhook["webhooks"][0]["clientConfig"]["caBundle"].is_string()).then_some(()))
    })
}

#[test]
fn the_release_is_installed_works_and_is_uninstalled() -> Result<()> {
    let test = "the_release_is_installed_works_and_is_uninstalled";
    let (Some(binaries), Some(tools)) = (require_or_skip(test), Tools::require_or_skip(test)) else {
        return Ok(());
    };
    let cluster = Cluster::start(binaries, Options::default())?;
    cluster.create_nodes(3, &NodeShape::default())?;
    cluster.create_namespace(NAMESPACE)?;
    cluster.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"])?;
    let list = release(&tools)?;
    install(&cluster, &list)?;

    wait_until(DEADLINE, "two replicas each to run", || {
        let pods = cluster.list(&format!("/api/v1/namespaces/{NAMESPACE}/pods"))?;
        let running: BTreeSet<&str> = pods
            .iter()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        ensure!(running.len() <= 6, "{running:?}");
        Ok((running.len() == 6).then_some(()))
    })?;
    guard_works(&cluster)?;
    scheduler_works(&cluster, "red", "red-scheduler")?;
    scheduler_works(&cluster, "blue", "blue-web")?;

    // An upgrade leaves alone what the guard filled in, and what did not change.
    install(&cluster, &list)?;
    let webhook = cluster
        .api()
        .get("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/secondmate-guard")?;
    assert!(webhook["webhooks"][0]["clientConfig"]["caBundle"].is_string(), "{webhook}");
    cluster.kubectl_with_input(&["delete", "--wait=true", "-f", "-"], &list.to_string())?;
    let left = cluster.kubectl(&[
        "get",
        "deployments,services,configmaps,serviceaccounts,poddisruptionbudgets,networkpolicies,roles,rolebindings",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ])?;
    let mut left: Vec<&str> = left.split_whitespace().collect();
    left.sort_unstable();
    // What each namespace has.
    assert_eq!(left, ["default", "kube-root-ca.crt"]);
    Ok(())
}
