use super::*;
use crate::port::{Input, PodWatch};
use crate::queue::QueueContext;
use crate::scheduler::SchedulerConfig;
use secondmate_cycle::{Profile, ProfileSpec, multi_point};
use secondmate_framework::Parity;
use secondmate_model::{Node, Pod, Timestamp, wire};
use serde_json::json;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn node() -> Atom {
    Atom::new("n")
}

fn pod(name: &str, cpu: &str, node: Option<&str>) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "ours", "nodeName": node.unwrap_or_default(),
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    }))
    .expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

/// A scheduler with a pod on a node, one that is being bound to it, and one that does not fit.
fn scheduler() -> Scheduler {
    let registry = secondmate_plugins::registry().expect("in-tree plugins");
    let plugins = [("PrioritySort", 0), ("NodePorts", 0), ("NodeResourcesFit", 1), ("DefaultBinder", 0)];
    let spec = ProfileSpec {
        scheduler_name: "ours".to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("in-tree plugins"),
        args: BTreeMap::new(),
        victims_of: None,
    };
    let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile]).audited();
    let wire: wire::Node = serde_json::from_value(json!({
        "metadata": {"name": "n", "uid": "n"}, "status": {"allocatable": {"cpu": "4", "pods": "10"}},
    }))
    .expect("a node");
    let node = Arc::new(Node::new(&wire).expect("a node that compiles"));
    scheduler.apply(Input::Node(node), NOW);
    scheduler.apply(Input::Pod(PodWatch::Assigned, pod("runs", "1", Some("n"))), NOW);
    for (name, cpu) in [("binds", "1"), ("waits", "100")] {
        scheduler.apply(Input::Pod(PodWatch::Pending, pod(name, cpu, None)), NOW);
    }
    while scheduler.step(NOW).is_some() {}
    scheduler
}

fn uids(names: &[&str]) -> BTreeSet<Uid> {
    names.iter().map(|name| Uid::from(*name)).collect()
}

#[test]
fn only_what_changed_is_looked_at() {
    let mut scheduler = scheduler();
    assert_eq!(scheduler.check_changes(), Ok(uids(&["runs", "binds", "waits"])));
    assert_eq!(scheduler.check_changes(), Ok(uids(&[])));
    scheduler.apply(Input::PodGone(PodWatch::Assigned, Uid::from("runs")), NOW);
    assert_eq!(
        scheduler.check_changes(),
        Ok(uids(&["runs", "waits"])),
        "room came free for the one that waits"
    );
    scheduler.step(NOW);
    assert_eq!(scheduler.check_changes(), Ok(uids(&["waits"])), "it was tried");
}

/// A way to break an invariant.
type Break = fn(&mut Scheduler);

#[test]
fn what_breaks_by_a_change_is_found_by_it() {
    let breaks: [(&str, Break); 9] = [
        ("invariant 4: pod binds is assumed: false", |s| drop(s.cache.forget(&Uid::from("binds")))),
        ("invariant 4: pod other is assumed and nothing will settle it", |s| {
            s.cache.assume(pod("other", "1", Some("n"))).expect("it is new");
        }),
        ("invariant 3: pod default/binds is InFlight; on its way: false", |s| {
            drop(s.bindings.take(&Uid::from("binds")));
        }),
        ("invariant 3: pod waits is pending and nowhere", |s| drop(s.queue.remove(&Uid::from("waits")))),
        ("invariant 3: pod default/waits is queued and on a node", |s| {
            s.cache.add(pod("waits", "100", Some("n")));
        }),
        ("invariant 3: pod other is Active and not pending", |s| {
            let cx = QueueContext { now: NOW, profiles: &s.profiles, gates: &s.preemptions, promises: &() };
            s.queue.add(pod("other", "1", None), cx);
        }),
        ("pod runs is on a node and still nominated to one", |s| {
            s.nominator.set(&pod("runs", "1", None), &node());
        }),
        ("pod other is remembered as a preemptor, but it is not pending", |s| {
            s.loops.preempted(&Uid::from("other"), &node(), Vec::new(), NOW);
        }),
        ("pod other is to be tried when its preemption may be, but it is not pending", |s| {
            s.postponed.insert(&Uid::from("other"), NOW);
        }),
    ];
    for (what, break_it) in breaks {
        let mut scheduler = scheduler();
        assert_eq!(scheduler.check_changes().map(|pods| pods.len()), Ok(3));
        break_it(&mut scheduler);
        let broken = scheduler.check_changes().expect_err(what);
        assert!(broken.starts_with(what), "{broken}");
        assert_eq!(scheduler.check(), Err(broken), "all of it is judged alike");
    }
}
