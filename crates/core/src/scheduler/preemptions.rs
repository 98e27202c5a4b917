//! Preemptions in progress. All victims but the last are evicted at once, then the last one; meanwhile the preemptor is held back.

use super::Scheduler;
use crate::port::{Effect, EventType, PodEvent};
use crate::queue::Gates;
use secondmate_cycle::Profile;
use secondmate_framework::PostFilterOutcome;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;

struct Preemption {
    preemptor: Arc<Pod>,
    node: Atom,
    profile: Atom,
    /// The plugin that found the victims: the preemptor is held back in its name.
    plugin: Atom,
    /// Victims whose eviction is on the way.
    outstanding: BTreeMap<Uid, Arc<Pod>>,
    /// Evicted when the others are.
    last: Option<Arc<Pod>>,
    /// The last victim: once it is terminating the pod need not be held back any longer.
    last_uid: Uid,
    /// The last victim left before its eviction was answered.
    released: bool,
    /// An eviction failed: the last victim is spared, and the pod tries again.
    failed: bool,
}

/// Preemptions by preemptor.
#[derive(Default)]
pub(super) struct Preemptions {
    by_preemptor: BTreeMap<Uid, Preemption>,
}

impl Preemptions {
    pub(super) fn len(&self) -> usize {
        self.by_preemptor.len()
    }

    /// The preemptor is gone or placed: it need not be held back any longer.
    pub(super) fn forget_preemptor(&mut self, uid: &Uid) {
        self.by_preemptor.remove(uid);
    }
}

impl Gates for Preemptions {
    fn holds(&self, pod: &Uid) -> Option<Atom> {
        self.by_preemptor.get(pod).filter(|p| !p.released).map(|p| p.plugin.clone())
    }
}

impl Scheduler {
    /// Evicts the victims that PostFilter found on the node, in their order; there are some.
    pub(super) fn begin_preemption(
        &mut self,
        profile: &Profile,
        preemptor: &Arc<Pod>,
        node: &Atom,
        found: &PostFilterOutcome,
        now: Timestamp,
    ) {
        let plugin = found.plugin.clone().unwrap_or_default();
        let mut to_evict: Vec<Arc<Pod>> = Vec::new();
        for victim in found.victims.iter().filter(|v| !v.deleting) {
            if self.evict_in_memory(&victim.uid, &plugin, now) {
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
            plugin,
            outstanding: to_evict.iter().map(|v| (v.uid.clone(), Arc::clone(v))).collect(),
            last_uid: last.uid.clone(),
            last: Some(last),
            released: false,
            failed: false,
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
            preemption.outstanding.insert(victim.uid.clone(), Arc::clone(&victim));
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
        let Some(evicted) = preemption.outstanding.remove(victim) else { return };
        let (pod, node, profile) =
            (Arc::clone(&preemption.preemptor), preemption.node.clone(), preemption.profile.clone());
        match result {
            Ok(()) => self.preempted(&evicted, &pod, &node, &profile, ""),
            Err(_) => preemption.failed = true,
        }
        let Some(preemption) = self.preemptions.by_preemptor.get(preemptor) else { return };
        if !preemption.outstanding.is_empty() {
            return;
        }
        if preemption.failed {
            // What the pod waits for will not come.
            self.preemptions.by_preemptor.remove(preemptor);
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(preemptor, cx);
        } else if preemption.last.is_some() {
            self.evict_last(preemptor);
        } else {
            self.finish_preemption(preemptor, now);
        }
    }

    /// Every eviction is done. The preemptor waits for its victims to go; their deletion wakes it like any other pod. If the last one
    /// has gone already, no such event will come.
    fn finish_preemption(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(preemption) = self.preemptions.by_preemptor.remove(preemptor) else { return };
        let gone = self.cache.pod(&preemption.last_uid).is_none();
        let (queue, cx) = self.queue_at(now);
        queue.ungate(preemptor, gone, cx);
    }

    /// A pod is terminating or gone: preemptors whose last victim it was are no longer held back. Its deletion, which is announced
    /// next, wakes them.
    pub(super) fn victim_leaving(&mut self, victim: &Uid, now: Timestamp) {
        let waits = |p: &Preemption| p.last_uid == *victim && p.last.is_none() && !p.released;
        let preemptors: Vec<Uid> =
            self.preemptions.by_preemptor.iter().filter(|(_, p)| waits(p)).map(|(u, _)| u.clone()).collect();
        for preemptor in preemptors {
            if let Some(preemption) = self.preemptions.by_preemptor.get_mut(&preemptor) {
                preemption.released = true;
            }
            let (queue, cx) = self.queue_at(now);
            queue.ungate(&preemptor, false, cx);
        }
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
