//! What the core must not do, whatever it decides, seen from outside: from what it was told and what it requests.
//!
//! * Tenants: a pod is bound only if its namespace may use the scheduler name and the name may use the node, as the core was last told of
//!   it; and only pods of schedulers that are open to it are evicted.
//! * Preemption loops: after evictions for a pod whose room somebody else took, no pod is evicted for it again within ten seconds, and
//!   twice as long each further time; nor for the pod that its controller creates in its place, if a kubelet rejected it
//!   (`judge/successors.rs`). If loops are left unbroken, such evictions are counted.
//! * Budgets: while evictions of one preemption are not in the status of a budget, no other preemption overdraws it; nor does a preemption
//!   with its last victim, whose turn comes later, unless it did so when it was chosen.
//! * Victims: no pod is evicted from a node that it has left by then, because it is gone, waits again, or was placed elsewhere
//!   (`judge/places.rs`).

mod places;
mod successors;
#[cfg(test)]
mod tests;

use super::*;
use places::Places;
use secondmate_core::port::{EvictError, Verified};
use secondmate_model::objects::{DisruptionBudget, Object, ObjectName};
use std::collections::BTreeSet;
use successors::{REJECTED_WITHIN, Successors};

/// The delay after a futile preemption; it doubles with each further one, up to a day.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The core assumes that the disruption controller has written a status within ten seconds.
const OPEN_FOR: Duration = Duration::from_secs(9);

/// The last evictions for a pod.
struct Rounds {
    at: Timestamp,
    /// When the latest of them was requested, or stopped in memory: the last victim's turn comes after `at`.
    latest: Timestamp,
    node: Atom,
    /// Controller of the pod that they were for.
    controller: Option<Box<str>>,
    /// Controllers of the victims.
    controllers: BTreeSet<Box<str>>,
    taken: bool,
    in_vain: u32,
    /// The time at which the pod that they were for was bound to that node.
    bound: Option<Timestamp>,
    /// What each budget has left for them; below zero, they overdraw it.
    spare: BTreeMap<ObjectName, i64>,
}

impl Rounds {
    /// The time before which no pod is evicted again, if the room was taken.
    fn not_before(&self) -> Timestamp {
        self.at + FIRST_DELAY.saturating_mul(1 << self.in_vain.min(20)).min(LONGEST_DELAY)
    }
}

/// Whether the core keeps to the delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Kept,
    /// It should have waited, if loops were broken here.
    TooSoon,
}

/// A budget as the core was told of it.
struct Told {
    budget: DisruptionBudget,
    /// Evictions that are not in the status yet.
    open: Vec<Open>,
}

impl Told {
    fn spare(&mut self, now: Timestamp) -> i64 {
        self.open.retain(|eviction| now < eviction.at + OPEN_FOR);
        i64::from(self.budget.disruptions_allowed) - self.open.len() as i64
    }
}

/// An eviction that is not in the status of a budget yet.
struct Open {
    preemptor: Uid,
    victim: Uid,
    node: Atom,
    at: Timestamp,
}

/// The judge.
#[derive(Default)]
pub(super) struct Judge {
    rounds: BTreeMap<Uid, Rounds>,
    successors: Successors,
    places: Places,
    /// Preemptors for which an eviction was answered in this turn: it may be the last victim's turn.
    answered: BTreeSet<Uid>,
    budgets: BTreeMap<ObjectName, Told>,
    /// Pods that are leaving or gone: their eviction succeeded, or the watch has shown it. A preemption that chose one of them earlier still
    /// evicts it when its turn comes, and that is not another disruption.
    leaving: BTreeSet<Uid>,
    /// Victims with the preemptors for which their evictions have not been answered yet, and since when. Requesting one of them again is not
    /// another disruption, whatever a budget's status says in the meantime.
    asked: BTreeMap<Uid, BTreeMap<Uid, Timestamp>>,
    /// The same for victims whose eviction may have been carried out, since there was no answer.
    unanswered: BTreeMap<Uid, Timestamp>,
    /// When each pod may first have had room on a node, as far as the core knows: one of another scheduler when it was first shown there,
    /// and one of ours when the core was first told of it, since a choice of the core cannot be seen from outside. A pod keeps its node, so
    /// one that a late event or an old list shows once more has not taken any room since; and one that the core knew at the time of a
    /// preemption may have been among the victims that it chose.
    placed: BTreeMap<Uid, Timestamp>,
    /// The current and former pools of each node, with the time at which it left them.
    pools: BTreeMap<Atom, Vec<(Atom, Option<Timestamp>)>>,
}

/// Whether the node may have been in a pool when what is requested now was decided; it left the pool at this time, or is in it. A pod may
/// wait for long between the choice of its node and its binding, but the core looks at the node again before it requests the binding. What
/// happens in one turn has one time: there, the binding may have been requested first.
fn recent(left: Option<Timestamp>, now: Timestamp) -> bool {
    left.is_none_or(|left| left == now)
}

/// The node leaves the pool that it is in.
fn leaves(pools: &mut [(Atom, Option<Timestamp>)], now: Timestamp) {
    if let Some((_, left)) = pools.last_mut() {
        left.get_or_insert(now);
    }
}

impl Judge {
    /// The core is told something; `is_new`: about a pod that it has not seen on that node.
    pub fn input(&mut self, input: &Input, is_new: bool, now: Timestamp) {
        self.places.input(input);
        match input {
            Input::Node(node) => {
                let label = node.labels.iter().find(|(key, _)| key.as_str() == "pool");
                let pool = label.map(|(_, pool)| pool.clone()).unwrap_or_default();
                let pools = self.pools.entry(node.name.clone()).or_default();
                pools.retain(|(_, left)| recent(*left, now));
                if pools.last().is_none_or(|(last, left)| *last != pool || left.is_some()) {
                    leaves(pools, now);
                    pools.push((pool, None));
                }
            }
            Input::NodeGone(node) => {
                self.pools.entry(node.clone()).and_modify(|pools| leaves(pools, now));
                self.pools.retain(|_, pools| pools.iter().any(|(_, left)| recent(*left, now)));
            }
            Input::Pod(PodWatch::Pending, pod) => {
                if is_our_name(pod.scheduler_name.as_str()) {
                    self.placed_at(pod, now);
                }
                self.successors.pending(pod);
            }
            Input::Pod(PodWatch::Assigned, pod) => {
                if pod.deleting {
                    self.leaving.insert(pod.uid.clone());
                }
                self.bound(pod, now);
                let placed_at = self.placed_at(pod, now);
                if is_new {
                    self.arrived(pod, placed_at);
                }
            }
            Input::PodGone(PodWatch::Assigned, uid) => {
                self.leaving.insert(uid.clone());
            }
            Input::PodGone(PodWatch::Pending, uid) => {
                self.successors.left(uid);
                if self.rounds.get(uid).is_some_and(|rounds| rounds.bound.is_none()) {
                    self.rounds.remove(uid);
                }
            }
            Input::PodRejected(uid) => {
                if let Some(rounds) = self.rounds.remove(uid) {
                    self.successors.rejected(uid, &rounds, now);
                }
            }
            Input::NodeRead { pods, .. } => {
                for pod in pods.iter().flatten() {
                    self.placed_at(pod, now);
                    self.bound(pod, now);
                }
            }
            Input::Verified(_, Verified::Found(pod)) if pod.node_name.is_some() => {
                self.placed_at(pod, now);
                self.bound(pod, now);
            }
            Input::Verified(uid, Verified::Gone) => {
                self.rounds.remove(uid);
            }
            Input::Object(Object::DisruptionBudget(name, budget)) => {
                let told = Told { budget: budget.clone(), open: Vec::new() };
                self.budgets.insert(name.clone(), told);
            }
            Input::ObjectGone(_, name) => {
                self.budgets.remove(name);
            }
            Input::EvictFinished { preemptor, victim, result } => {
                self.answered.insert(preemptor.clone());
                let asked = self.asked.entry(victim.clone()).or_default();
                asked.remove(preemptor);
                let others_asked = !asked.is_empty();
                if !others_asked {
                    self.asked.remove(victim);
                }
                match result {
                    Ok(_) => {
                        self.leaving.insert(victim.clone());
                    }
                    Err(EvictError::Unknown(_)) => {
                        self.unanswered.insert(victim.clone(), now);
                    }
                    // It may still be carried out for another pod.
                    Err(EvictError::NotDone(_)) if others_asked => {}
                    Err(EvictError::NotDone(_)) => {
                        for told in self.budgets.values_mut() {
                            told.open.retain(|open| open.victim != *victim);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The pod is on a node. If pods were evicted for it there, the kubelet may still reject it.
    fn bound(&mut self, pod: &Pod, now: Timestamp) {
        self.successors.left(&pod.uid);
        if let Some(rounds) = self.rounds.get_mut(&pod.uid) {
            if pod.controller.is_some() && pod.node_name.as_ref() == Some(&rounds.node) {
                rounds.bound.get_or_insert(now);
            } else {
                self.rounds.remove(&pod.uid);
            }
        }
    }

    /// See [`Judge::placed`]: now, unless it was earlier.
    fn placed_at(&mut self, pod: &Pod, now: Timestamp) -> Timestamp {
        *self.placed.entry(pod.uid.clone()).or_insert(now)
    }

    /// The core is told for the first time that the pod is on its node.
    fn arrived(&mut self, pod: &Pod, placed_at: Timestamp) {
        let foreign = !is_our_name(pod.scheduler_name.as_str());
        let controller = pod.controller.as_ref().map(|owner| &owner.uid);
        let there = |(preemptor, rounds): &(&Uid, &mut Rounds)| {
            pod.node_name.as_ref() == Some(&rounds.node)
                && **preemptor != pod.uid
                && rounds.latest < placed_at
        };
        for (_, rounds) in self.rounds.iter_mut().filter(there) {
            rounds.taken |= foreign || controller.is_some_and(|uid| rounds.controllers.contains(uid));
        }
    }

    /// The core requests an effect.
    ///
    /// # Panics
    /// The core must not request it.
    pub fn effect(&mut self, effect: &Effect, options: Options, now: Timestamp) -> Pace {
        let (tenants, mut pace) = (options.tenants, Pace::Kept);
        self.places.effect(effect);
        match effect {
            Effect::Bind { pod, node, .. } | Effect::BindByExtender { pod, node } if tenants => {
                let at = OUR_NAMES.iter().position(|name| *name == pod.scheduler_name.as_str());
                let at = at.expect("only pods of our names are bound");
                let mut pools = self.pools.get(node).into_iter().flatten();
                let allowed = pools.any(|(pool, left)| recent(*left, now) && may_use(at, pool.as_str()));
                assert_eq!(
                    pod.namespace.as_str(),
                    NAMESPACES[at],
                    "tenants: pod {} is bound from another namespace",
                    pod.full_name()
                );
                assert!(
                    allowed,
                    "tenants: pod {} is bound to node {node}, which its scheduler may not use",
                    pod.full_name()
                );
            }
            // Stopping a victim before it is bound is not an eviction. From then on this counts as the last preemption, unless others are
            // evicted in the same one, which concerns a single node.
            Effect::Event(event) if event.reason == "Preempted" && event.note.ends_with("memory).") => {
                let preemptor = &event.related.as_ref().expect("somebody is in need of the room").uid;
                let rounds = self.rounds.get(preemptor);
                let here = rounds.is_some_and(|r| event.note.contains(&format!(" on node {} (", r.node)));
                if !here || !self.goes_on(preemptor, now) {
                    self.rounds.remove(preemptor);
                    self.successors.acts(preemptor);
                } else if let Some(rounds) = self.rounds.get_mut(preemptor) {
                    rounds.latest = now;
                }
            }
            Effect::Evict { victim, preemptor, .. } => {
                let at = OUR_NAMES.iter().position(|name| *name == preemptor.scheduler_name.as_str());
                let at = at.expect("only pods of our names preempt");
                assert!(
                    !tenants || may_evict(at, victim.scheduler_name.as_str()),
                    "tenants: pod {} is evicted for pod {}",
                    victim.full_name(),
                    preemptor.full_name()
                );
                assert!(
                    !self.places.has_left(victim),
                    "victims: pod {} is evicted for pod {} from node {:?}, where it is not any more",
                    victim.full_name(),
                    preemptor.full_name(),
                    victim.node_name
                );
                pace = self.evicts(victim, preemptor, now);
                assert!(
                    pace == Pace::Kept || options.loops_unbroken,
                    "preemption loop: pod {} evicts before the delay after what was in vain is over",
                    preemptor.full_name()
                );
                let recently = |since: &Timestamp| now < *since + OPEN_FOR;
                let asked = self.asked.get(&victim.uid).is_some_and(|asked| asked.values().any(recently))
                    || self.unanswered.get(&victim.uid).is_some_and(recently);
                if !self.leaving.contains(&victim.uid) {
                    if !asked {
                        self.charged(victim, preemptor, now);
                    }
                    self.asked.entry(victim.uid.clone()).or_default().insert(preemptor.uid.clone(), now);
                }
            }
            _ => {}
        }
        pace
    }

    /// All effects of a turn have been taken.
    pub fn turn_ends(&mut self) {
        self.answered.clear();
        self.places.turn_ends();
    }

    /// The core has lost its memory.
    pub fn crashed(&mut self) {
        *self = Self::default();
    }

    /// Whether what is now done for the pod belongs to its last preemption: it was chosen now, or it is the last victim's turn.
    fn goes_on(&self, preemptor: &Uid, now: Timestamp) -> bool {
        let began_now = self.rounds.get(preemptor).is_some_and(|rounds| rounds.at == now);
        began_now || self.answered.contains(preemptor)
    }

    fn evicts(&mut self, victim: &Pod, preemptor: &Pod, now: Timestamp) -> Pace {
        let node = victim.node_name.clone().expect("a victim is on a node");
        let controller = victim.controller.as_ref().map(|owner| owner.uid.clone());
        let goes_on = self.goes_on(&preemptor.uid, now);
        // A pod that an old list brings back was bound, and the room was not lost.
        let bound = self.rounds.get(&preemptor.uid).and_then(|rounds| rounds.bound);
        if bound.is_some_and(|bound| bound + REJECTED_WITHIN <= now) {
            self.rounds.remove(&preemptor.uid);
        }
        let mut not_before = None;
        let in_vain = match self.rounds.get_mut(&preemptor.uid) {
            Some(rounds) if rounds.node == node && goes_on => {
                rounds.controllers.extend(controller);
                rounds.latest = now;
                return Pace::Kept;
            }
            Some(rounds) if rounds.taken => {
                not_before = Some(rounds.not_before());
                rounds.in_vain + 1
            }
            Some(rounds) => rounds.in_vain,
            None => match self.successors.inherited(preemptor, &node, now) {
                Some(lost) => {
                    not_before = Some(lost.not_before);
                    lost.in_vain + 1
                }
                None => 0,
            },
        };
        let rounds = Rounds {
            at: now,
            latest: now,
            node,
            controller: preemptor.controller.as_ref().map(|owner| owner.uid.clone()),
            controllers: controller.into_iter().collect(),
            taken: false,
            in_vain,
            bound: None,
            spare: self.budgets.iter_mut().map(|(name, told)| (name.clone(), told.spare(now))).collect(),
        };
        self.rounds.insert(preemptor.uid.clone(), rounds);
        if not_before.is_some_and(|not_before| now < not_before) { Pace::TooSoon } else { Pace::Kept }
    }

    fn charged(&mut self, victim: &Pod, preemptor: &Pod, now: Timestamp) {
        let mut rounds = self.rounds.get_mut(&preemptor.uid);
        for (name, Told { budget, open }) in &mut self.budgets {
            if !budget.is_charged_for(&name.namespace, victim) {
                continue;
            }
            open.retain(|eviction| now < eviction.at + OPEN_FOR);
            if open.iter().any(|eviction| eviction.victim == victim.uid) {
                // It is evicted for a second pod, and counts once.
                continue;
            }
            let mut overdrew = false;
            if let Some(rounds) = &mut rounds
                && let Some(spare) = rounds.spare.get_mut(name)
            {
                *spare -= 1;
                overdrew = *spare < 0 && rounds.at < now;
            }
            // A preemption that finds nothing better may overdraw a budget, and its last victim is evicted after the others. A second
            // preemption on the same node may take that victim first.
            let others = open.iter().filter(|eviction| {
                eviction.preemptor != preemptor.uid && Some(&eviction.node) != victim.node_name.as_ref()
            });
            let others = others.count();
            assert!(
                overdrew || others == 0 || (open.len() as i64) < i64::from(budget.disruptions_allowed),
                "budgets: pod {} is evicted for pod {} while {} evictions are not in the status of budget {name}, \
                 which allows {}",
                victim.full_name(),
                preemptor.full_name(),
                open.len(),
                budget.disruptions_allowed
            );
            let node = victim.node_name.clone().expect("a victim is on a node");
            open.push(Open { preemptor: preemptor.uid.clone(), victim: victim.uid.clone(), node, at: now });
        }
    }
}
