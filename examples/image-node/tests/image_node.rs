//! The example's binary on the sandbox: pods with the image share its nodes evenly, others stay off them, DaemonSets pass.

use anyhow::{Context, Result, ensure};
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scheduler that is killed with the test.
struct Scheduler(Child);

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_example-image-node"));
    program.env_remove("KUBECONFIG").env_remove("RUST_LOG");
    program
}

fn config() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config.yaml")
}

fn kubeconfig(folder: &Path, server: &str) -> Result<std::path::PathBuf> {
    let path = folder.join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": server}}], "users": [{"name": "x", "user": {}}],
    });
    std::fs::write(&path, text.to_string())?;
    Ok(path)
}

fn pod(name: &str, namespace: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedulerName": "my-scheduler", "containers": [{"name": "c", "image": image}]},
    })
}

/// Number of pods by node; those that have none are under the empty name.
fn placed(sandbox: &Sandbox, prefix: &str) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    for pod in sandbox.objects().list("pods") {
        if pod["metadata"]["name"].as_str().unwrap_or_default().starts_with(prefix) {
            *nodes.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
    }
    nodes
}

async fn until(what: &str, yes: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !yes() {
        ensure!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_have_their_nodes_and_nodes_their_images() -> Result<()> {
    let kubelets = KubeletOptions {
        start_delay: Duration::ZERO,
        stop_delay: Duration::ZERO,
        ..KubeletOptions::default()
    };
    let sandbox = Sandbox::start(Options { kubelets, ..Options::default() }).await?;
    sandbox.add_nodes(0, 6, &NodeShape::default());
    let objects = sandbox.objects();
    let create = |object: Value| objects.create(object.clone()).with_context(|| object.to_string());
    // Of the six nodes, two: node-00004 and node-00005.
    let rule = |nodes: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "render", "annotations": {
            "image-node.secondmate.dev/images": "registry.acme.com/renderer/*",
            "image-node.secondmate.dev/nodes": nodes}}})
    };
    create(rule("node-00004, *5"))?;
    // A rule of one namespace for pods of another, and not for its own: the last of the other nodes.
    create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rules", "annotations": {
        "image-node.secondmate.dev/images": "tool",
        "image-node.secondmate.dev/nodes": "node-00003",
        "image-node.secondmate.dev/namespaces": "far*"}}}))?;
    create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far-away"}}))?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = kubeconfig(folder.path(), &sandbox.url())?;
    let _scheduler = Scheduler(
        program()
            .args(["run", "--listen", "127.0.0.1:0", "--debug-listen", "off", "--config"])
            .arg(config())
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let image = "registry.acme.com/renderer/gpu:1";
    for i in 0..10 {
        create(pod(&format!("meant-{i}"), "render", image))?;
        create(pod(&format!("other-{i}"), "render", "nginx"))?;
        // The image alone is not enough: the rule means its own namespace.
        create(pod(&format!("abroad-{i}"), "default", image))?;
        create(pod(&format!("far-{i}"), "far-away", "tool:2"))?;
        create(pod(&format!("near-{i}"), "rules", "tool:2"))?;
    }
    create(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"schedulerName": "my-scheduler", "containers": [{"name": "c", "image": "agent"}]}}},
    }))?;
    until("all pods on nodes", || {
        objects.count_where("pods", "spec.nodeName=").is_ok_and(|n| n == 0)
            && placed(&sandbox, "agent").len() == 6
    })
    .await?;
    let even = [("node-00004".to_owned(), 5), ("node-00005".to_owned(), 5)];
    assert_eq!(placed(&sandbox, "meant"), BTreeMap::from(even));
    assert_eq!(placed(&sandbox, "far"), BTreeMap::from([("node-00003".to_owned(), 10)]));
    for prefix in ["other", "abroad", "near"] {
        let nodes = placed(&sandbox, prefix);
        assert!(nodes.keys().all(|node| node.as_str() < "node-00003"), "{prefix}: {nodes:?}");
    }

    // A rule that changes wakes the pods that it helps, and one that cannot be understood changes nothing.
    objects.update("namespaces", "", rule("nowhere"))?;
    // Namespaces and pods come in watches of their own: a pod that overtakes the rule is placed by the one before.
    let waits = |name: &str| {
        let pod = objects.get("pods", "render", name).unwrap_or_default();
        pod["status"]["conditions"].to_string().contains("were not those of the pod's image")
    };
    let mut turn = 0;
    let late = loop {
        let name = format!("late-{turn}");
        create(pod(&name, "render", image))?;
        let is_placed = || !placed(&sandbox, &name).contains_key("");
        until("the pod waits, or is placed", || waits(&name) || is_placed()).await?;
        if waits(&name) {
            break name;
        }
        turn += 1;
    };
    objects.update("namespaces", "", rule(""))?;
    objects.update("namespaces", "", rule("node-00000"))?;
    until("the pod is on its node", || placed(&sandbox, &late).contains_key("node-00000")).await?;

    // The live cluster and a dump of it give the same answer.
    create(pod("asked", "render", "nginx"))?;
    let explain = |from: &[&str]| -> Result<Value> {
        let output = program()
            .args(["explain", "-o", "json", "--config"])
            .arg(config())
            .args(from)
            .arg(format!("render/{late}"))
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let kubeconfig = kubeconfig.to_str().context("a path")?;
    let live = explain(&["--kubeconfig", kubeconfig])?;
    assert_eq!(live["best"], json!(["node-00000"]), "{live}");
    let dump = program().args(["dump", "--kubeconfig", kubeconfig, "--config"]).arg(config()).output()?;
    ensure!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = folder.path().join("cluster.json");
    std::fs::write(&file, &dump.stdout)?;
    let dumped = explain(&["-f", file.to_str().context("a path")?])?;
    assert_eq!(dumped["best"], json!(["node-00000"]), "{dumped}");
    Ok(())
}
