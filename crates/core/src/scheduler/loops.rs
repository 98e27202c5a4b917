//! The loop breaker: after evictions that were in vain, the next ones are delayed more and more.
//!
//! Two schedulers can evict pods endlessly: one makes room for its pod, the victim's controller creates a replacement, and the
//! other scheduler puts that into the room before the pod for which it was made is bound. So for each pod that preempted, it is
//! remembered on which node and which victims, and what has come to that node since. A pod whose room was taken in this way may
//! preempt again only [`FIRST_DELAY`] after the last time; the delay doubles with each consecutive time, up to [`LONGEST_DELAY`].
//! A first preemption is never delayed, nor is one after which nothing came to the node.
//!
//! If the pod preempts on the same node again before its room was lost, because an eviction failed or the room was not enough,
//! the earlier victims still count: their replacements take the room as well.
//!
//! The room can also be lost after the pod was bound: the kubelet rejects it, and its controller creates another one. So the
//! history of a bound pod is kept for [`REJECTED_WITHIN`]. If the node's kubelet rejects the pod for lack of room, the history
//! becomes a lost one: the next pod of the same controller that would preempt on the node within [`FOLLOWED_WITHIN`] claims it
//! and waits as if it were its own. Of several, it claims the one that makes it wait longest. A claimed history ends when the pod
//! preempts there, or is placed and not rejected; if the pod is gone or would preempt elsewhere, another pod can claim it. The
//! watches are not ordered relative to each other: who took the room may be shown only after the rejection, and the next pod may
//! preempt before either.
//!
//! A history ends when its pod is gone, or bound and not rejected. So there are never more of them than pending pods, plus
//! [`BOUND_MAX`] that are bound and [`LOST_MAX`] that were rejected, each with the victims of its last preemption and at most
//! [`BEFORE_MAX`] earlier ones; beyond that the oldest are forgotten.

use crate::touched::Touched;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a pod has to wait after a preemption that was in vain, the first time.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(10);
/// Maximum delay.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of earlier victims that are remembered for a pod: more than a node has pods.
const BEFORE_MAX: usize = 256;
/// If a kubelet rejects a pod, it does so within this time after the binding.
const REJECTED_WITHIN: Duration = Duration::from_secs(60);
/// Maximum number of pods that were recently bound after a preemption: more than can be bound in that time.
const BOUND_MAX: usize = 10_000;
/// Maximum number of rejected pods that no other pod of their controller has followed yet.
const LOST_MAX: usize = 1_000;
/// For this long, the next pod counts as their successor.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// How the room was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Pods like the victims are on the node again.
    VictimsCameBack,
    /// Another scheduler put a pod there.
    RoomTaken,
}

/// The pod that took the room.
#[derive(Clone, Debug)]
struct Taker {
    /// As `namespace/name`.
    name: String,
    scheduler: Atom,
    cause: Cause,
}

/// The last preemption of a pod.
#[derive(Debug)]
struct History {
    at: Timestamp,
    node: Atom,
    victims: Vec<Arc<Pod>>,
    /// The first pod that came into the room.
    taker: Option<Taker>,
    /// Number of consecutive preemptions in vain before this one.
    before: u32,
    /// The pod for which this wait was last reported.
    told: Option<Uid>,
}

impl History {
    /// A pod came to the node.
    fn arrived(&mut self, pod: &Pod, foreign: bool) {
        // A victim that a late event or an old list shows once more was there all along.
        if self.victims.iter().any(|victim| victim.uid == pod.uid) {
            return;
        }
        let again = self.victims.iter().any(|victim| is_alike(victim, pod));
        if self.taker.is_some() || !(again || foreign) {
            return;
        }
        let cause = if again { Cause::VictimsCameBack } else { Cause::RoomTaken };
        let scheduler = pod.scheduler_name.clone();
        self.taker = Some(Taker { name: pod.full_name(), scheduler, cause });
    }

    /// Number of consecutive preemptions in vain, including this one if it was.
    fn in_vain(&self) -> u32 {
        self.before + u32::from(self.taker.is_some())
    }

    /// When the next preemption may follow, if this one was in vain; `before` is a number of preemptions in vain before it, used
    /// if it is greater than its own.
    fn wait(&self, before: u32) -> Option<Wait<'_>> {
        let taker = self.taker.as_ref()?;
        let in_vain = self.before.max(before) + 1;
        Some(Wait { history: self, taker, in_vain })
    }
}

/// What a pod has to wait for.
#[derive(Clone, Copy)]
struct Wait<'a> {
    history: &'a History,
    taker: &'a Taker,
    in_vain: u32,
}

impl<'a> Wait<'a> {
    /// Combines the pod's own preemption and the one it has claimed: on the same node they are consecutive, on different nodes
    /// each counts for itself.
    fn after(own: Option<&'a History>, claimed: Option<&'a History>) -> Option<Self> {
        match (own, claimed) {
            (Some(own), Some(claimed)) if own.node == claimed.node => {
                let (earlier, later) = in_order(own, claimed);
                later.wait(earlier.in_vain())
            }
            _ => {
                let waits = [own, claimed].map(|history| history.and_then(|history| history.wait(0)));
                waits.into_iter().flatten().max_by_key(|wait| wait.until())
            }
        }
    }

    fn until(&self) -> Timestamp {
        self.history.at + delay(self.in_vain)
    }
}

/// Two preemptions, the earlier one first.
fn in_order<'a>(own: &'a History, claimed: &'a History) -> (&'a History, &'a History) {
    if own.at < claimed.at { (own, claimed) } else { (claimed, own) }
}

/// Number of consecutive preemptions in vain.
fn in_vain(own: Option<&History>, claimed: Option<&History>) -> u32 {
    let row = Wait::after(own, claimed).map_or(0, |wait| wait.in_vain);
    [own, claimed].into_iter().flatten().map(History::in_vain).max().unwrap_or(0).max(row)
}

/// The preemption of a pod that a kubelet then rejected.
#[derive(Debug)]
struct Lost {
    controller: Uid,
    history: History,
    /// Until when another pod may claim it.
    until: Timestamp,
    /// The pod that has claimed it.
    claimed_by: Option<Uid>,
}

impl Lost {
    fn is_claimed_by(&self, pod: &Uid) -> bool {
        self.claimed_by.as_ref() == Some(pod)
    }
}

/// A pod that is bound and may yet be rejected.
#[derive(Debug)]
struct Bound {
    controller: Uid,
    /// Until when it may be rejected.
    until: Timestamp,
}

/// Why a pod may not preempt now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delayed {
    /// When it may preempt again.
    pub until: Timestamp,
    /// How long that is after the last preemption.
    pub delay: Duration,
    /// The node where room was made.
    pub node: Atom,
    /// The pod that took it, and its scheduler.
    pub taker: String,
    /// How many consecutive times.
    pub in_vain: u32,
    pub cause: Cause,
    /// Whether it has not been reported before.
    pub is_news: bool,
}

#[derive(Debug, Default)]
pub(super) struct Loops {
    by_preemptor: BTreeMap<Uid, History>,
    /// Pods that made room, by node.
    by_node: BTreeMap<Atom, BTreeSet<Uid>>,
    /// Pods that are bound.
    bound: BTreeMap<Uid, Bound>,
    /// The same pods in the order in which they were bound; entries that have left `bound` since remain here.
    bound_until: VecDeque<(Timestamp, Uid)>,
    /// Oldest first.
    lost: VecDeque<Lost>,
    pub touched: Touched,
}

impl Loops {
    /// Pods that are not bound yet and for which something is remembered.
    pub fn preemptors(&self) -> impl Iterator<Item = &Uid> {
        let claimed = self.lost.iter().filter_map(|lost| lost.claimed_by.as_ref());
        self.by_preemptor.keys().chain(claimed).filter(|pod| !self.bound.contains_key(*pod))
    }

    /// Whether something is remembered for the pod and it is not bound yet.
    pub fn remembers(&self, pod: &Uid) -> bool {
        (self.by_preemptor.contains_key(pod) || self.claimed(pod).is_some()) && !self.bound.contains_key(pod)
    }

    /// Victims of the pod are evicted from the node.
    pub fn preempted(&mut self, preemptor: &Uid, node: &Atom, mut victims: Vec<Arc<Pod>>, now: Timestamp) {
        self.touched.note(preemptor);
        self.bound.remove(preemptor);
        // Another pod can claim what this one has claimed elsewhere.
        self.give_back(preemptor, |claimed| claimed.node != *node);
        let claimed = self.take_claimed(preemptor);
        let before = self.forget(preemptor);
        let in_vain = in_vain(before.as_ref(), claimed.as_ref());
        if let Some(before) = before.filter(|before| before.taker.is_none() && before.node == *node) {
            let is_other = |victim: &Arc<Pod>| victims.iter().all(|other| other.uid != victim.uid);
            let others: Vec<_> = before.victims.into_iter().filter(is_other).take(BEFORE_MAX).collect();
            victims.extend(others);
        }
        let history =
            History { at: now, node: node.clone(), victims, taker: None, before: in_vain, told: None };
        self.by_node.entry(history.node.clone()).or_default().insert(preemptor.clone());
        self.by_preemptor.insert(preemptor.clone(), history);
    }

    /// Whether the last pods that were evicted for the pod were on this node, though it may have lost the room since.
    pub fn made_room_on(&self, node: &Atom, preemptor: &Uid) -> bool {
        self.by_preemptor.get(preemptor).is_some_and(|history| history.node == *node)
    }

    /// A pod came to the node; `foreign` means that another scheduler put it there.
    pub fn arrived(&mut self, pod: &Pod, node: &Atom, foreign: bool) {
        // The kubelet may have seen it before the watch shows it to us.
        for lost in self.lost.iter_mut().filter(|lost| lost.history.node == *node) {
            lost.history.arrived(pod, foreign);
        }
        let Some(preemptors) = self.by_node.get(node) else { return };
        for preemptor in preemptors.iter().filter(|preemptor| **preemptor != pod.uid) {
            if let Some(history) = self.by_preemptor.get_mut(preemptor) {
                history.arrived(pod, foreign);
            }
        }
    }

    /// The pod would preempt on this node: returns whether it has to wait.
    pub fn delays(&mut self, preemptor: &Pod, node: &Atom, now: Timestamp) -> Option<Delayed> {
        // It would preempt, so it is pending, whatever became of its binding.
        self.bound.remove(&preemptor.uid);
        self.claim(preemptor, node, now);
        let uid = &preemptor.uid;
        let own = self.by_preemptor.get(uid);
        let wait = Wait::after(own, self.claimed(uid).map(|lost| &lost.history))?;
        let until = wait.until();
        if until <= now {
            return None;
        }
        let delayed = Delayed {
            until,
            delay: delay(wait.in_vain),
            node: wait.history.node.clone(),
            taker: format!("{} of {}", wait.taker.name, wait.taker.scheduler),
            in_vain: wait.in_vain,
            cause: wait.taker.cause,
            is_news: wait.history.told.as_ref() != Some(uid),
        };
        let is_own = own.is_some_and(|own| std::ptr::eq(own, wait.history));
        let claimed = self.lost.iter_mut().find(|lost| lost.is_claimed_by(uid));
        let told =
            if is_own { self.by_preemptor.get_mut(uid) } else { claimed.map(|lost| &mut lost.history) };
        if let Some(history) = told {
            history.told = Some(uid.clone());
        }
        Some(delayed)
    }

    /// Of the lost histories of pods of the same controller on this node that no other pod has claimed, the pod claims the one
    /// that makes it wait longest.
    fn claim(&mut self, preemptor: &Pod, node: &Atom, now: Timestamp) {
        self.lost.retain(|lost| now < lost.until || lost.claimed_by.is_some());
        let uid = &preemptor.uid;
        let own = self.by_preemptor.get(uid);
        let is_for = |lost: &Lost| {
            let is_free = lost.claimed_by.is_none() || lost.is_claimed_by(uid);
            let controller = preemptor.controller.as_ref().map(|controller| &*controller.uid);
            // If no pod is known to have taken the room, it was not lost to a loop.
            is_free
                && controller == Some(lost.controller.as_str())
                && lost.history.node == *node
                && lost.history.taker.is_some()
        };
        let rank = |lost: &Lost| {
            let wait = Wait::after(own, Some(&lost.history));
            (wait.map(|wait| wait.until()), in_vain(own, Some(&lost.history)), lost.is_claimed_by(uid))
        };
        let found = self.lost.iter().enumerate().filter(|(_, lost)| is_for(lost));
        let best = found.max_by_key(|(_, lost)| rank(lost)).map(|(at, _)| at);
        for (at, lost) in self.lost.iter_mut().enumerate() {
            let is_claimed = lost.is_claimed_by(uid);
            if is_claimed != (best == Some(at)) {
                lost.claimed_by = (!is_claimed).then(|| uid.clone());
                self.touched.note(uid);
            }
        }
    }

    fn claimed(&self, pod: &Uid) -> Option<&Lost> {
        self.lost.iter().find(|lost| lost.is_claimed_by(pod))
    }

    /// Takes the history that the pod has claimed.
    fn take_claimed(&mut self, pod: &Uid) -> Option<History> {
        let at = self.lost.iter().position(|lost| lost.is_claimed_by(pod))?;
        self.lost.remove(at).map(|lost| lost.history)
    }

    /// Releases what the pod has claimed if `is_such` holds, so that another pod can claim it.
    fn give_back(&mut self, pod: &Uid, is_such: impl Fn(&History) -> bool) {
        for lost in self.lost.iter_mut().filter(|lost| lost.is_claimed_by(pod) && is_such(&lost.history)) {
            lost.claimed_by = None;
        }
    }

    /// The pod is bound, to this node if it is known. The kubelet may yet reject it.
    pub fn bound(&mut self, preemptor: &Pod, node: Option<&Atom>, now: Timestamp) {
        self.forget_bound(now);
        let uid = &preemptor.uid;
        let is_elsewhere = |history: &History| node.is_some_and(|node| *node != history.node);
        // On another node, it does not need the room that it made, or would have made.
        if self.by_preemptor.get(uid).is_some_and(is_elsewhere) || preemptor.controller.is_none() {
            self.forget(uid);
        }
        if self.claimed(uid).is_some_and(|lost| is_elsewhere(&lost.history)) {
            self.take_claimed(uid);
        }
        let is_remembered = self.by_preemptor.contains_key(uid) || self.claimed(uid).is_some();
        let Some(controller) = preemptor.controller.as_ref().filter(|_| is_remembered) else {
            self.bound.remove(uid);
            return;
        };
        if !self.bound.contains_key(uid) {
            self.touched.note(uid);
            let until = now + REJECTED_WITHIN;
            self.bound.insert(uid.clone(), Bound { controller: Uid::from(&*controller.uid), until });
            self.bound_until.push_back((until, uid.clone()));
        }
    }

    /// Forgets pods that no kubelet will reject any more, and the oldest ones if there are too many.
    fn forget_bound(&mut self, now: Timestamp) {
        while let Some((until, uid)) = self.bound_until.front().cloned()
            && (until <= now || self.bound_until.len() >= BOUND_MAX)
        {
            self.bound_until.pop_front();
            // It may have become pending again since, or been bound once more.
            if self.bound.get(&uid).is_some_and(|bound| bound.until == until) {
                self.bound.remove(&uid);
                self.forget(&uid);
                self.take_claimed(&uid);
            }
        }
    }

    /// A kubelet rejected the pod after it was bound, for lack of room.
    pub fn rejected(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(Bound { controller, .. }) = self.bound.remove(preemptor) else { return };
        let (own, claimed) = (self.forget(preemptor), self.take_claimed(preemptor));
        let Some(history) = joined(own, claimed) else { return };
        if self.lost.len() >= LOST_MAX {
            self.lost.pop_front();
        }
        self.lost.push_back(Lost { controller, history, until: now + FOLLOWED_WITHIN, claimed_by: None });
    }

    /// The pod is gone. Another pod of its controller can claim what it has claimed: this may have been the rejected pod itself,
    /// which an old list brought back for a moment.
    pub fn gone(&mut self, preemptor: &Uid) {
        if !self.bound.contains_key(preemptor) {
            self.forget(preemptor);
            self.give_back(preemptor, |_| true);
        }
    }

    fn forget(&mut self, preemptor: &Uid) -> Option<History> {
        let history = self.by_preemptor.remove(preemptor)?;
        if let Some(preemptors) = self.by_node.get_mut(&history.node) {
            preemptors.remove(preemptor);
            if preemptors.is_empty() {
                self.by_node.remove(&history.node);
            }
        }
        Some(history)
    }
}

/// Combines two consecutive preemptions: the later one, with the number that were in vain before.
fn joined(own: Option<History>, claimed: Option<History>) -> Option<History> {
    match (own, claimed) {
        (Some(own), Some(claimed)) => {
            let (earlier, later) = if own.at < claimed.at { (own, claimed) } else { (claimed, own) };
            Some(History { before: later.before.max(earlier.in_vain()), ..later })
        }
        (own, claimed) => own.or(claimed),
    }
}

/// How long after the last of `in_vain` consecutive preemptions in vain the next may follow.
fn delay(in_vain: u32) -> Duration {
    let factor = 1_u32.checked_shl(in_vain.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

/// Whether a pod is the victim's successor: of the same controller, or, if there is none, with the same name or with the same
/// labels and requests.
fn is_alike(victim: &Pod, pod: &Pod) -> bool {
    if victim.namespace != pod.namespace {
        return false;
    }
    match (&victim.controller, &pod.controller) {
        (Some(one), Some(other)) => one.uid == other.uid,
        (None, None) => {
            let looks_alike = || {
                !victim.labels.is_empty() && victim.labels == pod.labels && victim.requests == pod.requests
            };
            victim.name == pod.name || looks_alike()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
