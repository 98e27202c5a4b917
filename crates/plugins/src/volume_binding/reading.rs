//! What makes pods with claims alike.
//!
//! What counts is where the volumes of two pods can be reached from, not which volumes they are, nor which claims wait for a volume to be
//! provisioned. It is different for a claim for which volumes are available: which one is taken, and its score, differs from node to node
//! and from pod to pod. The same goes for capacity that a driver publishes.

use super::claims::{Candidates, PodClaims, SELECTED_NODE, Unbound};
use secondmate_framework::{ObjectKind, Reading, alike_by_key};
use secondmate_model::objects::PersistentVolume;
use secondmate_model::{Atom, NodeSelector};
use smallvec::SmallVec;
use std::sync::Arc;

/// Claims that are alike for every node.
#[derive(Debug)]
struct Claims(Arc<PodClaims>);

/// Where a bound volume can be reached from.
#[derive(PartialEq, Hash)]
struct Reached<'a> {
    node_affinity: Option<&'a NodeSelector>,
    /// The in-tree plugin, and where the volume can be reached from on nodes on which the plugin is migrated.
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

/// The class of a claim without a volume, and the node for which the volume is to be provisioned, if one has been selected.
type Wanted<'a> = (Option<&'a Atom>, Option<&'a str>);

fn wanted(unbound: &Unbound) -> Wanted<'_> {
    let claim = &unbound.claim;
    (claim.storage_class.as_ref(), claim.annotations.get(SELECTED_NODE).map(AsRef::as_ref))
}

/// Everything that the verdicts depend on.
type Key<'a> =
    (SmallVec<[Option<Reached<'a>>; 2]>, SmallVec<[Wanted<'a>; 2]>, SmallVec<[Option<&'a Atom>; 2]>);

impl Claims {
    fn key(&self) -> Key<'_> {
        let bound = self.0.bound.iter().map(|volume| volume.as_deref().map(Reached::of));
        let to_provision = self.0.to_provision.iter().map(wanted);
        // Without candidates, all of these have to be provisioned, but no node has been selected for them yet.
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

/// What is read for a pod with these claims; `None` if each node has to be examined.
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
        // The CSINode says which plugins are migrated.
        reading = reading.with_storage();
    }
    Some(reading)
}
