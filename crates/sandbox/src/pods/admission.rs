//! Admission of pods, reading from the store.

use secondmate_admission::Cluster;
use serde_json::Value;

use crate::error::ApiError;
use crate::resource::{LIMIT_RANGES, PRIORITY_CLASSES, RUNTIME_CLASSES};
use crate::store::Transaction;

/// Fills in defaults, priority, tolerations and the first status.
pub(crate) fn admit(tx: &Transaction, pod: &mut Value) -> Result<(), ApiError> {
    secondmate_admission::admit_pod(pod, tx)
        .map_err(|refusal| ApiError::forbidden("", "pods", &refusal.pod, &refusal.why))?;
    secondmate_admission::first_status(pod, &tx.clock().now_seconds());
    Ok(())
}

impl Cluster for Transaction {
    fn priority_class(&self, name: &str) -> Option<Value> {
        self.get(PRIORITY_CLASSES, "", name).map(|class| class.value())
    }

    fn default_priority_class(&self) -> Option<Value> {
        let classes: Vec<Value> = self.iter(PRIORITY_CLASSES, None).map(|class| class.value()).collect();
        secondmate_admission::default_priority_class(&classes).cloned()
    }

    fn limit_ranges(&self, namespace: &str) -> Vec<Value> {
        self.iter(LIMIT_RANGES, Some(namespace)).map(|range| range.value()).collect()
    }

    fn runtime_class(&self, name: &str) -> Option<Value> {
        self.get(RUNTIME_CLASSES, "", name).map(|class| class.value())
    }
}
