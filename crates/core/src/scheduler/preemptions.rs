//! Preemptions in progress. All victims but the last are evicted at once, then the last one; meanwhile the preemptor is held
//! back. A pod whose earlier evictions were in vain has to wait first: see [`super::loops`].

use super::Scheduler;
use super::loops::{Cause, Delayed};
use crate::changes;
use crate::port::{Effect, EventType, EvictError, Evicted, Observation, PodEvent};
use crate::queue::Gates;
use secondmate_cycle::Profile;
use secondmate_framework::{Nomination, PostFilterOutcome};
use secondmate_model::objects::ObjectName;
use secondmate_model::{Atom, Pod, Timestamp, Uid, duration};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Preemption {
    preemptor: Arc<Pod>,
    node: Atom,
    profile: Atom,
    began: Timestamp,
    /// The plugin that found the victims; the preemptor is held back in its name.
    plugin: Atom,
    /// Victims whose eviction is in progress.
    outstanding: BTreeSet<Uid>,
    /// Evicted once the others have been.
    last: Option<Arc<Pod>>,
    /// The last victim: once it is terminating, the pod need not be held back any longer.
    last_victim: Arc<Pod>,
    /// The last victim left before its eviction was answered.
    released: bool,
    /// An eviction failed: the last victim is spared, and the pod is retried.
    failed: bool,
    /// The PodDisruptionBudgets that it overdraws, as of when it was chosen.
    overdraws: BTreeSet<ObjectName>,
}

/// An eviction, as its event reports it.
struct Eviction {
    victim: Arc<Pod>,
    preemptor: Arc<Pod>,
    node: Atom,
    profile: Atom,
}

/// Preemptions by preemptor.
#[derive(Default)]
pub(super) struct Preemptions {
    by_preemptor: BTreeMap<Uid, Preemption>,
    /// Evictions in progress, by victim. They are carried out, and reported, even if their preemption has ended.
    on_the_way: BTreeMap<Uid, Vec<Eviction>>,
    /// The last victim of each pod that is no longer held back, until that victim is gone.
    awaited: BTreeMap<Uid, Uid>,
    /// The same, with the victim first.
    awaiting: BTreeSet<(Uid, Uid)>,
}

impl Preemption {
    /// Whether this preemption evicts the pod, now or later.
    fn evicts(&self, victim: &Uid) -> bool {
        self.outstanding.contains(victim) || self.last.as_ref().is_some_and(|last| last.uid == *victim)
    }
}

impl Preemptions {
    pub(super) fn len(&self) -> usize {
        self.by_preemptor.len()
    }

    /// Whether the pod is being evicted, or will be.
    fn evicts(&self, victim: &Uid) -> bool {
        self.on_the_way.contains_key(victim) || self.by_preemptor.values().any(|p| p.evicts(victim))
    }

    /// The pod is to be retried when this victim is gone.
    fn await_last(&mut self, preemptor: &Uid, victim: &Uid) {
        self.await_none(preemptor);
        self.awaited.insert(preemptor.clone(), victim.clone());
        self.awaiting.insert((victim.clone(), preemptor.clone()));
    }

    fn await_none(&mut self, preemptor: &Uid) {
        if let Some(victim) = self.awaited.remove(preemptor) {
            self.awaiting.remove(&(victim, preemptor.clone()));
        }
    }

    /// The pods whose last victim this was.
    fn take_awaiting(&mut self, victim: &Uid) -> Vec<Uid> {
        let from = (victim.clone(), Uid::from(""));
        let of_victim = self.awaiting.range(from..).take_while(|(of, _)| of == victim);
        let preemptors: Vec<Uid> = of_victim.map(|(_, preemptor)| preemptor.clone()).collect();
        preemptors.iter().for_each(|preemptor| self.await_none(preemptor));
        preemptors
    }

    /// An eviction was answered: it is no longer in progress.
    fn answered(&mut self, preemptor: &Uid, victim: &Uid) -> Option<Eviction> {
        let evictions = self.on_the_way.get_mut(victim)?;
        let at = evictions.iter().position(|eviction| eviction.preemptor.uid == *preemptor)?;
        let answered = evictions.remove(at);
        if evictions.is_empty() {
            self.on_the_way.remove(victim);
        }
        Some(answered)
    }
}

impl Gates for Preemptions {
    fn holds(&self, pod: &Uid) -> Option<Atom> {
        self.by_preemptor.get(pod).filter(|p| !p.released).map(|p| p.plugin.clone())
    }
}

impl Scheduler {
    /// Puts off the preemption that was found if it must not be carried out yet: no pod is evicted and no node promised, and the
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
        let Some(why) = self.must_wait(pod, &found.victims, now) else { return };
        // What was found is at the end of the message.
        message.truncate(message.len() - found.found.len());
        message.push_str(&why);
        *found = PostFilterOutcome {
            nomination: Some(Nomination::Clear),
            ..PostFilterOutcome::from(found.status.clone())
        };
    }

    /// Why no pod may be evicted for this one now, if that is so; the pod is then retried when it is possible.
    fn must_wait(&mut self, pod: &Arc<Pod>, victims: &[Arc<Pod>], now: Timestamp) -> Option<String> {
        let node = victims.iter().find_map(|victim| victim.node_name.as_ref());
        let delayed = node.and_then(|node| self.loops.delays(pod, node, now));
        let delayed = delayed.filter(|_| self.config.break_preemption_loops);
        if let Some(delayed) = delayed {
            if delayed.is_news {
                self.tell_of_delay(pod, &delayed);
            }
            self.postponed.insert(&pod.uid, delayed.until);
            let (taken, wait) = (room_taken(&delayed), duration::format(delayed.delay));
            return Some(format!(
                "preemption: {taken}: no pod is evicted again for {wait} after the last time"
            ));
        }
        let leaving: Vec<_> = victims.iter().filter(|victim| !victim.deleting).cloned().collect();
        let budget = self.budgets.overdrawn_by(self.snapshot.objects(), &leaving)?;
        let why = format!(
            "preemption: pods that PodDisruptionBudget {budget} protects are being evicted: no other is before its status shows them"
        );
        if !self.postponed.waits_for_budget(&pod.uid) {
            self.effects.push(Effect::Observed(Observation::PreemptionPutOff { reason: "budget" }));
        }
        let until = self.budgets.next().unwrap_or(now);
        self.postponed.insert_for_budget(&pod.uid, until);
        Some(why)
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

    /// Retries pods whose preemption was put off until now.
    pub(super) fn tick_postponed(&mut self, now: Timestamp) {
        let has_yet_to_leave = |victim: &Uid| {
            self.preemptions.evicts(victim) && self.cache.pod(victim).is_some_and(|pod| !pod.deleting)
        };
        let settled = self.budgets.tick(self.snapshot.objects_mut(), has_yet_to_leave, now);
        self.budgets_settled(settled, now);
        while let Some(pod) = self.postponed.take_due(now) {
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(&pod, cx);
        }
    }

    /// A pod is bound: it will not preempt again, unless the kubelet rejects it and another pod follows it.
    pub(super) fn bound_after_preempting(&mut self, pod: &Pod, now: Timestamp) {
        self.loops.bound(pod, pod.node_name.as_ref(), now);
        self.preempts_no_more(&pod.uid, now);
    }

    /// A pod is placed, gone or being deleted: it will not preempt again.
    pub(super) fn preempts_no_more(&mut self, uid: &Uid, now: Timestamp) {
        self.loops.gone(uid);
        self.postponed.remove(uid);
        self.preemptions.await_none(uid);
        self.give_up(uid, now);
    }

    /// Ends a preemption; the last victim is spared if its turn has not come.
    fn give_up(&mut self, preemptor: &Uid, now: Timestamp) {
        let last = self.end(preemptor, now).and_then(|preemption| preemption.last);
        if let Some(last) = last {
            self.spared(&last.uid, now);
        }
    }

    /// Removes a preemption that is over, and reports it.
    fn end(&mut self, preemptor: &Uid, now: Timestamp) -> Option<Preemption> {
        let preemption = self.preemptions.by_preemptor.remove(preemptor)?;
        let succeeded = preemption.last.is_none() && !preemption.failed;
        let took = now.since(preemption.began);
        self.effects.push(Effect::Observed(Observation::PreemptionCarriedOut { took, succeeded }));
        Some(preemption)
    }

    /// A preemption does not evict its victim after all; another one may.
    fn spared(&mut self, victim: &Uid, now: Timestamp) {
        if self.preemptions.evicts(victim) {
            return;
        }
        let settled = self.budgets.spared(self.snapshot.objects_mut(), victim);
        self.budgets_settled(settled, now);
    }

    /// An open question about a budget is settled: retries pods whose preemption waits for that.
    pub(super) fn budgets_settled(&mut self, settled: bool, now: Timestamp) {
        if settled {
            for pod in self.postponed.take_for_budgets() {
                let (queue, cx) = self.queue_at(now);
                queue.force_activate(&pod, cx);
            }
        }
    }

    /// Evicts the victims that PostFilter found on the node, in order; there is at least one.
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
            self.budgets.charge(self.snapshot.objects_mut(), &victims, now);
        }
        let overdraws =
            victims.iter().flat_map(|victim| self.budgets.overdrawn_for(&victim.uid)).cloned().collect();
        let Some(last) = victims.pop() else { return };
        let preemption = Preemption {
            preemptor: Arc::clone(preemptor),
            node: node.clone(),
            profile: profile.name().clone(),
            began: now,
            plugin: found.plugin.clone().unwrap_or_default(),
            outstanding: BTreeSet::new(),
            last_victim: Arc::clone(&last),
            last: Some(last),
            released: false,
            failed: false,
            overdraws,
        };
        self.preemptions.by_preemptor.insert(preemptor.uid.clone(), preemption);
        for victim in &victims {
            self.evict(&preemptor.uid, victim, now);
        }
        self.evict_last(&preemptor.uid, now);
    }

    /// Stops a victim in memory if it is still being bound, and has any other evicted; returns whether it was stopped.
    fn evict(&mut self, preemptor: &Uid, victim: &Arc<Pod>, now: Timestamp) -> bool {
        let Some(plugin) = self.preemptions.by_preemptor.get(preemptor).map(|p| p.plugin.clone()) else {
            return false;
        };
        let in_memory = self.evict_in_memory(&victim.uid, &plugin, now);
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return in_memory };
        let eviction = Eviction {
            victim: Arc::clone(victim),
            preemptor: Arc::clone(&preemption.preemptor),
            node: preemption.node.clone(),
            profile: preemption.profile.clone(),
        };
        if in_memory {
            self.preempted(eviction, " (in kube-scheduler memory).");
            self.spared(&victim.uid, now);
        } else {
            preemption.outstanding.insert(victim.uid.clone());
            self.effects.push(Effect::Evict {
                victim: Arc::clone(victim),
                preemptor: Arc::clone(&eviction.preemptor),
                profile: eviction.profile.clone(),
            });
            self.preemptions.on_the_way.entry(victim.uid.clone()).or_default().push(eviction);
        }
        in_memory
    }

    /// The last victim's turn comes when the others have been evicted. It is spared, and the preemptor retried, if others have
    /// used up its budget meanwhile. If it is stopped in memory, no further event will come, so the preemptor is retried at once.
    /// If it has left its node by then, because it is gone or its binding failed, it is not in the way any more: wherever it is
    /// now, it stays there.
    fn evict_last(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor) else { return };
        if !preemption.outstanding.is_empty() {
            return;
        }
        let Some(last) = preemption.last.clone() else { return };
        let Some(there) = self.cache.pod(&last.uid).filter(|pod| pod.node_name == last.node_name) else {
            preemption.last = None;
            self.spared(&last.uid, now);
            self.finish_preemption(preemptor, now);
            return;
        };
        if !there.deleting {
            self.budgets.charge(self.snapshot.objects_mut(), std::slice::from_ref(&last), now);
        }
        if self.budgets.overdrawn_for(&last.uid).any(|budget| !preemption.overdraws.contains(budget)) {
            self.give_up(preemptor, now);
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(preemptor, cx);
            return;
        }
        preemption.last = None;
        if self.evict(preemptor, &last, now) {
            self.end(preemptor, now);
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(preemptor, cx);
        }
    }

    /// An eviction succeeded or failed.
    pub(super) fn evict_finished(
        &mut self,
        preemptor: &Uid,
        victim: &Uid,
        result: &Result<Evicted, EvictError>,
        now: Timestamp,
    ) {
        let Some(eviction) = self.preemptions.answered(preemptor, victim) else { return };
        let preemption = self.preemptions.by_preemptor.get_mut(preemptor);
        let was_awaited = preemption.is_some_and(|preemption| preemption.outstanding.remove(victim));
        match result {
            // Without an answer, only the status of its budgets will tell whether it leaves.
            Ok(_) | Err(EvictError::Unknown(_)) => self.budgets.leaves(victim, now),
            Err(EvictError::NotDone(_)) => self.spared(victim, now),
        }
        if matches!(result, Ok(Evicted::Deleted)) {
            self.preempted(eviction, "");
        }
        let Some(preemption) = self.preemptions.by_preemptor.get_mut(preemptor).filter(|_| was_awaited)
        else {
            return;
        };
        preemption.failed |= result.is_err();
        if !preemption.outstanding.is_empty() {
            return;
        }
        if preemption.failed {
            // What the pod waits for will not come.
            self.give_up(preemptor, now);
            let (queue, cx) = self.queue_at(now);
            queue.force_activate(preemptor, cx);
        } else if preemption.last.is_some() {
            self.evict_last(preemptor, now);
        } else {
            self.finish_preemption(preemptor, now);
        }
    }

    /// Every eviction is done. The preemptor waits for its victims to go; their deletion wakes it like any other pod. If the last
    /// one has already left its node, no such event will come, so the pod is tried again whether it was held back or only waits.
    fn finish_preemption(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(preemption) = self.end(preemptor, now) else { return };
        let last = &preemption.last_victim;
        let gone = self.cache.pod(&last.uid).is_none_or(|pod| pod.node_name != last.node_name);
        if !gone {
            self.preemptions.await_last(preemptor, &last.uid);
        }
        let (queue, cx) = self.queue_at(now);
        queue.ungate(preemptor, gone, cx);
        // Otherwise its deletion has woken the preemptor already.
        if gone && !preemption.released {
            queue.wake(preemptor, changes::ASSIGNED_POD_DELETE.label, cx);
        }
    }

    /// A pod is terminating or gone: preemptors whose last victim it was are no longer held back. Its deletion, which is
    /// announced next, wakes them.
    pub(super) fn victim_leaving(&mut self, victim: &Uid, now: Timestamp) {
        self.budgets.leaves(victim, now);
        let waits = |p: &Preemption| p.last_victim.uid == *victim && p.last.is_none() && !p.released;
        let preemptors: Vec<Uid> =
            self.preemptions.by_preemptor.iter().filter(|(_, p)| waits(p)).map(|(u, _)| u.clone()).collect();
        for preemptor in preemptors {
            if let Some(preemption) = self.preemptions.by_preemptor.get_mut(&preemptor) {
                preemption.released = true;
            }
            self.preemptions.await_last(&preemptor, victim);
            let (queue, cx) = self.queue_at(now);
            queue.ungate(&preemptor, false, cx);
        }
    }

    /// A pod is gone, and that was announced. Preemptors whose last victim it was are retried, regardless of the hints of the
    /// plugins that had rejected them: the deletions to which those would have answered
    /// [`Hint::Queue`](secondmate_framework::Hint::Queue) may have come while the pod was held back. kube-scheduler forgets
    /// these, so such a pod waits until the next flush.
    pub(super) fn last_victim_gone(&mut self, victim: &Uid, now: Timestamp) {
        for preemptor in self.preemptions.take_awaiting(victim) {
            let (queue, cx) = self.queue_at(now);
            queue.wake(&preemptor, changes::ASSIGNED_POD_DELETE.label, cx);
        }
    }

    /// A pod was evicted: an event on it says so.
    fn preempted(&mut self, eviction: Eviction, suffix: &str) {
        let Eviction { victim, preemptor, node, profile } = eviction;
        self.effects.push(Effect::Event(PodEvent {
            regarding: victim,
            note: format!("Preempted by pod {} on node {node}{suffix}", preemptor.uid),
            related: Some(preemptor),
            kind: EventType::Normal,
            reason: "Preempted".into(),
            action: "Preempting".into(),
            profile,
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
