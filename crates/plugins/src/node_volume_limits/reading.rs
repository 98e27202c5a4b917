//! What makes pods with volumes alike: how many volumes they add for each driver, on all nodes that have none of these volumes yet.

use super::attachable::{OwnedAttachable, OwnedHandle};
use super::{NewVolume, NewVolumes};
use rustc_hash::FxHashMap;
use secondmate_framework::{NodeIndex, ObjectKind, Reading, Snapshot, alike_by_key};
use secondmate_model::Atom;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// If up to this many nodes already have volumes of the pod, the pod is like others that add as many. If more nodes do, the volume is one
/// that many pods share: these pods are like each other.
const NODES_MAX: usize = 8;

/// Volumes that a node has none of: only this counts about them.
#[derive(Debug)]
struct AsMany(Box<[(Atom, bool, usize)]>);

impl AsMany {
    /// Driver, whether the volume is declared as in-tree, and the position of the first volume that is the same.
    fn of(volumes: &[&OwnedAttachable]) -> Self {
        let mut first = FxHashMap::default();
        let counted = volumes.iter().enumerate().map(|(at, volume)| {
            let same = *first.entry(volume.borrowed()).or_insert(at);
            (volume.driver.clone(), volume.in_tree, same)
        });
        Self(counted.collect())
    }

    fn key(&self) -> &[(Atom, bool, usize)] {
        &self.0
    }
}

alike_by_key!(AsMany);

/// Exactly the same volumes.
#[derive(Debug)]
struct TheSame(Box<[OwnedAttachable]>);

impl TheSame {
    fn key(&self) -> &[OwnedAttachable] {
        &self.0
    }
}

alike_by_key!(TheSame);

/// The nodes that may have one of the volumes: those with a pod that uses its claim, or another claim for the same volume, or inline
/// volumes, and those to which it is attached. `None` if there are many.
fn nodes_with(snapshot: &Snapshot, volumes: &[&OwnedAttachable]) -> Option<Vec<NodeIndex>> {
    let mut nodes = BTreeSet::new();
    let mut add = |more: &mut dyn Iterator<Item = NodeIndex>| {
        for node in more {
            nodes.insert(node);
            if nodes.len() > NODES_MAX {
                return None;
            }
        }
        Some(())
    };
    add(&mut snapshot.nodes_with_inline_attachable())?;
    for volume in volumes {
        match &volume.handle {
            OwnedHandle::Claim(claim) => add(&mut snapshot.nodes_with_claim(claim))?,
            OwnedHandle::Volume(handle) => {
                let volumes = snapshot.objects().volumes_with_handle(handle);
                add(&mut volumes.flat_map(|volume| snapshot.nodes_with_volume(volume)))?;
            }
        }
    }
    Some(nodes.into_iter().collect())
}

/// What is read for a pod that adds these volumes; `None` if they cannot all be determined.
pub(super) fn of(snapshot: &Snapshot, new: &NewVolumes) -> Option<Reading> {
    if new.failure.is_some() {
        return None;
    }
    let volumes = new.volumes.iter().map(|volume| match volume {
        NewVolume::Attachable(volume) => Some(volume),
        NewVolume::Untranslatable(_) => None,
    });
    let volumes: SmallVec<[&OwnedAttachable; 4]> = volumes.collect::<Option<_>>()?;
    if volumes.is_empty() {
        return Some(Reading::nothing());
    }
    let reading = match nodes_with(snapshot, &volumes) {
        Some(nodes) => Reading { nodes, ..Reading::of(AsMany::of(&volumes)) },
        None => Reading::of(TheSame(volumes.iter().map(|volume| (*volume).clone()).collect())),
    };
    // The classes determine the drivers of claims without a volume, including the claims of the node's pods.
    Some(reading.with_objects(&[ObjectKind::StorageClass, ObjectKind::CsiDriver]).with_storage())
}
