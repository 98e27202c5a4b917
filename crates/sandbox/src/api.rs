//! The verbs that write, with the rules that the API server's registry applies around storage.
//!
//! Each runs as one critical section of the store: read, check, change, write. There is no retry loop.

mod create;
mod delete;
mod update;

pub(crate) use update::precondition_failed;

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::decode;
use crate::error::{ApiError, FieldError};
use crate::events;
use crate::history::{BindRecord, History};
use crate::nodes;
use crate::object::Object;
use crate::patch::{self, PatchKind};
use crate::pods::{self, binding::Binding};
use crate::resource::{self, NAMESPACES, NODES, NameRule, PODS, PRIORITY_CLASSES, ResourceType};
use crate::store::Store;
use crate::workloads;
use create::create;
use delete::delete;
use update::update;

/// The API through which HTTP handlers, tests and controllers write.
#[derive(Debug)]
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub history: Arc<History>,
}

/// Options of a patch request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PatchOptions {
    pub kind: PatchKind,
    /// Reject fields that the kind does not have.
    pub strict: bool,
    pub dry_run: bool,
}

impl PatchOptions {
    /// A JSON merge patch that takes effect.
    pub(crate) const MERGE: PatchOptions =
        PatchOptions { kind: PatchKind::Merge, strict: false, dry_run: false };
}

/// Options of a delete request.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub grace_s: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan: bool,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// From the body of a DELETE, which may be empty, and the query.
    pub(crate) fn parse(body: &[u8], query: &crate::request::Query) -> Result<DeleteOptions, ApiError> {
        let value = if body.is_empty() { json!({}) } else { decode::json(body)? };
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let policy = value["propagationPolicy"]
            .as_str()
            .or(query.get("propagationPolicy"))
            .unwrap_or_default()
            .to_owned();
        let grace_s = match (value["gracePeriodSeconds"].as_i64(), query.filled("gracePeriodSeconds")) {
            (Some(seconds), _) => Some(seconds),
            (None, Some(text)) => Some(text.parse().map_err(|_| {
                ApiError::bad_request(format!("gracePeriodSeconds is not a number: \"{text}\""))
            })?),
            (None, None) => None,
        };
        Ok(DeleteOptions {
            grace_s,
            uid: text(&value["preconditions"]["uid"]),
            resource_version: text(&value["preconditions"]["resourceVersion"]),
            orphan: policy == "Orphan" || value["orphanDependents"] == true,
            dry_run: query.filled("dryRun").is_some()
                || value["dryRun"].as_array().is_some_and(|a| !a.is_empty()),
        })
    }
}

/// What a delete did.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<Object>),
    /// The object stays until its grace period ends or its finalizers are done.
    Marked(Arc<Object>),
}

impl Api {
    /// Creates an object that has been decoded into stored form.
    pub(crate) fn create(
        &self,
        resource: &'static ResourceType,
        namespace: &str,
        value: Value,
        dry_run: bool,
    ) -> Result<Arc<Object>, ApiError> {
        self.store.write(|tx| create(tx, resource, namespace, value, dry_run))
    }

    /// Replaces an object. The flag says whether this created it.
    pub(crate) fn update(
        &self,
        resource: &'static ResourceType,
        namespace: &str,
        name: &str,
        subresource: &str,
        value: Value,
        dry_run: bool,
    ) -> Result<(Arc<Object>, bool), ApiError> {
        self.store.write(|tx| update(tx, resource, namespace, name, subresource, value, dry_run))
    }

    /// Patches an object, in the form in which the resource shows it.
    pub(crate) fn patch(
        &self,
        resource: &'static ResourceType,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch_body: &Value,
        options: PatchOptions,
    ) -> Result<Arc<Object>, ApiError> {
        self.store.write(|tx| {
            let old = tx
                .get(resource.store, namespace, name)
                .ok_or_else(|| ApiError::not_found(resource.group, resource.plural, name))?;
            let mut value = old.value();
            if resource.is_new_event() {
                events::from_core(&mut value);
            }
            patch::apply(options.kind, &mut value, patch_body)?;
            if options.strict {
                decode::strictly(resource, &value)?;
            }
            let value = decode::checked(resource, value)?;
            let (object, _) = update(tx, resource, namespace, name, subresource, value, options.dry_run)?;
            Ok(object)
        })
    }

    /// Deletes an object, at once or gracefully.
    pub(crate) fn delete(
        &self,
        resource: &'static ResourceType,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        self.store.write(|tx| delete(tx, resource, namespace, name, options))
    }

    /// Binds a pod.
    pub(crate) fn bind(&self, namespace: &str, binding: &Binding, dry_run: bool) -> Result<(), ApiError> {
        self.store.write(|tx| {
            let object = pods::binding::bind(tx, namespace, binding, dry_run)?;
            if !dry_run {
                // Recorded inside the critical section, so that the history is in the order of the versions.
                self.history.record_bind(BindRecord {
                    at: Instant::now(),
                    namespace: object.namespace.to_string(),
                    name: object.name.to_string(),
                    uid: object.uid.to_string(),
                    node: binding.node.clone(),
                    version: object.version,
                });
            }
            Ok(())
        })
    }
}

fn validate(resource: &ResourceType, value: &Value) -> Vec<FieldError> {
    match resource.store {
        PODS => pods::validate(value),
        NODES => nodes::validate(value),
        _ => {
            let mut errors = decode::check_metadata(resource, value);
            match resource.kind {
                "PodDisruptionBudget" => {
                    pods::check_selector("spec.selector", &value["spec"]["selector"], &mut errors);
                }
                kind @ ("ReplicaSet" | "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob") => {
                    errors.extend(workloads::validate(kind, value));
                }
                "PriorityClass" => check_priority(value, &mut errors),
                _ => {}
            }
            errors
        }
    }
}

fn check_priority(value: &Value, errors: &mut Vec<FieldError>) {
    const USER_MAX: i64 = 1_000_000_000;
    let system = value["metadata"]["name"].as_str().unwrap_or_default().starts_with("system-");
    let priority = value["value"].as_i64().unwrap_or(0);
    if priority > USER_MAX && !system {
        errors.push(FieldError::forbidden(
            "value",
            format!("maximum allowed value of a user defined priority is {USER_MAX}"),
        ));
    }
}

/// The namespaces and priority classes that every cluster has.
pub(crate) fn bootstrap(store: &Store) {
    store.write(|tx| {
        let mut put = |resource: &'static ResourceType, namespace: &str, value: Value| {
            create(tx, resource, namespace, value, false)
                .map(|_| ())
                .expect("the objects of an empty cluster are valid and new");
        };
        let namespaces = resource::stored_as(NAMESPACES);
        debug_assert_eq!(namespaces.name_rule, NameRule::Label);
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            put(
                namespaces,
                "",
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
            );
        }
        for (name, value) in secondmate_admission::SYSTEM_PRIORITY_CLASSES {
            put(
                resource::stored_as(PRIORITY_CLASSES),
                "",
                json!({
                    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                    "metadata": { "name": name }, "value": value,
                }),
            );
        }
    });
}
