//! What a pod of a known class costs, in numbers that do not depend on the machine.

use crate::cluster::profile;
use crate::objects::{object, pod};
use secondmate_core::Nominator;
use secondmate_core::cache::Cache;
use secondmate_cycle::{Evaluate, Outcome, Profile, Question, Random, Scope, Standing, StandingSettings};
use secondmate_framework::Snapshot;
use secondmate_model::objects::{ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, NodeInfo, Pod, Timestamp, wire};
use serde_json::{Value, json};
use std::sync::Arc;

struct World {
    cache: Cache,
    snapshot: Snapshot,
    profile: Profile,
    standing: Standing,
    random: Random,
    names: usize,
}

fn node(at: usize) -> Arc<Node> {
    let node = json!({"metadata": {"name": format!("n{at}"), "labels":
            {"topology.kubernetes.io/zone": format!("z{}", at % 3), "kubernetes.io/hostname": format!("n{at}")}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

fn asking(cpu: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}}]}})
}

impl World {
    fn new(nodes: usize, percentage: u8, settings: StandingSettings) -> Self {
        let mut cache = Cache::new();
        (0..nodes).for_each(|at| {
            cache.set_node(node(at));
        });
        let (profile, standing) = (profile(percentage), Standing::new(settings));
        Self { cache, snapshot: Snapshot::default(), profile, standing, random: Random::new(1), names: 0 }
    }

    fn place(&mut self, template: &Value) -> Option<Arc<NodeInfo>> {
        match self.try_pod(template) {
            (pod, Outcome::Placed { node, .. }) => {
                let placed: Pod = pod.on_node(node.name());
                self.cache.assume(Arc::new(placed)).expect("a new pod");
                Some(node)
            }
            _ => None,
        }
    }

    /// Why a pod fits nowhere.
    fn message(&mut self, template: &Value) -> String {
        match self.try_pod(template) {
            (_, Outcome::Rejected(rejection)) => rejection.message,
            _ => panic!("the pod is not rejected"),
        }
    }

    fn try_pod(&mut self, template: &Value) -> (Arc<Pod>, Outcome) {
        self.names += 1;
        let pod = pod(template, &format!("p{}", self.names));
        self.cache.refresh(&mut self.snapshot);
        let question = Question {
            profile: &self.profile,
            snapshot: &self.snapshot,
            nominations: &Nominator::default(),
            now: Timestamp::from_secs(1),
            pod: &pod,
            scope: Scope::Sample { start: 0 },
        };
        let outcome = self.standing.evaluate(&question, &mut self.random).outcome;
        (pod, outcome)
    }

    /// Nodes that plugins are asked about for the next pod.
    fn nodes_for(&mut self, template: &Value) -> u64 {
        let before = self.standing.counts().nodes_evaluated;
        assert!(self.place(template).is_some(), "the pod fits");
        self.standing.counts().nodes_evaluated - before
    }
}

const AT_ONCE: StandingSettings = StandingSettings { bytes_max: 1 << 30, first_sight: true };

#[test]
fn a_pod_of_a_known_class_looks_at_the_node_that_changed_however_many_there_are() {
    for nodes in [10, 2000] {
        let mut world = World::new(nodes, 0, AT_ONCE);
        assert_eq!(world.nodes_for(&asking("100m")), nodes as u64);
        for _ in 0..50 {
            assert_eq!(world.nodes_for(&asking("100m")), 1);
        }
        let counts = world.standing.counts();
        assert_eq!((counts.made, counts.rebuilds, counts.hits, counts.classes), (1, 0, 51, 1));
    }
}

#[test]
fn a_pod_that_must_spread_looks_at_the_node_that_changed_however_many_there_are() {
    for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
        let mut spread = asking("100m");
        spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}]);
        for nodes in [12, 2000] {
            let mut world = World::new(nodes, 0, AT_ONCE);
            assert_eq!(world.nodes_for(&spread), nodes as u64);
            for _ in 0..30 {
                assert_eq!(world.nodes_for(&spread), 1, "{key}, {nodes} nodes");
            }
            let counts = world.standing.counts();
            assert_eq!(
                (counts.made, counts.rebuilds, counts.hits, counts.plain.len()),
                (1, 0, 31, 0),
                "{key}"
            );
        }
    }
}

#[test]
fn classes_in_turn_look_once_at_what_changed_since_their_last_pod() {
    let mut world = World::new(300, 0, AT_ONCE);
    let kinds: Vec<Value> = ["100m", "200m", "300m", "400m"].map(asking).into();
    kinds.iter().for_each(|kind| {
        world.nodes_for(kind);
    });
    for _ in 0..10 {
        for kind in &kinds {
            assert!(world.nodes_for(kind) <= 4, "four pods were placed since");
        }
    }
    assert_eq!(world.standing.counts().made, 4);
}

#[test]
fn a_node_that_joins_has_every_node_looked_at_once_more() {
    let mut world = World::new(50, 0, AT_ONCE);
    world.nodes_for(&asking("100m"));
    world.cache.set_node(node(50));
    assert_eq!(world.nodes_for(&asking("100m")), 51);
    assert_eq!(world.nodes_for(&asking("100m")), 1);
    assert_eq!(world.standing.counts().rebuilds, 1);
}

#[test]
fn a_change_of_many_nodes_is_looked_at_once() {
    let mut world = World::new(50, 0, AT_ONCE);
    world.nodes_for(&asking("100m"));
    for _ in 0..3 {
        (0..20).for_each(|at| {
            world.cache.set_node(node(at));
        });
        world.cache.refresh(&mut world.snapshot);
    }
    let looked_at = world.nodes_for(&asking("100m"));
    assert!((20..=21).contains(&looked_at), "{looked_at}: twenty nodes, and the one of the pod before");
}

#[test]
fn the_first_pod_of_a_kind_takes_the_plain_pass_unless_told_otherwise() {
    let mut world = World::new(10, 0, StandingSettings::default());
    assert_eq!(world.nodes_for(&asking("100m")), 0);
    assert_eq!(world.nodes_for(&asking("200m")), 0);
    assert_eq!(world.nodes_for(&asking("100m")), 10);
    assert_eq!(world.nodes_for(&asking("100m")), 1);
    let plain: Vec<_> = world.standing.counts().plain.iter().map(|(why, n)| (why.reason(), *n)).collect();
    assert_eq!(plain, [("first_sight", 2)]);
}

#[test]
fn pods_that_are_each_alone_leave_nothing_behind() {
    let mut world = World::new(10, 0, StandingSettings::default());
    for cpu in 1..200 {
        assert_eq!(world.nodes_for(&asking(&format!("{cpu}m"))), 0);
    }
    assert_eq!(world.standing.counts().bytes, 0);
}

#[test]
fn memory_stays_within_the_budget_and_the_class_used_last_stays() {
    let settings = StandingSettings { bytes_max: 64 << 10, first_sight: true };
    let mut world = World::new(500, 0, settings);
    for cpu in 1..100 {
        world.place(&asking(&format!("{cpu}m")));
        assert!(world.standing.counts().bytes <= settings.bytes_max, "{:?}", world.standing.counts());
    }
    let counts = world.standing.counts();
    assert!(counts.dropped > 0 && counts.classes > 1, "{counts:?}");
    assert_eq!(world.nodes_for(&asking("99m")), 1);
    let mut small = World::new(500, 0, StandingSettings { bytes_max: 100, ..settings });
    assert_eq!(small.nodes_for(&asking("1m")), 0, "a class that is larger than all may be is not made");
}

#[test]
fn a_share_of_the_nodes_that_the_user_asks_for_is_taken_as_upstream_does() {
    let mut world = World::new(200, 60, AT_ONCE);
    assert_eq!(world.nodes_for(&asking("100m")), 0);
    assert_eq!(
        world.standing.counts().plain.keys().map(|why| why.reason()).collect::<Vec<_>>(),
        ["percentage_of_nodes"]
    );
    let full = World::new(200, 100, AT_ONCE).nodes_for(&asking("100m"));
    assert_eq!(full, 200);
}

#[test]
fn every_node_is_scored_by_default() {
    // By default kube-scheduler looks at 100 of the 2,000 nodes at least; the only one without pods is none of the first.
    let mut world = World::new(2000, 0, AT_ONCE);
    for at in 0..1999 {
        let occupant = pod(&asking("1"), &format!("o{at}")).on_node(&Atom::new(&format!("n{at}")));
        world.cache.add(Arc::new(occupant));
    }
    let node = world.place(&asking("100m")).expect("a node");
    assert_eq!(node.name().as_str(), "n1999");
}

#[test]
fn an_object_that_a_plugin_reads_makes_a_class_look_again() {
    let class = |name: &str| {
        let class = json!({"metadata": {"name": name}, "spec": {"extendedResourceName": "example.com/gpu"}});
        object(ObjectKind::DeviceClass, class)
    };
    let mut world = World::new(3, 0, AT_ONCE);
    let mut gpu = asking("100m");
    gpu["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "1".into();
    world.snapshot.objects_mut().apply(class("one"));
    assert!(world.message(&gpu).contains("DeviceClass one"));
    let objects = world.snapshot.objects_mut();
    objects.remove(ObjectKind::DeviceClass, &ObjectName::new(&Atom::default(), "one"));
    objects.apply(class("two"));
    assert!(world.message(&gpu).contains("DeviceClass two"));
    world.message(&gpu);
    let counts = world.standing.counts();
    assert_eq!((counts.made, counts.rebuilds, counts.hits), (1, 1, 3));
}
