//! Preemption loops that continue with another pod: a pod for which room was made is bound, its kubelet rejects it because somebody else
//! took the room, and its controller creates the next one. The delay of the first pod applies to that one as well.
//!
//! If there are several candidates, it cannot be seen from outside which pod the core considers the successor. So only unambiguous cases are
//! judged: those in which there is only one possible pod of the controller.

use super::*;

/// If a kubelet rejects a pod later than this after it was bound, the core does not connect the two.
pub(super) const REJECTED_WITHIN: Duration = Duration::from_secs(60);
/// How long the core waits for a successor.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// What a rejected pod has lost.
pub(super) struct Lost {
    /// The time before which no pod is evicted for its successor.
    pub not_before: Timestamp,
    pub in_vain: u32,
    pod: Uid,
    controller: Box<str>,
    node: Atom,
    until: Timestamp,
    /// Pods of the controller that have been pending since then.
    waiting: BTreeSet<Uid>,
}

#[derive(Default)]
pub(super) struct Successors {
    /// Controllers of pending pods.
    controllers: BTreeMap<Uid, Box<str>>,
    lost: Vec<Lost>,
}

impl Successors {
    /// The core sees a pending pod.
    pub fn pending(&mut self, pod: &Pod) {
        let Some(controller) = &pod.controller else { return };
        let of_controller = |lost: &&mut Lost| lost.controller == controller.uid && lost.pod != pod.uid;
        for lost in self.lost.iter_mut().filter(of_controller) {
            lost.waiting.insert(pod.uid.clone());
        }
        self.controllers.insert(pod.uid.clone(), controller.uid.clone());
    }

    /// A pod is no longer pending: it may have been the successor of another one.
    pub fn left(&mut self, pod: &Uid) {
        self.acts(pod);
        self.controllers.remove(pod);
    }

    /// What is done for a pod is not judged here: it may have been the successor of another one.
    pub fn acts(&mut self, pod: &Uid) {
        if let Some(controller) = self.controllers.get(pod) {
            self.lost.retain(|lost| lost.controller != *controller || lost.pod == *pod);
        }
    }

    /// A kubelet has rejected a pod.
    pub fn rejected(&mut self, pod: &Uid, rounds: &Rounds, now: Timestamp) {
        self.lost.retain(|lost| now < lost.until);
        let soon = rounds.bound.is_some_and(|bound| now < bound + REJECTED_WITHIN);
        let Some(controller) = rounds.controller.clone().filter(|_| soon && rounds.taken) else { return };
        let waiting = self.controllers.iter().filter(|(other, of)| **of == controller && *other != pod);
        self.lost.push(Lost {
            not_before: rounds.not_before(),
            in_vain: rounds.in_vain,
            waiting: waiting.map(|(other, _)| other.clone()).collect(),
            pod: pod.clone(),
            controller,
            node: rounds.node.clone(),
            until: now + FOLLOWED_WITHIN,
        });
    }

    /// A pod for which no pod was evicted before evicts pods from the node: returns what its predecessor lost there, if that is unambiguous. If
    /// there are several, it is the least restrictive one.
    pub fn inherited(&mut self, pod: &Pod, node: &Atom, now: Timestamp) -> Option<Lost> {
        let controller = &pod.controller.as_ref()?.uid;
        let here = |lost: &mut Lost| lost.controller == *controller && lost.node == *node && now < lost.until;
        let found: Vec<Lost> = self.lost.extract_if(.., here).collect();
        let sure = found.iter().all(|lost| lost.waiting.iter().all(|other| *other == pod.uid));
        found.into_iter().filter(|_| sure).min_by_key(|lost| lost.not_before)
    }
}
