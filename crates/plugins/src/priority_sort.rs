//! PrioritySort: pods of higher priority first; among equals, the one that has been waiting longest.

use secondmate_framework::{
    Declaration, EventRegistration, Handle, NodeParts, Plugin, PluginError, PodParts, QueueSort, QueuedPod,
};
use serde_json::Value;
use std::cmp::Ordering;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "PrioritySort";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct PrioritySort;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(PrioritySort))
}

impl Plugin for PrioritySort {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::PRIORITY, NodeParts::NONE)
    }

    fn as_queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSort>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        Vec::new()
    }
}

impl QueueSort for PrioritySort {
    fn compare(&self, a: &QueuedPod, b: &QueuedPod) -> Ordering {
        b.pod.priority.cmp(&a.pod.priority).then(a.timestamp.cmp(&b.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::pod;
    use secondmate_model::Timestamp;
    use serde_json::json;

    fn queued(priority: Value, second: i64) -> QueuedPod {
        QueuedPod {
            pod: pod(json!({"spec": {"priority": priority}})),
            timestamp: Timestamp::from_secs(second),
            attempts: 0,
        }
    }

    #[test]
    fn priority_goes_before_age() {
        for (a, b, expected) in [
            ((json!(10), 5), (json!(9), 1), Ordering::Less),
            ((json!(-1), 1), (json!(0), 5), Ordering::Greater),
            ((json!(7), 1), (json!(7), 2), Ordering::Less),
            ((json!(7), 2), (json!(7), 2), Ordering::Equal),
            // A pod without a priority has priority 0.
            ((Value::Null, 2), (json!(0), 1), Ordering::Greater),
        ] {
            let shown = format!("{a:?} {b:?}");
            assert_eq!(PrioritySort.compare(&queued(a.0, a.1), &queued(b.0, b.1)), expected, "{shown}");
        }
    }
}
