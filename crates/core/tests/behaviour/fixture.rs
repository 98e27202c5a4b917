//! Pods and nodes in one line each, and effects as lines.

use crate::scripted::{self, Script};
use secondmate_core::port::{
    BindOutcome, Effect, EvictError, Evicted, Input, NominationPatch, Observation, PodWatch,
};
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::{Profile, ProfileSpec, multi_point};
use secondmate_framework::{Extenders, Parity};
use secondmate_model::{Atom, Node, Pod, Timestamp, Uid, wire};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const OURS: &str = "my-scheduler";

/// `NAME key=value …`: cpu, gpu, priority, node, nominated, port, scheduler, rv, claim, label, selects, owner=UID,
/// condition=REASON:MESSAGE, scheduled (the condition says so), affinity, anti, gated, deleting, terminal.
pub fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": OURS, "containers": [{"name": "c", "resources": {"requests": {}}}]},
        "status": {"phase": "Pending"},
    });
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}});
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
        match key {
            "cpu" => requests["cpu"] = json!(value),
            "gpu" => requests["example.com/gpu"] = json!(value),
            "priority" => pod["spec"]["priority"] = json!(value.parse::<i32>().expect("a number")),
            "node" => pod["spec"]["nodeName"] = json!(value),
            "nominated" => pod["status"]["nominatedNodeName"] = json!(value),
            "port" => {
                let port = value.parse::<i32>().expect("a number");
                pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port, "hostPort": port}]);
            }
            "scheduler" => pod["spec"]["schedulerName"] = json!(value),
            "rv" => pod["metadata"]["resourceVersion"] = json!(value),
            "claim" => {
                pod["spec"]["volumes"] =
                    json!([{"name": "v", "persistentVolumeClaim": {"claimName": value}}]);
            }
            "label" => pod["metadata"]["labels"] = json!({"a": value}),
            "labels" => {
                let many = 0..value.parse::<u32>().expect("a number");
                pod["metadata"]["labels"] = many.map(|at| (format!("l{at}"), json!("x"))).collect();
            }
            "selects" => pod["spec"]["nodeSelector"] = json!({"a": value}),
            "owner" => {
                pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "name": value, "uid": value, "controller": true}]);
            }
            "condition" => {
                let (reason, message) = value.split_once(':').expect("reason:message");
                pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                    "reason": reason, "message": message.replace('_', " ")}]);
            }
            "scheduled" => {
                pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
            }
            "affinity" => {
                pod["spec"]["affinity"]["podAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]});
            }
            "anti" => {
                pod["spec"]["affinity"]["podAntiAffinity"] =
                    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
            }
            "gated" => pod["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]),
            "deleting" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            "evicted" => {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
            }
            "terminal" => pod["status"]["phase"] = json!("Succeeded"),
            other => panic!("{other:?} in {text:?}"),
        }
    }
    let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

/// `NAME key=value …`: cpu, gpu, pods, zone, label, image=NAME:BYTES, taint (NoSchedule), evicting
/// (NoExecute), unschedulable.
pub fn node(text: &str) -> Arc<Node> {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut node = json!({
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "1", "memory": "64Gi", "pods": "110"}, "images": []},
    });
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "cpu" => node["status"]["allocatable"]["cpu"] = json!(value),
            "gpu" => node["status"]["allocatable"]["example.com/gpu"] = json!(value),
            "pods" => node["status"]["allocatable"]["pods"] = json!(value),
            "zone" => node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(value),
            "label" => node["metadata"]["labels"]["a"] = json!(value),
            "image" => {
                let (image, size) = value.split_once(':').expect("name:bytes");
                let image = json!({"names": [image], "sizeBytes": size.parse::<i64>().expect("a number")});
                node["status"]["images"].as_array_mut().expect("a list").push(image);
            }
            "taint" => node["spec"]["taints"] = json!([{"key": value, "effect": "NoSchedule"}]),
            "evicting" => node["spec"]["taints"] = json!([{"key": value, "effect": "NoExecute"}]),
            "unschedulable" => node["spec"]["unschedulable"] = json!(true),
            other => panic!("{other:?} in {text:?}"),
        }
    }
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

pub fn uid(name: &str) -> Uid {
    Uid::from(name)
}

pub fn secs(secs: f64) -> Timestamp {
    Timestamp::from_millis((secs * 1000.0).round() as i64)
}

/// A profile with in-tree and scripted plugins.
pub fn profile(plugins: &[&str], script: &Script) -> Profile {
    let plugins: Vec<(&str, i64)> = plugins.iter().map(|name| (*name, 1)).collect();
    profile_with(&plugins, &BTreeMap::new(), script, Parity::Strict)
}

/// A profile with these plugins and their weights and arguments.
fn profile_with(
    plugins: &[(&str, i64)],
    args: &BTreeMap<String, Value>,
    script: &Script,
    parity: Parity,
) -> Profile {
    let registry = scripted::registry(script);
    let spec = ProfileSpec {
        scheduler_name: OURS.to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(plugins, &registry, args).expect("plugins that are registered"),
        args: args.clone(),
        ..ProfileSpec::default()
    };
    Profile::new(&spec, &registry, parity).expect("a valid profile")
}

/// The core with a clock and scripted plugins. The invariants are checked after every step and input.
pub struct Cluster {
    pub core: Scheduler,
    pub script: Script,
    pub now: Timestamp,
}

impl Cluster {
    /// The usual plugins, and the named ones.
    pub fn new(more: &[&str]) -> Self {
        Self::with_script(more, Script::default())
    }

    pub fn with_script(more: &[&str], script: Script) -> Self {
        Self::audited(more, script, Parity::Strict)
    }

    pub fn with_parity(more: &[&str], parity: Parity) -> Self {
        Self::audited(more, Script::default(), parity)
    }

    fn audited(more: &[&str], script: Script, parity: Parity) -> Self {
        Self::extended(more, script, parity, Extenders::default())
    }

    /// The usual plugins, the named ones, and extenders.
    pub fn extended(more: &[&str], script: Script, parity: Parity, extenders: Extenders) -> Self {
        let mut plugins = vec![
            "SchedulingGates",
            "PrioritySort",
            "NodeUnschedulable",
            "TaintToleration",
            "NodePorts",
            "NodeResourcesFit",
            "DefaultBinder",
        ];
        plugins.extend(more);
        let plugins: Vec<(&str, i64)> = plugins.into_iter().map(|name| (name, 1)).collect();
        let cluster = Self::of(&plugins, &BTreeMap::new(), script, parity, extenders);
        Self { core: cluster.core.audited(), ..cluster }
    }

    /// With preemption, and with or without the loop breaker.
    pub fn preempting(break_preemption_loops: bool) -> Self {
        let plugins =
            ["PrioritySort", "NodeResourcesFit", "DefaultPreemption", "DefaultBinder"].map(|name| (name, 1));
        let script = Script::default();
        let config = SchedulerConfig {
            seed: 1,
            break_preemption_loops,
            read_before_bind: false,
            yield_last_room: Duration::ZERO,
            ..SchedulerConfig::default()
        };
        let profile = profile_with(&plugins, &BTreeMap::new(), &script, Parity::Strict);
        Self { core: Scheduler::new(config, vec![profile]), script, now: Timestamp::from_secs(1000) }
    }

    /// These plugins, with their weights and arguments.
    pub fn with_profile(plugins: &[(&str, i64)], args: &BTreeMap<String, Value>, script: Script) -> Self {
        Self::of(plugins, args, script, Parity::Strict, Extenders::default())
    }

    fn of(
        plugins: &[(&str, i64)],
        args: &BTreeMap<String, Value>,
        script: Script,
        parity: Parity,
        extenders: Extenders,
    ) -> Self {
        // Nodes here are small: with other schedulers present, each binding would wait, and each node would be read first.
        let config = SchedulerConfig {
            seed: 1,
            read_before_bind: false,
            yield_last_room: Duration::ZERO,
            ..SchedulerConfig::default()
        };
        let profile = profile_with(plugins, args, &script, parity).with_extenders(extenders);
        let core = Scheduler::new(config, vec![profile]);
        Self { core, script, now: Timestamp::from_secs(1000) }
    }

    /// With nodes that are read before pods are bound there.
    pub fn reading() -> Self {
        Self::beside_others(true, Duration::ZERO)
    }

    /// With or without reading nodes before pods are bound there; if others are present, pods wait this long for the last room.
    pub fn beside_others(read_before_bind: bool, yield_last_room: Duration) -> Self {
        let plugins =
            ["PrioritySort", "NodePorts", "NodeResourcesFit", "A", "DefaultPreemption", "DefaultBinder"]
                .map(|name| (name, 1));
        let script = Script::default();
        let config =
            SchedulerConfig { seed: 1, read_before_bind, yield_last_room, ..SchedulerConfig::default() };
        let profile = profile_with(&plugins, &BTreeMap::new(), &script, Parity::Strict);
        let core = Scheduler::new(config, vec![profile]).audited();
        Self { core, script, now: Timestamp::from_secs(1000) }
    }

    pub fn apply(&mut self, input: Input) {
        self.core.apply(input, self.now);
        self.core.check().expect("the invariants hold");
    }

    pub fn node(&mut self, text: &str) {
        self.apply(Input::Node(node(text)));
    }

    pub fn pending(&mut self, text: &str) {
        self.apply(Input::Pod(PodWatch::Pending, pod(text)));
    }

    pub fn assigned(&mut self, text: &str) {
        self.apply(Input::Pod(PodWatch::Assigned, pod(text)));
    }

    pub fn foreign(&mut self, text: &str) {
        self.apply(Input::Pod(PodWatch::ForeignNominated, pod(text)));
    }

    pub fn waiting_elsewhere(&mut self, text: &str) {
        self.apply(Input::Pod(PodWatch::ForeignWaiting, pod(text)));
    }

    pub fn gone(&mut self, watch: PodWatch, name: &str) {
        self.apply(Input::PodGone(watch, uid(name)));
    }

    pub fn answer(&mut self, name: &str, outcome: BindOutcome) {
        self.apply(Input::BindFinished(uid(name), outcome));
    }

    /// The answer to a read of a node's pods.
    pub fn read(&mut self, node: &str, pods: Result<&[&str], &str>) {
        let pods = pods.map(|pods| pods.iter().map(|text| pod(text)).collect()).map_err(str::to_owned);
        self.apply(Input::NodeRead { node: atom(node), pods });
    }

    pub fn evicted(&mut self, preemptor: &str, victim: &str, result: Result<(), &str>) {
        let (preemptor, victim) = (uid(preemptor), uid(victim));
        let result = result.map(|()| Evicted::Deleted).map_err(|why| EvictError::NotDone(why.to_owned()));
        self.apply(Input::EvictFinished { preemptor, victim, result });
    }

    /// No answer to an eviction comes: it may have been carried out.
    pub fn eviction_lost(&mut self, preemptor: &str, victim: &str) {
        let (preemptor, victim) = (uid(preemptor), uid(victim));
        let result = Err(EvictError::Unknown("time-out".to_owned()));
        self.apply(Input::EvictFinished { preemptor, victim, result });
    }

    /// The answer to an eviction of a pod that was already gone.
    pub fn gone_before_eviction(&mut self, preemptor: &str, victim: &str) {
        let (preemptor, victim) = (uid(preemptor), uid(victim));
        self.apply(Input::EvictFinished { preemptor, victim, result: Ok(Evicted::Gone) });
    }

    pub fn wait(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
    }

    /// One step; returns `pod -> node`, `pod: result`, or `-`.
    pub fn step(&mut self) -> String {
        let report = self.core.step(self.now);
        self.core.check().expect("the invariants hold");
        match report {
            None => "-".to_owned(),
            Some(report) => match report.node {
                Some(node) => format!("{} -> {node}", report.pod.name),
                None => format!("{}: {}", report.pod.name, report.result),
            },
        }
    }

    /// Where a pod is in the queue.
    pub fn place(&self, name: &str) -> String {
        self.core.queue().get(&uid(name)).map_or("-".to_owned(), |e| format!("{:?}", e.place))
    }

    /// The requested effects, one per line, without observations.
    pub fn effects(&mut self) -> Vec<String> {
        self.all_effects().into_iter().filter(|line| !line.starts_with("observed")).collect()
    }

    pub fn all_effects(&mut self) -> Vec<String> {
        self.core.take_effects().iter().map(line).collect()
    }
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Bind { pod, node, .. } => format!("bind {} to {node}", pod.name),
        Effect::BindByExtender { pod, node } => format!("have {} bound to {node} by the extender", pod.name),
        Effect::BindBy { pod, write } => format!("bind {} by {}", pod.name, write.path),
        Effect::Write { pod, writes } => format!("write {} for {pod}", writes[0].path),
        Effect::Verify { pod } => format!("verify {}", pod.name),
        Effect::ReadNode { node } => format!("read {node}"),
        Effect::PatchStatus { pod, condition, nomination } => {
            let condition =
                condition.as_ref().map_or("-".to_owned(), |c| format!("{}: {}", c.reason, c.message));
            let nomination = match nomination {
                NominationPatch::Keep => String::new(),
                NominationPatch::Set(Some(node)) => format!(" nominated={node}"),
                NominationPatch::Set(None) => " nominated=-".to_owned(),
            };
            format!("status {} {condition}{nomination}", pod.name)
        }
        Effect::Event(event) => format!("event {} {}: {}", event.regarding.name, event.reason, event.note),
        Effect::Evict { victim, preemptor, .. } => format!("evict {} for {}", victim.name, preemptor.name),
        Effect::Observed(Observation::NodeChanged { .. }) => "observed NodeChanged".to_owned(),
        Effect::Observed(Observation::RoomTaken { foreign, .. }) => {
            format!("observed RoomTaken foreign={foreign}")
        }
        Effect::Observed(Observation::NodeRead { result, averted }) => {
            format!("observed NodeRead {result} averted={averted}")
        }
        Effect::Observed(Observation::Yielded { result, .. }) => format!("observed Yielded {result}"),
        Effect::Observed(Observation::Scheduled { attempts, .. }) => {
            format!("observed Scheduled attempts={attempts}")
        }
        Effect::Observed(observation) => format!("observed {observation:?}"),
    }
}

pub fn atom(name: &str) -> Atom {
    Atom::new(name)
}
