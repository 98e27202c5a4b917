//! The pod's claims, grouped by what remains to be done for them; once per cycle.

use super::assumed::Assumed;
use super::by_label::{self, ByLabel};
use crate::pod_claims::{self, ClaimKind};
use secondmate_model::objects::{Objects, PersistentVolume, PersistentVolumeClaim};
use secondmate_model::quantity::Quantity;
use secondmate_model::{LabelSelector, Pod};
use std::sync::Arc;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Whether the pod has claims; an error says which of them cannot be used at all.
pub(super) fn usable(objects: &Objects, pod: &Pod) -> Result<bool, String> {
    let mut any = false;
    for volume in &pod.volumes {
        let checked = pod_claims::with_claim_name(pod, volume, |kind, name| {
            let Some(claim) = pod_claims::claim(objects, pod, name) else {
                return Err(match kind {
                    ClaimKind::Named => pod_claims::claim_not_found(name),
                    // Right after the pod was created, this is normal.
                    ClaimKind::Ephemeral => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                    ),
                });
            };
            if claim.phase == "Lost" {
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
                    claim.volume_name
                ));
            }
            if claim.deleting {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            match kind {
                ClaimKind::Named => Ok(()),
                ClaimKind::Ephemeral => pod_claims::is_for_pod(pod, claim),
            }
        });
        if let Some(checked) = checked {
            checked?;
            any = true;
        }
    }
    Ok(any)
}

/// Whether the claim is bound on both sides.
pub(super) fn fully_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim.volume_name.is_empty() && claim.annotations.contains_key(BIND_COMPLETED)
}

/// Whether a volume is bound to the claim or reserved for it.
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.claim_ref.as_ref().is_some_and(|claim_ref| {
        claim_ref.name == claim.name.name
            && *claim_ref.namespace == *claim.name.namespace.as_str()
            && (claim_ref.uid.is_empty() || claim_ref.uid == claim.uid)
    })
}

/// The claims of a pod, none of which has to wait for anyone else.
#[derive(Debug)]
pub(super) struct PodClaims {
    /// The volumes of the bound claims; `None` for one that does not exist.
    pub(super) bound: Box<[Option<Arc<PersistentVolume>>]>,
    /// Claims for which a node has already been selected, in the order of the pod's volumes.
    pub(super) to_provision: Box<[Unbound]>,
    /// The other claims, by size, with the volumes that suit them.
    pub(super) to_match: Box<[(Unbound, Candidates)]>,
}

/// A claim without a volume.
#[derive(Debug)]
pub(super) struct Unbound {
    pub(super) claim: Arc<PersistentVolumeClaim>,
    /// Where there is room for a volume of the claim's size; `None` if no capacity is published.
    pub(super) room: Option<Room>,
}

/// Nodes from which a volume can be provisioned.
#[derive(Debug)]
pub(super) struct Room {
    /// The node selector of each segment, and its remaining bytes; sorted by name, while upstream's order is arbitrary.
    pub(super) segments: Vec<(LabelSelector, i64)>,
    pub(super) by_label: ByLabel,
}

/// Volumes that suit a claim, not considering the node; the best first.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Volumes that are reserved for the claim: the first one decides.
    pub(super) reserved: Vec<Arc<PersistentVolume>>,
    /// Other volumes, the smallest first, equal ones by name.
    pub(super) free: Vec<Arc<PersistentVolume>>,
    pub(super) free_by_label: ByLabel,
    /// Why volumes cannot be searched.
    pub(super) error: Option<String>,
}

impl PodClaims {
    /// Groups the pod's claims. `None`: one of them should have been bound already.
    ///
    /// # Errors
    /// A class has no binding mode.
    pub(super) fn of(objects: &Objects, assumed: &Assumed, pod: &Pod) -> Result<Option<Self>, String> {
        let mut bound = Vec::new();
        let mut delayed = Vec::new();
        let mut immediate = false;
        for volume in &pod.volumes {
            let claim = pod_claims::with_claim_name(pod, volume, |_, name| {
                pod_claims::claim(objects, pod, name).map(|claim| assumed.claim(claim))
            });
            let Some(Some(claim)) = claim else { continue };
            if fully_bound(claim) {
                bound.push(objects.volumes.get(&claim.volume_name).cloned());
            } else if waits_for_consumer(objects, claim)? && claim.volume_name.is_empty() {
                delayed.push(Arc::clone(claim));
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Ok(None);
        }
        let (to_provision, mut to_match): (Vec<_>, Vec<_>) =
            delayed.into_iter().partition(|claim| claim.annotations.contains_key(SELECTED_NODE));
        to_match.sort_by_key(|claim| claim.request);
        let to_match = to_match.into_iter().map(|claim| {
            let candidates = Candidates::of(objects, assumed, &claim);
            (Unbound::of(objects, claim), candidates)
        });
        Ok(Some(Self {
            bound: bound.into(),
            to_provision: to_provision.into_iter().map(|claim| Unbound::of(objects, claim)).collect(),
            to_match: to_match.collect(),
        }))
    }

    /// Whether nothing is left to bind.
    pub(super) fn all_bound(&self) -> bool {
        self.to_provision.is_empty() && self.to_match.is_empty()
    }
}

/// Whether the claim's class waits for the first consumer. Without a class, or with one that does not exist, it does not.
fn waits_for_consumer(objects: &Objects, claim: &PersistentVolumeClaim) -> Result<bool, String> {
    let class = claim.storage_class.as_ref().filter(|name| !name.is_empty());
    let Some(class) = class.and_then(|name| objects.storage_classes.get(name)) else { return Ok(false) };
    class
        .wait_for_first_consumer
        .ok_or_else(|| format!("VolumeBindingMode not set for StorageClass {:?}", class.name.as_str()))
}

impl Unbound {
    fn of(objects: &Objects, claim: Arc<PersistentVolumeClaim>) -> Self {
        let room = Room::of(objects, &claim);
        Self { claim, room }
    }
}

impl Room {
    /// Only capacities of drivers that publish them are considered.
    fn of(objects: &Objects, claim: &PersistentVolumeClaim) -> Option<Self> {
        let class = objects.storage_classes.get(claim.storage_class.as_ref()?)?;
        let driver = objects.csi_drivers.get(&class.provisioner);
        if !claim.has_request || !driver.is_some_and(|driver| driver.publishes_capacity) {
            return None;
        }
        let size = claim.request.value();
        let segments: Vec<_> = objects
            .capacities_of_class(&class.name)
            .filter(|capacity| capacity.limit.is_some_and(|limit| limit.value() >= size))
            .filter_map(|capacity| {
                let topology = capacity.node_topology.as_ref()?.as_ref().ok()?.clone();
                // If it gives the largest volume but not the capacity, kube-scheduler panics; here it means that nothing is left.
                Some((topology, capacity.capacity.map_or(0, Quantity::value)))
            })
            .collect();
        let by_label = ByLabel::new(segments.iter().map(|(topology, _)| by_label::of_selector(topology)));
        Some(Self { segments, by_label })
    }
}

impl Candidates {
    fn of(objects: &Objects, assumed: &Assumed, claim: &PersistentVolumeClaim) -> Self {
        let everything = LabelSelector::everything();
        let selector = match &claim.selector {
            None => &everything,
            Some(Ok(selector)) => selector,
            Some(Err(error)) => {
                let error =
                    format!("error creating internal label selector for claim: {}: {error}", claim.name);
                return Self { error: Some(error), ..Self::default() };
            }
        };
        let mut candidates = Self::default();
        let class = claim.storage_class.iter();
        for volume in class.flat_map(|class| objects.volumes_of_class(class)) {
            let volume = assumed.volume(volume);
            let reserved = is_bound_to(volume, claim);
            if (volume.claim_ref.is_some() && !reserved) || !suits(volume, claim) {
                continue;
            }
            if reserved {
                candidates.reserved.push(Arc::clone(volume));
            } else if volume.phase == "Available"
                && selector.matches(&volume.labels)
                && claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode))
            {
                candidates.free.push(Arc::clone(volume));
            }
        }
        // The sort is stable: of equal volumes, the first by name comes first, while upstream's order is arbitrary.
        candidates.free.sort_by_key(|volume| volume.capacity);
        let affinities = candidates.free.iter().map(|v| by_label::of_affinity(v.node_affinity.as_ref()));
        candidates.free_by_label = ByLabel::new(affinities);
        candidates
    }
}

/// What even a volume that is reserved for the claim must satisfy.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.capacity >= claim.request
        && volume.block == claim.block
        && volume.attributes_class == claim.attributes_class
        && !volume.deleting
}
