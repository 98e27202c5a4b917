//! What a guest remembers, and in which cycles.

use super::{NOW, context, guest, module, node, pod, snapshot};
use secondmate_framework::{Code, Context, CycleState};
use secondmate_model::{Atom, Timestamp};
use std::sync::Arc;

/// Counts the pods that were tried out: PreFilter resets the count, Filter rejects if there are any.
const COUNTING: &str = r#"
    (global $pods (mut i32) (i32.const 0))
    (func (export "prefilter") (result i32) (global.set $pods (i32.const 0)) (i32.const 0))
    (func (export "addpod") (result i32) (global.set $pods (i32.add (global.get $pods) (i32.const 2))) (i32.const 0))
    (func (export "removepod") (result i32) (global.set $pods (i32.sub (global.get $pods) (i32.const 2))) (i32.const 0))
    (func (export "filter") (result i32) (global.get $pods))"#;

#[test]
fn what_is_tried_out_in_a_copy_of_the_state_stays_there() {
    let plugin = guest(&module(COUNTING));
    let (pre, filter) =
        (Arc::clone(&plugin).as_pre_filter().expect("it has"), plugin.as_filter().expect("it has"));
    let (snapshot, p, other, a) = (snapshot(&["a"]), pod("p"), pod("other"), node("a"));
    let cx = context(&snapshot);
    let mut state = CycleState::new();
    assert!(pre.pre_filter(&cx, &mut state, &p).status.is_success());
    let mut what_if = state.clone();
    assert!(pre.add_pod(&cx, &mut what_if, &p, &other, &a).is_success());
    let code = |state: &CycleState| filter.filter(&cx, state, &p, &a).code();
    assert_eq!((code(&state), code(&what_if)), (Code::Success, Code::Unschedulable));
    // A copy of the copy starts with what was tried out there.
    let mut further = what_if.clone();
    assert!(pre.remove_pod(&cx, &mut further, &p, &other, &a).is_success());
    assert_eq!(
        (code(&further), code(&what_if), code(&state)),
        (Code::Success, Code::Unschedulable, Code::Success)
    );
    // If nothing shares it, the state itself is modified.
    drop((what_if, further));
    assert!(pre.add_pod(&cx, &mut state, &p, &other, &a).is_success());
    assert_eq!(code(&state), Code::Unschedulable);
}

/// In PreFilter it remembers the first byte of the node name, which is empty there, and it counts the calls since.
const REMEMBERING: &str = r#"
    (global $calls (mut i32) (i32.const 9))
    (func (export "prefilter") (result i32) (global.set $calls (i32.const 0)) (i32.const 0))
    (func (export "filter") (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (if (result i32) (i32.gt_s (global.get $calls) (i32.const 2)) (then (i32.const 2)) (else (i32.const 0))))"#;

#[test]
fn prefilter_comes_first_in_each_cycle_even_if_the_profile_leaves_it_out() {
    let filter = guest(&module(REMEMBERING)).as_filter().expect("it filters");
    let (snapshot, a, state) = (snapshot(&["a"]), node("a"), CycleState::new());
    let at = |now| Context { now, ..context(&snapshot) };
    let code = |cx: &Context<'_>, pod| filter.filter(cx, &state, pod, &a).code();
    let (p, q) = (pod("p"), pod("q"));
    for (now, pod, expected) in [
        (NOW, &p, [Code::Success, Code::Success, Code::Unschedulable]),
        (NOW, &q, [Code::Success, Code::Success, Code::Unschedulable]),
        (NOW + std::time::Duration::from_secs(1), &q, [Code::Success, Code::Success, Code::Unschedulable]),
    ] {
        assert_eq!([(); 3].map(|()| code(&at(now), pod)), expected);
    }
}

#[test]
fn the_instance_of_a_cycle_serves_its_binding_and_comes_back() {
    // Reserve remembers; PostBind fails if nothing was reserved in this instance.
    let text = module(
        r#"(global $reserved (mut i32) (i32.const 0))
        (func (export "prefilter") (result i32) (global.set $reserved (i32.const 0)) (i32.const 0))
        (func (export "reserve") (result i32) (global.set $reserved (i32.const 1)) (i32.const 0))
        (func (export "permit") (result i64) (i64.const 0))
        (func (export "prebind") (result i32) (i32.sub (i32.const 1) (global.get $reserved)))
        (func (export "bind") (result i32) (i32.const 5))"#,
    );
    let plugin = guest(&text);
    let (snapshot, node) = (snapshot(&["a"]), Atom::new("a"));
    let cx = context(&snapshot);
    let pre = Arc::clone(&plugin).as_pre_filter().expect("it has");
    let reserve = Arc::clone(&plugin).as_reserve().expect("it has");
    let pre_bind = plugin.as_pre_bind().expect("it has");
    let mut states = Vec::new();
    for name in ["p", "q"] {
        let (mut state, pod) = (CycleState::new(), pod(name));
        assert!(pre.pre_filter(&cx, &mut state, &pod).status.is_success());
        assert!(reserve.reserve(&cx, &mut state, &pod, &node).is_success());
        states.push((state, pod));
    }
    // Both are being bound; each finds its own.
    for (state, pod) in &mut states {
        let step = pre_bind.pre_bind(&cx, state, pod, &node);
        assert!(matches!(step, secondmate_framework::PreBindStep::Done), "{step:?}");
    }
}

#[test]
fn instances_of_bindings_are_limited_and_come_back_at_their_end() {
    let guest = super::module(r#"(func (export "reserve") (result i32) (i32.const 0))"#);
    let plugin = super::guest(&guest);
    let reserve = plugin.as_reserve().expect("it has");
    let (snapshot, node) = (snapshot(&["a"]), Atom::new("a"));
    let mut states = Vec::new();
    let mut refused = String::new();
    for at in 0..300 {
        let mut state = CycleState::new();
        let status = reserve.reserve(&context(&snapshot), &mut state, &pod(&format!("p{at}")), &node);
        if !status.is_success() {
            refused = status.message();
            break;
        }
        states.push(state);
    }
    assert_eq!((states.len(), refused.contains("256 instances")), (256, true), "{refused}");
    states.pop();
    assert!(reserve.reserve(&context(&snapshot), &mut CycleState::new(), &pod("p"), &node).is_success());
}

#[test]
fn where_the_guest_is_not_asked_while_pods_are_bound_no_instance_waits_for_them() {
    let filter = guest(&module(COUNTING)).as_pre_filter().expect("it has");
    let snapshot = snapshot(&["a"]);
    let states: Vec<CycleState> = (0..300)
        .map(|at| {
            let (mut state, cx) =
                (CycleState::new(), Context { now: Timestamp::from_secs(at), ..context(&snapshot) });
            assert!(filter.pre_filter(&cx, &mut state, &pod("p")).status.is_success());
            state
        })
        .collect();
    // The oldest cycle has lost its instance, and gets one in the same state if it is used after all.
    let mut oldest = states[0].clone();
    let (p, a) = (pod("p"), node("a"));
    assert!(filter.add_pod(&context(&snapshot), &mut oldest, &p, &pod("other"), &a).is_success());
}

/// Remembers the length of the list that PreScore is told, and scores every node so.
const TOLD: &str = r#"
    (import "k8s.io/scheduler" "filteredNodeList" (func $nodes (param i32 i32) (result i32)))
    (global $told (mut i32) (i32.const 0))
    (func (export "prefilter") (result i32) (global.set $told (i32.const 0)) (i32.const 0))
    (func (export "addpod") (result i32) (i32.const 0))
    (func (export "filter") (result i32) (i32.const 0))
    (func (export "prescore") (result i32)
        (global.set $told (call $nodes (i32.const 64) (i32.const 2048)))
        (i32.const 0))
    (func (export "score") (result i64) (i64.shl (i64.extend_i32_u (global.get $told)) (i64.const 32)))"#;

/// As long as `["a"]`, and as `["a","b"]`.
const ONE_NODE: i64 = 5;
const TWO_NODES: i64 = 9;

#[test]
fn what_is_tried_out_takes_no_instance_from_its_own_cycle() {
    let plugin = guest(&module(TOLD));
    let pre = Arc::clone(&plugin).as_pre_filter().expect("it has");
    let pre_score = Arc::clone(&plugin).as_pre_score().expect("it has");
    let score = plugin.as_score().expect("it scores");
    let (snapshot, p, other, a) = (snapshot(&["a", "b"]), pod("p"), pod("other"), node("a"));
    let (cx, mut state) = (context(&snapshot), CycleState::new());
    assert!(pre.pre_filter(&cx, &mut state, &p).status.is_success());
    // As the standing evaluation does: PreScore in a copy, then the nodes with the pods that are nominated to them.
    let mut scoring = state.clone();
    assert!(pre_score.pre_score(&cx, &mut scoring, &p, snapshot.nodes()).is_success());
    let mut what_ifs = Vec::new();
    for _ in 0..20 {
        let mut what_if = state.clone();
        assert!(pre.add_pod(&cx, &mut what_if, &p, &other, &a).is_success());
        assert_eq!(score.score(&cx, &what_if, &p, &a), Ok(0), "PreScore was asked in another copy");
        what_ifs.push(what_if);
    }
    assert_eq!(score.score(&cx, &scoring, &p, &a), Ok(TWO_NODES));
    // A copy of the copy that was told begins with that.
    assert!(pre.add_pod(&cx, &mut scoring, &p, &other, &a).is_success());
    assert_eq!(score.score(&cx, &scoring, &p, &a), Ok(TWO_NODES));
}

#[test]
fn a_cycle_that_has_lost_its_instance_is_told_the_feasible_nodes_again() {
    let without_pre_filter = TOLD.replace("\"prefilter\"", "\"other\"");
    let with_neither = without_pre_filter.replace("\"addpod\"", "\"another\"");
    for text in [TOLD, &without_pre_filter, &with_neither] {
        let plugin = guest(&module(text));
        let pre = Arc::clone(&plugin).as_pre_filter();
        let filter = Arc::clone(&plugin).as_filter().expect("it filters");
        let pre_score = Arc::clone(&plugin).as_pre_score().expect("it has");
        let score = plugin.as_score().expect("it scores");
        let (snapshot, p, a) = (snapshot(&["a", "b"]), pod("p"), node("a"));
        let cx = context(&snapshot);
        let cycle = |nodes: usize| {
            let mut before = CycleState::new();
            if let Some(pre) = &pre {
                assert!(pre.pre_filter(&cx, &mut before, &p).status.is_success());
            }
            let mut scoring = before.clone();
            let feasible = &snapshot.nodes()[..nodes];
            assert!(pre_score.pre_score(&cx, &mut scoring, &p, feasible).is_success());
            (before, scoring)
        };
        let first = cycle(2);
        let later: Vec<_> = (0..20).map(|_| cycle(1)).collect();
        // Asked in the copy that was not told, whose instance is the same.
        assert!(filter.filter(&cx, &first.0, &p, &a).is_success());
        assert_eq!(score.score(&cx, &first.1, &p, &a), Ok(TWO_NODES), "{text}");
        for (_, scoring) in &later {
            assert_eq!(score.score(&cx, scoring, &p, &a), Ok(ONE_NODE), "{text}");
        }
    }
}

#[test]
fn where_nothing_is_ever_forgotten_each_cycle_has_a_new_instance() {
    let plugin = guest(&module(&COUNTING.replace("\"prefilter\"", "\"other\"")));
    let (pre, filter) =
        (Arc::clone(&plugin).as_pre_filter().expect("it has"), plugin.as_filter().expect("it has"));
    let (snapshot, other, a) = (snapshot(&["a"]), pod("other"), node("a"));
    let cx = context(&snapshot);
    for name in ["p", "q", "r"] {
        let (p, mut state) = (pod(name), CycleState::new());
        assert!(pre.pre_filter(&cx, &mut state, &p).status.is_success());
        let mut what_if = state.clone();
        assert!(pre.add_pod(&cx, &mut what_if, &p, &other, &a).is_success());
        let code = |state: &CycleState| filter.filter(&cx, state, &p, &a).code();
        assert_eq!((code(&state), code(&what_if)), (Code::Success, Code::Unschedulable), "{name}");
    }
}

#[test]
fn cycles_of_other_threads_take_no_instance() {
    let plugin = guest(&module(REMEMBERING));
    let (pre, filter) =
        (Arc::clone(&plugin).as_pre_filter().expect("it has"), plugin.as_filter().expect("it has"));
    let (snapshot, p, a) = (snapshot(&["a"]), pod("p"), node("a"));
    let mut state = CycleState::new();
    assert!(pre.pre_filter(&context(&snapshot), &mut state, &p).status.is_success());
    let code = || filter.filter(&context(&snapshot), &state, &p, &a).code();
    assert_eq!([code(), code()], [Code::Success, Code::Success]);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let cycle = || {
                let mut state = CycleState::new();
                assert!(pre.pre_filter(&context(&snapshot), &mut state, &p).status.is_success());
                state
            };
            (0..20).map(|_| cycle()).collect::<Vec<_>>().len()
        });
        assert_eq!(others.join().expect("no panic"), 20);
    });
    // The third call, and no first one.
    assert_eq!(code(), Code::Unschedulable);
}
