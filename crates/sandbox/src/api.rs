//! The verbs that write, with the rules that the API server's registry applies around storage.
//!
//! Each runs as one critical section of the store: read, check, change, write. There is no retry loop.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::decode;
use crate::error::{ApiError, FieldError};
use crate::events;
use crate::history::{BindRecord, History};
use crate::nodes;
use crate::object::Object;
use crate::patch::{self, PatchKind};
use crate::pods::{self, binding::Binding};
use crate::resource::{self, NAMESPACES, NODES, NameRule, PODS, PRIORITY_CLASSES, ResourceType};
use crate::store::{Store, Transaction};
use crate::time;

/// Names that `generateName` tries before it gives up.
const GENERATED_NAMES_MAX: usize = 8;

/// The API: what HTTP handlers, tests and controllers write through.
#[derive(Debug)]
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub history: Arc<History>,
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
    /// From the body of a DELETE (may be empty) and the query.
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
    /// The object stays until its grace period or its finalizers are done.
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

    /// Replaces an object. The flag says whether it was created by that.
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
    #[allow(clippy::too_many_arguments)] // The parts of one PATCH request, each of another type.
    pub(crate) fn patch(
        &self,
        resource: &'static ResourceType,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        patch_body: &Value,
        dry_run: bool,
    ) -> Result<Arc<Object>, ApiError> {
        self.store.write(|tx| {
            let old = tx
                .get(resource.store, namespace, name)
                .ok_or_else(|| ApiError::not_found(resource.group, resource.plural, name))?;
            let mut value = old.value();
            if resource.is_new_event() {
                events::from_core(&mut value);
            }
            patch::apply(kind, &mut value, patch_body)?;
            let value = decode::checked(resource, value)?;
            let (object, _) = update(tx, resource, namespace, name, subresource, value, dry_run)?;
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
                // Recorded inside of the critical section: the history has the order of the versions.
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

fn create(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    mut value: Value,
    dry_run: bool,
) -> Result<Arc<Object>, ApiError> {
    settle_namespace(tx, resource, namespace, &mut value)?;
    settle_name(tx, resource, namespace, &mut value)?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(meta) = value["metadata"].as_object_mut() {
        for field in [
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
        ] {
            meta.remove(field);
        }
    }
    tx.stamp(&mut value);
    if resource.has_generation {
        value["metadata"]["generation"] = Value::from(1);
    }
    admit(tx, resource, &mut value)?;
    let errors = validate(resource, &value);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource.group, resource.kind, &name, &errors));
    }
    if tx.get(resource.store, namespace, &name).is_some() {
        return Err(ApiError::already_exists(resource.group, resource.plural, &name));
    }
    if dry_run {
        return Ok(Arc::new(Object::new(resource::stored_as(resource.store), &value, 0)));
    }
    Ok(tx.put(resource.store, value))
}

fn settle_namespace(
    tx: &Transaction,
    resource: &ResourceType,
    namespace: &str,
    value: &mut Value,
) -> Result<(), ApiError> {
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !resource.namespaced {
        return Ok(());
    }
    value["metadata"]["namespace"] = Value::from(namespace);
    match tx.get(NAMESPACES, "", namespace) {
        None => Err(ApiError::not_found("", "namespaces", namespace)),
        Some(found) if found.deleting => {
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            Err(ApiError::forbidden(
                resource.group,
                resource.plural,
                name,
                &format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                ),
            ))
        }
        Some(_) => Ok(()),
    }
}

fn settle_name(
    tx: &mut Transaction,
    resource: &ResourceType,
    namespace: &str,
    value: &mut Value,
) -> Result<(), ApiError> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (name, prefix) = (text(&value["metadata"]["name"]), text(&value["metadata"]["generateName"]));
    if !name.is_empty() || prefix.is_empty() {
        return Ok(());
    }
    // As upstream: 63 characters in all, five of them the suffix.
    let prefix: String = prefix.chars().take(58).collect();
    for _ in 0..GENERATED_NAMES_MAX {
        let name = format!("{prefix}{}", tx.random().suffix());
        if tx.get(resource.store, namespace, &name).is_none() {
            value["metadata"]["name"] = Value::from(name);
            return Ok(());
        }
    }
    Err(ApiError::already_exists(resource.group, resource.plural, &prefix))
}

/// Defaults and admission plugins at creation.
fn admit(tx: &Transaction, resource: &ResourceType, value: &mut Value) -> Result<(), ApiError> {
    match (resource.store, resource.kind) {
        (PODS, _) => return pods::admit(tx, value),
        (NODES, _) => {
            ensure_object(value, "spec");
            nodes::reconcile_unschedulable(value);
        }
        (NAMESPACES, _) => {
            let name = value["metadata"]["name"].clone();
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            value["spec"] = json!({ "finalizers": ["kubernetes"] });
            value["status"] = json!({ "phase": "Active" });
        }
        (PRIORITY_CLASSES, _) => {
            if value["preemptionPolicy"].is_null() {
                value["preemptionPolicy"] = Value::from("PreemptLowerPriority");
            }
            if value["value"].is_null() {
                value["value"] = Value::from(0);
            }
            value["metadata"]["generation"] = Value::from(1);
        }
        (_, "PersistentVolumeClaim" | "PersistentVolume") => {
            ensure_object(value, "spec");
            if value["spec"].get("volumeMode").is_none() {
                value["spec"]["volumeMode"] = Value::from("Filesystem");
            }
            if value["status"].get("phase").is_none() {
                value["status"] = json!({ "phase": "Pending" });
            }
            if resource.kind == "PersistentVolume"
                && value["spec"].get("persistentVolumeReclaimPolicy").is_none()
            {
                value["spec"]["persistentVolumeReclaimPolicy"] = Value::from("Retain");
            }
        }
        (_, "PodDisruptionBudget") => {
            // The disruption controller is not simulated; a budget allows nothing until its status says so.
            value["status"] = json!({
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        }
        (_, "StorageClass") => {
            for (field, default) in [("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")] {
                if value.get(field).is_none() {
                    value[field] = Value::from(default);
                }
            }
        }
        (_, "ReplicaSet" | "Deployment") => crate::workloads::default(resource, value),
        (_, "Service") => {
            ensure_object(value, "spec");
            for (field, default) in
                [("type", "ClusterIP"), ("sessionAffinity", "None"), ("clusterIP", "None")]
            {
                if value["spec"].get(field).is_none() {
                    value["spec"][field] = Value::from(default);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn ensure_object(value: &mut Value, field: &str) {
    if !value[field].is_object() {
        value[field] = Value::Object(Map::new());
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
                "ReplicaSet" | "Deployment" => errors.extend(crate::workloads::validate(value)),
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

fn update(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    name: &str,
    subresource: &str,
    mut value: Value,
    dry_run: bool,
) -> Result<(Arc<Object>, bool), ApiError> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    match text(&value["metadata"]["name"]) {
        given if given.is_empty() => value["metadata"]["name"] = Value::from(name),
        given if given != name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let Some(current) = tx.get(resource.store, namespace, name).cloned() else {
        if resource.create_on_update && subresource.is_empty() {
            return Ok((create(tx, resource, namespace, value, dry_run)?, true));
        }
        return Err(ApiError::not_found(resource.group, resource.plural, name));
    };
    check_preconditions(resource, &current, &value)?;
    let old = current.value();
    keep_what_the_server_owns(resource, subresource, &old, &mut value);
    match resource.store {
        NODES => nodes::reconcile_unschedulable(&mut value),
        PODS if subresource.is_empty() && value["spec"].is_object() => {
            pods::default_tolerations(&mut value["spec"]);
        }
        _ => {}
    }
    if value == old {
        return Ok((current, false));
    }
    let mut errors = validate(resource, &value);
    if resource.store == PODS && subresource.is_empty() {
        errors.extend(pods::check_update(&old, &value));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource.group, resource.kind, name, &errors));
    }
    if resource.has_generation && value["spec"] != old["spec"] {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        value["metadata"]["generation"] = Value::from(generation);
    }
    if dry_run {
        return Ok((
            Arc::new(Object::new(resource::stored_as(resource.store), &value, current.version)),
            false,
        ));
    }
    let finalized = current.deleting
        && value["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let object = tx.put(resource.store, value);
    if finalized && resource.store != NAMESPACES {
        let gone = tx.remove(resource.store, namespace, name);
        return Ok((gone.unwrap_or(object), false));
    }
    Ok((object, false))
}

fn check_preconditions(resource: &ResourceType, current: &Object, value: &Value) -> Result<(), ApiError> {
    let meta = &value["metadata"];
    let name = &*current.name;
    if let Some(uid) = meta["uid"].as_str().filter(|uid| !uid.is_empty() && **uid != *current.uid) {
        return Err(ApiError::conflict(
            resource.group,
            resource.plural,
            name,
            &precondition_failed(resource, current, "UID", uid, &current.uid),
        ));
    }
    match meta["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if resource.unconditional_update => Ok(()),
        "" | "0" => {
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            Err(ApiError::invalid(resource.group, resource.plural, name, &[error]))
        }
        given if given == current.version.to_string() => Ok(()),
        _ => Err(ApiError::modified(resource.group, resource.plural, name)),
    }
}

/// The sentence in which upstream's storage reports a failed precondition.
pub(crate) fn precondition_failed(
    resource: &ResourceType,
    current: &Object,
    what: &str,
    wanted: &str,
    found: &str,
) -> String {
    let scope = if resource.namespaced { format!("{}/", current.namespace) } else { String::new() };
    let place = if resource.kind == "Node" { "minions" } else { resource.plural };
    format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{place}/{scope}{}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
        current.name
    )
}

/// Restores the fields that this request may not write.
fn keep_what_the_server_owns(resource: &ResourceType, subresource: &str, old: &Value, value: &mut Value) {
    fn keep(target: &mut Value, old: &Value, field: &str) {
        let Some(map) = target.as_object_mut() else { return };
        match old.get(field) {
            Some(kept) => {
                map.insert(field.to_owned(), kept.clone());
            }
            None => {
                map.remove(field);
            }
        }
    }
    let owned = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
        "generateName",
    ];
    for field in owned {
        keep(&mut value["metadata"], &old["metadata"], field);
    }
    match subresource {
        "status" => {
            keep(&mut value["metadata"], &old["metadata"], "ownerReferences");
            for (field, _) in old.as_object().into_iter().flatten() {
                if field != "status" && field != "metadata" {
                    keep(value, old, field);
                }
            }
            keep(value, old, "spec");
        }
        _ if resource.has_status() => keep(value, old, "status"),
        _ => {}
    }
}

fn delete(
    tx: &mut Transaction,
    resource: &'static ResourceType,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let current = tx
        .get(resource.store, namespace, name)
        .cloned()
        .ok_or_else(|| ApiError::not_found(resource.group, resource.plural, name))?;
    check_delete_preconditions(resource, &current, options)?;
    if resource.store == NAMESPACES
        && matches!(name, "default" | "kube-system" | "kube-public" | "kube-node-lease")
    {
        return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    if options.dry_run {
        return Ok(Deleted::Gone(current));
    }
    let mut value = current.value();
    let grace_s = if resource.store == PODS { pod_grace(&value, options.grace_s) } else { 0 };
    let finalizers = value["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if grace_s == 0 && !finalizers {
        if resource.store == NAMESPACES {
            empty_namespace(tx, name);
        }
        if options.orphan {
            crate::workloads::orphan_dependents(tx, &current);
        }
        let gone = tx.remove(resource.store, namespace, name);
        return Ok(Deleted::Gone(gone.unwrap_or(current)));
    }
    if current.deleting {
        // A second delete can only shorten what is left.
        let left = value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if options.grace_s.is_none() || grace_s >= left {
            return Ok(Deleted::Marked(current));
        }
    } else if let Some(generation) = value["metadata"]["generation"].as_i64() {
        value["metadata"]["generation"] = Value::from(generation + 1);
    }
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace_s);
    value["metadata"]["deletionTimestamp"] = Value::from(time::format_seconds(until));
    value["metadata"]["deletionGracePeriodSeconds"] = Value::from(grace_s);
    Ok(Deleted::Marked(tx.put(resource.store, value)))
}

fn check_delete_preconditions(
    resource: &ResourceType,
    current: &Object,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |what: &str, wanted: &str, found: &str| {
        Err(ApiError::conflict(
            resource.group,
            resource.kind,
            &current.name,
            &format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The \
                 object might have been {}",
                if what == "UID" { "deleted and then recreated" } else { "modified" }
            ),
        ))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*current.uid) {
        return conflict("UID", uid, &current.uid);
    }
    let version = current.version.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|v| *v != version) {
        return conflict("ResourceVersion", wanted, &version);
    }
    Ok(())
}

/// A pod that runs nowhere, or runs no more, goes at once.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unbound || done {
        return 0;
    }
    let grace_s = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    // A negative period is upstream's way to write one second.
    if grace_s < 0 { 1 } else { grace_s }
}

/// What the namespace controller does, without its delay.
fn empty_namespace(tx: &mut Transaction, namespace: &str) {
    for resource in resource::RESOURCES.iter().filter(|r| r.namespaced && !r.is_view_or_unstored()) {
        let names: Vec<Box<str>> = tx.iter(resource.store, Some(namespace)).map(|o| o.name.clone()).collect();
        for name in names {
            tx.remove(resource.store, namespace, &name);
        }
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
        for (name, value) in
            [("system-cluster-critical", 2_000_000_000_i64), ("system-node-critical", 2_000_001_000)]
        {
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
