//! A guest in the standing evaluation and in the plain pass: the same verdicts, scores and messages, whether it declares what its answers
//! depend on or not.

#[path = "../../core/tests/standing/compare.rs"]
mod compare;

use secondmate_core::cache::Cache;
use secondmate_cycle::{
    Evaluate, Outcome, Plain, Profile, ProfileSpec, Question, Random, Scope, Standing, StandingCounts,
    StandingSettings, Why, multi_point,
};
use secondmate_framework::{Nominations, Parity, Snapshot};
use secondmate_model::{Atom, Node, Pod, Timestamp, wire};
use secondmate_wasm::Guests;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bases its answers on the last characters of the pod's and node's names, and declares so.
const GUEST: &str = r#"(module
    (import "k8s.io/scheduler" "currentPod" (func $current_pod (param i32 i32) (result i32)))
    (import "k8s.io/scheduler" "currentNodeName" (func $current_node (param i32 i32) (result i32)))
    (import "k8s.io/scheduler" "result.status_reason" (func $reason (param i32 i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) "not that node")
    ;; The metadata are the first field of a pod, its name is the first of that.
    (func $pod (result i32) (local $at i32)
        (drop (call $current_pod (i32.const 4096) (i32.const 32768)))
        (local.set $at (i32.const 4099))
        (if (i32.ge_u (i32.load8_u (i32.const 4097)) (i32.const 128)) (then (local.set $at (i32.const 4100))))
        (i32.load8_u (i32.add (local.get $at) (i32.load8_u (local.get $at)))))
    (func $both (result i32)
        (i32.add (call $pod) (i32.load8_u (i32.add (i32.const 63) (call $current_node (i32.const 64) (i32.const 256))))))
    (func (export "prefilter") (result i32) (i32.const 0))
    (func (export "secondmate_reading") (result i64)
        (i32.store8 (i32.const 32) (call $pod))
        (i64.const 137438953473))
    (func (export "filter") (result i32)
        (if (i32.rem_u (call $both) (i32.const 3)) (then (return (i32.const 0))))
        (call $reason (i32.const 0) (i32.const 13))
        (i32.const 2))
    (func (export "score") (result i64)
        (i64.shl (i64.extend_i32_u (i32.rem_u (i32.mul (call $both) (i32.const 7)) (i32.const 50))) (i64.const 32))))"#;

const NODES: usize = 10;
const PODS: usize = 120;
/// The number of kinds of pods, by the last characters of their names.
const KINDS: usize = 4;

fn profile(guest: &str) -> Profile {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, wat::parse_str(guest).expect("text")).expect("ours");
    let guests = Guests::new(None).expect("this machine runs guests");
    let registry = secondmate_plugins::registry().expect("in-tree plugins");
    let registry = registry.with_others(Arc::new(move |name, args, handle| {
        (name == "Guest").then(|| guests.plugin(name, args, handle))
    }));
    let args = json!({"guestURL": format!("file://{}", file.display())});
    let args = BTreeMap::from([("Guest".to_owned(), args)]);
    let plugins = ["PrioritySort", "NodeResourcesFit", "Guest", "DefaultBinder"].map(|name| (name, 1));
    let spec = ProfileSpec {
        scheduler_name: "mate".to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(&plugins, &registry, &args).expect("a profile"),
        args,
        ..ProfileSpec::default()
    };
    Profile::new(&spec, &registry, Parity::Strict).expect("a profile")
}

fn pod(at: usize) -> Arc<Pod> {
    let name = format!("pod-{at}-{}", at / 3 % KINDS);
    let text = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]},
    })
    .to_string();
    let wire: wire::Pod = serde_json::from_str(&text).expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles").with_json(&text))
}

/// A pod that is nominated to each node.
struct OnEveryNode(Vec<(Atom, [Arc<Pod>; 1])>);

impl OnEveryNode {
    fn new() -> Self {
        let nominated = |at: usize| {
            let metadata = json!({"name": format!("nominated-{at}"), "uid": format!("nominated-{at}")});
            let wire: wire::Pod = serde_json::from_value(json!({"metadata": metadata})).expect("a pod");
            (Atom::new(&format!("n{at}")), [Arc::new(Pod::new(&wire).expect("it compiles"))])
        };
        Self((0..NODES).map(nominated).collect())
    }
}

impl Nominations for OnEveryNode {
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>] {
        self.0.iter().find(|(name, _)| name == node).map_or(&[], |(_, pods)| pods.as_slice())
    }

    fn nodes(&self) -> Vec<&Atom> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

fn history(guest: &str) -> StandingCounts {
    history_beside(guest, &())
}

/// Places pods until long after the nodes are full, each as both evaluations say.
fn history_beside(guest: &str, nominations: &dyn Nominations) -> StandingCounts {
    let profile = profile(guest);
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    for at in 0..NODES {
        let node = json!({"metadata": {"name": format!("n{at}")}, "status": {"allocatable": {"cpu": "4", "pods": "9"}}});
        let wire: wire::Node = serde_json::from_value(node).expect("a node");
        cache.set_node(Arc::new(Node::new(&wire).expect("it compiles")));
    }
    let settings = StandingSettings { first_sight: true, ..StandingSettings::default() };
    let mut standing = Standing::new(settings);
    for at in 0..PODS {
        cache.refresh(&mut snapshot);
        let pod = pod(at);
        let scope = if at % 3 == 0 { Scope::Every } else { Scope::Sample { start: at % NODES } };
        let question = Question {
            profile: &profile,
            snapshot: &snapshot,
            nominations,
            now: Timestamp::from_secs(1_000 + at as i64),
            pod: &pod,
            scope,
        };
        let seed = at as u64;
        let mut random = [Random::new(seed), Random::new(seed)];
        let plain = Plain.evaluate(&question, &mut random[0]);
        let answer = standing.evaluate(&question, &mut random[1]);
        compare::answers(&plain, &answer, &snapshot)
            .unwrap_or_else(|difference| panic!("pod {at}, {scope:?}: {difference}"));
        assert_eq!(random[0].next_u64(), random[1].next_u64(), "pod {at}: as many random numbers");
        if let Outcome::Placed { node, .. } = &plain.outcome {
            cache.assume(Arc::new(pod.on_node(node.name()))).expect("a new pod");
        }
    }
    standing.counts().clone()
}

#[test]
fn a_guest_that_says_what_it_reads_is_asked_about_nodes_that_changed() {
    let counts = history(GUEST);
    assert_eq!((counts.hits, counts.made), (PODS as u64, KINDS as u64), "{counts:?}");
    assert!(counts.plain.is_empty() && counts.asked.is_empty(), "{counts:?}");
    assert!(counts.nodes_evaluated < (PODS * NODES / 3) as u64, "{counts:?}");
}

#[test]
fn what_a_guest_keeps_from_prescore_is_there_after_many_nominated_pods_were_tried_out() {
    let guest = GUEST
        .replace(
            r#"(func (export "prefilter") (result i32) (i32.const 0))"#,
            r#"(global $told (mut i32) (i32.const 0))
            (func (export "prefilter") (result i32) (global.set $told (i32.const 0)) (i32.const 0))
            (func (export "addpod") (result i32) (i32.const 0))
            (func (export "prescore") (result i32) (global.set $told (i32.const 1)) (i32.const 0))"#,
        )
        .replace("(i32.const 50))", "(i32.mul (i32.const 50) (global.get $told)))");
    let counts = history_beside(&guest, &OnEveryNode::new());
    // Without what it keeps the score would divide by zero, and the pods would take the plain pass.
    assert!(counts.plain.is_empty() && counts.hits == PODS as u64, "{counts:?}");
}

#[test]
fn a_score_that_says_nothing_is_asked_about_the_nodes_that_pass() {
    let guest =
        GUEST.replace("secondmate_reading", "other_reading").replace("\"filter\"", "\"other_filter\"");
    let counts = history(&guest);
    assert!(counts.plain.is_empty(), "{counts:?}");
    assert!(counts.asked[&Atom::new("Guest")] > PODS as u64 / 2, "{counts:?}");
}

#[test]
fn a_filter_that_says_nothing_takes_the_plain_pass() {
    let counts = history(&GUEST.replace("secondmate_reading", "other_reading"));
    assert_eq!(counts.plain, BTreeMap::from([(Why::Filter(Atom::new("Guest")), PODS as u64)]));
}

#[test]
fn where_a_reading_fails_nothing_is_known_and_pods_are_placed_all_the_same() {
    // Out of bounds.
    let counts = history(&GUEST.replace("137438953473", "9223372032559808513"));
    assert_eq!(counts.plain, BTreeMap::from([(Why::Filter(Atom::new("Guest")), PODS as u64)]));
    // No key for this pod.
    let counts = history(&GUEST.replace("137438953473", "-1"));
    assert_eq!(counts.plain, BTreeMap::from([(Why::Filter(Atom::new("Guest")), PODS as u64)]));
}
