//! The distinct pod affinity and anti-affinity terms of the pods on the nodes.
//!
//! There are few of them, because the replicas of a workload share the same terms. So the terms that may select a pod can be
//! found without looking at the pods that have them.

use rustc_hash::FxHashMap;
use secondmate_model::{Atom, Labels, NodeInfo, Pod, PodAffinityTerm, Requirement};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which of a pod's lists a term is in.
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
    /// The list that it is in.
    pub list: TermList,
    /// The term.
    pub term: PodAffinityTerm,
}

impl ExistingTerm {
    /// The terms that a pod has, or will have once it is on a node.
    pub fn of(pod: &Pod) -> impl Iterator<Item = Self> {
        pod.affinity.iter().flat_map(|affinity| {
            let term = |list| move |term: &PodAffinityTerm| Self { list, term: term.clone() };
            let affinities = affinity.required_affinity.iter().map(term(TermList::RequiredAffinity));
            let anti = affinity.required_anti_affinity.iter().map(term(TermList::RequiredAntiAffinity));
            let preferred = affinity.preferred_affinity.iter();
            let preferred = preferred.map(move |w| term(TermList::PreferredAffinity(w.weight))(&w.term));
            let avoided = affinity.preferred_anti_affinity.iter();
            let avoided = avoided.map(move |w| term(TermList::PreferredAntiAffinity(w.weight))(&w.term));
            affinities.chain(anti).chain(preferred).chain(avoided)
        })
    }
}

/// The terms of the pods on the nodes of a snapshot, without duplicates.
#[derive(Clone, Debug, Default)]
pub(crate) struct AffinityTerms {
    /// `None` once no pod has the term any more.
    rows: Vec<Option<Row>>,
    numbers: FxHashMap<Arc<ExistingTerm>, usize>,
    vacant: Vec<usize>,
    /// Rows by a label that their selectors require: key, then value.
    by_label: FxHashMap<Atom, FxHashMap<Atom, BTreeSet<usize>>>,
    /// Rows whose selectors do not require any label to have one specific value.
    others: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Row {
    term: Arc<ExistingTerm>,
    /// How many times pods have it.
    pods: usize,
    /// The requirement whose label the row is filed under, by its index in the selector.
    under: Option<usize>,
}

impl Row {
    fn label(&self) -> Option<(&Atom, &Atom)> {
        label(&self.term.term.selector.requirements()[self.under?])
    }
}

/// The label that every pod matching the requirement must have, if there is one.
fn label(requirement: &Requirement) -> Option<(&Atom, &Atom)> {
    match requirement {
        Requirement::In(key, values) => {
            values.first().filter(|_| values.len() == 1).map(|value| (key, value))
        }
        _ => None,
    }
}

impl AffinityTerms {
    /// The terms that may match a pod with these labels, in an order that depends only on the history. No other term matches.
    pub(crate) fn about(&self, labels: &Labels) -> impl Iterator<Item = &Arc<ExistingTerm>> {
        self.rows_about(labels).into_iter().filter_map(|at| self.rows[at].as_ref()).map(|row| &row.term)
    }

    fn rows_about(&self, labels: &Labels) -> SmallVec<[usize; 8]> {
        let with = labels.iter().filter_map(|(key, value)| self.filed(key, value));
        let mut rows: SmallVec<[usize; 8]> = with.flatten().chain(&self.others).copied().collect();
        rows.sort_unstable();
        rows
    }

    fn filed(&self, key: &Atom, value: &Atom) -> Option<&BTreeSet<usize>> {
        self.by_label.get(key)?.get(value)
    }

    /// The requirement whose label currently has the fewest rows filed under it, by index. Many terms share a label, such as the
    /// component of a chart with many releases, and have another label that distinguishes them.
    fn best_label(&self, term: &PodAffinityTerm) -> Option<usize> {
        let requirements = term.selector.requirements().iter().enumerate();
        let labels = requirements.filter_map(|(at, requirement)| Some((at, label(requirement)?)));
        let best = labels.min_by_key(|(_, (key, value))| self.filed(key, value).map_or(0, BTreeSet::len));
        best.map(|(at, _)| at)
    }

    fn file(&mut self, row: &Row, at: usize) {
        let rows = match row.label() {
            Some((key, value)) => {
                self.by_label.entry(key.clone()).or_default().entry(value.clone()).or_default()
            }
            None => &mut self.others,
        };
        rows.insert(at);
    }

    fn unfile(&mut self, row: &Row, at: usize) {
        let Some((key, value)) = row.label() else {
            self.others.remove(&at);
            return;
        };
        let Some(values) = self.by_label.get_mut(key) else { return };
        if let Some(rows) = values.get_mut(value) {
            rows.remove(&at);
            if rows.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }

    /// The pods of a node have changed.
    pub(crate) fn replace(&mut self, old: Option<&NodeInfo>, new: Option<&NodeInfo>) {
        let old = old.map_or(&[][..], NodeInfo::pods_with_affinity);
        let new = new.map_or(&[][..], NodeInfo::pods_with_affinity);
        // Most pods keep their place in the list.
        let same = old.iter().zip(new).take_while(|(one, other)| Arc::ptr_eq(one, other)).count();
        let (old, new) = (&old[same..], &new[same..]);
        // A node has at most some hundred pods, and a change usually concerns one of them.
        let has = |list: &[Arc<Pod>], pod: &Arc<Pod>| list.iter().any(|other| Arc::ptr_eq(other, pod));
        for pod in new.iter().filter(|pod| !has(old, pod)) {
            ExistingTerm::of(pod).for_each(|term| self.add(term));
        }
        for pod in old.iter().filter(|pod| !has(new, pod)) {
            ExistingTerm::of(pod).for_each(|term| self.remove(&term));
        }
    }

    fn add(&mut self, term: ExistingTerm) {
        if let Some(row) = self.numbers.get(&term).and_then(|at| self.rows[*at].as_mut()) {
            row.pods += 1;
            return;
        }
        let term = Arc::new(term);
        let row = Row { under: self.best_label(&term.term), term: Arc::clone(&term), pods: 1 };
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.rows.push(None);
            self.rows.len() - 1
        });
        self.file(&row, at);
        self.rows[at] = Some(row);
        self.numbers.insert(term, at);
    }

    fn remove(&mut self, term: &ExistingTerm) {
        let Some(&at) = self.numbers.get(term) else { return };
        let Some(row) = &mut self.rows[at] else { return };
        row.pods -= 1;
        if row.pods == 0
            && let Some(row) = self.rows[at].take()
        {
            self.unfile(&row, at);
            self.numbers.remove(term);
            self.vacant.push(at);
        }
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
        let rows = terms.rows.iter().flatten();
        rows.map(|row| (row.term.list, row.term.term.selector.to_string())).collect()
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

    #[test]
    fn a_pod_is_told_the_terms_that_may_match_it_and_no_longer_than_a_pod_has_them() {
        let any = json!({"metadata": {"name": "4", "uid": "4", "namespace": "ns"}, "spec": {"containers": [], "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}]}}}});
        let any = Arc::new(Pod::new(&from::<wire::Pod>(any)).expect("a pod that compiles"));
        let nodes = [node(&[&pod("1", "a"), &pod("2", "b")]), node(&[&any]), node(&[&pod("3", "b")])];
        let mut terms = AffinityTerms::default();
        nodes.iter().for_each(|node| terms.replace(None, Some(node)));
        let about = |terms: &AffinityTerms, app: &str| {
            let labels = [("app", app), ("x", "y")].into_iter().collect();
            terms.about(&labels).map(|term| term.term.selector.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(about(&terms, "a"), "app=a app=a app");
        assert_eq!(about(&terms, "b"), "app=b app=b app");
        assert_eq!(about(&terms, "c"), "app");
        terms.replace(Some(&nodes[0]), None);
        assert_eq!(about(&terms, "a"), "app");
        assert_eq!(about(&terms, "b"), "app=b app=b app");
        nodes[1..].iter().for_each(|node| terms.replace(Some(node), None));
        assert!(terms.by_label.is_empty() && terms.others.is_empty(), "{terms:?}");
    }

    #[test]
    fn a_term_is_filed_where_the_fewest_are() {
        let labels = |release: usize| {
            let release = format!("r{release}");
            let labels = [("component", "primary"), ("instance", release.as_str()), ("name", "db")];
            json!(labels.into_iter().collect::<std::collections::BTreeMap<_, _>>())
        };
        let of_release = |release: usize| {
            let term = json!({"topologyKey": "host", "labelSelector": {"matchLabels": labels(release)}});
            let pod = json!({"metadata": {"name": "p", "uid": release.to_string(), "namespace": "ns", "labels": labels(release)},
                "spec": {"containers": [], "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
            Arc::new(Pod::new(&from::<wire::Pod>(pod)).expect("a pod that compiles"))
        };
        let mut terms = AffinityTerms::default();
        let pods: Vec<_> = (0..500).map(of_release).collect();
        let nodes: Vec<_> = pods.iter().map(|pod| node(&[pod])).collect();
        nodes.iter().for_each(|node| terms.replace(None, Some(node)));
        for pod in &pods {
            // Its own, and the few that were filed when there was no difference between the labels yet.
            assert!(terms.rows_about(&pod.labels).len() <= 3);
            let means_it = |term: &&Arc<ExistingTerm>| term.term.selector.matches(&pod.labels);
            assert_eq!(terms.about(&pod.labels).filter(means_it).count(), 1);
        }
        nodes.iter().for_each(|node| terms.replace(Some(node), None));
        assert!(terms.by_label.is_empty() && terms.others.is_empty(), "{terms:?}");
    }

    #[test]
    fn a_pod_with_thousands_of_terms_comes_and_goes() {
        let terms: Vec<Value> = (0..5_000)
            .map(|at| json!({"topologyKey": format!("key-{at}"), "labelSelector": {"matchLabels": {"app": "a"}}}))
            .collect();
        let any: Vec<Value> =
            (0..5_000).map(|at| json!({"topologyKey": format!("key-{at}"), "labelSelector": {}})).collect();
        let pod = json!({"metadata": {"name": "p", "uid": "p", "namespace": "ns"}, "spec": {"containers": [], "affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": any},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}});
        let pod = Arc::new(Pod::new(&from::<wire::Pod>(pod)).expect("a pod that compiles"));
        let (empty, with) = (node(&[]), node(&[&pod]));
        let mut terms = AffinityTerms::default();
        for _ in 0..2 {
            terms.replace(Some(&empty), Some(&with));
            assert_eq!(terms.rows_about(&[("app", "a")].into_iter().collect()).len(), 10_000);
            terms.replace(Some(&with), Some(&empty));
            assert!(terms.by_label.is_empty() && terms.others.is_empty() && terms.numbers.is_empty());
        }
        assert_eq!(terms.rows.len(), 10_000, "they are used again");
    }

    fn one_selector(app: &str) -> String {
        pod("x", app).affinity.as_ref().expect("it has one").required_anti_affinity[0].selector.to_string()
    }
}
