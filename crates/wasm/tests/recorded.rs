//! Decisions made with a guest are repeated without it, from the record of its answers.

use secondmate_core::port::{BindOutcome, Effect, Evicted, Input, PodWatch};
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::{Profile, ProfileSpec, multi_point};
use secondmate_framework::Parity;
use secondmate_model::{Node, Pod, Timestamp, Uid, wire};
use secondmate_record::Recorder;
use secondmate_wasm::{GuestAnswers, Guests};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A guest whose answers depend on everything it was asked before, in this cycle and in others. It rejects, fails, makes pods wait, and
/// requests events about one pod.
const GUEST: &str = r#"(module
    (import "k8s.io/scheduler" "result.status_reason" (func $reason (param i32 i32)))
    (import "k8s.io/scheduler" "handle.eventrecorder.eventf" (func $event (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "not this time")
    (data (i32.const 128) "{\"RegardingReference\":{\"UID\":\"high\"},\"Eventtype\":\"Normal\",\"Reason\":\"Asked\",\"Note\":\"the guest was asked\"}")
    (global $asked (mut i32) (i32.const 0))
    (func $count (param i32) (global.set $asked (i32.add (global.get $asked) (local.get 0))))
    (func (export "prefilter") (result i32) (call $count (i32.const 2)) (call $event (i32.const 128) (i32.const 104)) (i32.const 0))
    (func (export "addpod") (result i32) (call $count (i32.const 3)) (i32.const 0))
    (func (export "removepod") (result i32) (call $count (i32.const 5)) (i32.const 0))
    (func (export "filter") (result i32)
        (call $count (i32.const 1))
        (if (i32.eq (i32.rem_u (global.get $asked) (i32.const 41)) (i32.const 40)) (then unreachable))
        (if (i32.rem_u (global.get $asked) (i32.const 4)) (then (return (i32.const 0))))
        (call $reason (i32.const 64) (i32.const 13))
        (i32.const 2))
    (func (export "score") (result i64)
        (i64.shl (i64.extend_i32_u (i32.rem_u (i32.mul (global.get $asked) (i32.const 37)) (i32.const 101))) (i64.const 32)))
    (func (export "reserve") (result i32) (call $count (i32.const 1)) (i32.const 0))
    (func (export "permit") (result i64)
        (if (i32.rem_u (global.get $asked) (i32.const 3)) (then (return (i64.const 0))))
        (i64.const 17179870184)))"#;

/// Where a record is written to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn arguments(file: &str) -> Value {
    json!({"guestURL": format!("file://{file}"), "guestConfig": "x"})
}

/// A profile with the guest as a plugin named `Moody`.
fn profile(guests: Guests, args: &Value) -> Result<Profile, String> {
    let guests = Arc::new(guests);
    let registry = secondmate_plugins::registry().map_err(|error| error.to_string())?;
    let registry = registry.with_others(Arc::new(move |name, args, handle| {
        (name == "Moody").then(|| guests.plugin(name, args, handle))
    }));
    let args = BTreeMap::from([("Moody".to_owned(), args.clone())]);
    let plugins = ["PrioritySort", "Moody", "NodeResourcesFit", "DefaultPreemption", "DefaultBinder"]
        .map(|name| (name, 1));
    let spec = ProfileSpec {
        scheduler_name: "mate".to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(&plugins, &registry, &args).map_err(|error| error.to_string())?,
        args,
        ..ProfileSpec::default()
    };
    Profile::new(&spec, &registry, Parity::Strict).map_err(|error| error.to_string())
}

fn pod(name: &str, cpu: u32, priority: i32, node: Option<&str>) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "mate", "priority": priority, "nodeName": node,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]},
        "status": {"phase": "Pending"},
    }))
    .expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles"))
}

fn node(name: &str) -> Arc<Node> {
    let wire: wire::Node = serde_json::from_value(json!({
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": "3", "memory": "4Gi", "pods": "110"}},
    }))
    .expect("a node");
    Arc::new(Node::new(&wire).expect("it compiles"))
}

/// A minute in a small cluster with more requests than room: all effects, as text.
fn history(profile: Profile) -> Vec<String> {
    let mut core = Scheduler::new(SchedulerConfig { seed: 7, ..SchedulerConfig::default() }, vec![profile]);
    let mut now = Timestamp::from_secs(1_000);
    let mut effects = Vec::new();
    for name in ["n1", "n2", "n3", "n4"] {
        core.apply(Input::Node(node(name)), now);
    }
    let sizes: BTreeMap<String, (u32, i32)> =
        (0..14).map(|at| (format!("low-{at:02}"), (1, 0))).chain([("high".to_owned(), (3, 10))]).collect();
    for second in 0..60 {
        for (at, (name, (cpu, priority))) in sizes.iter().enumerate() {
            let comes = if name == "high" { 20 } else { at / 4 };
            if comes == second {
                core.apply(Input::Pod(PodWatch::Pending, pod(name, *cpu, *priority, None)), now);
            }
        }
        for _ in 0..100 {
            let tried = core.step(now).is_some();
            let did = core.take_effects();
            let quiet = !tried && did.is_empty();
            for effect in did {
                effects.push(format!("{second} {effect:?}"));
                match effect {
                    Effect::Bind { pod: bound, node, .. } => {
                        core.apply(Input::BindFinished(bound.uid.clone(), BindOutcome::Bound), now);
                        let (cpu, priority) = sizes[&*bound.name];
                        let seen = pod(&bound.name, cpu, priority, Some(node.as_str()));
                        core.apply(Input::Pod(PodWatch::Assigned, seen), now);
                    }
                    Effect::Evict { victim, preemptor, .. } => {
                        let gone: Uid = victim.uid.clone();
                        let (preemptor, result) = (preemptor.uid.clone(), Ok(Evicted::Deleted));
                        core.apply(Input::EvictFinished { preemptor, victim: gone.clone(), result }, now);
                        core.apply(Input::PodGone(PodWatch::Assigned, gone), now);
                    }
                    _ => {}
                }
            }
            if quiet {
                break;
            }
        }
        now = now + Duration::from_secs(1);
    }
    effects
}

/// The effects with the guest, its record, and the arguments in the record. The guest's file is gone when this returns.
fn recorded() -> (Vec<String>, Vec<u8>, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, wat::parse_str(GUEST).expect("text")).expect("ours");
    let args = arguments(&file.display().to_string());
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(Box::new(written.clone())));
    let guests = Guests::new(None).expect("this machine runs guests").recorded(Arc::clone(&recorder));
    let effects = history(profile(guests, &args).expect("a guest"));
    recorder.end().expect("a whole record");
    let record = written.0.lock().expect("nobody panics with it").clone();
    (effects, record, args)
}

fn from_record(record: &[u8], args: &Value) -> Result<Profile, String> {
    let mut answers = GuestAnswers::default();
    secondmate_record::read(record, |kind, content| answers.take(kind, content))?;
    profile(Guests::of_record(answers), args)
}

#[test]
fn a_history_with_a_guest_has_the_same_effects_without_its_file() {
    let (effects, record, args) = recorded();
    let again = history(from_record(&record, &args).expect("a record"));
    for (at, (was, is)) in effects.iter().zip(&again).enumerate() {
        assert_eq!(was, is, "effect {at}");
    }
    assert_eq!(effects.len(), again.len());
    // In this history, the guest did everything that it can.
    let all = effects.join("\n");
    for part in [
        "Bind {",
        "Evict {",
        "not this time",
        "wasm trap",
        "the guest was asked",
        "due to timeout after waiting 1s at plugin Moody",
    ] {
        assert!(all.contains(part), "{part:?} does not occur");
    }
}

#[test]
fn where_the_record_ends_attempts_fail_and_say_so() {
    let (effects, record, args) = recorded();
    let lines: Vec<&[u8]> = record.split_inclusive(|byte| *byte == b'\n').collect();
    let half = lines[..lines.len() / 2].concat();
    let again = history(from_record(&half, &args).expect("a record"));
    assert_ne!(effects, again);
    assert!(again.join("\n").contains("the record has no (further) answer of "), "{again:#?}");
}

#[test]
fn a_record_of_other_guests_is_refused() {
    let (_, record, args) = recorded();
    let refused = |args: &Value| from_record(&record, args).expect_err("refused");
    assert!(refused(&arguments("/other.wasm")).contains("other arguments"));
    let text = String::from_utf8(record.clone()).expect("text");
    let others = text.replace("\"name\":\"Moody\"", "\"name\":\"Merry\"");
    let error = from_record(others.as_bytes(), &args).expect_err("refused");
    assert!(error.contains("not in the record"), "{error}");
    let others = text.replace("\"profile\":\"mate\",\"name\"", "\"profile\":\"other\",\"name\"");
    let error = from_record(others.as_bytes(), &args).expect_err("refused");
    assert!(error.contains("other profiles"), "{error}");
}
