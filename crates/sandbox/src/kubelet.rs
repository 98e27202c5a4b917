//! Simulated kubelets: one task for all nodes.
//!
//! It follows the logs of pods and nodes, admits each pod that is bound to a node as a kubelet does (or fails it
//! with the reason that a kubelet gives), reports it running, and completes graceful deletions. It works in
//! batches: ten thousand pods cost it some hundred milliseconds of CPU time in total.

mod admission;
mod resources;
mod status;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::api::{Api, DeleteOptions};
use crate::error::ApiError;
use crate::object::Object;
use crate::resource::{self, EVENTS, NODES, POD_NODE_NAME, POD_PHASE, PODS};
use crate::server::until_down;
use crate::store::{Change, Event, Transaction};
pub(crate) use admission::NodeState;
use admission::Rejection;
use resources::PodNeeds;
pub(crate) use resources::{Amounts, amounts};
use status::{set_running, set_succeeded};

/// Maximum number of events taken from a log at once.
const BATCH_EVENTS: usize = 1024;
/// Maximum number of status writes in one critical section of the store.
const BATCH_WRITES: usize = 64;

/// How the simulated kubelets behave.
#[derive(Debug, Clone)]
pub struct KubeletOptions {
    /// Whether there are any kubelets.
    pub enabled: bool,
    /// Time from binding to Running.
    pub start_delay: Duration,
    /// How long a pod runs if its restartPolicy is not Always; then it has succeeded.
    pub run_time: Duration,
    /// Time from deletion to removal; never longer than the pod's grace period.
    pub stop_delay: Duration,
}

impl Default for KubeletOptions {
    fn default() -> KubeletOptions {
        KubeletOptions {
            enabled: true,
            start_delay: Duration::from_millis(5),
            run_time: Duration::from_secs(10),
            stop_delay: Duration::from_millis(20),
        }
    }
}

/// The handle to the simulated kubelets.
#[derive(Debug, Default)]
pub struct Kubelets {
    paused: AtomicBool,
    wake: Notify,
    started: AtomicU64,
    known: AtomicUsize,
    rejected: Mutex<HashMap<String, u64>>,
}

impl Kubelets {
    /// Stops all kubelets: bound pods stay Pending, deleted pods stay Terminating.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Lets them continue; they catch up with what happened.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// The number of pods that were started.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// The number of pods that they know: those that are bound, whether their nodes exist or not.
    pub(crate) fn known_pods(&self) -> usize {
        self.known.load(Ordering::SeqCst)
    }

    /// The number of rejected pods, by reason (`OutOfcpu`, `NodePorts`, …). A single scheduler that accounts correctly
    /// keeps this empty.
    pub fn rejected(&self) -> HashMap<String, u64> {
        self.rejected.lock().expect("nothing panics while it holds the counters").clone()
    }
}

/// A pod that a kubelet knows.
#[derive(Debug)]
struct PodState {
    namespace: Box<str>,
    name: Box<str>,
    node: Box<str>,
    /// What it uses of its node; `None` once it no longer uses anything.
    needs: Option<PodNeeds>,
    stopping: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Start,
    Finish,
    Stop,
}

/// The task's state.
struct Work {
    api: Arc<Api>,
    handle: Arc<Kubelets>,
    options: KubeletOptions,
    nodes: HashMap<Box<str>, NodeState>,
    pods: HashMap<Box<str>, PodState>,
    /// Pods bound to nodes that do not exist (yet), by node and UID.
    waiting: HashMap<Box<str>, HashMap<Box<str>, Arc<Object>>>,
    due: BinaryHeap<Reverse<(Instant, Action, Box<str>)>>,
    pods_cursor: u64,
    nodes_cursor: u64,
    next_ip: u32,
    heartbeat: Option<Duration>,
    next_heartbeat: Option<Instant>,
}

/// The overcommitted nodes, with the resource.
pub(crate) fn overcommitted(tx: &Transaction) -> Vec<(String, String)> {
    let mut nodes: HashMap<&str, NodeState> =
        tx.iter(NODES, None).map(|node| (&*node.name, NodeState::new(&node.value()))).collect();
    for pod in tx.iter(PODS, None) {
        let ended = matches!(&*pod.fields[POD_PHASE], "Succeeded" | "Failed");
        if let (false, Some(node)) = (ended, nodes.get_mut(&*pod.fields[POD_NODE_NAME])) {
            node.take(&PodNeeds::of(&pod.value()));
        }
    }
    let mut found: Vec<(String, String)> = nodes
        .iter()
        .flat_map(|(name, node)| node.exceeded().map(|resource| ((*name).to_owned(), resource)))
        .collect();
    found.sort();
    found
}

/// Why the containers of a pod do not respond: there are none.
pub(crate) fn of_container(api: &Api, namespace: &str, pod: &str, what: &str) -> ApiError {
    let Some(found) = api.store.read(|tx| tx.get(PODS, namespace, pod).cloned()) else {
        return ApiError::not_found("", "pods", pod);
    };
    if found.fields[POD_NODE_NAME].is_empty() {
        return ApiError::bad_request(format!("pod {pod} does not have a host assigned"));
    }
    let cannot = match what {
        "log" => "it writes no logs (`kubectl describe pod` and `kubectl get events` say what became of it)",
        "exec" | "attach" => "no command can be run in it, and nothing can be attached to",
        _ => "no port of it answers",
    };
    ApiError::bad_request(format!("pod {pod} is simulated, as its node is: no container runs, so {cannot}"))
}

/// Runs until shutdown.
pub(crate) async fn run(
    api: Arc<Api>,
    handle: Arc<Kubelets>,
    options: KubeletOptions,
    heartbeat: Option<Duration>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut pods_changed = api.store.subscribe(PODS);
    let mut nodes_changed = api.store.subscribe(NODES);
    let mut work = Work {
        api,
        handle,
        options,
        nodes: HashMap::new(),
        pods: HashMap::new(),
        waiting: HashMap::new(),
        due: BinaryHeap::new(),
        pods_cursor: 0,
        nodes_cursor: 0,
        next_ip: 0,
        heartbeat,
        next_heartbeat: heartbeat.map(|every| Instant::now() + every),
    };
    loop {
        let due = work.due.peek().map(|Reverse((at, ..))| *at);
        let paused = work.handle.paused.load(Ordering::SeqCst);
        if !paused && !work.step() && due.is_none_or(|at| at > Instant::now()) {
            let due =
                work.due.peek().map(|Reverse((at, ..))| *at).into_iter().chain(work.next_heartbeat).min();
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                _ = pods_changed.changed() => {}
                _ = nodes_changed.changed() => {}
                () = work.handle.wake.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or(far)) => {}
                () = until_down(&mut shutdown) => return,
            }
        } else if paused {
            tokio::select! {
                () = work.handle.wake.notified() => {}
                () = until_down(&mut shutdown) => return,
            }
        } else if *shutdown.borrow() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

impl Work {
    /// Does a batch of the pending work; false if there was none.
    fn step(&mut self) -> bool {
        let nodes = self.follow_nodes();
        let pods = self.follow_pods();
        let acted = self.act();
        self.beat();
        let waiting: usize = self.waiting.values().map(HashMap::len).sum();
        self.handle.known.store(self.pods.len() + waiting, Ordering::SeqCst);
        nodes || pods || acted
    }

    /// Renews the conditions of all nodes when it is time.
    fn beat(&mut self) {
        let now = Instant::now();
        let Some(every) = self.heartbeat.filter(|_| self.next_heartbeat.is_some_and(|at| at <= now)) else {
            return;
        };
        self.next_heartbeat = Some(now + every);
        let text = self.api.store.read(|tx| tx.clock()).now_seconds();
        let names: Vec<&Box<str>> = self.nodes.keys().collect();
        for batch in names.chunks(BATCH_WRITES) {
            self.api.store.write(|tx| {
                for name in batch {
                    let Some(node) = tx.get(NODES, "", name) else { continue };
                    let mut node = node.value();
                    if let Some(Value::Array(conditions)) = node["status"].get_mut("conditions") {
                        for condition in conditions {
                            condition["lastHeartbeatTime"] = Value::from(text.as_str());
                        }
                        tx.put(NODES, node);
                    }
                }
            });
        }
    }

    fn follow_nodes(&mut self) -> bool {
        let cursor = self.nodes_cursor;
        let events = self.api.store.read(|tx| tx.events_after(NODES, cursor, BATCH_EVENTS, None));
        match events {
            Ok((events, next)) => {
                self.nodes_cursor = next;
                for event in &events {
                    self.node_changed(&event.object, event.change == Change::Deleted);
                }
                !events.is_empty()
            }
            Err(_) => {
                // The log has moved on: start from the current state.
                let snapshot = self.api.store.read(|tx| tx.snapshot(NODES, None, |_| true));
                self.nodes_cursor = snapshot.version;
                let known: Vec<Box<str>> = self.nodes.keys().cloned().collect();
                let alive: HashSet<&str> = snapshot.objects.iter().map(|o| &*o.name).collect();
                for name in known.iter().filter(|name| !alive.contains(&***name)) {
                    self.node_gone(name);
                }
                for object in &snapshot.objects {
                    self.node_changed(object, false);
                }
                true
            }
        }
    }

    fn node_changed(&mut self, object: &Arc<Object>, deleted: bool) {
        if deleted {
            self.node_gone(&object.name);
            return;
        }
        self.nodes.entry(object.name.clone()).or_default().update(&object.value());
        for pod in self.waiting.remove(&object.name).unwrap_or_default().into_values() {
            self.pod_changed(&pod, false);
        }
    }

    /// Pods stay counted on a node until they are gone, since a node with that name may come back.
    fn node_gone(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.leave();
            if node.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    fn follow_pods(&mut self) -> bool {
        let cursor = self.pods_cursor;
        let events = self.api.store.read(|tx| tx.events_after(PODS, cursor, BATCH_EVENTS, None));
        match events {
            Ok((events, next)) => {
                self.pods_cursor = next;
                for Event { change, object, .. } in &events {
                    self.pod_changed(object, *change == Change::Deleted);
                }
                !events.is_empty()
            }
            Err(_) => {
                let snapshot = self.api.store.read(|tx| tx.snapshot(PODS, None, |_| true));
                self.pods_cursor = snapshot.version;
                let alive: HashSet<&str> = snapshot.objects.iter().map(|o| &*o.uid).collect();
                let gone: Vec<Box<str>> =
                    self.pods.keys().filter(|uid| !alive.contains(&***uid)).cloned().collect();
                for uid in gone {
                    self.forget(&uid);
                }
                self.waiting.clear();
                for object in &snapshot.objects {
                    self.pod_changed(object, false);
                }
                true
            }
        }
    }

    fn pod_changed(&mut self, object: &Arc<Object>, deleted: bool) {
        let node = &object.fields[POD_NODE_NAME];
        if deleted {
            self.forget(&object.uid);
            if let Some(waiting) = self.waiting.get_mut(node) {
                waiting.remove(&object.uid);
                if waiting.is_empty() {
                    self.waiting.remove(node);
                }
            }
            return;
        }
        if node.is_empty() {
            return;
        }
        let done = matches!(&*object.fields[POD_PHASE], "Succeeded" | "Failed");
        if !self.pods.contains_key(&object.uid) {
            if !self.nodes.get(node).is_some_and(NodeState::is_present) {
                // Handled when the node appears.
                let waiting = self.waiting.entry(node.clone()).or_default();
                waiting.insert(object.uid.clone(), Arc::clone(object));
                return;
            }
            self.arrived(object, done);
        } else if done {
            self.release(&object.uid);
        }
        if object.deleting {
            self.stop_soon(object);
        }
    }

    /// Handles a pod that is new to its node.
    fn arrived(&mut self, object: &Arc<Object>, done: bool) {
        let uid = object.uid.clone();
        let mut state = PodState {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            node: object.fields[POD_NODE_NAME].clone(),
            needs: None,
            stopping: false,
        };
        if done || object.deleting {
            self.pods.insert(uid, state);
            return;
        }
        let pod = object.value();
        let needs = PodNeeds::of(&pod);
        let Some(node) = self.nodes.get_mut(&state.node) else { return };
        // A pod that is already running (because the kubelets were started later) is not admitted again.
        let verdict = if &*object.fields[POD_PHASE] == "Running" { Ok(()) } else { node.admit(&pod, &needs) };
        match verdict {
            Ok(()) => {
                node.take(&needs);
                state.needs = Some(needs);
                let at = Instant::now() + self.options.start_delay;
                self.due.push(Reverse((at, Action::Start, uid.clone())));
            }
            Err(rejection) => self.reject(object, &rejection),
        }
        self.pods.insert(uid, state);
    }

    fn stop_soon(&mut self, object: &Object) {
        let Some(state) = self.pods.get_mut(&object.uid) else { return };
        if state.stopping {
            return;
        }
        state.stopping = true;
        let grace_s = object.value()["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
        let at = Instant::now() + self.options.stop_delay.min(Duration::from_secs(grace_s));
        self.due.push(Reverse((at, Action::Stop, object.uid.clone())));
    }

    fn release(&mut self, uid: &str) {
        let Some(state) = self.pods.get_mut(uid) else { return };
        if let (Some(needs), Some(node)) = (state.needs.take(), self.nodes.get_mut(&state.node)) {
            node.give_back(&needs);
            if node.is_empty() && !node.is_present() {
                self.nodes.remove(&state.node);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        self.release(uid);
        self.pods.remove(uid);
    }

    /// Does what is due, at most one batch.
    fn act(&mut self) -> bool {
        let now = Instant::now();
        let (mut starts, mut ends, mut stops) = (Vec::new(), Vec::new(), Vec::new());
        while starts.len() + ends.len() + stops.len() < BATCH_WRITES {
            match self.due.peek() {
                Some(Reverse((at, ..))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((_, action, uid))) = self.due.pop() else { break };
            match action {
                Action::Start => starts.push(uid),
                Action::Finish => ends.push(uid),
                Action::Stop => stops.push(uid),
            }
        }
        if starts.is_empty() && ends.is_empty() && stops.is_empty() {
            return false;
        }
        self.finish(&ends);
        let started = self.start(&starts);
        self.handle.started.fetch_add(started, Ordering::SeqCst);
        for uid in stops {
            let Some(state) = self.pods.get(&uid) else { continue };
            let options =
                DeleteOptions { grace_s: Some(0), uid: Some(uid.to_string()), ..DeleteOptions::default() };
            // Gone or replaced in the meantime: nothing left to stop.
            let _ = self.api.delete(resource::stored_as(PODS), &state.namespace, &state.name, &options);
        }
        true
    }

    fn start(&mut self, uids: &[Box<str>]) -> u64 {
        let now = self.api.store.read(|tx| tx.clock()).now_seconds();
        let mut started = 0;
        let pods = &self.pods;
        let next_ip = &mut self.next_ip;
        let mut to_end = Vec::new();
        self.api.store.write(|tx| {
            for state_and_uid in uids.iter().filter_map(|uid| Some((pods.get(uid)?, uid))) {
                let (state, uid) = state_and_uid;
                let Some(current) = tx.get(PODS, &state.namespace, &state.name) else { continue };
                if current.uid != *uid || current.deleting || &*current.fields[POD_PHASE] != "Pending" {
                    continue;
                }
                let mut pod = current.value();
                *next_ip = next_ip.wrapping_add(1);
                set_running(&mut pod, *next_ip, &now);
                if pod["spec"]["restartPolicy"] != "Always" {
                    to_end.push(uid.clone());
                }
                tx.put(PODS, pod);
                started += 1;
            }
        });
        let at = Instant::now() + self.options.run_time;
        self.due.extend(to_end.into_iter().map(|uid| Reverse((at, Action::Finish, uid))));
        started
    }

    /// Ends pods that run to completion.
    fn finish(&self, uids: &[Box<str>]) {
        self.api.store.write(|tx| {
            let now = tx.clock().now_seconds();
            for (state, uid) in uids.iter().filter_map(|uid| Some((self.pods.get(uid)?, uid))) {
                let Some(current) = tx.get(PODS, &state.namespace, &state.name) else { continue };
                if current.uid != *uid || current.deleting || &*current.fields[POD_PHASE] != "Running" {
                    continue;
                }
                let mut pod = current.value();
                set_succeeded(&mut pod, &now);
                tx.put(PODS, pod);
            }
        });
    }

    fn reject(&mut self, object: &Object, rejection: &Rejection) {
        let mut rejected = self.handle.rejected.lock().expect("nothing panics while it holds the counters");
        *rejected.entry(rejection.reason.clone()).or_default() += 1;
        drop(rejected);
        self.api.store.write(|tx| {
            let Some(current) = tx.get(PODS, &object.namespace, &object.name) else { return };
            if current.uid != object.uid {
                return;
            }
            let mut pod = current.value();
            pod["status"]["phase"] = Value::from("Failed");
            pod["status"]["reason"] = Value::from(rejection.reason.as_str());
            pod["status"]["message"] = Value::from(format!("Pod was rejected: {}", rejection.message));
            pod["status"]["startTime"] = Value::from(tx.clock().now_seconds());
            tx.put(PODS, pod);
            rejection_event(tx, object, rejection);
        });
    }
}

fn rejection_event(tx: &mut Transaction, pod: &Object, rejection: &Rejection) {
    let now = tx.clock().now_seconds();
    let name = format!("{}.{:x}", pod.name, tx.random().next());
    let mut event = json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": { "name": name, "namespace": &*pod.namespace },
        "involvedObject": {
            "kind": "Pod", "apiVersion": "v1", "namespace": &*pod.namespace, "name": &*pod.name, "uid": &*pod.uid,
        },
        "reason": rejection.reason, "message": rejection.message, "type": "Warning",
        "source": { "component": "kubelet", "host": &*pod.fields[POD_NODE_NAME] },
        "reportingComponent": "kubelet", "reportingInstance": &*pod.fields[POD_NODE_NAME],
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    tx.stamp(&mut event);
    tx.put(EVENTS, event);
}
