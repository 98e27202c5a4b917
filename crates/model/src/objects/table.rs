//! All objects together, by name.

use super::own::OwnTable;
use super::storage_index::{StorageChange, StorageIndex};
use super::{
    CsiDriver, CsiNode, DisruptionBudget, NameParts, Object, ObjectKind, ObjectName, Own, OwnKind,
    PersistentVolume, PersistentVolumeClaim, PluginObject, StorageCapacity, StorageClass, VolumeAttachment,
    Workload,
};
use crate::Atom;
use crate::labels::Labels;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All objects but pods and nodes, by name. Iteration is in name order.
///
/// The maps are public for reading only. Change them through [`Objects::apply`] and [`Objects::remove`], which keep the indexes
/// consistent.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Labels of the namespaces.
    pub namespaces: BTreeMap<Atom, Labels>,
    /// Services.
    pub services: BTreeMap<ObjectName, Workload>,
    /// ReplicationControllers.
    pub replication_controllers: BTreeMap<ObjectName, Workload>,
    /// ReplicaSets.
    pub replica_sets: BTreeMap<ObjectName, Workload>,
    /// StatefulSets.
    pub stateful_sets: BTreeMap<ObjectName, Workload>,
    /// PodDisruptionBudgets.
    pub disruption_budgets: BTreeMap<ObjectName, DisruptionBudget>,
    /// PersistentVolumes.
    pub volumes: BTreeMap<Box<str>, Arc<PersistentVolume>>,
    /// PersistentVolumeClaims.
    pub claims: BTreeMap<ObjectName, Arc<PersistentVolumeClaim>>,
    /// StorageClasses.
    pub storage_classes: BTreeMap<Atom, StorageClass>,
    /// CSINodes.
    pub csi_nodes: BTreeMap<Atom, CsiNode>,
    /// CSIDrivers: whether they publish capacities.
    pub csi_drivers: BTreeMap<Atom, CsiDriver>,
    /// CSIStorageCapacities.
    pub storage_capacities: BTreeMap<ObjectName, StorageCapacity>,
    /// VolumeAttachments.
    pub volume_attachments: BTreeMap<Box<str>, VolumeAttachment>,
    /// DeviceClasses: the extended resource that each names.
    pub device_classes: BTreeMap<Atom, Option<Atom>>,
    /// Volumes by class.
    volumes_by_class: BTreeMap<Atom, BTreeMap<Box<str>, Arc<PersistentVolume>>>,
    /// Capacities by class.
    capacities_by_class: BTreeMap<Atom, BTreeSet<ObjectName>>,
    /// Attachments by node.
    attachments_by_node: BTreeMap<Atom, BTreeSet<Box<str>>>,
    /// Which storage objects belong together, and which of them changed recently.
    storage: StorageIndex,
    /// Number of changes.
    changes: u64,
    /// Number of changes by kind.
    epochs: [u64; ObjectKind::ALL.len()],
    /// What plugins read as their own types, one table per type: a handful at most.
    own: Vec<OwnTable>,
}

impl Objects {
    /// A claim.
    #[must_use]
    pub fn claim(&self, namespace: &Atom, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        let parts = (namespace, name);
        let key: &dyn NameParts = &parts;
        self.claims.get(key)
    }

    /// The volumes of a class, in name order.
    pub fn volumes_of_class(&self, class: &Atom) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        self.volumes_by_class.get(class).into_iter().flat_map(BTreeMap::values)
    }

    /// The capacities of a class, in name order.
    pub fn capacities_of_class(&self, class: &Atom) -> impl Iterator<Item = &StorageCapacity> {
        let names = self.capacities_by_class.get(class).into_iter().flatten();
        names.filter_map(|name| self.storage_capacities.get(name))
    }

    /// What is attached to a node, in the order of the attachments' names.
    pub fn attachments_to(&self, node: &Atom) -> impl Iterator<Item = &VolumeAttachment> {
        let names = self.attachments_by_node.get(node).into_iter().flatten();
        names.filter_map(|name| self.volume_attachments.get(name))
    }

    /// The claims that name the volume, whether it is bound to them or not.
    pub fn claims_of_volume<'a>(&'a self, volume: &str) -> impl Iterator<Item = &'a ObjectName> + use<'a> {
        self.storage.claims_of(volume)
    }

    /// Names of the volumes with this CSI handle, of any driver, including in-tree volumes that migration gives this handle.
    pub fn volumes_with_handle<'a>(&'a self, handle: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.storage.volumes_with(handle)
    }

    /// The attachments of the volume.
    pub fn attachments_of_volume<'a>(
        &'a self,
        volume: &str,
    ) -> impl Iterator<Item = &'a VolumeAttachment> + use<'a> {
        self.storage.attachments_of(volume).filter_map(|name| self.volume_attachments.get(name))
    }

    /// Total number of changes of claims, volumes, attachments and CSINodes.
    #[must_use]
    pub fn storage_changed(&self) -> u64 {
        self.storage.changed()
    }

    /// The changes of claims, volumes, attachments and CSINodes since the total was `changed`, latest last. `None` if they are no
    /// longer known.
    #[must_use]
    pub fn storage_changes_since(&self, changed: u64) -> Option<impl Iterator<Item = &StorageChange>> {
        self.storage.changes_since(changed)
    }

    /// Grows with each change of any object.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Grows with each change of an object of the kind.
    #[must_use]
    pub fn epoch(&self, kind: ObjectKind) -> u64 {
        match kind.position() {
            Ok(position) => self.epochs[position],
            Err(own) => self.own.iter().find(|table| table.kind == own).map_or(0, |table| table.epoch),
        }
    }

    /// The objects that a plugin reads as `T`.
    #[must_use]
    pub fn own<T: PluginObject>(&self) -> Own<'_, T> {
        Own::new(self.own.iter().find(|table| table.is_of::<T>()))
    }

    /// The kinds that plugins read as their own types, with the number of objects of each, sorted.
    #[must_use]
    pub fn own_counts(&self) -> BTreeMap<OwnKind, usize> {
        self.own.iter().map(|table| (table.kind, table.objects.len())).collect()
    }

    /// Records a change of an object of the kind.
    fn changed(&mut self, kind: ObjectKind) {
        self.changes += 1;
        match kind.position() {
            Ok(position) => self.epochs[position] += 1,
            Err(own) => self.own_table(own).epoch += 1,
        }
    }

    fn own_table(&mut self, kind: OwnKind) -> &mut OwnTable {
        let at = self.own.iter().position(|table| table.kind == kind).unwrap_or_else(|| {
            self.own.push(OwnTable::new(kind));
            self.own.len() - 1
        });
        &mut self.own[at]
    }

    /// Adds or replaces an object and returns the previous one. An equal object is not a change, for example after an update of a
    /// status that nobody reads, or when a list shows it again.
    pub fn apply(&mut self, object: Object) -> Option<Object> {
        if self.has(&object) {
            return Some(object);
        }
        self.changed(object.kind());
        let name = object.is_storage().then(|| (object.kind(), object.name()));
        let old = name.and_then(|(kind, name)| self.take(kind, &name));
        if let Some(old) = &old {
            self.storage.went(old);
        }
        self.storage.came(&object);
        self.put(object).or(old)
    }

    /// Whether exactly this object is present.
    fn has(&self, object: &Object) -> bool {
        match object {
            Object::Namespace(n, v) => self.namespaces.get(n) == Some(v),
            Object::Service(n, v) => self.services.get(n) == Some(v),
            Object::ReplicationController(n, v) => self.replication_controllers.get(n) == Some(v),
            Object::ReplicaSet(n, v) => self.replica_sets.get(n) == Some(v),
            Object::StatefulSet(n, v) => self.stateful_sets.get(n) == Some(v),
            Object::DisruptionBudget(n, v) => self.disruption_budgets.get(n) == Some(v),
            Object::PersistentVolume(v) => self.volumes.get(&v.name) == Some(v),
            Object::PersistentVolumeClaim(v) => self.claims.get(&v.name) == Some(v),
            Object::StorageClass(v) => self.storage_classes.get(&v.name) == Some(v),
            Object::CsiNode(n, v) => self.csi_nodes.get(n) == Some(v),
            Object::CsiDriver(n, v) => self.csi_drivers.get(n) == Some(v),
            Object::StorageCapacity(n, v) => self.storage_capacities.get(n) == Some(v),
            Object::VolumeAttachment(n, v) => self.volume_attachments.get(n) == Some(v),
            Object::DeviceClass(n, v) => self.device_classes.get(n) == Some(v),
            // The values inside cannot be compared: only the same value, received at the same time, is known to be unchanged.
            Object::Own(object) => {
                let table = self.own.iter().find(|table| table.kind == object.kind());
                table.and_then(|table| table.objects.get(object.name())) == Some(object)
            }
        }
    }

    fn put(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Namespace(n, v) => self.namespaces.insert(n.clone(), v).map(|v| Object::Namespace(n, v)),
            Object::Service(n, v) => self.services.insert(n.clone(), v).map(|v| Object::Service(n, v)),
            Object::ReplicationController(n, v) => {
                self.replication_controllers.insert(n.clone(), v).map(|v| Object::ReplicationController(n, v))
            }
            Object::ReplicaSet(n, v) => {
                self.replica_sets.insert(n.clone(), v).map(|v| Object::ReplicaSet(n, v))
            }
            Object::StatefulSet(n, v) => {
                self.stateful_sets.insert(n.clone(), v).map(|v| Object::StatefulSet(n, v))
            }
            Object::DisruptionBudget(n, v) => {
                self.disruption_budgets.insert(n.clone(), v).map(|v| Object::DisruptionBudget(n, v))
            }
            Object::PersistentVolume(v) => {
                let old = self.remove_volume(&v.name);
                let class = self.volumes_by_class.entry(v.storage_class.clone()).or_default();
                class.insert(v.name.clone(), Arc::clone(&v));
                self.volumes.insert(v.name.clone(), v);
                old.map(Object::PersistentVolume)
            }
            Object::PersistentVolumeClaim(v) => {
                self.claims.insert(v.name.clone(), v).map(Object::PersistentVolumeClaim)
            }
            Object::StorageClass(v) => {
                self.storage_classes.insert(v.name.clone(), v).map(Object::StorageClass)
            }
            Object::CsiNode(n, v) => self.csi_nodes.insert(n.clone(), v).map(|v| Object::CsiNode(n, v)),
            Object::CsiDriver(n, v) => self.csi_drivers.insert(n.clone(), v).map(|v| Object::CsiDriver(n, v)),
            Object::StorageCapacity(n, v) => {
                let old = self.remove_capacity(&n);
                self.capacities_by_class.entry(v.storage_class.clone()).or_default().insert(n.clone());
                self.storage_capacities.insert(n.clone(), v);
                old.map(|v| Object::StorageCapacity(n, v))
            }
            Object::VolumeAttachment(n, v) => {
                let old = self.remove_attachment(&n);
                self.attachments_by_node.entry(v.node.clone()).or_default().insert(n.clone());
                self.volume_attachments.insert(n.clone(), v);
                old.map(|v| Object::VolumeAttachment(n, v))
            }
            Object::DeviceClass(n, v) => {
                self.device_classes.insert(n.clone(), v).map(|v| Object::DeviceClass(n, v))
            }
            Object::Own(object) => {
                let table = self.own_table(object.kind());
                table.objects.insert(object.name().clone(), object).map(Object::Own)
            }
        }
    }

    /// Removes an object and returns it if it existed.
    pub fn remove(&mut self, kind: ObjectKind, name: &ObjectName) -> Option<Object> {
        let gone = self.take(kind, name)?;
        self.changed(kind);
        self.storage.went(&gone);
        Some(gone)
    }

    fn take(&mut self, kind: ObjectKind, name: &ObjectName) -> Option<Object> {
        let plain = Atom::new(&name.name);
        match kind {
            ObjectKind::Namespace => self.namespaces.remove(&plain).map(|v| Object::Namespace(plain, v)),
            ObjectKind::Service => self.services.remove(name).map(|v| Object::Service(name.clone(), v)),
            ObjectKind::ReplicationController => self
                .replication_controllers
                .remove(name)
                .map(|v| Object::ReplicationController(name.clone(), v)),
            ObjectKind::ReplicaSet => {
                self.replica_sets.remove(name).map(|v| Object::ReplicaSet(name.clone(), v))
            }
            ObjectKind::StatefulSet => {
                self.stateful_sets.remove(name).map(|v| Object::StatefulSet(name.clone(), v))
            }
            ObjectKind::DisruptionBudget => {
                self.disruption_budgets.remove(name).map(|v| Object::DisruptionBudget(name.clone(), v))
            }
            ObjectKind::PersistentVolume => self.remove_volume(&name.name).map(Object::PersistentVolume),
            ObjectKind::PersistentVolumeClaim => self.claims.remove(name).map(Object::PersistentVolumeClaim),
            ObjectKind::StorageClass => self.storage_classes.remove(&plain).map(Object::StorageClass),
            ObjectKind::CsiNode => self.csi_nodes.remove(&plain).map(|v| Object::CsiNode(plain, v)),
            ObjectKind::CsiDriver => self.csi_drivers.remove(&plain).map(|v| Object::CsiDriver(plain, v)),
            ObjectKind::StorageCapacity => {
                self.remove_capacity(name).map(|v| Object::StorageCapacity(name.clone(), v))
            }
            ObjectKind::VolumeAttachment => {
                self.remove_attachment(&name.name).map(|v| Object::VolumeAttachment(name.name.clone(), v))
            }
            ObjectKind::DeviceClass => {
                self.device_classes.remove(&plain).map(|v| Object::DeviceClass(plain, v))
            }
            ObjectKind::Own(kind) => self.own_table(kind).objects.remove(name).map(Object::Own),
        }
    }

    fn remove_volume(&mut self, name: &str) -> Option<Arc<PersistentVolume>> {
        let old = self.volumes.remove(name)?;
        if let Some(class) = self.volumes_by_class.get_mut(&old.storage_class) {
            class.remove(name);
            if class.is_empty() {
                self.volumes_by_class.remove(&old.storage_class);
            }
        }
        Some(old)
    }

    fn remove_capacity(&mut self, name: &ObjectName) -> Option<StorageCapacity> {
        let old = self.storage_capacities.remove(name)?;
        if let Some(class) = self.capacities_by_class.get_mut(&old.storage_class) {
            class.remove(name);
            if class.is_empty() {
                self.capacities_by_class.remove(&old.storage_class);
            }
        }
        Some(old)
    }

    fn remove_attachment(&mut self, name: &str) -> Option<VolumeAttachment> {
        let old = self.volume_attachments.remove(name)?;
        if let Some(node) = self.attachments_by_node.get_mut(&old.node) {
            node.remove(name);
            if node.is_empty() {
                self.attachments_by_node.remove(&old.node);
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, class: &str) -> Object {
        let volume = crate::wire::PersistentVolume {
            metadata: crate::wire::ObjectMeta { name: name.into(), ..Default::default() },
            spec: crate::wire::PersistentVolumeSpec {
                storage_class_name: class.into(),
                ..Default::default()
            },
            ..Default::default()
        };
        Object::PersistentVolume(Arc::new(PersistentVolume::new(&volume)))
    }

    fn attachment(name: &str, node: &str) -> Object {
        let attachment = VolumeAttachment { attacher: Atom::new("d"), node: Atom::new(node), volume: None };
        Object::VolumeAttachment(name.into(), attachment)
    }

    fn of_class<'a>(objects: &'a Objects, class: &str) -> Vec<&'a str> {
        objects.volumes_of_class(&Atom::new(class)).map(|v| &*v.name).collect()
    }

    #[test]
    fn a_change_is_seen_in_the_epoch_of_its_kind_alone() {
        let mut objects = Objects::default();
        let epochs = |objects: &Objects| {
            [ObjectKind::PersistentVolume, ObjectKind::VolumeAttachment].map(|kind| objects.epoch(kind))
        };
        objects.apply(volume("a", "fast"));
        objects.apply(volume("a", "slow"));
        assert_eq!(epochs(&objects), [2, 0]);
        objects.remove(ObjectKind::PersistentVolume, &ObjectName::new(&Atom::default(), "a"));
        objects.apply(attachment("x", "n"));
        assert_eq!(epochs(&objects), [3, 1]);
    }

    #[test]
    fn what_is_as_before_is_no_change() {
        let metadata = r#""metadata":{"namespace":"ns","name":"x","resourceVersion":"1"}"#;
        for kind in ObjectKind::ALL {
            let mut objects = Objects::default();
            let object = || kind.compile(format!("{{{metadata}}}").as_str()).expect("metadata is enough").0;
            let state =
                |objects: &Objects| (objects.changes(), objects.epoch(*kind), objects.storage_changed());
            objects.remove(*kind, &object().name());
            assert_eq!(state(&objects), (0, 0, 0), "{kind:?}: nothing was there");
            assert_eq!(objects.apply(object()), None);
            let before = state(&objects);
            assert_eq!(before, (1, 1, u64::from(object().is_storage())), "{kind:?}");
            assert_eq!(
                objects.apply(object()),
                Some(object()),
                "{kind:?}: the one before is told all the same"
            );
            assert_eq!(state(&objects), before, "{kind:?}");
            objects.remove(*kind, &object().name());
            assert_eq!(objects.apply(object()), None, "{kind:?}");
            assert_eq!(objects.epoch(*kind), 3, "{kind:?}");
        }
    }

    #[test]
    fn a_status_that_nobody_reads_is_no_change_of_a_budget() {
        let mut objects = Objects::default();
        let budget = |healthy: u32, allowed: u32| {
            let text = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"x","resourceVersion":"{healthy}"}},
                "status":{{"currentHealthy":{healthy},"disruptionsAllowed":{allowed}}}}}"#
            );
            ObjectKind::DisruptionBudget.compile(text.as_str()).expect("a budget").0
        };
        for (budget, changes) in [(budget(3, 1), 1), (budget(4, 1), 1), (budget(4, 2), 2)] {
            objects.apply(budget);
            assert_eq!(objects.epoch(ObjectKind::DisruptionBudget), changes);
        }
    }

    #[test]
    fn the_indexes_follow_a_change_of_the_key_and_a_removal() {
        let mut objects = Objects::default();
        assert_eq!(objects.apply(volume("b", "fast")), None);
        objects.apply(volume("a", "fast"));
        assert_eq!(of_class(&objects, "fast"), ["a", "b"]);
        assert_eq!(objects.apply(volume("b", "slow")), Some(volume("b", "fast")));
        assert_eq!((of_class(&objects, "fast"), of_class(&objects, "slow")), (vec!["a"], vec!["b"]));
        let name = ObjectName::new(&Atom::default(), "a");
        assert_eq!(objects.remove(ObjectKind::PersistentVolume, &name), Some(volume("a", "fast")));
        assert_eq!(of_class(&objects, "fast"), Vec::<&str>::new());

        objects.apply(attachment("x", "n1"));
        objects.apply(attachment("x", "n2"));
        assert_eq!(objects.attachments_to(&Atom::new("n1")).count(), 0);
        assert_eq!(objects.attachments_to(&Atom::new("n2")).count(), 1);
        objects.remove(ObjectKind::VolumeAttachment, &ObjectName::new(&Atom::default(), "x"));
        assert_eq!(objects.attachments_to(&Atom::new("n2")).count(), 0);
    }

    #[test]
    fn a_claim_is_found_by_borrowed_parts() {
        let mut objects = Objects::default();
        for (namespace, name) in [("a", "z"), ("b", "a"), ("b", "c")] {
            let claim = crate::wire::PersistentVolumeClaim {
                metadata: crate::wire::ObjectMeta {
                    name: name.into(),
                    namespace: namespace.into(),
                    ..Default::default()
                },
                ..Default::default()
            };
            objects.apply(Object::PersistentVolumeClaim(Arc::new(PersistentVolumeClaim::new(&claim))));
        }
        let found = |namespace: &str, name: &str| {
            objects.claim(&Atom::new(namespace), name).map(|c| c.name.to_string())
        };
        assert_eq!(found("b", "a"), Some("b/a".to_owned()));
        assert_eq!(found("a", "z"), Some("a/z".to_owned()));
        assert_eq!(found("a", "a"), None);
    }
}
