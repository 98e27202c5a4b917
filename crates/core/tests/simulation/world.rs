//! The pretended cluster around the core: who does what, and when.

mod objects;
mod server;
mod shell;
mod users;

use crate::extender;
use crate::odd::Odd;
use crate::slow;
use objects::{cpu, ended, gpu, memory, name, ours, port, priority};
use secondmate_core::port::{Effect, Input, PodWatch};
use secondmate_core::{CacheDifference, EvaluationSettings, Scheduler, SchedulerConfig};
use secondmate_cycle::{Profile, ProfileSpec, Random, StandingSettings, multi_point};
use secondmate_framework::Parity;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use serde_json::{Value, json};
use server::Truth;
use shell::Told;
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
    /// Watches, writes and answers lag, each on its own; answers overtake each other.
    pub lag: bool,
    /// Watches are listed anew from a state that is older than what they have shown.
    pub stale_lists: bool,
    /// Other schedulers are at work, and nodes shrink.
    pub foreign: bool,
    /// Pods have priorities and budgets, and room is made for them.
    pub preemption: bool,
    /// A plugin lets pods wait on permit and does work in PreBind.
    pub slow_plugins: bool,
    /// Pods spread over zones and repel their likes.
    pub topology: bool,
    /// An extender binds the pods that ask for a GPU.
    pub extender: bool,
    /// The scheduler crashes and starts anew, and loses its leadership.
    pub restarts: bool,
    /// What the core does is measured, by a clock that jumps.
    pub measured: bool,
    /// Effects are logged in full.
    pub log_in_full: bool,
    /// Nodes are found by the plain pass instead of the standing evaluation, of which a class is made at first sight.
    pub plain: bool,
}

/// A stream with its own delay; the core has seen what was taken from the front.
#[derive(Default)]
struct Stream(VecDeque<Input>);

/// Places of the streams. The first three are the pod watches.
const PODS: usize = 3;
const NODES: usize = 3;
const OBJECTS: usize = 4;
const ANSWERS: usize = 5;

pub struct World {
    options: Options,
    random: Random,
    seed: u64,
    now: Timestamp,
    truth: Truth,
    scheduler: Scheduler,
    slow: slow::Shared,
    pub probe: Arc<Odd>,
    streams: [Stream; 6],
    /// Effects that the core wants and nobody has carried out yet.
    outbox: VecDeque<Effect>,
    /// What the core has been told.
    told: Told,
    leading: bool,
    /// Pods that schedulers before the present one answered from a class.
    earlier_hits: u64,
    next_name: u64,
    calm: bool,
    pub log: Vec<String>,
}

/// A scheduler that knows nothing yet.
fn new_scheduler(seed: u64, options: Options, slow: &slow::Shared, probe: &Arc<Odd>) -> Scheduler {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
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
        plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("in-tree plugins"),
        args: BTreeMap::new(),
        victims_of: None,
    };
    let mut profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    if options.extender {
        profile = profile.with_extenders(extender::binder());
    }
    if options.measured {
        profile = profile.with_probe(probe.clone());
    }
    let evaluation = if options.plain {
        EvaluationSettings::Plain
    } else {
        EvaluationSettings::Standing(StandingSettings { first_sight: true, ..StandingSettings::default() })
    };
    let config = SchedulerConfig { seed, evaluation, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(config, vec![profile]).audited();
    if options.measured { scheduler.with_probe(probe.clone()) } else { scheduler }
}

impl World {
    pub fn new(seed: u64, options: Options) -> Self {
        let (slow, probe) = (slow::Shared::default(), Arc::new(Odd::default()));
        let mut world = Self {
            options,
            random: Random::new(seed),
            seed,
            now: Timestamp::from_secs(1_000_000),
            truth: Truth::default(),
            scheduler: new_scheduler(seed, options, &slow, &probe),
            probe,
            slow,
            streams: Default::default(),
            outbox: VecDeque::new(),
            told: Told::default(),
            leading: true,
            earlier_hits: 0,
            next_name: 0,
            calm: false,
            log: Vec::new(),
        };
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

    /// Pods that the schedulers answered from a class.
    pub fn standing_hits(&self) -> u64 {
        self.earlier_hits + self.scheduler.standing().map_or(0, |counts| counts.hits)
    }

    /// Simulated time since the history began.
    pub fn elapsed(&self) -> Duration {
        self.now.since(Timestamp::from_secs(1_000_000))
    }

    /// One thing happens.
    pub fn advance(&mut self) {
        self.now = self.now + Duration::from_millis(1 + self.random.below(400) as u64);
        match self.random.below(26) {
            0..=5 => self.create_pod(OURS),
            6 => self.delete_pod(),
            7 => self.change_pod(),
            8 if self.truth.nodes.len() < 8 => self.add_node(),
            9 => self.change_node(),
            10 if self.one_in(4) => self.remove_node(),
            11 | 12 if self.options.foreign => self.create_pod("default-scheduler"),
            13 | 14 if self.options.foreign => self.foreign_bind(),
            15 => self.finish_pod(),
            16 if self.options.stale_lists || (self.options.lag && self.one_in(3)) => self.relist(),
            21 if self.options.stale_lists => self.relist(),
            17 if self.options.preemption => self.change_budget(),
            18 if self.options.restarts && self.one_in(4) => self.crash(),
            19 if self.options.restarts && self.one_in(2) => self.leading = !self.leading,
            20 if !self.leading => self.other_replica_binds(),
            _ => {}
        }
        if self.options.slow_plugins && self.one_in(2) {
            self.decide_on_permit();
        }
        self.deliver();
        for _ in 0..2 {
            // A standby keeps its cache warm and makes no attempts.
            if self.leading {
                self.scheduler.step(self.now);
                self.check();
            }
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
        self.leading = true;
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
            // Whom a pod repels is beyond `has_room`; the fresh scheduler below knows.
            if gated || self.options.topology || pod["metadata"]["deletionTimestamp"].is_string() {
                continue;
            }
            for node in self.truth.nodes.values() {
                assert!(!self.has_room(pod, node), "{} fits {} and waits", name(pod), name(node));
            }
        }
        self.a_fresh_scheduler_places_none_of_them();
    }

    /// Another scheduler that starts now, on the same cluster and with no memory, finds no node for any pod that waits.
    fn a_fresh_scheduler_places_none_of_them(&self) {
        let mut fresh =
            new_scheduler(self.seed, self.options, &slow::Shared::default(), &Arc::new(Odd::default()));
        for input in self.truth.lists() {
            fresh.apply(input, self.now);
        }
        while let Some(report) = fresh.step(self.now) {
            if let Some(node) = report.node {
                panic!("invariant 7: pod {} fits {node} and waits", report.pod.full_name());
            }
        }
    }

    /// The rules as a person would check them: cordon, room, host ports, pods.
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
                let nominated = p["spec"]["nodeName"].is_null()
                    && p["status"]["nominatedNodeName"] == *name
                    && p["metadata"]["uid"] != pod["metadata"]["uid"]
                    && priority(p) >= priority(pod);
                (p["spec"]["nodeName"] == *name || nominated) && !ended(p)
            })
            .collect();
        let sum = |of: fn(&Value) -> u64| here.iter().map(|p| of(p)).sum::<u64>();
        let wanted_port = port(pod);
        let clash = wanted_port.is_some() && here.iter().any(|p| port(p) == wanted_port);
        let allocatable = &node["status"]["allocatable"];
        let number =
            |v: &Value| v.as_str().and_then(|t| t.trim_end_matches("Gi").parse::<u64>().ok()).unwrap_or(0);
        !clash
            && sum(cpu) + cpu(pod) <= number(&allocatable["cpu"]) * 1000
            && sum(memory) + memory(pod) <= number(&allocatable["memory"])
            && (gpu(pod) == 0 || sum(gpu) + gpu(pod) <= number(&allocatable["example.com/gpu"]))
            && (here.len() as u64) < number(&allocatable["pods"])
    }

    fn check(&self) {
        if let Err(broken) = self.scheduler.check() {
            panic!("{broken}");
        }
    }

    /// The cache has what the core was told, no more and no less; what a look has told it is beside the watches.
    fn check_cache(&self) {
        let Told { nodes, assigned, looked_at, .. } = &self.told;
        let beside = |difference: &CacheDifference| match difference {
            CacheDifference::RedundantPod { pod, .. } | CacheDifference::MissingPod { pod, .. } => {
                looked_at.contains(pod)
            }
            CacheDifference::MissingNode(_) | CacheDifference::RedundantNode(_) => false,
        };
        let different = self.scheduler.compare(nodes, assigned).into_iter().find(|d| !beside(d));
        assert_eq!(different, None, "the cache is not what the core was told");
    }
}
