use super::*;
use crate::fixture::{added, context, deleted, node, pod, snapshot, updated, updated_node};
use secondmate_framework::{EventObject, Snapshot};
use secondmate_model::objects::Object;
use serde_json::json;

fn plugin(args: Value) -> Arc<dyn Plugin> {
    new(&args, &Handle::default()).expect("sound arguments")
}

fn asking(requests: Value) -> Arc<Pod> {
    pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"resources": {"requests": requests}}]}}))
}

/// A node named `n` with these resources, and pods on it with these requests.
fn node_with(allocatable: Value, pods: &[Value]) -> NodeInfo {
    let mut node = node(json!({"metadata": {"name": "n"}, "status": {"allocatable": allocatable}}));
    for (index, requests) in pods.iter().enumerate() {
        node.add_pod(pod(json!({"metadata": {"name": format!("q{index}")},
            "spec": {"nodeName": "n", "containers": [{"resources": {"requests": requests}}]}})));
    }
    node
}

fn verdict(plugin: &Arc<dyn Plugin>, snapshot: &Snapshot, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
    let cx = context(snapshot);
    let mut state = CycleState::new();
    let outcome = plugin.clone().as_pre_filter().expect("prepares").pre_filter(&cx, &mut state, pod);
    assert_eq!((outcome.status, outcome.nodes), (Status::SUCCESS, None));
    plugin.clone().as_filter().expect("filters").filter(&cx, &state, pod, node)
}

fn rejected(code: Code, reasons: &[&'static str]) -> Status {
    Status::with_reasons(code, reasons.iter().map(|reason| Reason::Borrowed(*reason)))
}

#[test]
fn all_shortages_are_listed_and_too_large_a_request_is_final() {
    use Code::{Unschedulable as U, UnschedulableAndUnresolvable as UU};
    let full = json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "2", "example.com/gpu": "2"});
    let other = json!({"cpu": "3", "memory": "6Gi", "ephemeral-storage": "8Gi", "example.com/gpu": "1"});
    let snapshot = Snapshot::default();
    let plugin = plugin(Value::Null);
    for (requests, others, expected) in [
        (json!({}), 0, Status::SUCCESS),
        (
            json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "example.com/gpu": "2"}),
            0,
            Status::SUCCESS,
        ),
        (
            json!({"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi", "example.com/gpu": "1"}),
            1,
            Status::SUCCESS,
        ),
        (json!({"cpu": "1001m"}), 1, rejected(U, &["Insufficient cpu"])),
        (json!({"cpu": "4001m"}), 0, rejected(UU, &["Insufficient cpu"])),
        (json!({"memory": "2147483649"}), 1, rejected(U, &["Insufficient memory"])),
        (json!({"ephemeral-storage": "3Gi"}), 1, rejected(U, &["Insufficient ephemeral-storage"])),
        (json!({"example.com/gpu": "2"}), 1, rejected(U, &["Insufficient example.com/gpu"])),
        (json!({"example.com/gpu": "3"}), 1, rejected(UU, &["Insufficient example.com/gpu"])),
        (json!({"example.com/nic": "1"}), 0, rejected(UU, &["Insufficient example.com/nic"])),
        (json!({"example.com/nic": "0"}), 0, Status::SUCCESS),
        (json!({"hugepages-2Mi": "2Mi"}), 0, rejected(UU, &["Insufficient hugepages-2Mi"])),
        (json!({}), 2, rejected(U, &["Too many pods"])),
        // One resource that the node can never provide makes the whole verdict unresolvable.
        (
            json!({"cpu": "5", "memory": "3Gi", "ephemeral-storage": "3Gi", "example.com/gpu": "2"}),
            2,
            rejected(
                UU,
                &[
                    "Too many pods",
                    "Insufficient cpu",
                    "Insufficient memory",
                    "Insufficient ephemeral-storage",
                    "Insufficient example.com/gpu",
                ],
            ),
        ),
        (json!({"cpu": "2", "memory": "3Gi"}), 1, rejected(U, &["Insufficient cpu", "Insufficient memory"])),
    ] {
        let node = node_with(full.clone(), &vec![other.clone(); others]);
        let pod = asking(requests.clone());
        assert_eq!(verdict(&plugin, &snapshot, &pod, &node), expected, "{requests} beside {others}");
    }
    // A node without a kubelet takes nothing; its size is not the reason.
    assert_eq!(
        verdict(&plugin, &snapshot, &asking(json!({})), &node_with(json!({}), &[])),
        rejected(U, &["Too many pods"])
    );
    // An over-committed node has no room for anything, except for pods that request nothing.
    let over = node_with(json!({"cpu": "1", "pods": "9"}), &[json!({"cpu": "2"})]);
    assert_eq!(
        verdict(&plugin, &snapshot, &asking(json!({"cpu": "1m"})), &over),
        rejected(U, &["Insufficient cpu"])
    );
    assert_eq!(verdict(&plugin, &snapshot, &asking(json!({"memory": "0"})), &over), Status::SUCCESS);
}

#[test]
fn ignored_extended_resources_are_not_looked_at() {
    let snapshot = Snapshot::default();
    let by_name = plugin(json!({"ignoredResources": ["example.com/gpu", "hugepages-2Mi"]}));
    let by_group = plugin(json!({"ignoredResourceGroups": ["example.com"]}));
    let node = node_with(json!({"cpu": "1", "pods": "9"}), &[]);
    let final_for = |reason| rejected(Code::UnschedulableAndUnresolvable, &[reason]);
    for (resource, name, group) in [
        ("example.com/gpu", Status::SUCCESS, Status::SUCCESS),
        ("example.com/nic", final_for("Insufficient example.com/nic"), Status::SUCCESS),
        (
            "sub.example.com/gpu",
            final_for("Insufficient sub.example.com/gpu"),
            final_for("Insufficient sub.example.com/gpu"),
        ),
        // Only extended resources can be ignored.
        ("hugepages-2Mi", final_for("Insufficient hugepages-2Mi"), final_for("Insufficient hugepages-2Mi")),
    ] {
        let pod = asking(json!({ resource: "1" }));
        assert_eq!(verdict(&by_name, &snapshot, &pod, &node), name, "{resource} by name");
        assert_eq!(verdict(&by_group, &snapshot, &pod, &node), group, "{resource} by group");
    }
}

#[test]
fn a_resource_with_a_device_class_is_left_to_dynamic_resources_where_the_node_has_none() {
    let snapshot = snapshot(vec![
        json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
    ]);
    let plugin = plugin(Value::Null);
    for (allocatable, expected) in [
        (json!({"pods": "9"}), Status::SUCCESS),
        (json!({"pods": "9", "example.com/gpu": "0"}), Status::SUCCESS),
        (
            json!({"pods": "9", "example.com/gpu": "1"}),
            rejected(Code::UnschedulableAndUnresolvable, &["Insufficient example.com/gpu"]),
        ),
        (json!({"pods": "9", "example.com/gpu": "2"}), Status::SUCCESS),
    ] {
        let pod = asking(json!({"example.com/gpu": "2"}));
        assert_eq!(
            verdict(&plugin, &snapshot, &pod, &node_with(allocatable.clone(), &[])),
            expected,
            "{allocatable}"
        );
    }
}

#[test]
fn without_pre_filter_there_is_no_verdict() {
    let snapshot = Snapshot::default();
    let plugin = plugin(Value::Null);
    let filter = plugin.clone().as_filter().expect("filters");
    assert_eq!(
        filter.filter(
            &context(&snapshot),
            &CycleState::new(),
            &asking(json!({})),
            &node_with(json!({}), &[])
        ),
        Status::error("error reading \"PreFilterNodeResourcesFit\" from cycleState: not found")
    );
}

/// The score with and without PreScore, which must not differ.
fn score(args: Value, pod: &Arc<Pod>, node: &NodeInfo) -> i64 {
    let snapshot = Snapshot::default();
    let cx = context(&snapshot);
    let plugin = plugin(args);
    let mut state = CycleState::new();
    let scorer = plugin.clone().as_score().expect("scores");
    let unprepared = scorer.score(&cx, &state, pod, node);
    let status = plugin.clone().as_pre_score().expect("prepares").pre_score(&cx, &mut state, pod, &[]);
    assert_eq!(status, Status::SUCCESS);
    let prepared = scorer.score(&cx, &state, pod, node);
    assert_eq!(unprepared, prepared);
    prepared.expect("a score")
}

#[test]
fn scores_by_strategy() {
    let least = Value::Null;
    let most = json!({"scoringStrategy": {"type": "MostAllocated"}});
    let weighted = json!({"scoringStrategy": {"type": "LeastAllocated", "resources": [
        {"name": "cpu", "weight": 3}, {"name": "memory"}, {"name": "example.com/gpu", "weight": 4}]}});
    let ratio = json!({"scoringStrategy": {"type": "RequestedToCapacityRatio",
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}}});
    let allocatable = json!({"cpu": "4", "memory": "1000Mi", "pods": "10", "example.com/gpu": "8"});
    for (args, requests, others, expected) in [
        // CPU 1 of 4 leaves 75, memory 250 of 1000 leaves 75.
        (&least, json!({"cpu": "1", "memory": "250Mi"}), vec![], 75),
        // No requests count as 100m and 200Mi: 97 (97.5) and 80, 88.5.
        (&least, json!({}), vec![], 88),
        // So do the existing pods: CPU 1200m of 4 leaves 70, memory 600 of 1000 leaves 40.
        (&least, json!({"cpu": "1"}), vec![json!({}), json!({})], 55),
        // An explicit 0 is kept: CPU 100, memory 80.
        (&least, json!({"cpu": "0"}), vec![], 90),
        // More than there is scores 0: CPU 0, memory 80.
        (&least, json!({"cpu": "5"}), vec![], 40),
        (&most, json!({"cpu": "1", "memory": "250Mi"}), vec![], 25),
        // CPU 100, memory 20.
        (&most, json!({"cpu": "5"}), vec![], 60),
        // GPUs do not count unless requested: (3 * 75 + 50) / 4 = 68.75
        (&weighted, json!({"cpu": "1", "memory": "500Mi"}), vec![], 68),
        // (3 * 75 + 50 + 4 * 25) / 8 = 46.9: two GPUs here, four there.
        (
            &weighted,
            json!({"cpu": "1", "memory": "500Mi", "example.com/gpu": "2"}),
            vec![json!({"cpu": "0", "memory": "0", "example.com/gpu": "4"})],
            46,
        ),
        // Whatever scores above 0 counts: (1 + 50) / 2 = 25.5. What scores 0 does not: 50.
        (&ratio, json!({"cpu": "40m", "memory": "500Mi"}), vec![], 26),
        (&ratio, json!({"cpu": "0", "memory": "500Mi"}), vec![], 50),
        // (25 + 50) / 2 = 37.5, rounded.
        (&ratio, json!({"cpu": "1", "memory": "500Mi"}), vec![], 38),
    ] {
        let node = node_with(allocatable.clone(), &others);
        assert_eq!(
            score(args.clone(), &asking(requests.clone()), &node),
            expected,
            "{args} {requests} beside {others:?}"
        );
    }
    // A node that has none of a resource is scored by the others, and one that has nothing is not scored.
    assert_eq!(score(Value::Null, &asking(json!({"cpu": "1"})), &node_with(json!({"cpu": "4"}), &[])), 75);
    assert_eq!(score(Value::Null, &asking(json!({"cpu": "1"})), &node_with(json!({}), &[])), 0);
    // Pod-level requests are not scored: the containers' defaults are, 100m of 4 and 200 of 1000.
    let whole = pod(
        json!({"spec": {"resources": {"requests": {"cpu": "2", "memory": "500Mi"}}, "containers": [{}]}}),
    );
    assert_eq!(score(Value::Null, &whole, &node_with(allocatable, &[])), 88);
}

#[test]
fn arguments_that_cannot_be_compiled_are_refused() {
    for (args, reason) in [
        (
            json!({"scoringStrategy": {"type": "Best"}}),
            "scoringStrategy.type: \"Best\" is none of LeastAllocated, MostAllocated, RequestedToCapacityRatio",
        ),
        (
            json!({"scoringStrategy": {"type": "RequestedToCapacityRatio"}}),
            "scoringStrategy.requestedToCapacityRatio.shape: at least one point is needed",
        ),
        (
            json!({"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": [{"utilization": 5, "score": 1}, {"utilization": 5, "score": 2}]}}}),
            "scoringStrategy.requestedToCapacityRatio.shape: utilization must grow from point to point",
        ),
        (
            json!({"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": [{"utilization": 5, "score": 11}]}}}),
            "scoringStrategy.requestedToCapacityRatio.shape: utilization goes from 0 to 100, score from 0 to 10",
        ),
        (
            json!({"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": [{"utilization": 5, "score": 1}, {"utilization": 101, "score": 2}]}}}),
            "scoringStrategy.requestedToCapacityRatio.shape: utilization goes from 0 to 100, score from 0 to 10",
        ),
        (
            json!({"scoringStrategy": {"type": "MostAllocated", "requestedToCapacityRatio": {"shape": []}}}),
            "scoringStrategy.requestedToCapacityRatio: leave it out, or make the type RequestedToCapacityRatio (it is \"MostAllocated\")",
        ),
        (
            json!({"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 101}]}}),
            "scoringStrategy.resources: weight 101 of resource \"cpu\" is not between 1 and 100",
        ),
        (
            json!({"ignoredResourceGroups": ["example.com/gpu"]}),
            "ignoredResourceGroups: \"example.com/gpu\" has a '/': name the part before it only",
        ),
    ] {
        let error = new(&args, &Handle::default()).map(|_| ()).expect_err("refused");
        let expected =
            PluginError::Arguments { plugin: "NodeResourcesFit".to_owned(), reason: reason.to_owned() };
        assert_eq!(error, expected, "{args}");
    }
}

#[test]
fn hints_on_pods() {
    let plugin = plugin(Value::Null);
    let waiting = asking(json!({"cpu": "1", "example.com/gpu": "1"}));
    let other = |node: &str, requests: Value| {
        pod(
            json!({"metadata": {"name": "q"}, "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]}}),
        )
    };
    let nominated = pod(json!({"metadata": {"name": "q"}, "status": {"nominatedNodeName": "n"}}));
    let large = json!({"cpu": "4", "memory": "4Gi", "example.com/gpu": "2"});
    for (change, expected) in [
        (deleted(&other("n", large.clone())), Hint::Queue),
        (deleted(&nominated), Hint::Queue),
        (deleted(&other("", large.clone())), Hint::Skip),
        (updated(&waiting, &waiting), Hint::Queue),
        (
            updated(
                &other("n", large.clone()),
                &other("n", json!({"cpu": "3", "memory": "4Gi", "example.com/gpu": "2"})),
            ),
            Hint::Queue,
        ),
        (
            updated(
                &other("n", large.clone()),
                &other("n", json!({"cpu": "4", "memory": "4Gi", "example.com/gpu": "1"})),
            ),
            Hint::Queue,
        ),
        // Memory is not what the pod is waiting for.
        (
            updated(
                &other("n", large.clone()),
                &other("n", json!({"cpu": "4", "memory": "1Gi", "example.com/gpu": "2"})),
            ),
            Hint::Skip,
        ),
        (updated(&other("", large), &other("", json!({}))), Hint::Skip),
    ] {
        assert_eq!(plugin.hint(&waiting, &change), expected, "{change:?}");
    }
}

#[test]
fn hints_on_nodes() {
    let strict = plugin(json!({"ignoredResources": ["example.com/ignored"]}));
    let sensible = new(
        &json!({"ignoredResources": ["example.com/ignored"]}),
        &Handle::new(Atom::new("s"), Parity::Sensible),
    )
    .expect("sound arguments");
    let waiting = asking(json!({"cpu": "2", "example.com/gpu": "1"}));
    let ignoring = asking(json!({"example.com/ignored": "1"}));
    let node = |cpu: &str, pods: &str, gpus: &str| {
        node_with(json!({"cpu": cpu, "pods": pods, "example.com/gpu": gpus}), &[])
    };
    let tainted = node_with(json!({}), &[]);
    for (change, expected) in [
        (added(&node("2", "1", "1")), Hint::Queue),
        (added(&node("1", "1", "1")), Hint::Skip),
        (added(&node("2", "0", "1")), Hint::Skip),
        (added(&node("2", "1", "0")), Hint::Skip),
        (updated_node(&node("2", "5", "1"), &node("3", "5", "1")), Hint::Queue),
        (updated_node(&node("2", "5", "1"), &node("2", "6", "1")), Hint::Queue),
        (updated_node(&node("2", "5", "1"), &node("2", "5", "2")), Hint::Queue),
        (updated_node(&node("2", "5", "1"), &node("2", "5", "1")), Hint::Skip),
        (updated_node(&node("3", "5", "1"), &node("2", "5", "1")), Hint::Skip),
        (updated_node(&node("1", "5", "1"), &node("1", "6", "1")), Hint::Skip),
        (updated_node(&tainted, &tainted), Hint::Skip),
    ] {
        assert_eq!(strict.hint(&waiting, &change), expected, "{change:?}");
    }
    let change = added(&node("2", "1", "1"));
    assert_eq!(strict.hint(&ignoring, &change), Hint::Skip);
    assert_eq!(sensible.hint(&ignoring, &change), Hint::Queue);
}

#[test]
fn hints_on_device_classes() {
    let class = |name: &str, resource: Option<&str>| {
        EventObject::Other(Arc::new(Object::DeviceClass(Atom::new(name), resource.map(Atom::new))))
    };
    let change = |old: Option<EventObject>, new: EventObject| ObjectChange { old, new: Some(new) };
    let gpu = Some("example.com/gpu");
    let waiting = asking(json!({"example.com/gpu": "1"}));
    let implicit = asking(json!({"deviceclass.resource.kubernetes.io/gpu": "1"}));
    let plugin = plugin(Value::Null);
    for (pod, change, expected) in [
        (&waiting, change(None, class("gpu", gpu)), Hint::Queue),
        (&waiting, change(None, class("gpu", None)), Hint::Skip),
        (&waiting, change(None, class("gpu", Some("example.com/nic"))), Hint::Skip),
        (&waiting, change(Some(class("gpu", None)), class("gpu", gpu)), Hint::Queue),
        (&waiting, change(Some(class("gpu", gpu)), class("gpu", gpu)), Hint::Skip),
        (&waiting, change(Some(class("gpu", gpu)), class("gpu", None)), Hint::Skip),
        (&implicit, change(None, class("gpu", None)), Hint::Queue),
        (&implicit, change(None, class("nic", None)), Hint::Skip),
        (&implicit, change(Some(class("gpu", None)), class("gpu", gpu)), Hint::Skip),
    ] {
        assert_eq!(plugin.hint(pod, &change), expected, "{change:?}");
    }
}
