//! NodeUnschedulable: nodes with `spec.unschedulable` take only pods that tolerate the corresponding taint.

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Status,
};
use secondmate_model::{Atom, Effect, NodeInfo, Pod, Taint};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodeUnschedulable";

const REASON: &str = "node(s) were unschedulable";

/// The plugin.
#[derive(Clone, Debug)]
pub struct NodeUnschedulable {
    /// The taint that a pod must tolerate: the one that the node controller sets on such nodes.
    taint: Taint,
}

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(NodeUnschedulable::default()))
}

impl Default for NodeUnschedulable {
    fn default() -> Self {
        let taint = Taint {
            key: Atom::new("node.kubernetes.io/unschedulable"),
            value: Atom::default(),
            effect: Effect::NoSchedule,
        };
        Self { taint }
    }
}

impl NodeUnschedulable {
    fn is_tolerated(&self, pod: &Pod) -> bool {
        pod.tolerations.iter().any(|toleration| toleration.tolerates(&self.taint))
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::TOLERATIONS, NodeParts::TAINTS)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_TOLERATION),
        ]
    }

    fn hint(&self, _pod: &Pod, change: &ObjectChange) -> Hint {
        let queue = if let Some(updated) = change.new.as_ref().and_then(|new| new.pod()) {
            self.is_tolerated(updated)
        } else if let Some(node) = change.new.as_ref().and_then(|new| new.node()) {
            let old = change.old.as_ref().and_then(|old| old.node());
            !node.unschedulable && old.is_none_or(|old| old.unschedulable)
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
        let Some(node) = node.filter(|node| node.node().unschedulable && !self.is_tolerated(pod)) else {
            return Vec::new();
        };
        let help = format!("kubectl uncordon {}", node.name());
        vec![Fact::new("is cordoned (spec.unschedulable)").helped_by(help)]
    }
}

impl PreFilter for NodeUnschedulable {
    fn pre_filter(&self, _cx: &Context<'_>, _state: &mut CycleState, _pod: &Arc<Pod>) -> PreFilterOutcome {
        // There is nothing to prepare. Here upstream's plugin checks whether the pod is assigned to a node and waits for a resize.
        PreFilterOutcome::default()
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _cx: &Context<'_>, _state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if !node.node().unschedulable || self.is_tolerated(pod) {
            Status::SUCCESS
        } else {
            Status::unresolvable(REASON)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{added, context, node, pod, updated, updated_node};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    fn tolerating(toleration: Value) -> Arc<Pod> {
        pod(json!({"spec": {"tolerations": [toleration]}}))
    }

    fn node_marked(unschedulable: bool) -> NodeInfo {
        node(json!({"metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable}}))
    }

    #[test]
    fn unschedulable_nodes_take_only_pods_that_tolerate_it() {
        let snapshot = Snapshot::default();
        let key = "node.kubernetes.io/unschedulable";
        let plugin = NodeUnschedulable::default();
        for (toleration, fits) in [
            (json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": key, "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": key, "effect": "NoSchedule"}), true),
            (json!({"key": key, "value": "x", "effect": "NoSchedule"}), false),
            (json!({"key": key, "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
        ] {
            let expected = if fits { Status::SUCCESS } else { Status::unresolvable(REASON) };
            let pod = tolerating(toleration.clone());
            let verdict =
                |node: &NodeInfo| plugin.filter(&context(&snapshot), &CycleState::new(), &pod, node);
            assert_eq!(verdict(&node_marked(true)), expected, "{toleration}");
            assert_eq!(verdict(&node_marked(false)), Status::SUCCESS, "{toleration}");
        }
    }

    #[test]
    fn hints() {
        let plugin = NodeUnschedulable::default();
        let waiting = pod(json!({"metadata": {"name": "p"}}));
        let tolerant =
            pod(json!({"metadata": {"name": "p"}, "spec": {"tolerations": [{"operator": "Exists"}]}}));
        let (free, marked) = (node_marked(false), node_marked(true));
        for (change, expected) in [
            (added(&free), Hint::Queue),
            (added(&marked), Hint::Skip),
            (updated_node(&marked, &free), Hint::Queue),
            (updated_node(&free, &free), Hint::Skip),
            (updated_node(&free, &marked), Hint::Skip),
            (updated(&waiting, &tolerant), Hint::Queue),
            (updated(&waiting, &waiting), Hint::Skip),
        ] {
            assert_eq!(plugin.hint(&waiting, &change), expected, "{change:?}");
        }
    }
}
