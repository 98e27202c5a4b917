//! WebAssembly guests in a configuration, from the command line.

use std::process::{Command, Output};

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

/// Explains the cluster with this guest under the name `Picky`, weight 3.
fn explain(guest: &[u8], args: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("guest.wasm"), guest).expect("ours");
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    let configuration = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: mine\n  plugins: {{multiPoint: {{enabled: [{{name: Picky, weight: 3}}]}}}}\n  pluginConfig: [{{name: Picky, args: {{guestURL: \"file://{}\"{args}}}}}]\n",
        path("guest.wasm").display()
    );
    std::fs::write(path("config.yaml"), configuration).expect("ours");
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
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one pod");
    let rejected = &answer["nodes"]["n1"];
    let text = rejected.to_string();
    assert!(text.contains("Picky") && text.contains("the guest does not like it"), "{rejected}");
    let scored = answer["nodes"]["n2"].to_string();
    assert!(scored.contains("Picky"), "{scored}");
    assert_eq!(answer["best"], serde_json::json!(["n2", "n3"]));
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
    let configuration = |file: &str, guest: &str| {
        let text = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: mine\n  plugins: {{multiPoint: {{enabled: [{{name: Picky}}]}}}}\n  pluginConfig: [{{name: Picky, args: {{guestURL: \"file://{}\"}}}}]\n",
            path(guest).display()
        );
        std::fs::write(path(file), text).expect("ours");
    };
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    std::fs::write(path("guest.wasm"), wat::parse_str(GUEST).expect("text")).expect("ours");
    configuration("config.yaml", "guest.wasm");
    configuration("other.yaml", "other.wasm");

    let asked = explain("config.yaml", ["--record-guests", "answers.jsonl"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    std::fs::remove_file(path("guest.wasm")).expect("there");
    let replayed = explain("config.yaml", ["--replay-guests", "answers.jsonl"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let text = String::from_utf8_lossy(&replayed.stdout);
    assert!(text.contains("the guest does not like it"), "{text}");
    assert_eq!(asked.stdout, replayed.stdout);

    for (configuration, more, part) in [
        ("config.yaml", ["--nodes", "5"], "error reading guestURL"),
        ("other.yaml", ["--replay-guests", "answers.jsonl"], "other arguments"),
        ("config.yaml", ["--replay-guests", "cluster.yaml"], "no line of a record of guests"),
        ("config.yaml", ["--record-guests", "no/such/folder"], "cannot record the guests in no/such/folder"),
    ] {
        let output = explain(configuration, more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(part), "{more:?}: {errors}");
    }
}
