//! Plugins that do what a test tells them: `A` and `B` implement most extension points, `OnlyPermits` only one, and `Sort` orders
//! nothing.

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Filter, Handle, Hint,
    NodeParts, ObjectChange, Permit, Plugin, PodParts, PreBind, PreBindStep, PreEnqueue, QueueSort,
    QueuedPod, Reach, Registry, Reserve, Score, Status,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The plugins' answers, by `plugin/pod`, and the calls to them.
#[derive(Default)]
pub struct Lines {
    pub permit: BTreeMap<String, (Status, Duration)>,
    pub reserve: BTreeMap<String, Status>,
    pub pre_bind: BTreeMap<String, VecDeque<PreBindStep>>,
    pub held: BTreeMap<String, bool>,
    pub filter: BTreeMap<String, Status>,
    /// By node, or by plugin and node (`A@n1`); a plugin fails at a node that is in `refuses_to_score`.
    pub scores: BTreeMap<String, i64>,
    pub refuses_to_score: BTreeSet<String>,
    /// Hints by plugin; `Queue` if none is given.
    pub hints: BTreeMap<String, Hint>,
    /// Registrations by plugin; deletion of assigned pods if none is given.
    pub events: BTreeMap<String, Vec<EventRegistration>>,
    /// Whether the plugins declare that other pods on a node can change their filter's verdict.
    pub guards: bool,
    pub calls: Vec<String>,
    handle: Option<Handle>,
}

#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Lines>>);

impl Script {
    pub fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("no plugin panics")
    }

    pub fn handle(&self) -> Handle {
        self.lines().handle.clone().expect("a profile was made")
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lines().calls)
    }
}

/// The in-tree plugins, and the scripted ones.
pub fn registry(script: &Script) -> Registry {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    for name in ["A", "B"] {
        let script = script.clone();
        let make = move |_: &serde_json::Value, handle: &Handle| {
            script.lines().handle = Some(handle.clone());
            Ok(Arc::new(Scripted { name, script: script.clone() }) as Arc<dyn Plugin>)
        };
        registry.register(name, make).expect("a new name");
    }
    let asked = script.clone();
    let make =
        move |_: &serde_json::Value, _: &Handle| Ok(Arc::new(OnlyPermits(asked.clone())) as Arc<dyn Plugin>);
    registry.register("OnlyPermits", make).expect("a new name");
    registry.register("Sort", |_, _| Ok(Arc::new(NoOrder) as Arc<dyn Plugin>)).expect("a new name");
    registry
}

/// Implements Permit, and nothing else.
struct OnlyPermits(Script);
impl Plugin for OnlyPermits {
    fn name(&self) -> &str {
        "OnlyPermits"
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        Some(self)
    }
}
impl Permit for OnlyPermits {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        let answer = self.0.lines().permit.get(&format!("OnlyPermits/{}", pod.name)).cloned();
        answer.unwrap_or((Status::SUCCESS, Duration::ZERO))
    }
}

struct NoOrder;
impl Plugin for NoOrder {
    fn name(&self) -> &str {
        "Sort"
    }
    fn as_queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSort>> {
        Some(self)
    }
}
impl QueueSort for NoOrder {
    fn compare(&self, _a: &QueuedPod, _b: &QueuedPod) -> Ordering {
        Ordering::Equal
    }
}

struct Scripted {
    name: &'static str,
    script: Script,
}

impl Scripted {
    fn key(&self, pod: &Pod) -> String {
        format!("{}/{}", self.name, pod.name)
    }

    fn called(&self, point: &str, pod: &Pod) {
        self.script.lines().calls.push(format!("{point} {}", self.key(pod)));
    }
}

impl Plugin for Scripted {
    fn name(&self) -> &str {
        self.name
    }
    fn declaration(&self) -> Declaration {
        let reach = if self.script.lines().guards { Reach::Node } else { Reach::Cluster };
        Declaration::of(PodParts::ALL, NodeParts::ALL).reaching(reach)
    }
    fn as_pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueue>> {
        Some(self)
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
    fn as_reserve(self: Arc<Self>) -> Option<Arc<dyn Reserve>> {
        Some(self)
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        Some(self)
    }
    fn as_pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBind>> {
        Some(self)
    }
    fn events(&self) -> Vec<EventRegistration> {
        let deleted = EventRegistration::new(EventResource::Pod, ActionType::DELETE);
        self.script.lines().events.get(self.name).cloned().unwrap_or_else(|| vec![deleted])
    }
    fn hint(&self, pod: &Pod, _change: &ObjectChange) -> Hint {
        self.called("hint", pod);
        self.script.lines().hints.get(self.name).copied().unwrap_or(Hint::Queue)
    }
}

impl PreEnqueue for Scripted {
    fn pre_enqueue(&self, pod: &Pod) -> Status {
        let held = self.script.lines().held.get(&self.key(pod)).copied().unwrap_or(false);
        if held { Status::unschedulable("held") } else { Status::SUCCESS }
    }
}

impl Filter for Scripted {
    fn filter(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        self.called("filter", pod);
        let lines = self.script.lines();
        let on_node = lines.filter.get(&format!("{}@{}", self.key(pod), node.name()));
        on_node.or_else(|| lines.filter.get(&self.key(pod))).cloned().unwrap_or(Status::SUCCESS)
    }
}

impl Score for Scripted {
    fn score(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        self.called("score", pod);
        let at = format!("{}@{}", self.name, node.name());
        let lines = self.script.lines();
        if lines.refuses_to_score.contains(&at) {
            return Err(Status::error(format!("not {}", node.name())));
        }
        let score = lines.scores.get(&at).or_else(|| lines.scores.get(node.name().as_str()));
        Ok(score.copied().unwrap_or(0))
    }
}

impl Reserve for Scripted {
    fn reserve(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> Status {
        self.called("reserve", pod);
        self.script.lines().reserve.get(&self.key(pod)).cloned().unwrap_or(Status::SUCCESS)
    }
    fn unreserve(&self, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) {
        self.called("unreserve", pod);
    }
}

impl Permit for Scripted {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        self.called("permit", pod);
        let answer = self.script.lines().permit.get(&self.key(pod)).cloned();
        answer.unwrap_or((Status::SUCCESS, Duration::ZERO))
    }
}

impl PreBind for Scripted {
    fn pre_flight(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) -> bool {
        self.script.lines().pre_bind.contains_key(&self.key(pod))
    }
    fn pre_bind(&self, cx: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> PreBindStep {
        self.called("prebind", pod);
        if cx.snapshot.node(node).is_none() {
            return PreBindStep::Fail(Status::error(format!("there is no node {node}")));
        }
        let mut lines = self.script.lines();
        lines.pre_bind.get_mut(&self.key(pod)).and_then(VecDeque::pop_front).unwrap_or(PreBindStep::Done)
    }
}
