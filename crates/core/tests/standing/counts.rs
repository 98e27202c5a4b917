//! What a pod of a known class costs, in numbers that do not depend on the machine.

use crate::cluster::{profile, profile_with};
use crate::objects::{object, pod};
use secondmate_core::Nominator;
use secondmate_core::cache::Cache;
use secondmate_cycle::{Evaluate, Outcome, Profile, Question, Random, Scope, Standing, StandingSettings};
use secondmate_framework::{
    Context, CycleState, Declaration, Filter, NodeParts, Plugin, PodParts, Snapshot, Status, TrialCounts,
};
use secondmate_model::objects::{ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, NodeInfo, Pod, Timestamp, wire};
use serde_json::{Value, json};
use std::sync::Arc;

pub struct World {
    pub cache: Cache,
    pub snapshot: Snapshot,
    nominator: Nominator,
    profile: Profile,
    pub standing: Standing,
    random: Random,
    names: usize,
    /// The complete JSON of each pod.
    json: Option<String>,
}

fn node(at: usize) -> Arc<Node> {
    let node = json!({"metadata": {"name": format!("n{at}"), "labels":
            {"topology.kubernetes.io/zone": format!("z{}", at % 3), "kubernetes.io/hostname": format!("n{at}")}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

pub fn asking(cpu: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}}]}})
}

/// A pod that must spread over the domains of the label.
fn spread(key: &str) -> Value {
    let mut spread = asking("100m");
    spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}]);
    spread
}

impl World {
    pub fn new(nodes: usize, percentage: u8, settings: StandingSettings) -> Self {
        let mut cache = Cache::new();
        (0..nodes).for_each(|at| {
            cache.set_node(node(at));
        });
        let (profile, standing) = (profile(percentage), Standing::new(settings));
        let (snapshot, nominator) = (Snapshot::default(), Nominator::default());
        Self { cache, snapshot, nominator, profile, standing, random: Random::new(1), names: 0, json: None }
    }

    pub fn place(&mut self, template: &Value) -> Option<Arc<NodeInfo>> {
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
    pub fn message(&mut self, template: &Value) -> String {
        match self.try_pod(template) {
            (_, Outcome::Rejected(rejection)) => rejection.message,
            _ => panic!("the pod is not rejected"),
        }
    }

    fn try_pod(&mut self, template: &Value) -> (Arc<Pod>, Outcome) {
        self.names += 1;
        let mut pod = pod(template, &format!("p{}", self.names));
        if let Some(json) = &self.json {
            pod = Arc::new(Pod::clone(&pod).with_json(json));
        }
        self.cache.refresh(&mut self.snapshot);
        let question = Question {
            profile: &self.profile,
            snapshot: &self.snapshot,
            nominations: &self.nominator,
            now: Timestamp::from_secs(1),
            pod: &pod,
            scope: Scope::Sample { start: 0 },
        };
        let outcome = self.standing.evaluate(&question, &mut self.random).outcome;
        (pod, outcome)
    }

    /// Numbers of nodes that plugins are asked about and of groups that are visited, for a pod that fits nowhere.
    fn for_rejection(&mut self, template: &Value) -> (u64, u64) {
        let counts = |world: &Self| {
            let counts = world.standing.counts();
            (counts.nodes_evaluated, counts.groups_visited)
        };
        let before = counts(self);
        self.message(template);
        let after = counts(self);
        (after.0 - before.0, after.1 - before.1)
    }

    /// Number of nodes that plugins are asked about for the next pod.
    pub fn nodes_for(&mut self, template: &Value) -> u64 {
        let before = self.standing.counts().nodes_evaluated;
        assert!(self.place(template).is_some(), "the pod fits");
        self.standing.counts().nodes_evaluated - before
    }
}

pub const AT_ONCE: StandingSettings =
    StandingSettings { bytes_max: 1 << 30, first_sight: true, columns_from: 9 };

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

/// A pod of an app that has a term selecting its own kind.
fn with_affinity(kind: &str, required: bool, key: &str, app: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}},
        "namespaceSelector": {"matchLabels": {"team": "red"}}});
    let mut pod = asking("100m");
    pod["metadata"]["labels"]["app"] = app.into();
    pod["spec"]["affinity"][kind] = if required {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    } else {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term}]})
    };
    pod
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
fn for_want_of_memory_those_go_first_of_which_one_pod_came() {
    let settings = StandingSettings { bytes_max: 64 << 10, ..StandingSettings::default() };
    let mut world = World::new(500, 0, settings);
    let kind = |app: &str| with_affinity("podAntiAffinity", true, "zone", app);
    for _ in 0..2 {
        world.place(&kind("known"));
    }
    for other in 0..50 {
        world.place(&kind(&format!("other-{other}")));
    }
    let made = world.standing.counts().made;
    world.place(&kind("known"));
    let counts = world.standing.counts();
    assert_eq!(counts.made, made, "it is there still: {counts:?}");
    assert!(counts.dropped > 0, "{counts:?}");
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
fn columns_take_no_more_than_half_of_the_memory() {
    let mut world =
        World::new(100, 0, StandingSettings { bytes_max: 10 << 10, ..StandingSettings::default() });
    assert_eq!(world.nodes_for(&asking("100m")), 0);
    let plain: Vec<_> = world.standing.counts().plain.iter().map(|(why, n)| (why.reason(), *n)).collect();
    assert_eq!(plain, [("first_sight", 1)]);
    assert_eq!(world.standing.counts().bytes, 0);
}

#[test]
fn memory_stays_within_the_budget_and_the_class_used_last_stays() {
    let settings = StandingSettings { bytes_max: 64 << 10, ..AT_ONCE };
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
fn a_class_counts_the_namespaces_that_its_terms_mean_and_the_pod_that_is_kept_in_full() {
    let bytes_for = |namespaces: usize, json: Option<&str>| {
        let mut world = World::new(4, 0, AT_ONCE);
        for at in 0..namespaces {
            let namespace = json!({"metadata": {"name": format!("ns{at}"), "labels": {"team": "red"}}});
            world.snapshot.objects_mut().apply(object(ObjectKind::Namespace, namespace));
        }
        world.json = json.map(str::to_owned);
        world.place(&with_affinity("podAntiAffinity", true, "zone", "a"));
        world.standing.counts().bytes
    };
    let few = bytes_for(1, None);
    assert!(bytes_for(2000, None) > few + 2000 * size_of::<Atom>());
    // The class keeps a pod, and so do the columns.
    assert_eq!(bytes_for(1, Some(&"x".repeat(10_000))), few + 2 * 10_000);
}

/// A pod with so many terms, each with a key of its own that no node has, about pods of this app.
fn wide(required: bool, terms: usize, app: &str) -> Value {
    let term = |at: usize| json!({"topologyKey": format!("key-{at}"), "labelSelector": {"matchLabels": {"app": app}}});
    let mut pod = asking("100m");
    pod["metadata"]["labels"]["app"] = "wide".into();
    pod["spec"]["affinity"]["podAntiAffinity"] = if required {
        let terms: Vec<Value> = (0..terms).map(term).collect();
        json!({"requiredDuringSchedulingIgnoredDuringExecution": terms})
    } else {
        let terms: Vec<Value> =
            (0..terms).map(|at| json!({"weight": 1, "podAffinityTerm": term(at)})).collect();
        json!({"preferredDuringSchedulingIgnoredDuringExecution": terms})
    };
    pod
}

/// A pod with so many spread constraints, each over a key of its own that no node has.
fn spread_over(constraints: usize, when_unsatisfiable: &str) -> Value {
    let constraint = |at: usize| {
        json!({"maxSkew": 1, "topologyKey": format!("key-{at}"), "whenUnsatisfiable": when_unsatisfiable,
            "labelSelector": {"matchLabels": {"app": "a"}}})
    };
    let mut pod = asking("100m");
    pod["spec"]["topologySpreadConstraints"] = (0..constraints).map(constraint).collect();
    pod
}

/// How many pods took the plain pass, by the reason and the plugin.
fn plain(world: &World) -> Vec<(&'static str, Option<String>, u64)> {
    let plain = world.standing.counts().plain.iter();
    plain.map(|(why, pods)| (why.reason(), why.plugin().map(ToString::to_string), *pods)).collect()
}

#[test]
fn pods_about_which_more_keys_count_than_a_class_tells_apart_are_asked_about_node_by_node() {
    for (keys, is_too_many) in [(64, false), (65, true)] {
        // Required: the pod itself, and those that its terms mean.
        let mut world = World::new(10, 0, AT_ONCE);
        assert!(world.place(&wide(true, keys, "a")).is_some());
        (0..3).for_each(|_| assert!(world.place(&asking("100m")).is_some()));
        let filter = |plugin: &str, pods: u64| vec![("filter", Some(plugin.to_owned()), pods)];
        let expected = if is_too_many { filter("InterPodAffinity", 4) } else { vec![] };
        assert_eq!(plain(&world), expected, "{keys} keys");

        // Preferred: only this score is asked for on each node that passes.
        let mut world = World::new(10, 0, AT_ONCE);
        assert!(world.place(&wide(false, keys, "a")).is_some());
        (0..3).for_each(|_| assert!(world.place(&asking("100m")).is_some()));
        assert!(plain(&world).is_empty(), "{keys} keys");
        let asked: Vec<_> =
            world.standing.counts().asked.iter().map(|(plugin, n)| (plugin.as_str(), *n)).collect();
        assert_eq!(asked, if is_too_many { vec![("InterPodAffinity", 4)] } else { vec![] }, "{keys} keys");

        let mut world = World::new(10, 0, AT_ONCE);
        world.message(&spread_over(keys, "DoNotSchedule"));
        let expected = if is_too_many { filter("PodTopologySpread", 1) } else { vec![] };
        assert_eq!(plain(&world), expected, "{keys} keys");

        // One coordinate says which nodes stay out of it.
        let mut world = World::new(10, 0, AT_ONCE);
        assert!(world.place(&spread_over(keys - 1, "ScheduleAnyway")).is_some());
        let asked = world.standing.counts().asked.keys().map(Atom::as_str).collect::<Vec<_>>();
        assert_eq!(asked, if is_too_many { vec!["PodTopologySpread"] } else { vec![] }, "{keys} keys");
    }
}

#[test]
fn a_class_that_takes_more_than_all_may_is_given_up_and_leaves_the_others_alone() {
    let settings = StandingSettings { bytes_max: 64 << 10, ..StandingSettings::default() };
    // The counts of the first are too large beside the columns, those of the second by themselves.
    for (keys, given_up, dropped) in [(12, 2, 1), (40, 3, 0)] {
        let mut world = World::new(500, 0, settings);
        (0..3).for_each(|_| assert!(world.place(&asking("100m")).is_some()));
        let (classes, made) = (world.standing.counts().classes, world.standing.counts().made);
        assert_eq!((classes, made), (1, 1));
        (0..3).for_each(|_| assert!(world.place(&wide(true, keys, "nobody")).is_some()));
        assert_eq!(plain(&world), [("too_large", None, given_up)], "{keys} keys");
        assert_eq!(world.standing.counts().dropped, dropped, "{keys} keys");
        assert!(world.nodes_for(&asking("100m")) <= 4, "the class is known still");
        assert_eq!(world.standing.counts().classes, classes);
        assert!(world.standing.counts().bytes <= settings.bytes_max);
    }
}

#[test]
fn a_class_counts_the_pod_that_it_keeps() {
    let bytes_for = |labels: usize, settings: StandingSettings| {
        let mut world = World::new(40, 0, settings);
        let mut kind = asking("100m");
        for at in 0..labels {
            kind["metadata"]["labels"][format!("l{at}")] = "x".into();
        }
        world.place(&kind);
        world.standing.counts().bytes
    };
    for settings in [AT_ONCE, StandingSettings::default()] {
        let more = bytes_for(1000, settings) - bytes_for(0, settings);
        assert!(more > 1000 * 2 * size_of::<Atom>(), "{more} bytes");
    }
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
