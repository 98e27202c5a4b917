//! Upstream's own guests, which are not part of this project: `SECONDMATE_WASM_GUESTS` is a folder with a checkout of
//! kube-scheduler-wasm-extension.

mod verdicts;

use super::{context, handle, node, pod};
use crate::Guests;
use secondmate_framework::{CycleState, Plugin, Snapshot};
use secondmate_harness::{guest_folder, skip};
use secondmate_model::objects::Objects;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VARIABLE: &str = "SECONDMATE_WASM_GUESTS";

fn upstream(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    if folder.is_none() {
        skip(test, &format!("{VARIABLE} names no folder with a checkout of kube-scheduler-wasm-extension"));
    }
    folder
}

/// Compiled guests are cached: there are many, and most are large.
fn guests() -> Guests {
    Guests::new(Some(guest_folder().join("compiled"))).expect("this machine runs guests")
}

fn modules(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            modules(&entry, found);
        } else if entry.extension().is_some_and(|of| of == "wasm") {
            found.push(entry);
        }
    }
}

fn load(guests: &Guests, file: &Path, more: &Value) -> Result<Arc<dyn Plugin>, String> {
    let mut args = json!({"guestURL": format!("file://{}", file.display())});
    args.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    guests.plugin("Guest", &args, &handle()).map_err(|error| error.to_string())
}

/// Guests that must not load, with part of the reason.
const REFUSED: [(&str, &str); 7] = [
    ("not_plugin", "does not export any plugin functions"),
    ("prescore_without_score", "score"),
    ("scoreextensions_without_score", "score"),
    ("all_noop", "should be () -> (i64)"),
    ("panic_on_enqueue", "wasm: enqueue error: panic!"),
    ("panic_on_start", "instantiate error: panic!"),
    ("panic_on_get_config", ""),
];

#[test]
fn upstreams_guests_load_or_are_refused_as_upstream_refuses_them() {
    let Some(folder) = upstream("conformance: loading") else { return };
    let guests = guests();
    let mut files = Vec::new();
    modules(&folder, &mut files);
    assert!(files.len() > 30, "{} has only {} guests", folder.display(), files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match (load(&guests, file, &json!({})), REFUSED.iter().find(|(refused, _)| *refused == name)) {
            (Err(error), Some((_, part))) if error.contains(part) => {}
            (Ok(_), None) | (Ok(_), Some((_, ""))) => {}
            (result, _) => wrong.push(format!("{}: {:?}", file.display(), result.err())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn upstreams_node_number_scores() {
    let Some(folder) = upstream("conformance: NodeNumber") else { return };
    let guests = guests();
    let file = folder.join("examples/nodenumber/main.wasm");
    let snapshot = Snapshot::new(vec![node("glad8"), node("glad9")], Objects::default());
    for (config, name, expected) in
        [("", "pod8", [10, 0]), (r#"{"reverse": true}"#, "pod8", [0, 10]), ("", "pod", [10, 10])]
    {
        let plugin = load(&guests, &file, &json!({"guestConfig": config})).expect("a guest");
        let (cx, pod, mut state) = (context(&snapshot), pod(name), CycleState::new());
        let pre = Arc::clone(&plugin).as_pre_filter().expect("it has");
        assert!(pre.pre_filter(&cx, &mut state, &pod).status.is_success());
        let pre = Arc::clone(&plugin).as_pre_score().expect("it has");
        let status = pre.pre_score(&cx, &mut state, &pod, snapshot.nodes());
        assert!(status.is_success(), "{status}");
        let score = plugin.as_score().expect("it has");
        let scores: Vec<i64> =
            snapshot.nodes().iter().map(|n| score.score(&cx, &state, &pod, n).expect("a score")).collect();
        assert_eq!(scores, expected, "{config} {name}");
    }
}
