//! The loop breaker: evictions that were in vain are repeated only after a growing delay.
//!
//! Two schedulers can evict without end: one makes room for its pod, the controller of the victim makes a new one, and the other
//! scheduler puts that into the room before the pod for which it was made is bound. So of each pod that preempted it is remembered
//! where and whom, and what came to that node since. A pod whose room was taken so may preempt again only [`FIRST_DELAY`] after the last
//! time; the delay doubles with each time in a row, up to [`LONGEST_DELAY`]. A first preemption is never delayed, nor one after which
//! nothing came to the node.
//!
//! Where the pod preempts on the same node again before its room was lost, since an eviction failed or the room was not enough, the victims
//! of before still count: what comes in their place takes the room as well.
//!
//! The room can also be lost after the pod was bound: the kubelet rejects it, and its controller makes another one. So the history of a
//! pod that is bound is kept for [`REJECTED_WITHIN`], and where the node's kubelet rejects the pod for want of room, it goes over to the next pod
//! of the same controller that would preempt on the node within [`FOLLOWED_WITHIN`]. The watches are not ordered against each other: who took the
//! room may be told after the rejection, and the next pod may preempt before either.
//!
//! A history ends when its pod is gone, or bound and not rejected; one that was inherited goes to the next pod
//! where this one is gone or would preempt elsewhere. So there are never more than pending pods, with [`BOUND_MAX`] that are bound
//! and [`LOST_MAX`] that were rejected, each with the victims of its last preemption and at most [`BEFORE_MAX`] of those before it; older ones
//! are forgotten.

use crate::touched::Touched;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long after a preemption that was in vain its pod may preempt again, at first.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(10);
/// The delay grows no further.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Victims of earlier preemptions that are remembered for a pod: more than a node has pods.
const BEFORE_MAX: usize = 256;
/// A kubelet rejects a pod so soon after it was bound, if at all.
const REJECTED_WITHIN: Duration = Duration::from_secs(60);
/// Pods that were bound lately after a preemption: more than are bound in that time.
const BOUND_MAX: usize = 10_000;
/// Pods that were rejected and that no other pod of their controller has followed yet.
const LOST_MAX: usize = 1_000;
/// For so long the next one counts as their successor.
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
    /// The pod that was first to come into the room.
    taker: Option<Taker>,
    /// Preemptions in a row that were in vain, as far as that was noticed.
    in_vain: u32,
    /// This one was noticed to be in vain.
    noticed: bool,
    /// Whose preemption it was.
    of: Origin,
}

/// Whose preemption a pod's history tells of. Of several pods that have lost something each leaves it to one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The pod's own.
    Own,
    /// Its own, and it goes on counting from where another one ended.
    Merged,
    /// That of another one, which a kubelet rejected. Where this one is gone without having preempted, the next one of the controller may
    /// inherit it until then.
    Inherited { controller: Uid, until: Timestamp },
}

impl History {
    /// A pod came to the node.
    fn arrived(&mut self, pod: &Pod, foreign: bool) {
        let again = self.victims.iter().any(|victim| is_alike(victim, pod));
        if self.taker.is_some() || !(again || foreign) {
            return;
        }
        let cause = if again { Cause::VictimsCameBack } else { Cause::RoomTaken };
        let scheduler = pod.scheduler_name.clone();
        self.taker = Some(Taker { name: pod.full_name(), scheduler, cause });
    }

    /// Preemptions in a row that were in vain, this one included.
    fn all_in_vain(&self) -> u32 {
        self.in_vain + u32::from(self.taker.is_some() && !self.noticed)
    }

    fn is_inherited(&self) -> bool {
        matches!(self.of, Origin::Inherited { .. })
    }

    /// When the next preemption may follow, and after how many in vain.
    fn waits_until(&self) -> (Timestamp, u32) {
        let in_vain = self.all_in_vain();
        (self.at + delay(in_vain), in_vain)
    }
}

/// A pod that is bound, and may be rejected.
#[derive(Debug)]
struct Bound {
    controller: Uid,
    /// No longer than this.
    until: Timestamp,
}

/// Why a pod may not preempt now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delayed {
    /// It may from then on.
    pub until: Timestamp,
    /// How long that is after the last preemption.
    pub delay: Duration,
    /// Where the room was made.
    pub node: Atom,
    /// Who took it, with its scheduler.
    pub taker: String,
    /// How often in a row.
    pub in_vain: u32,
    pub cause: Cause,
    /// It was not told before.
    pub is_news: bool,
}

#[derive(Debug, Default)]
pub(super) struct Loops {
    by_preemptor: BTreeMap<Uid, History>,
    /// Who made room on a node.
    by_node: BTreeMap<Atom, BTreeSet<Uid>>,
    /// Those that are bound.
    bound: BTreeMap<Uid, Bound>,
    /// The same in the order in which they were bound; what has left `bound` since is left in it.
    bound_until: VecDeque<(Timestamp, Uid)>,
    /// Of pods that a kubelet rejected, the controller, the history, and until when it waits for a successor; the oldest first.
    lost: VecDeque<(Uid, History, Timestamp)>,
    pub touched: Touched,
}

impl Loops {
    /// Pods that are not bound yet of which something is remembered.
    pub fn preemptors(&self) -> impl Iterator<Item = &Uid> {
        self.by_preemptor.keys().filter(|pod| !self.bound.contains_key(*pod))
    }

    /// Whether something is remembered of the pod, which is not bound yet.
    pub fn remembers(&self, pod: &Uid) -> bool {
        self.by_preemptor.contains_key(pod) && !self.bound.contains_key(pod)
    }

    /// Victims of the pod are evicted from the node.
    pub fn preempted(&mut self, preemptor: &Uid, node: &Atom, mut victims: Vec<Arc<Pod>>, now: Timestamp) {
        self.touched.note(preemptor);
        self.bound.remove(preemptor);
        let before = self.forget(preemptor);
        let in_vain = before.as_ref().map_or(0, |before| before.in_vain);
        if let Some(before) = before.filter(|before| before.taker.is_none() && before.node == *node) {
            let is_other = |victim: &Arc<Pod>| victims.iter().all(|other| other.uid != victim.uid);
            let others: Vec<_> = before.victims.into_iter().filter(is_other).take(BEFORE_MAX).collect();
            victims.extend(others);
        }
        let history = History {
            at: now,
            node: node.clone(),
            victims,
            taker: None,
            in_vain,
            noticed: false,
            of: Origin::Own,
        };
        self.by_node.entry(history.node.clone()).or_default().insert(preemptor.clone());
        self.by_preemptor.insert(preemptor.clone(), history);
    }

    /// A pod came to the node; `foreign`: another scheduler put it there.
    pub fn arrived(&mut self, pod: &Pod, node: &Atom, foreign: bool) {
        // The kubelet may have been told of it before the watch tells us.
        for (_, history, _) in self.lost.iter_mut().filter(|(_, history, _)| history.node == *node) {
            history.arrived(pod, foreign);
        }
        let Some(preemptors) = self.by_node.get(node) else { return };
        for preemptor in preemptors.iter().filter(|preemptor| **preemptor != pod.uid) {
            if let Some(history) = self.by_preemptor.get_mut(preemptor) {
                history.arrived(pod, foreign);
            }
        }
    }

    /// The pod would preempt on this node: whether it has to wait.
    pub fn delays(&mut self, preemptor: &Pod, node: &Atom, now: Timestamp) -> Option<Delayed> {
        // It would preempt, so it is pending, whatever became of its binding.
        self.bound.remove(&preemptor.uid);
        self.inherit(preemptor, node, now);
        let history = self.by_preemptor.get_mut(&preemptor.uid)?;
        let taker = history.taker.clone()?;
        if !history.noticed {
            history.in_vain += 1;
        }
        let is_news = !std::mem::replace(&mut history.noticed, true);
        let delay = delay(history.in_vain);
        let until = history.at + delay;
        (now < until).then(|| Delayed {
            until,
            delay,
            node: history.node.clone(),
            taker: format!("{} of {}", taker.name, taker.scheduler),
            in_vain: history.in_vain,
            cause: taker.cause,
            is_news,
        })
    }

    /// What a pod of the same controller has lost on this node is this one's history: of several that which makes it wait longest. One that has
    /// preempted there itself goes on counting from there, and from the later of the two preemptions.
    fn inherit(&mut self, preemptor: &Pod, node: &Atom, now: Timestamp) {
        while self.lost.pop_front_if(|(_, _, until)| *until <= now).is_some() {}
        let Some(controller) = &preemptor.controller else { return };
        let uid = &preemptor.uid;
        if self.by_preemptor.get(uid).is_some_and(|own| own.is_inherited() && own.node != *node) {
            // It would preempt elsewhere than where that was lost: whoever comes there next has it.
            self.gone(uid);
            self.touched.note(uid);
        }
        let own = self.by_preemptor.get_mut(uid);
        if self.lost.is_empty()
            || own.as_ref().is_some_and(|own| own.of == Origin::Merged || own.node != *node)
        {
            return;
        }
        let own_at = own.as_ref().filter(|own| own.of == Origin::Own).map(|own| own.at);
        let rank = |lost: &History| {
            let in_vain = lost.all_in_vain();
            (own_at.map_or(lost.at, |own_at| own_at.max(lost.at)) + delay(in_vain), in_vain)
        };
        let of_controller = self
            .lost
            .iter_mut()
            .enumerate()
            // Where nobody is known to have taken the room it was not lost to a loop.
            .filter(|(_, (_, history, _))| history.taker.is_some())
            .filter(|(_, (of, history, _))| of.as_str() == &*controller.uid && history.node == *node);
        let Some((at, (_, lost, until))) = of_controller.max_by_key(|(_, (_, lost, _))| rank(lost)) else {
            return;
        };
        let inherited = |until| Origin::Inherited { controller: Uid::from(&*controller.uid), until };
        match own {
            Some(own) if own.of == Origin::Own => {
                if own.at < lost.at {
                    std::mem::swap(own, lost);
                }
                (own.in_vain, own.of) = (own.in_vain.max(lost.all_in_vain()), Origin::Merged);
                self.lost.remove(at);
            }
            // Who took the room of that one was not known yet. The other is left to somebody else.
            Some(own) if own.waits_until() < lost.waits_until() => {
                std::mem::swap(own, lost);
                own.of = inherited(*until);
            }
            Some(_) => return,
            None => {
                let Some((_, history, until)) = self.lost.remove(at) else { return };
                self.by_node.entry(history.node.clone()).or_default().insert(preemptor.uid.clone());
                let history = History { of: inherited(until), ..history };
                self.by_preemptor.insert(preemptor.uid.clone(), history);
            }
        }
        self.touched.note(&preemptor.uid);
    }

    /// The pod is bound, to this node where that is known. The kubelet may reject it yet.
    pub fn bound(&mut self, preemptor: &Pod, node: Option<&Atom>, now: Timestamp) {
        self.forget_bound(now);
        let Some(history) = self.by_preemptor.get(&preemptor.uid) else { return };
        let is_there = node.is_none_or(|node| *node == history.node);
        let Some(controller) = preemptor.controller.as_ref().filter(|_| is_there) else {
            self.bound.remove(&preemptor.uid);
            self.forget(&preemptor.uid);
            return;
        };
        if self.remembers(&preemptor.uid) {
            self.touched.note(&preemptor.uid);
            let until = now + REJECTED_WITHIN;
            let bound = Bound { controller: Uid::from(&*controller.uid), until };
            self.bound.insert(preemptor.uid.clone(), bound);
            self.bound_until.push_back((until, preemptor.uid.clone()));
        }
    }

    /// Forgets those that no kubelet rejects any more, and the oldest where there are too many.
    fn forget_bound(&mut self, now: Timestamp) {
        while let Some((until, uid)) = self.bound_until.front().cloned()
            && (until <= now || self.bound_until.len() >= BOUND_MAX)
        {
            self.bound_until.pop_front();
            // It may be pending again since, or bound once more.
            if self.bound.get(&uid).is_some_and(|bound| bound.until == until) {
                self.bound.remove(&uid);
                self.forget(&uid);
            }
        }
    }

    /// A kubelet rejected the pod after it was bound, for want of room.
    pub fn rejected(&mut self, preemptor: &Uid, now: Timestamp) {
        let Some(Bound { controller, .. }) = self.bound.remove(preemptor) else { return };
        let Some(history) = self.forget(preemptor) else { return };
        self.leave(controller, history, now + FOLLOWED_WITHIN);
    }

    /// The pod is gone. What it inherited and did not use is left to another one of its controller: it may have been the rejected pod itself, which
    /// an old list brought back for a moment.
    pub fn gone(&mut self, preemptor: &Uid) {
        if !self.bound.contains_key(preemptor)
            && let Some(history) = self.forget(preemptor)
            && let Origin::Inherited { controller, until } = history.of.clone()
        {
            self.leave(controller, history, until);
        }
    }

    /// Who follows inherits this history until then.
    fn leave(&mut self, controller: Uid, history: History, until: Timestamp) {
        if self.lost.len() >= LOST_MAX {
            self.lost.pop_front();
        }
        let at = self.lost.partition_point(|(_, _, other)| *other <= until);
        self.lost.insert(at, (controller, history, until));
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

/// How long after the last of so many preemptions in vain the next may follow.
fn delay(in_vain: u32) -> Duration {
    let factor = 1_u32.checked_shl(in_vain.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

/// Whether a pod is the victim's successor: of the same controller, or, where there is none, of the same name or with the same labels
/// and requests.
fn is_alike(victim: &Pod, pod: &Pod) -> bool {
    if victim.namespace != pod.namespace || victim.uid == pod.uid {
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
