//! `PodTopologySpread`: keeps the pods that a selector matches evenly spread over the domains of a node label.
//!
//! Hard constraints filter nodes, soft constraints score them. Pods without constraints of their own get the configured defaults, applied
//! to the pods that their services and owners select. In a pod's cycle, the counts per domain are computed once (PreFilter over all nodes,
//! PreScore for the domains of the feasible ones) and kept in the cycle's state. If counts are kept node by node from one pod to the next,
//! verdicts and scores are derived from those (module `groups`).

mod args;
mod constraints;
mod domains;
mod filter;
mod groups;
mod hint;
mod logarithm;
mod score;

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreScore, Reach, Score,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{NodeInfo, Pod, SpreadConstraint};
use std::sync::Arc;

/// Upstream's name of the plugin.
pub const NAME: &str = "PodTopologySpread";

const NOT_SPREAD: &str = "node(s) didn't match pod topology spread constraints";
const LABEL_MISSING: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// The plugin with its arguments.
#[derive(Debug)]
pub struct PodTopologySpread {
    /// Constraints for pods that have none of their own; the selectors come from each pod's services and owner.
    defaults: Box<[SpreadConstraint]>,
    /// The defaults are the built-in ones: then a node that lacks one of the labels is scored by the others.
    system_defaults: bool,
}

/// Creates the plugin from its `pluginConfig` arguments; `null` means kube-scheduler's defaults.
///
/// # Errors
/// The arguments are not valid for the plugin, or kube-scheduler would reject them.
pub fn new(args: &serde_json::Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let (defaults, system_defaults) = args::defaults(args)?;
    Ok(Arc::new(PodTopologySpread { defaults, system_defaults }))
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        let pod = PodParts::LABELS
            | PodParts::OWNER
            | PodParts::TOPOLOGY_SPREAD
            | PodParts::NODE_AFFINITY
            | PodParts::TOLERATIONS;
        let node = NodeParts::NAME | NodeParts::LABELS | NodeParts::TAINTS | NodeParts::PODS;
        Declaration::of(pod, node).reaching(Reach::Cluster).with_objects(&[
            ObjectKind::Service,
            ObjectKind::ReplicationController,
            ObjectKind::ReplicaSet,
            ObjectKind::StatefulSet,
        ])
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

    fn score_reach(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Reach> {
        self.scores_nothing(cx, pod).then_some(Reach::Node)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(
                EventResource::AssignedPod,
                ActionType::ADD | ActionType::UPDATE_POD_LABEL | ActionType::DELETE,
            ),
            EventRegistration::new(
                EventResource::TargetPod,
                ActionType::UPDATE_POD_LABEL | ActionType::UPDATE_POD_TOLERATION,
            ),
            EventRegistration::new(
                EventResource::Node,
                ActionType::ADD
                    | ActionType::DELETE
                    | ActionType::UPDATE_NODE_LABEL
                    | ActionType::UPDATE_NODE_TAINT,
            ),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        self.hint_of(pod, change)
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        node.map_or_else(Vec::new, |node| filter::facts(cx.snapshot, state, pod, node))
    }
}
