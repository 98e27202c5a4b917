//! Hints, event by event.

use super::*;
use crate::fixture;
use serde_json::{Value, json};
use std::sync::Arc;

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn pod(name: &str, app: &str, node: &str, near: Value, far: Value) -> Arc<Pod> {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    fixture::pod(json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [],
            "affinity": {"podAffinity": {required: near}, "podAntiAffinity": {required: far}}}}))
}

fn other(app: &str, node: &str) -> Option<EventObject> {
    Some(EventObject::Pod(pod("other", app, node, json!([]), json!([]))))
}

fn node(labels: Value, taints: Value) -> Option<EventObject> {
    let info =
        fixture::node(json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}}));
    Some(EventObject::Node(Arc::clone(info.node())))
}

#[test]
fn pods_that_are_meant_wake_the_pod() {
    let near = pod("p", "web", "", json!([term("zone", "db"), term("host", "db")]), json!([]));
    let far = pod("p", "web", "", json!([]), json!([term("zone", "db")]));
    let plain = pod("p", "web", "", json!([]), json!([]));
    let hater = || Some(EventObject::Pod(pod("other", "x", "n", json!([]), json!([term("zone", "web")]))));
    for (name, waiting, old, new, expected) in [
        ("wanted came", &near, None, other("db", "n"), Hint::Queue),
        ("wanted, still without a node", &near, None, other("db", ""), Hint::Skip),
        ("another came", &near, None, other("x", "n"), Hint::Skip),
        ("unwanted came", &far, None, other("db", "n"), Hint::Skip),
        ("unwanted went", &far, other("db", "n"), None, Hint::Queue),
        ("wanted went", &near, other("db", "n"), None, Hint::Skip),
        ("another went", &far, other("x", "n"), None, Hint::Skip),
        ("one that hated it went", &plain, hater(), None, Hint::Queue),
        ("became wanted", &near, other("x", "n"), other("db", "n"), Hint::Queue),
        ("wanted no more", &near, other("db", "n"), other("x", "n"), Hint::Skip),
        ("unwanted no more", &far, other("db", "n"), other("x", "n"), Hint::Queue),
        ("became unwanted", &far, other("x", "n"), other("db", "n"), Hint::Skip),
        (
            "its own labels",
            &plain,
            Some(EventObject::Pod(plain.clone())),
            Some(EventObject::Pod(plain.clone())),
            Hint::Queue,
        ),
    ] {
        assert_eq!(hint(waiting, &ObjectChange { old, new }), expected, "{name}");
    }
}

#[test]
fn nodes_wake_the_pod_when_a_label_of_its_terms_changes() {
    let near = pod("p", "web", "", json!([term("zone", "db")]), json!([]));
    let far = pod("p", "web", "", json!([]), json!([term("zone", "db")]));
    let zone = |zone: &str| node(json!({"zone": zone}), json!([]));
    let without = || node(json!({}), json!([]));
    for (name, waiting, old, new, expected) in [
        ("added with", &near, None, zone("1"), Hint::Queue),
        ("added without", &near, None, without(), Hint::Skip),
        ("came", &near, without(), zone("1"), Hint::Queue),
        ("went", &near, zone("1"), without(), Hint::Skip),
        ("moved", &near, zone("1"), zone("2"), Hint::Queue),
        ("same", &near, zone("1"), zone("1"), Hint::Skip),
        ("added", &far, None, without(), Hint::Queue),
        ("came", &far, without(), zone("1"), Hint::Skip),
        ("went", &far, zone("1"), without(), Hint::Queue),
        ("moved", &far, zone("1"), zone("2"), Hint::Queue),
        ("same", &far, zone("1"), zone("1"), Hint::Skip),
        (
            "taints always",
            &near,
            zone("1"),
            node(json!({"zone": "1"}), json!([{"key": "k", "effect": "NoSchedule"}])),
            Hint::Queue,
        ),
    ] {
        assert_eq!(hint(waiting, &ObjectChange { old, new }), expected, "{name}");
    }
}

#[test]
fn terms_that_cannot_be_read_leave_a_doubt() {
    let mut broken = term("zone", "db");
    broken["labelSelector"] = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
    let waiting = pod("p", "web", "", json!([broken]), json!([]));
    assert_eq!(hint(&waiting, &ObjectChange { old: None, new: other("x", "n") }), Hint::Queue);
}
