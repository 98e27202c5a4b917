use super::{context, filter, guest, load, module, pod, snapshot};
use secondmate_framework::{Code, CycleState, Handle};
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_guest_that_loops_is_stopped_at_its_fuel() {
    let text = module(r#"(func (export "filter") (result i32) (loop $on (br $on)) (i32.const 0))"#);
    let plugin = load(&text, json!({"fuelPerCall": 100_000}), &Handle::default()).expect("a guest");
    let status = filter(&plugin);
    assert_eq!(status.code(), Code::Error);
    let text = status.message();
    assert!(
        text.starts_with("wasm: filter error: \n") && text.contains("more than 100000 units of fuel"),
        "{text}"
    );
    // Each call has its own limit.
    assert_eq!(filter(&plugin), status);
}

#[test]
fn what_the_host_does_for_a_guest_costs_fuel() {
    let imports = r#"
        (import "k8s.io/api" "nodeList" (func $nodes (param i32 i32) (result i32)))
        (import "k8s.io/scheduler" "get_config" (func $config (param i32 i32) (result i32)))
        (import "k8s.io/scheduler" "nodeImageStates" (func $images (param i32 i32 i32 i32) (result i32)))
        (import "k8s.io/klog" "log" (func $log (param i32 i32 i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (data (i32.const 0) "\00\00\00\00\00\80\00\00")
        (global $calls (mut i32) (i32.const 0))"#;
    // What is called in an endless loop, and how often at most with a hundred thousand units.
    for (call, most) in [
        ("(drop (call $nodes (i32.const 0) (i32.const 0)))", 1_000),
        ("(drop (call $nodes (i32.const 0) (i32.const 65536)))", 1_000),
        ("(drop (call $config (i32.const 0) (i32.const 65536)))", 1_000),
        ("(drop (call $images (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)))", 500),
        ("(call $log (i32.const 2) (i32.const 0) (i32.const 9))", 10),
        ("(drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0)))", 4),
        ("(drop (call $random (i32.const 0) (i32.const 32768)))", 2),
        ("(call $reason (i32.const 0) (i32.const 32768))", 4),
    ] {
        // The memory of an instance that failed is gone, so the count is taken from the calls that succeeded: the last one fails.
        let text = module(&format!(
            r#"{imports}
            (func (export "filter") (result i32)
                (loop $on
                    {call}
                    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                    (if (i32.gt_u (global.get $calls) (i32.const {most})) (then unreachable))
                    (br $on))
                (i32.const 0))"#
        ));
        let plugin = load(&text, json!({"fuelPerCall": 100_000}), &Handle::default()).expect("a guest");
        let status = filter(&plugin);
        assert!(status.message().contains("more than 100000 units of fuel"), "{call}: {status}");
    }
}

#[test]
fn a_guest_gets_no_more_memory_than_it_may() {
    // It answers 2 if it got 2 MiB more, and 0 if it did not.
    let text = module(
        r#"(func (export "filter") (result i32)
            (if (result i32) (i32.eq (memory.grow (i32.const 32)) (i32.const -1))
                (then (i32.const 0)) (else (i32.const 2))))"#,
    );
    let code = |mib: u32| {
        let plugin = load(&text, json!({"memoryMiB": mib}), &Handle::default()).expect("a guest");
        filter(&plugin).code()
    };
    assert_eq!((code(1), code(4)), (Code::Success, Code::Unschedulable));
    let large =
        r#"(module (func (export "filter") (result i32) (i32.const 0)) (memory (export "memory") 64))"#;
    let error =
        load(large, json!({"memoryMiB": 1}), &Handle::default()).err().expect("too large").to_string();
    assert!(error.contains("instantiate error"), "{error}");
}

#[test]
fn a_guest_that_calls_itself_for_ever_is_stopped() {
    let text = module(r#"(func $f (export "filter") (result i32) (i32.add (call $f) (i32.const 1)))"#);
    assert!(filter(&guest(&text)).message().contains("call stack exhausted"));
}

#[test]
fn what_is_outside_of_memory_stops_the_call() {
    let imports = r#"
        (import "k8s.io/scheduler" "currentPod" (func $pod (param i32 i32) (result i32)))
        (import "k8s.io/scheduler" "result.node_names" (func $names (param i32 i32)))"#;
    for body in [
        "(drop (call $pod (i32.const 65530) (i32.const 4096)))",
        "(call $names (i32.const 65530) (i32.const 4096))",
        "(call $names (i32.const -1) (i32.const -1))",
        "(drop (i32.load (i32.const -4)))",
    ] {
        let plugin = guest(&module(&format!(
            r#"{imports} (func (export "filter") (result i32) {body} (i32.const 0))"#
        )));
        let status = filter(&plugin);
        assert_eq!(status.code(), Code::Error, "{body}");
        assert!(status.message().starts_with("wasm: filter error: "), "{status}");
    }
    // A reason that cannot be read does not hide the status.
    let text = module(
        r#"(func (export "filter") (result i32) (call $reason (i32.const -1) (i32.const 9)) (i32.const 2))"#,
    );
    let status = filter(&guest(&text));
    assert_eq!(status.to_string(), "Unschedulable: BUG: out of memory reading message");
}

#[test]
fn what_the_guest_wrote_is_part_of_the_error_and_does_not_come_again() {
    let text = module(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 16) "\20\00\00\00\06\00\00\00") (data (i32.const 32) "panic!")
        (func (export "filter") (result i32)
            (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 0))) unreachable)"#,
    );
    let plugin = guest(&text);
    let expected = "wasm: filter error: panic!\nwasm trap: wasm `unreachable` instruction executed";
    assert_eq!(filter(&plugin).message(), expected);
    assert_eq!(filter(&plugin).message(), expected);
}

#[test]
fn an_instance_that_failed_is_not_used_again() {
    // The second call of an instance fails. A new instance starts from the beginning.
    let text = module(
        r#"(global $calls (mut i32) (i32.const 0))
        (func (export "filter") (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (if (i32.eq (global.get $calls) (i32.const 2)) (then unreachable))
            (i32.const 0))"#,
    );
    let plugin = guest(&text).as_filter().expect("it filters");
    let (snapshot, pod, state) = (snapshot(&["a"]), pod("p"), CycleState::new());
    let node = Arc::clone(&snapshot.nodes()[0]);
    let codes: Vec<Code> =
        (0..5).map(|_| plugin.filter(&context(&snapshot), &state, &pod, &node).code()).collect();
    assert_eq!(codes, [Code::Success, Code::Error, Code::Success, Code::Error, Code::Success]);
}
