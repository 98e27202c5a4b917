//! NodeName: a pod that names its node goes there or nowhere.

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    NodeParts, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Status,
};
use secondmate_model::{NodeInfo, Pod};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodeName";

const REASON: &str = "node(s) didn't match the requested node name";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct NodeName;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(NodeName))
}

impl Plugin for NodeName {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NODE_NAME, NodeParts::NAME)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Node, ActionType::ADD)]
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let named = pod.node_name.as_ref().filter(|name| node.is_none_or(|node| *name != node.name()));
        let fact = |name| Fact::new(format!("the pod names node {name} (spec.nodeName)"));
        named.map(fact).into_iter().collect()
    }
}

impl PreFilter for NodeName {
    fn pre_filter(&self, _cx: &Context<'_>, _state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let node = pod.node_name.iter().cloned().collect::<BTreeSet<_>>();
        PreFilterOutcome { nodes: (!node.is_empty()).then_some(node), ..PreFilterOutcome::default() }
    }
}

impl Filter for NodeName {
    fn filter(&self, _cx: &Context<'_>, _state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        match &pod.node_name {
            Some(name) if name != node.name() => Status::unresolvable(REASON),
            _ => Status::SUCCESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, node, pod};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    #[test]
    fn only_the_named_node_will_do() {
        let snapshot = Snapshot::default();
        for (wanted, expected) in
            [("", Status::SUCCESS), ("n1", Status::SUCCESS), ("n2", Status::unresolvable(REASON))]
        {
            let pod = pod(json!({"spec": {"nodeName": wanted}}));
            let outcome = NodeName.pre_filter(&context(&snapshot), &mut CycleState::new(), &pod);
            let nodes = (!wanted.is_empty()).then(|| BTreeSet::from([wanted.into()]));
            assert_eq!((outcome.status, outcome.nodes), (Status::SUCCESS, nodes), "{wanted:?}");
            let node = node(json!({"metadata": {"name": "n1"}}));
            assert_eq!(
                NodeName.filter(&context(&snapshot), &CycleState::new(), &pod, &node),
                expected,
                "{wanted:?}"
            );
            let facts = NodeName.facts(&context(&snapshot), &CycleState::new(), &pod, Some(&node));
            let told: Vec<&str> = facts.iter().map(|fact| fact.text.as_str()).collect();
            let named = ["the pod names node n2 (spec.nodeName)"];
            assert_eq!(told, if wanted == "n2" { &named[..] } else { &[] });
        }
    }
}
