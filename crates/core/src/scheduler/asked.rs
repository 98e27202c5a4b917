//! Nominations whose write was requested and that the status of the pod need not show yet.
//!
//! kube-scheduler waits for the answer to such a write before it does anything else, so its next attempt starts from what it
//! wrote. Here nothing waits; instead, the requested nomination counts: for the next attempt, for what is written next, and
//! against an older status.

use rustc_hash::FxHashMap;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// For this long, a status that shows an earlier value is considered late rather than written by another party: a write is tried
/// for a minute at most, and waits for its turn before that.
const LATE_FOR: Duration = Duration::from_secs(120);
/// Maximum number of earlier values that are remembered per pod. A status that shows a value older than these counts as written
/// by another party.
const BEFORE_MAX: usize = 8;

/// What was requested for one pod.
#[derive(Debug)]
struct Asked {
    node: Option<Atom>,
    /// Values that were requested before, and may yet be written and shown.
    before: SmallVec<[Option<Atom>; 1]>,
    /// What the status shows until something is written.
    shown: Option<Atom>,
    until: Timestamp,
}

/// What was requested in the last two minutes, by pod; one entry per pod, however many requests there were.
#[derive(Debug, Default)]
pub(super) struct AskedNominations {
    by_pod: FxHashMap<Uid, Asked>,
    by_time: BTreeSet<(Timestamp, Uid)>,
}

impl AskedNominations {
    /// Records that a node, or none, is to be written to the pod's status.
    pub fn ask(&mut self, pod: &Pod, node: Option<Atom>, now: Timestamp) {
        let until = now + LATE_FOR;
        let is_known = self.by_pod.contains_key(&pod.uid);
        let asked = self.by_pod.entry(pod.uid.clone()).or_insert_with(|| Asked {
            node: pod.nominated_node_name.clone(),
            before: SmallVec::new(),
            shown: pod.nominated_node_name.clone(),
            until,
        });
        if asked.node != node {
            let before = std::mem::replace(&mut asked.node, node);
            if is_known && !asked.before.contains(&before) {
                asked.before.push(before);
            }
            asked.before.retain(|before| *before != asked.node);
            if asked.before.len() > BEFORE_MAX {
                asked.before.remove(0);
            }
        }
        let known_until = std::mem::replace(&mut asked.until, until);
        self.by_time.remove(&(known_until, pod.uid.clone()));
        self.by_time.insert((until, pod.uid.clone()));
    }

    /// The node that the pod is nominated to, as requested, or otherwise as in its status.
    pub fn node_of<'a>(&'a self, pod: &'a Pod) -> Option<&'a Atom> {
        self.by_pod.get(&pod.uid).map_or(&pod.nominated_node_name, |asked| &asked.node).as_ref()
    }

    /// Whether the status shows this, and no other value is about to be written.
    pub fn is_written(&self, pod: &Pod, node: Option<&Atom>) -> bool {
        pod.nominated_node_name.as_ref() == node && self.node_of(pod) == node
    }

    /// The pod as it will be once the request has been written.
    pub fn applied(&self, pod: Arc<Pod>) -> Arc<Pod> {
        let node = self.node_of(&pod);
        if node == pod.nominated_node_name.as_ref() {
            return pod;
        }
        let node = node.cloned();
        let mut pod = pod;
        Arc::make_mut(&mut pod).nominated_node_name = node;
        pod
    }

    /// Takes note of a status; returns whether it is older than the last request.
    pub fn is_late(&mut self, pod: &Pod, now: Timestamp) -> bool {
        let Some(asked) = self.by_pod.get_mut(&pod.uid) else { return false };
        let status = &pod.nominated_node_name;
        if now < asked.until {
            if *status == asked.node {
                // From now on, the original value can only come back through another party.
                asked.shown = status.clone();
                if !asked.before.is_empty() {
                    return false;
                }
            } else if *status == asked.shown || asked.before.contains(status) {
                return true;
            }
        }
        let until = asked.until;
        self.by_time.remove(&(until, pod.uid.clone()));
        self.by_pod.remove(&pod.uid);
        false
    }

    /// Forgets requests that are too old.
    pub fn tick(&mut self, now: Timestamp) {
        while self.by_time.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, uid)) = self.by_time.pop_first() else { return };
            self.by_pod.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::wire;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(seconds)
    }

    fn pod(node: &str) -> Arc<Pod> {
        let metadata = wire::ObjectMeta { name: "p".into(), uid: "p".into(), ..Default::default() };
        let status = wire::PodStatus { nominated_node_name: node.into(), ..Default::default() };
        let pod = wire::Pod { metadata, status, ..Default::default() };
        Arc::new(Pod::new(&pod).expect("a pod that compiles"))
    }

    fn node(name: &str) -> Option<Atom> {
        (!name.is_empty()).then(|| Atom::new(name))
    }

    /// Requests these nodes one after the other, starting from a status that shows the first.
    fn asked(nodes: &[&str]) -> AskedNominations {
        let mut asked = AskedNominations::default();
        nodes[1..].iter().for_each(|name| asked.ask(&pod(nodes[0]), node(name), at(0)));
        asked
    }

    #[test]
    fn what_was_asked_counts_until_the_status_shows_it() {
        let mut asked = asked(&["", "n"]);
        assert_eq!(asked.applied(pod("")).nominated_node_name, node("n"));
        assert!(!asked.is_written(&pod(""), None) && !asked.is_written(&pod(""), node("n").as_ref()));
        assert!(asked.is_late(&pod(""), at(1)));
        assert!(!asked.is_late(&pod("n"), at(2)));
        assert_eq!(asked.applied(pod("")).nominated_node_name, None, "somebody cleared it");
        assert!(!asked.is_late(&pod(""), at(3)));
    }

    #[test]
    fn what_was_asked_first_may_be_shown_late() {
        let mut asked = asked(&["", "n", ""]);
        assert!(asked.is_written(&pod(""), None) && asked.node_of(&pod("n")).is_none());
        assert!(!asked.is_late(&pod(""), at(1)), "another part of the status has changed");
        assert!(asked.is_late(&pod("n"), at(2)));
        assert_eq!(asked.applied(pod("n")).nominated_node_name, None);
        assert!(!asked.is_late(&pod(""), at(3)));
        assert!(!asked.is_late(&pod("m"), at(4)), "somebody else's");
        assert_eq!(asked.applied(pod("m")).nominated_node_name, node("m"));
    }

    #[test]
    fn what_was_asked_in_between_may_be_shown_between_the_same_twice() {
        let mut asked = asked(&["", "n", "", "n"]);
        for (status, late) in [("n", false), ("", true), ("n", false)] {
            assert_eq!(asked.is_late(&pod(status), at(1)), late, "{status:?}");
            assert_eq!(asked.node_of(&pod(status)), node("n").as_ref());
        }
    }

    #[test]
    fn a_pod_takes_one_place_and_a_bounded_one_however_often_it_is_asked_about() {
        let mut asked = AskedNominations::default();
        for second in 0..1000 {
            asked.ask(&pod(""), node(&format!("n{second}")), at(second));
            asked.tick(at(second));
        }
        assert_eq!((asked.by_pod.len(), asked.by_time.len()), (1, 1));
        assert_eq!(asked.by_pod.values().next().map(|asked| asked.before.len()), Some(BEFORE_MAX));
        assert!(asked.is_late(&pod("n991"), at(1000)));
        assert!(!asked.is_late(&pod("n990"), at(1000)));
        assert!(asked.by_pod.is_empty() && asked.by_time.is_empty());
    }

    #[test]
    fn a_status_that_stays_as_it_was_counts_after_a_time() {
        for ticks in [false, true] {
            let mut asked = asked(&["", "n"]);
            if ticks {
                asked.tick(at(119));
                assert!(asked.is_late(&pod(""), at(119)));
                asked.tick(at(120));
                assert!(asked.by_pod.is_empty() && asked.by_time.is_empty());
            }
            assert!(!asked.is_late(&pod(""), at(120)));
            assert!(asked.node_of(&pod("")).is_none());
        }
    }
}
