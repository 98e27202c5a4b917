//! The pretended API server: it holds the truth and tells the watches.

use super::objects::{compile, compile_budget, compile_node, selects};
use super::*;

const WATCHES: [PodWatch; PODS] = [PodWatch::Pending, PodWatch::Assigned, PodWatch::ForeignNominated];

#[derive(Default)]
pub(super) struct Truth {
    pub pods: BTreeMap<String, Value>,
    pub nodes: BTreeMap<String, Value>,
    pub budgets: BTreeMap<String, Value>,
    pub version: u64,
    /// How often each pod was bound, ever.
    pub bound: BTreeMap<String, usize>,
    /// Which pods each of the pod watches shows.
    shown: [BTreeMap<String, ()>; PODS],
    /// All that each of the pod watches has ever had to tell.
    told: [Vec<Input>; PODS],
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
        let selected = self.pods.values().filter(|pod| selects(WATCHES[at], pod));
        selected.map(|pod| Input::Pod(WATCHES[at], compile(pod))).collect()
    }

    /// A list of a pod watch as it was before its last events, and these events.
    pub fn stale_list(&self, at: usize, events: usize) -> (Vec<Input>, Vec<Input>) {
        let (before, after) = self.told[at].split_at(self.told[at].len().saturating_sub(events));
        let mut list: BTreeMap<&Uid, &Input> = BTreeMap::new();
        for input in before {
            match input {
                Input::Pod(_, pod) => list.insert(&pod.uid, input),
                Input::PodGone(_, uid) => list.remove(uid),
                _ => None,
            };
        }
        (list.into_values().cloned().collect(), after.to_vec())
    }
}

impl World {
    pub(super) fn write_pod(&mut self, name: &str, mut pod: Value) {
        self.truth.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        self.truth.pods.insert(name.to_owned(), pod);
        self.tell_pod(name);
    }

    pub(super) fn write_node(&mut self, name: &str, mut node: Value) {
        self.truth.version += 1;
        node["metadata"]["resourceVersion"] = json!(self.truth.version.to_string());
        let compiled = compile_node(&node);
        self.truth.nodes.insert(name.to_owned(), node);
        self.streams[NODES].0.push_back(Input::Node(compiled));
    }

    /// Each watch whose selector the pod meets is told; one whose selector it does not meet any more is told that it is gone.
    pub(super) fn tell_pod(&mut self, name: &str) {
        let pod = self.truth.pods.get(name);
        for (at, watch) in WATCHES.into_iter().enumerate() {
            let shown = &mut self.truth.shown[at];
            let input = if let Some(pod) = pod.filter(|pod| selects(watch, pod)) {
                shown.insert(name.to_owned(), ());
                Input::Pod(watch, compile(pod))
            } else if shown.remove(name).is_some() {
                Input::PodGone(watch, Uid::from(&*format!("uid-{name}")))
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
        // Most of all the pending watch, which tells of the pods that are on their way.
        let stale = self.options.stale_lists && self.one_in(2);
        let at = if stale && self.one_in(2) { 0 } else { self.random.below(PODS) };
        let events = if stale { 1 + self.random.below(12) } else { 0 };
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
        *self.truth.bound.entry(name.to_owned()).or_default() += 1;
        self.write_pod(name, pod);
        Ok(())
    }
}
