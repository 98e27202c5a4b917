//! The simulated API server: it holds the truth and notifies the watches.

use super::objects::{StoredBudget, StoredNode, selects};
use super::registers::Registers;
use super::*;
use std::collections::BTreeSet;

const WATCHES: [PodWatch; PODS] =
    [PodWatch::Pending, PodWatch::Assigned, PodWatch::ForeignNominated, PodWatch::ForeignWaiting];

/// Pods on each node, sorted by name, with their needs.
pub(super) type OnNodes = BTreeMap<Name, Arc<Vec<(Name, Needs)>>>;

#[derive(Default)]
pub(super) struct Truth {
    pub pods: BTreeMap<Name, StoredPod>,
    pub nodes: BTreeMap<Name, StoredNode>,
    pub budgets: BTreeMap<String, StoredBudget>,
    /// The pods that use room on a node.
    pub on_nodes: OnNodes,
    /// Further indexes. A deleted budget may stay in them, since nobody asks for it.
    pub registers: Registers,
    pub version: u64,
    /// The version at which the controllers last had nothing to do.
    pub controlled: Option<u64>,
    /// Which pods each of the pod watches shows.
    shown: [BTreeSet<Name>; PODS],
    /// What each of the pod watches had to report.
    told: [Past; PODS],
}

/// Puts a pod on a node, or moves it to another.
pub(super) fn put_on(on_nodes: &mut OnNodes, node: &str, name: &Name, needs: Needs) {
    let pods = match on_nodes.get_mut(node) {
        Some(pods) => pods,
        None => on_nodes.entry(node.into()).or_default(),
    };
    let pods = Arc::make_mut(pods);
    match pods.binary_search_by(|(other, _)| other.cmp(name)) {
        Ok(at) => pods[at].1 = needs,
        Err(at) => pods.insert(at, (Arc::clone(name), needs)),
    }
}

/// Takes a pod from a node.
pub(super) fn take_off(on_nodes: &mut OnNodes, node: &str, name: &str) {
    let Some(pods) = on_nodes.get_mut(node) else { return };
    if let Ok(at) = pods.binary_search_by(|(other, _)| (**other).cmp(name)) {
        Arc::make_mut(pods).remove(at);
        if pods.is_empty() {
            on_nodes.remove(node);
        }
    }
}

/// Maximum number of events by which a stale list may be behind.
const PAST: usize = 12;

/// What a watch had to report: the last events, and the state before them.
#[derive(Default)]
struct Past {
    before: BTreeMap<Uid, Input>,
    events: VecDeque<Input>,
}

impl Past {
    fn push(&mut self, input: Input) {
        self.events.push_back(input);
        if self.events.len() > PAST
            && let Some(oldest) = self.events.pop_front()
        {
            happen(&mut self.before, oldest);
        }
    }
}

/// Applies an event of a pod watch to a list.
fn happen(list: &mut BTreeMap<Uid, Input>, event: Input) {
    match &event {
        Input::Pod(_, pod) => {
            list.insert(pod.uid.clone(), event);
        }
        Input::PodGone(_, uid) => {
            list.remove(uid);
        }
        _ => unreachable!("a pod watch tells of pods"),
    }
}

impl Truth {
    /// What a starting scheduler is told: lists of everything.
    pub fn lists(&self) -> Vec<Input> {
        let nodes = self.nodes.values().map(|stored| Input::Node(Arc::clone(&stored.node)));
        let budgets = self.budgets.values().map(|stored| Input::Object(stored.compiled.clone()));
        let mut inputs: Vec<Input> = nodes.chain(budgets).collect();
        // Assigned pods before pending ones, or a new scheduler would consider room free that is not.
        for at in [1, 2, 3, 0] {
            inputs.extend(self.list(at));
        }
        inputs
    }

    /// A fresh list of a pod watch.
    pub fn list(&self, at: usize) -> Vec<Input> {
        let selected = self.pods.values().filter(|stored| selects(WATCHES[at], &stored.pod));
        selected.map(|stored| Input::Pod(WATCHES[at], Arc::clone(&stored.pod))).collect()
    }

    /// The needs of the pods on the node.
    pub fn needs_on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a (Name, Needs)> {
        self.on_nodes.get(node).into_iter().flat_map(|pods| pods.iter())
    }

    /// The list of a pod watch as it was before its last events, and these events.
    pub fn stale_list(&self, at: usize, events: usize) -> (Vec<Input>, Vec<Input>) {
        let past = &self.told[at];
        let fresh = past.events.len().saturating_sub(events);
        let mut list = past.before.clone();
        past.events.iter().take(fresh).for_each(|event| happen(&mut list, event.clone()));
        (list.into_values().collect(), past.events.iter().skip(fresh).cloned().collect())
    }
}

impl World {
    /// A pod is created or replaced.
    pub(super) fn write_pod(&mut self, name: &Name, mut stored: StoredPod) {
        self.truth.version += 1;
        let pod = Arc::make_mut(&mut stored.pod);
        pod.resource_version = self.truth.version.to_string().into();
        let (node, needs) =
            (stored.is_on_node().then(|| stored.pod.node_name.clone()).flatten(), stored.needs);
        let truth = &mut self.truth;
        if let Some(before) = truth.pods.get(name) {
            truth.registers.strike(name, before, &truth.budgets);
            if let Some(node) = before.node() {
                take_off(&mut truth.on_nodes, node, name);
            }
        }
        truth.registers.enter(name, &stored, &truth.budgets);
        truth.pods.insert(Arc::clone(name), stored);
        if let Some(node) = node {
            put_on(&mut self.truth.on_nodes, node.as_str(), name, needs);
        }
        let uid = self.truth.pods[name].pod.uid.clone();
        self.tell_pod(name, uid);
    }

    /// A pod changes.
    pub(super) fn change(&mut self, name: &Name, edit: impl FnOnce(&mut Pod)) {
        let Some(StoredPod { pod, needs, object }) = self.truth.pods.get(name) else { return };
        let (mut pod, needs, object) = (Pod::clone(pod), *needs, Arc::clone(object));
        edit(&mut pod);
        self.write_pod(name, StoredPod { pod: Arc::new(pod), needs, object });
    }

    pub(super) fn write_node(&mut self, name: &Name, mut object: Value) {
        self.truth.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        let stored = StoredNode::new(object);
        self.streams[NODES].0.push_back(Input::Node(Arc::clone(&stored.node)));
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_node(name, Some(&stored.node));
        }
        self.truth.nodes.insert(Arc::clone(name), stored);
    }

    /// The object is gone.
    pub(super) fn erase_pod(&mut self, name: &Name) {
        let before = self.truth.pods.remove(name);
        self.truth.version += 1;
        let Some(before) = before else { return };
        self.truth.registers.strike(name, &before, &self.truth.budgets);
        if let Some(node) = before.node() {
            take_off(&mut self.truth.on_nodes, node, name);
        }
        self.tell_pod(name, before.pod.uid.clone());
    }

    /// The object is gone.
    pub(super) fn erase_node(&mut self, name: &Name) {
        self.truth.nodes.remove(name);
        self.truth.version += 1;
        self.streams[NODES].0.push_back(Input::NodeGone(Atom::new(name)));
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_node(name, None);
        }
    }

    pub(super) fn write_budget(&mut self, name: &str, object: Value) {
        self.truth.version += 1;
        let stored = StoredBudget::new(object);
        self.streams[OBJECTS].0.push_back(Input::Object(stored.compiled.clone()));
        self.truth.registers.enter_budget(name, &stored, &self.truth.pods);
        self.truth.budgets.insert(name.to_owned(), stored);
    }

    /// Each watch whose selector matches the pod is notified; one whose selector no longer matches is told that it is gone.
    fn tell_pod(&mut self, name: &Name, uid: Uid) {
        let pod = self.truth.pods.get(name).map(|stored| &stored.pod);
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_pod(&uid, pod);
        }
        for (at, watch) in WATCHES.into_iter().enumerate() {
            let shown = &mut self.truth.shown[at];
            let input = if let Some(pod) = pod.filter(|pod| selects(watch, pod)) {
                shown.insert(Arc::clone(name));
                Input::Pod(watch, Arc::clone(pod))
            } else if shown.remove(name) {
                Input::PodGone(watch, uid.clone())
            } else {
                continue;
            };
            self.truth.told[at].push(input.clone());
            self.streams[at].0.push_back(input);
        }
    }

    /// A watch breaks and is relisted: what was in transit is lost, and the core gets the difference. The list may be
    /// older than what the core has seen; then the events since then are repeated.
    pub(super) fn relist(&mut self) {
        self.counts.add("watches listed anew", 1);
        // Preferably the pending watch, which shows the pods whose bindings are in flight.
        let stale = self.options.stale_lists && self.one_in(2);
        let at = if stale && self.one_in(2) { 0 } else { self.random.below(PODS) };
        let events = if stale { 1 + self.random.below(PAST) } else { 0 };
        let (list, events) =
            if events > 0 { self.truth.stale_list(at, events) } else { (self.truth.list(at), Vec::new()) };
        // The core must tolerate the news that a pod of which it has never heard is gone.
        let lost = std::mem::take(&mut self.streams[at].0);
        let uid = |input: &Input| match input {
            Input::Pod(_, pod) => pod.uid.clone(),
            Input::PodGone(_, uid) => uid.clone(),
            _ => unreachable!("a pod watch tells of pods"),
        };
        let listed: Vec<Uid> = list.iter().map(uid).collect();
        let mut gone: Vec<Uid> = lost.iter().map(uid).chain(self.told.pods[at].iter().cloned()).collect();
        gone.sort_unstable();
        gone.dedup();
        let gone = gone.into_iter().filter(|uid| !listed.contains(uid));
        let stream = &mut self.streams[at].0;
        stream.extend(gone.map(|uid| Input::PodGone(WATCHES[at], uid)));
        stream.extend(list);
        stream.extend(events);
        self.silent[at] = BEGAN;
    }

    /// A watch shows nothing for a while: one of ours, or all of the guard's.
    pub(super) fn silence(&mut self) {
        self.counts.add("watches silent", 1);
        let until = self.now + Duration::from_secs(1 + self.random.below(180) as u64);
        match self.random.below(ANSWERS + 1) {
            ANSWERS => {
                if let Some(guarded) = &mut self.guarded {
                    guarded.be_silent(until);
                }
            }
            at => self.silent[at] = until,
        }
    }

    pub(super) fn bind(&mut self, name: &Name, node: &str) -> Result<(), (u16, String)> {
        let Some(stored) = self.truth.pods.get(name) else {
            return Err((404, format!("pods {name:?} not found")));
        };
        if stored.pod.deleting {
            return Err((409, format!("pod {name} is being deleted")));
        }
        if let Some(node) = stored.node() {
            return Err((409, format!("pod {name} is already assigned to node {node:?}")));
        }
        let by = if stored.is_ours() { "pods bound by secondmate" } else { "pods bound by others" };
        self.counts.add(by, 1);
        self.change(name, |pod| {
            pod.node_name = Some(Atom::new(node));
            pod.nominated_node_name = None;
            pod.scheduled_condition =
                Some(Box::new(PodCondition { status: "True".into(), reason: "".into(), message: "".into() }));
        });
        if self.options.living {
            self.kubelet_admits(name, node);
        }
        Ok(())
    }
}
