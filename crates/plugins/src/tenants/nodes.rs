//! TenantNodes: pods with the tenant's scheduler name go only to the tenant's nodes.

use crate::arguments::{parse, refused};
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, Status,
};
use secondmate_model::{LabelSelector, NodeInfo, Pod, wire};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "TenantNodes";

const REASON: &str = "node(s) didn't match the tenant's node selector";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    selector: wire::LabelSelector,
}

/// The plugin.
#[derive(Debug)]
pub struct TenantNodes {
    selector: LabelSelector,
}

/// Creates the plugin from the tenant's `nodes` in the configuration.
///
/// # Errors
/// The arguments are not valid for the plugin, or the selector is invalid.
pub fn new(args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = parse(NAME, args)?;
    let selector =
        LabelSelector::new(&args.selector).map_err(|error| refused(NAME, format!("selector: {error}")))?;
    Ok(Arc::new(TenantNodes { selector }))
}

impl Plugin for TenantNodes {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // No kubelet knows of tenants, but a node may leave the tenant while a pod waits to be bound there.
        Declaration::of(PodParts::NONE, NodeParts::LABELS).judged_at_admission()
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL)]
    }

    fn hint(&self, _pod: &Pod, change: &ObjectChange) -> Hint {
        let Some(node) = change.new.as_ref().and_then(|new| new.node()) else { return Hint::Skip };
        let was_there = change
            .old
            .as_ref()
            .and_then(|old| old.node())
            .is_some_and(|old| self.selector.matches(&old.labels));
        if self.selector.matches(&node.labels) && !was_there { Hint::Queue } else { Hint::Skip }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        _pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node.filter(|node| !self.selector.matches(&node.node().labels)) else {
            return Vec::new();
        };
        let unmet: Vec<String> = self
            .selector
            .requirements()
            .iter()
            .filter(|wanted| !wanted.matches(&node.node().labels))
            .map(ToString::to_string)
            .collect();
        let unmet = unmet.join(",");
        let fact = Fact::new(format!("does not match {unmet} of the tenant's node selector"));
        vec![fact.helped_by(format!("a node with {unmet}"))]
    }
}

impl Filter for TenantNodes {
    fn filter(&self, _cx: &Context<'_>, _state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if self.selector.matches(&node.node().labels) {
            Status::SUCCESS
        } else {
            Status::unresolvable(REASON)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{added, context, node, pod, updated_node};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    fn plugin() -> Arc<dyn Plugin> {
        let args = json!({"selector": {"matchLabels": {"pool": "red"},
            "matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}});
        new(&args, &Handle::default()).expect("sound arguments")
    }

    fn labelled(labels: Value) -> NodeInfo {
        node(json!({"metadata": {"name": "n", "labels": labels}}))
    }

    #[test]
    fn only_the_tenants_nodes_pass() {
        let (snapshot, p) = (Snapshot::default(), pod(json!({"metadata": {"name": "p"}})));
        let filter = plugin().as_filter().expect("it filters");
        for (labels, unmet) in [
            (json!({"pool": "red"}), None),
            (json!({"pool": "blue"}), Some("does not match pool=red of the tenant's node selector")),
            (json!({"pool": "red", "gpu": "a"}), Some("does not match !gpu of the tenant's node selector")),
            (json!({}), Some("does not match pool=red of the tenant's node selector")),
        ] {
            let node = labelled(labels.clone());
            let status = filter.filter(&context(&snapshot), &CycleState::new(), &p, &node);
            let expected = unmet.map_or(Status::SUCCESS, |_| Status::unresolvable(REASON));
            assert_eq!(status, expected, "{labels}");
            let facts = plugin().facts(&context(&snapshot), &CycleState::new(), &p, Some(&node));
            assert_eq!(facts.first().map(|fact| fact.text.as_str()), unmet, "{labels}");
        }
    }

    #[test]
    fn a_node_that_becomes_the_tenants_wakes_the_pod() {
        let (red, blue) = (labelled(json!({"pool": "red"})), labelled(json!({"pool": "blue"})));
        let waiting = pod(json!({"metadata": {"name": "p"}}));
        for (change, expected) in [
            (added(&red), Hint::Queue),
            (added(&blue), Hint::Skip),
            (updated_node(&blue, &red), Hint::Queue),
            (updated_node(&red, &red), Hint::Skip),
            (updated_node(&red, &blue), Hint::Skip),
        ] {
            assert_eq!(plugin().hint(&waiting, &change), expected, "{change:?}");
        }
    }
}
