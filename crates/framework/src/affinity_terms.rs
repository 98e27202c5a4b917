//! The different terms of pod affinity and anti-affinity that the pods on the nodes have.
//!
//! There are few of them: the replicas of a workload have the same. So whether a pod is meant by any is known without a look at the
//! pods that have them.

use rustc_hash::FxHashMap;
use secondmate_model::{NodeInfo, Pod, PodAffinityTerm};
use std::sync::Arc;

/// In which of a pod's lists a term stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermList {
    /// Required affinity.
    RequiredAffinity,
    /// Required anti-affinity.
    RequiredAntiAffinity,
    /// Preferred affinity, with this weight.
    PreferredAffinity(i32),
    /// Preferred anti-affinity, with this weight.
    PreferredAntiAffinity(i32),
}

/// A term of pods on nodes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ExistingTerm {
    /// Where it stands.
    pub list: TermList,
    /// The term.
    pub term: PodAffinityTerm,
}

/// The terms of the pods on the nodes of a snapshot, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct AffinityTerms {
    /// Each with how often pods have it; none where that is never any more.
    rows: Vec<Option<(Arc<ExistingTerm>, usize)>>,
    numbers: FxHashMap<Arc<ExistingTerm>, usize>,
    vacant: Vec<usize>,
}

impl AffinityTerms {
    /// The terms, in an order that follows from the history alone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ExistingTerm>> {
        self.rows.iter().flatten().map(|(term, _)| term)
    }

    /// A node has other pods than it had.
    pub(crate) fn replace(&mut self, old: Option<&NodeInfo>, new: Option<&NodeInfo>) {
        let old = old.map_or(&[][..], NodeInfo::pods_with_affinity);
        let new = new.map_or(&[][..], NodeInfo::pods_with_affinity);
        // Most pods stay where they are in the list.
        let same = old.iter().zip(new).take_while(|(one, other)| Arc::ptr_eq(one, other)).count();
        let (old, new) = (&old[same..], &new[same..]);
        // A node has at most some hundred pods, and a change is mostly one of them.
        let has = |list: &[Arc<Pod>], pod: &Arc<Pod>| list.iter().any(|other| Arc::ptr_eq(other, pod));
        for pod in new.iter().filter(|pod| !has(old, pod)) {
            terms(pod, |term| self.add(term));
        }
        for pod in old.iter().filter(|pod| !has(new, pod)) {
            terms(pod, |term| self.remove(&term));
        }
    }

    fn add(&mut self, term: ExistingTerm) {
        if let Some((_, count)) = self.numbers.get(&term).and_then(|at| self.rows[*at].as_mut()) {
            *count += 1;
            return;
        }
        let term = Arc::new(term);
        let row = Some((Arc::clone(&term), 1));
        let at = match self.vacant.pop() {
            Some(at) => {
                self.rows[at] = row;
                at
            }
            None => {
                self.rows.push(row);
                self.rows.len() - 1
            }
        };
        self.numbers.insert(term, at);
    }

    fn remove(&mut self, term: &ExistingTerm) {
        let Some(&at) = self.numbers.get(term) else { return };
        let Some((_, count)) = &mut self.rows[at] else { return };
        *count -= 1;
        if *count == 0 {
            self.rows[at] = None;
            self.numbers.remove(term);
            self.vacant.push(at);
        }
    }
}

/// Tells the terms of a pod.
fn terms(pod: &Pod, mut tell: impl FnMut(ExistingTerm)) {
    let Some(affinity) = &pod.affinity else { return };
    let mut tell = |list, term: &PodAffinityTerm| tell(ExistingTerm { list, term: term.clone() });
    for term in &affinity.required_affinity {
        tell(TermList::RequiredAffinity, term);
    }
    for term in &affinity.required_anti_affinity {
        tell(TermList::RequiredAntiAffinity, term);
    }
    for weighted in &affinity.preferred_affinity {
        tell(TermList::PreferredAffinity(weighted.weight), &weighted.term);
    }
    for weighted in &affinity.preferred_anti_affinity {
        tell(TermList::PreferredAntiAffinity(weighted.weight), &weighted.term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::{Node, wire};
    use serde_json::{Value, json};

    fn pod(name: &str, app: &str) -> Arc<Pod> {
        let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}});
        let pod = json!({"metadata": {"name": name, "uid": name, "namespace": "ns"}, "spec": {"containers": [], "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": term}]}}}});
        Arc::new(Pod::new(&from::<wire::Pod>(pod)).expect("a pod that compiles"))
    }

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("a well-formed object")
    }

    fn node(pods: &[&Arc<Pod>]) -> NodeInfo {
        let node = json!({"metadata": {"name": "n"}});
        let mut info =
            NodeInfo::new(Arc::new(Node::new(&from::<wire::Node>(node)).expect("a node that compiles")));
        pods.iter().for_each(|pod| info.add_pod(Arc::clone(pod)));
        info
    }

    fn told(terms: &AffinityTerms) -> Vec<(TermList, String)> {
        terms.iter().map(|term| (term.list, term.term.selector.to_string())).collect()
    }

    #[test]
    fn each_term_is_told_once_as_long_as_a_pod_has_it() {
        let [one, like, other] = [("1", "a"), ("2", "a"), ("3", "b")].map(|(name, app)| pod(name, app));
        let of = |app: &str| {
            let selector = one_selector(app);
            [
                (TermList::RequiredAntiAffinity, selector.clone()),
                (TermList::PreferredAntiAffinity(3), selector),
            ]
        };
        let mut terms = AffinityTerms::default();
        let nodes = [node(&[&one, &like]), node(&[&like]), node(&[&other, &like]), node(&[])];
        let mut old = None;
        for (new, expected) in
            nodes.iter().zip([of("a").to_vec(), of("a").to_vec(), [of("a"), of("b")].concat(), vec![]])
        {
            terms.replace(old, Some(new));
            assert_eq!(told(&terms), expected);
            old = Some(new);
        }
        terms.replace(None, Some(&nodes[1]));
        terms.replace(Some(&nodes[1]), None);
        assert_eq!((told(&terms), terms.numbers.len(), terms.rows.len()), (vec![], 0, 4));
    }

    fn one_selector(app: &str) -> String {
        pod("x", app).affinity.as_ref().expect("it has one").required_anti_affinity[0].selector.to_string()
    }
}
