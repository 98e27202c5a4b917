//! Plugins whose scores cannot be kept in a class.

use secondmate_framework::{
    Context, CycleState, Declaration, NodeInfo, NodeParts, Plugin, Pod, PodParts, PreScore, Registry, Score,
    Status, hash_of,
};
use std::sync::Arc;

/// Declares nothing, reads the pod's name and the feasible nodes, and fails occasionally.
pub struct Secretive;

/// Looks only at the node, and normalises in a way of its own, with a PreScore.
pub struct OwnWay;

pub fn register(registry: &mut Registry) {
    registry.register("Secretive", |_, _| Ok(Arc::new(Secretive))).expect("a free name");
    registry.register("OwnWay", |_, _| Ok(Arc::new(OwnWay))).expect("a free name");
}

/// True for about one in `many` texts, and always the same for a given text.
fn is_one_of(many: u64, what: &str, text: &str) -> bool {
    hash_of(&(what, text)).is_multiple_of(many)
}

/// The position of a node in the list of feasible ones.
#[derive(Clone, Debug)]
struct Seen(Vec<String>);

impl Plugin for Secretive {
    fn name(&self) -> &str {
        "Secretive"
    }
    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl PreScore for Secretive {
    fn pre_score(
        &self,
        _: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Status {
        if is_one_of(8, "skipped", &pod.name) {
            return Status::skip();
        }
        if is_one_of(40, "fails at once", &pod.name) {
            return Status::error("at once");
        }
        state.write(Seen(feasible.iter().map(|node| node.name().to_string()).collect()));
        Status::SUCCESS
    }
}

impl Score for Secretive {
    fn score(
        &self,
        _: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let name = node.name().as_str();
        if is_one_of(60, "fails", &format!("{}{name}", pod.name)) {
            return Err(Status::error(format!("on {name}")));
        }
        let Seen(nodes) = state.read().expect("written by PreScore");
        let at = nodes.iter().position(|seen| seen == name).expect("a node that passes");
        Ok(i64::try_from((at as u64 + hash_of(&pod.name)) % 5).expect("few"))
    }

    fn normalize(
        &self,
        _: &Context<'_>,
        _: &CycleState,
        pod: &Arc<Pod>,
        _: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        if is_one_of(40, "fails at last", &pod.name) {
            return Status::error("at last");
        }
        let factor = if is_one_of(40, "out of range", &pod.name) { 1000 } else { 25 };
        scores.iter_mut().for_each(|score| *score *= factor);
        Status::SUCCESS
    }
}

impl Plugin for OwnWay {
    fn name(&self) -> &str {
        "OwnWay"
    }
    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NONE, NodeParts::REQUESTED)
    }
    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl PreScore for OwnWay {
    fn pre_score(&self, _: &Context<'_>, _: &mut CycleState, _: &Arc<Pod>, _: &[Arc<NodeInfo>]) -> Status {
        Status::SUCCESS
    }
}

impl Score for OwnWay {
    fn score(&self, _: &Context<'_>, _: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        Ok(i64::try_from(node.pods().len()).expect("few"))
    }

    fn normalize(
        &self,
        _: &Context<'_>,
        _: &CycleState,
        _: &Arc<Pod>,
        _: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        let least = scores.iter().min().copied().unwrap_or(0);
        scores.iter_mut().for_each(|score| *score = (*score - least).min(100));
        Status::SUCCESS
    }
}
