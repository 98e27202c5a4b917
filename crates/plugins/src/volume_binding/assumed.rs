//! Volumes and claims as they will be once the writes for pods in flight have come back through the watches.

use rustc_hash::FxHashMap;
use secondmate_model::objects::{ObjectName, Objects, PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// Below this number of entries, nothing is swept.
const SWEEP_AT_LEAST: usize = 64;

/// What Reserve has decided and the API server has not confirmed yet, by name.
///
/// An entry is valid for the version of the object that it was made from: any other version in the snapshot is newer and wins. So an entry
/// does not have to be removed after its write; entries that have been overtaken are swept whenever the number of entries has doubled. That
/// bounds it to twice the number of volumes of pods in flight at the last sweep.
#[derive(Debug, Default)]
pub(super) struct Assumed {
    // Only used for lookups; never iterated to produce a result.
    volumes: FxHashMap<Box<str>, Arc<PersistentVolume>>,
    claims: FxHashMap<ObjectName, Arc<PersistentVolumeClaim>>,
    sweep_at: usize,
}

fn same_volume(a: &PersistentVolume, b: &PersistentVolume) -> bool {
    a.resource_version == b.resource_version && a.uid == b.uid
}

fn same_claim(a: &PersistentVolumeClaim, b: &PersistentVolumeClaim) -> bool {
    a.resource_version == b.resource_version && a.uid == b.uid
}

impl Assumed {
    /// The volume as assumed, or as given if nothing newer is assumed.
    pub(super) fn volume<'a>(&'a self, volume: &'a Arc<PersistentVolume>) -> &'a Arc<PersistentVolume> {
        self.volumes.get(&volume.name).filter(|assumed| same_volume(assumed, volume)).unwrap_or(volume)
    }

    /// The claim as assumed, or as given if nothing newer is assumed.
    pub(super) fn claim<'a>(
        &'a self,
        claim: &'a Arc<PersistentVolumeClaim>,
    ) -> &'a Arc<PersistentVolumeClaim> {
        self.claims.get(&claim.name).filter(|assumed| same_claim(assumed, claim)).unwrap_or(claim)
    }

    /// Assumes a modified copy of a volume, under the version of the original.
    pub(super) fn assume_volume(&mut self, volume: Arc<PersistentVolume>) {
        self.volumes.insert(volume.name.clone(), volume);
    }

    /// Assumes a modified copy of a claim, under the version of the original.
    pub(super) fn assume_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        self.claims.insert(claim.name.clone(), claim);
    }

    /// Takes back a volume, unless another pod has assumed it since.
    pub(super) fn restore_volume(&mut self, volume: &Arc<PersistentVolume>) {
        if self.volumes.get(&volume.name).is_some_and(|assumed| Arc::ptr_eq(assumed, volume)) {
            self.volumes.remove(&volume.name);
        }
    }

    /// Takes back a claim, unless another pod has assumed it since.
    pub(super) fn restore_claim(&mut self, claim: &Arc<PersistentVolumeClaim>) {
        if self.claims.get(&claim.name).is_some_and(|assumed| Arc::ptr_eq(assumed, claim)) {
            self.claims.remove(&claim.name);
        }
    }

    /// Drops entries that the snapshot has overtaken, if there are many.
    pub(super) fn sweep(&mut self, objects: &Objects) {
        if self.len() < self.sweep_at.max(SWEEP_AT_LEAST) {
            return;
        }
        self.volumes
            .retain(|name, assumed| objects.volumes.get(name).is_some_and(|v| same_volume(v, assumed)));
        self.claims.retain(|name, assumed| objects.claims.get(name).is_some_and(|c| same_claim(c, assumed)));
        self.sweep_at = self.len() * 2;
    }

    /// The number of entries.
    fn len(&self) -> usize {
        self.volumes.len() + self.claims.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::object;
    use secondmate_model::objects::Object;
    use serde_json::{Value, json};

    fn volume(at: usize, version: &str, uid: &str) -> Arc<PersistentVolume> {
        let metadata = json!({"name": format!("v{at}"), "resourceVersion": version, "uid": uid});
        match object(json!({"kind": "PersistentVolume", "metadata": metadata})) {
            Object::PersistentVolume(volume) => volume,
            other => panic!("{other:?}"),
        }
    }

    fn claim(at: usize, version: Value) -> Arc<PersistentVolumeClaim> {
        let metadata = json!({"name": format!("c{at}"), "resourceVersion": version});
        match object(json!({"kind": "PersistentVolumeClaim", "metadata": metadata})) {
            Object::PersistentVolumeClaim(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_holds_for_one_version_of_one_object() {
        let mut assumed = Assumed::default();
        let (ours, theirs) = (volume(1, "1", "a"), volume(1, "1", "a"));
        assumed.assume_volume(Arc::clone(&ours));
        assert!(Arc::ptr_eq(assumed.volume(&theirs), &ours));
        for other in [volume(1, "2", "a"), volume(1, "1", "b"), volume(2, "1", "a")] {
            assert!(Arc::ptr_eq(assumed.volume(&other), &other), "{other:?}");
        }
        // What another pod has assumed is not taken back.
        assumed.restore_volume(&theirs);
        assert_eq!(assumed.len(), 1);
        assumed.restore_volume(&ours);
        assert_eq!(assumed.len(), 0);
    }

    #[test]
    fn what_was_overtaken_is_swept_out_when_there_is_much_of_it() {
        let mut objects = Objects::default();
        let mut assumed = Assumed::default();
        for at in 0..SWEEP_AT_LEAST / 2 {
            assumed.assume_volume(volume(at, "1", "a"));
            assumed.assume_claim(claim(at, json!("1")));
            // One in four is unchanged, one is newer, two are gone.
            if at % 4 < 2 {
                let version = if at % 4 == 0 { "1" } else { "2" };
                objects.apply(Object::PersistentVolume(volume(at, version, "a")));
                objects.apply(Object::PersistentVolumeClaim(claim(at, json!(version))));
            }
        }
        assert_eq!(assumed.len(), SWEEP_AT_LEAST);
        assumed.sweep(&objects);
        assert_eq!(assumed.len(), SWEEP_AT_LEAST / 4);
        // A small number of entries is kept, whatever became of the objects.
        assumed.sweep(&Objects::default());
        assert_eq!(assumed.len(), SWEEP_AT_LEAST / 4);
    }
}
