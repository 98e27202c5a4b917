//! Preemptions that are under way: all victims but the last are evicted at once, then the last, and meanwhile the pod for
//! which room is made is held back.

use super::Scheduler;
use crate::port::{Effect, EventType, PodEvent};
use crate::profile::Profile;
use crate::queue::Gates;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Name under which the pod is held back, as upstream.
const PLUGIN: &str = "DefaultPreemption";

struct Preemption {
    preemptor: Arc<Pod>,
    node: Atom,
    profile: Atom,
    /// Evictions on the way.
    outstanding: BTreeSet<Uid>,
    /// Evicted when the others are.
    last: Option<Arc<Pod>>,
    /// The last victim: once it is terminating the pod need not be held back any longer.
    last_uid: Uid,
}

/// Preemptions by the pod for which room is made.
#[derive(Default)]
pub(super) struct Preemptions {
    by_preemptor: BTreeMap<Uid, Preemption>,
}

impl Preemptions {
    pub(super) fn len(&self) -> usize {
        self.by_preemptor.len()
    }

    /// The pod is gone or placed: nothing needs to be held back for it.
    pub(super) fn forget_preemptor(&mut self, uid: &Uid) {
        self.by_preemptor.remove(uid);
    }
}

impl Gates for Preemptions {
    fn holds(&self, pod: &Uid) -> Option<Atom> {
        self.by_preemptor.contains_key(pod).then(|| Atom::new(PLUGIN))
    }
}

impl Scheduler {
    /// Evicts the victims, in their order. `victims` is not empty.
    pub(super) fn begin_preemption(
        &mut self,
        profile: &Profile,
        preemptor: &Arc<Pod>,
        node: &Atom,
        victims: &[Arc<Pod>],
        now: Timestamp,
    ) {
        let mut to_evict: Vec<Arc<Pod>> = Vec::new();
        for victim in victims.iter().filter(|v| !v.deleting) {
            if self.evict_in_memory(&victim.uid, &Atom::new(PLUGIN), now) {
                self.preempted(victim, preemptor, node, profile.name(), " (in kube-scheduler memory).");
            } else {
                to_evict.push(Arc::clone(victim));
            }
        }
        let Some(last) = to_evict.pop() else { return };
        let preemption = Preemption {
            preemptor: Arc::clone(preemptor),
            node: node.clone(),
            profile: profile.name().clone(),
            outstanding: to_evict.iter().map(|v| v.uid.clone()).collect(),
            last_uid: last.uid.clone(),
            last: Some(last),
        };
        self.preemptions.by_preemptor.insert(preemptor.uid.clone(), preemption);
        for victim in to_evict {
            let (preemptor, profile) = (Arc::clone(preemptor), profile.name().clone());
            self.effects.push(Effect::Evict { victim, preemptor, profile });
        }
        self.evict_last(&preemptor.uid);
    }

    fn evict_last(&mut self, preemptor: &Uid) {
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return };
        if preemption.outstanding.is_empty()
            && let Some(victim) = preemption.last.take()
        {
            preemption.outstanding.insert(victim.uid.clone());
            let (preemptor, profile) = (Arc::clone(&preemption.preemptor), preemption.profile.clone());
            self.effects.push(Effect::Evict { victim, preemptor, profile });
        }
    }

    /// An eviction succeeded or failed.
    pub(super) fn evict_finished(
        &mut self,
        preemptor: &Uid,
        victim: &Uid,
        result: &Result<(), String>,
        now: Timestamp,
    ) {
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return };
        if !preemption.outstanding.remove(victim) {
            return;
        }
        let (pod, node, profile) =
            (Arc::clone(&preemption.preemptor), preemption.node.clone(), preemption.profile.clone());
        if result.is_err() {
            // The pod has to try again: what it waits for will not come.
            self.preemptions.by_preemptor.remove(preemptor);
            self.queue.force_activate(preemptor, now, &self.profiles, &self.preemptions);
            return;
        }
        if let Some(victim) = self.cache.pod(victim).cloned() {
            self.preempted(&victim, &pod, &node, &profile, "");
        }
        self.evict_last(preemptor);
        if self.preemptions.by_preemptor.get(preemptor).is_some_and(|p| p.outstanding.is_empty()) {
            self.release(preemptor, now);
        }
    }

    /// A pod is terminating or gone: where it was the last victim, the pod that waits for it is let go.
    pub(super) fn victim_leaving(&mut self, victim: &Uid, now: Timestamp) {
        let is_last = |p: &Preemption| p.last_uid == *victim && p.last.is_none();
        let waiting = self.preemptions.by_preemptor.iter().find(|(_, p)| is_last(p));
        if let Some((preemptor, _)) = waiting {
            let preemptor = preemptor.clone();
            self.release(&preemptor, now);
        }
    }

    fn release(&mut self, preemptor: &Uid, now: Timestamp) {
        self.preemptions.by_preemptor.remove(preemptor);
        self.queue.ungate(preemptor, now, &self.profiles, &self.preemptions);
    }

    fn preempted(
        &mut self,
        victim: &Arc<Pod>,
        preemptor: &Arc<Pod>,
        node: &Atom,
        profile: &Atom,
        suffix: &str,
    ) {
        self.effects.push(Effect::Event(PodEvent {
            regarding: Arc::clone(victim),
            related: Some(Arc::clone(preemptor)),
            kind: EventType::Normal,
            reason: "Preempted",
            action: "Preempting",
            note: format!("Preempted by pod {} on node {node}{suffix}", preemptor.uid),
            profile: profile.clone(),
        }));
    }
}
