//! Pods that are nominated to a node: ours after a preemption, and those of other schedulers according to their status.

use crate::queue::Promises;
use crate::touched::Touched;
use rustc_hash::FxHashMap;
use secondmate_framework::{Identity, Nominations, NominationsCursor};
use secondmate_model::{Atom, Pod, Uid};
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of changed nodes that are remembered. A reader that is further behind has to look at every node again.
const NOMINATION_CHANGES_MAX: usize = 1 << 14;

/// Nominated pods by node.
#[derive(Clone, Debug, Default)]
pub struct Nominator {
    by_node: FxHashMap<Atom, Vec<Arc<Pod>>>,
    node_of: FxHashMap<Uid, Atom>,
    /// Number of changes.
    changes: u64,
    /// The nodes that the changes concerned, latest last.
    latest: VecDeque<Atom>,
    identity: Identity,
    touched: Touched,
}

impl Promises for Nominator {
    fn is_promised(&self, pod: &Uid) -> bool {
        self.node_of.contains_key(pod)
    }
}

impl Nominator {
    /// Nominates the pod to the node, replacing any other nomination.
    pub fn set(&mut self, pod: &Arc<Pod>, node: &Atom) {
        self.touched.note(&pod.uid);
        self.changed(node);
        if self.node_of.get(&pod.uid) == Some(node)
            && let Some(place) =
                self.by_node.get_mut(node).and_then(|l| l.iter_mut().find(|p| p.uid == pod.uid))
        {
            *place = Arc::clone(pod);
            return;
        }
        self.remove(&pod.uid);
        self.by_node.entry(node.clone()).or_default().push(Arc::clone(pod));
        self.node_of.insert(pod.uid.clone(), node.clone());
    }

    /// Removes a pod's nomination and returns the node.
    pub fn remove(&mut self, uid: &Uid) -> Option<Atom> {
        let node = self.node_of.remove(uid)?;
        self.touched.note(uid);
        self.changed(&node);
        if let Some(list) = self.by_node.get_mut(&node) {
            list.retain(|p| p.uid != *uid);
            if list.is_empty() {
                self.by_node.remove(&node);
            }
        }
        Some(node)
    }

    fn changed(&mut self, node: &Atom) {
        self.changes += 1;
        if self.latest.len() == NOMINATION_CHANGES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(node.clone());
    }

    /// Grows with each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The pods whose nominations changed.
    pub(crate) fn touched(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// The node to which a pod is nominated.
    #[must_use]
    pub fn node_of(&self, uid: &Uid) -> Option<&Atom> {
        self.node_of.get(uid)
    }

    /// The pod as it was when it was nominated.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        let node = self.node_of.get(uid)?;
        self.by_node.get(node)?.iter().find(|p| p.uid == *uid)
    }

    /// Number of nominated pods.
    #[must_use]
    pub fn len(&self) -> usize {
        self.node_of.len()
    }

    /// Whether no pod is nominated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node_of.is_empty()
    }
}

impl Nominations for Nominator {
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    fn nodes(&self) -> Vec<&Atom> {
        self.by_node.keys().collect()
    }

    fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    fn node_of(&self, pod: &Uid) -> Option<&Atom> {
        self.node_of.get(pod)
    }

    fn cursor(&self) -> Option<NominationsCursor> {
        Some(NominationsCursor { of: self.identity.same(), changes: self.changes })
    }

    fn changed_since(&self, cursor: &NominationsCursor) -> Option<Vec<&Atom>> {
        if cursor.of != self.identity {
            return None;
        }
        let missed = usize::try_from(self.changes.checked_sub(cursor.changes)?).ok()?;
        let known = self.latest.len().checked_sub(missed)?;
        Some(self.latest.range(known..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::wire;

    fn pod(name: &str) -> Arc<Pod> {
        let metadata = wire::ObjectMeta { name: name.into(), uid: name.into(), ..Default::default() };
        let pod = wire::Pod { metadata, ..Default::default() };
        Arc::new(Pod::new(&pod).expect("a pod that compiles"))
    }

    fn changed(nominator: &Nominator, cursor: &NominationsCursor) -> Option<Vec<String>> {
        let changed = nominator.changed_since(cursor)?;
        Some(changed.into_iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_nodes_of_changes_are_told_from_a_cursor_on() {
        let (mut nominator, [a, b]) = (Nominator::default(), ["a", "b"].map(Atom::new));
        let begin = nominator.cursor().expect("it is followed");
        nominator.set(&pod("p"), &a);
        let later = nominator.cursor().expect("it is followed");
        assert_eq!(changed(&nominator, &begin), Some(vec!["a".to_owned()]));
        assert_eq!(changed(&nominator, &later), Some(vec![]));
        nominator.set(&pod("p"), &b);
        let moved = changed(&nominator, &later).expect("few");
        assert!(moved.contains(&"a".to_owned()) && moved.contains(&"b".to_owned()), "{moved:?}");
        assert_eq!(changed(&nominator.clone(), &later), None, "a clone is another thing");
        for _ in 0..NOMINATION_CHANGES_MAX {
            nominator.set(&pod("p"), &b);
        }
        assert_eq!(changed(&nominator, &later), None, "too much has changed");
    }
}
