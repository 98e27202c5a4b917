//! Where each pod is, as far as the core can know.
//!
//! The core reads all inputs of a turn before its effects are judged. So a pod of which it was told anything in this turn may still
//! have been where it was before when the core requested the effect.

use super::*;
use secondmate_core::port::BindOutcome;

/// What is known of a pod.
#[derive(Default)]
struct Place {
    /// The node that it is on, or that the core has sent a binding for; `None`: it is gone, or waits to be placed.
    node: Option<Atom>,
    /// It was seen on the node, so it was bound.
    seen: bool,
}

#[derive(Default)]
pub(super) struct Places {
    /// The pods of which anything is known.
    by_pod: BTreeMap<Uid, Place>,
    /// Pods of which the core was told something in this turn.
    told: BTreeSet<Uid>,
}

impl Places {
    /// The core is told something.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Pod(PodWatch::Assigned, pod) | Input::Verified(_, Verified::Found(pod)) => self.seen(pod),
            Input::NodeRead { pods, .. } => pods.iter().flatten().for_each(|pod| self.seen(pod)),
            Input::PodGone(PodWatch::Assigned, uid) => {
                self.told.insert(uid.clone());
                self.by_pod.insert(uid.clone(), Place::default());
            }
            // After a conflict, or without an answer, it may be on the node.
            Input::BindFinished(uid, BindOutcome::Refused { code, .. }) if *code != 409 => {
                self.not_bound(uid)
            }
            Input::BindFinished(uid, BindOutcome::NotSent) => self.not_bound(uid),
            _ => {}
        }
    }

    /// The core requests an effect.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Bind { pod, node, .. } | Effect::BindByExtender { pod, node } => {
                let place = self.by_pod.entry(pod.uid.clone()).or_default();
                if !place.seen {
                    place.node = Some(node.clone());
                }
            }
            // A pod whose attempt or binding failed waits again.
            Effect::Event(event) if event.reason == "FailedScheduling" => {
                let place = self.by_pod.entry(event.regarding.uid.clone()).or_default();
                if !place.seen {
                    place.node = None;
                }
            }
            _ => {}
        }
    }

    /// All effects of a turn have been judged.
    pub fn turn_ends(&mut self) {
        self.told.clear();
    }

    /// Whether the victim is no longer on the node where it was chosen, and the core can know that.
    pub fn has_left(&self, victim: &Pod) -> bool {
        let place = self.by_pod.get(&victim.uid).filter(|_| !self.told.contains(&victim.uid));
        place.is_some_and(|place| place.node != victim.node_name)
    }

    fn seen(&mut self, pod: &Pod) {
        if pod.node_name.is_some() {
            self.told.insert(pod.uid.clone());
            self.by_pod.insert(pod.uid.clone(), Place { node: pod.node_name.clone(), seen: true });
        }
    }

    fn not_bound(&mut self, uid: &Uid) {
        self.told.insert(uid.clone());
        let place = self.by_pod.entry(uid.clone()).or_default();
        if !place.seen {
            place.node = None;
        }
    }
}
