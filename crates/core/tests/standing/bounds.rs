//! The bounds of what is kept of classes and columns: their memory, and the keys that a class tells apart.

use crate::objects::object;
use crate::world::{AT_ONCE, World, asking, with_affinity};
use secondmate_cycle::StandingSettings;
use secondmate_model::Atom;
use secondmate_model::objects::ObjectKind;
use serde_json::{Value, json};

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
