//! Terms counted node by node, so that verdicts and scores can be derived without going over all nodes.
//!
//! The only way in which the incoming pod's labels matter to the pods on the nodes is which of their terms match it
//! ([`Snapshot::existing_terms`]): pods that match the same terms are alike.

use super::filter::{Incoming, meaning, rejection};
use super::score::{Preferences, normalized};
use super::{InterPodAffinity, namespace_labels, parse_error};
use rustc_hash::FxHashSet;
use secondmate_framework::{
    COORDINATES_MAX, Context, Coordinate, Coordinates, DomainTotals, ExistingTerm, GroupFilter, GroupScore,
    NodeGroup, Place, Snapshot, Status, TermList, alike_by_key,
};
use secondmate_model::{Atom, Labels, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::hash::Hash;
use std::sync::Arc;

/// Label keys, without duplicates.
type Keys = SmallVec<[Atom; 2]>;

/// Terms of the pods on the nodes.
type ExistingTerms = SmallVec<[Arc<ExistingTerm>; 2]>;

/// Adds the key of a term. `None` if there are too many: each becomes a coordinate.
fn add_key(keys: &mut Keys, term: &PodAffinityTerm) -> Option<()> {
    if keys.contains(&term.topology_key) {
        return Some(());
    }
    if keys.len() == COORDINATES_MAX {
        return None;
    }
    keys.push(term.topology_key.clone());
    Some(())
}

/// The keys of these terms; `None` if there are too many.
fn keys<'a>(mut terms: impl Iterator<Item = &'a PodAffinityTerm>) -> Option<Keys> {
    let mut keys = Keys::new();
    terms.try_for_each(|term| add_key(&mut keys, term))?;
    Some(keys)
}

/// Those terms of the pods on the nodes, in these lists, that match the pod.
fn matching<'a>(
    snapshot: &'a Snapshot,
    pod: &'a Pod,
    namespace_labels: &'a Labels,
    lists: impl Fn(TermList) -> bool,
) -> impl Iterator<Item = &'a Arc<ExistingTerm>> {
    let terms = snapshot.existing_terms_about(&pod.labels);
    terms.filter(move |existing| lists(existing.list) && existing.term.matches(pod, namespace_labels))
}

/// [`matching`], as a list.
pub(super) fn existing(
    snapshot: &Snapshot,
    pod: &Pod,
    namespace_labels: &Labels,
    lists: impl Fn(TermList) -> bool,
) -> ExistingTerms {
    matching(snapshot, pod, namespace_labels, lists).cloned().collect()
}

/// [`existing`], and the pod's own terms that match it: once it is placed, these exist too, so that the first pod of a kind is like those
/// that follow. `None` if they have too many keys.
fn existing_and_own(
    snapshot: &Snapshot,
    pod: &Pod,
    namespace_labels: &Labels,
    lists: impl Fn(TermList) -> bool,
) -> Option<ExistingTerms> {
    let is_own = |own: &ExistingTerm| lists(own.list) && own.term.matches(pod, namespace_labels);
    let mut own: ExistingTerms = ExistingTerm::of(pod).filter(is_own).map(Arc::new).collect();
    // Its own terms come last, whether they exist already or not; of equal ones, the last one counts.
    let mut known = FxHashSet::default();
    own.reverse();
    own.retain(|term| known.insert(Arc::clone(term)));
    own.reverse();
    let others = matching(snapshot, pod, namespace_labels, &lists).filter(|term| !known.contains(*term));
    let (mut terms, mut keys) = (ExistingTerms::new(), Keys::new());
    for term in others.chain(&own) {
        add_key(&mut keys, &term.term)?;
        terms.push(Arc::clone(term));
    }
    Some(terms)
}

/// One coordinate per key: the domain, with the amount that `amount` returns for the key at this position in the list.
fn coordinates<'a>(
    keys: &'a [Atom],
    node: &'a NodeInfo,
    amount: impl Fn(usize) -> i64,
) -> impl Iterator<Item = Coordinate<'a>> {
    keys.iter().enumerate().map(move |(at, key)| match node.node().labels.get(key) {
        Some(value) => Coordinate::Domain { name: value, mark: false, pods: amount(at), counts: true },
        None => Coordinate::Own(0),
    })
}

/// The count for a place's domain; `None` for nodes without the label.
fn amount(place: &Place) -> Option<i64> {
    match place {
        Place::Domain { pods, .. } | Place::Alone { pods, .. } => Some(*pods),
        Place::Own(_) => None,
    }
}

/// The filter by required terms. There is one coordinate for each key of the pod's affinity terms, of its anti-affinity terms, and of the
/// anti-affinity terms that match it.
#[derive(Debug)]
struct Required {
    incoming: Incoming,
    existing: ExistingTerms,
    affinity_keys: Keys,
    anti_affinity_keys: Keys,
    existing_keys: Keys,
}

impl Required {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        (self.incoming.key(), &self.existing)
    }

    fn bytes(&self) -> usize {
        self.incoming.bytes()
    }
}

alike_by_key!(Required, bytes);

impl GroupFilter for Required {
    fn look<'a>(&'a self, node: &'a NodeInfo, to: &mut Coordinates<'a>) {
        let (incoming, wanted, unwanted) =
            (&self.incoming, self.incoming.affinity(), self.incoming.anti_affinity());
        let wanted_here = incoming.affinity_namespaces.count_all(wanted, node);
        let mut unwanted_here: SmallVec<[i64; 2]> = SmallVec::from_elem(0, self.anti_affinity_keys.len());
        let place =
            |keys: &Keys, term: &PodAffinityTerm| keys.iter().position(|key| *key == term.topology_key);
        for (at, term) in unwanted.iter().enumerate() {
            if let Some(key) = place(&self.anti_affinity_keys, term) {
                unwanted_here[key] += incoming.anti_affinity_namespaces.count(at, term, node);
            }
        }
        let mut existing_here: SmallVec<[i64; 2]> = SmallVec::from_elem(0, self.existing_keys.len());
        if !self.existing.is_empty() {
            for pod in node.pods_with_required_anti_affinity() {
                for term in meaning(pod, incoming.pod(), &incoming.namespace_labels) {
                    if let Some(key) = place(&self.existing_keys, term) {
                        existing_here[key] += 1;
                    }
                }
            }
        }
        to.extend(coordinates(&self.affinity_keys, node, |_| wanted_here));
        to.extend(coordinates(&self.anti_affinity_keys, node, |at| unwanted_here[at]));
        to.extend(coordinates(&self.existing_keys, node, |at| existing_here[at]));
    }

    fn filter(&self, places: &[Place], totals: &[DomainTotals]) -> Status {
        let (affinity, others) = places.split_at(self.affinity_keys.len());
        let (anti_affinity, existing) = others.split_at(self.anti_affinity_keys.len());
        let counted = |place: &Place| amount(place).is_some_and(|pods| pods > 0);
        let nowhere =
            || totals[..affinity.len()].iter().all(|totals| totals.most.is_none_or(|most| most <= 0));
        let meets_affinity = affinity.iter().all(|place| amount(place).is_some())
            && (affinity.iter().all(counted) || (self.incoming.wants_its_own_kind && nowhere()));
        rejection(meets_affinity, || !anti_affinity.iter().any(counted), || existing.iter().any(counted))
    }

    fn is_concerned_by(&self, nominated: &Pod) -> bool {
        self.incoming.is_concerned_by(nominated)
    }
}

/// The score by terms. There is one coordinate for each key of the pod's preferred terms and of the terms that match it; the amount of a
/// domain is its score.
#[derive(Debug)]
struct Preferred {
    pod: Arc<Pod>,
    namespace_labels: Labels,
    preferences: Preferences,
    existing: ExistingTerms,
    hard_pod_affinity_weight: i32,
    keys: Keys,
}

impl Preferred {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        (self.preferences.key(), &self.existing, self.hard_pod_affinity_weight)
    }

    fn bytes(&self) -> usize {
        self.preferences.bytes()
    }
}

alike_by_key!(Preferred, bytes);

impl GroupScore for Preferred {
    fn look<'a>(&'a self, node: &'a NodeInfo, to: &mut Coordinates<'a>) {
        let mut here: SmallVec<[i64; 2]> = SmallVec::from_elem(0, self.keys.len());
        let mut add = |key: &Atom, score: i64| {
            if let Some(at) = self.keys.iter().position(|known| known == key) {
                here[at] = here[at].saturating_add(score);
            }
        };
        self.preferences.add(node, &mut add);
        if !self.existing.is_empty() {
            super::score::add_existing(
                self.hard_pod_affinity_weight,
                node,
                &self.pod,
                &self.namespace_labels,
                &mut add,
            );
        }
        to.extend(coordinates(&self.keys, node, |at| here[at]));
    }

    fn score(&self, groups: &[NodeGroup<'_>]) -> Vec<i64> {
        let raw = |group: &NodeGroup<'_>| group.places.iter().filter_map(amount).sum();
        let mut scores: Vec<i64> = groups.iter().map(raw).collect();
        normalized(&mut scores);
        scores
    }
}

impl InterPodAffinity {
    /// The filter by groups; `None` if the terms cannot be read or have too many keys.
    pub(super) fn required(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        if parse_error(pod).is_some() {
            return None;
        }
        let incoming = Incoming::new(pod, cx.snapshot.objects());
        let affinity_keys = keys(incoming.affinity().iter())?;
        let anti_affinity_keys = keys(incoming.anti_affinity().iter())?;
        let required = |list| list == TermList::RequiredAntiAffinity;
        let existing = existing_and_own(cx.snapshot, pod, &incoming.namespace_labels, required)?;
        let existing_keys = keys(existing.iter().map(|existing| &existing.term))?;
        if affinity_keys.len() + anti_affinity_keys.len() + existing_keys.len() > COORDINATES_MAX {
            return None;
        }
        Some(Box::new(Required { affinity_keys, anti_affinity_keys, existing_keys, incoming, existing }))
    }

    /// The terms of the pods on the nodes that score the pod.
    pub(super) fn scoring_terms(
        &self,
        snapshot: &Snapshot,
        pod: &Pod,
        namespace_labels: &Labels,
    ) -> ExistingTerms {
        existing(snapshot, pod, namespace_labels, |list| self.scores(list))
    }

    fn scores(&self, list: TermList) -> bool {
        match list {
            TermList::RequiredAffinity => self.args.hard_pod_affinity_weight > 0,
            TermList::RequiredAntiAffinity => false,
            TermList::PreferredAffinity(_) | TermList::PreferredAntiAffinity(_) => true,
        }
    }

    /// The score by groups; `None` if the terms cannot be read or have too many keys.
    pub(super) fn preferred(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        if parse_error(pod).is_some() {
            return None;
        }
        let namespace_labels = namespace_labels(pod, cx.snapshot.objects());
        let preferences = Preferences::of(pod, cx);
        let mut keys = keys(preferences.terms())?;
        let lists = |list| self.scores(list);
        // A pod that no term scores yet is not scored at all: its own terms alone do not make a group.
        if keys.is_empty() && matching(cx.snapshot, pod, &namespace_labels, lists).next().is_none() {
            return None;
        }
        let existing = existing_and_own(cx.snapshot, pod, &namespace_labels, lists)?;
        existing.iter().try_for_each(|existing| add_key(&mut keys, &existing.term))?;
        Some(Box::new(Preferred {
            pod: Arc::clone(pod),
            namespace_labels,
            preferences,
            existing,
            hard_pod_affinity_weight: self.args.hard_pod_affinity_weight,
            keys,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{pod, snapshot};
    use serde_json::{Value, json};

    /// Anti-affinity to all pods of the namespace over each of these keys.
    fn apart(name: &str, node: &str, keys: &[String]) -> Value {
        let term = |key: &String| json!({"topologyKey": key, "labelSelector": {}});
        let terms: Vec<Value> = keys.iter().map(term).collect();
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": {"nodeName": node,
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
    }

    /// The keys of what is found for a pod with its own terms, beside pods with others.
    fn found(own: &[String], others: &[&[String]]) -> Option<Vec<String>> {
        let mut objects = vec![json!({"kind": "Node", "metadata": {"name": "n"}})];
        objects.extend(others.iter().enumerate().map(|(at, keys)| apart(&format!("o{at}"), "n", keys)));
        let (snapshot, pod) = (snapshot(objects), pod(apart("p", "", own)));
        let terms = existing_and_own(&snapshot, &pod, &Labels::default(), |_| true)?;
        Some(terms.iter().map(|term| term.term.topology_key.to_string()).collect())
    }

    #[test]
    fn the_own_terms_stand_last_and_each_once_whether_they_are_there_already_or_not() {
        let keys = |keys: &str| -> Vec<String> { keys.chars().map(String::from).collect() };
        let (one, other) = (keys("abc"), keys("cde"));
        for (own, expected) in
            [("", "abcde"), ("c", "abdec"), ("cac", "bdeac"), ("xx", "abcdex"), ("fa", "bcdefa")]
        {
            assert_eq!(found(&keys(own), &[&one, &other]), Some(keys(expected)), "{own}");
        }
    }

    #[test]
    fn thousands_of_terms_over_few_keys_are_told_and_over_many_keys_are_not() {
        let keys = |count: usize| -> Vec<String> { (0..count).map(|at| format!("key-{at}")).collect() };
        assert!(found(&keys(COORDINATES_MAX), &[]).is_some());
        assert!(found(&[], &[&keys(COORDINATES_MAX)]).is_some());
        assert!(found(&keys(COORDINATES_MAX), &[&keys(3)]).is_some(), "they are among them");
        for many in [COORDINATES_MAX + 1, 5_000] {
            assert!(found(&keys(many), &[]).is_none());
            assert!(found(&[], &[&keys(many)]).is_none());
        }
        let repeated: Vec<String> = (0..5_000).map(|at| format!("key-{}", at % 10)).collect();
        assert_eq!(found(&repeated, &[&repeated]).map(|keys| keys.len()), Some(10));
    }
}
