//! What a pod of a known class costs, in numbers that do not depend on the machine.

use crate::cluster::profile_with;
use crate::objects::{object, pod};
use crate::world::{AT_ONCE, World, asking, node, spread, with_affinity};
use secondmate_cycle::StandingSettings;
use secondmate_framework::{
    Context, CycleState, Declaration, Filter, NodeParts, Plugin, PodParts, Status, TrialCounts,
};
use secondmate_model::objects::{ObjectKind, ObjectName};
use secondmate_model::{Atom, NodeInfo, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

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
        let spread = spread(key);
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
fn a_pod_with_affinity_looks_at_the_nodes_that_changed_however_many_there_are() {
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (required, key) in [
            (true, "kubernetes.io/hostname"),
            (false, "kubernetes.io/hostname"),
            (true, "topology.kubernetes.io/zone"),
            (false, "topology.kubernetes.io/zone"),
        ] {
            for nodes in [12, 2000] {
                let mut world = World::new(nodes, 0, AT_ONCE);
                let namespace = json!({"metadata": {"name": "ns", "labels": {"team": "red"}}});
                world.snapshot.objects_mut().apply(object(ObjectKind::Namespace, namespace));
                let apart = required && kind == "podAntiAffinity";
                let pods = if apart { 3 } else { 12 };
                let ours = with_affinity(kind, required, key, "a");
                // The first pod creates a class, and so does the second if the first one's terms select it.
                (0..2).for_each(|_| assert!(world.place(&ours).is_some()));
                for _ in 2..pods {
                    assert_eq!(world.nodes_for(&ours), 1, "{kind} {required} {key}, {nodes} nodes");
                }
                // Pods that no term selects pay nothing for the others' terms.
                let stranger = json!({"metadata": {"namespace": "other", "labels": {"app": "a"}}, "spec": asking("1m")["spec"]});
                world.nodes_for(&stranger);
                let again = world.nodes_for(&stranger);
                assert_eq!(again, 1, "{kind} {required} {key}, {nodes} nodes");
                let counts = world.standing.counts();
                assert!(counts.made <= 3 && counts.plain.is_empty(), "{kind} {required} {key}: {counts:?}");
            }
        }
    }
}

#[test]
fn a_pod_that_is_rejected_again_looks_at_no_node() {
    let mut spread = spread("kubernetes.io/hostname");
    spread["spec"]["topologySpreadConstraints"][0]["minDomains"] = 10_000.into();
    for nodes in [12, 2000] {
        let mut world = World::new(nodes, 0, AT_ONCE);
        // One on each node; then there are too few hosts for more.
        (0..nodes).for_each(|_| assert!(world.place(&spread).is_some()));
        assert_eq!(world.for_rejection(&spread), (1, 1), "the node of the last pod");
        for _ in 0..3 {
            assert_eq!(world.for_rejection(&spread), (0, 1), "{nodes} nodes");
            assert_eq!(world.for_rejection(&asking("1000")).1, 0, "{nodes} nodes");
        }
        assert_eq!(world.for_rejection(&asking("1000")), (0, 0), "{nodes} nodes");
        let message = format!(
            "0/{nodes} nodes are available: {nodes} node(s) didn't match pod topology spread constraints."
        );
        assert!(world.message(&spread).starts_with(&message), "{}", world.message(&spread));
    }
}

#[test]
fn preemption_tries_out_the_node_that_changed_however_many_there_are() {
    let mut preemptor = asking("3");
    preemptor["spec"]["priority"] = 10.into();
    for nodes in [12, 2000] {
        let mut world = World::new(nodes, 0, AT_ONCE);
        (0..nodes).for_each(|_| assert!(world.place(&asking("2")).is_some()));
        let trials = |world: &mut World| {
            let before = world.standing.counts().trials;
            world.message(&preemptor);
            let TrialCounts { made, known } = world.standing.counts().trials;
            (made - before.made, known - before.known)
        };
        // Every node may be tried out, and a tenth of them is enough, or a hundred.
        let enough = nodes.min(200) as u64;
        assert_eq!(trials(&mut world), (enough, 0));
        // The next one begins elsewhere.
        let mut made = enough;
        for _ in 0..200 {
            let (more, known) = trials(&mut world);
            assert_eq!(more + known, enough);
            made += more;
        }
        assert_eq!(made, nodes as u64, "each once");
        assert!(world.place(&asking("1")).is_some());
        let again: u64 = (0..200).map(|_| trials(&mut world).0).sum();
        assert_eq!(again, 1, "the node of the last pod");
    }
}

/// A pod that is nominated to the node, with this priority.
fn nominate(world: &mut World, at: usize, priority: i32) {
    let mut nominated = asking("1");
    nominated["spec"]["priority"] = priority.into();
    world.nominator.set(&pod(&nominated, &format!("nominated-{at}")), &Atom::new(&format!("n{at}")));
}

#[test]
fn nodes_to_which_pods_are_nominated_are_looked_at_where_that_changes_however_many_there_are() {
    for nodes in [12, 2000] {
        let mut world = World::new(nodes, 0, AT_ONCE);
        (0..nodes).for_each(|at| nominate(&mut world, at, 5));
        assert_eq!(world.nodes_for(&asking("100m")), nodes as u64);
        for _ in 0..3 {
            assert_eq!(world.nodes_for(&asking("100m")), 1, "the node of the pod before, {nodes} nodes");
        }
        world.nominator.remove(&"nominated-7".into());
        nominate(&mut world, 8, 6);
        assert!((2..=3).contains(&world.nodes_for(&asking("100m"))), "{nodes} nodes");
        // Pods nominated to two of them no longer count.
        for at in [1, 2] {
            nominate(&mut world, at, 2);
        }
        world.nodes_for(&asking("100m"));
        let mut important = asking("100m");
        important["spec"]["priority"] = 3.into();
        assert!((2..=3).contains(&world.nodes_for(&important)), "{nodes} nodes");
        assert_eq!(world.nodes_for(&important), 1, "{nodes} nodes");
        let counts = world.standing.counts();
        assert_eq!((counts.made, counts.rebuilds, counts.plain.len()), (1, 0, 0), "{counts:?}");
    }
}

#[test]
fn nominated_pods_that_do_not_concern_who_looks_at_domains_cost_no_look() {
    for kind in [
        spread("kubernetes.io/hostname"),
        with_affinity("podAntiAffinity", true, "kubernetes.io/hostname", "a"),
    ] {
        let mut world = World::new(60, 0, AT_ONCE);
        let namespace = json!({"metadata": {"name": "ns", "labels": {"team": "red"}}});
        world.snapshot.objects_mut().apply(object(ObjectKind::Namespace, namespace));
        for at in 0..40 {
            let mut stranger = asking("1");
            // Of the same kind on some nodes.
            stranger["metadata"]["labels"]["app"] = if at < 5 { "a" } else { "b" }.into();
            world.nominator.set(&pod(&stranger, &format!("nominated-{at}")), &Atom::new(&format!("n{at}")));
        }
        world.place(&kind);
        for _ in 0..3 {
            let looked_at = world.nodes_for(&kind);
            assert!(
                (5..=7).contains(&looked_at),
                "{looked_at}: of the same kind, and the node of the pod before"
            );
        }
    }
}

#[test]
fn preemption_tries_out_nodes_to_which_pods_are_nominated_once() {
    let mut preemptor = asking("3");
    preemptor["spec"]["priority"] = 10.into();
    let mut world = World::new(12, 0, AT_ONCE);
    (0..12).for_each(|_| assert!(world.place(&asking("2")).is_some()));
    (0..12).for_each(|at| nominate(&mut world, at, 10));
    let made = |world: &mut World| {
        let before = world.standing.counts().trials.made;
        world.message(&preemptor);
        world.standing.counts().trials.made - before
    };
    assert_eq!([made(&mut world), made(&mut world)], [12, 0]);
    nominate(&mut world, 3, 11);
    assert_eq!([made(&mut world), made(&mut world)], [1, 0]);
}

#[test]
fn groups_are_those_of_domains_and_counts_however_many_nodes_there_are() {
    for (key, at_most) in [("topology.kubernetes.io/zone", 3), ("kubernetes.io/hostname", 2)] {
        for nodes in [12, 2000] {
            let mut world = World::new(nodes, 0, AT_ONCE);
            for _ in 0..20 {
                let before = world.standing.counts().groups_visited;
                world.place(&spread(key)).expect("the pod fits");
                let groups = world.standing.counts().groups_visited - before;
                assert!(groups <= at_most, "{key}, {nodes} nodes: {groups} groups");
            }
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
fn the_first_pod_of_a_kind_makes_no_class_unless_told_otherwise() {
    let mut world = World::new(10, 0, StandingSettings::default());
    assert_eq!(world.nodes_for(&asking("100m")), 10, "what pods do not change is asked for each node");
    // Of another kind, but equivalent in that respect; the pod that was placed on a node changes nothing about it.
    assert_eq!(world.nodes_for(&asking("200m")), 0);
    assert_eq!(world.standing.counts().classes, 0);
    assert_eq!(world.nodes_for(&asking("100m")), 10, "a class is made");
    assert_eq!(world.nodes_for(&asking("100m")), 1);
    let counts = world.standing.counts();
    assert_eq!(
        (counts.hits, counts.first_sights, counts.made, counts.plain.len()),
        (4, 2, 1, 0),
        "{counts:?}"
    );
}

#[test]
fn the_first_pod_of_a_kind_makes_a_class_where_domains_count() {
    let mut world = World::new(10, 0, StandingSettings::default());
    let kind = |app: &str| with_affinity("podAntiAffinity", true, "zone", app);
    assert_eq!(world.nodes_for(&kind("a")), 10);
    let looked_at = world.nodes_for(&kind("a"));
    assert!(looked_at < 10, "{looked_at}: the class is known");
    let counts = world.standing.counts();
    assert_eq!((counts.hits, counts.made, counts.plain.len()), (2, 1, 0), "{counts:?}");
}

#[test]
fn pods_that_are_each_alone_look_at_nodes_that_change_by_more_than_pods_and_leave_no_class_behind() {
    for nodes in [10, 2000] {
        let mut world = World::new(nodes, 0, StandingSettings::default());
        world.nodes_for(&asking("1m"));
        let mut bytes = 0;
        for cpu in 2..100 {
            let changed = u64::from(cpu % 10 == 0);
            if changed > 0 {
                world.cache.set_node(node(cpu % nodes));
            }
            assert_eq!(world.nodes_for(&asking(&format!("{cpu}m"))), changed, "{nodes} nodes");
            bytes = bytes.max(world.standing.counts().bytes);
        }
        let counts = world.standing.counts();
        assert_eq!((counts.first_sights, counts.classes, counts.plain.len()), (99, 0, 0), "{counts:?}");
        assert!(bytes < 1000 + 128 * nodes, "{bytes} bytes for {nodes} nodes");
    }
}

#[test]
fn a_first_pod_that_fits_nowhere_is_told_why_by_the_plain_pass() {
    let mut world = World::new(10, 0, StandingSettings::default());
    world.nodes_for(&asking("100m"));
    assert_eq!(
        world.message(&asking("1000")),
        "0/10 nodes are available: 10 Insufficient cpu. \
        preemption: 0/10 nodes are available: 10 Preemption is not helpful for scheduling."
    );
    let plain: Vec<_> = world.standing.counts().plain.iter().map(|(why, n)| (why.reason(), *n)).collect();
    assert_eq!(plain, [("first_sight", 1)]);
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
    // By default kube-scheduler looks at no fewer than 100 of the 2,000 nodes; the only one without pods is not among the first
    // ones.
    let mut world = World::new(2000, 0, AT_ONCE);
    for at in 0..1999 {
        let occupant = pod(&asking("1"), &format!("o{at}")).on_node(&Atom::new(&format!("n{at}")));
        world.cache.add(Arc::new(occupant));
    }
    let node = world.place(&asking("100m")).expect("a node");
    assert_eq!(node.name().as_str(), "n1999");
}

/// Keeps pods off nodes for which a namespace with the same name exists.
pub struct Fenced;

impl Plugin for Fenced {
    fn name(&self) -> &str {
        "Fenced"
    }
    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NONE, NodeParts::NAME).with_objects(&[ObjectKind::Namespace])
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
}

impl Filter for Fenced {
    fn filter(&self, cx: &Context<'_>, _: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Status {
        if cx.snapshot.objects().namespaces.contains_key(node.name()) {
            return Status::unresolvable("node is closed");
        }
        Status::SUCCESS
    }
}

#[test]
fn an_object_that_a_plugin_reads_has_every_node_looked_at_for_pods_that_are_alone() {
    let mut world = World::new(10, 0, StandingSettings::default());
    world.profile = profile_with("Fenced");
    assert_eq!(world.nodes_for(&asking("1m")), 10);
    assert_eq!(world.nodes_for(&asking("2m")), 0);
    for at in 1..10 {
        let namespace = json!({"metadata": {"name": format!("n{at}")}});
        world.snapshot.objects_mut().apply(object(ObjectKind::Namespace, namespace));
    }
    let node = world.place(&asking("3m")).expect("a node is open");
    assert_eq!(node.name().as_str(), "n0");
    assert_eq!(world.standing.counts().first_sights, 3);
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
