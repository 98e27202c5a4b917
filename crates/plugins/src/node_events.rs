//! Changes of nodes, as most plugins register them.

use secondmate_framework::{ActionType, EventObject, EventRegistration, EventResource, ObjectChange};

/// Registrations of a plugin for nodes that appear and for updates of these kinds.
///
/// Upstream gives each plugin that asks for additions but not for updates of taints the latter as well, without a hint
/// (`buildQueueingHintMap`); plugins that call this must answer [`is_taint_update`] with `Queue`.
pub(crate) fn added_or(actions: ActionType) -> [EventRegistration; 2] {
    [
        EventRegistration::new(EventResource::Node, ActionType::ADD | actions),
        EventRegistration::new(EventResource::Node, ActionType::UPDATE_NODE_TAINT),
    ]
}

/// Whether the change of a node is one of its taints. A node that becomes schedulable counts as one.
pub(crate) fn is_taint_update(change: &ObjectChange) -> bool {
    match (&change.old, &change.new) {
        (Some(EventObject::Node(old)), Some(EventObject::Node(new))) => {
            old.taints != new.taints || (old.unschedulable && !new.unschedulable)
        }
        _ => false,
    }
}
