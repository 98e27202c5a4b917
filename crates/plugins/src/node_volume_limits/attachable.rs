//! Volumes that count against a CSI driver's limit, identified by driver and handle.
//!
//! Volumes of in-tree plugins count for the driver that replaced the plugin, on nodes with a CSINode.

use rustc_hash::FxHashSet;
use secondmate_model::objects::{ObjectName, Objects, PersistentVolumeClaim};
use secondmate_model::{Atom, Volume};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// What distinguishes a volume from others of its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Handle<'a> {
    /// The driver's handle for it.
    Volume(&'a str),
    /// It does not exist yet: the claim for which it will be provisioned.
    Claim(&'a ObjectName),
}

/// A volume of a CSI driver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attachable<'a> {
    pub(super) driver: &'a Atom,
    handle: Handle<'a>,
    /// It is declared as a volume of an in-tree plugin that the driver replaced.
    in_tree: bool,
}

/// However it is declared, it is the same volume.
impl PartialEq for Attachable<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.driver == other.driver && self.handle == other.handle
    }
}
impl Eq for Attachable<'_> {}

impl Hash for Attachable<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl<'a> Attachable<'a> {
    /// What distinguishes it from other volumes.
    pub(super) fn key(&self) -> (&'a Atom, Handle<'a>) {
        (self.driver, self.handle)
    }

    /// A volume, by its driver's handle.
    pub(super) fn of_handle(driver: &'a Atom, handle: &'a str) -> Self {
        Self { driver, handle: Handle::Volume(handle), in_tree: false }
    }

    /// The volume bound to a claim; if there is none yet, the one that its class will provision.
    pub(super) fn of_claim(objects: &'a Objects, claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let volume = objects.volumes.get(&claim.volume_name);
        let Some(volume) = volume.filter(|_| !claim.volume_name.is_empty()) else {
            return Self::of_class(objects, claim);
        };
        let (driver, handle, in_tree) = if let Some((driver, handle)) = &volume.csi {
            (driver, handle, false)
        } else {
            let source = volume.in_tree.as_ref()?;
            (&source.driver, &source.migrated.as_ref().ok()?.handle, true)
        };
        if driver.is_empty() || handle.is_empty() {
            return None;
        }
        Some(Self { driver, handle: Handle::Volume(handle), in_tree })
    }

    /// A claim without a class, or with a class that does not exist, is not counted.
    fn of_class(objects: &'a Objects, claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let class = objects.storage_classes.get(claim.storage_class.as_ref()?)?;
        let driver = class.driver.as_ref().filter(|driver| !driver.is_empty())?;
        Some(Self { driver, handle: Handle::Claim(&claim.name), in_tree: *driver != class.provisioner })
    }

    /// An inline volume of a migrated plugin; the reason if it cannot be translated.
    pub(super) fn of_inline(volume: &'a Volume) -> Option<Result<Self, &'a str>> {
        let migration = volume.migration.as_ref()?;
        Some(match migration.handle.as_ref()? {
            Ok(handle) => {
                Ok(Self { driver: &migration.driver, handle: Handle::Volume(handle), in_tree: true })
            }
            Err(reason) => Err(reason),
        })
    }

    pub(super) fn to_owned(self) -> OwnedAttachable {
        OwnedAttachable {
            driver: self.driver.clone(),
            handle: match self.handle {
                Handle::Volume(handle) => OwnedHandle::Volume(handle.into()),
                Handle::Claim(claim) => OwnedHandle::Claim(claim.clone()),
            },
            in_tree: self.in_tree,
        }
    }
}

/// An [`Attachable`] that outlives the lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnedAttachable {
    pub(super) driver: Atom,
    pub(super) handle: OwnedHandle,
    /// See [`Attachable::in_tree`].
    pub(super) in_tree: bool,
}

/// See [`Handle`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum OwnedHandle {
    Volume(Box<str>),
    Claim(ObjectName),
}

impl OwnedAttachable {
    pub(super) fn borrowed(&self) -> Attachable<'_> {
        let handle = match &self.handle {
            OwnedHandle::Volume(handle) => Handle::Volume(handle),
            OwnedHandle::Claim(claim) => Handle::Claim(claim),
        };
        Attachable { driver: &self.driver, handle, in_tree: self.in_tree }
    }
}

/// Nodes attach a few dozen volumes at most: searching a list on the stack is faster than building a map.
const FEW: usize = 40;

/// A set of volumes.
#[derive(Debug, Default)]
pub(super) struct Attachables<'a> {
    /// In the order in which they came.
    row: SmallVec<[Attachable<'a>; FEW]>,
    /// The same, where there are more than a few.
    set: FxHashSet<Attachable<'a>>,
}

impl<'a> Attachables<'a> {
    pub(super) fn insert(&mut self, volume: Attachable<'a>) {
        if self.contains(&volume) {
            return;
        }
        self.row.push(volume);
        if !self.set.is_empty() {
            self.set.insert(volume);
        } else if self.row.len() > FEW {
            self.set.extend(self.row.iter().copied());
        }
    }

    pub(super) fn contains(&self, volume: &Attachable<'_>) -> bool {
        if self.set.is_empty() { self.row.iter().any(|v| v == volume) } else { self.set.contains(volume) }
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attachable<'a>> {
        self.row.iter()
    }
}
