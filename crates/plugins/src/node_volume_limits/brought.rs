//! What a pod brings along, worked out once for all nodes.

use super::NewVolume;
use super::attachable::{Attachable, Attachables, OwnedAttachable};
use rustc_hash::FxHashMap;
use secondmate_model::Atom;

/// The volumes of a pod, each once, and how many there are of each driver.
#[derive(Debug)]
pub(super) struct Brought {
    /// Sorted by [`Attachable::key`].
    volumes: Box<[OwnedAttachable]>,
    /// The drivers, in the order of their first volumes.
    pub(super) drivers: Box<[Atom]>,
    /// How many volumes there are of each of them.
    pub(super) counts: Box<[usize]>,
    places: FxHashMap<Atom, usize>,
    /// The drivers of volumes that are not written as in-tree: others do not count on a node without a CSINode.
    pub(super) csi_drivers: Box<[Atom]>,
    /// Why the first volume that cannot be translated for its CSI driver cannot be.
    pub(super) untranslatable: Option<String>,
}

impl Brought {
    /// The different ones of these volumes.
    pub(super) fn of(volumes: &[NewVolume]) -> Self {
        let (mut all, mut csi) = (Attachables::default(), Attachables::default());
        let mut untranslatable = None;
        for volume in volumes {
            match volume {
                NewVolume::Attachable(volume) => {
                    all.insert(volume.borrowed());
                    if !volume.in_tree {
                        csi.insert(volume.borrowed());
                    }
                }
                NewVolume::Untranslatable(reason) => {
                    untranslatable.get_or_insert_with(|| reason.clone());
                }
            }
        }
        let (drivers, counts, places) = by_driver(&all);
        let (csi_drivers, ..) = by_driver(&csi);
        let mut volumes: Vec<OwnedAttachable> = all.iter().copied().map(Attachable::to_owned).collect();
        volumes.sort_unstable_by(|one, other| one.borrowed().key().cmp(&other.borrowed().key()));
        Self {
            volumes: volumes.into(),
            drivers: drivers.into(),
            counts: counts.into(),
            places,
            csi_drivers: csi_drivers.into(),
            untranslatable,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty()
    }

    /// The place of a driver in the list of drivers; none where the pod brings none of its volumes.
    pub(super) fn place(&self, driver: &Atom) -> Option<usize> {
        match &*self.drivers {
            [only] => (only == driver).then_some(0),
            _ => self.places.get(driver).copied(),
        }
    }

    pub(super) fn contains(&self, volume: &Attachable<'_>) -> bool {
        self.volumes.binary_search_by(|own| own.borrowed().key().cmp(&volume.key())).is_ok()
    }
}

/// The drivers in the order of their first volumes, how many volumes there are of each, and the places of the drivers in that order.
fn by_driver(volumes: &Attachables<'_>) -> (Vec<Atom>, Vec<usize>, FxHashMap<Atom, usize>) {
    let (mut drivers, mut counts, mut places) = (Vec::new(), Vec::new(), FxHashMap::default());
    for volume in volumes.iter() {
        let place = *places.entry(volume.driver.clone()).or_insert(drivers.len());
        if place == drivers.len() {
            drivers.push(volume.driver.clone());
            counts.push(0);
        }
        counts[place] += 1;
    }
    (drivers, counts, places)
}
