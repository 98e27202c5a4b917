//! Hard constraints against tables worked out by hand.

use super::super::new;
use super::*;
use crate::fixture;
use secondmate_framework::{Code, Handle, Plugin, Snapshot};
use secondmate_model::Timestamp;
use serde_json::{Value, json};

fn node(name: &str, labels: Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
}

/// A node with a zone and its host name.
fn in_zone(name: &str, zone: &str) -> Value {
    node(name, json!({"zone": zone, "kubernetes.io/hostname": name}))
}

/// `count` pods with `app: web` on a node.
fn web(node: &str, count: usize) -> Vec<Value> {
    (0..count).map(|i| placed(&format!("{node}-{i}"), "default", node, json!({"app": "web"}))).collect()
}

fn placed(name: &str, namespace: &str, node: &str, labels: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": []}})
}

fn hard(max_skew: i32, key: &str) -> Value {
    json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

fn with(mut constraint: Value, key: &str, value: Value) -> Value {
    constraint[key] = value;
    constraint
}

fn pod(constraints: Value) -> Arc<Pod> {
    fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [], "topologySpreadConstraints": constraints}}))
}

struct Cycle {
    plugin: Arc<dyn Plugin>,
    snapshot: Snapshot,
    state: CycleState,
}

impl Cycle {
    fn new(args: &Value, objects: Vec<Value>) -> Self {
        let plugin = new(args, &Handle::default()).expect("valid arguments");
        Self { plugin, snapshot: fixture::snapshot(objects), state: CycleState::new() }
    }

    fn cx(snapshot: &Snapshot) -> Context<'_> {
        Context { snapshot, now: Timestamp::default(), nominations: &() }
    }

    fn pre_filter(&mut self, pod: &Arc<Pod>) -> Status {
        let plugin = self.plugin.clone().as_pre_filter().expect("implemented");
        plugin.pre_filter(&Self::cx(&self.snapshot), &mut self.state, pod).status
    }

    /// `name:+` for a node that passes, `name:-` for one that does not, `name:!` if preemption does not help.
    fn verdicts(&self, pod: &Arc<Pod>) -> String {
        let filter = self.plugin.clone().as_filter().expect("implemented");
        let verdict = |node: &Arc<NodeInfo>| {
            let status = filter.filter(&Self::cx(&self.snapshot), &self.state, pod, node);
            let mark = match status.code() {
                Code::Success => "+",
                Code::Unschedulable => {
                    assert_eq!(status.reasons(), [NOT_SPREAD]);
                    "-"
                }
                Code::UnschedulableAndUnresolvable => {
                    assert_eq!(status.reasons(), [LABEL_MISSING]);
                    "!"
                }
                code => panic!("{code:?}: {status}"),
            };
            format!("{}:{mark}", node.name())
        };
        self.snapshot.nodes().iter().map(verdict).collect::<Vec<_>>().join(" ")
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

fn verdicts(objects: Vec<Value>, pod: &Arc<Pod>) -> String {
    let mut cycle = Cycle::new(&Value::Null, objects);
    let status = cycle.pre_filter(pod);
    assert!(status.is_success(), "{status}");
    cycle.verdicts(pod)
}

/// Three zones with 2, 1 and 0 pods; the third has two nodes.
fn three_zones() -> Vec<Value> {
    let mut objects = vec![in_zone("a", "1"), in_zone("b", "2"), in_zone("c", "3"), in_zone("d", "3")];
    objects.extend(web("a", 2));
    objects.extend(web("b", 1));
    objects
}

#[test]
fn the_skew_is_counted_over_domains() {
    for (constraints, expected) in [
        (json!([hard(1, "zone")]), "a:- b:- c:+ d:+"),
        (json!([hard(2, "zone")]), "a:- b:+ c:+ d:+"),
        (json!([hard(3, "zone")]), "a:+ b:+ c:+ d:+"),
        (json!([hard(1, "kubernetes.io/hostname")]), "a:- b:- c:+ d:+"),
        (json!([hard(2, "zone"), hard(1, "kubernetes.io/hostname")]), "a:- b:- c:+ d:+"),
        // Soft constraints do not filter.
        (
            json!([hard(3, "zone"), with(hard(1, "zone"), "whenUnsatisfiable", json!("ScheduleAnyway"))]),
            "a:+ b:+ c:+ d:+",
        ),
    ] {
        assert_eq!(verdicts(three_zones(), &pod(constraints.clone())), expected, "{constraints}");
    }
}

#[test]
fn a_pod_that_does_not_count_itself_may_join_the_fullest_domain() {
    // 2 + 0 - 0 <= 2.
    let other = fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "db"}},
        "spec": {"containers": [], "topologySpreadConstraints": [hard(2, "zone")]}}));
    assert_eq!(verdicts(three_zones(), &other), "a:+ b:+ c:+ d:+");
}

#[test]
fn only_living_pods_of_the_namespace_count() {
    let mut objects = vec![in_zone("a", "1"), in_zone("b", "2")];
    objects.push(placed("x", "other", "a", json!({"app": "web"})));
    let mut deleted = placed("y", "default", "a", json!({"app": "web"}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    objects.push(deleted);
    objects.push(placed("z", "default", "a", json!({"app": "db"})));
    assert_eq!(verdicts(objects, &pod(json!([hard(1, "zone")]))), "a:+ b:+");
}

#[test]
fn a_node_without_a_label_is_no_place_and_not_counted() {
    let mut objects =
        vec![in_zone("a", "1"), in_zone("b", "2"), node("n", json!({"kubernetes.io/hostname": "n"}))];
    objects.extend(web("a", 1));
    objects.extend(web("b", 1));
    objects.extend(web("n", 0));
    // If n were a domain of its own, the smallest count would be 0.
    assert_eq!(verdicts(objects.clone(), &pod(json!([hard(1, "zone")]))), "a:+ b:+ n:!");
    // By host name alone, it is one.
    assert_eq!(verdicts(objects, &pod(json!([hard(1, "kubernetes.io/hostname")]))), "a:- b:- n:+");
}

#[test]
fn too_few_domains_make_the_smallest_count_zero() {
    let mut objects = vec![in_zone("a", "1"), in_zone("b", "2")];
    objects.extend(web("a", 1));
    objects.extend(web("b", 2));
    for (min_domains, expected) in [(1, "a:+ b:-"), (2, "a:+ b:-"), (3, "a:- b:-")] {
        let constraint = with(hard(1, "zone"), "minDomains", json!(min_domains));
        assert_eq!(
            verdicts(objects.clone(), &pod(json!([constraint]))),
            expected,
            "minDomains {min_domains}"
        );
    }
}

#[test]
fn label_keys_narrow_the_selector_to_the_pods_own_values() {
    let mut objects = vec![in_zone("a", "1"), in_zone("b", "2")];
    objects.extend(web("a", 1));
    objects.push(placed("new", "default", "b", json!({"app": "web", "version": "2"})));
    let constraint = with(hard(1, "zone"), "matchLabelKeys", json!(["version", "absent"]));
    let second = fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web", "version": "2"}},
        "spec": {"containers": [], "topologySpreadConstraints": [constraint]}}));
    assert_eq!(verdicts(objects, &second), "a:+ b:-");
}

#[test]
fn an_empty_selector_counts_no_pod_but_the_incoming_one() {
    let constraint = with(hard(1, "zone"), "labelSelector", json!({}));
    assert_eq!(verdicts(three_zones(), &pod(json!([constraint]))), "a:+ b:+ c:+ d:+");
    // Without a selector, not even that.
    let constraint = with(hard(1, "zone"), "labelSelector", Value::Null);
    assert_eq!(verdicts(three_zones(), &pod(json!([constraint]))), "a:+ b:+ c:+ d:+");
}

#[test]
fn nodes_that_the_pod_cannot_use_count_or_not_as_the_policies_say() {
    let tainted = |name: &str, zone: &str, effect: &str| {
        let mut node = in_zone(name, zone);
        node["spec"] = json!({"taints": [{"key": "k", "effect": effect}]});
        node
    };
    let mut objects = vec![
        in_zone("a", "1"),
        in_zone("b", "2"),
        tainted("c", "3", "NoSchedule"),
        tainted("d", "4", "NoExecute"),
        tainted("e", "1", "PreferNoSchedule"),
    ];
    objects.extend(web("a", 1));
    objects.extend(web("b", 1));
    // c and d are empty: if they count, a and b are too full.
    for (affinity, taints, zones, expected) in [
        ("Honor", "Ignore", json!(["1", "2", "3", "4"]), "a:- b:- c:+ d:+ e:-"),
        ("Honor", "Honor", json!(["1", "2", "3", "4"]), "a:+ b:+ c:+ d:+ e:+"),
        // Zone 2 only: a, c, d and e do not count, so nothing is known about their domains.
        ("Honor", "Ignore", json!(["2"]), "a:+ b:+ c:+ d:+ e:+"),
        ("Ignore", "Ignore", json!(["2"]), "a:- b:- c:+ d:+ e:-"),
        ("Ignore", "Honor", json!(["2"]), "a:+ b:+ c:+ d:+ e:+"),
    ] {
        let constraint = with(
            with(hard(1, "zone"), "nodeAffinityPolicy", json!(affinity)),
            "nodeTaintsPolicy",
            json!(taints),
        );
        let pod = fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {
            "containers": [], "topologySpreadConstraints": [constraint],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": zones}]}]}}},
        }}));
        assert_eq!(
            verdicts(objects.clone(), &pod),
            expected,
            "affinity {affinity} taints {taints} zones {zones}"
        );
    }
}

#[test]
fn placements_tried_out_change_the_counts_and_only_in_their_state() {
    let mut cycle = Cycle::new(&Value::Null, three_zones());
    let pod = pod(json!([hard(1, "zone")]));
    assert!(cycle.pre_filter(&pod).is_success());
    let before = cycle.state.clone();
    let other = fixture::pod(
        json!({"metadata": {"name": "o", "labels": {"app": "web"}}, "spec": {"containers": []}}),
    );
    let foreign =
        fixture::pod(json!({"metadata": {"name": "f", "namespace": "other", "labels": {"app": "web"}},
        "spec": {"containers": []}}));
    for (add, other, node, expected) in [
        (true, &foreign, "c", "a:- b:- c:+ d:+"),
        (true, &other, "c", "a:- b:+ c:+ d:+"),
        (true, &other, "c", "a:- b:+ c:- d:-"),
        (false, &other, "c", "a:- b:+ c:+ d:+"),
        // More are removed than were counted, as with terminating pods.
        (false, &other, "b", "a:- b:+ c:- d:-"),
        (false, &other, "b", "a:- b:+ c:- d:-"),
    ] {
        cycle.change(add, &pod, other, node);
        assert_eq!(cycle.verdicts(&pod), expected, "add {add} to {node}");
    }
    cycle.state = before;
    assert_eq!(cycle.verdicts(&pod), "a:- b:- c:+ d:+");
}

#[test]
fn without_hard_constraints_the_filter_is_skipped() {
    let mut cycle = Cycle::new(&Value::Null, three_zones());
    assert!(cycle.pre_filter(&pod(json!([]))).is_skip());
    let soft = with(hard(1, "zone"), "whenUnsatisfiable", json!("ScheduleAnyway"));
    assert!(cycle.pre_filter(&pod(json!([soft]))).is_skip());
}

#[test]
fn hard_defaults_hold_for_pods_that_a_service_selects() {
    let args = json!({"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]});
    let mut cycle = Cycle::new(&args, three_zones());
    let pod = pod(json!([]));
    assert!(cycle.pre_filter(&pod).is_skip(), "nothing selects it");
    let mut objects = three_zones();
    objects.push(json!({"kind": "Service", "metadata": {"name": "s", "namespace": "default"},
        "spec": {"selector": {"app": "web"}}}));
    let mut cycle = Cycle::new(&args, objects);
    assert!(cycle.pre_filter(&pod).is_success());
    assert_eq!(cycle.verdicts(&pod), "a:- b:- c:+ d:+");
}

#[test]
fn an_invalid_selector_is_an_error() {
    let broken = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
    let mut cycle = Cycle::new(&Value::Null, three_zones());
    let status = cycle.pre_filter(&pod(json!([with(hard(1, "zone"), "labelSelector", broken)])));
    assert_eq!(
        status.to_string(),
        "Error: get constraints from pod: obtaining pod's hard topology spread constraints: \
         \"Near\" is not a valid label selector operator"
    );
}

#[test]
fn without_pre_filter_the_filter_fails() {
    let cycle = Cycle::new(&Value::Null, three_zones());
    let filter = cycle.plugin.clone().as_filter().expect("implemented");
    let status = Filter::filter(
        &*filter,
        &Cycle::cx(&cycle.snapshot),
        &cycle.state,
        &pod(json!([])),
        &cycle.snapshot.nodes()[0],
    );
    assert_eq!(
        status.to_string(),
        "Error: reading \"PreFilterPodTopologySpread\" from cycleState: not found"
    );
}
