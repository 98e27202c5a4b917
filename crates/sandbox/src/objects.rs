//! Direct access to the objects of a sandbox, for tests and for filling a cluster.

use std::sync::Arc;

use serde_json::Value;

use crate::api::{Api, DeleteOptions, Deleted, PatchOptions};
use crate::decode;
use crate::error::ApiError;
use crate::list;
use crate::pods::binding::Binding;
use crate::resource::{self, PODS, ResourceType};

/// Reads and writes objects without HTTP and faults; the rules of the API (defaults, validation, conflicts) apply.
///
/// Kinds are given by `apiVersion` and `kind` of the object, or by the plural name, with the group if a name
/// is served twice (`events`, `events.events.k8s.io`).
#[derive(Debug, Clone)]
pub struct Objects {
    api: Arc<Api>,
}

impl Objects {
    pub(crate) fn new(api: Arc<Api>) -> Objects {
        Objects { api }
    }

    /// Creates an object; a namespaced one without a namespace goes to `default`.
    ///
    /// # Errors
    /// Whatever the API server would reject.
    pub fn create(&self, object: Value) -> Result<Value, ApiError> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let resource = resource::of_kind(&api_version, &kind).ok_or_else(|| {
            ApiError::new(
                404,
                "NotFound",
                format!("no matches for kind \"{kind}\" in version \"{api_version}\": the sandbox does not serve it"),
            )
        })?;
        let namespace = match text(&object["metadata"]["namespace"]) {
            _ if !resource.namespaced => String::new(),
            given if given.is_empty() => "default".to_owned(),
            given => given,
        };
        let value = decode::checked(resource, object)?;
        Ok(self.api.create(resource, &namespace, value, false)?.value())
    }

    /// An object, if it exists. `namespace` is empty for cluster-scoped ones.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = find(resource).ok()?;
        self.api.store.read(|tx| tx.get(resource.store, namespace, name).cloned()).map(|o| o.value())
    }

    /// All objects of a resource, by namespace and name.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let Ok(resource) = find(resource) else { return Vec::new() };
        let snapshot = self.api.store.read(|tx| tx.snapshot(resource.store, None, |_| true));
        snapshot.objects.iter().map(|o| o.value()).collect()
    }

    /// The number of objects of a resource.
    pub fn count(&self, resource: &str) -> usize {
        find(resource).map_or(0, |resource| self.api.store.read(|tx| tx.count(resource.store)))
    }

    /// The number of objects of a resource that match a field selector. Cheap, because nothing is parsed.
    ///
    /// # Errors
    /// The selector is invalid.
    pub fn count_where(&self, resource: &str, field_selector: &str) -> Result<usize, ApiError> {
        let resource = find(resource)?;
        let selection = list::Selection::of_fields(resource, field_selector)?;
        Ok(self.api.store.read(|tx| tx.iter(resource.store, None).filter(|o| selection.matches(o)).count()))
    }

    /// Replaces an object, or its status with `subresource` "status".
    ///
    /// # Errors
    /// Whatever the API server would reject.
    pub fn update(&self, resource: &str, subresource: &str, object: Value) -> Result<Value, ApiError> {
        let resource = find(resource)?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let value = decode::checked(resource, object)?;
        Ok(self.api.update(resource, &namespace, &name, subresource, value, false)?.0.value())
    }

    /// Applies a JSON merge patch to an object, or to its status with `subresource` "status".
    ///
    /// # Errors
    /// Whatever the API server would reject.
    pub fn merge(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let resource = find(resource)?;
        let object = self.api.patch(resource, namespace, name, subresource, patch, PatchOptions::MERGE)?;
        Ok(object.value())
    }

    /// Deletes an object, with the default grace period or with this one.
    ///
    /// # Errors
    /// Whatever the API server would reject.
    pub fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        grace_s: Option<i64>,
    ) -> Result<Value, ApiError> {
        let options = DeleteOptions { grace_s, ..DeleteOptions::default() };
        let (Deleted::Gone(object) | Deleted::Marked(object)) =
            self.api.delete(find(resource)?, namespace, name, &options)?;
        Ok(object.value())
    }

    /// Binds a pod, as another scheduler would. With an empty `uid` there is no precondition.
    ///
    /// # Errors
    /// Whatever the API server would reject.
    pub fn bind(&self, namespace: &str, name: &str, uid: &str, node: &str) -> Result<(), ApiError> {
        let body = serde_json::json!({
            "metadata": { "name": name, "uid": uid }, "target": { "kind": "Node", "name": node } });
        self.api.bind(namespace, &Binding::parse(&body, name)?, false)
    }

    /// Forgets the event logs of a resource, as compaction does: watches that are behind get a 410.
    pub fn compact(&self, resource: &str) {
        if let Ok(resource) = find(resource) {
            self.api.store.write(|tx| tx.compact(resource.store));
        }
    }

    /// The newest resourceVersion of anything.
    pub fn resource_version(&self) -> u64 {
        self.api.store.read(|tx| tx.version())
    }

    /// Wakes up after each change of a resource, to wait without polling.
    pub fn changes(&self, resource: &str) -> tokio::sync::watch::Receiver<u64> {
        self.api.store.subscribe(find(resource).map_or(PODS, |r| r.store))
    }
}

fn find(name: &str) -> Result<&'static ResourceType, ApiError> {
    resource::RESOURCES
        .iter()
        .find(|r| r.plural == name || r.qualified() == name)
        .filter(|r| r.is_stored())
        .ok_or_else(|| ApiError::new(404, "NotFound", format!("the sandbox does not serve \"{name}\"")))
}
