//! Deployments: a ReplicaSet for each template, numbered as revisions, so that a rollback finds the earlier ones.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Controller, owner_reference, template_hash};
use crate::api::PatchOptions;
use crate::object::Object;
use crate::resource::{self, DEPLOYMENTS, REPLICA_SETS};

/// The label that tells the pods of one template from those of another.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation that `kubectl rollout` uses.
const REVISION: &str = "deployment.kubernetes.io/revision";

fn revision(object: &Value) -> u64 {
    object["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A ReplicaSet's template, as it was in its Deployment.
fn template_of(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
    }
    template
}

impl Controller {
    pub(super) fn reconcile_deployment(&mut self, object: &Object) {
        let deployment = object.value();
        let sets: Vec<(Arc<Object>, Value)> = self
            .of(REPLICA_SETS)
            .owned_by(&self.api, &object.uid)
            .into_iter()
            .filter(|set| !set.deleting)
            .map(|set| (Arc::clone(&set), set.value()))
            .collect();
        let is_current = |set: &Value| template_of(set) == deployment["spec"]["template"];
        let newest = sets.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
        let current = sets.iter().find(|(_, set)| is_current(set));
        let paused = deployment["spec"]["paused"] == true;
        let number = match current {
            // A rollback makes an old revision the newest.
            Some((_, set)) if revision(set) == newest && newest > 0 => newest,
            None if paused => newest,
            _ => newest + 1,
        };
        match current {
            Some((set, value)) if revision(value) != number => self.set_revision(REPLICA_SETS, set, number),
            None if !paused => self.create_set(object, &deployment, number),
            _ => {}
        }
        if revision(&deployment) != number && number > 0 {
            self.set_revision(DEPLOYMENTS, object, number);
        }
        if !paused {
            self.scale_sets(&sets, &deployment["spec"]["replicas"], is_current);
            self.forget_old_sets(&sets, &deployment, is_current);
        }
        self.write_deployment_status(object, &deployment, &sets, is_current);
    }

    fn set_revision(&self, store: resource::StoreId, object: &Object, number: u64) {
        self.change(store, object, |value| {
            value["metadata"]["annotations"][REVISION] = Value::from(number.to_string());
        });
    }

    fn scale_sets(&self, sets: &[(Arc<Object>, Value)], wanted: &Value, is_current: impl Fn(&Value) -> bool) {
        for (set, value) in sets {
            let replicas = if is_current(value) { wanted.clone() } else { Value::from(0) };
            if value["spec"]["replicas"] != replicas {
                let scale = json!({ "spec": { "replicas": replicas } });
                let resource = resource::stored_as(REPLICA_SETS);
                // Deleted in the meantime: its Deployment is reconciled again.
                let _ = self.api.patch(resource, &set.namespace, &set.name, "", &scale, PatchOptions::MERGE);
            }
        }
    }

    /// Deletes the oldest empty ReplicaSets beyond the history limit.
    fn forget_old_sets(
        &self,
        sets: &[(Arc<Object>, Value)],
        deployment: &Value,
        is_current: impl Fn(&Value) -> bool,
    ) {
        let kept = usize::try_from(deployment["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10));
        let empty =
            |set: &Value| set["spec"]["replicas"] == 0 && set["status"]["replicas"].as_u64() == Some(0);
        let mut old: Vec<_> = sets.iter().filter(|(_, set)| !is_current(set) && empty(set)).collect();
        old.sort_by_key(|(_, set)| revision(set));
        let surplus = old.len().saturating_sub(kept.unwrap_or(usize::MAX));
        for (set, _) in old.into_iter().take(surplus) {
            self.delete(REPLICA_SETS, set);
        }
    }

    fn write_deployment_status(
        &self,
        object: &Object,
        deployment: &Value,
        sets: &[(Arc<Object>, Value)],
        is_current: impl Fn(&Value) -> bool,
    ) {
        let (mut replicas, mut ready, mut updated) = (0, 0, 0);
        for (_, set) in sets {
            let count = |field: &str| set["status"][field].as_i64().unwrap_or(0);
            replicas += count("replicas");
            ready += count("readyReplicas");
            updated += if is_current(set) { count("replicas") } else { 0 };
        }
        let desired = deployment["spec"]["replicas"].as_i64().unwrap_or(0);
        let available = if ready >= desired { "True" } else { "False" };
        self.write_status(
            DEPLOYMENTS,
            object,
            &json!({
                "replicas": replicas, "readyReplicas": ready, "availableReplicas": ready,
                "updatedReplicas": updated, "unavailableReplicas": (desired - ready).max(0),
                "observedGeneration": deployment["metadata"]["generation"],
                "conditions": [{ "type": "Available", "status": available }],
            }),
        );
    }

    fn create_set(&self, object: &Object, deployment: &Value, number: u64) {
        let spec = &deployment["spec"];
        let hash = template_hash(&spec["template"]);
        let mut template = spec["template"].clone();
        template["metadata"]["labels"][TEMPLATE_HASH] = Value::from(hash.as_str());
        let mut selector = spec["selector"].clone();
        selector["matchLabels"][TEMPLATE_HASH] = Value::from(hash.as_str());
        let mut annotations = deployment["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        annotations.insert(REVISION.to_owned(), Value::from(number.to_string()));
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", object.name),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": { "replicas": spec["replicas"], "selector": selector, "template": template },
        });
        if let Err(error) = self.create(REPLICA_SETS, &object.namespace, set) {
            tracing::warn!(%error, deployment = %object.name, "cannot create a ReplicaSet");
        }
    }
}
