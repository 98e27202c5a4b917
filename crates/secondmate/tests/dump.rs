//! `secondmate dump` and `explain` with a live cluster: the dump has everything that the answer needs, and no secrets.

use anyhow::{Context, Result, ensure};
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More than fits into a page of a list.
const ASSIGNED: usize = 620;

/// Runs the program; returns standard output and standard error.
fn ask(program: &Path, arguments: &[&str], input: &str) -> Result<(String, String)> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let text = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writing.join();
    let errors = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{arguments:?}: {errors}");
    Ok((String::from_utf8(output.stdout)?, errors))
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_secondmate"))
}

/// A cluster with objects of most kinds; nobody schedules.
async fn cluster() -> Result<Sandbox> {
    let sandbox =
        Sandbox::start(Options { kubelets: KubeletOptions::default(), ..Options::default() }).await?;
    sandbox.add_nodes(0, 8, &NodeShape::default());
    let create = |object: Value| sandbox.objects().create(object.clone()).with_context(|| object.to_string());
    create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "acme"}}))?;
    create(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "acme"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    }))?;
    create(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "disk"},
        "provisioner": "disk.acme.com", "volumeBindingMode": "WaitForFirstConsumer", "parameters": {"key": "hunter2"}
    }))?;
    create(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "acme"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "disk", "resources": {"requests": {"storage": "1Gi"}}}
    }))?;
    let pod = |name: &str, more: Value| {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "acme", "labels": {"app": "web"}, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "hunter2", "acme.com/token": "hunter2"}},
            "spec": {"schedulerName": "acme-scheduler", "containers": [{
                "name": "c", "image": "registry.acme.com/web", "env": [{"name": "PASSWORD", "value": "hunter2"}],
                "args": ["--password=hunter2"], "resources": {"requests": {"cpu": "100m"}}}]},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        create(pod)
    };
    for at in 0..ASSIGNED {
        pod(&format!("web-{at}"), json!({"nodeName": format!("node-{:05}", (at * at) % 7)}))?;
    }
    pod("plain", json!({}))?;
    pod("volume", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}))?;
    pod(
        "apart",
        json!({"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]}),
    )?;
    pod(
        "lonely",
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchExpressions": [
                {"key": "app", "operator": "In", "values": ["web"]}]}}]}}}),
    )?;
    pod(
        "huge",
        json!({"priority": 0, "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "900"}}}]}),
    )?;
    let secret = json!({"name": "hunter2"});
    let attributes = json!({"password": "hunter2"});
    let flex = json!({"driver": "flex.acme.com/d", "options": attributes, "secretRef": secret});
    let csi = json!({"driver": "csi.acme.com", "readOnly": true, "volumeAttributes": attributes, "nodePublishSecretRef": secret});
    pod(
        "inline",
        json!({
            "volumes": [
                {"name": "csi", "csi": csi},
                {"name": "flex", "flexVolume": flex},
                {"name": "rbd", "rbd": {"monitors": ["10.1.2.3:6789"], "image": "disk", "secretRef": secret}},
                {"name": "iscsi", "iscsi": {"targetPortal": "10.1.2.3", "iqn": "iqn.2001-04.com.acme:x", "lun": 0, "chapAuthSession": true, "secretRef": secret}},
                {"name": "git", "gitRepo": {"repository": "https://me:hunter2@git.acme.com"}},
            ],
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.1.2.3"}]}],
        }),
    )?;
    let template = json!({"metadata": {"annotations": {"acme.com/token": "hunter2"}}, "spec": {}});
    let scratch = json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}});
    pod("scratch", json!({"nodeName": "node-00001", "volumes": [scratch]}))?;
    for (name, source) in [("flex", json!({"flexVolume": flex})), ("csi", json!({"csi": csi}))] {
        let mut spec = source;
        spec["capacity"] = json!({"storage": "1.5Gi"});
        spec["accessModes"] = json!(["ReadWriteOnce"]);
        create(
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}),
        )?;
        create(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name},
            "spec": {"attacher": "csi.acme.com", "nodeName": "node-00001", "source": {"inlineVolumeSpec": spec}}
        }))?;
    }
    create(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "acme"},
        "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80}], "clusterIP": "10.1.2.3", "clusterIPs": ["10.1.2.3"],
            "externalIPs": ["10.1.2.3"], "loadBalancerIP": "10.1.2.3"},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}
    }))?;
    Ok(sandbox)
}

fn kubeconfig(folder: &Path, server: &str) -> Result<String> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: wrong\ncontexts: [{{name: right, context: {{cluster: x, user: x}}}}, {{name: acme, context: {{cluster: x, user: x, namespace: acme}}}}, {{name: wrong, context: {{cluster: y, user: x}}}}]\nclusters: [{{name: x, cluster: {{server: \"{server}\"}}}}, {{name: y, cluster: {{server: \"http://127.0.0.1:1\"}}}}]\nusers: [{{name: x, user: {{}}}}]\n"
    );
    let path = folder.join("kubeconfig");
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// The parts of an answer that do not depend on names: the result, the node totals and their reasons, sorted.
fn shape(line: &str) -> Result<Value> {
    let answer: Value = serde_json::from_str(line)?;
    let nodes = answer["nodes"].as_object().context("nodes")?.values();
    let mut nodes: Vec<String> = nodes.map(Value::to_string).collect();
    nodes.sort_unstable();
    let best = answer["best"].as_array().context("best")?.len();
    Ok(json!([answer["result"], answer["message"], nodes, best]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_gives_the_same_answers_as_the_cluster_and_holds_no_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = cluster().await?;
    let kubeconfig = kubeconfig(folder.path(), &sandbox.url())?;
    let there = ["--kubeconfig", kubeconfig.as_str(), "--context", "right"];
    let answers = ["explain", "-o", "json", "--scheduler-name", "acme-scheduler"];
    let (live, _) = ask(&program(), &[&answers[..], &there].concat(), "")?;
    assert_eq!(live.lines().count(), 6);

    let (dump, said) = ask(&program(), &[&["dump"][..], &there].concat(), "")?;
    assert!(said.starts_with("dumped "), "{said}");
    for word in ["hunter2", "managedFields"] {
        assert!(!dump.contains(word), "{word} is in the dump");
    }
    let from_dump = [&answers[..], &["--from", "-"]].concat();
    assert_eq!(ask(&program(), &from_dump, &dump)?.0, live);
    let (yaml, _) = ask(&program(), &[&["dump", "-o", "yaml"][..], &there].concat(), "")?;
    assert_eq!(ask(&program(), &from_dump, &yaml)?.0, live);

    let (redacted, _) = ask(&program(), &[&["dump", "--redact"][..], &there].concat(), "")?;
    for word in ["web", "acme.com", "\"acme\"", "registry", "node-0", "\"data\"", "10.1.2.3", "clusterIP"] {
        assert!(!redacted.contains(word), "{word} is in the redacted dump");
    }
    let (told, _) = ask(&program(), &from_dump, &redacted)?;
    assert_eq!(told.lines().count(), 6);
    for (redacted, live) in told.lines().zip(live.lines()) {
        assert_eq!(shape(redacted)?, shape(live)?);
    }

    // As a kubectl plugin, for one pod, whose scheduler is found.
    let plugin = folder.path().join("kubectl-secondmate");
    std::os::unix::fs::symlink(program(), &plugin)?;
    let (table, _) = ask(&plugin, &[&["explain", "-n", "acme", "plain"][..], &there].concat(), "")?;
    assert!(table.starts_with("acme/plain (acme-scheduler): fits on 5 of 8 nodes\n"), "{table}");
    // Without a given namespace, it is the context's.
    let of = |arguments: &[&str], context: &str| {
        let there = ["--kubeconfig", kubeconfig.as_str(), "--context", context];
        ask(&plugin, &[&["explain", "plain"][..], arguments, &there].concat(), "")
    };
    assert_eq!(of(&[], "acme")?.0, table);
    for (arguments, context) in [(&["-n", "default"][..], "acme"), (&[], "right")] {
        let error = of(arguments, context).expect_err("it is in acme").to_string();
        assert!(error.contains("default/plain"), "{error}");
    }
    Ok(())
}

/// A server that returns the responses of another, with a text replaced by one of the same length: the other server does not store
/// anything undecodable.
async fn altered(url: String, text: &'static str, by: &'static str) -> Result<String> {
    assert_eq!(text.len(), by.len());
    let server = url.strip_prefix("http://").context("an address")?.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut buffer = vec![0; 1 << 20];
                loop {
                    let read = from_server.read(&mut buffer).await?;
                    if read == 0 {
                        return anyhow::Ok(());
                    }
                    let part = &mut buffer[..read];
                    while let Some(at) = part.windows(text.len()).position(|part| part == text.as_bytes()) {
                        part[at..at + by.len()].copy_from_slice(by.as_bytes());
                    }
                    to_client.write_all(part).await?;
                }
            });
        }
    });
    Ok(format!("http://{address}"))
}

/// Like the scheduler, whose watch leaves out such an object and says so; a file is rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_live_cluster_that_cannot_be_read_are_left_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, 1, &NodeShape::default());
    for object in [
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": "default"},
            "spec": {"schedulerName": "acme-scheduler", "containers": [{"name": "c", "image": "i"}]}
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "odd", "namespace": "default"},
            "spec": {"nodeName": "node-00000", "containers": [{
                "name": "c", "image": "i", "resources": {"requests": {"cpu": "0.077"}}}]}
        }),
    ] {
        sandbox.objects().create(object.clone()).with_context(|| object.to_string())?;
    }
    let server = altered(sandbox.url(), "0.077", "0.0.7").await?;
    let kubeconfig = kubeconfig(folder.path(), &server)?;
    let there = ["--kubeconfig", kubeconfig.as_str(), "--context", "right"];
    let answers = ["explain", "-o", "json", "--scheduler-name", "acme-scheduler"];
    let (live, said) = ask(&program(), &[&answers[..], &there].concat(), "")?;
    assert!(live.contains("\"result\":\"Schedulable\""), "{live}");
    let told = "the cluster: pod default/odd: spec.containers[0].resources.requests[\"cpu\"]: \"0.0.7\" is no quantity";
    assert!(said.contains(told) && said.contains("left out, as the scheduler leaves it out"), "{said}");
    let (dump, _) = ask(&program(), &[&["dump"][..], &there].concat(), "")?;
    let refused = ask(&program(), &[&answers[..], &["--from", "-"]].concat(), &dump);
    let why = refused.expect_err("a file").to_string();
    assert!(why.contains("pod default/odd: "), "{why}");
    Ok(())
}
