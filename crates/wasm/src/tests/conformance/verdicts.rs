//! The answers of upstream's guests: for each guest and each extension point at which it does something, what upstream's own tests expect.

use super::super::calls::NoFilters;
use super::super::{context, node};
use super::{guests, load, modules, upstream};
use crate::Guests;
use secondmate_framework::{
    BindStep, CycleState, ExtensionPoint, NodeIndex, NodeStatuses, Nomination, Plugin, PreBindStep, Snapshot,
    Status,
};
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, ImageState, NodeInfo, Pod, wire};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// The extension points of all guests made with `plugin.Set`.
const EVERYWHERE: &[&str] = &[
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
];

/// The extension points of each guest, by the end of its path; secondmate's order differs.
const POINTS: &[(&str, &[&str])] = &[
    ("examples/nodenumber/main.wasm", EVERYWHERE),
    ("examples/advanced/main.wasm", &["preFilter", "preScore", "score"]),
    ("examples/imagelocality/main.wasm", &["preFilter", "score"]),
    ("scheduler_perf/wasm/nodenumber/main.wasm", &["preFilter", "preScore", "score"]),
    ("testdata/filter/main.wasm", &["preFilter", "filter", "postFilter"]),
    ("testdata/score/main.wasm", &["preFilter", "preScore", "score"]),
    ("testdata/bind/main.wasm", &["preFilter", "preBind", "bind", "postBind"]),
    ("testdata/reserve/main.wasm", &["preFilter", "reserve"]),
    ("testdata/permit/main.wasm", &["preFilter", "permit"]),
    ("testdata/handle/main.wasm", &["preFilter", "filter"]),
    ("testdata/cyclestate/main.wasm", EVERYWHERE),
    ("panic_on_bind.wasm", &["bind"]),
    ("panic_on_filter.wasm", &["filter"]),
    ("panic_on_get_config.wasm", &["preFilter"]),
    ("panic_on_permit.wasm", &["permit"]),
    ("panic_on_postbind.wasm", &["bind", "postBind"]),
    ("panic_on_postfilter.wasm", &["filter", "postFilter"]),
    ("panic_on_prebind.wasm", &["preBind", "bind"]),
    ("panic_on_prefilter.wasm", &["preFilter"]),
    ("panic_on_prefilterextensions.wasm", &["preFilter", "filter"]),
    ("panic_on_prescore.wasm", &["preScore", "score"]),
    ("panic_on_reserve.wasm", &["reserve"]),
    ("panic_on_score.wasm", &["score"]),
    ("panic_on_scoreextensions.wasm", &["score"]),
    ("bind_from_global.wasm", &["bind"]),
    ("filter_from_global.wasm", &["filter"]),
    ("permit_from_global.wasm", &["permit"]),
    ("postbind_from_global.wasm", &["bind", "postBind"]),
    ("postfilter_from_global.wasm", &["filter", "postFilter"]),
    ("prebind_from_global.wasm", &["preBind", "bind"]),
    ("prefilter_from_global.wasm", &["preFilter"]),
    ("prefilterextensions_from_global.wasm", &["preFilter", "filter"]),
    ("prescore_from_global.wasm", &["preScore", "score"]),
    ("reserve_from_global.wasm", &["reserve"]),
    ("score_from_global.wasm", &["score"]),
    ("scoreextensions_from_global.wasm", &["score"]),
];

#[test]
fn upstreams_guests_act_where_they_say() {
    let Some(folder) = upstream("conformance: extension points") else { return };
    let guests = guests();
    let mut files = Vec::new();
    modules(&folder, &mut files);
    let (mut wrong, mut known) = (Vec::new(), 0);
    for file in &files {
        let Some((_, expected)) = POINTS.iter().find(|(name, _)| file.ends_with(name)) else { continue };
        known += 1;
        let plugin = load(&guests, file, &json!({})).expect("a guest");
        let mut points: Vec<&str> =
            ExtensionPoint::ALL.iter().filter(|p| p.is_point_of(&plugin)).map(|p| p.field()).collect();
        let mut expected = expected.to_vec();
        points.sort_unstable();
        expected.sort_unstable();
        if points != expected {
            wrong.push(format!("{}: {points:?}, not {expected:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(known, POINTS.len(), "of {} files", files.len());
}

/// The pod of upstream's tests, with the given name and node.
fn pod(name: &str, node: &str) -> Arc<Pod> {
    let text = json!({
        "metadata": {"name": name, "namespace": "test", "uid": "384900cd-dc7b-41ec-837e-9c4c1762363e"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "app:1"}]},
    })
    .to_string();
    let wire: wire::Pod = serde_json::from_str(&text).expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles").with_json(&text))
}

/// A guest and the cycle of one pod.
struct Cycle {
    plugin: Arc<dyn Plugin>,
    snapshot: Snapshot,
    pod: Arc<Pod>,
    state: CycleState,
}

fn said(status: &Status) -> String {
    if status.is_success() { "Success".to_owned() } else { status.to_string() }
}

impl Cycle {
    fn new(plugin: &Arc<dyn Plugin>, pod: Arc<Pod>, nodes: Vec<Arc<NodeInfo>>) -> Self {
        let (plugin, state) = (Arc::clone(plugin), CycleState::new());
        Self { plugin, snapshot: Snapshot::new(nodes, Objects::default()), pod, state }
    }

    /// The guest's answer when this export is called for this node.
    fn ask(&mut self, export: &str, on: &str) -> String {
        let Self { plugin, snapshot, pod, state } = self;
        let (cx, plugin, name, on) = (context(snapshot), Arc::clone(plugin), Atom::new(on), node(on));
        let none = "it does not act there";
        match export {
            "prefilter" => {
                let result = plugin.as_pre_filter().expect(none).pre_filter(&cx, state, pod);
                format!("{} {:?}", said(&result.status), result.nodes.unwrap_or_default())
            }
            "filter" => said(&plugin.as_filter().expect(none).filter(&cx, state, pod, &on)),
            "addpod" | "removepod" => {
                let (point, target) = (plugin.as_pre_filter().expect(none), super::super::pod("bad-pod"));
                said(&match export {
                    "addpod" => point.add_pod(&cx, state, pod, &target, &on),
                    _ => point.remove_pod(&cx, state, pod, &target, &on),
                })
            }
            "postfilter" => {
                // The node has been rejected, unless its name starts with `good`.
                let mut statuses = NodeStatuses::new(Status::unresolvable("not looked at"));
                let good = name.as_str().starts_with("good");
                let verdict = if good { Status::SUCCESS } else { Status::unschedulable("full") };
                statuses.set(NodeIndex(0), verdict);
                let point = plugin.as_post_filter().expect(none);
                let outcome = point.post_filter(&cx, state, pod, &statuses, &NoFilters);
                let node = match &outcome.nomination {
                    Some(Nomination::Node(node)) => format!(" {node}"),
                    _ => String::new(),
                };
                format!("{}{node}", said(&outcome.status))
            }
            "prescore" => {
                said(&plugin.as_pre_score().expect(none).pre_score(&cx, state, pod, snapshot.nodes()))
            }
            "score" => match plugin.as_score().expect(none).score(&cx, state, pod, &on) {
                Ok(score) => score.to_string(),
                Err(status) => said(&status),
            },
            "normalizescore" => {
                let mut scores = vec![100; snapshot.nodes().len()];
                let point = plugin.as_score().expect(none);
                let status = point.normalize(&cx, state, pod, snapshot.nodes(), &mut scores);
                format!("{} {scores:?}", said(&status))
            }
            "reserve" => said(&plugin.as_reserve().expect(none).reserve(&cx, state, pod, &name)),
            "unreserve" => {
                plugin.as_reserve().expect(none).unreserve(state, pod, &name);
                "Success".to_owned()
            }
            "permit" => {
                let (status, wait) = plugin.as_permit().expect(none).permit(&cx, state, pod, &name);
                format!("{} {wait:?}", said(&status))
            }
            "prebind" => match plugin.as_pre_bind().expect(none).pre_bind(&cx, state, pod, &name) {
                PreBindStep::Fail(status) => said(&status),
                _ => "Success".to_owned(),
            },
            "bind" => match plugin.as_bind().expect(none).bind(state, pod, &name) {
                BindStep::Fail(status) => said(&status),
                _ => "Success".to_owned(),
            },
            "postbind" => {
                plugin.as_post_bind().expect(none).post_bind(state, pod, &name);
                "Success".to_owned()
            }
            other => panic!("there is no {other}"),
        }
    }
}

/// Guest, its mode, the pod's node, an export, a node, and the guest's answer.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

/// From upstream's `plugin_test.go` and the guests' sources.
const CASES: &[Case] = &[
    ("filter", "preFilter", "good-node", "prefilter", "", "Success {\"good-node\"}"),
    ("filter", "preFilter", "", "prefilter", "", "Success {}"),
    ("filter", "filter", "good-node", "filter", "good-node", "Success"),
    ("filter", "filter", "good-node", "filter", "bad-node", "Unschedulable: good-node != bad-node"),
    ("filter", "filter", "", "filter", "bad-node", "Success"),
    ("filter", "postFilter", "good-node", "postfilter", "good-node", "Success good-node"),
    (
        "filter",
        "postFilter",
        "good-node",
        "postfilter",
        "bad-node",
        "UnschedulableAndUnresolvable: good-node is unschedulable",
    ),
    ("filter", "preFilterExtensions", "good-node", "addpod", "good", "Success"),
    (
        "filter",
        "preFilterExtensions",
        "good-node",
        "addpod",
        "bad",
        "Error: Node name is bad and PodInfo name is bad-pod",
    ),
    (
        "filter",
        "preFilterExtensions",
        "good-node",
        "removepod",
        "bad",
        "Error: Node name is bad and PodInfo name is bad-pod",
    ),
    // The number of nodes is the code: two are Unschedulable.
    ("score", "preScore", "good-node", "prescore", "", "Unschedulable: "),
    ("score", "score", "good-node", "score", "good-node", "100"),
    ("score", "score", "good-node", "score", "bad-node", "0"),
    ("score", "scoreExtensions", "good-node", "normalizescore", "", "Success [10000, 10000]"),
    ("score", "none", "good-node", "normalizescore", "", "Success [100, 100]"),
    ("permit", "none", "", "permit", "good", "Success 0ns"),
    ("permit", "none", "", "permit", "bad", "Error: name is bad 0ns"),
    ("permit", "none", "", "permit", "wait", "Wait: name is wait 10s"),
    ("reserve", "none", "good-node", "reserve", "good", "Success"),
    ("reserve", "none", "good-node", "reserve", "bad", "Error: name is bad"),
    // It panics if it has not reserved; nothing can fail because of that any more.
    ("reserve", "none", "good-node", "unreserve", "good", "Success"),
    ("bind", "preBind", "good-node", "prebind", "good", "Success"),
    ("bind", "preBind", "good-node", "prebind", "bad", "Error: name is bad"),
    ("bind", "bind", "good-node", "bind", "good", "Success"),
    ("bind", "bind", "good-node", "bind", "bad", "Error: name is bad"),
    ("bind", "postBind", "good-node", "postbind", "bad", "Success"),
    ("handle", "rejectWaitingPod", "", "filter", "a", "Success"),
];

#[test]
fn upstreams_guests_say_what_upstreams_tests_expect() {
    let Some(folder) = upstream("conformance: verdicts") else { return };
    let guests = guests();
    let mut wrong = Vec::new();
    for (guest, mode, on, export, about, expected) in CASES {
        let file = folder.join(format!("guest/testdata/{guest}/main.wasm"));
        let plugin = load(&guests, &file, &json!({"Args": ["test", mode]})).expect("a guest");
        let other = if ["", "good-node"].contains(about) { "bad-node" } else { *about };
        let nodes = vec![node("good-node"), node(other)];
        let mut cycle = Cycle::new(&plugin, pod("good-pod", on), nodes);
        if *export != "prefilter" {
            let said = cycle.ask("prefilter", "");
            assert!(said.starts_with("Success"), "{guest} {mode}: {said}");
        }
        let said = cycle.ask(export, about);
        if said != *expected {
            wrong.push(format!("{guest} {mode} {export} {about}: {said}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// It panics whenever the pod, or what it has remembered, is not that of the cycle.
#[test]
fn upstreams_guest_finds_its_state_through_two_whole_cycles() {
    let Some(folder) = upstream("conformance: state") else { return };
    let guests = guests();
    for events in ["0", "1", "2"] {
        let file = folder.join("guest/testdata/cyclestate/main.wasm");
        let plugin = load(&guests, &file, &json!({"Args": ["test", events]})).expect("a guest");
        // Without any events of its own, a guest gets all of them.
        let expected = if events == "0" { 6 } else { events.parse().expect("a number") };
        assert_eq!(plugin.events().len(), expected);
        for name in ["first", "second"] {
            let mut cycle = Cycle::new(&plugin, pod(name, ""), vec![node("a"), node("b")]);
            for export in [
                "prefilter",
                "filter",
                "addpod",
                "removepod",
                "filter",
                "prescore",
                "score",
                "score",
                "normalizescore",
                "reserve",
                "permit",
                "prebind",
                "bind",
                "postbind",
            ] {
                let said = cycle.ask(export, "a");
                let fine = said.starts_with("Success") || export == "score" && said == "0";
                assert!(fine, "{name} {export}: {said}");
            }
            let mut rejected = Cycle::new(&plugin, pod("third", ""), vec![node("a"), node("b")]);
            for export in ["prefilter", "filter", "postfilter"] {
                let said = rejected.ask(export, "a");
                assert!(said.starts_with("Success"), "{export}: {said}");
            }
        }
    }
}

/// The scores of the nodes in one cycle.
fn scores(guests: &Guests, file: &Path, of: &Arc<Pod>, nodes: Vec<Arc<NodeInfo>>) -> Vec<String> {
    let plugin = load(guests, file, &json!({})).expect("a guest");
    let names: Vec<String> = nodes.iter().map(|node| node.name().to_string()).collect();
    let mut cycle = Cycle::new(&plugin, Arc::clone(of), nodes);
    assert!(cycle.ask("prefilter", "").starts_with("Success"));
    if ExtensionPoint::PreScore.is_point_of(&plugin) {
        assert_eq!(cycle.ask("prescore", ""), "Success");
    }
    names.iter().map(|name| cycle.ask("score", name)).collect()
}

#[test]
fn upstreams_examples_score() {
    let Some(folder) = upstream("conformance: examples") else { return };
    let guests = guests();
    let nodes = || vec![node("glad8"), node("glad9")];
    // One reads the pod's name, the other the node that the pod names.
    for (file, pod) in [
        ("internal/e2e/scheduler_perf/wasm/nodenumber/main.wasm", pod("pod8", "happy9")),
        ("examples/advanced/main.wasm", pod("pod9", "happy8")),
    ] {
        assert_eq!(scores(&guests, &folder.join(file), &pod, nodes()), ["10", "0"], "{file}");
    }
    // The image is on two of three nodes. Upstream's guest loses the nodes after the first score of a cycle, so each node gets its own
    // cycle.
    let with_images = |name: &str, images: &[(Atom, ImageState)]| {
        let mut node = NodeInfo::clone(&node(name));
        node.set_images(Arc::from(images));
        Arc::new(node)
    };
    let image = [(Atom::new("app:1"), ImageState { size_bytes: 100 << 20, node_count: 2 })];
    let nodes = |first: &str| {
        let mut nodes =
            vec![with_images("without", &[]), with_images("one", &image), with_images("two", &image)];
        nodes.sort_by_key(|node| node.name().as_str() != first);
        nodes
    };
    let score = |first: &str| {
        let file = folder.join("examples/imagelocality/main.wasm");
        scores(&guests, &file, &pod("p", ""), nodes(first)).remove(0)
    };
    assert_eq!([score("without"), score("one"), score("two")], ["0", "4", "4"]);
}

#[test]
fn upstreams_guests_that_panic_fail_what_they_are_asked_and_nothing_else() {
    let Some(folder) = upstream("conformance: panics") else { return };
    let guests = guests();
    for (guest, export, more) in [
        ("prefilter", "prefilter", " {}"),
        ("filter", "filter", ""),
        ("prefilterextensions", "addpod", ""),
        ("postfilter", "postfilter", ""),
        ("prescore", "prescore", ""),
        ("score", "score", ""),
        ("scoreextensions", "normalizescore", " [100]"),
        ("reserve", "reserve", ""),
        ("permit", "permit", " 0ns"),
        ("prebind", "prebind", ""),
        ("bind", "bind", ""),
    ] {
        let file = folder.join(format!("scheduler/test/testdata/error/panic_on_{guest}.wasm"));
        let plugin = load(&guests, &file, &json!({})).expect("a guest");
        let mut cycle = Cycle::new(&plugin, pod("p", ""), vec![node("a")]);
        let said = cycle.ask(export, "a");
        let expected = format!("Error: wasm: {export} error: panic!");
        assert!(said.starts_with(&expected) && said.ends_with(more), "{guest}: {said}");
        // The instance was replaced: the next one fails in the same way, not differently.
        let mut next = Cycle::new(&plugin, pod("q", ""), vec![node("a")]);
        assert_eq!(next.ask(export, "a"), said, "{guest}");
    }
    let file = folder.join("scheduler/test/testdata/error/panic_on_postbind.wasm");
    let plugin = load(&guests, &file, &json!({})).expect("a guest");
    assert_eq!(Cycle::new(&plugin, pod("p", ""), vec![node("a")]).ask("postbind", "a"), "Success");
    let file = folder.join("scheduler/test/testdata/error/panic_on_get_config.wasm");
    let plugin = load(&guests, &file, &json!({"guestConfig": "hello"})).expect("a guest");
    let said = Cycle::new(&plugin, pod("p", ""), vec![node("a")]).ask("prefilter", "");
    assert!(said.starts_with("Error: wasm: prefilter error: hello"), "{said}");
    // A guest that leaves its verdict in a global finds it at zero.
    for guest in
        ["prefilter", "filter", "prescore", "score", "reserve", "permit", "prebind", "bind", "postbind"]
    {
        let file = folder.join(format!("scheduler/test/testdata/test/{guest}_from_global.wasm"));
        let plugin = load(&guests, &file, &json!({})).expect("a guest");
        let said = Cycle::new(&plugin, pod("p", ""), vec![node("a")]).ask(guest, "a");
        assert!(said.starts_with("Success") || said == "0", "{guest}: {said}");
    }
}
