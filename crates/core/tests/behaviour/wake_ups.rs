//! Cases that kube-scheduler leaves to the five-minute flush although the event has come, and `sensible` does not.

use crate::fixture::{Cluster, OURS};
use secondmate_core::port::{Input, PodWatch};
use secondmate_framework::Parity;
use secondmate_model::objects::Object;
use secondmate_model::{Pod, wire};
use serde_json::{Value, json};
use std::sync::Arc;

fn pod(name: &str, namespace: &str, app: &str, node: &str, affinity: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"app": app}},
        "spec": {"schedulerName": OURS, "nodeName": node, "containers": [], "affinity": affinity},
    });
    let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

/// Affinity to pods of the app on the same node, in these namespaces.
fn near(app: &str, namespaces: Value) -> Value {
    json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": app}}, "namespaceSelector": namespaces}]}})
}

fn far(app: &str) -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}})
}

fn namespace(name: &str, stage: &str) -> Input {
    let wire = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"stage": stage}}}));
    Input::Object(Object::namespace(&wire.expect("a namespace")))
}

struct World(Cluster);

impl World {
    fn new(parity: Parity) -> Self {
        Self(Cluster::with_parity(&["InterPodAffinity", "NodeAffinity"], parity))
    }

    fn assigned(&mut self, name: &str, namespace: &str, app: &str, node: &str, affinity: Value) {
        self.0.apply(Input::Pod(PodWatch::Assigned, pod(name, namespace, app, node, affinity)));
    }

    /// The pod arrives and no node is feasible.
    fn waits(&mut self, app: &str, affinity: Value) {
        self.0.apply(Input::Pod(PodWatch::Pending, pod("waiting", "default", app, "", affinity)));
        assert_eq!(self.0.step(), "waiting: unschedulable");
        assert_eq!(self.0.place("waiting"), "Unschedulable");
        self.0.wait(20.0);
    }

    /// It is bound at once if forgotten wake-ups are fixed, otherwise by the flush.
    fn expect_bound(mut self, parity: Parity, node: &str) {
        let at_once = self.0.step();
        let expected = format!("waiting -> {node}");
        if parity == Parity::Sensible {
            assert_eq!(at_once, expected);
            return;
        }
        assert_eq!(at_once, "-");
        self.0.wait(330.0);
        assert_eq!(self.0.step(), expected, "it did fit");
    }
}

const BOTH: [Parity; 2] = [Parity::Strict, Parity::Sensible];

#[test]
fn a_wanted_pod_comes_to_a_namespace_that_is_selected() {
    for parity in BOTH {
        let mut world = World::new(parity);
        world.0.node("n1");
        world.0.node("n2");
        world.0.apply(namespace("shop", "live"));
        world.waits("front", near("store", json!({"matchLabels": {"stage": "live"}})));
        world.assigned("store", "shop", "store", "n2", json!(null));
        world.expect_bound(parity, "n2");
    }
}

#[test]
fn the_namespace_of_a_wanted_pod_comes_to_be_selected() {
    for parity in BOTH {
        let mut world = World::new(parity);
        world.0.node("n1");
        world.0.apply(namespace("shop", "draft"));
        world.assigned("store", "shop", "store", "n1", json!(null));
        world.waits("front", near("store", json!({"matchLabels": {"stage": "live"}})));
        world.0.apply(namespace("shop", "live"));
        world.expect_bound(parity, "n1");
    }
}

#[test]
fn the_only_other_pod_of_a_group_leaves_a_node_that_takes_none() {
    for parity in BOTH {
        let mut world = World::new(parity);
        world.0.node("n1 unschedulable");
        world.0.node("n2");
        world.assigned("sibling", "default", "ring", "n1", json!(null));
        world.waits("ring", near("ring", json!(null)));
        world.0.gone(PodWatch::Assigned, "sibling");
        world.expect_bound(parity, "n2");
    }
}

#[test]
fn a_new_node_has_none_of_the_pods_that_keep_the_pod_away() {
    for parity in BOTH {
        let mut world = World::new(parity);
        world.0.node("n1");
        world.assigned("loner", "default", "loner", "n1", far("front"));
        world.waits("front", json!(null));
        world.0.node("n2");
        world.expect_bound(parity, "n2");
    }
}

#[test]
fn what_upstream_remembers_wakes_in_both() {
    for parity in BOTH {
        let mut world = World::new(parity);
        world.0.node("n1");
        world.waits("front", near("store", json!(null)));
        world.assigned("store", "default", "store", "n1", json!(null));
        assert_eq!(world.0.step(), "waiting -> n1");
    }
}
