//! A kind of object that a controller follows through its log.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::api::Api;
use crate::object::Object;
use crate::resource::StoreId;
use crate::store::{Change, Event};

/// Maximum number of events taken from a log at once.
const BATCH_EVENTS: usize = 1024;

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// What is known of the kind: which objects exist, and who owns them.
pub(super) struct Follower {
    store: StoreId,
    cursor: u64,
    /// From an owner's UID to the keys of what it owns.
    owned: HashMap<Box<str>, BTreeSet<Key>>,
    /// From UID to key, for everything that exists.
    known: HashMap<Box<str>, Key>,
}

impl Follower {
    pub(super) fn new(store: StoreId) -> Follower {
        Follower { store, cursor: 0, owned: HashMap::new(), known: HashMap::new() }
    }

    /// Follows the log; returns the UIDs of the objects that changed, and of their owners.
    pub(super) fn follow(&mut self, api: &Api, dirty: &mut HashSet<Box<str>>) -> bool {
        let cursor = self.cursor;
        match api.store.read(|tx| tx.events_after(self.store, cursor, BATCH_EVENTS, None)) {
            Ok((events, next)) => {
                self.cursor = next;
                for Event { change, object, .. } in &events {
                    self.take(object, *change == Change::Deleted, dirty);
                }
                !events.is_empty()
            }
            Err(_) => {
                let snapshot = api.store.read(|tx| tx.snapshot(self.store, None, |_| true));
                dirty.extend(self.known.keys().cloned());
                dirty.extend(self.owned.keys().cloned());
                self.owned.clear();
                self.known.clear();
                self.cursor = snapshot.version;
                for object in &snapshot.objects {
                    self.take(object, false, dirty);
                }
                true
            }
        }
    }

    fn take(&mut self, object: &Arc<Object>, deleted: bool, dirty: &mut HashSet<Box<str>>) {
        let key = (object.namespace.clone(), object.name.clone());
        if deleted {
            self.known.remove(&object.uid);
        } else {
            self.known.insert(object.uid.clone(), key.clone());
        }
        dirty.insert(object.uid.clone());
        if object.owner.is_empty() {
            return;
        }
        dirty.insert(object.owner.clone());
        let owned = self.owned.entry(object.owner.clone()).or_default();
        if deleted {
            owned.remove(&key);
            if owned.is_empty() {
                self.owned.remove(&object.owner);
            }
        } else {
            owned.insert(key);
        }
    }

    pub(super) fn owned_by(&self, api: &Api, uid: &str) -> Vec<Arc<Object>> {
        let Some(keys) = self.owned.get(uid) else { return Vec::new() };
        api.store.read(|tx| {
            let found = keys.iter().filter_map(|(namespace, name)| tx.get(self.store, namespace, name));
            found.filter(|o| &*o.owner == uid).cloned().collect()
        })
    }

    pub(super) fn get(&self, api: &Api, uid: &str) -> Option<Arc<Object>> {
        let (namespace, name) = self.known.get(uid)?;
        api.store.read(|tx| tx.get(self.store, namespace, name).cloned())
    }

    pub(super) fn store(&self) -> StoreId {
        self.store
    }

    /// The UIDs of all that exist.
    pub(super) fn uids(&self) -> impl Iterator<Item = Box<str>> {
        self.known.keys().cloned()
    }

    /// All that exist, by namespace and name.
    pub(super) fn all(&self, api: &Api) -> Vec<Arc<Object>> {
        api.store.read(|tx| tx.iter(self.store, None).cloned().collect())
    }
}
