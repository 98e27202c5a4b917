//! The hint for an event is requested once for equivalent waiting pods, with the same result as requesting it for each.

use crate::fixture::{OURS, atom, node, pod, secs, uid};
use secondmate_core::Nominator;
use secondmate_core::queue::{AttemptOutcome, Place, Profiles, Queue, QueueConfig, QueueContext};
use secondmate_cycle::{
    Evaluate, Outcome, Profile, ProfileSpec, Question, Random, Scope, Standing, StandingSettings, multi_point,
};
use secondmate_framework::{
    ActionType, ClusterEvent, Context, CycleState, Declaration, EventObject, EventRegistration,
    EventResource, Filter, Hint, NodeParts, ObjectChange, Parity, Plugin, PodParts, QueueSort, Registry,
    Snapshot, Status,
};
use secondmate_model::objects::Objects;
use secondmate_model::{NodeInfo, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const REJECTORS: [&str; 6] = [
    "NodeResourcesFit",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "InterPodAffinity",
    "NodeUnschedulable",
];

/// An in-tree plugin whose hints are counted, and which may leave undeclared what it reads.
struct Counted {
    plugin: Arc<dyn Plugin>,
    silent: bool,
    hints: Arc<AtomicUsize>,
}

impl Plugin for Counted {
    fn name(&self) -> &str {
        self.plugin.name()
    }
    fn declaration(&self) -> Declaration {
        if self.silent { Declaration::unknown() } else { self.plugin.declaration() }
    }
    fn events(&self) -> Vec<EventRegistration> {
        self.plugin.events()
    }
    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        self.hints.fetch_add(1, Ordering::Relaxed);
        self.plugin.hint(pod, change)
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Arc::clone(&self.plugin).as_filter()
    }
    fn as_queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSort>> {
        Arc::clone(&self.plugin).as_queue_sort()
    }
}

struct World {
    queue: Queue,
    profiles: Profiles,
    hints: Arc<AtomicUsize>,
}

impl World {
    fn new(silent: bool) -> Self {
        let hints = Arc::new(AtomicUsize::new(0));
        let in_tree = Arc::new(secondmate_plugins::registry().expect("in-tree plugins"));
        let mut registry = Registry::new();
        let names: Vec<String> = in_tree.names().map(ToOwned::to_owned).collect();
        for name in names {
            let (in_tree, hints, plugin_name) = (Arc::clone(&in_tree), Arc::clone(&hints), name.clone());
            let make = move |args: &serde_json::Value, handle: &secondmate_framework::Handle| {
                let plugin = in_tree.make(&plugin_name, args, handle)?;
                // Binding and order are not under test.
                if plugin_name == "DefaultBinder" {
                    return Ok(plugin);
                }
                Ok(Arc::new(Counted { plugin, silent, hints: Arc::clone(&hints) }) as Arc<dyn Plugin>)
            };
            registry.register(&name, make).expect("a new name");
        }
        let mut plugins: Vec<(&str, i64)> = REJECTORS.iter().map(|name| (*name, 1)).collect();
        plugins.extend([("PrioritySort", 1), ("DefaultBinder", 1)]);
        let args = BTreeMap::new();
        let spec = ProfileSpec {
            scheduler_name: OURS.to_owned(),
            plugins: multi_point(&plugins, &registry, &args).expect("registered"),
            ..ProfileSpec::default()
        };
        let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
        let profiles = Profiles::from([(atom(OURS), Arc::new(profile))]);
        Self { queue: Queue::new(QueueConfig::default()), profiles, hints }
    }
}

impl World {
    fn queue_at(&mut self, now: f64) -> (&mut Queue, QueueContext<'_>) {
        let cx = QueueContext { now: secs(now), profiles: &self.profiles, gates: &(), promises: &() };
        (&mut self.queue, cx)
    }

    /// The pod is tried and rejected by these plugins.
    fn reject(&mut self, text: &str, by: &[&str], now: f64) {
        let (queue, cx) = self.queue_at(now);
        let pod = pod(text);
        if queue.get(&pod.uid).is_none() {
            queue.add(Arc::clone(&pod), cx);
        }
        queue.force_activate(&pod.uid, cx);
        let popped = queue.pop(cx.profiles, &|_| false).expect("a pod is ready");
        assert_eq!(popped.pod.uid, pod.uid, "nothing else is ready");
        let rejected_by = by.iter().map(|name| atom(name)).collect();
        queue.put_back(&pod.uid, AttemptOutcome { rejected_by, ..AttemptOutcome::default() }, cx);
    }

    fn event(&mut self, event: &ClusterEvent, change: &ObjectChange, now: f64) {
        let (queue, cx) = self.queue_at(now);
        queue.on_event(event, change, None, cx);
        queue.check(cx.profiles).expect("the queue is in order");
    }

    /// The pods that have left the unschedulable ones, in queue order.
    fn ready(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.queue.pop(&self.profiles, &|_| false))
            .map(|pod| pod.pod.name.to_string())
            .collect()
    }
}

/// An event, and the object before and after.
fn random_event(random: &mut Random, pods: usize) -> (ClusterEvent, ObjectChange) {
    let mut one = |of: &[&str]| of[random.below(of.len())].to_owned();
    let mut some_node = |name: &str| {
        let parts = [
            one(&["", "cpu=2", "cpu=9"]),
            one(&["", "label=b", "label=c"]),
            one(&["", "taint=x", "unschedulable"]),
        ];
        node(&format!("{name} {}", parts.join(" ")))
    };
    let nodes = (some_node("n"), some_node("n"));
    let uid = random.below(2 * pods);
    let pod = pod(&format!("p{uid} node=n cpu=1 label={} port=80", ["b", "c"][random.below(2)]));
    let (node_event, pod_event) = (EventResource::Node, EventResource::AssignedPod);
    let added = |object| ObjectChange { old: None, new: Some(object) };
    let changed = ObjectChange {
        old: Some(EventObject::Node(Arc::clone(&nodes.0))),
        new: Some(EventObject::Node(Arc::clone(&nodes.1))),
    };
    match random.below(6) {
        0 => (ClusterEvent::new(node_event, ActionType::ADD, "NodeAdd"), added(EventObject::Node(nodes.1))),
        1 => (ClusterEvent::new(node_event, ActionType::UPDATE_NODE_LABEL, "NodeLabel"), changed),
        2 => (ClusterEvent::new(node_event, ActionType::UPDATE_NODE_TAINT, "NodeTaint"), changed),
        3 => (ClusterEvent::new(node_event, ActionType::UPDATE_NODE_ALLOCATABLE, "NodeAllocatable"), changed),
        4 => (ClusterEvent::new(pod_event, ActionType::ADD, "PodAdd"), added(EventObject::Pod(pod))),
        _ => {
            let gone = ObjectChange { old: Some(EventObject::Pod(pod)), new: None };
            (ClusterEvent::new(pod_event, ActionType::DELETE, "PodDelete"), gone)
        }
    }
}

#[test]
fn asking_one_of_a_kind_moves_the_pods_that_asking_each_moves() {
    let given = std::env::var("SEED").ok();
    let seed = given.map_or(20_261_128_u64, |seed| seed.parse().expect("SEED is a number"));
    println!("seed {seed}; SEED={seed} repeats it");
    let mut random = Random::new(seed);
    let (mut kinds, mut each) = (World::new(false), World::new(true));
    let mut moved = 0;
    for round in 0..60 {
        let now = 1000.0 + 100.0 * f64::from(round);
        let pods = 1 + random.below(30);
        for at in 0..pods {
            let mut one = |of: &[&str]| of[random.below(of.len())].to_owned();
            let text = format!(
                "p{at} cpu={} {} {} {}",
                one(&["1", "3"]),
                one(&["", "label=b", "label=c"]),
                one(&["", "anti", "affinity"]),
                one(&["", "port=80", "claim=c"]),
            );
            let by: Vec<&str> = REJECTORS.into_iter().filter(|_| random.below(3) == 0).collect();
            let by = if by.is_empty() { vec![REJECTORS[0]] } else { by };
            kinds.reject(&text, &by, now);
            each.reject(&text, &by, now);
        }
        for _ in 0..3 {
            let (event, change) = random_event(&mut random, pods);
            kinds.event(&event, &change, now + 50.0);
            each.event(&event, &change, now + 50.0);
            let ready = kinds.ready();
            assert_eq!(ready, each.ready(), "round {round}, {event:?}, {change:?}");
            moved += ready.len();
            for name in &ready {
                for world in [&mut kinds, &mut each] {
                    world.queue.remove(&uid(name));
                }
            }
        }
        for at in 0..pods {
            for world in [&mut kinds, &mut each] {
                world.queue.remove(&uid(&format!("p{at}")));
            }
        }
    }
    assert!(moved > 100, "only {moved} pods were moved");
    let (of_kinds, of_each) = (kinds.hints.load(Ordering::Relaxed), each.hints.load(Ordering::Relaxed));
    assert!(of_kinds < of_each, "{of_kinds} hints against {of_each}");
}

#[test]
fn an_event_costs_what_it_can_concern() {
    let mut world = World::new(false);
    for at in 0..1000 {
        world.reject(&format!("p{at} cpu={}", 5 + at % 4), &["NodeResourcesFit"], 1000.0);
    }
    assert_eq!(world.queue.waiting_kinds(), 4);
    let (small, large) = (node("n cpu=2"), node("n cpu=6"));
    let event =
        ClusterEvent::new(EventResource::Node, ActionType::UPDATE_NODE_ALLOCATABLE, "NodeAllocatable");
    let change = |new| ObjectChange {
        old: Some(EventObject::Node(Arc::clone(&small))),
        new: Some(EventObject::Node(Arc::clone(new))),
    };
    world.event(&event, &change(&small), 1100.0);
    assert_eq!(world.hints.swap(0, Ordering::Relaxed), 4, "one for each kind");
    assert!(!world.queue.has_ready());
    // There is room now for pods of 5 and 6 CPUs.
    world.event(&event, &change(&large), 1100.0);
    assert_eq!(world.hints.load(Ordering::Relaxed), 4);
    assert_eq!(world.queue.size().active, 500);
    assert_eq!(world.queue.get(&uid("p2")).map(|entry| entry.place), Some(Place::Unschedulable));
}

/// Reads the names of pods and declares so: a pod fits on the node with its name.
struct SameName {
    whole: bool,
}

impl Plugin for SameName {
    fn name(&self) -> &str {
        "SameName"
    }
    fn declaration(&self) -> Declaration {
        let parts = if self.whole { PodParts::NONE } else { PodParts::ALL };
        Declaration { whole_objects: self.whole, ..Declaration::of(parts, NodeParts::NAME) }
    }
    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Node, ActionType::ADD)]
    }
    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let node = change.new.as_ref().and_then(EventObject::node);
        if node.is_some_and(|node| *node.name.as_str() == *pod.name) { Hint::Queue } else { Hint::Skip }
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
}

impl Filter for SameName {
    fn filter(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let same = node.name().as_str() == &*pod.name;
        if same { Status::SUCCESS } else { Status::unschedulable("another name") }
    }
}

#[test]
fn pods_are_told_apart_for_a_plugin_that_reads_all_of_them() {
    for whole in [false, true] {
        let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
        let make = move |_: &serde_json::Value, _: &secondmate_framework::Handle| {
            Ok(Arc::new(SameName { whole }) as Arc<dyn Plugin>)
        };
        registry.register("SameName", make).expect("a new name");
        let plugins = [("PrioritySort", 1), ("SameName", 1), ("ImageLocality", 1), ("DefaultBinder", 1)];
        let spec = ProfileSpec {
            scheduler_name: OURS.to_owned(),
            percentage_of_nodes_to_score: 100,
            plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("registered"),
            ..ProfileSpec::default()
        };
        let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
        let nodes = ["n1", "n2"].map(|name| Arc::new(NodeInfo::new(node(name))));
        let snapshot = Snapshot::new(nodes.to_vec(), Objects::default());
        let settings = StandingSettings { first_sight: true, ..StandingSettings::default() };
        let mut standing = Standing::new(settings);
        let nominations = Nominator::default();
        for name in ["n1", "n2", "n1"] {
            let pod = pod(name);
            let (scope, now) = (Scope::Sample { start: 0 }, secs(0.0));
            let question = Question {
                profile: &profile,
                snapshot: &snapshot,
                nominations: &nominations,
                now,
                pod: &pod,
                scope,
            };
            let answer = standing.evaluate(&question, &mut Random::new(1));
            let Outcome::Placed { node, .. } = answer.outcome else { panic!("{name} fits on {name}") };
            assert_eq!(node.name().as_str(), name, "whole: {whole}");
        }

        let hints = Arc::default();
        let profiles = Profiles::from([(atom(OURS), Arc::new(profile))]);
        let mut world = World { queue: Queue::new(QueueConfig::default()), profiles, hints };
        for name in ["n1", "n2"] {
            world.reject(name, &["SameName"], 1000.0);
        }
        let added = ObjectChange { old: None, new: Some(EventObject::Node(node("n2"))) };
        world.event(&ClusterEvent::new(EventResource::Node, ActionType::ADD, "NodeAdd"), &added, 1100.0);
        assert_eq!(world.ready(), ["n2"], "whole: {whole}");
    }
}
