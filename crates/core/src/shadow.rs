//! A shadow: decides for the pods of another scheduler and compares each decision with what that scheduler did. It has no
//! effects.
//!
//! # What is compared, and on which state
//!
//! The state on which the other scheduler decided cannot be known, only approximated. A decision is compared when the watch shows
//! the pod on its node, using the state shown so far *without the pod itself*: all pods come in one watch, so pods bound before
//! it are included and pods bound after it are not. The pod is evaluated as it was while it waited, before it was bound. A single
//! evaluation yields their node's verdict and score, our choice, and the difference between the two; so a difference never comes
//! from comparing two states.
//!
//! This is the state of the decision if pods come one at a time. If many come at once, the other scheduler decides in its own
//! order and binds concurrently, so a binding may be seen before an earlier decision: some differences are then due to the order.
//!
//! Cases in which the binding itself has changed the state in advance are not compared: the node that preemption nominated a pod
//! to, and a pod whose claims were bound, or given a node, for this binding. A claim whose class does not wait for a consumer is
//! bound for no node: a pod that was created together with such claims is compared. Nor is compared what is shown while the pods
//! are listed anew, because the watch could not be resumed: the list has them in its own order, not in that of the bindings, and
//! pods that are gone still count until it is complete.
//!
//! That the other scheduler found no node is taken from the pod's condition. If we find none either, that is an agreement. If we
//! do, the pod is evaluated again after [`CONFIRM_AFTER`], since the room may have become available after their attempt, and the
//! second result counts.
//!
//! It holds the cache, and the waiting pods with the scheduler name. It has no clock: the time is passed in with each call.

mod tally;
mod verdict;

pub use tally::Tally;
pub use verdict::{Agreement, Comparison, PluginDifference};

use crate::cache::Cache;
use crate::nominations::Nominator;
use crate::port::{Input, PodWatch};
use secondmate_cycle::{Answer, Evaluate, Outcome, Plain, Profile, Question, Random, Scope};
use secondmate_framework::{Parity, Snapshot};
use secondmate_model::objects::Object;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a pod that the other scheduler rejected, and we would place, may usually keep waiting before that counts as a
/// disagreement. A rejected pod is retried within ten seconds of an event that helps it.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(15);

/// A pod that waits for the other scheduler.
struct Waiting {
    pod: Arc<Pod>,
    /// Its claims that were not bound when it was first seen, or when the initial lists were complete.
    unbound: Vec<Box<str>>,
    /// When to evaluate their rejection; for the second time if we would have placed the pod.
    ask: Option<(Timestamp, Asked)>,
    /// Whether the comparison for their rejection has been reported; it is valid until they report something else.
    told: bool,
}

/// Which evaluation of the pod this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    First,
    Again,
}

/// Maximum number of pods evaluated per call: each takes a plain pass over all nodes, and the caller has watches to follow as
/// well.
const ASKED_AT_ONCE: usize = 8;

/// See the module documentation.
pub struct Shadow {
    profile: Profile,
    cache: Cache,
    snapshot: Snapshot,
    nominator: Nominator,
    random: Random,
    confirm_after: Duration,
    bounds_amounts: bool,
    /// Whether every initial list is complete.
    synced: bool,
    /// Whether the pods are being listed anew.
    listing_pods: bool,
    waiting: BTreeMap<Uid, Waiting>,
    /// Those that are to be evaluated, by time.
    due: BTreeSet<(Timestamp, Uid)>,
}

impl Shadow {
    /// A shadow of the scheduler that serves the profile's name. `seed` chooses among equally good nodes; for
    /// `confirm_after` see [`CONFIRM_AFTER`].
    #[must_use]
    pub fn new(profile: Profile, seed: u64, confirm_after: Duration) -> Self {
        Self {
            confirm_after,
            bounds_amounts: profile.handle().parity == Parity::Sensible,
            profile,
            cache: Cache::new(),
            snapshot: Snapshot::default(),
            nominator: Nominator::default(),
            random: Random::new(seed),
            synced: false,
            listing_pods: false,
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// The scheduler name whose pods are observed.
    #[must_use]
    pub fn name(&self) -> &Atom {
        self.profile.name()
    }

    /// Every initial list is complete: from now on decisions are compared. Pods that were rejected before are
    /// [evaluated](Self::ask_due).
    pub fn synced(&mut self, now: Timestamp) {
        self.synced = true;
        let waiting: Vec<(Uid, Arc<Pod>)> =
            self.waiting.iter().map(|(uid, waiting)| (uid.clone(), Arc::clone(&waiting.pod))).collect();
        for (uid, pod) in waiting {
            // The list of the pods may have come before that of the claims.
            let unbound = self.unbound_claims(&pod);
            if let Some(waiting) = self.waiting.get_mut(&uid) {
                waiting.unbound = unbound;
            }
            self.look_at_rejection(&uid, now);
        }
    }

    /// The pods are being listed anew, or that list is complete: in between, nothing is compared.
    pub fn listing_pods(&mut self, listing: bool) {
        self.listing_pods = listing;
    }

    /// Applies an input from a watch; returns the resulting comparison, if any.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Option<Comparison> {
        match input {
            Input::Pod(PodWatch::Pending, pod) => self.pending(self.bounded(pod), now),
            Input::Pod(PodWatch::Assigned, pod) if pod.terminal => self.off_node(&pod.uid),
            Input::Pod(PodWatch::Assigned, pod) => return self.assigned(self.bounded(pod), now),
            Input::Pod(PodWatch::ForeignNominated, pod) => self.nominated_by_others(&self.bounded(pod)),
            // They count only before a binding.
            Input::Pod(PodWatch::ForeignWaiting, _) | Input::PodGone(PodWatch::ForeignWaiting, _) => {}
            Input::PodGone(PodWatch::Pending, uid) => self.leave(&uid),
            Input::PodGone(PodWatch::Assigned, uid) => self.off_node(&uid),
            Input::PodGone(PodWatch::ForeignNominated, uid) => {
                if !self.waiting.contains_key(&uid) {
                    self.nominator.remove(&uid);
                }
            }
            Input::Node(node) => {
                self.cache.set_node(if self.bounds_amounts { node.bounded() } else { node });
            }
            Input::NodeGone(name) => {
                self.cache.remove_node(&name);
            }
            Input::Object(object) => {
                let object = match object {
                    Object::Own(own) => Object::Own(own.told_at(now)),
                    other => other,
                };
                self.snapshot.objects_mut().apply(object);
            }
            Input::ObjectGone(kind, name) => {
                self.snapshot.objects_mut().remove(kind, &name);
            }
            // Nothing is bound, and there are no effects that could be answered.
            Input::PodRejected(_)
            | Input::BindFinished(..)
            | Input::WriteFinished(..)
            | Input::Verified(..)
            | Input::NodeRead { .. }
            | Input::EvictFinished { .. } => {}
        }
        None
    }

    /// Whether there are pods to evaluate by now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        !self.listing_pods && self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Evaluates some of the pods that they rejected, if their time has come; returns the comparisons.
    pub fn ask_due(&mut self, now: Timestamp) -> Vec<Comparison> {
        let mut compared = Vec::new();
        for _ in 0..ASKED_AT_ONCE {
            if !self.is_due(now) {
                break;
            }
            let Some((_, uid)) = self.due.pop_first() else { break };
            compared.extend(self.ask_about_rejection(&uid, now));
        }
        compared
    }

    /// Number of waiting pods, pods on nodes, and nodes.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        let size = self.cache.size();
        [self.waiting.len(), size.pods, size.nodes]
    }

    fn bounded(&self, pod: Arc<Pod>) -> Arc<Pod> {
        if self.bounds_amounts { pod.bounded() } else { pod }
    }

    fn pending(&mut self, pod: Arc<Pod>, now: Timestamp) {
        // A pod that was seen on a node is not waiting.
        if self.cache.is_added(&pod.uid)
            || pod.node_name.is_some()
            || pod.terminal
            || pod.scheduler_name != *self.name()
        {
            return;
        }
        match &pod.nominated_node_name {
            Some(node) => self.nominator.set(&pod, node),
            None => {
                self.nominator.remove(&pod.uid);
            }
        }
        let uid = pod.uid.clone();
        match self.waiting.get_mut(&uid) {
            Some(waiting) => {
                let before = std::mem::replace(&mut waiting.pod, pod);
                // A new condition is a new decision.
                waiting.told &= before.scheduled_condition == waiting.pod.scheduled_condition;
            }
            None => {
                let unbound = self.unbound_claims(&pod);
                let waiting = Waiting { pod, unbound, ask: None, told: false };
                self.waiting.insert(uid.clone(), waiting);
            }
        }
        if self.synced {
            self.look_at_rejection(&uid, now);
        }
    }

    fn unbound_claims(&self, pod: &Pod) -> Vec<Box<str>> {
        let mut claims = claims_of(pod);
        claims.retain(|claim| !self.is_bound(pod, claim));
        claims
    }

    fn is_bound(&self, pod: &Pod, claim: &str) -> bool {
        let claim = self.snapshot.objects().claim(&pod.namespace, claim);
        claim.is_some_and(|claim| !claim.volume_name.is_empty())
    }

    /// Whether the claim is bound whatever becomes of the pod. Without a class, or with one that does not exist, it does not wait for
    /// a consumer.
    fn binds_immediately(&self, pod: &Pod, claim: &str) -> bool {
        let objects = self.snapshot.objects();
        let Some(claim) = objects.claim(&pod.namespace, claim) else { return false };
        let class = claim.storage_class.as_ref().and_then(|class| objects.storage_classes.get(class));
        class.is_none_or(|class| class.wait_for_first_consumer != Some(true))
    }

    /// Schedules an evaluation of the pod if its condition says that they found no node.
    fn look_at_rejection(&mut self, uid: &Uid, now: Timestamp) {
        let Some(waiting) = self.waiting.get(uid) else { return };
        if !waiting.told && waiting.ask.is_none() && !waiting.pod.deleting && is_rejected(&waiting.pod) {
            self.ask_at(uid, Some((now, Asked::First)));
        }
    }

    fn ask_at(&mut self, uid: &Uid, ask: Option<(Timestamp, Asked)>) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        if let Some((at, _)) = std::mem::replace(&mut waiting.ask, ask) {
            self.due.remove(&(at, uid.clone()));
        }
        self.due.extend(ask.map(|(at, _)| (at, uid.clone())));
    }

    /// Our decision on a pod that they have rejected. If we would place it, that is reported only after a delay.
    fn ask_about_rejection(&mut self, uid: &Uid, now: Timestamp) -> Option<Comparison> {
        let waiting = self.waiting.get_mut(uid)?;
        let (_, asked) = waiting.ask.take()?;
        if waiting.pod.deleting || !is_rejected(&waiting.pod) {
            return None;
        }
        let pod = Arc::clone(&waiting.pod);
        let answer = self.ask(&pod, now);
        if asked == Asked::First && matches!(answer.outcome, Outcome::Placed { .. }) {
            // The room may have become available after their attempt.
            self.ask_at(uid, Some((now + self.confirm_after, Asked::Again)));
            return None;
        }
        self.waiting.get_mut(uid)?.told = true;
        let said = pod.scheduled_condition.as_ref().map(|condition| condition.message.to_string());
        Some(verdict::of_rejection(&pod, said.unwrap_or_default(), &answer))
    }

    fn assigned(&mut self, pod: Arc<Pod>, now: Timestamp) -> Option<Comparison> {
        let known = self.cache.is_added(&pod.uid);
        let waited = self.forget(&pod.uid);
        self.nominator.remove(&pod.uid);
        let comparison = match &pod.node_name {
            Some(node) if !known && self.synced && self.is_their_decision(&pod) => {
                Some(self.compare(&pod, waited, node, now))
            }
            _ => None,
        };
        self.cache.add(pod);
        comparison
    }

    /// Whether the pod got to its node through a binding. One that was created on its node has no condition yet.
    fn is_their_decision(&self, pod: &Pod) -> bool {
        let bound = pod.scheduled_condition.as_ref().is_some_and(|condition| &*condition.status == "True");
        bound && pod.scheduler_name == *self.name()
    }

    fn compare(
        &mut self,
        pod: &Arc<Pod>,
        waited: Option<Waiting>,
        node: &Atom,
        now: Timestamp,
    ) -> Comparison {
        let (as_it_waited, unbound) = match waited {
            Some(waited) => (waited.pod, waited.unbound),
            // Never seen before it was bound: any of its claims may have been bound for it.
            None => (Arc::clone(pod), claims_of(pod)),
        };
        if self.listing_pods {
            return Comparison::without(
                pod,
                node,
                "it was bound while the watch of the pods was interrupted",
            );
        }
        if as_it_waited.nominated_node_name.as_ref() == Some(node) {
            return Comparison::without(pod, node, "preemption made room there for it");
        }
        if unbound.iter().any(|claim| !self.binds_immediately(pod, claim)) {
            return Comparison::without(pod, node, "its claims were bound for this node");
        }
        // They saw them bound, and we may be late: claims do not come in the watch of the pods.
        if unbound.iter().any(|claim| !self.is_bound(pod, claim)) {
            return Comparison::without(pod, node, "its claims are not known to be bound yet");
        }
        let asked = Arc::new(as_it_waited.off_its_node());
        let answer = self.ask(&asked, now);
        let Some(position) = self.snapshot.position(node) else {
            return Comparison::without(pod, node, "the node is not known yet");
        };
        verdict::of_binding(pod, node, position, &answer)
    }

    /// Evaluates a pod now.
    fn ask(&mut self, pod: &Arc<Pod>, now: Timestamp) -> Answer {
        self.cache.refresh(&mut self.snapshot);
        let question = Question {
            profile: &self.profile,
            snapshot: &self.snapshot,
            nominations: &self.nominator,
            now,
            pod,
            scope: Scope::Every,
        };
        Plain.evaluate(&question, &mut self.random)
    }

    fn nominated_by_others(&mut self, pod: &Arc<Pod>) {
        match &pod.nominated_node_name {
            Some(node) if pod.node_name.is_none() && !pod.terminal && !self.cache.is_added(&pod.uid) => {
                self.nominator.set(pod, node);
            }
            _ => {
                self.nominator.remove(&pod.uid);
            }
        }
    }

    fn leave(&mut self, uid: &Uid) {
        self.nominator.remove(uid);
        self.forget(uid);
    }

    fn forget(&mut self, uid: &Uid) -> Option<Waiting> {
        self.ask_at(uid, None);
        self.waiting.remove(uid)
    }

    fn off_node(&mut self, uid: &Uid) {
        // Not an error if the pod was never seen there.
        let _ = self.cache.remove(uid);
    }
}

fn claims_of(pod: &Pod) -> Vec<Box<str>> {
    pod.volumes.iter().filter_map(|volume| pod.claim_name(volume)).collect()
}

/// Whether a scheduler has reported that the pod fits nowhere.
fn is_rejected(pod: &Pod) -> bool {
    let condition = pod.scheduled_condition.as_ref();
    condition.is_some_and(|condition| &*condition.status == "False" && &*condition.reason == "Unschedulable")
}
