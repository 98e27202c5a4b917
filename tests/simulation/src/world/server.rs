//! The pretended API server: it holds the truth and tells the watches.

use super::objects::{compile, compile_budget, compile_node, selects};
use super::*;

const WATCHES: [PodWatch; PODS] = [PodWatch::Pending, PodWatch::Assigned, PodWatch::ForeignNominated];

#[derive(Default)]
pub(super) struct Truth {
    pub pods: BTreeMap<String, Value>,
    /// The same pods, read.
    pub facts: BTreeMap<String, Facts>,
    pub nodes: BTreeMap<String, Value>,
    pub budgets: BTreeMap<String, Value>,
    pub version: u64,
    /// The version at which the controllers had nothing to do.
    pub controlled: Option<u64>,
    /// Which pods each of the pod watches shows.
    shown: [BTreeMap<String, ()>; PODS],
    /// What each of the pod watches had to tell.
    told: [Past; PODS],
}

/// What a pod is, so that its text need not be read each time.
pub(super) struct Facts {
    pub pod: Arc<Pod>,
    pub needs: Needs,
}

impl Facts {
    pub fn node(&self) -> Option<&str> {
        self.pod.node_name.as_ref().map(Atom::as_str)
    }

    /// Whether it is to be placed.
    pub fn waits(&self) -> bool {
        self.pod.node_name.is_none() && !self.pod.terminal
    }

    /// Whether it takes room on a node.
    pub fn is_on_node(&self) -> bool {
        self.pod.node_name.is_some() && !self.pod.terminal
    }
}

/// Events that a stale list may be behind, at most.
const PAST: usize = 12;

/// What a watch had to tell: the last events, and the state before them.
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

/// An event of a pod watch happens to a list.
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
    /// What a scheduler that starts is told: lists of everything.
    pub fn lists(&self) -> Vec<Input> {
        let nodes = self.nodes.values().map(|node| Input::Node(compile_node(node)));
        let budgets = self.budgets.values().map(|budget| Input::Object(compile_budget(budget)));
        let mut inputs: Vec<Input> = nodes.chain(budgets).collect();
        // Who is there before who is to come, or a new scheduler takes rooms for free that are not.
        for at in [1, 2, 0] {
            inputs.extend(self.list(at));
        }
        inputs
    }

    /// A fresh list of a pod watch.
    pub fn list(&self, at: usize) -> Vec<Input> {
        let selected = self.facts.values().filter(|facts| selects(WATCHES[at], &facts.pod));
        selected.map(|facts| Input::Pod(WATCHES[at], Arc::clone(&facts.pod))).collect()
    }

    /// A list of a pod watch as it was before its last events, and these events.
    pub fn stale_list(&self, at: usize, events: usize) -> (Vec<Input>, Vec<Input>) {
        let past = &self.told[at];
        let fresh = past.events.len().saturating_sub(events);
        let mut list = past.before.clone();
        past.events.iter().take(fresh).for_each(|event| happen(&mut list, event.clone()));
        (list.into_values().collect(), past.events.iter().skip(fresh).cloned().collect())
    }
}

impl World {
    pub(super) fn write_pod(&mut self, name: &str, mut pod: Value) {
        self.truth.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        let facts = Facts { pod: compile(&pod), needs: Needs::of(&pod) };
        self.truth.pods.insert(name.to_owned(), pod);
        self.truth.facts.insert(name.to_owned(), facts);
        self.tell_pod(name);
    }

    pub(super) fn write_node(&mut self, name: &str, mut node: Value) {
        self.truth.version += 1;
        node["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        let compiled = compile_node(&node);
        self.truth.nodes.insert(name.to_owned(), node);
        self.streams[NODES].0.push_back(Input::Node(compiled));
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_node(name, self.truth.nodes.get(name));
        }
    }

    /// The object is gone.
    pub(super) fn erase_pod(&mut self, name: &str) {
        self.truth.pods.remove(name);
        self.truth.facts.remove(name);
        self.truth.version += 1;
        self.tell_pod(name);
    }

    /// The object is gone.
    pub(super) fn erase_node(&mut self, name: &str) {
        self.truth.nodes.remove(name);
        self.truth.version += 1;
        self.streams[NODES].0.push_back(Input::NodeGone(Atom::new(name)));
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_node(name, None);
        }
    }

    pub(super) fn write_budget(&mut self, name: &str, budget: Value) {
        self.truth.version += 1;
        self.streams[OBJECTS].0.push_back(Input::Object(compile_budget(&budget)));
        self.truth.budgets.insert(name.to_owned(), budget);
    }

    /// Each watch whose selector the pod meets is told; one whose selector it does not meet any more is told that it is gone.
    pub(super) fn tell_pod(&mut self, name: &str) {
        let pod = self.truth.facts.get(name).map(|facts| &facts.pod);
        if let Some(guarded) = &mut self.guarded {
            guarded.tell_pod(name, pod);
        }
        for (at, watch) in WATCHES.into_iter().enumerate() {
            let shown = &mut self.truth.shown[at];
            let input = if let Some(pod) = pod.filter(|pod| selects(watch, pod)) {
                shown.insert(name.to_owned(), ());
                Input::Pod(watch, Arc::clone(pod))
            } else if shown.remove(name).is_some() {
                Input::PodGone(watch, uid(name))
            } else {
                continue;
            };
            self.truth.told[at].push(input.clone());
            self.streams[at].0.push_back(input);
        }
    }

    /// A watch breaks and is listed anew: what was on the way is lost, and what the core gets is the difference. The list may be
    /// older than what the core has seen; then the events since then come once more.
    pub(super) fn relist(&mut self) {
        self.counts.add("watches listed anew", 1);
        // Most of all the pending watch, which tells of the pods that are on their way.
        let stale = self.options.stale_lists && self.one_in(2);
        let at = if stale && self.one_in(2) { 0 } else { self.random.below(PODS) };
        let events = if stale { 1 + self.random.below(PAST) } else { 0 };
        let (list, events) =
            if events > 0 { self.truth.stale_list(at, events) } else { (self.truth.list(at), Vec::new()) };
        // The core must take without harm that a pod is gone of which it has never heard.
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

    /// A watch shows nothing for a while: one of ours, or those of the guard.
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

    pub(super) fn bind(&mut self, name: &str, node: &str) -> Result<(), (u16, String)> {
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
        let by = if ours(&pod) { "pods bound by secondmate" } else { "pods bound by others" };
        self.counts.add(by, 1);
        self.write_pod(name, pod);
        if self.options.living {
            self.kubelet_admits(name, node);
        }
        Ok(())
    }
}
