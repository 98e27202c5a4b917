//! The imports: a guest that reports what it was told.

use super::{context, filter, guest, handle, load, module, node, pod, snapshot};
use secondmate_framework::{Code, CycleState, Handle, Plugin, WaitingPodCommand};
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, ImageState, NodeInfo};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A guest that rejects with what an import without further parameters returns.
fn echoing(import: &str, limit: u32) -> String {
    module(&format!(
        r#"(import "k8s.io/scheduler" "{import}" (func $ask (param i32 i32) (result i32)))
        (func (export "filter") (result i32)
            (call $reason (i32.const 4096) (call $ask (i32.const 4096) (i32.const {limit}))) (i32.const 2))"#
    ))
}

fn told(text: &str, args: Value) -> String {
    filter(&load(text, args, &Handle::default()).expect("a guest")).message()
}

#[test]
fn texts_and_lists_are_handed_over() {
    assert_eq!(told(&echoing("get_config", 2048), json!({"guestConfig": "{\"x\": 1}"})), "{\"x\": 1}");
    assert_eq!(told(&echoing("get_config", 2048), json!({})), "");
    assert_eq!(told(&echoing("currentNodeName", 2048), json!({})), "a");
    assert_eq!(told(&echoing("filteredNodeList", 2048), json!({})), "[]");
    assert_eq!(told(&echoing("nodeToStatusMap", 2048), json!({})), "{}");
    assert_eq!(told(&echoing("nodeScoreList", 2048), json!({})), "{}");
    assert_eq!(told(&echoing("targetPod", 2048), json!({})), "");
    let pod = told(&echoing("currentPod", 2048), json!({}));
    assert!(pod.contains("\u{1}p") && pod.contains("uid-p"), "{pod:?}");
}

#[test]
fn what_does_not_fit_is_not_written_and_asked_for_again() {
    // The length is returned, and nothing is written: the memory stays zero.
    assert_eq!(told(&echoing("get_config", 2), json!({"guestConfig": "long"})), "\0\0\0\0");
    assert_eq!(told(&echoing("get_config", 4), json!({"guestConfig": "long"})), "long");
}

#[test]
fn prescore_is_told_the_names_of_the_feasible_nodes() {
    let text = echoing("filteredNodeList", 2048)
        .replace(r#"(export "filter")"#, r#"(export "prescore")"#)
        .replace("(memory", r#"(func (export "score") (result i64) (i64.const 0)) (memory"#);
    let plugin = guest(&text).as_pre_score().expect("it has");
    let snapshot = snapshot(&["a", "b"]);
    let ask =
        |nodes: &[Arc<_>]| plugin.pre_score(&context(&snapshot), &mut CycleState::new(), &pod("p"), nodes);
    assert_eq!(ask(snapshot.nodes()).message(), r#"["a","b"]"#);
    assert_eq!(ask(&[]).message(), "[]");
}

/// A guest that rejects with what an import returns about a node.
fn about_node(module_name: &str, import: &str, name: &str) -> String {
    module(&format!(
        r#"(import "{module_name}" "{import}" (func $ask (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 64) "{name}")
        (func (export "filter") (result i32)
            (call $reason (i32.const 4096)
                (call $ask (i32.const 64) (i32.const {}) (i32.const 4096) (i32.const 2048)))
            (i32.const 2))"#,
        name.len()
    ))
}

#[test]
fn nodes_are_those_of_the_snapshot() {
    let b = told(&about_node("k8s.io/api", "node", "b"), json!({}));
    assert!(b.contains("\u{1}b"), "{b:?}");
    assert_eq!(told(&about_node("k8s.io/api", "node", "c"), json!({})), "");
    assert_eq!(told(&about_node("k8s.io/scheduler", "nodeImageStates", "b"), json!({})), "{}");
    assert_eq!(told(&about_node("k8s.io/scheduler", "nodeImageStates", "c"), json!({})), "null");
    let list = told(
        &echoing("nodeList", 2048).replacen("k8s.io/scheduler\" \"nodeList", "k8s.io/api\" \"nodeList", 1),
        json!({}),
    );
    assert!(list.contains("\u{1}a") && list.contains("\u{1}b"), "{list:?}");
}

#[test]
fn nodes_that_come_and_change_are_seen_in_the_next_cycle() {
    let plugin = guest(&about_node("k8s.io/api", "node", "b")).as_filter().expect("it filters");
    let says = |snapshot: &secondmate_framework::Snapshot, at: i64| {
        let cx = secondmate_framework::Context {
            now: secondmate_model::Timestamp::from_secs(at),
            ..context(snapshot)
        };
        plugin.filter(&cx, &CycleState::new(), &pod("p"), &node("a")).message()
    };
    assert_eq!(says(&snapshot(&["a"]), 1), "");
    let mut two = snapshot(&["a", "b"]);
    let before = says(&two, 2);
    assert!(before.contains("\u{1}b"), "{before:?}");
    let changed: secondmate_model::wire::Node =
        serde_json::from_str(r#"{"metadata":{"name":"b"}}"#).expect("a node");
    let changed = secondmate_model::Node::new(&changed)
        .expect("it compiles")
        .with_json(r#"{"metadata":{"name":"b","labels":{"k":"new"}}}"#);
    two.replace_node(
        secondmate_framework::NodeIndex(1),
        Arc::new(secondmate_model::NodeInfo::new(Arc::new(changed))),
    );
    assert!(says(&two, 3).contains("new"));
}

#[test]
fn a_guest_tells_events_about_its_pod() {
    let event = r#"{"RegardingReference":{"Kind":"Pod","APIVersion":"v1","Name":"p","Namespace":"n","UID":"uid-p","ResourceVersion":""},"RelatedReference":{},"Eventtype":"Normal","Reason":"PreScore","Action":"Skip","Note":"why"}"#;
    let text = |event: &str| {
        module(&format!(
            r#"(import "k8s.io/scheduler" "handle.eventrecorder.eventf" (func $event (param i32 i32)))
            (data (i32.const 64) "{}")
            (func (export "filter") (result i32) (call $event (i32.const 64) (i32.const {})) (i32.const 0))"#,
            event.replace('"', "\\\""),
            event.len()
        ))
    };
    let told = |text: &str| {
        let handle = handle();
        let status = filter(&load(text, json!({}), &handle).expect("a guest"));
        (status, handle.take_events())
    };
    let (status, events) = told(&text(event));
    assert!(status.is_success());
    let [event_told] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (
            event_told.pod.full_name().as_str(),
            event_told.warning,
            event_told.reason.as_str(),
            event_told.note.as_str()
        ),
        ("n/p", false, "PreScore", "why")
    );
    let (status, events) = told(&text(&event.replace("uid-p", "another").replace("\"p\"", "\"q\"")));
    assert!(status.is_success() && events.is_empty());
    let (status, _) = told(&text("7"));
    assert!(status.message().contains("the event is not as it should be"), "{status}");
}

#[test]
fn a_guest_may_reject_a_pod_that_waits() {
    let text = module(
        r#"(import "k8s.io/scheduler" "handle.reject_waiting_pod" (func $reject (param i32 i32 i32 i32)))
        (import "k8s.io/scheduler" "handle.get_waiting_pod" (func $get (param i32 i32 i32 i32)))
        (data (i32.const 64) "uid-q")
        (func (export "filter") (result i32)
            (call $reject (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 8))
            (call $get (i32.const 64) (i32.const 5) (i32.const 256) (i32.const 2048))
            (if (result i32) (i64.eqz (i64.load (i32.const 128)))
                (then (i32.load (i32.const 256)))
                (else (i32.add (i32.const 2) (i32.eqz (i32.load (i32.const 256)))))))"#,
    );
    let handle = handle();
    let plugin = load(&text, json!({}), &handle).expect("a guest");
    assert_eq!(filter(&plugin).code(), Code::Success);
    handle.waits(&pod("q"));
    assert_eq!(filter(&plugin).code(), Code::Unschedulable);
    let reject = WaitingPodCommand::Reject {
        pod: pod("q").uid.clone(),
        plugin: Atom::new("Guest"),
        reason: "removed".to_owned(),
    };
    assert_eq!(handle.take_commands(), [reject]);
    handle.waits_no_more(&pod("q").uid);
    assert_eq!(filter(&plugin).code(), Code::Success);
}

fn wasi(import: &str, types: &str, body: &str) -> Arc<dyn Plugin> {
    let text = module(&format!(
        r#"(import "wasi_snapshot_preview1" "{import}" (func $ask {types} (result i32)))
        (func (export "filter") (result i32) {body})"#
    ));
    load(&text, json!({"Args": ["test", "mode"]}), &Handle::default()).expect("a guest")
}

#[test]
fn the_world_of_a_guest_is_small_and_the_same_each_time() {
    let reason = |length: u32| format!("(call $reason (i32.const 64) (i32.const {length})) (i32.const 2)");
    let said = |import: &str, types: &str, call: &str, length: u32| {
        filter(&wasi(import, types, &format!("(drop (call $ask {call})) {}", reason(length)))).message()
    };
    let two = "(param i32 i32)";
    assert_eq!(said("args_sizes_get", two, "(i32.const 64) (i32.const 68)", 8), "\u{2}\0\0\0\u{a}\0\0\0");
    assert_eq!(said("args_get", two, "(i32.const 32) (i32.const 64)", 10), "test\0mode\0");
    assert_eq!(said("environ_sizes_get", two, "(i32.const 64) (i32.const 68)", 8), "\0".repeat(8));
    let first = said("random_get", two, "(i32.const 64) (i32.const 9)", 9);
    assert_eq!(said("random_get", two, "(i32.const 64) (i32.const 9)", 9), first);
    assert_ne!(first, "\0".repeat(9));
    // A thousand seconds, in nanoseconds.
    let body = "(drop (call $ask (i32.const 0) (i64.const 0) (i32.const 64)))
        (if (result i32) (i64.eq (i64.load (i32.const 64)) (i64.const 1000000000000)) (then (i32.const 2)) (else (i32.const 0)))";
    assert_eq!(filter(&wasi("clock_time_get", "(param i32 i64 i32)", body)).code(), Code::Unschedulable);
    // There are no files.
    let open = "(param i32 i32 i32 i32 i32 i64 i64 i32 i32)";
    let body = "(if (result i32) (i32.eq (i32.const 52) (call $ask (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 80))) (then (i32.const 2)) (else (i32.const 0)))";
    assert_eq!(filter(&wasi("path_open", open, body)).code(), Code::Unschedulable);
}

#[test]
fn waiting_takes_no_time_and_moves_the_clock() {
    let text = module(
        r#"(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
        (data (i32.const 88) "\00\ca\9a\3b\00\00\00\00")
        (func (export "filter") (result i32)
            (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
            (drop (call $time (i32.const 1) (i64.const 0) (i32.const 200)))
            (if (result i32) (i32.and (i32.eq (i32.load (i32.const 192)) (i32.const 1))
                    (i64.eq (i64.load (i32.const 200)) (i64.const 1001000000000)))
                (then (i32.const 2)) (else (i32.const 0))))"#,
    );
    assert_eq!(filter(&guest(&text)).code(), Code::Unschedulable);
}

#[test]
fn logging_never_fails_a_call() {
    let text = module(
        r#"(import "k8s.io/klog" "log" (func $log (param i32 i32 i32)))
        (import "k8s.io/klog" "logs" (func $logs (param i32 i32 i32 i32 i32)))
        (import "k8s.io/klog" "severity" (func $severity (result i32)))
        (data (i32.const 64) "text\0akey\00value\00odd\00")
        (func (export "filter") (result i32)
            (call $log (i32.const 2) (i32.const 64) (i32.const 5))
            (call $logs (i32.const 2) (i32.const 64) (i32.const 5) (i32.const 69) (i32.const 14))
            (call $log (i32.const 3) (i32.const -1) (i32.const 5))
            (call $severity))"#,
    );
    let plugin = load(&text, json!({"logSeverity": 2}), &Handle::default()).expect("a guest");
    assert_eq!(filter(&plugin).code(), Code::Unschedulable);
}

/// What is logged on this thread while this runs.
pub(super) fn logged(run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = lines.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn messages_below_the_severity_are_dropped_and_errors_never() {
    // One message of each severity, through both functions; the text is the severity's number.
    let text = module(
        r#"(import "k8s.io/klog" "log" (func $log (param i32 i32 i32)))
        (import "k8s.io/klog" "logs" (func $logs (param i32 i32 i32 i32 i32)))
        (data (i32.const 64) "m0m1m2m3s0s1s2s3key\00value\00")
        (func (export "filter") (result i32) (local $at i32)
            (loop $on
                (call $log (local.get $at)
                    (i32.add (i32.const 64) (i32.mul (local.get $at) (i32.const 2))) (i32.const 2))
                (call $logs (local.get $at)
                    (i32.add (i32.const 72) (i32.mul (local.get $at) (i32.const 2))) (i32.const 2)
                    (i32.const 80) (i32.const 10))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $on (i32.lt_u (local.get $at) (i32.const 4))))
            (i32.const 0))"#,
    );
    let levels = ["INFO", "WARN", "ERROR", "ERROR"];
    for least in 0..=3 {
        let plugin = load(&text, json!({"logSeverity": least}), &Handle::default()).expect("a guest");
        let lines = logged(|| assert!(filter(&plugin).is_success()));
        for (severity, level) in levels.iter().enumerate() {
            let mut told =
                [format!("m{severity} guest=Guest"), format!("s{severity} key=\"value\" guest=Guest")].map(
                    |part| lines.lines().filter(|line| line.contains(level) && line.contains(&part)).count(),
                );
            told.sort_unstable();
            let expected = usize::from(severity >= least);
            assert_eq!(told, [expected; 2], "{severity} where {least} is the least: {lines}");
        }
    }
}

#[test]
fn images_of_a_node_have_their_size_and_the_number_of_nodes() {
    let mut info = NodeInfo::clone(&node("b"));
    info.set_images(Arc::new([(Atom::new("nginx:1"), ImageState { size_bytes: 7000, node_count: 3 })]));
    let snapshot = secondmate_framework::Snapshot::new(vec![Arc::new(info)], Objects::default());
    let plugin =
        guest(&about_node("k8s.io/scheduler", "nodeImageStates", "b")).as_filter().expect("it filters");
    let status =
        plugin.filter(&context(&snapshot), &CycleState::new(), &pod("p"), snapshot.nodes()[0].as_ref());
    let images: Value = serde_json::from_str(&status.message()).expect("JSON");
    assert_eq!(images, json!({"nginx:1": {"Size": 7000, "NumNodes": 3, "Nodes": null}}));
}

#[test]
fn the_pod_that_is_added_or_removed_is_the_target() {
    for export in ["addpod", "removepod"] {
        let text = module(&format!(
            r#"(import "k8s.io/scheduler" "targetPod" (func $ask (param i32 i32) (result i32)))
            (func (export "filter") (result i32) (i32.const 0))
            (func (export "prefilter") (result i32) (i32.const 0))
            (func (export "{export}") (result i32)
                (call $reason (i32.const 4096) (call $ask (i32.const 4096) (i32.const 2048))) (i32.const 1))"#
        ));
        let plugin = guest(&text).as_pre_filter().expect("it has");
        let (snapshot, p, other) = (snapshot(&["a"]), pod("p"), pod("other"));
        let (cx, info, mut state) = (context(&snapshot), Arc::clone(&snapshot.nodes()[0]), CycleState::new());
        assert!(plugin.pre_filter(&cx, &mut state, &p).status.is_success());
        let status = match export {
            "addpod" => plugin.add_pod(&cx, &mut state, &p, &other, &info),
            _ => plugin.remove_pod(&cx, &mut state, &p, &other, &info),
        };
        let told = status.message();
        assert!(told.contains("uid-other") && !told.contains("uid-p"), "{export}: {told:?}");
    }
}
