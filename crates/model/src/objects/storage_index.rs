//! Which claims, volumes and attachments belong together, and which storage objects changed recently. Together they tell which
//! nodes a change concerns.

use super::{Object, ObjectName, PersistentVolume, PersistentVolumeClaim};
use crate::Atom;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Maximum number of storage changes that are remembered. A reader that is further behind has to assume that everything has
/// changed.
pub const STORAGE_CHANGES_MAX: usize = 1 << 14;

/// A storage object that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChange {
    /// Something that belongs to a node: its CSINode, or an attachment to it.
    OfNode(Atom),
    /// A PersistentVolumeClaim.
    Claim(ObjectName),
    /// A PersistentVolume.
    Volume(Box<str>),
}

/// The index. Its owner reports each object that is added or removed.
#[derive(Clone, Debug, Default)]
pub(super) struct StorageIndex {
    /// Claims by the volume that they name.
    claims_by_volume: BTreeMap<Box<str>, BTreeSet<ObjectName>>,
    /// Volumes by CSI handle; in-tree volumes by the handle that migration gives them.
    volumes_by_handle: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Names of attachments by volume.
    attachments_by_volume: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Latest last.
    changes: VecDeque<StorageChange>,
    /// Number of changes so far.
    changed: u64,
}

fn handles(volume: &PersistentVolume) -> impl Iterator<Item = &str> {
    let csi = volume.csi.iter().map(|(_, handle)| &**handle);
    let in_tree = volume.in_tree.iter().filter_map(|source| source.migrated.as_ref().ok());
    csi.chain(in_tree.map(|migrated| &*migrated.handle))
}

fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    Some(&*claim.volume_name).filter(|volume| !volume.is_empty())
}

fn add<T: Ord>(index: &mut BTreeMap<Box<str>, BTreeSet<T>>, key: &str, value: T) {
    match index.get_mut(key) {
        Some(values) => {
            values.insert(value);
        }
        None => {
            index.insert(key.into(), BTreeSet::from([value]));
        }
    }
}

fn take<T: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    index: &mut BTreeMap<Box<str>, BTreeSet<T>>,
    key: &str,
    value: &Q,
) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

impl StorageIndex {
    /// An object was added.
    pub(super) fn came(&mut self, object: &Object) {
        match object {
            Object::PersistentVolumeClaim(claim) => {
                if let Some(volume) = volume_of(claim) {
                    add(&mut self.claims_by_volume, volume, claim.name.clone());
                }
            }
            Object::PersistentVolume(volume) => {
                for handle in handles(volume) {
                    add(&mut self.volumes_by_handle, handle, volume.name.clone());
                }
            }
            Object::VolumeAttachment(name, attachment) => {
                if let Some(volume) = &attachment.volume {
                    add(&mut self.attachments_by_volume, volume, name.clone());
                }
            }
            _ => {}
        }
        self.log(object);
    }

    /// An object was removed or is about to be replaced.
    pub(super) fn went(&mut self, object: &Object) {
        match object {
            Object::PersistentVolumeClaim(claim) => {
                if let Some(volume) = volume_of(claim) {
                    take(&mut self.claims_by_volume, volume, &claim.name);
                }
            }
            Object::PersistentVolume(volume) => {
                for handle in handles(volume) {
                    take(&mut self.volumes_by_handle, handle, &*volume.name);
                }
            }
            Object::VolumeAttachment(name, attachment) => {
                if let Some(volume) = &attachment.volume {
                    take(&mut self.attachments_by_volume, volume, &**name);
                }
            }
            _ => {}
        }
        self.log(object);
    }

    fn log(&mut self, object: &Object) {
        let change = match object {
            Object::PersistentVolumeClaim(claim) => StorageChange::Claim(claim.name.clone()),
            Object::PersistentVolume(volume) => StorageChange::Volume(volume.name.clone()),
            Object::VolumeAttachment(_, attachment) => StorageChange::OfNode(attachment.node.clone()),
            Object::CsiNode(node, _) => StorageChange::OfNode(node.clone()),
            _ => return,
        };
        if self.changes.len() == STORAGE_CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.changed += 1;
    }

    pub(super) fn claims_of<'a>(&'a self, volume: &str) -> impl Iterator<Item = &'a ObjectName> + use<'a> {
        self.claims_by_volume.get(volume).into_iter().flatten()
    }

    pub(super) fn volumes_with<'a>(&'a self, handle: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.volumes_by_handle.get(handle).into_iter().flatten().map(AsRef::as_ref)
    }

    pub(super) fn attachments_of<'a>(&'a self, volume: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.attachments_by_volume.get(volume).into_iter().flatten().map(AsRef::as_ref)
    }

    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    pub(super) fn changes_since(&self, changed: u64) -> Option<impl Iterator<Item = &StorageChange>> {
        let missed = usize::try_from(self.changed.checked_sub(changed)?).ok()?;
        let known = self.changes.len().checked_sub(missed)?;
        Some(self.changes.range(known..))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ObjectKind, Objects};
    use super::*;
    use serde_json::{Value, json};

    fn object(kind: ObjectKind, value: Value) -> Object {
        kind.compile(&value).expect("a well-formed object").0
    }

    fn claim(volume: &str) -> Object {
        let claim = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"volumeName": volume}});
        object(ObjectKind::PersistentVolumeClaim, claim)
    }

    fn volume(name: &str, handle: &str) -> Object {
        let volume =
            json!({"metadata": {"name": name}, "spec": {"csi": {"driver": "d", "volumeHandle": handle}}});
        object(ObjectKind::PersistentVolume, volume)
    }

    fn attachment(node: &str) -> Object {
        let source = json!({"persistentVolumeName": "v"});
        let spec = json!({"attacher": "d", "nodeName": node, "source": source});
        object(ObjectKind::VolumeAttachment, json!({"metadata": {"name": "a"}, "spec": spec}))
    }

    #[test]
    fn what_belongs_together_follows_the_objects() {
        let mut objects = Objects::default();
        for change in [claim("v"), volume("v", "h"), volume("w", "h"), attachment("n")] {
            objects.apply(change);
        }
        let state = |objects: &Objects| {
            let claims: Vec<_> = objects.claims_of_volume("v").map(ToString::to_string).collect();
            let volumes: Vec<_> = objects.volumes_with_handle("h").map(str::to_owned).collect();
            let nodes: Vec<_> = objects.attachments_of_volume("v").map(|a| a.node.to_string()).collect();
            (claims, volumes, nodes)
        };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(state(&objects), (texts(&["ns/c"]), texts(&["v", "w"]), texts(&["n"])));
        objects.apply(claim("other"));
        objects.apply(volume("v", "another"));
        objects.apply(attachment("m"));
        assert_eq!(state(&objects), (texts(&[]), texts(&["w"]), texts(&["m"])));
        objects.remove(ObjectKind::PersistentVolume, &ObjectName::new(&Atom::default(), "w"));
        objects.remove(ObjectKind::VolumeAttachment, &ObjectName::new(&Atom::default(), "a"));
        assert_eq!(state(&objects), (texts(&[]), texts(&[]), texts(&[])));
    }

    #[test]
    fn changes_are_told_from_a_number_on_until_there_were_too_many() {
        let mut objects = Objects::default();
        objects.apply(attachment("n"));
        let before = objects.storage_changed();
        objects.apply(attachment("m"));
        objects.apply(object(ObjectKind::Namespace, json!({"metadata": {"name": "ns"}})));
        objects.apply(volume("v", "h"));
        let of_node = |node: &str| StorageChange::OfNode(Atom::new(node));
        let told: Vec<_> = objects.storage_changes_since(before).expect("few").cloned().collect();
        assert_eq!(told, [of_node("n"), of_node("m"), StorageChange::Volume("v".into())]);
        let before = objects.storage_changed();
        for change in 0..STORAGE_CHANGES_MAX / 2 {
            objects.apply(volume("v", ["i", "h"][change % 2]));
        }
        assert_eq!(objects.storage_changes_since(before).map(Iterator::count), Some(STORAGE_CHANGES_MAX));
        objects.apply(claim(""));
        assert!(objects.storage_changes_since(before).is_none());
        assert!(objects.storage_changes_since(u64::MAX).is_none());
    }
}
