//! Objects that cannot be understood: kept by name, so that their owners and an operator can be informed.

use super::needs::Subject;
use super::{Key, Unfit};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Maximum number of objects remembered; further ones are only counted and logged.
const UNFIT_MAX: usize = 1000;

/// An object that is remembered.
#[derive(Clone, Debug)]
struct Entry {
    unfit: Unfit,
    told: bool,
}

/// The objects that cannot be understood at present. Written by the watches, read by the task that informs the owners.
#[derive(Debug, Default)]
pub(crate) struct UnfitObjects {
    entries: Mutex<BTreeMap<Key, Entry>>,
    count: AtomicUsize,
    added: Notify,
}

impl UnfitObjects {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, key: Key, unfit: Unfit) {
        let mut entries = self.lock();
        if entries.len() >= UNFIT_MAX && !entries.contains_key(&key) {
            return;
        }
        let told = entries.get(&key).is_some_and(|e| e.told && e.unfit.reason == unfit.reason);
        entries.insert(key, Entry { unfit, told });
        self.count.store(entries.len(), Ordering::Release);
        drop(entries);
        self.added.notify_one();
    }

    pub fn remove(&self, key: &Key) {
        // Called for every object of every watch: there is hardly ever anything to remove.
        if self.is_empty() {
            return;
        }
        let mut entries = self.lock();
        entries.remove(key);
        self.count.store(entries.len(), Ordering::Release);
    }

    /// A complete list is in: objects that it is about and that are not in it are no more.
    pub fn listed(&self, subject: Subject, seen: &FxHashSet<Key>) {
        if self.is_empty() {
            return;
        }
        let mut entries = self.lock();
        entries.retain(|key, _| key.subject() != subject || seen.contains(key));
        self.count.store(entries.len(), Ordering::Release);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether the object is one of them, as far as they are remembered.
    pub fn contains(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Returns when an object was added since the last call.
    pub async fn changed(&self) {
        self.added.notified().await;
    }

    /// Waiting pods of ours whose owners have not been informed yet, with their scheduler names. From now on they count as informed.
    pub fn take_untold(&self) -> Vec<(Unfit, String)> {
        let mut untold = Vec::new();
        for entry in self.lock().values_mut().filter(|e| !e.told) {
            if let Some(name) = &entry.unfit.scheduler_name {
                entry.told = true;
                untold.push((entry.unfit.clone(), name.to_string()));
            }
        }
        untold
    }

    /// All of them: kind, name, reason.
    pub fn list(&self) -> Vec<(&'static str, String, String)> {
        let entry = |e: &Entry| (e.unfit.api.kind, e.unfit.full_name(), e.unfit.reason.clone());
        self.lock().values().map(entry).collect()
    }
}
