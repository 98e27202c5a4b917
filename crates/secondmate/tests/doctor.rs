//! `secondmate doctor`, from the command line: its output and its exit codes.

use anyhow::{Context, Result};
use secondmate_sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn doctor(sandbox: &Sandbox, arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, sandbox.kubeconfig())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    command.arg("doctor").args(arguments).arg("--kubeconfig").arg(&kubeconfig).env_remove("KUBECONFIG");
    Ok(command.output()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_told_with_its_remedy_and_ends_with_one() -> Result<()> {
    let sandbox = Sandbox::start(Options::default()).await?;
    let healthy = doctor(&sandbox, &["--scheduler-name", "mate"])?;
    let text = String::from_utf8(healthy.stdout)?;
    assert_eq!(
        text,
        format!(
            "looked at version, clocks, rights, leases, names, pods, guard of {}/ (Kubernetes {}): nothing is wrong\n",
            sandbox.url(),
            secondmate_sandbox::VERSION
        )
    );
    assert_eq!(healthy.status.code(), Some(0));

    sandbox.objects().create(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web-1", "namespace": "default" },
        "spec": { "schedulerName": "mistyped", "containers": [{ "name": "c", "image": "nginx:1" }] },
    }))?;
    let patient = doctor(&sandbox, &["--pending-for", "1h"])?;
    assert_eq!(patient.status.code(), Some(0), "{patient:?}");
    let faulty = doctor(&sandbox, &["--pending-for", "0s"])?;
    let text = String::from_utf8(faulty.stdout)?;
    assert_eq!(faulty.status.code(), Some(1), "{text}");
    let line = text.lines().next().context("a finding")?;
    assert!(
        line.starts_with("fault (names): scheduler name \"mistyped\": nobody serves it")
            && line.contains(": default/web-1; correct spec.schedulerName where the pods are made, or run a scheduler of this name; "),
        "{line}"
    );

    let faulty = doctor(&sandbox, &["--pending-for", "0s", "-o", "json"])?;
    assert_eq!(faulty.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&faulty.stdout)?;
    assert_eq!((&answer["healthy"], &answer["complete"]), (&json!(false), &json!(true)));
    assert_eq!(
        (&answer["findings"][0]["check"], &answer["findings"][0]["severity"]),
        (&json!("names"), &json!("fault"))
    );
    assert_eq!(answer["findings"][0]["pods"], json!(["default/web-1"]));
    assert!(answer["findings"][0]["since"].is_string(), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_looked_at_ends_with_three() -> Result<()> {
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.access().deny("get", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "");
    let output = doctor(&sandbox, &[])?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.starts_with(
            "unknown (guard): ValidatingWebhookConfiguration secondmate-guard: it cannot be read: "
        ),
        "{text}"
    );
    assert!(text.ends_with(": 1 unknown\n"), "{text}");
    Ok(())
}
