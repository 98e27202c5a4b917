//! Required terms against tables worked out by hand.

use super::super::{InterPodAffinity, new};
use super::*;
use crate::fixture;
use secondmate_framework::{Code, Handle};
use secondmate_model::Timestamp;
use serde_json::{Value, json};

/// Zone 1: a and b; zone 2: c; d has no zone.
fn nodes() -> Vec<Value> {
    [("a", "1"), ("b", "1"), ("c", "2"), ("d", "")]
        .map(|(name, zone)| {
            let mut labels = json!({"host": name});
            if !zone.is_empty() {
                labels["zone"] = json!(zone);
            }
            json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
        })
        .into()
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn on(node: &str, namespace: &str, app: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": format!("{app}-{node}"), "namespace": namespace, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": []}})
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

/// A term for the namespaces selected by a selector.
fn selecting(key: &str, app: &str, selector: Value) -> Value {
    let mut term = term(key, app);
    term["namespaceSelector"] = selector;
    term
}

fn with_terms(mut pod: Value, near: Value, far: Value) -> Value {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    pod["spec"]["affinity"] = json!({"podAffinity": {required: near}, "podAntiAffinity": {required: far}});
    pod
}

fn web(near: Value, far: Value) -> Arc<Pod> {
    let pod = json!({"metadata": {"name": "p", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": []}});
    fixture::pod(with_terms(pod, near, far))
}

struct Cycle {
    plugin: Arc<dyn secondmate_framework::Plugin>,
    snapshot: Snapshot,
    state: CycleState,
}

impl Cycle {
    fn new(objects: Vec<Value>) -> Self {
        let plugin = new(&Value::Null, &Handle::default()).expect("valid arguments");
        let snapshot = fixture::snapshot(nodes().into_iter().chain(objects).collect());
        Self { plugin, snapshot, state: CycleState::new() }
    }

    fn cx(snapshot: &Snapshot) -> Context<'_> {
        Context { snapshot, now: Timestamp::default(), nominations: &() }
    }

    fn pre_filter(&mut self, pod: &Arc<Pod>) -> Status {
        let plugin = self.plugin.clone().as_pre_filter().expect("implemented");
        plugin.pre_filter(&Self::cx(&self.snapshot), &mut self.state, pod).status
    }

    /// One mark per node: `+` passes, `!` fails affinity, `-` anti-affinity, `x` that of existing pods.
    fn marks(&self, pod: &Arc<Pod>) -> String {
        let filter = self.plugin.clone().as_filter().expect("implemented");
        let mark = |node: &Arc<NodeInfo>| {
            let status = filter.filter(&Self::cx(&self.snapshot), &self.state, pod, node);
            match (status.code(), status.message().as_str()) {
                (Code::Success, "") => '+',
                (Code::UnschedulableAndUnresolvable, AFFINITY) => '!',
                (Code::Unschedulable, ANTI_AFFINITY) => '-',
                (Code::Unschedulable, EXISTING_ANTI_AFFINITY) => 'x',
                _ => panic!("{status}"),
            }
        };
        self.snapshot.nodes().iter().map(mark).collect()
    }

    fn change(&mut self, add: bool, pod: &Arc<Pod>, other: &Arc<Pod>, node: &str) {
        let plugin = self.plugin.clone().as_pre_filter().expect("implemented");
        let cx = Self::cx(&self.snapshot);
        let info = self.snapshot.node(&node.into()).expect("a node of the snapshot");
        let status = if add {
            plugin.add_pod(&cx, &mut self.state, pod, other, info)
        } else {
            plugin.remove_pod(&cx, &mut self.state, pod, other, info)
        };
        assert!(status.is_success(), "{status}");
    }
}

/// The marks of a, b, c and d; `skip` if the filter is skipped.
fn marks(objects: Vec<Value>, pod: &Arc<Pod>) -> String {
    let mut cycle = Cycle::new(objects);
    let status = cycle.pre_filter(pod);
    if status.is_skip() {
        return "skip".to_owned();
    }
    assert!(status.is_success(), "{status}");
    cycle.marks(pod)
}

#[test]
fn a_pod_goes_where_all_its_terms_find_one_pod_that_meets_them_all() {
    let db = || vec![on("a", "default", "db")];
    for (near, objects, expected) in [
        (json!([term("zone", "db")]), db(), "++!!"),
        (json!([term("host", "db")]), db(), "+!!!"),
        (json!([term("zone", "db"), term("host", "db")]), db(), "+!!!"),
        // Two pods that match one term each do not help.
        (
            json!([term("zone", "db"), term("zone", "cache")]),
            vec![on("a", "default", "db"), on("b", "default", "cache")],
            "!!!!",
        ),
        // Another namespace.
        (json!([term("zone", "db")]), vec![on("a", "other", "db")], "!!!!"),
        (json!([term("nowhere", "db")]), db(), "!!!!"),
    ] {
        assert_eq!(marks(objects, &web(near.clone(), json!([]))), expected, "{near}");
    }
}

#[test]
fn the_first_of_its_kind_may_go_wherever_the_labels_are() {
    assert_eq!(marks(vec![], &web(json!([term("zone", "web")]), json!([]))), "+++!");
    // Not if there is one already,
    assert_eq!(marks(vec![on("c", "default", "web")], &web(json!([term("zone", "web")]), json!([]))), "!!+!");
    // nor if it wants another kind as well.
    let both = json!([term("zone", "web"), term("zone", "db")]);
    assert_eq!(marks(vec![], &web(both, json!([]))), "!!!!");
    // One on a node without the label does not count.
    assert_eq!(marks(vec![on("d", "default", "web")], &web(json!([term("zone", "web")]), json!([]))), "+++!");
}

#[test]
fn a_pod_stays_away_from_what_any_of_its_terms_means() {
    for (far, objects, expected) in [
        (json!([term("zone", "db")]), vec![on("a", "default", "db")], "--++"),
        (json!([term("host", "db")]), vec![on("a", "default", "db")], "-+++"),
        (
            json!([term("host", "db"), term("zone", "cache")]),
            vec![on("a", "default", "db"), on("c", "default", "cache")],
            "-+-+",
        ),
        (json!([term("zone", "db")]), vec![on("d", "default", "db")], "++++"),
    ] {
        assert_eq!(marks(objects, &web(json!([]), far.clone())), expected, "{far}");
    }
}

#[test]
fn existing_pods_keep_a_pod_away() {
    let hates =
        |node: &str, namespace: &str, far: Value| with_terms(on(node, namespace, "db"), json!([]), far);
    let plain = web(json!([]), json!([]));
    for (objects, expected) in [
        (vec![hates("a", "default", json!([term("zone", "web")]))], "xx++"),
        (vec![hates("a", "default", json!([term("host", "web"), term("zone", "cache")]))], "x+++"),
        // Its terms apply to its own namespace.
        (vec![hates("a", "other", json!([term("zone", "web")]))], "skip"),
        // A selector selects the namespaces by their current labels.
        (
            vec![
                namespace("default", json!({"team": "red"})),
                hates(
                    "a",
                    "other",
                    json!([selecting("zone", "web", json!({"matchLabels": {"team": "red"}}))]),
                ),
            ],
            "xx++",
        ),
        (
            vec![
                namespace("default", json!({"team": "blue"})),
                hates(
                    "a",
                    "other",
                    json!([selecting("zone", "web", json!({"matchLabels": {"team": "red"}}))]),
                ),
            ],
            "skip",
        ),
        (vec![hates("d", "default", json!([term("zone", "web")]))], "skip"),
    ] {
        assert_eq!(marks(objects.clone(), &plain), expected, "{objects:?}");
    }
}

#[test]
fn affinity_is_looked_at_first_and_the_own_anti_affinity_next() {
    let objects = vec![
        with_terms(on("a", "default", "db"), json!([]), json!([term("zone", "web")])),
        on("c", "default", "db"),
    ];
    assert_eq!(
        marks(objects.clone(), &web(json!([term("zone", "cache")]), json!([term("zone", "db")]))),
        "!!!!"
    );
    assert_eq!(marks(objects.clone(), &web(json!([]), json!([term("host", "db")]))), "-x-+");
    assert_eq!(marks(objects, &web(json!([term("zone", "db")]), json!([]))), "xx+!");
}

#[test]
fn namespaces_are_named_or_selected() {
    let objects = || {
        vec![
            namespace("red", json!({"team": "red"})),
            namespace("blue", json!({"team": "blue"})),
            namespace("bare", json!({})),
            on("a", "red", "db"),
            on("b", "blue", "db"),
            on("c", "bare", "db"),
        ]
    };
    let named = |names: Value| {
        let mut term = term("host", "db");
        term["namespaces"] = names;
        term
    };
    let far = |selector: Value| selecting("host", "db", selector);
    for (term, expected) in [
        (named(json!(["red", "bare"])), "-+-+"),
        (far(json!({})), "---+"),
        (far(json!({"matchLabels": {"team": "blue"}})), "+-++"),
        (far(json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]})), "--++"),
        (far(json!({"matchLabels": {"team": "green"}})), "++++"),
        (named(json!([])), "++++"),
    ] {
        assert_eq!(marks(objects(), &web(json!([]), json!([term.clone()]))), expected, "{term}");
    }
}

#[test]
fn a_selector_that_no_label_has_to_meet_means_the_namespaces_that_it_selects() {
    let objects = vec![
        namespace("red", json!({"team": "red"})),
        namespace("bare", json!({})),
        on("a", "red", "db"),
        on("c", "bare", "db"),
    ];
    let not_red = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]});
    let pod = web(json!([]), json!([selecting("host", "db", not_red)]));
    assert_eq!(marks(objects, &pod), "++-+");
}

#[test]
fn placements_tried_out_change_the_counts_and_only_in_their_state() {
    let mut cycle = Cycle::new(vec![on("a", "default", "db")]);
    let pod = web(json!([term("zone", "db")]), json!([term("host", "cache")]));
    assert!(cycle.pre_filter(&pod).is_success());
    let before = cycle.state.clone();
    let placed = |object: Value| fixture::pod(object);
    let (db, cache) = (placed(on("a", "default", "db")), placed(on("b", "default", "cache")));
    let hater = placed(with_terms(on("a", "default", "x"), json!([]), json!([term("host", "web")])));
    for (add, other, node, expected) in [
        (true, &cache, "b", "+-!!"),
        (true, &hater, "a", "x-!!"),
        (true, &db, "c", "x-+!"),
        (false, &db, "a", "!!+!"),
        (false, &db, "c", "!!!!"),
        (false, &cache, "b", "!!!!"),
        (true, &db, "b", "x+!!"),
        (false, &hater, "a", "++!!"),
    ] {
        cycle.change(add, &pod, other, node);
        assert_eq!(cycle.marks(&pod), expected, "add {add} {} {node}", other.name);
    }
    cycle.state = before;
    assert_eq!(cycle.marks(&pod), "++!!");
}

#[test]
fn the_first_of_its_kind_is_found_again_when_the_last_other_is_taken_away() {
    let mut cycle = Cycle::new(vec![on("c", "default", "web")]);
    let pod = web(json!([term("zone", "web")]), json!([]));
    assert!(cycle.pre_filter(&pod).is_success());
    assert_eq!(cycle.marks(&pod), "!!+!");
    cycle.change(false, &pod, &fixture::pod(on("c", "default", "web")), "c");
    assert_eq!(cycle.marks(&pod), "+++!");
}

#[test]
fn terms_that_cannot_be_read_reject_the_pod_as_a_whole() {
    let mut broken = term("zone", "db");
    broken["labelSelector"] = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
    let mut cycle = Cycle::new(vec![]);
    let status = cycle.pre_filter(&web(json!([broken]), json!([])));
    assert_eq!(
        status.to_string(),
        "UnschedulableAndUnresolvable: parsing pod: requiredAffinityTerms: \
         \"Near\" is not a valid label selector operator"
    );
    let status = cycle.pre_filter(&web(json!([broken]), json!([broken])));
    assert_eq!(
        status.message(),
        "parsing pod: [requiredAffinityTerms: \"Near\" is not a valid label selector operator, \
         requiredAntiAffinityTerms: \"Near\" is not a valid label selector operator]"
    );
}

#[test]
fn without_terms_the_filter_is_skipped_and_without_pre_filter_it_fails() {
    assert_eq!(marks(vec![on("a", "default", "db")], &web(json!([]), json!([]))), "skip");
    let args = super::super::args::Args::read(&Value::Null).expect("defaults");
    let plugin = InterPodAffinity { args, parity: secondmate_framework::Parity::Strict };
    let snapshot = fixture::snapshot(nodes());
    let pod = web(json!([]), json!([]));
    let status = plugin.filter(&Cycle::cx(&snapshot), &CycleState::new(), &pod, &snapshot.nodes()[0]);
    assert_eq!(
        status.to_string(),
        "Error: error reading \"PreFilterInterPodAffinity\" from cycleState: not found"
    );
}
