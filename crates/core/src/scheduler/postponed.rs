//! Pods whose preemption is put off, with the time at which they are tried again for it.
//! They are pending pods, so there are never more of them.

use secondmate_model::{Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Postponed {
    by_pod: BTreeMap<Uid, Timestamp>,
    by_time: BTreeSet<(Timestamp, Uid)>,
}

impl Postponed {
    pub fn pods(&self) -> impl Iterator<Item = &Uid> {
        self.by_pod.keys()
    }

    /// The pod is tried again at this time.
    pub fn insert(&mut self, pod: &Uid, until: Timestamp) {
        self.remove(pod);
        self.by_pod.insert(pod.clone(), until);
        self.by_time.insert((until, pod.clone()));
    }

    /// The pod need not be tried again for this.
    pub fn remove(&mut self, pod: &Uid) {
        if let Some(until) = self.by_pod.remove(pod) {
            self.by_time.remove(&(until, pod.clone()));
        }
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// Takes one that is due, the earliest first.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Uid> {
        let (until, pod) = self.by_time.first()?.clone();
        if until > now {
            return None;
        }
        self.remove(&pod);
        Some(pod)
    }
}
