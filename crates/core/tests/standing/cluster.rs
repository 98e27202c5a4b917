//! A random cluster, and both evaluations side by side.

use crate::asked;
use crate::compare;
use crate::counts::Fenced;
use crate::objects::{budget, compile, manifest, node, node_in, object, one, sibling, template};
use crate::{variety, volumes};
use secondmate_core::Nominator;
use secondmate_core::cache::Cache;
use secondmate_cycle::{
    Answer, Evaluate, Outcome, Plain, PluginLists, Profile, ProfileSpec, Question, Random, Scope, Standing,
    StandingCounts, StandingSettings, multi_point,
};
use secondmate_framework::{ExtensionPoint, Parity, Snapshot};
use secondmate_model::objects::{ObjectKind, ObjectName};
use secondmate_model::{Atom, Pod, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The plugins of the default profile.
const PLUGINS: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DynamicResources", 0),
    ("NodeDeclaredFeatures", 0),
    ("DefaultPreemption", 0),
    ("DefaultBinder", 0),
];

/// Number of kinds of pods at a time.
const TEMPLATES: usize = 6;

/// The default profile.
pub fn profile(percentage: u8) -> Profile {
    profile_of(percentage, PLUGINS, BTreeMap::new(), Parity::Strict, |_| {})
}

/// The default profile with an additional plugin.
pub fn profile_with(plugin: &'static str) -> Profile {
    profile_of(100, &[PLUGINS, &[(plugin, 1)]].concat(), BTreeMap::new(), Parity::Strict, |_| {})
}

/// A profile with other scores, hard default constraints, and the filters that look at domains before most of the others, so that
/// those give their verdicts late.
fn other_profile() -> Profile {
    let fit =
        json!({"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}});
    let constraint =
        |key: &str, when: &str| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when});
    let spread = json!({"defaultingType": "List", "defaultConstraints": [
        constraint("topology.kubernetes.io/zone", "DoNotSchedule"), constraint("example.com/rack", "ScheduleAnyway")]});
    let mut plugins = PLUGINS.to_vec();
    for (to, name) in [(3, "PodTopologySpread"), (6, "InterPodAffinity")] {
        let from = plugins.iter().position(|(plugin, _)| *plugin == name).expect("one of the plugins");
        let plugin = plugins.remove(from);
        plugins.insert(to, plugin);
    }
    let args = [("NodeResourcesFit", fit), ("PodTopologySpread", spread)]
        .map(|(name, args)| (name.to_owned(), args));
    profile_of(100, &plugins, args.into(), Parity::Strict, |_| {})
}

/// The default profile with other weights and arguments.
fn profile_that_varies(random: &mut Random) -> Profile {
    let variety::Variant { weights, args, parity } = variety::profile(random, PLUGINS);
    profile_of(100, &weights, args, parity, |_| {})
}

/// The default profile without some plugins at some of their extension points. A filter whose PreFilter is left out fails.
fn profile_with_gaps(random: &mut Random) -> Profile {
    use ExtensionPoint::{Filter, PreFilter, PreScore, Score};
    profile_of(100, PLUGINS, BTreeMap::new(), Parity::Strict, |lists| {
        for _ in 0..1 + random.below(3) {
            let list = lists.at_mut(one(random, &[PreFilter, Filter, PreScore, Score]));
            if !list.is_empty() {
                list.remove(random.below(list.len()));
            }
        }
    })
}

/// The default profile with scores that cannot be kept in a class.
fn profile_with_asked() -> Profile {
    let plugins = [PLUGINS, &[("Secretive", 3), ("OwnWay", 2)]].concat();
    profile_of(100, &plugins, BTreeMap::new(), Parity::Strict, |lists| {
        // Some of the others run after them.
        lists.at_mut(ExtensionPoint::Score).rotate_right(4);
    })
}

fn profile_of(
    percentage: u8,
    plugins: &[(&str, i64)],
    args: BTreeMap<String, Value>,
    parity: Parity,
    edit: impl FnOnce(&mut PluginLists),
) -> Profile {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    asked::register(&mut registry);
    registry.register("Fenced", |_, _| Ok(Arc::new(Fenced))).expect("a free name");
    let mut lists = multi_point(plugins, &registry, &args).expect("in-tree plugins");
    edit(&mut lists);
    let spec = ProfileSpec {
        scheduler_name: "ours".to_owned(),
        percentage_of_nodes_to_score: percentage,
        plugins: lists,
        args,
        victims_of: None,
    };
    Profile::new(&spec, &registry, parity).expect("a valid profile")
}

/// This many seconds after the start of 1970, in January of that year.
fn instant(secs: i64) -> String {
    let (day, hours, minutes) = (1 + secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    format!("1970-01-{day:02}T{hours:02}:{minutes:02}:{:02}Z", secs % 60)
}

/// The subject of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Anything.
    Anything,
    /// Pods no two of which have equal requests.
    PodsAlone,
    /// Pods that are scored by plugins that declare nothing.
    Asked,
    /// Pods that differ only in their volumes, and changes of these.
    Volumes,
}

pub struct Cluster {
    random: Random,
    seed: u64,
    /// Profiles with the same name but different plugins.
    profiles: [Profile; 5],
    cache: Cache,
    snapshot: Snapshot,
    nominator: Nominator,
    standing: Standing,
    templates: Vec<Value>,
    nodes: Vec<String>,
    nodes_max: usize,
    /// Nodes that have been removed. Some of their pods may still exist.
    gone: Vec<String>,
    bound: Vec<Arc<Pod>>,
    nominated: Vec<Arc<Pod>>,
    names: u64,
    now: i64,
    /// Claims of generic ephemeral volumes.
    ephemeral: Vec<ObjectName>,
    /// Pods with claims that were answered from a class.
    claims_served: u64,
    about: About,
}

impl Cluster {
    pub fn new(seed: u64, settings: StandingSettings, about: About) -> Self {
        let mut random = Random::new(seed);
        let (with_gaps, varies) = (profile_with_gaps(&mut random), profile_that_varies(&mut random));
        let profiles = [profile(100), other_profile(), with_gaps, profile_with_asked(), varies];
        // Occasionally a larger cluster.
        let nodes_max = if random.below(12) == 0 { 60 } else { 20 };
        let mut cluster = Self {
            random,
            seed,
            profiles,
            cache: Cache::new(),
            snapshot: Snapshot::default(),
            nominator: Nominator::default(),
            standing: Standing::new(settings),
            templates: Vec::new(),
            nodes: Vec::new(),
            nodes_max,
            gone: Vec::new(),
            bound: Vec::new(),
            nominated: Vec::new(),
            names: 0,
            now: 1_000_000,
            ephemeral: Vec::new(),
            claims_served: 0,
            about,
        };
        let sound = cluster.is_about_volumes();
        volumes::begin(&mut cluster.random, cluster.snapshot.objects_mut(), sound);
        variety::begin(&mut cluster.random, cluster.snapshot.objects_mut());
        cluster.templates = (0..TEMPLATES).map(|_| cluster.new_template()).collect();
        for _ in 0..cluster.random.below(nodes_max * 3 / 5) {
            cluster.add_node();
        }
        cluster
    }

    pub fn counts(&self) -> StandingCounts {
        self.standing.counts().clone()
    }

    /// Pods with claims that were answered from a class.
    pub fn claims_served(&self) -> u64 {
        self.claims_served
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn add_node(&mut self) {
        let name = self.name("n");
        self.cache.set_node(node(&mut self.random, &name));
        if self.is_about_volumes() {
            let csi_node = volumes::csi_node(&mut self.random, &name);
            self.snapshot.objects_mut().apply(object(ObjectKind::CsiNode, csi_node));
        }
        self.nodes.push(name);
    }

    fn is_about_volumes(&self) -> bool {
        self.about == About::Volumes
    }

    fn new_template(&mut self) -> Value {
        if self.is_about_volumes() { volumes::template(&mut self.random) } else { template(&mut self.random) }
    }

    fn new_pod(&mut self) -> Arc<Pod> {
        compile(self.new_manifest())
    }

    fn new_manifest(&mut self) -> Value {
        let at = self.random.below(TEMPLATES);
        let name = self.name("p");
        let mut pod = manifest(&self.templates[at], &name);
        if self.random.below(8) == 0 {
            // Of the same class as the others, but with other nominated pods that count for it.
            pod["spec"]["priority"] = one(&mut self.random, &[0, 10, 100]).into();
        }
        if self.about == About::PodsAlone {
            let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
            requests["memory"] = format!("{}", (1 << 20) + (self.names << 12)).into();
            // Pods with plugins that look further than the node take the plain pass.
            if self.random.below(32) > 0 {
                pod["metadata"]["ownerReferences"] = json!([]);
                let spec = pod["spec"].as_object_mut().expect("a specification");
                spec.remove("topologySpreadConstraints");
                if let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) {
                    affinity.retain(|kind, _| kind == "nodeAffinity");
                }
            }
        }
        let sound = self.is_about_volumes();
        for claim in volumes::ephemeral_claims(&mut self.random, &pod, sound) {
            self.ephemeral.push(claim.name());
            self.snapshot.objects_mut().apply(claim);
        }
        pod
    }

    fn some_node(&mut self) -> Option<String> {
        (!self.nodes.is_empty()).then(|| one(&mut self.random, &self.nodes))
    }

    /// Makes a random change.
    pub fn change(&mut self) -> &'static str {
        self.now += 1;
        // Replacing the list of nodes, or a new kind of pods, causes every node to be evaluated: little can go wrong then.
        let what = if self.is_about_volumes() && self.random.below(8) > 0 {
            one(&mut self.random, &[5, 6, 10, 11, 14, 16, 22, 22, 22, 22])
        } else {
            self.random.below(38)
        };
        match what {
            0 if self.nodes.len() < self.nodes_max => {
                self.add_node();
                "a node joins"
            }
            1 if self.random.below(3) == 0 => {
                let Some(name) = self.some_node() else { return "nothing" };
                self.nodes.retain(|n| *n != name);
                self.cache.remove_node(&Atom::new(&name));
                self.gone.push(name);
                "a node leaves"
            }
            1 if !self.gone.is_empty() && self.random.below(2) == 0 => {
                let at = self.random.below(self.gone.len());
                let name = self.gone.swap_remove(at);
                self.cache.set_node(node(&mut self.random, &name));
                self.nodes.push(name);
                "a node returns"
            }
            2..=4 => {
                let Some(name) = self.some_node() else { return "nothing" };
                let known = self.snapshot.node(&Atom::new(&name));
                let zone = known.and_then(|info| {
                    info.node().labels.get(&Atom::new("topology.kubernetes.io/zone")).cloned()
                });
                let zone = zone.filter(|_| self.random.below(4) > 0);
                self.cache.set_node(node_in(&mut self.random, &name, zone.as_ref().map(Atom::as_str)));
                "a node changes"
            }
            5..=9 => {
                let Some(mut name) = self.some_node() else { return "nothing" };
                if !self.gone.is_empty() && self.random.below(20) == 0 {
                    name = one(&mut self.random, &self.gone);
                }
                let mut pod = self.new_manifest();
                if self.random.below(2) == 0 {
                    // Occasionally by a clock that is ahead.
                    let started = self.now + 2 - i64::try_from(self.random.below(40)).unwrap_or(0);
                    pod["status"]["startTime"] = instant(started).into();
                }
                let pod = compile(pod).on_node(&Atom::new(&name));
                let pod = Arc::new(pod);
                self.bound.push(Arc::clone(&pod));
                self.cache.add(pod);
                "somebody binds a pod"
            }
            10..=12 if !self.bound.is_empty() => {
                let at = self.random.below(self.bound.len());
                let pod = self.bound.swap_remove(at);
                self.cache.remove(&pod.uid).expect("a pod of the cache");
                "a pod ends"
            }
            13 if !self.bound.is_empty() => {
                let at = self.random.below(self.bound.len());
                let mut leaving = Pod::clone(&self.bound[at]);
                leaving.deleting = true;
                leaving.preempted_by_scheduler = self.random.below(3) == 0;
                let leaving = Arc::new(leaving);
                self.bound[at] = Arc::clone(&leaving);
                self.cache.add(leaving);
                "a pod is on its way out"
            }
            14 | 15 => {
                let Some(name) = self.some_node() else { return "nothing" };
                let pod = self.new_pod();
                self.nominator.set(&pod, &Atom::new(&name));
                self.nominated.push(pod);
                "a pod is nominated"
            }
            16 | 17 if !self.nominated.is_empty() => {
                let at = self.random.below(self.nominated.len());
                let pod = self.nominated.swap_remove(at);
                self.nominator.remove(&pod.uid);
                "a nomination ends"
            }
            30 | 31 if !self.bound.is_empty() => {
                self.update_pod();
                "a pod on a node changes"
            }
            32 if !self.nominated.is_empty() => {
                let Some(name) = self.some_node() else { return "nothing" };
                let mut pod = one(&mut self.random, &self.nominated);
                if self.random.below(2) == 0 {
                    Arc::make_mut(&mut pod).priority = one(&mut self.random, &[0, 10, 100]);
                }
                self.nominator.set(&pod, &Atom::new(&name));
                "a pod is nominated elsewhere"
            }
            33 => {
                variety::change_object(&mut self.random, self.snapshot.objects_mut());
                "a namespace or a workload changes"
            }
            18..=20 => {
                let (at, from) = (self.random.below(TEMPLATES), self.random.below(TEMPLATES));
                self.templates[at] = match self.random.below(3) {
                    _ if self.is_about_volumes() => self.new_template(),
                    0 => template(&mut self.random),
                    _ => sibling(&mut self.random, &self.templates[from]),
                };
                "a new kind of pods"
            }
            21 => {
                self.change_object();
                "an object changes"
            }
            22..=29 => {
                let (sound, random) = (self.is_about_volumes(), &mut self.random);
                let objects = self.snapshot.objects_mut();
                volumes::change(random, objects, &self.nodes, &self.ephemeral, sound);
                "something of storage changes"
            }
            _ => "nothing",
        }
    }

    /// A pod on a node gets other labels, or is resized in place.
    fn update_pod(&mut self) {
        let (at, other) = (self.random.below(self.bound.len()), self.new_pod());
        let mut pod = Pod::clone(&self.bound[at]);
        if self.random.below(2) == 0 {
            pod.labels = other.labels.clone();
        } else {
            pod.requests = other.requests.clone();
        }
        let pod = Arc::new(pod);
        self.bound[at] = Arc::clone(&pod);
        self.cache.add(pod);
    }

    fn change_object(&mut self) {
        let team = one(&mut self.random, &["red", "blue"]);
        let namespace = one(&mut self.random, &["red", "blue"]);
        let objects = self.snapshot.objects_mut();
        match self.random.below(7) {
            5 => {
                let budget = budget(&mut self.random);
                objects.apply(object(ObjectKind::DisruptionBudget, budget));
            }
            6 => {
                let name = one(&mut self.random, &["x", "y"]);
                objects.remove(ObjectKind::DisruptionBudget, &ObjectName::new(&Atom::new(namespace), name));
            }
            0 | 1 => {
                let namespace = json!({"metadata": {"name": namespace, "labels": {"team": team}}});
                objects.apply(object(ObjectKind::Namespace, namespace));
            }
            2 => {
                let service = json!({"metadata": {"name": "s", "namespace": namespace}, "spec": {"selector": {"app": "web"}}});
                objects.apply(object(ObjectKind::Service, service));
            }
            3 => {
                objects.remove(ObjectKind::Service, &ObjectName::new(&Atom::new(namespace), "s"));
            }
            _ => {
                // Of several, the first by name provides the resource.
                let name = one(&mut self.random, &["gpus", "more-gpus"]);
                let class = ObjectName::new(&Atom::default(), name);
                if objects.remove(ObjectKind::DeviceClass, &class).is_none() {
                    let class = json!({"metadata": {"name": name}, "spec": {"extendedResourceName": "example.com/gpu"}});
                    objects.apply(object(ObjectKind::DeviceClass, class));
                }
            }
        }
    }

    /// Asks both evaluations about some pods. Most of those are then assumed where they would go.
    pub fn ask(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(3) {
            self.cache.refresh(&mut self.snapshot);
            let mut pod = self.new_pod();
            if !self.nominated.is_empty() && self.random.below(6) == 0 {
                pod = one(&mut self.random, &self.nominated);
                let node = self.nominator.node_of(&pod.uid).cloned();
                Arc::make_mut(&mut pod).nominated_node_name = node;
            }
            let scope = match self.random.below(2) {
                0 => Scope::Sample { start: self.random.below(self.snapshot.nodes().len().max(1)) },
                _ => Scope::Every,
            };
            let Some(node) = self.ask_about(&pod, scope)? else { continue };
            if self.random.below(4) == 0 {
                continue;
            }
            self.nominator.remove(&pod.uid);
            self.nominated.retain(|nominated| nominated.uid != pod.uid);
            let placed = Arc::new(pod.on_node(&node));
            self.cache.assume(Arc::clone(&placed)).expect("a pod that is not in the cache");
            self.cache.add(Arc::clone(&placed));
            self.bound.push(placed);
        }
        Ok(())
    }

    /// The node that both chose.
    fn ask_about(&mut self, pod: &Arc<Pod>, scope: Scope) -> Result<Option<Atom>, String> {
        let profile = match self.about {
            About::Volumes => 0,
            About::Asked => 3,
            About::Anything | About::PodsAlone => one(&mut self.random, &[0, 0, 0, 0, 0, 1, 1, 2, 4, 4]),
        };
        let question = Question {
            profile: &self.profiles[profile],
            snapshot: &self.snapshot,
            nominations: &self.nominator,
            now: Timestamp::from_secs(self.now),
            pod,
            scope,
        };
        let mut random = [Random::new(self.seed ^ self.names), Random::new(self.seed ^ self.names)];
        let plain = Plain.evaluate(&question, &mut random[0]);
        let hits = self.standing.counts().hits;
        let standing = self.standing.evaluate(&question, &mut random[1]);
        let uses_claims = pod.volumes.iter().any(|volume| pod.claim_name(volume).is_some());
        self.claims_served += if uses_claims { self.standing.counts().hits - hits } else { 0 };
        compare::answers(&plain, &standing, &self.snapshot)
            .map_err(|difference| format!("pod {}, {scope:?}: {difference}", pod.name))?;
        if random[0].next_u64() != random[1].next_u64() {
            return Err(format!("pod {}, {scope:?}: another number of random numbers was drawn", pod.name));
        }
        Ok(chosen(&plain))
    }
}

fn chosen(answer: &Answer) -> Option<Atom> {
    match &answer.outcome {
        Outcome::Placed { node, .. } => Some(node.name().clone()),
        _ => None,
    }
}
