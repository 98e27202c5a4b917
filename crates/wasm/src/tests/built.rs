//! The examples, built and run.

use super::{context, handle, node, pod};
use crate::Guests;
use secondmate_framework::{CycleState, ExtensionPoint, Plugin, Snapshot};
use secondmate_harness::{guest_folder, guest_in_go_or_skip, guest_in_rust_or_skip};
use secondmate_model::objects::Objects;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// The guest's scores for the pod on `glad8` and `glad9`.
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
    // One by one, in a different order than when they were scored at once, and then without those scores.
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
    let guests = Guests::new(Some(guest_folder().join("compiled"))).expect("this machine runs guests");
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
    if let Some(file) = guest_in_rust_or_skip("the_guest_in_rust_scores").expect("it builds") {
        check(&file);
    }
}

#[test]
fn the_guest_in_go_scores() {
    if let Some(file) = guest_in_go_or_skip("the_guest_in_go_scores").expect("it builds") {
        check(&file);
    }
}
