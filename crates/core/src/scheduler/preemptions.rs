//! Preemptions in progress. All victims but the last are evicted at once, then the last one; meanwhile the preemptor is held back.
//! A pod whose earlier evictions were in vain is told to wait first: see [`super::loops`].

use super::Scheduler;
use super::loops::{Cause, Delayed};
use crate::port::{Effect, EventType, Observation, PodEvent};
use crate::queue::Gates;
use secondmate_cycle::Profile;
use secondmate_framework::{Nomination, PostFilterOutcome};
use secondmate_model::{Atom, Pod, Timestamp, Uid, duration};
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
}

impl Gates for Preemptions {
    fn holds(&self, pod: &Uid) -> Option<Atom> {
        self.by_preemptor.get(pod).filter(|p| !p.released).map(|p| p.plugin.clone())
    }
}

impl Scheduler {
    /// Puts the preemption that was found off where it must not be carried out yet: nobody is evicted and nothing promised, and the
    /// message says why.
    pub(super) fn put_off(
        &mut self,
        pod: &Arc<Pod>,
        found: &mut PostFilterOutcome,
        message: &mut String,
        now: Timestamp,
    ) {
        if found.victims.iter().all(|victim| victim.deleting) {
            return;
        }
        let Some(why) = self.must_wait(pod, now) else { return };
        // What was found is the end of the message.
        message.truncate(message.len() - found.found.len());
        message.push_str(&why);
        *found = PostFilterOutcome {
            nomination: Some(Nomination::Clear),
            ..PostFilterOutcome::from(found.status.clone())
        };
    }

    /// Why no pod may be evicted for this one now, if so; then it is tried again when one may be.
    fn must_wait(&mut self, pod: &Arc<Pod>, now: Timestamp) -> Option<String> {
        if !self.config.break_preemption_loops {
            return None;
        }
        let delayed = self.loops.delays(&pod.uid, now)?;
        if delayed.is_news {
            self.tell_of_delay(pod, &delayed);
        }
        self.postponed.insert(&pod.uid, delayed.until);
        let (taken, wait) = (room_taken(&delayed), duration::format(delayed.delay));
        Some(format!("preemption: {taken}: no pod is evicted again for {wait} after the last time"))
    }

    fn tell_of_delay(&mut self, pod: &Arc<Pod>, delayed: &Delayed) {
        let reason = match delayed.cause {
            Cause::VictimsCameBack => "victims_came_back",
            Cause::RoomTaken => "room_taken",
        };
        self.effects.push(Effect::Observed(Observation::PreemptionPutOff { reason }));
        let (taken, wait) = (room_taken(delayed), duration::format(delayed.delay));
        let note = format!("{taken}: no pod is evicted again for this one for {wait} after the last time");
        self.event(pod, EventType::Warning, "PreemptionPutOff", "Preempting", note);
    }

    /// Pods whose preemption was put off until now are tried again.
    pub(super) fn tick_postponed(&mut self, now: Timestamp) {
        while let Some(pod) = self.postponed.take_due(now) {
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(&pod, cx);
        }
    }

    /// A pod is placed or gone: it has preempted for the last time.
    pub(super) fn preempts_no_more(&mut self, uid: &Uid) {
        self.preemptions.by_preemptor.remove(uid);
        self.loops.ended(uid);
        self.postponed.remove(uid);
    }

    /// Evicts the victims that PostFilter found on the node, in their order; there are some.
    pub(super) fn begin_preemption(
        &mut self,
        profile: &Profile,
        preemptor: &Arc<Pod>,
        node: &Atom,
        found: &PostFilterOutcome,
        now: Timestamp,
    ) {
        let mut victims: Vec<Arc<Pod>> = found.victims.iter().filter(|v| !v.deleting).cloned().collect();
        self.postponed.remove(&preemptor.uid);
        if !victims.is_empty() {
            self.loops.preempted(&preemptor.uid, node, victims.clone(), now);
        }
        let Some(last) = victims.pop() else { return };
        let preemption = Preemption {
            preemptor: Arc::clone(preemptor),
            node: node.clone(),
            profile: profile.name().clone(),
            plugin: found.plugin.clone().unwrap_or_default(),
            outstanding: BTreeMap::new(),
            last_uid: last.uid.clone(),
            last: Some(last),
            released: false,
            failed: false,
        };
        self.preemptions.by_preemptor.insert(preemptor.uid.clone(), preemption);
        for victim in &victims {
            self.evict(&preemptor.uid, victim, now);
        }
        self.evict_last(&preemptor.uid, now);
    }

    /// Stops a victim that is still on its way in memory, and has any other evicted; says whether it was stopped.
    fn evict(&mut self, preemptor: &Uid, victim: &Arc<Pod>, now: Timestamp) -> bool {
        let Some(plugin) = self.preemptions.by_preemptor.get(preemptor).map(|p| p.plugin.clone()) else {
            return false;
        };
        let in_memory = self.evict_in_memory(&victim.uid, &plugin, now);
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return in_memory };
        let (pod, node, profile) =
            (Arc::clone(&preemption.preemptor), preemption.node.clone(), preemption.profile.clone());
        if in_memory {
            self.preempted(victim, &pod, &node, &profile, " (in kube-scheduler memory).");
        } else {
            preemption.outstanding.insert(victim.uid.clone(), Arc::clone(victim));
            self.effects.push(Effect::Evict { victim: Arc::clone(victim), preemptor: pod, profile });
        }
        in_memory
    }

    /// The last victim's turn comes when the others are evicted. Where it is stopped in memory nothing more will be heard of it, so
    /// the pod for which room is made is tried again at once.
    fn evict_last(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return };
        if preemption.outstanding.is_empty()
            && let Some(victim) = preemption.last.take()
            && self.evict(preemptor, &victim, now)
        {
            self.preemptions.by_preemptor.remove(preemptor);
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(preemptor, cx);
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
            self.evict_last(preemptor, now);
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
            reason: "Preempted".into(),
            action: "Preempting".into(),
            note: format!("Preempted by pod {} on node {node}{suffix}", preemptor.uid),
            profile: profile.clone(),
        }));
    }
}

/// Who took the room that evictions had made.
fn room_taken(delayed: &Delayed) -> String {
    let Delayed { node, taker, in_vain, .. } = delayed;
    let times = match in_vain {
        1 => String::new(),
        many => format!(", for the {} time in a row", ordinal(*many)),
    };
    match delayed.cause {
        Cause::VictimsCameBack => {
            format!("pods evicted from node {node} to make room came back ({taker}{times})")
        }
        Cause::RoomTaken => format!("the room made on node {node} was taken by {taker}{times}"),
    }
}

/// `2nd`, `3rd`, `11th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
