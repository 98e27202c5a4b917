//! `secondmate run --guard-listen`: a scheduler with the bind guard in its process.

mod support;

use anyhow::{Context, Result};
use secondmate_sandbox::{NodeShape, Options, Sandbox};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use support::{Killed, PATIENCE, free_address, terminate, until, until_ended};

const WEBHOOK: &str = "secondmate-guard";

/// One request; returns the raw response.
fn ask(address: &str, head: &str, body: &str) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guard_beside_a_scheduler_decides_about_the_binds_of_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, 1, &NodeShape { cpu: "4".into(), ..NodeShape::default() });
    let create = |object| sandbox.objects().create(object).context("a valid object");
    create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "guard" } }))?;
    let service = json!({ "namespace": "guard", "name": WEBHOOK, "path": "/bind" });
    create(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": WEBHOOK },
        "webhooks": [{
            "name": "guard.secondmate.dev",
            "clientConfig": { "service": service },
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding"],
            }],
            "failurePolicy": "Fail", "timeoutSeconds": 5, "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
        }],
    }))?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, sandbox.kubeconfig())?;
    let (listen, metrics) = (free_address()?, free_address()?);
    // With the usual limit on open files, which it raises.
    let child = Command::new("sh")
        .args(["-c", "ulimit -S -n 1024 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_secondmate")])
        .args(["run", "--scheduler-name", "mate", "--listen", &metrics, "--kubeconfig"])
        .arg(&kubeconfig)
        .args(["--guard-listen", &listen, "--guard-address", "127.0.0.1", "--guard-namespace", "guard"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log"))?)
        .spawn()?;
    let mut process = Killed(child);
    until("the guard decides and the Service leads to it", || {
        let text = ask(&metrics, "GET /metrics", "").unwrap_or_default();
        let slice = sandbox.objects().get("endpointslices", "guard", WEBHOOK);
        Ok(text.contains("\nsecondmate_guard_deciding 1\n") && slice.is_some())
    })
    .await?;
    let text = ask(&metrics, "GET /metrics", "")?;
    assert!(text.contains("\nprocess_max_fds 2560\n"), "files for 2,048 connections: {text}");
    for name in ["first", "second"] {
        let requests = json!({ "requests": { "cpu": "3" } });
        create(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "schedulerName": "another",
                "containers": [{ "name": "c", "image": "nginx", "resources": requests }],
            },
        }))?;
    }
    let api_server = sandbox.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let bind = |pod: &str| {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod },
            "target": { "kind": "Node", "name": "node-00000" },
        });
        let path = format!("POST /api/v1/namespaces/default/pods/{pod}/binding");
        let api_server = api_server.clone();
        tokio::task::spawn_blocking(move || ask(&api_server, &path, &body.to_string()))
    };
    let answer = bind("first").await??;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let answer = bind("second").await??;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("default/first was bound by another"), "{answer}");
    terminate(&process)?;
    assert_eq!(until_ended(&mut process)?, Some(0));
    let lease = sandbox.objects().get("leases", "kube-system", "secondmate-guard").context("its Lease")?;
    assert_eq!(lease["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "it was given back");
    Ok(())
}
