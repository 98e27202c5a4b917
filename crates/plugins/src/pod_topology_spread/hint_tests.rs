//! Hints, event by event.

use super::super::new;
use super::*;
use crate::fixture;
use secondmate_framework::Handle;
use serde_json::{Value, json};
use std::sync::Arc;

fn waiting(constraint: Value) -> Arc<Pod> {
    let constraints = if constraint.is_null() { json!([]) } else { json!([constraint]) };
    fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [], "topologySpreadConstraints": constraints}}))
}

fn by_zone() -> Value {
    json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

fn pod(name: &str, namespace: &str, node: &str, labels: Value) -> EventObject {
    EventObject::Pod(fixture::pod(
        json!({"metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": []}}),
    ))
}

fn node(labels: Value, taints: Value) -> EventObject {
    let info =
        fixture::node(json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}}));
    EventObject::Node(Arc::clone(info.node()))
}

fn hint(args: &Value, waiting: &Pod, old: Option<EventObject>, new_object: Option<EventObject>) -> Hint {
    let plugin = new(args, &Handle::default()).expect("valid arguments");
    plugin.hint(waiting, &ObjectChange { old, new: new_object })
}

#[test]
fn pods_that_count_wake_the_pod() {
    let web = json!({"app": "web"});
    for (name, old, new, expected) in [
        ("added, counts", None, Some(pod("x", "default", "n", web.clone())), Hint::Queue),
        ("added elsewhere", None, Some(pod("x", "other", "n", web.clone())), Hint::Skip),
        ("added without node", None, Some(pod("x", "default", "", web.clone())), Hint::Skip),
        ("added, does not count", None, Some(pod("x", "default", "n", json!({}))), Hint::Skip),
        ("deleted, counted", Some(pod("x", "default", "n", web.clone())), None, Hint::Queue),
        ("deleted, did not count", Some(pod("x", "default", "n", json!({}))), None, Hint::Skip),
        (
            "counts now",
            Some(pod("x", "default", "n", json!({}))),
            Some(pod("x", "default", "n", web.clone())),
            Hint::Queue,
        ),
        (
            "other label",
            Some(pod("x", "default", "n", web.clone())),
            Some(pod("x", "default", "n", json!({"app": "web", "a": "b"}))),
            Hint::Skip,
        ),
        (
            "no label",
            Some(pod("x", "default", "n", web.clone())),
            Some(pod("x", "default", "n", web.clone())),
            Hint::Skip,
        ),
        (
            "itself counts no more",
            Some(pod("p", "default", "", web)),
            Some(pod("p", "default", "", json!({}))),
            Hint::Queue,
        ),
    ] {
        assert_eq!(hint(&Value::Null, &waiting(by_zone()), old, new), expected, "{name}");
    }
}

#[test]
fn an_own_toleration_matters_where_taints_do() {
    let tolerating = |tolerations: Value| {
        EventObject::Pod(fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web"}},
            "spec": {"containers": [], "tolerations": tolerations}})))
    };
    let mut honoring = by_zone();
    honoring["nodeTaintsPolicy"] = json!("Honor");
    for (constraint, expected) in [(by_zone(), Hint::Skip), (honoring, Hint::Queue)] {
        let (old, new) = (tolerating(json!([])), tolerating(json!([{"key": "k", "operator": "Exists"}])));
        assert_eq!(hint(&Value::Null, &waiting(constraint), Some(old), Some(new)), expected);
    }
}

#[test]
fn nodes_with_the_labels_wake_the_pod() {
    let zone = |zone: &str| node(json!({"zone": zone}), json!([]));
    let without = || node(json!({}), json!([]));
    let tainted = |labels: Value| node(labels, json!([{"key": "k", "effect": "NoSchedule"}]));
    for (name, old, new, expected) in [
        ("added", None, Some(zone("1")), Hint::Queue),
        ("added without", None, Some(without()), Hint::Skip),
        ("deleted", Some(zone("1")), None, Hint::Queue),
        ("deleted without", Some(without()), None, Hint::Skip),
        ("label came", Some(without()), Some(zone("1")), Hint::Queue),
        ("label went", Some(zone("1")), Some(without()), Hint::Queue),
        ("moved", Some(zone("1")), Some(zone("2")), Hint::Queue),
        ("unchanged", Some(zone("1")), Some(zone("1")), Hint::Skip),
        ("taint", Some(zone("1")), Some(tainted(json!({"zone": "1"}))), Hint::Queue),
        ("taint without label", Some(without()), Some(tainted(json!({}))), Hint::Skip),
    ] {
        assert_eq!(hint(&Value::Null, &waiting(by_zone()), old, new), expected, "{name}");
    }
}

#[test]
fn with_default_constraints_a_doubt_wakes_the_pod() {
    let args = json!({"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]});
    let added = || Some(pod("x", "default", "n", json!({})));
    assert_eq!(hint(&args, &waiting(Value::Null), None, added()), Hint::Queue);
    assert_eq!(hint(&Value::Null, &waiting(Value::Null), None, added()), Hint::Skip);
    let moved = |zone: &str| Some(node(json!({"zone": zone}), json!([])));
    assert_eq!(hint(&args, &waiting(Value::Null), moved("1"), moved("2")), Hint::Queue);
    assert_eq!(hint(&args, &waiting(Value::Null), moved("1"), moved("1")), Hint::Skip);
}
