//! The examples, built and run.

use super::{context, handle, node, pod};
use crate::Guests;
use secondmate_framework::{CycleState, ExtensionPoint, Plugin, Snapshot};
use secondmate_harness::{skip, skip_unless_ci};
use secondmate_model::objects::Objects;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const TARGET: &str = "wasm32-unknown-unknown";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where guests are built, and kept compiled.
fn folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("guests")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// NodeNumber from Rust, or nothing where this machine has no Rust for WebAssembly.
fn rust() -> Option<PathBuf> {
    let library = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let library = library.expect("rustc is there").stdout;
    if !Path::new(String::from_utf8_lossy(&library).trim())
        .join("../lib")
        .read_dir()
        .is_ok_and(|mut d| d.next().is_some())
    {
        skip("guest in Rust", &format!("rustc has no library for {TARGET} (`rustup target add {TARGET}`)"));
        return None;
    }
    run(secondmate_harness::cargo()
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "wasm-node-number",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(folder())
        .current_dir(workspace()));
    Some(folder().join(TARGET).join("release/wasm_node_number.wasm"))
}

/// NodeNumber from Go, or nothing where this machine has no Go.
fn go() -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        skip_unless_ci("guest in Go", "there is no go");
        return None;
    }
    std::fs::create_dir_all(folder()).expect("ours");
    let file = folder().join("node-number-go.wasm");
    run(Command::new("go")
        .args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
        .arg(&file)
        .arg(".")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .current_dir(workspace().join("examples/wasm-node-number/go")));
    Some(file)
}

/// What the guest scores for the pod on `glad8` and `glad9`.
fn scores(guests: &Guests, file: &Path, config: &str, name: &str) -> Vec<i64> {
    let args = json!({"guestURL": format!("file://{}", file.display()), "guestConfig": config});
    let plugin = guests.plugin("NodeNumber", &args, &handle()).expect("a guest");
    let snapshot = Snapshot::new(vec![node("glad8"), node("glad9")], Objects::default());
    let (cx, pod, mut state) = (context(&snapshot), pod(name), CycleState::new());
    if let Some(pre_filter) = Arc::clone(&plugin).as_pre_filter() {
        assert!(pre_filter.pre_filter(&cx, &mut state, &pod).status.is_success());
    }
    let pre_score = Arc::clone(&plugin).as_pre_score().expect("it has");
    let status = pre_score.pre_score(&cx, &mut state, &pod, snapshot.nodes());
    assert!(status.is_success(), "{status}");
    let score = Arc::clone(&plugin).as_score().expect("it scores");
    // One by one, in another order than they were scored at once, and without.
    let mut scores: Vec<i64> = snapshot
        .nodes()
        .iter()
        .rev()
        .map(|node| score.score(&cx, &state, &pod, node).expect("a score"))
        .collect();
    scores.reverse();
    let alone: Vec<i64> = snapshot
        .nodes()
        .iter()
        .map(|n| score.score(&cx, &state, &pod, &n.as_ref().clone()).expect("a score"))
        .collect();
    assert_eq!(scores, alone, "at once, and node by node");
    scores
}

fn check(file: &Path) {
    let guests = Guests::new(Some(folder().join("compiled"))).expect("this machine runs guests");
    assert_eq!(scores(&guests, file, "", "pod8"), [10, 0]);
    assert_eq!(scores(&guests, file, r#"{"reverse": true}"#, "pod8"), [0, 10]);
    assert_eq!(scores(&guests, file, "", "pod"), [10, 10]);
    let args = json!({"guestURL": format!("file://{}", file.display())});
    let plugin: Arc<dyn Plugin> = guests.plugin("NodeNumber", &args, &handle()).expect("a guest");
    assert!(ExtensionPoint::Score.is_point_of(&plugin) && !ExtensionPoint::Filter.is_point_of(&plugin));
    assert!(plugin.declaration().whole_objects, "it reads its pod");
    assert_eq!(plugin.events().len(), 1, "a new node");
}

#[test]
fn the_guest_in_rust_scores() {
    if let Some(file) = rust() {
        check(&file);
    }
}

#[test]
fn the_guest_in_go_scores() {
    if let Some(file) = go() {
        check(&file);
    }
}
