//! In what pods with claims are alike.
//!
//! Where the volumes of two pods can be reached from is what counts, and not which volumes they are; nor which claims wait for a volume that
//! will be made. A claim that volumes lie ready for is another matter: which one is taken, and what that scores, differs from node to node
//! and from pod to pod. So does room that a driver tells of.

use super::claims::{Candidates, PodClaims, SELECTED_NODE, Unbound};
use secondmate_framework::{ObjectKind, Reading, alike_by_key};
use secondmate_model::objects::PersistentVolume;
use secondmate_model::{Atom, NodeSelector};
use smallvec::SmallVec;
use std::sync::Arc;

/// Claims that are alike for every node.
#[derive(Debug)]
struct Claims(Arc<PodClaims>);

/// From where a bound volume can be reached.
#[derive(PartialEq, Hash)]
struct Reached<'a> {
    node_affinity: Option<&'a NodeSelector>,
    /// In-tree plugin, and from where the volume can be reached on nodes where that is migrated.
    in_tree: Option<(&'static str, Result<Option<&'a NodeSelector>, &'a str>)>,
}

impl<'a> Reached<'a> {
    fn of(volume: &'a PersistentVolume) -> Self {
        let in_tree = volume.in_tree.as_ref().map(|source| {
            let migrated = source.migrated.as_ref().map(|migrated| migrated.node_affinity.as_ref());
            (source.plugin, migrated.map_err(|reason| &**reason))
        });
        Self { node_affinity: volume.node_affinity.as_ref(), in_tree }
    }
}

/// Class of a claim without a volume, and the node for which it is to be made, if one was chosen.
type Wanted<'a> = (Option<&'a Atom>, Option<&'a str>);

fn wanted(unbound: &Unbound) -> Wanted<'_> {
    let claim = &unbound.claim;
    (claim.storage_class.as_ref(), claim.annotations.get(SELECTED_NODE).map(AsRef::as_ref))
}

/// What the verdicts follow from.
type Key<'a> =
    (SmallVec<[Option<Reached<'a>>; 2]>, SmallVec<[Wanted<'a>; 2]>, SmallVec<[Option<&'a Atom>; 2]>);

impl Claims {
    fn key(&self) -> Key<'_> {
        let bound = self.0.bound.iter().map(|volume| volume.as_deref().map(Reached::of));
        let to_provision = self.0.to_provision.iter().map(wanted);
        // Without candidates all of them are to be provisioned; but for those no node was chosen yet.
        let to_match = self.0.to_match.iter().map(|(unbound, _)| unbound.claim.storage_class.as_ref());
        (bound.collect(), to_provision.collect(), to_match.collect())
    }
}

alike_by_key!(Claims);

impl Candidates {
    fn are_none(&self) -> bool {
        self.reserved.is_empty() && self.free.is_empty() && self.error.is_none()
    }
}

/// What is read for a pod with these claims; `None` where only a look at each node tells.
pub(super) fn of(claims: &Arc<PodClaims>) -> Option<Reading> {
    let is_open = |unbound: &Unbound| unbound.room.is_none();
    let to_match = &claims.to_match;
    if !claims.to_provision.iter().all(is_open)
        || !to_match.iter().all(|(unbound, candidates)| is_open(unbound) && candidates.are_none())
    {
        return None;
    }
    let mut reading = Reading::of(Claims(Arc::clone(claims)));
    if !claims.all_bound() {
        reading = reading.with_objects(&[ObjectKind::StorageClass]);
    }
    if claims.bound.iter().flatten().any(|volume| volume.in_tree.is_some()) {
        // The CSINode tells which plugins are migrated.
        reading = reading.with_storage();
    }
    Some(reading)
}
