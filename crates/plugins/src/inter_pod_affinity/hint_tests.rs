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

fn node(labels: Value) -> Option<EventObject> {
    let info = fixture::node(json!({"metadata": {"name": "n", "labels": labels}}));
    Some(EventObject::Node(Arc::clone(info.node())))
}

#[test]
fn pods_that_are_meant_wake_the_pod() {
    let near = pod("p", "web", "", json!([term("zone", "db"), term("host", "db")]), json!([]));
    let far = pod("p", "web", "", json!([]), json!([term("zone", "db"), term("host", "log")]));
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
        ("unwanted for another reason", &far, other("db", "n"), other("log", "n"), Hint::Skip),
        ("became unwanted", &far, other("x", "n"), other("db", "n"), Hint::Skip),
        (
            "its own labels",
            &plain,
            Some(EventObject::Pod(plain.clone())),
            Some(EventObject::Pod(plain.clone())),
            Hint::Queue,
        ),
    ] {
        assert_eq!(hint(waiting, &ObjectChange { old, new }, Parity::Strict), expected, "{name}");
    }
}

#[test]
fn nodes_wake_the_pod_when_a_label_of_its_terms_changes() {
    let near = pod("p", "web", "", json!([term("zone", "db")]), json!([]));
    let far = pod("p", "web", "", json!([]), json!([term("zone", "db")]));
    let zone = |zone: &str| node(json!({"zone": zone}));
    let without = || node(json!({}));
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
    ] {
        assert_eq!(hint(waiting, &ObjectChange { old, new }, Parity::Strict), expected, "{name}");
    }
}

#[test]
fn terms_that_cannot_be_read_leave_a_doubt() {
    let mut broken = term("zone", "db");
    broken["labelSelector"] = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
    let waiting = pod("p", "web", "", json!([broken]), json!([]));
    for parity in [Parity::Strict, Parity::Sensible] {
        assert_eq!(hint(&waiting, &ObjectChange { old: None, new: other("x", "n") }, parity), Hint::Queue);
    }
}

fn selecting(app: &str, namespaces: Value) -> Value {
    let mut term = term("host", app);
    term["namespaceSelector"] = namespaces;
    term
}

fn namespace(name: &str, team: &str) -> Option<EventObject> {
    let wire = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"team": team}}}));
    Some(EventObject::Other(Arc::new(Object::namespace(&wire.expect("a namespace")))))
}

#[test]
fn what_upstream_forgets_wakes_the_pod_where_that_is_asked_for() {
    let red = || json!({"matchLabels": {"team": "red"}});
    let near = pod("p", "web", "", json!([selecting("db", red())]), json!([]));
    let far = pod("p", "web", "", json!([]), json!([selecting("db", red())]));
    let group = pod("p", "web", "", json!([term("host", "web")]), json!([]));
    let wants_others = pod("p", "web", "", json!([term("host", "db")]), json!([]));
    let plain = pod("p", "web", "", json!([]), json!([]));
    let hater = || Some(EventObject::Pod(pod("o", "x", "n", json!([]), json!([selecting("web", red())]))));
    let with_host = || node(json!({"host": "1"}));
    for (name, waiting, old, new) in [
        ("wanted came, in a namespace that may be selected", &near, None, other("db", "n")),
        ("became wanted there", &near, other("x", "n"), other("db", "n")),
        ("unwanted went there", &far, other("db", "n"), None),
        ("unwanted no more there", &far, other("db", "n"), other("x", "n")),
        ("one that hated it went", &plain, hater(), None),
        ("namespace selected now", &near, namespace("n", "blue"), namespace("n", "red")),
        ("namespace not selected any more", &far, namespace("n", "red"), namespace("n", "blue")),
        ("namespace came", &near, None, namespace("n", "red")),
        ("its own namespace", &plain, namespace("default", "red"), namespace("default", "blue")),
        ("the other one of its group went", &group, other("web", "n"), None),
        ("left its group", &group, other("web", "n"), other("x", "n")),
        ("node left the domain of its group", &group, with_host(), node(json!({}))),
        ("new node, for a pod that others keep away", &plain, None, node(json!({}))),
    ] {
        let change = ObjectChange { old, new };
        assert_eq!(hint(waiting, &change, Parity::Sensible), Hint::Queue, "{name}");
        let names_namespace = matches!(change.new, Some(EventObject::Other(_)));
        // Upstream does not register for changes of namespaces, so its hint is never called.
        assert!(names_namespace || hint(waiting, &change, Parity::Strict) == Hint::Skip, "{name}");
    }
    for (name, waiting, old, new) in [
        ("another label in the namespace", &near, None, other("x", "n")),
        ("namespace that no term selects", &near, namespace("n", "blue"), namespace("n", "green")),
        ("namespace, same labels", &plain, namespace("default", "red"), namespace("default", "red")),
        ("wanted went, for a pod of another kind", &wants_others, other("db", "n"), None),
        ("new node outside of every domain", &wants_others, None, node(json!({}))),
    ] {
        assert_eq!(hint(waiting, &ObjectChange { old, new }, Parity::Sensible), Hint::Skip, "{name}");
    }
}
