//! What a node can do for the pod's claims. Does not allocate if the node is suitable.

use super::claims::{Candidates, PodClaims, Room, SELECTED_NODE, Unbound};
use secondmate_model::objects::{CsiNode, Objects, PersistentVolume, PersistentVolumeClaim, StorageClass};
use secondmate_model::{Labels, Node, NodeSelector};
use smallvec::SmallVec;
use std::sync::Arc;

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Why a node is not suitable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conflicts {
    /// A bound volume cannot be reached from the node.
    pub(super) node_affinity: bool,
    /// No volume was found for a claim.
    pub(super) no_volume: bool,
    /// A volume would have to be provisioned, but there is no room for it.
    pub(super) no_space: bool,
    /// A claim is bound to a volume that does not exist.
    pub(super) volume_missing: bool,
}

impl Conflicts {
    pub(super) fn none(self) -> bool {
        self == Self::default()
    }
}

/// Which volume or claim a conflict is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Culprit<'a> {
    /// A bound volume that cannot be reached.
    Volume(&'a PersistentVolume),
    /// A claim whose volume is to be provisioned for another node.
    ChosenElsewhere(&'a PersistentVolumeClaim),
    /// A claim for which no volume was found.
    NoVolume(&'a PersistentVolumeClaim),
    /// A claim for which there is no room.
    NoSpace(&'a PersistentVolumeClaim),
}

/// What would be done for the pod's claims on a node.
#[derive(Debug, Default)]
pub(super) struct Placement<'a> {
    pub(super) conflicts: Conflicts,
    /// What the conflicts are about.
    pub(super) culprits: SmallVec<[Culprit<'a>; 2]>,
    /// Volumes for claims.
    pub(super) bindings: SmallVec<[(&'a Arc<PersistentVolume>, &'a Arc<PersistentVolumeClaim>); 4]>,
    /// Claims for which a volume would be provisioned, with the remaining bytes there, if published.
    pub(super) provisions: SmallVec<[(&'a Unbound, Option<i64>); 4]>,
}

impl PodClaims {
    /// Finds volumes for the pod's claims on a node.
    ///
    /// # Errors
    /// An object cannot be evaluated: a selector, a volume that CSI migration cannot translate, a class that no longer exists.
    pub(super) fn on_node(&self, objects: &Objects, node: &Node) -> Result<Placement<'_>, String> {
        let mut placement = Placement::default();
        let csi_node = objects.csi_nodes.get(&node.name);
        for volume in &self.bound {
            let Some(volume) = volume else {
                placement.conflicts.volume_missing = true;
                break;
            };
            if !reaches(node_affinity(volume, csi_node)?, &node.labels) {
                placement.conflicts.node_affinity = true;
                placement.culprits.push(Culprit::Volume(volume));
                break;
            }
        }
        let chosen_elsewhere = |unbound: &Unbound| {
            unbound.claim.annotations.get(SELECTED_NODE).is_some_and(|chosen| **chosen != *node.name.as_str())
        };
        if let Some(unbound) = self.to_provision.iter().find(|unbound| chosen_elsewhere(unbound)) {
            placement.conflicts.no_volume = true;
            placement.culprits.push(Culprit::ChosenElsewhere(&unbound.claim));
            return Ok(placement);
        }
        placement.provisions.extend(self.to_provision.iter().map(|unbound| (unbound, None)));
        for (unbound, candidates) in &self.to_match {
            let taken = |volume: &Arc<PersistentVolume>| {
                placement.bindings.iter().any(|(other, _)| other.name == volume.name)
            };
            match candidates.best(&node.labels, taken)? {
                Some(volume) => placement.bindings.push((volume, &unbound.claim)),
                None => placement.provisions.push((unbound, None)),
            }
        }
        // Provisioning has the last word: a claim without a volume is not a conflict if one can be provisioned.
        for (unbound, left) in &mut placement.provisions {
            match provision(objects, unbound, &node.labels)? {
                Provision::Possible(room) => *left = room,
                Provision::Impossible => {
                    placement.conflicts.no_volume = true;
                    placement.culprits.push(Culprit::NoVolume(&unbound.claim));
                    break;
                }
                Provision::NoSpace => {
                    placement.conflicts.no_space = true;
                    placement.culprits.push(Culprit::NoSpace(&unbound.claim));
                    break;
                }
            }
        }
        Ok(placement)
    }
}

/// The volume's node affinity that applies on a node: that of the CSI driver, if the in-tree plugin is migrated there.
///
/// # Errors
/// The volume cannot be translated.
pub(super) fn node_affinity<'a>(
    volume: &'a PersistentVolume,
    csi_node: Option<&CsiNode>,
) -> Result<Option<&'a NodeSelector>, String> {
    match (&volume.in_tree, csi_node) {
        (Some(source), Some(csi_node)) if csi_node.migrated_plugins.contains(source.plugin) => {
            match &source.migrated {
                Ok(migrated) => Ok(migrated.node_affinity.as_ref()),
                Err(reason) => Err(format!("could not translate pv: {reason}")),
            }
        }
        _ => Ok(volume.node_affinity.as_ref()),
    }
}

/// Whether a volume with this node affinity can be reached from a node with these labels.
pub(super) fn reaches(affinity: Option<&NodeSelector>, labels: &Labels) -> bool {
    affinity.is_none_or(|affinity| affinity.matches_labels(labels))
}

impl Candidates {
    /// The best volume that can be reached and is not taken. If a volume is reserved for the claim but cannot be reached, there is none.
    fn best(
        &self,
        labels: &Labels,
        taken: impl Fn(&Arc<PersistentVolume>) -> bool,
    ) -> Result<Option<&Arc<PersistentVolume>>, String> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        // In-tree volumes are not translated here: upstream uses their affinity as declared.
        let reachable = |volume: &Arc<PersistentVolume>| reaches(volume.node_affinity.as_ref(), labels);
        if let Some(reserved) = self.reserved.iter().find(|volume| !taken(volume)) {
            return Ok(Some(reserved).filter(|volume| reachable(volume)));
        }
        let free = self.free_by_label.first(labels, |at| !taken(&self.free[at]) && reachable(&self.free[at]));
        Ok(free.map(|at| &self.free[at]))
    }
}

enum Provision {
    /// With the remaining bytes.
    Possible(Option<i64>),
    Impossible,
    NoSpace,
}

fn provision(objects: &Objects, unbound: &Unbound, labels: &Labels) -> Result<Provision, String> {
    let claim = &unbound.claim;
    let Some(name) = claim.storage_class.as_ref().filter(|name| !name.is_empty()) else {
        return Err(format!("no class for claim \"{}\"", claim.name));
    };
    let Some(class) = objects.storage_classes.get(name) else {
        return Err(format!("failed to find storage class {:?}", name.as_str()));
    };
    let impossible = class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER;
    if impossible || !allows(class, labels) {
        return Ok(Provision::Impossible);
    }
    let Some(room) = &unbound.room else { return Ok(Provision::Possible(None)) };
    Ok(room.on(labels).map_or(Provision::NoSpace, |left| Provision::Possible(Some(left))))
}

impl Room {
    /// The bytes that remain for a node with these labels; `None` if there is no room for the claim.
    fn on(&self, labels: &Labels) -> Option<i64> {
        let at = self.by_label.first(labels, |at| self.segments[at].0.matches(labels))?;
        Some(self.segments[at].1)
    }
}

/// Whether the class allows volumes for a node with these labels: without terms, everywhere; a term without requirements allows none.
fn allows(class: &StorageClass, labels: &Labels) -> bool {
    let terms = &class.allowed_topologies;
    terms.is_empty()
        || terms.iter().any(|term| {
            !term.is_empty()
                && term
                    .iter()
                    .all(|(key, values)| labels.get(key).is_some_and(|value| values.contains(value)))
        })
}
