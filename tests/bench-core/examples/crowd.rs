//! How long pods that fit wait beside a crowd of pods that do not, while nodes change and pods go: the core alone, in real time.
//!
//! `cargo run --release -p secondmate-bench-core --example crowd -- 20000 100000` (numbers of pods that do not fit)
//!
//! Nine of ten nodes are full, one of ten is kept for others by a taint. Half of the crowd asks for room on the full nodes, half for a
//! label that no node has; they are of twenty kinds. Fifty pods a second arrive that fit on the nodes which are kept for them. Each
//! scene has its own changes: none, a thousand updates of nodes' labels a second, ten pods a second that end on full nodes, both. Inputs
//! and steps alternate as in the scheduling thread. What is late is late: an input counts from the time at which it was due.

use secondmate_config::{Configuration, make_profiles};
use secondmate_core::port::{BindOutcome, Effect, Input, PodWatch};
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::Random;
use secondmate_model::{Node, Pod, Timestamp, wire};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "my-scheduler";
const NODES: usize = 1000;
/// CPUs of a node, and pods on a full one.
const CPUS: usize = 32;
/// Node updates a second, in the scenes that have them.
const UPDATES: f64 = 1000.0;
/// Pods that end a second, in the scenes that have them.
const ENDS: f64 = 10.0;
/// Pods that fit and arrive a second.
const ARRIVALS: f64 = 50.0;
/// For how long each scene is measured.
const SCENE: Duration = Duration::from_secs(20);
/// What is left of the scene before may go on for as long before the next one is measured.
const SETTLES: Duration = Duration::from_secs(5);
/// As in the scheduling thread.
const TAKEN_AT_ONCE: usize = 1024;
const STEPS_AT_ONCE: usize = 32;

/// What changes while a scene is measured.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    updates: bool,
    ends: bool,
}

const SCENES: [Scene; 4] = [
    Scene { name: "nothing else", updates: false, ends: false },
    Scene { name: "1000 node updates/s", updates: true, ends: false },
    Scene { name: "10 pods/s end", updates: false, ends: true },
    Scene { name: "both", updates: true, ends: true },
];

/// A scheduler with the default profile.
fn scheduler() -> Result<Scheduler, Box<dyn Error>> {
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": NAME}],
    });
    let configuration: Configuration = configuration.to_string().parse()?;
    let profiles = make_profiles(&configuration, &secondmate_plugins::registry()?)?;
    Ok(Scheduler::new(SchedulerConfig::default(), profiles))
}

fn is_kept(node: usize) -> bool {
    node.is_multiple_of(10)
}

fn node(at: usize, round: u64) -> Result<Arc<Node>, Box<dyn Error>> {
    let taints = if is_kept(at) { json!([{"key": "kept", "effect": "NoSchedule"}]) } else { json!([]) };
    let wire: wire::Node = serde_json::from_value(json!({
        "metadata": {"name": format!("node-{at}"), "uid": format!("node-{at}"), "resourceVersion": round.to_string(), "labels": {
            "kubernetes.io/hostname": format!("node-{at}"), "kept": is_kept(at).to_string(), "round": round.to_string(),
            "topology.kubernetes.io/zone": format!("zone-{}", at % 3),
        }},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": CPUS.to_string(), "memory": "256Gi", "pods": "1000"}},
    }))?;
    Ok(Arc::new(Node::new(&wire)?))
}

fn pod(name: &str, cpu: &str, more: Value) -> Result<Arc<Pod>, Box<dyn Error>> {
    let mut spec = json!({"schedulerName": NAME, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    let wire: wire::Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": spec, "status": {"phase": "Pending"},
    }))?;
    Ok(Arc::new(Pod::new(&wire)?))
}

/// Arrivals, changes and ends of one scene, each at its time.
struct Source {
    every: Option<Duration>,
    next: Duration,
}

impl Source {
    fn new(rate: Option<f64>, began: Duration) -> Self {
        let every = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self { every, next: began + every.unwrap_or_default() }
    }

    /// The time of the next one, where that has come.
    fn due(&mut self, now: Duration) -> Option<Duration> {
        let every = self.every?;
        let due = (self.next <= now).then_some(self.next)?;
        self.next += every;
        Some(due)
    }
}

/// Times that something took.
#[derive(Default)]
struct Took(Vec<Duration>);

impl Took {
    fn ms(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len().saturating_sub(1) as f64 * share) as usize;
        self.0.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    fn mean_us(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e6 / self.0.len().max(1) as f64
    }
}

struct World {
    core: Scheduler,
    began: Instant,
    /// Pods on full nodes, to be ended.
    on_full: VecDeque<Arc<Pod>>,
    /// When each pod that fits was due to arrive.
    due: BTreeMap<String, Duration>,
    /// From its arrival until it was to be bound.
    latencies: Took,
    answers: VecDeque<Input>,
    made: u64,
    random: Random,
    attempts: usize,
}

impl World {
    fn new(crowd: usize) -> Result<Self, Box<dyn Error>> {
        let mut world = Self {
            core: scheduler()?,
            began: Instant::now(),
            on_full: VecDeque::new(),
            due: BTreeMap::new(),
            latencies: Took::default(),
            answers: VecDeque::new(),
            made: 0,
            random: Random::new(1),
            attempts: 0,
        };
        for at in 0..NODES {
            world.apply(Input::Node(node(at, 0)?));
        }
        for at in (0..NODES).filter(|at| !is_kept(*at)) {
            for n in 0..CPUS {
                let placed = pod(&format!("on-{at}-{n}"), "1", json!({"nodeName": format!("node-{at}")}))?;
                world.on_full.push_back(Arc::clone(&placed));
                world.apply(Input::Pod(PodWatch::Assigned, placed));
            }
        }
        for n in 0..crowd {
            let kind = n % 20;
            let selector = format!("no-{kind}");
            let more = if kind < 10 { json!({}) } else { json!({"nodeSelector": {"disk": selector}}) };
            let cpu = format!("{}m", 1000 - 10 * (kind % 10));
            world.apply(Input::Pod(PodWatch::Pending, pod(&format!("crowd-{n}"), &cpu, more)?));
        }
        // Each is tried once.
        while world.core.step(world.now()).is_some() {
            world.take_effects()?;
        }
        Ok(world)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_000_000) + self.began.elapsed()
    }

    fn apply(&mut self, input: Input) {
        let now = self.now();
        self.core.apply(input, now);
    }

    fn take_effects(&mut self) -> Result<(), Box<dyn Error>> {
        for effect in self.core.take_effects() {
            let Effect::Bind { pod, node, .. } = effect else { continue };
            if let Some(due) = self.due.remove(&*pod.name) {
                self.latencies.0.push(self.began.elapsed().saturating_sub(due));
            } else if pod.name.starts_with("crowd-") {
                self.on_full.push_back(Arc::new(pod.on_node(&node)));
            }
            self.answers.extend([
                Input::BindFinished(pod.uid.clone(), BindOutcome::Bound),
                Input::Pod(PodWatch::Assigned, Arc::new(pod.on_node(&node))),
                Input::PodGone(PodWatch::Pending, pod.uid.clone()),
            ]);
        }
        Ok(())
    }

    /// Plays a scene for so long; what happens in it is measured unless it only settles.
    fn play(&mut self, scene: Scene, lasts: Duration) -> Result<(Took, Took, Duration), Box<dyn Error>> {
        let from = self.began.elapsed();
        let mut arrivals = Source::new(Some(ARRIVALS), from);
        let mut updates = Source::new(scene.updates.then_some(UPDATES), from);
        let mut ends = Source::new(scene.ends.then_some(ENDS), from);
        let (mut of_updates, mut of_ends) = (Took::default(), Took::default());
        let mut busy = Duration::ZERO;
        while self.began.elapsed() < from + lasts {
            let turn = Instant::now();
            let mut taken = 0;
            while taken < TAKEN_AT_ONCE {
                let now = self.began.elapsed();
                taken += 1;
                if let Some(answer) = self.answers.pop_front() {
                    self.apply(answer);
                } else if let Some(due) = arrivals.due(now) {
                    self.made += 1;
                    let name = format!("fits-{}", self.made);
                    let tolerates = json!([{"key": "kept", "operator": "Exists"}]);
                    let more = json!({"nodeSelector": {"kept": "true"}, "tolerations": tolerates});
                    let arrived = pod(&name, "1m", more)?;
                    self.due.insert(name, due);
                    self.apply(Input::Pod(PodWatch::Pending, arrived));
                } else if updates.due(now).is_some() {
                    self.made += 1;
                    let changed = node(self.random.below(NODES), self.made)?;
                    let began = Instant::now();
                    self.apply(Input::Node(changed));
                    of_updates.0.push(began.elapsed());
                } else if ends.due(now).is_some() {
                    let Some(ended) = self.on_full.pop_front() else { continue };
                    let began = Instant::now();
                    self.apply(Input::PodGone(PodWatch::Assigned, ended.uid.clone()));
                    of_ends.0.push(began.elapsed());
                } else {
                    break;
                }
            }
            let mut stepped = false;
            for _ in 0..STEPS_AT_ONCE {
                let now = self.now();
                if self.core.step(now).is_none() {
                    break;
                }
                self.attempts += 1;
                stepped = true;
                self.take_effects()?;
            }
            busy += turn.elapsed();
            if !stepped && self.answers.is_empty() {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok((of_updates, of_ends, busy))
    }
}

#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut crowds: Vec<usize> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    if crowds.is_empty() {
        crowds = vec![20_000, 100_000];
    }
    println!(
        "| pods that do not fit | beside | p50 ms | p99 ms | bound | late | busy | attempts/s | a node update us | an end us |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for crowd in crowds {
        let mut world = World::new(crowd)?;
        for scene in SCENES {
            world.play(SCENES[0], SETTLES)?;
            world.latencies = Took::default();
            world.due.clear();
            world.attempts = 0;
            let (of_updates, of_ends, busy) = world.play(scene, SCENE)?;
            let seconds = SCENE.as_secs_f64();
            println!(
                "| {crowd} | {} | {:.1} | {:.1} | {} | {} | {:.0} % | {:.0} | {:.1} | {:.0} |",
                scene.name,
                world.latencies.ms(0.5),
                world.latencies.ms(0.99),
                world.latencies.0.len(),
                world.due.len(),
                busy.as_secs_f64() * 100.0 / seconds,
                world.attempts as f64 / seconds,
                of_updates.mean_us(),
                of_ends.mean_us(),
            );
        }
    }
    Ok(())
}
