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
