//! The claims of a pod, as the volume plugins look them up.

use secondmate_model::objects::{Objects, PersistentVolumeClaim};
use secondmate_model::{Pod, Volume, VolumeSource};
use smallvec::SmallVec;
use std::sync::Arc;

/// What kind of claim a volume uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimKind {
    /// Named by the pod.
    Named,
    /// Made for a generic ephemeral volume of the pod.
    Ephemeral,
}

/// Calls `then` with the name of the claim behind a volume, where there is one. Allocates nothing for names that are valid.
pub(crate) fn with_claim_name<R>(
    pod: &Pod,
    volume: &Volume,
    then: impl FnOnce(ClaimKind, &str) -> R,
) -> Option<R> {
    match &volume.source {
        VolumeSource::Claim { name, .. } => Some(then(ClaimKind::Named, name)),
        VolumeSource::Ephemeral => {
            // No name of an object is longer than 253 bytes.
            let mut name = SmallVec::<[u8; 256]>::new();
            name.extend_from_slice(pod.name.as_bytes());
            name.push(b'-');
            name.extend_from_slice(volume.name.as_bytes());
            let name = std::str::from_utf8(&name).expect("texts joined are a text");
            Some(then(ClaimKind::Ephemeral, name))
        }
        _ => None,
    }
}

/// The claim of that name in the pod's namespace.
pub(crate) fn claim<'a>(
    objects: &'a Objects,
    pod: &Pod,
    name: &str,
) -> Option<&'a Arc<PersistentVolumeClaim>> {
    objects.claim(&pod.namespace, name)
}

/// Whether the pod uses the claim, by name or through a generic ephemeral volume.
pub(crate) fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    claim.name.namespace == pod.namespace
        && pod
            .volumes
            .iter()
            .any(|v| with_claim_name(pod, v, |_, name| name == &*claim.name.name).unwrap_or(false))
}

/// Whether the pod uses the claim by name.
pub(crate) fn names(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    claim.name.namespace == pod.namespace && named(pod).any(|name| *name == *claim.name.name)
}

/// The claims that the pod uses by name, in the order of its volumes.
pub(crate) fn named(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.volumes.iter().filter_map(|v| match &v.source {
        VolumeSource::Claim { name, .. } => Some(&**name),
        _ => None,
    })
}

/// Whether the claim of a generic ephemeral volume was made for the pod; why not, otherwise.
pub(crate) fn is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    if claim.controller_uid.as_deref() == Some(pod.uid.as_str()) && claim.name.namespace == pod.namespace {
        return Ok(());
    }
    Err(format!("PVC {} was not created for pod {} (pod is not owner)", claim.name, pod.full_name()))
}

/// The API's words for a claim that is not there.
pub(crate) fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}
