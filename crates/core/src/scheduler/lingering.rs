//! Pods that the pending watch still shows although they have left the queue: they were bound, or seen on a node.
//!
//! The core relies on no order between the watches, so stale information about such a pod may arrive at any time, even after it
//! has run and finished. It must not bring the pod back; but a pod that was thought to be bound and is not must not be lost
//! either. An entry is removed when the pending watch says that the pod is gone, so there are never more entries than pods that
//! this watch shows.

use rustc_hash::FxHashMap;
use secondmate_model::{Pod, Uid};
use std::sync::Arc;

struct Entry {
    /// As last shown by the pending watch.
    pod: Arc<Pod>,
    /// Whether it was seen on a node, so that it is never queued again.
    seen: bool,
}

#[derive(Default)]
pub(super) struct Lingering {
    by_pod: FxHashMap<Uid, Entry>,
}

impl Lingering {
    /// A pod that the pending watch shows leaves the queue, or is kept out of it, because it is thought to be bound.
    pub fn insert(&mut self, pod: Arc<Pod>) {
        self.by_pod.entry(pod.uid.clone()).or_insert(Entry { pod, seen: false });
    }

    /// The pod was seen on a node.
    pub fn seen(&mut self, uid: &Uid) {
        if let Some(entry) = self.by_pod.get_mut(uid) {
            entry.seen = true;
        }
    }

    /// Whether the pod was seen on a node.
    pub fn was_seen(&self, uid: &Uid) -> bool {
        self.by_pod.get(uid).is_some_and(|entry| entry.seen)
    }

    /// The pending watch shows the pod; returns whether it lingers.
    pub fn update(&mut self, pod: &Arc<Pod>) -> bool {
        let Some(entry) = self.by_pod.get_mut(&pod.uid) else { return false };
        entry.pod = Arc::clone(pod);
        true
    }

    /// The pending watch no longer shows the pod.
    pub fn gone(&mut self, uid: &Uid) {
        self.by_pod.remove(uid);
    }

    /// The pod is not bound after all: returns it to be queued again, if the pending watch shows it and it was never seen on a
    /// node.
    pub fn take_unseen(&mut self, uid: &Uid) -> Option<Arc<Pod>> {
        if self.by_pod.get(uid)?.seen {
            return None;
        }
        self.by_pod.remove(uid).map(|entry| entry.pod)
    }
}
