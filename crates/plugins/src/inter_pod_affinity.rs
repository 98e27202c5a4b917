//! `InterPodAffinity`: pods that want to be near other pods, or away from them.
//!
//! Required terms filter nodes, preferred terms score them, and both apply in two directions: the incoming pod's terms about the pods on
//! the nodes, and the terms of those pods about the incoming pod. In a pod's cycle, the matching pods are counted once per pair of label
//! and value (PreFilter, PreScore), and the counts are kept in the cycle's state. If counts are kept node by node from one pod to the next,
//! verdicts and scores are derived from those (module `groups`).

mod args;
mod counts;
mod facts;
mod filter;
mod groups;
mod hint;
mod score;
mod terms;

use args::Args;
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Parity, Plugin, PluginError, PodParts, PreFilter, PreScore, Reach, Score,
};
use secondmate_model::objects::{ObjectKind, Objects};
use secondmate_model::{Affinity, Labels, NodeInfo, Pod};
use std::sync::Arc;

/// Upstream's name of the plugin.
pub const NAME: &str = "InterPodAffinity";

const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const EXISTING_ANTI_AFFINITY: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// The plugin with its arguments.
#[derive(Debug)]
pub struct InterPodAffinity {
    args: Args,
    /// Whether hints ignore what upstream's hints ignore.
    parity: Parity,
}

/// Creates the plugin from its `pluginConfig` arguments; `null` means kube-scheduler's defaults.
///
/// # Errors
/// The arguments are not valid for the plugin, or kube-scheduler would reject them.
pub fn new(args: &serde_json::Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(InterPodAffinity { args: Args::read(args)?, parity: handle.parity }))
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::LABELS | PodParts::POD_AFFINITY, NodeParts::LABELS | NodeParts::PODS)
            .reaching(Reach::Cluster)
            .with_objects(&[ObjectKind::Namespace])
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
        let pods = ActionType::ADD | ActionType::UPDATE_POD_LABEL | ActionType::DELETE;
        let mut events = vec![
            EventRegistration::new(EventResource::AssignedPod, pods),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_LABEL),
            EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
        ];
        if self.parity == Parity::Sensible {
            let namespaces = ActionType::ADD | ActionType::UPDATE;
            events.push(EventRegistration::new(EventResource::Namespace, namespaces));
        }
        events
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        hint::hint(pod, change, self.parity)
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        node.map_or_else(Vec::new, |node| facts::facts(cx.snapshot, state, pod, node))
    }
}

/// The pod's affinity, if it has any.
fn affinity(pod: &Pod) -> Option<&Affinity> {
    pod.affinity.as_deref()
}

/// Labels of the pod's namespace; an unknown namespace has none.
fn namespace_labels(pod: &Pod, objects: &Objects) -> Labels {
    objects.namespaces.get(&pod.namespace).cloned().unwrap_or_default()
}

/// Why the pod's terms cannot be evaluated, if so; the reasons are joined as upstream does.
fn parse_error(pod: &Pod) -> Option<String> {
    let errors = &affinity(pod)?.errors;
    match &**errors {
        [] => None,
        [one] => Some(one.to_string()),
        many => Some(format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
    }
}
