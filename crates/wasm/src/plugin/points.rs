//! The extension points, each of which makes one or two calls.

use super::{GuestPlugin, Told};
use crate::cycle::{Cycle, NodeScores, Step};
use crate::exports::Export;
use crate::host::About;
use crate::instance::Reply;
use crate::pool::lock;
use crate::status::{high, low, status};
use secondmate_framework::{
    Bind, BindStep, Context, CycleState, Declaration, EventRegistration, ExtensionPoint, Filter,
    NodeStatuses, Nomination, Normalization, Permit, Plugin, PostBind, PostFilter, PostFilterOutcome,
    PreBind, PreBindStep, PreFilter, PreFilterOutcome, PreScore, Reading, Reserve, RunFilters, Score, Status,
    alike_by_key,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Returns the plugin as an extension point if the guest implements it.
macro_rules! accessors {
    ($($accessor:ident: $point:ident,)*) => {
        $(fn $accessor(self: Arc<Self>) -> Option<Arc<dyn $point>> {
            if self.points.contains(&ExtensionPoint::$point) { Some(self) } else { None }
        })*
    };
}

impl Plugin for GuestPlugin {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    accessors! {
        as_pre_filter: PreFilter,
        as_filter: Filter,
        as_post_filter: PostFilter,
        as_pre_score: PreScore,
        as_score: Score,
        as_reserve: Reserve,
        as_permit: Permit,
        as_pre_bind: PreBind,
        as_bind: Bind,
        as_post_bind: PostBind,
    }

    fn declaration(&self) -> Declaration {
        let kinds = self.events.iter().filter_map(|event| event.resource.kind()).collect::<Vec<_>>();
        let unknown = Declaration::unknown().with_objects(&kinds);
        if self.imports.objects { unknown.with_whole_objects() } else { unknown }
    }

    /// What the guest itself declares. If the call fails, nothing is known.
    fn reading(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>) -> Option<Reading> {
        if !self.has(Export::Reading) {
            return None;
        }
        let ask = |cycle: &Cycle| self.call(Export::Reading, cycle, &about(cx, pod));
        self.within(cx, state, pod, ask).ok()?.key.map(|key| Reading::of(Key(key)))
    }

    fn events(&self) -> Vec<EventRegistration> {
        self.events.clone()
    }
}

/// What the guest says its answers depend on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key(Vec<u8>);

alike_by_key!(Key, bytes);

impl Key {
    fn bytes(&self) -> usize {
        self.0.capacity()
    }

    fn key(&self) -> &[u8] {
        &self.0
    }
}

fn about<'a>(cx: &Context<'_>, pod: &'a Arc<Pod>) -> About<'a> {
    About { now: cx.now, pod: Some(pod), ..About::default() }
}

fn about_node<'a>(cx: &Context<'_>, pod: &'a Arc<Pod>, node: &'a Atom) -> About<'a> {
    About { node: Some(node), ..about(cx, pod) }
}

impl GuestPlugin {
    /// Calls an export that returns a status.
    fn ask(&self, export: Export, cycle: &Cycle, of: &About<'_>) -> Status {
        match self.number(export, cycle, of) {
            Ok((value, reason)) => status(low(value), reason),
            Err(status) => status,
        }
    }

    /// Tries out in this copy of the state that a pod comes to a node or leaves it.
    fn edit(
        &self,
        export: Export,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        target: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        if !self.has(export) {
            return Status::SUCCESS;
        }
        let cycle = self.enter(cx, state, pod);
        if let Some(slot) = &mut cycle.slot
            && Arc::strong_count(slot) > 1
        {
            // Another copy of the state has the same instance, and must not see this.
            *slot = slot.beside(&cycle.told);
        }
        let of = About { target: Some(target), ..about_node(cx, pod, node.name()) };
        let status = self.ask(export, cycle, &of);
        cycle.note(Step::new(export, &of));
        status
    }

    /// The nodes' names as a JSON list, which is usually the same from one pod to the next.
    fn names(&self, nodes: &[Arc<NodeInfo>]) -> Option<Arc<str>> {
        self.imports.feasible.then(|| {
            let mut told = lock(&self.told);
            if told.list.is_empty() || !nodes.iter().map(|node| node.name()).eq(&told.names) {
                let names: Vec<Atom> = nodes.iter().map(|node| node.name().clone()).collect();
                *told = Told { list: list(&names).into(), names };
            }
            Arc::clone(&told.list)
        })
    }

    /// All scores in a single call. The guest returns their location in its memory (pointer in the upper half, length in the lower): a
    /// status, and a score for each node, 32 bits each.
    fn score_at_once(
        &self,
        cycle: &mut Cycle,
        feasible: &[Arc<NodeInfo>],
        of: &About<'_>,
    ) -> Result<Arc<NodeScores>, Status> {
        let Reply { numbers, results, .. } = self.call(Export::ScoreNodes, cycle, of)?;
        cycle.note(Step::new(Export::ScoreNodes, of));
        let (code, scores) = numbers.split_first().map_or((0, &[][..]), |(code, scores)| (*code, scores));
        let status = status(code, results.reason);
        if !status.is_success() {
            return Err(status);
        }
        if scores.len() != feasible.len() {
            let text = format!("wasm: {} scores for {} nodes", scores.len(), feasible.len());
            return Err(self.failed(of.pod, text));
        }
        let scores = scores.iter().copied().map(i64::from).collect();
        Ok(Arc::new(NodeScores::new(feasible, scores)))
    }
}

/// A list in JSON.
fn list(names: &[Atom]) -> String {
    let mut text = String::with_capacity(names.len() * 24 + 2);
    text.push('[');
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&quoted(name));
    }
    text.push(']');
    text
}

/// A string in JSON.
fn quoted(text: &Atom) -> String {
    serde_json::Value::from(text.as_str()).to_string()
}

/// A JSON object from names and numbers.
fn object<'a>(entries: impl Iterator<Item = (&'a Atom, i64)>) -> String {
    let mut text = "{".to_owned();
    for (name, number) in entries {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&quoted(name));
        text.push(':');
        text.push_str(&number.to_string());
    }
    text.push('}');
    text
}

impl PreFilter for GuestPlugin {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let cycle = self.begin(cx);
        let called = self.call(Export::PreFilter, &cycle, &about(cx, pod));
        self.keep(state, cycle);
        match called {
            Ok(Reply { value, results, .. }) => PreFilterOutcome {
                status: status(low(value), results.reason),
                nodes: results.nodes.map(|names| names.iter().map(|name| Atom::new(name)).collect()),
            },
            Err(status) => status.into(),
        }
    }

    fn add_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        self.edit(Export::AddPod, cx, state, pod, added, node)
    }

    fn remove_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        self.edit(Export::RemovePod, cx, state, pod, removed, node)
    }
}

impl Filter for GuestPlugin {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let of = about_node(cx, pod, node.name());
        self.within(cx, state, pod, |cycle| self.ask(Export::Filter, cycle, &of))
    }
}

impl PostFilter for GuestPlugin {
    fn post_filter(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        statuses: &NodeStatuses,
        _filters: &dyn RunFilters,
    ) -> PostFilterOutcome {
        let codes = statuses.iter().map(|(at, status)| (cx.snapshot.at(at).name(), status.code() as i64));
        let codes = object(codes);
        let of = About { statuses: Some(&codes), ..about(cx, pod) };
        let cycle = self.enter(cx, state, pod);
        match self.call(Export::PostFilter, cycle, &of) {
            Ok(Reply { value: both, results, .. }) => {
                // 1: the nomination is overridden; 0: it remains.
                let nomination = (high(both) == 1).then(|| match results.nominated.as_str() {
                    "" => Nomination::Clear,
                    node => Nomination::Node(Atom::new(node)),
                });
                let status = status(low(both), results.reason);
                PostFilterOutcome { nomination, ..PostFilterOutcome::from(status) }
            }
            Err(status) => status.into(),
        }
    }
}

impl PreScore for GuestPlugin {
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Status {
        let names = self.names(feasible);
        let of = About { feasible: names.as_ref(), ..about(cx, pod) };
        let cycle = self.enter(cx, state, pod);
        cycle.scores = None;
        if self.has(Export::PreScore) {
            // Where it did not return, its instance is gone: what comes next begins without it.
            let (value, reason) = match self.number(Export::PreScore, cycle, &of) {
                Ok(returned) => returned,
                Err(status) => return status,
            };
            cycle.note(Step::new(Export::PreScore, &of));
            let status = status(low(value), reason);
            if !status.is_success() {
                return status;
            }
        }
        // A guest whose answers are kept is asked about single nodes, and is not told which are feasible.
        if self.has(Export::ScoreNodes) && !feasible.is_empty() {
            match self.score_at_once(cycle, feasible, &of) {
                Ok(scores) => cycle.scores = Some(scores),
                Err(status) => return status,
            }
        }
        Status::SUCCESS
    }
}

impl Score for GuestPlugin {
    fn score(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        self.within(cx, state, pod, |cycle| {
            if let Some(score) = cycle.scores.as_ref().and_then(|scores| scores.get(node)) {
                return Ok(score);
            }
            let (both, reason) = self.number(Export::Score, cycle, &about_node(cx, pod, node.name()))?;
            let status = status(low(both), reason);
            if status.is_success() { Ok(i64::from(high(both))) } else { Err(status) }
        })
    }

    fn normalization(&self) -> Normalization {
        if self.has(Export::NormalizeScore) { Normalization::Own } else { Normalization::Identity }
    }

    fn normalize(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        if !self.has(Export::NormalizeScore) {
            return Status::SUCCESS;
        }
        let given = feasible.iter().map(|node| node.name()).zip(scores.iter().copied());
        let given = object(given);
        let of = About { scores: Some(&given), ..about(cx, pod) };
        let called = self.within(cx, state, pod, |cycle| self.call(Export::NormalizeScore, cycle, &of));
        let (code, results) = match called {
            Ok(Reply { value, results, .. }) => (low(value), results),
            Err(status) => return status,
        };
        let normalized = results.scores.filter(|scores| !scores.is_empty());
        let status = status(code, results.reason);
        let (true, Some(normalized)) = (status.is_success(), normalized) else { return status };
        if normalized.len() != feasible.len() {
            let text = format!("wasm: {} normalized scores for {} nodes", normalized.len(), feasible.len());
            return self.failed(Some(pod), text);
        }
        // By name: the guest may return them in any order.
        for (node, score) in feasible.iter().zip(scores) {
            match normalized.get(node.name().as_str()) {
                Some(normalized) => *score = *normalized,
                None => {
                    return self
                        .failed(Some(pod), format!("wasm: no normalized score for node {}", node.name()));
                }
            }
        }
        Status::SUCCESS
    }
}

impl Reserve for GuestPlugin {
    fn reserve(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> Status {
        let of = about_node(cx, pod, node);
        self.ask(Export::Reserve, self.enter(cx, state, pod), &of)
    }

    fn unreserve(&self, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) {
        self.tell(Export::Unreserve, state, pod, node);
    }
}

impl Permit for GuestPlugin {
    fn permit(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        node: &Atom,
    ) -> (Status, Duration) {
        let of = about_node(cx, pod, node);
        let cycle = self.enter(cx, state, pod);
        match self.number(Export::Permit, cycle, &of) {
            // The opposite of everywhere else: the status is in the upper half, the timeout in milliseconds in the lower.
            Ok((both, reason)) => {
                let millis = u32::from_le_bytes(low(both).to_le_bytes());
                (status(high(both), reason), Duration::from_millis(millis.into()))
            }
            Err(status) => (status, Duration::ZERO),
        }
    }
}

impl PreBind for GuestPlugin {
    fn pre_flight(&self, _state: &CycleState, _pod: &Arc<Pod>, _node: &Atom) -> bool {
        true
    }

    fn pre_bind(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> PreBindStep {
        let of = about_node(cx, pod, node);
        let status = self.ask(Export::PreBind, self.enter(cx, state, pod), &of);
        if status.is_success() { PreBindStep::Done } else { PreBindStep::Fail(status) }
    }
}

/// A guest has no means of binding a pod. Success means that the pod should be bound, so the host does it: a guest that exports everything
/// and does nothing loses no pods.
impl Bind for GuestPlugin {
    fn bind(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> BindStep {
        let of = About { pod: Some(pod), node: Some(node), ..About::default() };
        let ask = |cycle: &Cycle| self.ask(Export::Bind, cycle, &of);
        let status = self.after(state, pod, ask);
        if status.is_success() {
            return BindStep::Binding { annotations: std::collections::BTreeMap::new() };
        }
        if status.is_skip() { BindStep::Skip } else { BindStep::Fail(status) }
    }
}

impl PostBind for GuestPlugin {
    fn post_bind(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) {
        self.tell(Export::PostBind, state, pod, node);
    }
}

impl GuestPlugin {
    /// Calls an export that has no result.
    fn tell(&self, export: Export, state: &CycleState, pod: &Arc<Pod>, node: &Atom) {
        let of = About { pod: Some(pod), node: Some(node), ..About::default() };
        let told = self.after(state, pod, |cycle| self.call(export, cycle, &of));
        if let Err(status) = told {
            let name = export.name();
            warn!(guest = %self.name, pod = pod.full_name(), "{name} has no effect: {}", status.message());
        }
    }
}
