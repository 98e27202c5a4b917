//! WebAssembly guests in a configuration, from the command line.

mod support;

use anyhow::{Context, Result, anyhow, ensure};
use secondmate_harness::{Asker, get_unverified};
use secondmate_sandbox::{NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Killed, free_address, until};

/// Rejects node `n1`, and scores every other node 7.
const GUEST: &str = r#"(module
    (import "k8s.io/scheduler" "currentNodeName" (func $node (param i32 i32) (result i32)))
    (import "k8s.io/scheduler" "result.status_reason" (func $reason (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "the guest does not like it")
    (func (export "filter") (result i32)
        (drop (call $node (i32.const 0) (i32.const 64)))
        (if (i32.ne (i32.load8_u (i32.const 1)) (i32.const 49)) (then (return (i32.const 0))))
        (call $reason (i32.const 64) (i32.const 26))
        (i32.const 2))
    (func (export "score") (result i64) (i64.const 30064771072)))"#;

const CLUSTER: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n3}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {schedulerName: mine, containers: [{name: c}]}}
"#;

/// Fails in its filter, in a way that is given by the letter after `~~` anywhere in the pod: `l` loops, `g` grows and stores beyond that, `t`
/// traps, `w` makes the host write outside.
const FAULTY: &str = r#"(module
    (import "k8s.io/scheduler" "currentPod" (func $pod (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $letter (result i32) (local $at i32) (local $end i32)
        (local.set $end (i32.add (i32.const 4096) (call $pod (i32.const 4096) (i32.const 32768))))
        (local.set $at (i32.const 4096))
        (loop $on
            (if (i32.eq (i32.load16_u (local.get $at)) (i32.const 0x7e7e))
                (then (return (i32.load8_u (i32.add (local.get $at) (i32.const 2))))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $on (i32.lt_u (local.get $at) (local.get $end))))
        (i32.const 0))
    (func (export "filter") (result i32) (local $letter i32)
        (local.set $letter (call $letter))
        (if (i32.eq (local.get $letter) (i32.const 108)) (then (loop $on (br $on))))
        (if (i32.eq (local.get $letter) (i32.const 103)) (then
            (drop (memory.grow (i32.const 1024)))
            (i32.store (i32.const 4194304) (i32.const 1))))
        (if (i32.eq (local.get $letter) (i32.const 116)) (then unreachable))
        (if (i32.eq (local.get $letter) (i32.const 119)) (then
            (drop (call $pod (i32.const 65530) (i32.const 32768)))))
        (i32.const 0)))"#;

/// A configuration with the guest in this file as `Picky`.
fn configuration(guest: &Path, args: &str) -> String {
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: mine\n  plugins: {{multiPoint: {{enabled: [{{name: Picky, weight: 3}}]}}}}\n  pluginConfig: [{{name: Picky, args: {{guestURL: \"file://{}\"{args}}}}}]\n",
        guest.display()
    )
}

/// Explains the cluster with this guest under the name `Picky`, weight 3.
fn explain(guest: &[u8], args: &str) -> Output {
    explain_cluster(CLUSTER, guest, args)
}

fn explain_cluster(cluster: &str, guest: &[u8], args: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("guest.wasm"), guest).expect("ours");
    std::fs::write(path("cluster.yaml"), cluster).expect("ours");
    std::fs::write(path("config.yaml"), configuration(&path("guest.wasm"), args)).expect("ours");
    Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["explain", "-o", "json", "--from"])
        .arg(path("cluster.yaml"))
        .arg("--config")
        .arg(path("config.yaml"))
        .env("SECONDMATE_GUEST_CACHE", path("cache"))
        .output()
        .expect("the program starts")
}

#[test]
fn a_guest_filters_and_scores_under_the_name_of_the_configuration() {
    let output = explain(&wat::parse_str(GUEST).expect("text"), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one pod");
    let rejected = &answer["nodes"]["n1"];
    let text = rejected.to_string();
    assert!(text.contains("Picky") && text.contains("the guest does not like it"), "{rejected}");
    let scored = answer["nodes"]["n2"].to_string();
    assert!(scored.contains("Picky"), "{scored}");
    assert_eq!(answer["best"], json!(["n2", "n3"]));
}

#[test]
fn two_profiles_may_have_different_guests_of_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(path(name), wat::parse_str(text).expect("text")).expect("ours");
    };
    write("picky.wasm", GUEST);
    write(
        "easy.wasm",
        r#"(module (memory (export "memory") 1) (func (export "score") (result i64) (i64.const 30064771072)))"#,
    );
    let easy = format!(
        "- schedulerName: easy\n  plugins: {{multiPoint: {{enabled: [{{name: Picky}}]}}}}\n  pluginConfig: [{{name: Picky, args: {{guestURL: \"file://{}\"}}}}]\n",
        path("easy.wasm").display()
    );
    std::fs::write(path("config.yaml"), configuration(&path("picky.wasm"), "") + &easy).expect("ours");
    let easy_pod = "---\n{apiVersion: v1, kind: Pod, metadata: {name: other}, spec: {schedulerName: easy, containers: [{name: c}]}}\n";
    std::fs::write(path("cluster.yaml"), format!("{CLUSTER}{easy_pod}")).expect("ours");
    let output = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["explain", "-o", "json", "--from"])
        .arg(path("cluster.yaml"))
        .arg("--config")
        .arg(path("config.yaml"))
        .env("SECONDMATE_GUEST_CACHE", path("cache"))
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let best: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("one pod")["best"].clone())
        .collect();
    assert_eq!(best, [json!(["n2", "n3"]), json!(["n1", "n2", "n3"])]);
}

#[test]
fn a_guest_sees_the_time_just_after_the_latest_of_the_file() {
    // A second after the beginning of 2026-01-02.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "filter") (result i32)
            (drop (call $time (i32.const 0) (i64.const 1) (i32.const 64)))
            (if (i64.eq (i64.load (i32.const 64)) (i64.const 1767312001000000000)) (then (return (i32.const 0))))
            (i32.const 2)))"#;
    let created = r#"name: n2, creationTimestamp: "2026-01-02T00:00:00Z""#;
    for (cluster, result) in
        [(CLUSTER.replace("name: n2", created), "Schedulable"), (CLUSTER.to_owned(), "Unschedulable")]
    {
        let output = explain_cluster(&cluster, &wat::parse_str(guest).expect("text"), "");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one pod");
        assert_eq!(answer["result"], json!(result), "{answer}");
    }
}

#[test]
fn a_guest_that_does_not_load_is_told_by_its_name() {
    for (guest, args, part) in [
        (&b"not wasm"[..], "", "wasm: error compiling guest"),
        (b"\0asm\x01\0\0\0", "", "guest doesn't export memory[memory]"),
        (
            b"\0asm\x01\0\0\0",
            ", guestChecksum: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
            "its checksum is sha256:",
        ),
        (b"", ", memoryMB: 7", "memoryMiB"),
    ] {
        let output = explain(guest, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("\"Picky\"") && errors.contains(part), "{errors}");
    }
}

#[test]
fn what_guests_answered_is_explained_elsewhere_without_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let explain = |configuration: &str, more: [&str; 2]| {
        Command::new(env!("CARGO_BIN_EXE_secondmate"))
            .args(["explain", "--from", "cluster.yaml", "--config", configuration])
            .args(more)
            .current_dir(folder.path())
            .env("SECONDMATE_GUEST_CACHE", path("cache"))
            .output()
            .expect("the program starts")
    };
    let write = |file: &str, guest: &str| {
        std::fs::write(path(file), configuration(&path(guest), "")).expect("ours");
    };
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    std::fs::write(path("guest.wasm"), wat::parse_str(GUEST).expect("text")).expect("ours");
    write("config.yaml", "guest.wasm");
    write("other.yaml", "other.wasm");

    let asked = explain("config.yaml", ["--record-answers", "answers.jsonl"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    std::fs::remove_file(path("guest.wasm")).expect("there");
    let replayed = explain("config.yaml", ["--replay-answers", "answers.jsonl"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let text = String::from_utf8_lossy(&replayed.stdout);
    assert!(text.contains("the guest does not like it"), "{text}");
    assert_eq!(asked.stdout, replayed.stdout);

    for (configuration, more, part) in [
        ("config.yaml", ["--nodes", "5"], "error reading guestURL"),
        ("other.yaml", ["--replay-answers", "answers.jsonl"], "other arguments"),
        ("config.yaml", ["--replay-answers", "cluster.yaml"], "no line of a record of answers"),
        (
            "config.yaml",
            ["--record-answers", "no/such/folder"],
            "cannot record the answers in no/such/folder",
        ),
    ] {
        let output = explain(configuration, more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(part), "{more:?}: {errors}");
    }
}

#[test]
fn a_configuration_with_a_guest_is_checked_with_the_guest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("guest.wasm"), wat::parse_str(GUEST).expect("text")).expect("ours");
    let check = |configuration: &str| {
        std::fs::write(path("config.yaml"), configuration).expect("ours");
        Command::new(env!("CARGO_BIN_EXE_secondmate"))
            .args(["config", "check"])
            .arg(path("config.yaml"))
            .env("SECONDMATE_GUEST_CACHE", path("cache"))
            .output()
            .expect("the program starts")
    };
    let output = check(&configuration(&path("guest.wasm"), ""));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"valid: a profile for mine"), "{output:?}");
    let output = check(&configuration(&path("no.wasm"), ""));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("\"Picky\""), "{errors}");
}

#[test]
fn a_guest_that_does_not_load_hides_no_other_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("guest.wasm"), wat::parse_str(GUEST).expect("text")).expect("ours");
    std::fs::write(path("text.wasm"), "no module").expect("ours");
    let (good, text) = (path("guest.wasm"), path("text.wasm"));
    let zeros = "0".repeat(64);
    let written = format!(
        r#"apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 0
profiles:
- schedulerName: mine
  plugins:
    multiPoint: {{enabled: [{{name: Picky}}, {{name: Gone}}, {{name: Loose}}, {{name: LoadAware}}, {{name: Missspelt}}]}}
    bind: {{disabled: [{{name: "*"}}], enabled: [{{name: Gone}}]}}
  pluginConfig:
  - name: Picky
    args:
      guestURL: file://{good}
      memoryMB: 7
      guestChecksum: sha256:{zeros}
  - name: Gone
    args: {{guestURL: file:///no/such/guest.wasm}}
  - name: Loose
    args:
      logSeverity: 9
      guestURL: file://{text}
  - name: LoadAware
    args: {{pollSeconds: 0}}
  - name: NotEnabled
    args: {{guestURL: file:///not/there/either.wasm}}
- schedulerName: other
  plugins: {{multiPoint: {{enabled: [{{name: Gone}}]}}}}
  pluginConfig: [{{name: Gone, args: {{guestURL: "ftp://x"}}}}]
extenders:
- urlPrefix: http://127.0.0.1:1
  prioritizeVerb: prioritize
"#,
        good = good.display(),
        text = text.display()
    );
    std::fs::write(path("config.yaml"), written).expect("ours");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_secondmate"))
            .args(arguments)
            .current_dir(folder.path())
            .env("SECONDMATE_GUEST_CACHE", path("cache"))
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let told = run(&["config", "check", "config.yaml"]);
    let expected = [
        "line 3: parallelism: Invalid value: 0",
        "line 7: profiles[0].plugins.multiPoint.enabled: PreFilterPlugin \"Missspelt\" does not exist",
        "line 13: profiles[0].pluginConfig[0].args.memoryMB: plugin \"Picky\": there is no such field: the fields are guestURL, ",
        "line 14: profiles[0].pluginConfig[0].args.guestChecksum: plugin \"Picky\": wasm: error reading guestURL ",
        "line 16: profiles[0].pluginConfig[1].args.guestURL: plugin \"Gone\": wasm: error reading guestURL file:///no/such/guest.wasm: No such file or directory (os error 2); give ",
        "line 19: profiles[0].pluginConfig[2].args.logSeverity: plugin \"Loose\": expected 0 (info), 1 (warning), 2 (error) or 3 (fatal), not 9",
        "line 20: profiles[0].pluginConfig[2].args.guestURL: plugin \"Loose\": wasm: error compiling guest: ",
        "line 22: profiles[0].pluginConfig[3].args: plugin \"LoadAware\": pollSeconds",
        "line 27: profiles[1].pluginConfig[0].args.guestURL: plugin \"Gone\": unsupported URL scheme: ftp; give ",
        "line 29: extenders[0].weight: Invalid value: 0",
    ];
    let problems: Vec<&str> = told.split("\n  - ").skip(1).collect();
    for part in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part}\n{told}");
    }
    assert_eq!(problems.len(), expected.len(), "{told}");
    // Everything that starts a scheduler, or explains, says the same.
    let of = |text: &str| text[text.find("the configuration has").expect("told")..].trim().to_owned();
    assert_eq!(of(&run(&["run", "--config", "config.yaml"])), of(&told));
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    assert_eq!(of(&run(&["explain", "-f", "cluster.yaml", "--config", "config.yaml"])), of(&told));
}

fn pod(sandbox: &Sandbox, name: &str, annotation: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": {"example.com/guest": annotation}},
        "spec": {"schedulerName": "mine", "containers": [{"name": "c", "image": "nginx"}]},
    });
    sandbox.objects().create(pod).expect("a valid pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_breaks_fails_its_pods_attempts_with_an_event_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("guest.wasm"), wat::parse_str(FAULTY)?)?;
    let limits = ", fuelPerCall: 1000000, memoryMiB: 2";
    std::fs::write(path("config.yaml"), configuration(&path("guest.wasm"), limits))?;
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, 5, &NodeShape::default());
    std::fs::write(path("kubeconfig"), sandbox.kubeconfig())?;
    let address = free_address()?;
    let scheduler = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["run", "--listen", &address, "--config"])
        .arg(path("config.yaml"))
        .arg("--kubeconfig")
        .arg(path("kubeconfig"))
        .env("SECONDMATE_GUEST_CACHE", path("cache"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(path("log"))?)
        .spawn()?;
    let _scheduler = Killed(scheduler);

    let faulty = [
        ("loops", "~~l", "it used more than 1000000 units of fuel in one call"),
        ("grows", "~~g", "out of bounds memory access"),
        ("traps", "~~t", "wasm `unreachable` instruction executed"),
        ("writes", "~~w", "are outside of the guest's memory"),
    ];
    for (name, annotation, _) in faulty {
        pod(&sandbox, name, annotation);
    }
    for at in 0..20 {
        pod(&sandbox, &format!("fine-{at}"), "");
    }
    let bound = || sandbox.objects().count_where("pods", "spec.nodeName!=").unwrap_or_default();
    let told = || std::fs::read_to_string(path("log")).unwrap_or_default();
    until("the other pods are bound", || Ok(bound() == 20)).await.with_context(told)?;
    for (name, _, part) in faulty {
        until(&format!("{name} has its event"), || {
            Ok(sandbox.objects().list("events").iter().any(|event| {
                let note = event["message"].as_str().unwrap_or_default();
                event["involvedObject"]["name"] == name
                    && event["reason"] == "FailedScheduling"
                    && note.starts_with("running \"Picky\" filter plugin: wasm: filter error: ")
                    && note.contains(part)
            }))
        })
        .await
        .with_context(told)?;
    }
    let metrics = get_unverified(&format!("http://{address}/metrics"), Asker::Nobody)?.body;
    let failures = metrics.lines().find_map(|line| {
        line.strip_prefix("secondmate_guest_failures_total{plugin=\"Picky\",profile=\"mine\"} ")
    });
    assert!(failures.is_some_and(|count| count.parse().is_ok_and(|count: u64| count >= 4)), "{failures:?}");

    // The pods for which it failed are retried, and bound once it no longer fails.
    for (name, ..) in faulty {
        let change = json!({"metadata": {"annotations": {"example.com/guest": ""}}});
        sandbox
            .objects()
            .merge("pods", "default", name, "", &change)
            .map_err(|error| anyhow!("{error:?}"))?;
    }
    until("all are bound", || Ok(bound() == 24)).await.with_context(told)?;
    ensure!(sandbox.history().bound_twice().is_empty());
    Ok(())
}
