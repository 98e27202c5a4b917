//! A pod's claims, as the volume plugins look them up.

use secondmate_framework::Fact;
use secondmate_model::objects::{Objects, PersistentVolumeClaim};
use secondmate_model::{Pod, Volume, VolumeSource};
use smallvec::SmallVec;
use std::sync::Arc;

/// How a volume refers to its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimKind {
    /// Named by the pod.
    Named,
    /// Created for a generic ephemeral volume of the pod.
    Ephemeral,
}

/// Calls `then` with the name of the volume's claim, if it has one. Does not allocate for valid names.
pub(crate) fn with_claim_name<R>(
    pod: &Pod,
    volume: &Volume,
    then: impl FnOnce(ClaimKind, &str) -> R,
) -> Option<R> {
    match &volume.source {
        VolumeSource::Claim { name, .. } => Some(then(ClaimKind::Named, name)),
        VolumeSource::Ephemeral => {
            // No object name is longer than 253 bytes.
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

/// The claim with that name in the pod's namespace.
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

/// Checks that the claim of a generic ephemeral volume was created for the pod; the error says why not.
pub(crate) fn is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    if claim.controller_uid.as_deref() == Some(pod.uid.as_str()) && claim.name.namespace == pod.namespace {
        return Ok(());
    }
    Err(format!("PVC {} was not created for pod {} (pod is not owner)", claim.name, pod.full_name()))
}

/// What is wrong with the pod's claims, for people.
pub(crate) fn facts(objects: &Objects, pod: &Pod) -> Vec<Fact> {
    let mut facts = Vec::new();
    for volume in &pod.volumes {
        let fact = with_claim_name(pod, volume, |_, name| match claim(objects, pod, name) {
            None => {
                let full = format!("{}/{name}", pod.namespace);
                let text = format!("claim {full} is not there");
                Some(Fact::new(text).helped_by(format!("creating PersistentVolumeClaim {full}")))
            }
            Some(claim) => fact(objects, claim),
        });
        facts.extend(fact.flatten());
    }
    facts
}

fn fact(objects: &Objects, claim: &PersistentVolumeClaim) -> Option<Fact> {
    let (name, volume) = (&claim.name, &claim.volume_name);
    if claim.phase == "Lost" {
        return Some(Fact::new(format!("claim {name} has lost its volume {volume}")));
    }
    if claim.deleting {
        return Some(Fact::new(format!("claim {name} is being deleted")));
    }
    if !volume.is_empty() {
        let missing = !objects.volumes.contains_key(volume);
        return missing
            .then(|| Fact::new(format!("claim {name} is bound to volume {volume}, which is not there")));
    }
    let class = claim.storage_class.as_ref().filter(|class| !class.is_empty());
    let Some(class) = class else {
        let text = format!("claim {name} is not bound, and has no StorageClass");
        return Some(Fact::new(text).helped_by(format!("a PersistentVolume for claim {name}")));
    };
    match objects.storage_classes.get(class) {
        None => {
            let text = format!("claim {name} is not bound, and its StorageClass {class} is not there");
            Some(Fact::new(text).helped_by(format!("creating StorageClass {class}")))
        }
        Some(known) if known.wait_for_first_consumer == Some(true) => None,
        Some(_) => {
            let text = format!(
                "claim {name} is not bound yet; its StorageClass {class} binds without waiting for a pod (Immediate)"
            );
            Some(
                Fact::new(text)
                    .helped_by(format!("a volume for claim {name} (kubectl describe pvc says why not)")),
            )
        }
    }
}

/// The API's message for a claim that does not exist.
pub(crate) fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}
