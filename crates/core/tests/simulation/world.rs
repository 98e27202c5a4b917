//! The pretended API server, its watches and its users.

mod users;

use crate::odd::Odd;
use crate::slow;
use secondmate_core::port::{BindOutcome, Effect, Input, PodWatch, Verified};
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::{PluginLists, Profile, ProfileSpec, Random};
use secondmate_framework::Parity;
use secondmate_model::{Atom, Node, Pod, Timestamp, Uid, wire};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const OURS: &str = "my-scheduler";
const PLUGINS: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
];

#[derive(Clone, Copy, Default)]
pub struct Options {
    pub steps: usize,
    /// Bindings are refused, lost, or carried out without an answer.
    pub bind_faults: bool,
    /// Watches lag, each on its own.
    pub lag: bool,
    /// Other schedulers are at work, and nodes shrink.
    pub foreign: bool,
    /// Pods have priorities, and room is made for them.
    pub preemption: bool,
    /// A plugin lets pods wait on permit and does work in PreBind.
    pub slow_plugins: bool,
    /// Pods spread over zones and repel their likes.
    pub topology: bool,
    /// What the core does is measured, by a clock that jumps.
    pub measured: bool,
}

struct Truth {
    pods: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
    version: u64,
    /// Nodes to which each pod was ever bound.
    bound: BTreeMap<String, Vec<String>>,
}

/// A stream with its own delay; the core has seen what was taken from the front.
#[derive(Default)]
struct Stream(VecDeque<Input>);

pub struct World {
    options: Options,
    random: Random,
    now: Timestamp,
    truth: Truth,
    scheduler: Scheduler,
    slow: slow::Shared,
    pub probe: Arc<Odd>,
    /// Pending, assigned, foreign, nodes, and answers to effects.
    streams: [Stream; 5],
    /// Which pods each of the three pod watches shows.
    shown: [BTreeMap<String, ()>; 3],
    next_name: u64,
    calm: bool,
    pub log: Vec<String>,
}

impl World {
    pub fn new(seed: u64, options: Options) -> Self {
        let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
        let slow = slow::Shared::default();
        slow.register(&mut registry);
        let mut plugins = PLUGINS.to_vec();
        if options.preemption {
            plugins.push(("DefaultPreemption", 0));
        }
        if options.topology {
            plugins.extend([("PodTopologySpread", 2), ("InterPodAffinity", 2)]);
        }
        if options.slow_plugins {
            plugins.push((slow::NAME, 0));
        }
        let spec = ProfileSpec {
            scheduler_name: OURS.to_owned(),
            percentage_of_nodes_to_score: 100,
            plugins: PluginLists::multi_point(&plugins, &registry, &BTreeMap::new())
                .expect("in-tree plugins"),
            args: BTreeMap::new(),
            victims_of: None,
        };
        let mut profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
        let probe = Arc::new(Odd::default());
        if options.measured {
            profile = profile.with_probe(probe.clone());
        }
        let config = SchedulerConfig { seed, ..SchedulerConfig::default() };
        let mut world = Self {
            options,
            random: Random::new(seed),
            now: Timestamp::from_secs(1_000_000),
            truth: Truth {
                pods: BTreeMap::new(),
                nodes: BTreeMap::new(),
                version: 0,
                bound: BTreeMap::new(),
            },
            scheduler: Scheduler::new(config, vec![profile]).audited(),
            probe: Arc::clone(&probe),
            slow,
            streams: Default::default(),
            shown: Default::default(),
            next_name: 0,
            calm: false,
            log: Vec::new(),
        };
        if options.measured {
            world.scheduler = world.scheduler.with_probe(probe);
        }
        for _ in 0..4 {
            world.add_node();
        }
        world
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn pick(&mut self, from: &[String]) -> Option<String> {
        (!from.is_empty()).then(|| from[self.random.below(from.len())].clone())
    }

    fn name(&mut self, prefix: &str) -> String {
        self.next_name += 1;
        format!("{prefix}{}", self.next_name)
    }

    /// One thing happens.
    pub fn advance(&mut self) {
        self.now = self.now + Duration::from_millis(1 + self.random.below(400) as u64);
        match self.random.below(24) {
            0..=5 => self.create_pod(OURS),
            6 => self.delete_pod(),
            7 => self.change_pod(),
            8 if self.truth.nodes.len() < 8 => self.add_node(),
            9 => self.change_node(),
            10 if self.one_in(4) => self.remove_node(),
            11 | 12 if self.options.foreign => self.create_pod("default-scheduler"),
            13 | 14 if self.options.foreign => self.foreign_bind(),
            15 => self.finish_pod(),
            16 if self.options.lag && self.one_in(3) => self.relist(),
            _ => {}
        }
        if self.options.slow_plugins && self.one_in(2) {
            self.decide_on_permit();
        }
        self.deliver();
        for _ in 0..2 {
            self.scheduler.step(self.now);
            self.check();
            self.take_effects();
        }
        self.check();
    }

    /// The plugin makes up its mind about pods that wait on permit: most may go on, some may not, some it forgets.
    fn decide_on_permit(&mut self) {
        let waiting = std::mem::take(&mut self.slow.books().waiting);
        let Some(handle) = self.slow.books().handle.clone() else { return };
        for pod in waiting {
            let taken = match if self.calm { 2 } else { self.random.below(8) } {
                0 => handle.reject(&pod, slow::NAME, "changed its mind"),
                1 => true,
                _ => handle.allow(&pod, slow::NAME),
            };
            assert!(taken, "few commands wait");
        }
    }

    /// Faults end and nothing more is asked for: all that fits must be placed soon.
    pub fn calm_down(&mut self) {
        self.calm = true;
        // Longer than the longest stay among the unschedulable pods, and the backoff after it.
        let mut rounds = 0;
        // In the end what has been begun may be finished.
        while rounds < 50 || (rounds < 60 && self.scheduler.sizes().bindings > 0) {
            rounds += 1;
            self.now = self.now + Duration::from_secs(8);
            self.finish_deletions();
            self.decide_on_permit();
            self.deliver();
            loop {
                let tried = self.scheduler.step(self.now).is_some();
                // Time alone may have made it ask for something.
                self.take_effects();
                if !tried && self.streams.iter().all(|s| s.0.is_empty()) {
                    break;
                }
                self.deliver();
            }
            self.check();
        }
        self.everything_is_settled();
    }

    fn everything_is_settled(&self) {
        let sizes = self.scheduler.sizes();
        assert_eq!(sizes.cache.assumed_pods, 0, "assumed pods are left over: {sizes:?}");
        assert_eq!(sizes.bindings, 0, "bindings are left over: {sizes:?}");
        let on_nodes =
            self.truth.pods.values().filter(|p| !ended(p) && p["spec"]["nodeName"].is_string()).count();
        assert_eq!(sizes.cache.pods, on_nodes, "the cache has what the cluster has");
        let waiting: Vec<&Value> = self
            .truth
            .pods
            .values()
            .filter(|p| ours(p) && !ended(p) && p["spec"]["nodeName"].is_null())
            .collect();
        let queue = sizes.queue;
        let queued = queue.active + queue.backoff + queue.unschedulable + queue.gated;
        assert_eq!(queued, waiting.len(), "each waiting pod is queued: {queue:?}");
        for pod in waiting {
            let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty());
            // Whom a pod repels is beyond `has_room`.
            if gated || self.options.topology || pod["metadata"]["deletionTimestamp"].is_string() {
                continue;
            }
            for node in self.truth.nodes.values() {
                assert!(!self.has_room(pod, node), "{} fits {} and waits", name(pod), name(node));
            }
        }
    }

    /// The rules as a person would check them: room, cordon, pods.
    fn has_room(&self, pod: &Value, node: &Value) -> bool {
        if node["spec"]["unschedulable"] == true {
            return false;
        }
        let here: Vec<&Value> = self
            .truth
            .pods
            .values()
            .filter(|p| {
                let name = &node["metadata"]["name"];
                let promised = p["spec"]["nodeName"].is_null()
                    && p["status"]["nominatedNodeName"] == *name
                    && p["metadata"]["uid"] != pod["metadata"]["uid"]
                    && priority(p) >= priority(pod);
                (p["spec"]["nodeName"] == *name || promised) && !ended(p)
            })
            .collect();
        let used: u64 = here.iter().map(|p| cpu(p)).sum();
        let wanted_port = port(pod);
        let clash = wanted_port.is_some() && here.iter().any(|p| port(p) == wanted_port);
        let allocatable = &node["status"]["allocatable"];
        let number = |v: &Value| v.as_str().and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
        !clash
            && used + cpu(pod) <= number(&allocatable["cpu"]) * 1000
            && (here.len() as u64) < number(&allocatable["pods"])
    }

    fn check(&self) {
        if let Err(broken) = self.scheduler.check() {
            panic!("invariant broken: {broken}");
        }
        for (pod, nodes) in &self.truth.bound {
            assert!(nodes.len() <= 1, "pod {pod} was bound to {nodes:?}");
        }
    }

    // What users and other schedulers do.

    fn write_pod(&mut self, name: &str, mut pod: Value) {
        self.truth.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        self.truth.pods.insert(name.to_owned(), pod);
        self.tell_pod(name);
    }

    fn write_node(&mut self, name: &str, mut node: Value) {
        self.truth.version += 1;
        node["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        let compiled = compile_node(&node);
        self.truth.nodes.insert(name.to_owned(), node);
        self.streams[3].0.push_back(Input::Node(compiled));
    }

    /// Each watch whose selector the pod meets is told; one whose selector it does not meet any more is told that it is gone.
    fn tell_pod(&mut self, name: &str) {
        let pod = self.truth.pods.get(name);
        let watches = [PodWatch::Pending, PodWatch::Assigned, PodWatch::ForeignNominated];
        for (at, watch) in watches.into_iter().enumerate() {
            let selected = pod.is_some_and(|p| selects(watch, p));
            if selected {
                self.shown[at].insert(name.to_owned(), ());
                let compiled = compile(pod.expect("it is selected"));
                self.streams[at].0.push_back(Input::Pod(watch, compiled));
            } else if self.shown[at].remove(name).is_some() {
                self.streams[at].0.push_back(Input::PodGone(watch, Uid::from(&*format!("uid-{name}"))));
            }
        }
    }

    /// A watch breaks and is listed anew: what was on the way is lost, and what the core gets is the difference.
    fn relist(&mut self) {
        let at = self.random.below(3);
        let watch = [PodWatch::Pending, PodWatch::Assigned, PodWatch::ForeignNominated][at];
        // A reflector knows what it has told; here everything ever shown is told to be gone unless it is in the list, which
        // the core must take without harm.
        let lost = std::mem::take(&mut self.streams[at].0);
        let mut told: Vec<Uid> = Vec::new();
        for input in lost {
            match input {
                Input::Pod(_, pod) => told.push(pod.uid.clone()),
                Input::PodGone(_, uid) => told.push(uid),
                _ => {}
            }
        }
        let listed: Vec<String> = self.pods_where(|p| selects(watch, p));
        for uid in told {
            if !listed.iter().any(|n| format!("uid-{n}") == uid.as_str()) {
                self.streams[at].0.push_back(Input::PodGone(watch, uid));
            }
        }
        for name in listed {
            let compiled = compile(&self.truth.pods[&name]);
            self.streams[at].0.push_back(Input::Pod(watch, compiled));
        }
    }

    fn bind(&mut self, name: &str, node: &str) -> Result<(), (u16, String)> {
        let Some(pod) = self.truth.pods.get(name) else {
            return Err((404, format!("pods {name:?} not found")));
        };
        if pod["metadata"]["deletionTimestamp"].is_string() {
            return Err((409, format!("pod {name} is being deleted")));
        }
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            return Err((409, format!("pod {name} is already assigned to node {node:?}")));
        }
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = json!(node);
        pod["status"].as_object_mut().expect("a status").remove("nominatedNodeName");
        self.truth.bound.entry(format!("uid-{name}")).or_default().push(node.to_owned());
        self.write_pod(name, pod);
        Ok(())
    }

    // Between the two.

    fn deliver(&mut self) {
        for at in 0..self.streams.len() {
            let lags = self.options.lag && !self.calm && at != 3;
            let most = self.streams[at].0.len();
            let count = if lags { self.random.below(most + 1).min(self.random.below(6)) } else { most };
            for _ in 0..count {
                let Some(input) = self.streams[at].0.pop_front() else { break };
                self.scheduler.apply(input, self.now);
                self.check();
            }
        }
    }

    fn answer(&mut self, input: Input) {
        self.streams[4].0.push_back(input);
    }

    fn take_effects(&mut self) {
        for effect in self.scheduler.take_effects() {
            self.log.push(format!("{} {}", self.now.nanos, brief(&effect)));
            match effect {
                Effect::Bind { pod, node, .. } => self.bind_asked(&pod, &node),
                Effect::Verify { pod } => self.verify_asked(&pod),
                Effect::PatchStatus { pod, condition, nomination } => {
                    let Some(mut stored) = self.truth.pods.get(&*pod.name).cloned() else { continue };
                    if let Some(condition) = condition {
                        stored["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                            "reason": condition.reason, "message": condition.message}]);
                    }
                    if let secondmate_core::port::NominationPatch::Set(node) = nomination {
                        stored["status"]["nominatedNodeName"] = json!(node.map(|n| n.to_string()));
                    }
                    if stored["spec"]["nodeName"].is_null() {
                        self.write_pod(&pod.name, stored);
                    }
                }
                Effect::Evict { victim, preemptor, .. } => {
                    let fails = self.options.bind_faults && !self.calm && self.one_in(5);
                    if !fails {
                        self.delete(&victim.name);
                    }
                    let result = if fails { Err("500".to_owned()) } else { Ok(()) };
                    let (preemptor, victim) = (preemptor.uid.clone(), victim.uid.clone());
                    self.answer(Input::EvictFinished { preemptor, victim, result });
                }
                Effect::Event(_) | Effect::Observed(_) => {}
                Effect::Write { pod, .. } => {
                    let fails = self.options.bind_faults && !self.calm && self.one_in(6);
                    let result = if fails { Err("503".to_owned()) } else { Ok(()) };
                    self.answer(Input::WriteFinished(pod, result));
                }
                Effect::BindBy { .. } => panic!("no plugin here asks for {effect:?}"),
            }
        }
    }

    fn bind_asked(&mut self, pod: &Arc<Pod>, node: &Atom) {
        let fault = if self.options.bind_faults && !self.calm { self.random.below(12) } else { 12 };
        let outcome = match fault {
            5 => BindOutcome::NotSent,
            0 => BindOutcome::Refused { code: 500, message: "internal error".to_owned() },
            1 => BindOutcome::Unknown { message: "time-out, and it was not carried out".to_owned() },
            2 => {
                let _ = self.bind(&pod.name, node.as_str());
                BindOutcome::Unknown { message: "time-out, and it was carried out".to_owned() }
            }
            3 => {
                // The answer is lost and the call is sent again by somebody in between.
                let _ = self.bind(&pod.name, node.as_str());
                match self.bind(&pod.name, node.as_str()) {
                    Ok(()) => BindOutcome::Bound,
                    Err((code, message)) => BindOutcome::Refused { code, message },
                }
            }
            4 if self.options.foreign => {
                // Somebody else is faster, for another node.
                let nodes: Vec<String> = self.truth.nodes.keys().cloned().collect();
                if let Some(other) = self.pick(&nodes) {
                    let _ = self.bind(&pod.name, &other);
                }
                match self.bind(&pod.name, node.as_str()) {
                    Ok(()) => BindOutcome::Bound,
                    Err((code, message)) => BindOutcome::Refused { code, message },
                }
            }
            _ => match self.bind(&pod.name, node.as_str()) {
                Ok(()) => BindOutcome::Bound,
                Err((code, message)) => BindOutcome::Refused { code, message },
            },
        };
        self.answer(Input::BindFinished(pod.uid.clone(), outcome));
    }

    fn verify_asked(&mut self, pod: &Arc<Pod>) {
        let verified = if self.options.bind_faults && !self.calm && self.one_in(4) {
            Verified::Failed("503".to_owned())
        } else {
            match self.truth.pods.get(&*pod.name) {
                Some(stored) => Verified::Found(compile(stored)),
                None => Verified::Gone,
            }
        };
        self.answer(Input::Verified(pod.uid.clone(), verified));
    }
}

/// An effect as a line: whole pods would make up most of the test's time.
fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Bind { pod, node, .. } => format!("bind {} {node}", pod.name),
        Effect::BindBy { pod, .. } => format!("bind by {}", pod.name),
        Effect::Write { pod, writes } => format!("write {pod} {writes:?}"),
        Effect::Verify { pod } => format!("verify {}", pod.name),
        Effect::PatchStatus { pod, condition, nomination } => {
            format!("status {} {condition:?} {nomination:?}", pod.name)
        }
        Effect::Event(event) => format!("event {} {} {}", event.regarding.name, event.reason, event.note),
        Effect::Evict { victim, preemptor, .. } => format!("evict {} {}", victim.name, preemptor.name),
        Effect::Observed(observation) => format!("observed {observation:?}"),
    }
}

fn selects(watch: PodWatch, pod: &Value) -> bool {
    let assigned = pod["spec"]["nodeName"].is_string();
    match watch {
        PodWatch::Pending => ours(pod) && !assigned,
        PodWatch::Assigned => assigned && !ended(pod),
        PodWatch::ForeignNominated => !assigned && pod["status"]["nominatedNodeName"].is_string(),
    }
}

fn ours(pod: &Value) -> bool {
    pod["spec"]["schedulerName"] == OURS
}

fn ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}

fn cpu(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap_or("0m");
    text.trim_end_matches('m').parse().unwrap_or(0)
}

fn priority(pod: &Value) -> i64 {
    pod["spec"]["priority"].as_i64().unwrap_or(0)
}

fn port(pod: &Value) -> Option<u64> {
    pod["spec"]["containers"][0]["ports"][0]["hostPort"].as_u64()
}

fn compile(pod: &Value) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(pod.clone()).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

fn compile_node(node: &Value) -> Arc<Node> {
    let wire: wire::Node = serde_json::from_value(node.clone()).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}
