//! A guest built with `crates/guest` that implements every trait, compiled and run: its answers show what it was told.

use super::calls::NoFilters;
use super::imports::logged;
use super::{context, handle};
use crate::Guests;
use secondmate_framework::{
    BindStep, Code, CycleState, Handle, NodeIndex, NodeStatuses, Nomination, Plugin, PreBindStep, Snapshot,
    Status, WaitingPodCommand,
};
use secondmate_harness::{guest_folder, guest_of_every_point_or_skip};
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, ImageState, Node, NodeInfo, Pod, wire};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The guest; `None` if this machine has no Rust target for WebAssembly.
fn every_point(test: &str) -> Option<(Arc<dyn Plugin>, Handle)> {
    let file = guest_of_every_point_or_skip(test).expect("it builds")?;
    let guests = Guests::new(Some(guest_folder().join("compiled"))).expect("this machine runs guests");
    let args = json!({"guestURL": format!("file://{}", file.display())});
    let handle = handle();
    let plugin = guests.plugin("EveryPoint", &args, &handle).expect("a guest");
    Some((plugin, handle))
}

fn pod(name: &str, labels: Value, annotations: Value) -> Arc<Pod> {
    let text = json!({
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-{name}"),
            "labels": labels, "annotations": annotations,
        },
        "spec": { "containers": [{ "name": "c", "image": "app:1" }] },
    })
    .to_string();
    let wire: wire::Pod = serde_json::from_str(&text).expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles").with_json(&text))
}

fn plain(name: &str) -> Arc<Pod> {
    pod(name, json!({}), json!({}))
}

fn node(name: &str, pool: &str, annotations: Value) -> NodeInfo {
    let text =
        json!({"metadata": {"name": name, "labels": {"pool": pool}, "annotations": annotations}}).to_string();
    let wire: wire::Node = serde_json::from_str(&text).expect("a node");
    NodeInfo::new(Arc::new(Node::new(&wire).expect("it compiles").with_json(&text)))
}

/// `a` and `b` in the pool `x`, `c` in `y`, which is broken.
fn snapshot() -> Snapshot {
    let [mut a, mut b] = ["a", "b"].map(|name| node(name, "x", json!({})));
    let image = |name: &str, size_bytes, node_count| (Atom::new(name), ImageState { size_bytes, node_count });
    a.set_images(Arc::new([image("app:1", 7, 2), image("other:1", 1000, 1)]));
    b.set_images(Arc::new([image("app:1", 28, 2)]));
    let nodes = [a, b, node("c", "y", json!({"broken": "yes"}))];
    Snapshot::new(nodes.into_iter().map(Arc::new).collect(), Objects::default())
}

#[test]
fn it_filters_with_what_others_are_added_and_nominates() {
    let Some((plugin, _)) = every_point("it_filters_with_what_others_are_added_and_nominates") else {
        return;
    };
    let snapshot = snapshot();
    let cx = context(&snapshot);
    let pre_filter = Arc::clone(&plugin).as_pre_filter().expect("it has");
    let filter = Arc::clone(&plugin).as_filter().expect("it filters");
    let within = |pod: &Arc<Pod>| {
        let mut state = CycleState::new();
        (pre_filter.pre_filter(&cx, &mut state, pod), state)
    };
    let names = |names: &[&str]| Some(names.iter().map(|name| Atom::new(name)).collect());
    let in_pool = |pool: &str| within(&pod("p", json!({ "pool": pool }), json!({}))).0;
    assert_eq!((in_pool("x").status, in_pool("x").nodes), (Status::SUCCESS, names(&["a", "b"])));
    let none = in_pool("z");
    assert_eq!(
        (none.status.to_string().as_str(), none.nodes),
        ("UnschedulableAndUnresolvable: no pool z for p", names(&[]))
    );

    let p = plain("p");
    let (outcome, mut state) = within(&p);
    assert_eq!((outcome.status, outcome.nodes), (Status::SUCCESS, None));
    let said =
        |state: &CycleState, at: usize| filter.filter(&cx, state, &p, &snapshot.nodes()[at]).to_string();
    assert_eq!(said(&state, 2), "UnschedulableAndUnresolvable: broken");
    let (b, other) = (&snapshot.nodes()[1], plain("other"));
    let mut what_if = state.clone();
    assert_eq!(pre_filter.add_pod(&cx, &mut what_if, &p, &other, b), Status::SUCCESS);
    assert_eq!(said(&what_if, 1), "Unschedulable: taken by other");
    assert!(filter.filter(&cx, &what_if, &p, &snapshot.nodes()[0]).is_success(), "only b is taken");
    assert!(filter.filter(&cx, &state, &p, b).is_success(), "the cycle itself does not know");
    assert_eq!(pre_filter.remove_pod(&cx, &mut what_if, &p, &other, b), Status::SUCCESS);
    assert!(filter.filter(&cx, &what_if, &p, b).is_success());
    let error = pre_filter.remove_pod(&cx, &mut what_if, &p, &other, b);
    assert_eq!(error.to_string(), "Error: other is not on b");

    // A panic's text appears in the status.
    let gone = filter.filter(&cx, &state, &p, &node("gone", "x", json!({})));
    assert_eq!(gone.code(), Code::Error);
    assert!(gone.message().contains("node gone is not in the snapshot"), "{gone}");

    let post_filter = Arc::clone(&plugin).as_post_filter().expect("it has");
    let mut after = |rejected: &[(u32, Status)]| {
        let mut statuses = NodeStatuses::new(Status::unresolvable("not looked at"));
        rejected.iter().for_each(|(at, status)| statuses.set(NodeIndex(*at), status.clone()));
        let outcome = post_filter.post_filter(&cx, &mut state, &p, &statuses, &NoFilters);
        (outcome.nomination, outcome.status.to_string())
    };
    let [full, broken] = [Status::unschedulable("full"), Status::unresolvable("broken")];
    let nominated = after(&[(0, full.clone()), (1, full), (2, broken.clone())]);
    assert_eq!(nominated, (Some(Nomination::Node(Atom::new("b"))), Status::SUCCESS.to_string()));
    let hopeless = after(&[(2, broken)]);
    assert_eq!(hopeless, (Some(Nomination::Clear), r#"Unschedulable: [("c", 3)]"#.to_owned()));
    assert_eq!(after(&[]), (None, "Unschedulable: no node".to_owned()));
}

#[test]
fn it_scores_by_images_and_normalises() {
    let Some((plugin, _)) = every_point("it_scores_by_images_and_normalises") else { return };
    let (snapshot, p, mut state) = (snapshot(), plain("p"), CycleState::new());
    let cx = context(&snapshot);
    let pre_score = Arc::clone(&plugin).as_pre_score().expect("it has");
    let score = Arc::clone(&plugin).as_score().expect("it scores");
    assert!(pre_score.pre_score(&cx, &mut CycleState::new(), &p, &snapshot.nodes()[..1]).is_skip());
    let lines = logged(|| {
        assert_eq!(pre_score.pre_score(&cx, &mut state, &p, snapshot.nodes()), Status::SUCCESS);
    });
    assert!(lines.contains("WARN") && lines.contains("p may go to a or b or c"), "{lines}");
    let scores = snapshot.nodes().iter().map(|node| score.score(&cx, &state, &p, node));
    let mut scores: Vec<i64> = scores.collect::<Result<_, _>>().expect("scores");
    assert_eq!(scores, [14, 56, 0]);
    assert!(score.normalize(&cx, &state, &p, snapshot.nodes(), &mut scores).is_success());
    assert_eq!(scores, [25, 100, 0]);
    let status = score.normalize(&cx, &state, &p, snapshot.nodes(), &mut [0, 0, 0]);
    assert_eq!(status.to_string(), "Error: nobody has an image");
    let other = score.score(&cx, &state, &p, &node("d", "x", json!({}))).expect_err("it was not there");
    assert_eq!(other.to_string(), "Error: d was not feasible");
}

#[test]
fn it_sees_a_pod_from_its_reservation_to_its_binding() {
    let Some((plugin, handle)) = every_point("it_sees_a_pod_from_its_reservation_to_its_binding") else {
        return;
    };
    let snapshot = snapshot();
    let (cx, a) = (context(&snapshot), Atom::new("a"));
    let p = plain("p");
    let mut state = CycleState::new();
    let reserve = Arc::clone(&plugin).as_reserve().expect("it has");
    let permit = Arc::clone(&plugin).as_permit().expect("it has");
    let pre_bind = Arc::clone(&plugin).as_pre_bind().expect("it has");
    let bind = Arc::clone(&plugin).as_bind().expect("it has");
    let told = || -> Vec<(bool, String)> {
        let events = handle.take_events().into_iter();
        let text = |e: secondmate_framework::PluginEvent| {
            format!("{} {} {} {}", e.pod.name, e.reason, e.action, e.note)
        };
        events.map(|event| (event.warning, text(event))).collect()
    };

    let greedy = pod("greedy", json!({}), json!({"greedy": "yes"}));
    let status = reserve.reserve(&cx, &mut CycleState::new(), &greedy, &a);
    assert_eq!(status.to_string(), "Unschedulable: nothing is left on a");
    assert_eq!(reserve.reserve(&cx, &mut state, &p, &a), Status::SUCCESS);
    assert_eq!(told(), [(false, "p Reserved Reserve a \"place\" on a".to_owned())]);

    let (status, wait) = permit.permit(&cx, &mut state, &p, &a);
    assert_eq!((status.code(), wait), (Code::Wait, Duration::from_millis(1500)));
    let instead = pod("instead", json!({}), json!({"instead-of": "uid-p"}));
    let rejecting = || permit.permit(&cx, &mut CycleState::new(), &instead, &a);
    assert_eq!(rejecting().0.to_string(), "Unschedulable: uid-p does not wait");
    handle.waits(&p);
    assert_eq!(rejecting(), (Status::SUCCESS, Duration::ZERO));
    let rejected = WaitingPodCommand::Reject {
        pod: p.uid.clone(),
        plugin: Atom::new("EveryPoint"),
        reason: "removed".to_owned(),
    };
    assert_eq!(handle.take_commands(), [rejected]);

    assert!(matches!(pre_bind.pre_bind(&cx, &mut state, &p, &a), PreBindStep::Done));
    let PreBindStep::Fail(elsewhere) = pre_bind.pre_bind(&cx, &mut state, &p, &Atom::new("b")) else {
        panic!("reserved is a")
    };
    assert_eq!(elsewhere.to_string(), "Error: b is not \"a\"");
    let binds = |how: &str| bind.bind(&CycleState::new(), &pod("p", json!({}), json!({"bind": how})), &a);
    assert!(matches!(bind.bind(&state, &p, &a), BindStep::Binding { .. }));
    assert!(matches!(binds("skip"), BindStep::Skip));
    let BindStep::Fail(failed) = binds("lost") else { panic!("it fails") };
    assert_eq!(failed.to_string(), "Error: lost on a");
    Arc::clone(&plugin).as_post_bind().expect("it has").post_bind(&state, &p, &a);
    reserve.unreserve(&mut state, &p, &a);
    assert_eq!(
        told(),
        [(false, "p Done PostBind a".to_owned()), (true, "p Unreserved Unreserve a after a".to_owned())]
    );
}
