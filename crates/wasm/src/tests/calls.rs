//! The extension points: what is passed in, and how the returned numbers are interpreted.

use super::{context, filter, guest, module, pod, snapshot};
use secondmate_framework::{
    BindStep, Code, CycleState, NodeIndex, NodeStatuses, Nomination, Plugin, PreBindStep, RunFilters, Status,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct NoFilters;

impl RunFilters for NoFilters {
    fn run(
        &self,
        _: &secondmate_framework::Context<'_>,
        _: &CycleState,
        _: &Arc<Pod>,
        _: &NodeInfo,
    ) -> Status {
        unreachable!("guests do not try placements out")
    }
    fn add_pod(
        &self,
        _: &secondmate_framework::Context<'_>,
        _: &mut CycleState,
        _: &Arc<Pod>,
        _: &Arc<Pod>,
        _: &NodeInfo,
    ) -> Status {
        unreachable!("guests do not try placements out")
    }
    fn remove_pod(
        &self,
        _: &secondmate_framework::Context<'_>,
        _: &mut CycleState,
        _: &Arc<Pod>,
        _: &Arc<Pod>,
        _: &NodeInfo,
    ) -> Status {
        unreachable!("guests do not try placements out")
    }
}

fn returning(export: &str, of: &str, value: &str) -> String {
    module(&format!(
        r#"(data (i32.const 64) "why") (func (export "filter") (result i32) (i32.const 0)) (func (export "bind") (result i32) (i32.const 0))
        (func (export "{export}") (result {of}) (call $reason (i32.const 64) (i32.const 3)) ({of}.const {value}))"#
    ))
    .replace(&format!(r#"(func (export "{export}") (result i32) (i32.const 0))"#), "")
}

#[test]
fn filter_answers_with_any_status() {
    for (value, code) in [
        ("0", Code::Success),
        ("1", Code::Error),
        ("2", Code::Unschedulable),
        ("3", Code::UnschedulableAndUnresolvable),
        ("6", Code::Pending),
        ("-2147483648", Code::Error),
        ("2147483647", Code::Error),
    ] {
        let status = filter(&guest(&returning("filter", "i32", value)));
        assert_eq!(status.code(), code, "{value}");
        assert_eq!(status.message(), if code == Code::Success { "" } else { "why" });
    }
}

#[test]
fn prefilter_names_nodes_or_none() {
    let text = |body: &str| {
        module(&format!(
            r#"(import "k8s.io/scheduler" "result.node_names" (func $names (param i32 i32)))
            (data (i32.const 64) "a\00\00bc\00") (func (export "prefilter") (result i32) {body} (i32.const 0))"#
        ))
    };
    let nodes = |text: &str| {
        let (snapshot, plugin) = (snapshot(&["a"]), guest(text).as_pre_filter().expect("it has"));
        plugin.pre_filter(&context(&snapshot), &mut CycleState::new(), &pod("p")).nodes
    };
    let named = nodes(&text("(call $names (i32.const 64) (i32.const 6))"));
    assert_eq!(named, Some([Atom::new("a"), Atom::new("bc")].into()));
    assert_eq!(nodes(&text("")), None);
}

#[test]
fn score_is_in_the_upper_half() {
    let score = |value: i64| {
        let (snapshot, plugin) = (snapshot(&["a"]), guest(&returning("score", "i64", &value.to_string())));
        let node = Arc::clone(&snapshot.nodes()[0]);
        plugin.as_score().expect("it scores").score(&context(&snapshot), &CycleState::new(), &pod("p"), &node)
    };
    assert_eq!(score(10 << 32), Ok(10));
    assert_eq!(score(-7 << 32), Ok(-7));
    assert_eq!(score(10 << 32 | 2).expect_err("rejected").code(), Code::Unschedulable);
}

#[test]
fn permit_has_its_status_in_the_upper_half() {
    let permit = |value: i64| {
        let (snapshot, plugin) = (snapshot(&["a"]), guest(&returning("permit", "i64", &value.to_string())));
        let plugin = plugin.as_permit().expect("it permits");
        plugin.permit(&context(&snapshot), &mut CycleState::new(), &pod("p"), &Atom::new("a"))
    };
    let (status, wait) = permit(4 << 32 | 10_000);
    assert_eq!((status.code(), wait), (Code::Wait, Duration::from_secs(10)));
    assert_eq!(permit(0), (Status::SUCCESS, Duration::ZERO));
    assert_eq!(permit(4 << 32 | 0xffff_ffff).1, Duration::from_millis(u64::from(u32::MAX)));
}

#[test]
fn postfilter_nominates_or_leaves_the_nomination() {
    let outcome = |value: i64, name: usize| {
        let text = module(&format!(
            r#"(import "k8s.io/scheduler" "result.nominated_node_name" (func $nominated (param i32 i32)))
            (import "k8s.io/scheduler" "nodeToStatusMap" (func $map (param i32 i32) (result i32)))
            (data (i32.const 64) "b")
            (func (export "filter") (result i32) (i32.const 0))
            (func (export "postfilter") (result i64)
                (call $nominated (i32.const 64) (i32.const {name}))
                (call $reason (i32.const 128) (call $map (i32.const 128) (i32.const 256)))
                (i64.const {value}))"#
        ));
        let (snapshot, plugin) = (snapshot(&["a", "b"]), guest(&text).as_post_filter().expect("it has"));
        let mut statuses = NodeStatuses::new(Status::unresolvable("not looked at"));
        statuses.set(NodeIndex(1), Status::unschedulable("full"));
        plugin.post_filter(&context(&snapshot), &mut CycleState::new(), &pod("p"), &statuses, &NoFilters)
    };
    let nominated = outcome(1 << 32, 1);
    assert!(nominated.status.is_success());
    assert_eq!(nominated.nomination, Some(Nomination::Node(Atom::new("b"))));
    assert_eq!(outcome(1 << 32, 0).nomination, Some(Nomination::Clear));
    let rejected = outcome(2, 1);
    assert_eq!(
        (rejected.nomination, rejected.status.to_string()),
        (None, r#"Unschedulable: {"b":2}"#.to_owned())
    );
}

fn scoring(plugin: &Arc<dyn Plugin>, nodes: &[&str]) -> Result<Vec<i64>, Status> {
    let (snapshot, p, mut state) = (snapshot(nodes), pod("p"), CycleState::new());
    let (cx, feasible) = (context(&snapshot), snapshot.nodes());
    if let Some(pre) = Arc::clone(plugin).as_pre_score() {
        let status = pre.pre_score(&cx, &mut state, &p, feasible);
        if !status.is_success() {
            return Err(status);
        }
    }
    let score = Arc::clone(plugin).as_score().expect("it scores");
    let mut scores =
        feasible.iter().map(|node| score.score(&cx, &state, &p, node)).collect::<Result<Vec<_>, _>>()?;
    let status = score.normalize(&cx, &state, &p, feasible, &mut scores);
    if status.is_success() { Ok(scores) } else { Err(status) }
}

#[test]
fn normalized_scores_go_to_the_nodes_of_their_names() {
    let text = |list: &str| {
        module(&format!(
            r#"(import "k8s.io/scheduler" "result.normalized_score_list" (func $scores (param i32 i32)))
            (data (i32.const 64) "{}")
            (func (export "score") (result i64) (i64.const 21474836480))
            (func (export "normalizescore") (result i32)
                (call $scores (i32.const 64) (i32.const {})) (i32.const 0))"#,
            list.replace('"', "\\\""),
            list.len()
        ))
    };
    let normalized = |list: &str| scoring(&guest(&text(list)), &["a", "b"]);
    assert_eq!(normalized(r#"{"b":100,"a":1}"#), Ok(vec![1, 100]));
    // No scores, and `null`, leave the scores unchanged.
    assert_eq!((normalized("{}"), normalized("null")), (Ok(vec![5, 5]), Ok(vec![5, 5])));
    // Before that, it can ask for the scores that it gave.
    let asking = module(
        r#"(import "k8s.io/scheduler" "nodeScoreList" (func $ask (param i32 i32) (result i32)))
        (func (export "score") (result i64) (i64.const 21474836480))
        (func (export "normalizescore") (result i32)
            (call $reason (i32.const 4096) (call $ask (i32.const 4096) (i32.const 2048))) (i32.const 1))"#,
    );
    let told = scoring(&guest(&asking), &["a", "b"]).expect_err("it fails").message();
    assert_eq!(serde_json::from_str::<Value>(&told).expect("JSON"), json!({"a": 5, "b": 5}));
    for (list, part) in [
        (r#"{"a":1}"#, "1 normalized scores for 2 nodes"),
        (r#"{"a":1,"c":2}"#, "no normalized score for node b"),
        ("[1]", "the normalized scores are not as they should be"),
    ] {
        let error = normalized(list).expect_err("wrong");
        assert!(error.code() == Code::Error && error.message().contains(part), "{error}");
    }
}

#[test]
fn all_nodes_are_scored_in_one_call_where_the_guest_can() {
    // Status and scores are at 64. `score` would return 9.
    let text = |scores: &str, length: u32| {
        module(&format!(
            r#"(data (i32.const 64) "{scores}")
            (func (export "score") (result i64) (i64.const 38654705664))
            (func (export "secondmate_score_nodes") (result i64) (i64.const {}))"#,
            64_i64 << 32 | i64::from(length)
        ))
    };
    let three = "\\00\\00\\00\\00\\07\\00\\00\\00\\ff\\ff\\ff\\ff\\64\\00\\00\\00";
    let plugin = guest(&text(three, 16));
    assert_eq!(scoring(&plugin, &["a", "b", "c"]), Ok(vec![7, -1, 100]));
    let error = scoring(&plugin, &["a"]).expect_err("too many");
    assert!(error.message().contains("3 scores for 1 nodes"), "{error}");
    assert_eq!(scoring(&guest(&text("\\05\\00\\00\\00", 4)), &["a"]).expect_err("skips").code(), Code::Skip);
    for (length, part) in [(0, "no status"), (1 << 20, "outside of its memory")] {
        let error = scoring(&guest(&text(three, length)), &["a"]).expect_err("wrong");
        assert!(error.message().contains(part), "{error}");
    }
    // Without PreScore, the guest is asked about each node.
    let (snapshot, score) = (snapshot(&["a"]), plugin.as_score().expect("it scores"));
    let one = score.score(&context(&snapshot), &CycleState::new(), &pod("p"), &snapshot.nodes()[0]);
    assert_eq!(one, Ok(9));
}

#[test]
fn a_binding_that_a_guest_lets_pass_is_made_by_the_scheduler() {
    let step = |value: &str| {
        let plugin = guest(&returning("bind", "i32", value)).as_bind().expect("it binds");
        plugin.bind(&CycleState::new(), &pod("p"), &Atom::new("a"))
    };
    assert!(matches!(step("0"), BindStep::Binding { annotations } if annotations.is_empty()));
    assert!(matches!(step("5"), BindStep::Skip));
    assert!(matches!(step("1"), BindStep::Fail(status) if status.message() == "why"));
}

#[test]
fn reserve_and_prebind_reject_and_what_has_no_answer_cannot_fail_anything() {
    let snapshot = snapshot(&["a"]);
    let (cx, node, mut state) = (context(&snapshot), Atom::new("a"), CycleState::new());
    let reserve = guest(&returning("reserve", "i32", "1")).as_reserve().expect("it has");
    assert_eq!(reserve.reserve(&cx, &mut state, &pod("p"), &node).to_string(), "Error: why");
    reserve.unreserve(&mut state, &pod("p"), &node);
    let pre_bind = guest(&returning("prebind", "i32", "2")).as_pre_bind().expect("it has");
    assert!(pre_bind.pre_flight(&state, &pod("p"), &node));
    let step = pre_bind.pre_bind(&cx, &mut CycleState::new(), &pod("p"), &node);
    assert!(matches!(step, PreBindStep::Fail(status) if status.code() == Code::Unschedulable));
    let trapping = module(
        r#"(func (export "bind") (result i32) (i32.const 5)) (func (export "postbind") unreachable)
        (func (export "reserve") (result i32) (i32.const 0)) (func (export "unreserve") unreachable)"#,
    );
    let plugin = guest(&trapping);
    Arc::clone(&plugin).as_post_bind().expect("it has").post_bind(&CycleState::new(), &pod("p"), &node);
    plugin.as_reserve().expect("it has").unreserve(&mut CycleState::new(), &pod("p"), &node);
}

#[test]
fn a_trap_in_any_export_is_an_error_that_names_it() {
    let trapping = |export: &str, of: &str| {
        guest(
            &module(&format!(
                r#"(func (export "filter") (result i32) (i32.const 0)) (func (export "score") (result i64) (i64.const 0))
                (func (export "bind") (result i32) (i32.const 0))
                (func (export "{export}") (result {of}) unreachable)"#
            ))
            .replace(&format!(r#"(func (export "{export}") (result {of}) ({of}.const 0))"#), ""),
        )
    };
    let snapshot = snapshot(&["a"]);
    let (cx, node, p) = (context(&snapshot), Atom::new("a"), pod("p"));
    let info = Arc::clone(&snapshot.nodes()[0]);
    let state = || CycleState::new();
    let told: Vec<(&str, Status)> = vec![
        (
            "prefilter",
            trapping("prefilter", "i32")
                .as_pre_filter()
                .expect("it has")
                .pre_filter(&cx, &mut state(), &p)
                .status,
        ),
        (
            "addpod",
            trapping("addpod", "i32").as_pre_filter().expect("it has").add_pod(
                &cx,
                &mut state(),
                &p,
                &p,
                &info,
            ),
        ),
        (
            "removepod",
            trapping("removepod", "i32").as_pre_filter().expect("it has").remove_pod(
                &cx,
                &mut state(),
                &p,
                &p,
                &info,
            ),
        ),
        ("filter", filter(&trapping("filter", "i32"))),
        (
            "postfilter",
            trapping("postfilter", "i64")
                .as_post_filter()
                .expect("it has")
                .post_filter(&cx, &mut state(), &p, &NodeStatuses::default(), &NoFilters)
                .status,
        ),
        (
            "prescore",
            trapping("prescore", "i32").as_pre_score().expect("it has").pre_score(&cx, &mut state(), &p, &[]),
        ),
        (
            "score",
            trapping("score", "i64")
                .as_score()
                .expect("it has")
                .score(&cx, &state(), &p, &info)
                .expect_err("traps"),
        ),
        (
            "secondmate_score_nodes",
            trapping("secondmate_score_nodes", "i64").as_pre_score().expect("it has").pre_score(
                &cx,
                &mut state(),
                &p,
                snapshot.nodes(),
            ),
        ),
        (
            "normalizescore",
            trapping("normalizescore", "i32").as_score().expect("it has").normalize(
                &cx,
                &state(),
                &p,
                &[],
                &mut [],
            ),
        ),
        (
            "reserve",
            trapping("reserve", "i32").as_reserve().expect("it has").reserve(&cx, &mut state(), &p, &node),
        ),
        (
            "permit",
            trapping("permit", "i64").as_permit().expect("it has").permit(&cx, &mut state(), &p, &node).0,
        ),
        ("prebind", {
            let pre_bind = trapping("prebind", "i32").as_pre_bind().expect("it has");
            match pre_bind.pre_bind(&cx, &mut state(), &p, &node) {
                PreBindStep::Fail(status) => status,
                _ => panic!("it traps"),
            }
        }),
        (
            "bind",
            match trapping("bind", "i32").as_bind().expect("it has").bind(&state(), &p, &node) {
                BindStep::Fail(status) => status,
                _ => panic!("it traps"),
            },
        ),
    ];
    for (export, status) in told {
        assert_eq!(status.code(), Code::Error, "{export}");
        assert!(status.message().starts_with(&format!("wasm: {export} error: ")), "{status}");
    }
}
