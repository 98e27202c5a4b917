//! TaintToleration: taints keep away pods that do not tolerate them, or make their nodes less preferred.

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, Normalization, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome,
    PreScore, Score, Status,
};
use secondmate_model::{Effect, Node, NodeInfo, Pod, Taint};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "TaintToleration";

const REASON: &str = "node(s) had untolerated taint(s)";
const NO_STATE: &str = "failed to read \"PreScoreTaintToleration\" from cycleState: not found";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct TaintToleration;

/// PreScore has run. Upstream collects the tolerations there and cannot score without it; here collecting them costs nothing.
#[derive(Clone, Copy)]
struct Prepared;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(TaintToleration))
}

/// Whether the pod tolerates all taints of the node that would keep it away (NoSchedule and NoExecute).
#[must_use]
pub fn tolerates_node(pod: &Pod, node: &Node) -> bool {
    node.taints.iter().all(|taint| !taint.repels() || tolerates(pod, taint))
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

impl Plugin for TaintToleration {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // The kubelet checks only NoExecute. A NoSchedule taint that was added after the choice counts here too: the next attempt would
        // respect it.
        Declaration::of(PodParts::TOLERATIONS, NodeParts::TAINTS).judged_at_admission()
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_TOLERATION),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let queue = if let Some(node) = change.new.as_ref().and_then(|new| new.node()) {
            let old = change.old.as_ref().and_then(|old| old.node());
            old.is_none_or(|old| !tolerates_node(pod, old)) && tolerates_node(pod, node)
        } else {
            true
        };
        if queue { Hint::Queue } else { Hint::Skip }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node else { return Vec::new() };
        let repelling = node.node().taints.iter().filter(|taint| taint.repels() && !tolerates(pod, taint));
        let fact = |taint: &Taint| {
            Fact::new(format!("taint {taint} is not tolerated"))
                .helped_by(format!("a toleration of the taint {taint}"))
        };
        repelling.map(fact).collect()
    }
}

impl PreFilter for TaintToleration {
    fn pre_filter(&self, _cx: &Context<'_>, _state: &mut CycleState, _pod: &Arc<Pod>) -> PreFilterOutcome {
        // There is nothing to prepare. Here upstream's plugin checks whether the pod is assigned to a node and waits for a resize.
        PreFilterOutcome::default()
    }
}

impl Filter for TaintToleration {
    fn filter(&self, _cx: &Context<'_>, _state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if tolerates_node(pod, node.node()) { Status::SUCCESS } else { Status::unresolvable(REASON) }
    }
}

impl PreScore for TaintToleration {
    fn pre_score(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
    ) -> Status {
        state.write(Prepared);
        Status::SUCCESS
    }
}

impl Score for TaintToleration {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        if state.read::<Prepared>().is_none() {
            return Err(Status::error(NO_STATE));
        }
        let intolerable = node
            .node()
            .taints
            .iter()
            .filter(|taint| taint.effect == Effect::PreferNoSchedule && !tolerates(pod, taint))
            .count();
        Ok(intolerable as i64)
    }

    fn normalization(&self) -> Normalization {
        Normalization::Reversed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{added, context, node, pod, updated, updated_node};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    fn tainted(taints: Value) -> NodeInfo {
        node(json!({"metadata": {"name": "n"}, "spec": {"taints": taints}}))
    }

    fn tolerating(tolerations: Value) -> Arc<Pod> {
        pod(json!({"metadata": {"name": "p"}, "spec": {"tolerations": tolerations}}))
    }

    fn score(pod: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        let snapshot = Snapshot::default();
        let cx = context(&snapshot);
        let mut state = CycleState::new();
        assert_eq!(TaintToleration.pre_score(&cx, &mut state, pod, &[]), Status::SUCCESS);
        TaintToleration.score(&cx, &state, pod, node)
    }

    #[test]
    fn repelling_taints_must_be_tolerated() {
        let snapshot = Snapshot::default();
        let taint = |effect: &str| json!({"key": "k", "value": "v", "effect": effect});
        let both = json!([taint("NoSchedule"), {"key": "l", "effect": "NoExecute"}]);
        for (taints, tolerations, fits) in [
            (json!([]), json!([]), true),
            (json!([taint("NoSchedule")]), json!([]), false),
            (json!([taint("NoExecute")]), json!([]), false),
            (json!([taint("PreferNoSchedule")]), json!([]), true),
            // An unknown effect keeps no pods away.
            (json!([taint("NoWay")]), json!([]), true),
            (json!([taint("NoSchedule")]), json!([{"key": "k", "value": "v"}]), true),
            (json!([taint("NoSchedule")]), json!([{"key": "k", "operator": "Equal", "value": "w"}]), false),
            (json!([taint("NoSchedule")]), json!([{"key": "k", "operator": "Exists"}]), true),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]),
                false,
            ),
            // Lt and Gt are behind a feature gate that is off.
            (
                json!([{"key": "k", "value": "5", "effect": "NoSchedule"}]),
                json!([{"key": "k", "operator": "Gt", "value": "3"}]),
                false,
            ),
            (both.clone(), json!([{"key": "k", "operator": "Exists"}]), false),
            (
                both.clone(),
                json!([{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "Exists"}]),
                true,
            ),
            (both, json!([{"operator": "Exists"}]), true),
        ] {
            let verdict = Filter::filter(
                &TaintToleration,
                &context(&snapshot),
                &CycleState::new(),
                &tolerating(tolerations.clone()),
                &tainted(taints.clone()),
            );
            let expected = if fits { Status::SUCCESS } else { Status::unresolvable(REASON) };
            assert_eq!(verdict, expected, "{tolerations} on {taints}");
        }
    }

    #[test]
    fn the_score_counts_soft_taints_that_are_not_tolerated() {
        let soft = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
        let taints = json!([soft("a"), soft("b"), soft("c"), {"key": "d", "effect": "NoSchedule"}]);
        for (tolerations, expected) in [
            (json!([]), 3),
            (json!([{"key": "a", "operator": "Exists"}]), 2),
            (json!([{"key": "a", "operator": "Exists", "effect": "PreferNoSchedule"}]), 2),
            (json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]), 3),
            (json!([{"operator": "Exists"}]), 0),
        ] {
            assert_eq!(
                score(&tolerating(tolerations.clone()), &tainted(taints.clone())),
                Ok(expected),
                "{tolerations}"
            );
        }
    }

    #[test]
    fn without_pre_score_there_is_no_score() {
        let snapshot = Snapshot::default();
        let failed = Score::score(
            &TaintToleration,
            &context(&snapshot),
            &CycleState::new(),
            &tolerating(json!([])),
            &tainted(json!([])),
        );
        assert_eq!(
            failed,
            Err(Status::error("failed to read \"PreScoreTaintToleration\" from cycleState: not found"))
        );
    }

    #[test]
    fn hints() {
        let waiting = tolerating(json!([{"key": "ok", "operator": "Exists"}]));
        let free = tainted(json!([]));
        let tolerated = tainted(json!([{"key": "ok", "effect": "NoSchedule"}]));
        let repelling = tainted(json!([{"key": "bad", "effect": "NoSchedule"}]));
        for (change, expected) in [
            (added(&free), Hint::Queue),
            (added(&tolerated), Hint::Queue),
            (added(&repelling), Hint::Skip),
            (updated_node(&repelling, &free), Hint::Queue),
            (updated_node(&free, &tolerated), Hint::Skip),
            (updated_node(&free, &repelling), Hint::Skip),
            (updated(&waiting, &waiting), Hint::Queue),
        ] {
            assert_eq!(TaintToleration.hint(&waiting, &change), expected, "{change:?}");
        }
    }
}
