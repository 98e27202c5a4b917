//! ControllerRevisions: all templates of a StatefulSet or DaemonSet so far, for `kubectl rollout history` and `undo`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Controller, owner_reference, template_hash};
use crate::object::Object;
use crate::resource::CONTROLLER_REVISIONS;

/// The label of pods and revisions that names the template.
pub(super) const REVISION_HASH: &str = "controller-revision-hash";

impl Controller {
    /// Makes sure that the workload's template has the newest revision, and returns the hash that names it.
    pub(super) fn keep_revision(&self, object: &Object, workload: &Value) -> String {
        let template = &workload["spec"]["template"];
        let hash = template_hash(template);
        let name = format!("{}-{hash}", object.name);
        let mut known: Vec<(Arc<Object>, u64)> = self
            .of(CONTROLLER_REVISIONS)
            .owned_by(&self.api, &object.uid)
            .into_iter()
            .map(|revision| (Arc::clone(&revision), revision.value()["revision"].as_u64().unwrap_or(0)))
            .collect();
        known.sort_by_key(|(_, number)| *number);
        let newest = known.last().map_or(0, |(_, number)| *number);
        match known.iter().find(|(revision, _)| *revision.name == *name) {
            Some((_, number)) if *number == newest => {}
            Some((revision, _)) => {
                self.change(CONTROLLER_REVISIONS, revision, |value| {
                    value["revision"] = Value::from(newest + 1)
                });
            }
            None => {
                let mut data = template.clone();
                data["$patch"] = Value::from("replace");
                let mut labels = template["metadata"]["labels"].clone();
                labels[REVISION_HASH] = Value::from(hash.as_str());
                let revision = json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision",
                    "metadata": { "name": name, "labels": labels, "ownerReferences": [owner_reference(workload)] },
                    "data": { "spec": { "template": data } }, "revision": newest + 1,
                });
                if let Err(error) = self.create(CONTROLLER_REVISIONS, &object.namespace, revision) {
                    tracing::debug!(%error, workload = %object.name, "cannot create a ControllerRevision");
                }
                let kept = usize::try_from(workload["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10));
                let surplus = known.len().saturating_sub(kept.unwrap_or(usize::MAX));
                for (revision, _) in known.iter().take(surplus) {
                    self.delete(CONTROLLER_REVISIONS, revision);
                }
            }
        }
        hash
    }
}
