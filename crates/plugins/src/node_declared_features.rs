//! NodeDeclaredFeatures: a pod that needs certain kubelet features goes only to nodes that declare them.

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Status,
};
use secondmate_model::{NodeInfo, Pod};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodeDeclaredFeatures";

const REASON: &str = "node(s) didn't match Pod's required features";
const NO_STATE: &str = "error reading \"PreFilterNodeDeclaredFeatures\" from cycle-state: not found";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct NodeDeclaredFeatures;

/// PreFilter has run; without it, upstream's filter fails.
#[derive(Clone, Copy)]
struct Prepared;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(NodeDeclaredFeatures))
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::REQUIRED_FEATURES, NodeParts::DECLARED_FEATURES).judged_at_admission()
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        let nodes = ActionType::ADD | ActionType::UPDATE_NODE_DECLARED_FEATURE;
        vec![
            EventRegistration::new(EventResource::Node, nodes),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE),
        ]
    }

    fn hint(&self, _pod: &Pod, change: &ObjectChange) -> Hint {
        let new = change.new.as_ref();
        let old = change.old.as_ref();
        let queue = if let Some(updated) = new.and_then(|new| new.pod()) {
            let before = old.and_then(|old| old.pod()).map_or(&[][..], |old| &old.required_features);
            *updated.required_features != *before
        } else if let Some(node) = new.and_then(|new| new.node()) {
            old.and_then(|old| old.node()).is_none_or(|old| old.declared_features != node.declared_features)
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
        let declared = &node.node().declared_features;
        let missing = pod.required_features.iter().filter(|feature| !declared.contains(feature));
        let fact = |feature| {
            let text = format!(
                "does not declare the feature {feature} (status.declaredFeatures), which the pod needs"
            );
            Fact::new(text).helped_by(format!("a node whose kubelet has the feature {feature}"))
        };
        missing.map(fact).collect()
    }
}

impl PreFilter for NodeDeclaredFeatures {
    fn pre_filter(&self, _cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        if pod.required_features.is_empty() {
            return Status::skip().into();
        }
        state.write(Prepared);
        Status::SUCCESS.into()
    }
}

impl Filter for NodeDeclaredFeatures {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if state.read::<Prepared>().is_none() {
            return Status::error(NO_STATE);
        }
        let declared = &node.node().declared_features;
        if pod.required_features.iter().all(|feature| declared.contains(feature)) {
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

    fn restarting(name: &str, action: &str) -> Arc<Pod> {
        pod(
            json!({"metadata": {"name": name}, "spec": {"containers": [{"restartPolicyRules": [{"action": action}]}]}}),
        )
    }

    fn declaring(features: &[&str]) -> NodeInfo {
        node(json!({"metadata": {"name": "n"}, "status": {"declaredFeatures": features}}))
    }

    fn verdict(pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let snapshot = Snapshot::default();
        let cx = context(&snapshot);
        let mut state = CycleState::new();
        let outcome = NodeDeclaredFeatures.pre_filter(&cx, &mut state, pod);
        if outcome.status.is_success() {
            NodeDeclaredFeatures.filter(&cx, &state, pod, node)
        } else {
            outcome.status
        }
    }

    #[test]
    fn features_must_be_declared() {
        let needing = restarting("p", "RestartAllContainers");
        for (pod, features, expected) in [
            (&restarting("p", "Restart"), &[][..], Status::skip()),
            (&needing, &[], Status::unresolvable(REASON)),
            (&needing, &["AnotherFeature"], Status::unresolvable(REASON)),
            (&needing, &["RestartAllContainersOnContainerExits", "AnotherFeature"], Status::SUCCESS),
        ] {
            assert_eq!(verdict(pod, &declaring(features)), expected, "{features:?}");
        }
        for (spec, expected) in [
            (json!({"hostNetwork": true}), Status::skip()),
            (json!({"hostNetwork": true, "hostUsers": true}), Status::skip()),
            (json!({"hostUsers": false}), Status::skip()),
            (json!({"hostNetwork": true, "hostUsers": false}), Status::unresolvable(REASON)),
        ] {
            assert_eq!(verdict(&pod(json!({ "spec": spec })), &declaring(&[])), expected, "{spec}");
        }
        let user_namespace = pod(json!({"spec": {"hostNetwork": true, "hostUsers": false}}));
        assert_eq!(
            verdict(&user_namespace, &declaring(&["UserNamespacesHostNetworkSupport"])),
            Status::SUCCESS
        );
        let mounting = |options: serde_json::Value| json!({"volumeMounts": [{"name": "v"}, {"bindMountOptions": options}]});
        for (spec, expected) in [
            (json!({"containers": [mounting(json!([]))]}), Status::skip()),
            (json!({"containers": [mounting(json!(null)), {"volumeMounts": null}]}), Status::skip()),
            (json!({"containers": [mounting(json!(["noexec"]))]}), Status::unresolvable(REASON)),
            (json!({"initContainers": [mounting(json!(["noexec"]))]}), Status::unresolvable(REASON)),
            (json!({"ephemeralContainers": [mounting(json!(["noexec"]))]}), Status::unresolvable(REASON)),
        ] {
            let pod = pod(json!({ "spec": spec }));
            assert_eq!(verdict(&pod, &declaring(&[])), expected, "{spec}");
            if expected == Status::unresolvable(REASON) {
                assert_eq!(verdict(&pod, &declaring(&["VolumeBindMountOptions"])), Status::SUCCESS);
            }
        }
        // A pod that needs two needs both.
        let both = pod(json!({"spec": {"hostNetwork": true, "hostUsers": false,
            "containers": [{"restartPolicyRules": [{"action": "RestartAllContainers"}]}]}}));
        let two = ["RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"];
        assert_eq!(verdict(&both, &declaring(&two[..1])), Status::unresolvable(REASON));
        assert_eq!(verdict(&both, &declaring(&two[1..])), Status::unresolvable(REASON));
        assert_eq!(verdict(&both, &declaring(&two)), Status::SUCCESS);
        let snapshot = Snapshot::default();
        assert_eq!(
            Filter::filter(
                &NodeDeclaredFeatures,
                &context(&snapshot),
                &CycleState::new(),
                &needing,
                &declaring(&[])
            ),
            Status::error("error reading \"PreFilterNodeDeclaredFeatures\" from cycle-state: not found")
        );
    }

    #[test]
    fn hints() {
        let (plain, needing) = (restarting("p", "Restart"), restarting("p", "RestartAllContainers"));
        for (change, expected) in [
            (added(&declaring(&[])), Hint::Queue),
            (updated_node(&declaring(&[]), &declaring(&["A"])), Hint::Queue),
            (updated_node(&declaring(&["A"]), &declaring(&["A"])), Hint::Skip),
            (updated(&needing, &plain), Hint::Queue),
            (updated(&needing, &needing), Hint::Skip),
        ] {
            assert_eq!(NodeDeclaredFeatures.hint(&needing, &change), expected, "{change:?}");
        }
    }
}
