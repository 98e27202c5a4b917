//! SchedulingGates: pods with scheduling gates stay out of the queue.

use secondmate_framework::{
    ActionType, Declaration, EventRegistration, EventResource, Handle, NodeParts, Plugin, PluginError,
    PodParts, PreEnqueue, Status,
};
use secondmate_model::{Atom, Pod};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "SchedulingGates";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct SchedulingGates;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(SchedulingGates))
}

impl Plugin for SchedulingGates {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::SCHEDULING_GATES, NodeParts::NONE)
    }

    fn as_pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueue>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        let gone = ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED;
        vec![EventRegistration::new(EventResource::TargetPod, gone)]
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &Pod) -> Status {
        if pod.scheduling_gates.is_empty() {
            return Status::SUCCESS;
        }
        let gates: Vec<&str> = pod.scheduling_gates.iter().map(Atom::as_str).collect();
        Status::unresolvable(format!("waiting for scheduling gates: [{}]", gates.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{pod, updated};
    use serde_json::json;

    #[test]
    fn gates_hold_a_pod_back_and_are_named() {
        let free = pod(json!({"metadata": {"name": "p"}}));
        let gated = pod(json!({"spec": {"schedulingGates": [{"name": "a/b"}, {"name": "c"}]}}));
        assert_eq!(SchedulingGates.pre_enqueue(&free), Status::SUCCESS);
        assert_eq!(
            SchedulingGates.pre_enqueue(&gated),
            Status::unresolvable("waiting for scheduling gates: [a/b c]")
        );
    }

    #[test]
    fn the_pod_is_released_when_its_gates_are_gone() {
        let gone = EventRegistration::new(
            EventResource::TargetPod,
            ActionType::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
        );
        assert_eq!(SchedulingGates.events(), [gone]);
        let gated = pod(json!({"metadata": {"name": "p"}, "spec": {"schedulingGates": [{"name": "a"}]}}));
        let free = pod(json!({"metadata": {"name": "p"}}));
        assert_eq!(SchedulingGates.hint(&gated, &updated(&gated, &free)), secondmate_framework::Hint::Queue);
    }
}
