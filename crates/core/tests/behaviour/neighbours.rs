//! Other schedulers take the room that a pod of ours is waiting to use.

use crate::fixture::Cluster;
use crate::scripted::Script;
use secondmate_core::port::PodWatch;
use secondmate_framework::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Pods of ours that wait on permit on n1.
fn waiting(node: &str, pods: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(&["A"]);
    cluster.node(node);
    for text in pods {
        let name = text.split(' ').next().expect("a name");
        let wait = (Status::wait(""), Duration::from_secs(60));
        cluster.script.lines().permit.insert(format!("A/{name}"), wait);
        cluster.pending(text);
    }
    for _ in pods {
        assert!(cluster.step().ends_with("-> n1"));
    }
    cluster.effects();
    cluster
}

#[test]
fn a_pod_on_permit_gives_way_to_one_that_was_bound() {
    for (node, ours, theirs, why) in [
        ("n1 cpu=1", "p cpu=600m", "f cpu=600m", "Insufficient cpu"),
        ("n1 gpu=2", "p gpu=2", "f gpu=1", "Insufficient example.com/gpu"),
        ("n1 pods=1", "p", "f", "Too many pods"),
        ("n1", "p port=80", "f port=80", "node(s) didn't have free ports for the requested pod ports"),
    ] {
        let mut cluster = waiting(node, &[ours]);
        cluster.assigned(&format!("{theirs} node=n1 scheduler=default-scheduler"));
        let message =
            format!("another scheduler took the room on node \"n1\" before the pod was bound to it: {why}");
        let effects = cluster.all_effects();
        assert_eq!(effects[0], "observed RoomTaken foreign=true");
        assert!(effects.contains(&format!("event p FailedScheduling: {message}")), "{effects:?}");
        assert!(effects.contains(&format!("status p SchedulerError: {message} nominated=-")), "{effects:?}");
        assert_eq!(cluster.place("p"), "ErrorBackoff");
        assert_eq!(cluster.core.sizes().cache.assumed_pods, 0);
    }
}

#[test]
fn a_port_that_two_pods_have_is_free_when_both_are_gone() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("n1");
    cluster.assigned("f port=80 node=n1 scheduler=default-scheduler");
    cluster.assigned("g port=80 node=n1 scheduler=other");
    cluster.gone(PodWatch::Assigned, "f");
    cluster.pending("p port=80");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.gone(PodWatch::Assigned, "g");
    cluster.wait(2.0);
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_pod_that_still_fits_stays() {
    let mut cluster = waiting("n1 cpu=1", &["p cpu=600m"]);
    cluster.assigned("f cpu=400m node=n1 scheduler=default-scheduler");
    cluster.assigned("g cpu=9 node=n2 scheduler=default-scheduler");
    assert_eq!((cluster.place("p"), cluster.all_effects()), ("InFlight".to_owned(), Vec::<String>::new()));
}

#[test]
fn the_least_important_gives_way_and_only_as_many_as_must() {
    let mut cluster = waiting("n1 cpu=1", &["high cpu=300m priority=9", "first cpu=300m", "second cpu=300m"]);
    cluster.assigned("f cpu=400m node=n1 scheduler=default-scheduler");
    let places = |c: &Cluster| ["high", "first", "second"].map(|p| c.place(p));
    assert_eq!(places(&cluster), ["InFlight", "InFlight", "ErrorBackoff"]);
}

#[test]
fn the_room_is_looked_at_once_more_before_the_binding_is_sent() {
    let mut cluster = waiting("n1 cpu=1", &["p cpu=600m"]);
    // No pod arrives, but the node shrinks.
    cluster.node("n1 cpu=500m");
    assert_eq!(cluster.place("p"), "InFlight");
    cluster.script.handle().allow(&crate::fixture::uid("p"), "A");
    cluster.step();
    let effects = cluster.all_effects();
    let message = "node \"n1\" lost the room for the pod before it was bound to it: Insufficient cpu";
    assert!(effects.contains(&"observed RoomTaken foreign=false".to_owned()), "{effects:?}");
    assert!(effects.contains(&format!("event p FailedScheduling: {message}")), "{effects:?}");
    assert!(!effects.contains(&"bind p to n1".to_owned()));
}

#[test]
fn another_scheduler_is_blamed_only_if_a_pod_of_its_has_come_since_the_node_was_chosen() {
    for (comes, foreign) in [(false, false), (true, true)] {
        let mut cluster = Cluster::new(&["A"]);
        cluster.node("n1 cpu=1");
        cluster.assigned("daemon cpu=100m node=n1 scheduler=default-scheduler");
        cluster.assigned("ours cpu=100m node=n1");
        cluster.script.lines().permit.insert("A/p".to_owned(), (Status::wait(""), Duration::from_secs(60)));
        cluster.pending("p cpu=500m");
        assert_eq!(cluster.step(), "p -> n1");
        // The status of one that has been there all along.
        cluster.assigned("daemon cpu=100m node=n1 scheduler=default-scheduler label=b rv=2");
        if comes {
            cluster.assigned("late cpu=100m node=n1 scheduler=default-scheduler");
        }
        assert_eq!(cluster.place("p"), "InFlight");
        cluster.all_effects();
        // Resized in place.
        cluster.assigned("ours cpu=600m node=n1 rv=2");
        let effects = cluster.all_effects();
        assert_eq!(effects[0], format!("observed RoomTaken foreign={foreign}"));
        let what = if foreign { "another scheduler took" } else { "node \"n1\" lost" };
        let said = |line: &String| line.starts_with(&format!("event p FailedScheduling: {what} the room"));
        assert!(effects.iter().any(said), "{effects:?}");
        assert_eq!(cluster.place("p"), "ErrorBackoff");
    }
}

#[test]
fn a_pod_is_not_bound_to_a_node_that_was_deleted() {
    let mut cluster = waiting("n1 cpu=1", &["p cpu=600m"]);
    cluster.apply(secondmate_core::port::Input::NodeGone(crate::fixture::atom("n1")));
    cluster.script.handle().allow(&crate::fixture::uid("p"), "A");
    cluster.step();
    assert_eq!(
        cluster.effects()[0],
        "event p FailedScheduling: node \"n1\" was deleted before the pod was bound to it"
    );
}

/// What happens to a pod that waits on permit for a node that changes meanwhile.
fn bound_after(plugins: &[(&str, i64)], node: &str, pod: &str, later: &str) -> (Cluster, Vec<String>) {
    bound_after_with(plugins, &BTreeMap::new(), [node, pod, later])
}

/// The same with arguments of plugins.
fn bound_after_with(
    plugins: &[(&str, i64)],
    args: &BTreeMap<String, Value>,
    [node, pod, later]: [&str; 3],
) -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::with_profile(plugins, args, Script::default());
    cluster.node(node);
    cluster.script.lines().permit.insert("A/p".to_owned(), (Status::wait(""), Duration::from_secs(60)));
    cluster.pending(pod);
    assert_eq!(cluster.step(), "p -> n1");
    cluster.effects();
    cluster.node(later);
    cluster.script.handle().allow(&crate::fixture::uid("p"), "A");
    cluster.step();
    let effects = cluster.all_effects();
    (cluster, effects)
}

const USUAL: &[(&str, i64)] = &[
    ("PrioritySort", 1),
    ("NodeUnschedulable", 1),
    ("TaintToleration", 1),
    ("NodeAffinity", 1),
    ("NodeResourcesFit", 1),
    ("A", 1),
    ("DefaultBinder", 1),
];

#[test]
fn a_pod_is_not_bound_to_a_node_whose_kubelet_would_reject_it_by_now() {
    let affinity = "node(s) didn't match Pod's node affinity/selector";
    let taint = "node(s) had untolerated taint(s)";
    for (node, pod, later, why) in [
        ("n1 label=x", "p selects=x", "n1 label=y", affinity),
        ("n1", "p", "n1 evicting=k", taint),
        ("n1", "p", "n1 taint=k", taint),
    ] {
        let (cluster, effects) = bound_after(USUAL, node, pod, later);
        let message = format!("node \"n1\" changed before the pod was bound to it: {why}");
        assert!(effects.contains(&"observed NodeChanged".to_owned()), "{effects:?}");
        assert!(effects.contains(&format!("event p FailedScheduling: {message}")), "{effects:?}");
        assert!(!effects.contains(&"bind p to n1".to_owned()), "{effects:?}");
        assert_eq!(cluster.place("p"), "ErrorBackoff");
    }
}

#[test]
fn changes_of_a_node_that_its_kubelet_does_not_mind_or_the_profile_ignores_hold_no_pod_up() {
    let without_taints: Vec<_> =
        USUAL.iter().copied().filter(|(name, _)| *name != "TaintToleration").collect();
    for (plugins, node, pod, later) in [
        (USUAL, "n1 label=x", "p selects=x", "n1 label=x zone=a"),
        (USUAL, "n1 label=x", "p", "n1 label=y"),
        // A kubelet accepts pods while its node is cordoned.
        (USUAL, "n1", "p", "n1 unschedulable"),
        (&without_taints, "n1", "p", "n1 evicting=k"),
    ] {
        let (_, effects) = bound_after(plugins, node, pod, later);
        assert!(effects.contains(&"bind p to n1".to_owned()), "{later}: {effects:?}");
    }
}

#[test]
fn a_tenants_pod_is_not_bound_to_a_node_that_has_left_the_tenant() {
    let mut plugins = vec![("TenantNodes", 1)];
    plugins.extend(USUAL);
    let selector = json!({"selector": {"matchLabels": {"a": "red"}}});
    let args = BTreeMap::from([("TenantNodes".to_owned(), selector)]);
    let (cluster, effects) = bound_after_with(&plugins, &args, ["n1 label=red", "p", "n1 label=blue"]);
    let message = "node \"n1\" changed before the pod was bound to it: \
        node(s) didn't match the tenant's node selector";
    assert!(effects.contains(&"observed NodeChanged".to_owned()), "{effects:?}");
    assert!(effects.contains(&format!("event p FailedScheduling: {message}")), "{effects:?}");
    assert!(!effects.contains(&"bind p to n1".to_owned()), "{effects:?}");
    assert_eq!(cluster.place("p"), "ErrorBackoff");

    let (_, effects) = bound_after_with(&plugins, &args, ["n1 label=red", "p", "n1 label=red zone=a"]);
    assert!(effects.contains(&"bind p to n1".to_owned()), "{effects:?}");
}

/// A scheduler whose profile is the usual one with these arguments of NodeResourcesFit, or without that plugin.
fn with_fit(fit: Option<Value>) -> Cluster {
    let mut plugins = vec![("PrioritySort", 1), ("NodePorts", 1), ("A", 1), ("DefaultBinder", 1)];
    plugins.extend(fit.is_some().then_some(("NodeResourcesFit", 1)));
    let args: BTreeMap<String, Value> =
        fit.into_iter().map(|args| ("NodeResourcesFit".to_owned(), args)).collect();
    Cluster::with_profile(&plugins, &args, Script::default())
}

#[test]
fn what_the_profile_ignores_or_disables_is_not_looked_at_before_the_binding_either() {
    let ignores = json!({"ignoredResources": ["example.com/gpu"]});
    let ignores_the_group = json!({"ignoredResourceGroups": ["example.com"]});
    for (fit, pod) in [
        (Some(ignores), "p gpu=4"),
        (Some(ignores_the_group), "p gpu=4"),
        (None, "p gpu=4"),
        (None, "p cpu=64"),
    ] {
        let mut cluster = with_fit(fit.clone());
        cluster.node("n1 cpu=1");
        cluster.pending(pod);
        assert_eq!(
            (cluster.step(), cluster.effects()),
            ("p -> n1".to_owned(), vec!["bind p to n1".to_owned()])
        );
    }
}

#[test]
fn a_filter_from_outside_is_asked_before_the_binding_where_it_declares_that_pods_turn_it() {
    for (declares, bound) in [(true, false), (false, true)] {
        let script = Script::default();
        script.lines().guards = declares;
        script.lines().permit.insert("A/p".to_owned(), (Status::wait(""), Duration::from_secs(60)));
        let plugins = [("PrioritySort", 1), ("A", 1), ("DefaultBinder", 1)];
        let mut cluster = Cluster::with_profile(&plugins, &BTreeMap::new(), script);
        cluster.node("n1");
        cluster.pending("p");
        assert_eq!(cluster.step(), "p -> n1");
        cluster.effects();
        cluster.script.lines().filter.insert("A/p".to_owned(), Status::unschedulable("full"));
        cluster.script.handle().allow(&crate::fixture::uid("p"), "A");
        cluster.step();
        let effects = cluster.effects();
        assert_eq!(effects.contains(&"bind p to n1".to_owned()), bound, "{effects:?}");
        let full = effects.iter().any(|line| line.ends_with("bound to it: full"));
        assert_eq!(full, !bound, "{effects:?}");
    }
}
