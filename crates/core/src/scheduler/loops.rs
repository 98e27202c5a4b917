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
//! A history ends when its pod is gone, or bound and not rejected. So there are never more than pending pods, with [`BOUND_MAX`] that are bound
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The pod's own.
    Own,
    /// Its own, and it goes on counting from where another one ended.
    Merged,
    /// That of another one, which a kubelet rejected.
    Inherited,
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

    /// What a pod of the same controller has lost on this node is this one's history: of several that which makes it wait longest. One that has a history there already, since it was quicker than the news of the rejection, goes on counting from there.
    fn inherit(&mut self, preemptor: &Pod, node: &Atom, now: Timestamp) {
        while self.lost.pop_front_if(|(_, _, until)| *until <= now).is_some() {}
        let Some(controller) = &preemptor.controller else { return };
        let own = self.by_preemptor.get_mut(&preemptor.uid);
        if self.lost.is_empty()
            || own.as_ref().is_some_and(|own| own.of == Origin::Merged || own.node != *node)
        {
            return;
        }
        let is_own = own.as_ref().is_some_and(|own| own.of == Origin::Own);
        let rank = |history: &History| {
            let (until, in_vain) = history.waits_until();
            if is_own { (Timestamp::default(), in_vain) } else { (until, in_vain) }
        };
        let of_controller = self
            .lost
            .iter_mut()
            .enumerate()
            // Where nobody is known to have taken the room it was not lost to a loop.
            .filter(|(_, (_, history, _))| history.taker.is_some())
            .filter(|(_, (of, history, _))| of.as_str() == &*controller.uid && history.node == *node);
        let Some((at, (_, lost, _))) = of_controller.max_by_key(|(_, (_, lost, _))| rank(lost)) else {
            return;
        };
        match own {
            Some(own) if is_own => {
                (own.in_vain, own.of) = (own.in_vain.max(lost.all_in_vain()), Origin::Merged);
                self.lost.remove(at);
            }
            // Who took the room of that one was not known yet. The other is left to somebody else.
            Some(own) if own.waits_until() < lost.waits_until() => {
                std::mem::swap(own, lost);
                own.of = Origin::Inherited;
            }
            Some(_) => return,
            None => {
                let Some((_, history, _)) = self.lost.remove(at) else { return };
                self.by_node.entry(history.node.clone()).or_default().insert(preemptor.uid.clone());
                let history = History { of: Origin::Inherited, ..history };
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
            return self.ended(&preemptor.uid);
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
        if self.lost.len() >= LOST_MAX {
            self.lost.pop_front();
        }
        self.lost.push_back((controller, history, now + FOLLOWED_WITHIN));
    }

    /// The pod is gone, or was bound without a preemption that counts.
    pub fn ended(&mut self, preemptor: &Uid) {
        if !self.bound.contains_key(preemptor) {
            self.forget(preemptor);
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
mod tests {
    use super::*;
    use secondmate_model::wire;
    use serde_json::json;

    fn pod(uid: &str, scheduler: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true}))
            .collect();
        let pod = json!({
            "metadata": {"name": uid, "namespace": "default", "uid": uid, "ownerReferences": owners},
            "spec": {"schedulerName": scheduler, "containers": []},
        });
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        Arc::new(Pod::new(&wire).expect("a pod that compiles"))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_delay_doubles_with_each_preemption_in_vain() {
        let (mut loops, p, n) = (Loops::default(), pod("p", "ours", None), Atom::new("n"));
        assert_eq!(loops.delays(&p, &n, at(0)), None, "a first preemption is never delayed");
        let mut now = 0;
        for (round, delay) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
            assert_eq!(loops.delays(&p, &n, at(now + 1)), None, "nobody took the room");
            loops.arrived(&pod("w", "ours", Some("rs")), &n, false);
            for is_news in [true, false] {
                let delayed = loops.delays(&p, &n, at(now + 1)).expect("the victim is back");
                assert_eq!(delayed.until, at(now + delay));
                assert_eq!(
                    (delayed.in_vain, delayed.cause, delayed.is_news),
                    (round, Cause::VictimsCameBack, is_news)
                );
            }
            now += delay;
            assert_eq!(loops.delays(&p, &n, at(now)), None);
        }
        assert_eq!(
            (delay(14), delay(15), delay(u32::MAX)),
            (Duration::from_secs(81_920), LONGEST_DELAY, LONGEST_DELAY)
        );
    }

    #[test]
    fn only_successors_of_the_victims_and_pods_of_other_schedulers_take_the_room() {
        let (p, n) = (pod("p", "ours", None), Atom::new("n"));
        for (arrival, node, foreign, cause) in [
            (pod("w", "ours", Some("rs")), "n", false, Some(Cause::VictimsCameBack)),
            (pod("w", "theirs", Some("rs")), "n", true, Some(Cause::VictimsCameBack)),
            (pod("w", "theirs", Some("other")), "n", true, Some(Cause::RoomTaken)),
            (pod("w", "ours", Some("other")), "n", false, None),
            (pod("w", "ours", None), "n", false, None),
            (pod("w", "theirs", Some("rs")), "elsewhere", true, None),
            (pod("p", "ours", Some("rs")), "n", false, None),
            (pod("v", "ours", Some("rs")), "n", false, None),
        ] {
            let mut loops = Loops::default();
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
            loops.arrived(&arrival, &Atom::new(node), foreign);
            assert_eq!(loops.delays(&p, &n, at(1)).map(|delayed| delayed.cause), cause, "{arrival:?}");
        }
    }

    #[test]
    fn nothing_is_left_of_a_pod_that_is_placed() {
        let mut loops = Loops::default();
        for node in ["a", "b"] {
            loops.preempted(&Uid::from("p"), &Atom::new(node), vec![pod("v", "theirs", None)], at(0));
        }
        assert_eq!((loops.preemptors().count(), loops.by_node.len()), (1, 1));
        loops.ended(&Uid::from("p"));
        assert_eq!((loops.preemptors().count(), loops.by_node.len()), (0, 0));
    }

    #[test]
    fn victims_count_until_their_room_is_lost_also_where_the_pod_preempts_on_the_node_again() {
        let (mut loops, p, n) = (Loops::default(), pod("p", "ours", None), Atom::new("n"));
        loops.preempted(
            &p.uid,
            &n,
            vec![pod("v", "theirs", Some("one")), pod("w", "theirs", Some("other"))],
            at(0),
        );
        // The watch does not show yet that w leaves, so it is chosen once more.
        loops.preempted(&p.uid, &n, vec![pod("w", "theirs", Some("other"))], at(1));
        loops.arrived(&pod("x", "ours", Some("one")), &n, false);
        let delayed = loops.delays(&p, &n, at(2)).expect("a victim of the first time is back");
        assert_eq!((delayed.until, delayed.in_vain, delayed.cause), (at(11), 1, Cause::VictimsCameBack));
        // Elsewhere it is another matter, and so it is once it is known that the room was lost.
        loops.preempted(&p.uid, &Atom::new("m"), vec![pod("u", "theirs", Some("third"))], at(11));
        loops.arrived(&pod("y", "ours", Some("other")), &Atom::new("m"), false);
        assert_eq!(loops.delays(&p, &n, at(12)), None);
    }

    #[test]
    fn a_rejected_pod_leaves_its_history_to_the_next_one_of_its_controller() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let mut now = 0;
        for (round, delay) in [(1, 10), (2, 20), (3, 40)] {
            let p = pod(&format!("p{round}"), "ours", Some("mine"));
            // The first may preempt at once, each other one when the delay is over.
            assert_eq!(loops.delays(&p, &n, at(now)), None, "round {round}");
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
            loops.bound(&p, Some(&n), at(now + 1));
            assert!(!loops.remembers(&p.uid), "it does not wait any more");
            // The pending watch shows that it is gone, too.
            loops.ended(&p.uid);
            loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
            loops.rejected(&p.uid, at(now + 2));
            let next = pod(&format!("p{}", round + 1), "ours", Some("mine"));
            let delayed = loops.delays(&next, &n, at(now + 2)).expect("the room was taken");
            assert_eq!((delayed.in_vain, delayed.until), (round, at(now + delay)));
            // A pod of another controller has nothing to do with it.
            assert_eq!(loops.delays(&pod("q", "ours", Some("other")), &n, at(now + 2)), None);
            now += delay;
        }
    }

    #[test]
    fn a_pod_that_is_bound_and_not_rejected_leaves_nothing() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        for (name, owner) in [("p", Some("mine")), ("q", None)] {
            let p = pod(name, "ours", owner);
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
            loops.bound(&p, Some(&n), at(1));
        }
        loops.bound(&pod("later", "ours", None), Some(&n), at(61));
        loops.rejected(&Uid::from("p"), at(62));
        let kept = (loops.by_preemptor.len(), loops.by_node.len(), loops.bound.len(), loops.lost.len());
        assert_eq!((kept, loops.bound_until.len()), ((0, 0, 0, 0), 0));
    }

    #[test]
    fn a_rejection_that_is_told_before_who_took_the_room_counts_when_that_is_told() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let p = pod("p", "ours", Some("mine"));
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
        loops.bound(&p, Some(&n), at(1));
        loops.rejected(&p.uid, at(2));
        let next = pod("q", "ours", Some("mine"));
        assert_eq!(loops.delays(&next, &n, at(2)), None, "nobody is known to have taken the room");
        loops.arrived(&pod("w", "theirs", Some("rs")), &Atom::new("m"), true);
        assert_eq!(loops.delays(&next, &n, at(2)), None, "that was elsewhere");
        loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
        let delayed = loops.delays(&next, &n, at(3)).expect("the room was taken");
        assert_eq!((delayed.in_vain, delayed.until), (1, at(10)));
    }

    #[test]
    fn a_successor_that_is_quicker_than_the_news_of_the_rejection_goes_on_counting() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let p = pod("p", "ours", Some("mine"));
        for now in [0, 10, 30] {
            assert_eq!(loops.delays(&p, &n, at(now)), None);
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
            loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
        }
        loops.bound(&p, Some(&n), at(31));
        let next = pod("q", "ours", Some("mine"));
        assert_eq!(
            loops.delays(&next, &n, at(32)),
            None,
            "it is not known yet that the first one was rejected"
        );
        loops.preempted(&next.uid, &n, vec![pod("w", "theirs", Some("rs"))], at(32));
        loops.rejected(&p.uid, at(33));
        loops.arrived(&pod("x", "theirs", Some("rs")), &n, true);
        let delayed = loops.delays(&next, &n, at(34)).expect("the room was taken");
        assert_eq!((delayed.in_vain, delayed.until), (4, at(32 + 80)));
    }

    #[test]
    fn of_what_several_have_lost_that_counts_which_makes_wait_longest() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let taker = || pod("w", "theirs", Some("rs"));
        let victims = || vec![pod("v", "theirs", Some("rs"))];
        // The first replica preempts in vain three times, the second one long after that.
        let p = pod("p", "ours", Some("mine"));
        for now in [0, 10, 30] {
            assert_eq!(loops.delays(&p, &n, at(now)), None);
            loops.preempted(&p.uid, &n, victims(), at(now));
            loops.arrived(&taker(), &n, true);
        }
        let q = pod("q", "ours", Some("mine"));
        loops.preempted(&q.uid, &n, victims(), at(200));
        loops.arrived(&taker(), &n, true);
        for replica in [&p, &q] {
            loops.bound(replica, Some(&n), at(201));
            loops.rejected(&replica.uid, at(202));
        }
        let delayed = loops.delays(&pod("r", "ours", Some("mine")), &n, at(203)).expect("room was taken");
        assert_eq!((delayed.in_vain, delayed.until), (1, at(210)));
        assert_eq!(loops.delays(&pod("r", "ours", Some("mine")), &n, at(210)), None, "it is over");
        assert_eq!(loops.delays(&pod("s", "ours", Some("mine")), &n, at(203)), None, "that was long ago");
    }

    #[test]
    fn what_turns_out_to_be_lost_later_counts_if_it_makes_wait_longer() {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let taker = pod("w", "theirs", Some("rs"));
        for (name, now) in [("p", 0), ("q", 5)] {
            let p = pod(name, "ours", Some("mine"));
            loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
            loops.bound(&p, Some(&n), at(now + 1));
            loops.rejected(&p.uid, at(now + 2));
            if name == "p" {
                loops.arrived(&taker, &n, true);
            }
        }
        let r = pod("r", "ours", Some("mine"));
        let until = |loops: &mut Loops, pod: &Pod, now: i64| {
            loops.delays(pod, &n, at(now)).map(|delayed| delayed.until)
        };
        assert_eq!(until(&mut loops, &r, 8), Some(at(10)), "who took the room of q is not known yet");
        loops.arrived(&taker, &n, true);
        assert_eq!(until(&mut loops, &r, 10), Some(at(15)));
        // What it has left is there for another one, and neither takes from the other again.
        assert_eq!(until(&mut loops, &pod("s", "ours", Some("mine")), 9), Some(at(10)));
        assert_eq!((until(&mut loops, &r, 14), until(&mut loops, &r, 15)), (Some(at(15)), None));
        assert!(loops.lost.is_empty());
    }

    #[test]
    fn each_replica_that_was_rejected_leaves_its_history_to_one_on_the_same_node() {
        let mut loops = Loops::default();
        let (a, b) = (Atom::new("a"), Atom::new("b"));
        for (name, node) in [("p1", &a), ("p2", &b)] {
            let p = pod(name, "ours", Some("mine"));
            loops.preempted(&p.uid, node, vec![pod("v", "theirs", Some("rs"))], at(0));
            loops.bound(&p, Some(node), at(1));
            loops.arrived(&pod("w", "theirs", Some("rs")), node, true);
            loops.rejected(&p.uid, at(2));
        }
        let delayed = |loops: &mut Loops, name: &str, node: &Atom, now: i64| {
            loops.delays(&pod(name, "ours", Some("mine")), node, at(now)).is_some()
        };
        assert!(!delayed(&mut loops, "p3", &Atom::new("c"), 3), "a first preemption on a node");
        assert!(delayed(&mut loops, "p4", &b, 3) && delayed(&mut loops, "p5", &a, 3));
        assert!(!delayed(&mut loops, "p6", &a, 3), "no more were rejected");
        // One that is bound elsewhere has not lost what it made room for.
        let p = pod("q", "ours", Some("other"));
        loops.preempted(&p.uid, &a, vec![pod("v", "theirs", Some("rs"))], at(10));
        loops.bound(&p, Some(&b), at(11));
        loops.arrived(&pod("w", "theirs", Some("rs")), &a, true);
        loops.rejected(&p.uid, at(12));
        assert!(loops.lost.is_empty() && loops.bound.is_empty());
        // What is old is forgotten.
        let p = pod("r", "ours", Some("other"));
        loops.preempted(&p.uid, &a, vec![pod("v", "theirs", Some("rs"))], at(20));
        loops.bound(&p, Some(&a), at(21));
        loops.arrived(&pod("w", "theirs", Some("rs")), &a, true);
        loops.rejected(&p.uid, at(22));
        assert_eq!(loops.lost.len(), 1);
        assert_eq!(loops.delays(&pod("s", "ours", Some("other")), &a, at(3622)), None);
        assert!(loops.lost.is_empty());
    }
}
