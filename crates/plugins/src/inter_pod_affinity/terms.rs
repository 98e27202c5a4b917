//! The incoming pod's terms: which pods they match, with namespace selectors resolved to namespaces.

use rustc_hash::FxHashSet;
use secondmate_framework::hash_of;
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The namespaces of the pods that a term can match.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Namespaces {
    /// All.
    Any,
    /// A few, by name.
    Few(SmallVec<[Atom; 2]>),
    /// Too many to go through one by one.
    Many(NamespaceSet),
}

impl Hash for Namespaces {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Any => {}
            Self::Few(names) => names.hash(state),
            Self::Many(set) => set.hash.hash(state),
        }
    }
}

/// A set of namespaces, in no particular order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamespaceSet {
    /// The sum of the names' hashes: it does not depend on their order, which is arbitrary, and distinguishes sets of the same size.
    hash: u64,
    names: FxHashSet<Atom>,
}

impl FromIterator<Atom> for NamespaceSet {
    fn from_iter<T: IntoIterator<Item = Atom>>(names: T) -> Self {
        let names: FxHashSet<Atom> = names.into_iter().collect();
        let hash = names.iter().fold(0_u64, |sum, name| sum.wrapping_add(hash_of(name)));
        Self { hash, names }
    }
}

/// Above this number, a set is faster than a list.
const FEW: usize = 8;

impl Namespaces {
    /// The namespaces that the term names, and those that its selector currently matches.
    fn of(term: &PodAffinityTerm, objects: &Objects) -> Self {
        let selector = &term.namespace_selector;
        if selector.is_everything() {
            return Self::Any;
        }
        let mut names: SmallVec<[Atom; 2]> = term.namespaces.iter().cloned().collect();
        if !selector.is_nothing() {
            let matching = objects.namespaces.iter().filter(|(_, labels)| selector.matches(labels));
            names.extend(matching.map(|(name, _)| name.clone()));
        }
        if names.len() <= FEW { Self::Few(names) } else { Self::Many(names.into_iter().collect()) }
    }

    fn contains(&self, namespace: &Atom) -> bool {
        match self {
            Self::Any => true,
            Self::Few(names) => names.contains(namespace),
            Self::Many(set) => set.names.contains(namespace),
        }
    }
}

/// Memory that the set's table needs per slot: the name, and a control byte.
const NAME_BYTES: usize = size_of::<Atom>() + 1;

/// The namespaces for a list of terms, in its order.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct ExpandedNamespaces(SmallVec<[Namespaces; 2]>);

impl ExpandedNamespaces {
    pub(super) fn of<'a>(terms: impl Iterator<Item = &'a PodAffinityTerm>, objects: &Objects) -> Self {
        Self(terms.map(|term| Namespaces::of(term, objects)).collect())
    }

    /// Memory used by the names, in bytes: with a selector that matches most namespaces, this grows with their number in the cluster.
    pub(super) fn bytes(&self) -> usize {
        let of = |namespaces: &Namespaces| match namespaces {
            Namespaces::Any => 0,
            Namespaces::Few(names) => names.len() * size_of::<Atom>(),
            Namespaces::Many(set) => set.names.capacity() * NAME_BYTES,
        };
        self.0.iter().map(of).sum()
    }

    /// Whether the term at this position in the list matches the pod.
    pub(super) fn matches(&self, at: usize, term: &PodAffinityTerm, pod: &Pod) -> bool {
        term.selector.matches(&pod.labels) && self.0[at].contains(&pod.namespace)
    }

    /// How many of a node's pods match the term at this position in the list.
    pub(super) fn count(&self, at: usize, term: &PodAffinityTerm, node: &NodeInfo) -> i64 {
        let namespaces = &self.0[at];
        let meant =
            |pod: &&Arc<Pod>| term.selector.matches(&pod.labels) && namespaces.contains(&pod.namespace);
        // A node holds at most a few hundred pods.
        node.pods_for(&term.selector).iter().filter(meant).count() as i64
    }

    /// How many of a node's pods match all terms; 0 if there are no terms.
    pub(super) fn count_all(&self, terms: &[PodAffinityTerm], node: &NodeInfo) -> i64 {
        let Some(first) = terms.first() else { return 0 };
        let meant = |pod: &&Arc<Pod>| self.all_match(terms, pod);
        node.pods_for(&first.selector).iter().filter(meant).count() as i64
    }

    /// Whether there are terms and the pod matches all of them.
    pub(super) fn all_match(&self, terms: &[PodAffinityTerm], pod: &Pod) -> bool {
        !terms.is_empty() && terms.iter().enumerate().all(|(at, term)| self.matches(at, term, pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(names: impl Iterator<Item = u32>) -> Namespaces {
        Namespaces::Many(names.map(|name| Atom::new(&format!("ns{name}"))).collect())
    }

    #[test]
    fn large_sets_hash_to_what_is_in_them_in_whatever_order() {
        let hash = |namespaces: &Namespaces| hash_of(namespaces);
        let (set, other) = (many(0..1000), many(1..1001));
        assert_eq!((&set, hash(&set)), (&many((0..1000).rev()), hash(&many((0..1000).rev()))));
        assert_ne!(hash(&set), hash(&other), "of the same size");
    }
}
