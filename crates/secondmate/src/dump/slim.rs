//! What a dump leaves out: everything that scheduling does not read and that should not be given to other people.

use serde_json::{Map, Value};

/// Annotations that a dump keeps, by the end of their domain: those that Kubernetes itself writes and that schedulers read.
const ANNOTATION_DOMAINS: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// It repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Fields of containers that may hold secrets; scheduling reads none of them.
const CONTAINER_SECRETS: [&str; 8] =
    ["env", "envFrom", "command", "args", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
/// Fields of a volume's CSI source that scheduling reads. Attributes may hold secrets.
const CSI_FIELDS: [&str; 3] = ["driver", "volumeHandle", "readOnly"];
/// Fields of other volume sources that may hold secrets, or say where secrets are; scheduling reads none of them.
const SOURCE_SECRETS: [&str; 3] = ["options", "secretRef", "repository"];

/// Drops managed fields, annotations, what containers run, and parameters of volumes.
pub(super) fn slim(object: &mut Value) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        slim_annotations(meta);
    }
    match object["kind"].as_str() {
        Some("Pod") => slim_pod(object),
        Some("PersistentVolume") => slim_volume(object.get_mut("spec")),
        Some("StorageClass") => remove(Some(object), "parameters"),
        Some("ReplicaSet" | "StatefulSet" | "ReplicationController") => {
            remove(object.get_mut("spec"), "template");
            remove(object.get_mut("spec"), "volumeClaimTemplates");
        }
        Some("VolumeAttachment") => {
            slim_volume(object.pointer_mut("/spec/source/inlineVolumeSpec"));
            remove(object.get_mut("status"), "attachmentMetadata");
        }
        _ => {}
    }
}

/// Drops what no plugin reads from an object whose other fields a plugin may read.
pub(super) fn slim_own(object: &mut Value) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
}

fn slim_annotations(meta: &mut Map<String, Value>) {
    if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| keeps_annotation(key));
    }
}

fn keeps_annotation(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let known =
        |end: &&str| domain.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    key != LAST_APPLIED && ANNOTATION_DOMAINS.iter().any(known)
}

fn slim_pod(pod: &mut Value) {
    let lists =
        |part: &'static str, lists: [&'static str; 3], fields: &'static [&'static str], pod: &mut Value| {
            let Some(part) = pod.get_mut(part) else { return };
            for list in lists {
                for container in part.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    for field in fields {
                        remove(Some(container), field);
                    }
                }
            }
        };
    lists("spec", ["containers", "initContainers", "ephemeralContainers"], &CONTAINER_SECRETS, pod);
    let statuses = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    lists("status", statuses, &["state", "lastState"], pod);
    let volumes = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        let template = volume.pointer_mut("/ephemeral/volumeClaimTemplate/metadata");
        if let Some(meta) = template.and_then(Value::as_object_mut) {
            slim_annotations(meta);
        }
        slim_volume(Some(volume));
    }
}

/// For a volume, whose source is in the field named after its kind.
fn slim_volume(volume: Option<&mut Value>) {
    for (kind, source) in volume.and_then(Value::as_object_mut).into_iter().flatten() {
        if kind == "csi" {
            keep(Some(source), &CSI_FIELDS);
        }
        for field in SOURCE_SECRETS {
            remove(Some(source), field);
        }
    }
}

fn keep(object: Option<&mut Value>, fields: &[&str]) {
    if let Some(object) = object.and_then(Value::as_object_mut) {
        let kept: Map<String, Value> = std::mem::take(object)
            .into_iter()
            .filter(|(field, _)| fields.contains(&field.as_str()))
            .collect();
        *object = kept;
    }
}

fn remove(object: Option<&mut Value>, field: &str) {
    if let Some(object) = object.and_then(Value::as_object_mut) {
        object.remove(field);
    }
}
