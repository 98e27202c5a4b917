//! Terms of the incoming pod: whom they mean, with namespace selectors worked into namespaces.

use rustc_hash::FxHashSet;
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, NodeInfo, Pod, PodAffinityTerm};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The namespaces of the pods that a term means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Namespaces {
    /// All.
    Any,
    /// A few, by name.
    Few(SmallVec<[Atom; 2]>),
    /// More than are worth going through one by one.
    Many(FxHashSet<Atom>),
}

/// Of a set its size alone: its order is by chance.
impl Hash for Namespaces {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Any => {}
            Self::Few(names) => names.hash(state),
            Self::Many(names) => names.len().hash(state),
        }
    }
}

/// Above this number a set is faster than a row.
const FEW: usize = 8;

impl Namespaces {
    /// The namespaces that the term names and those that its selector matches now.
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
            Self::Many(names) => names.contains(namespace),
        }
    }
}

/// The namespaces of a list of terms, in its order.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct ExpandedNamespaces(SmallVec<[Namespaces; 2]>);

impl ExpandedNamespaces {
    pub(super) fn of<'a>(terms: impl Iterator<Item = &'a PodAffinityTerm>, objects: &Objects) -> Self {
        Self(terms.map(|term| Namespaces::of(term, objects)).collect())
    }

    /// Whether the term at this place in the list means the pod.
    pub(super) fn matches(&self, at: usize, term: &PodAffinityTerm, pod: &Pod) -> bool {
        term.selector.matches(&pod.labels) && self.0[at].contains(&pod.namespace)
    }

    /// How many of a node's pods the term at this place in the list means.
    pub(super) fn count(&self, at: usize, term: &PodAffinityTerm, node: &NodeInfo) -> i64 {
        let namespaces = &self.0[at];
        let meant =
            |pod: &&Arc<Pod>| term.selector.matches(&pod.labels) && namespaces.contains(&pod.namespace);
        // A node holds at most some hundred pods.
        node.pods_for(&term.selector).iter().filter(meant).count() as i64
    }

    /// How many of a node's pods all terms, and at least one, mean.
    pub(super) fn count_all(&self, terms: &[PodAffinityTerm], node: &NodeInfo) -> i64 {
        let Some(first) = terms.first() else { return 0 };
        let meant = |pod: &&Arc<Pod>| self.all_match(terms, pod);
        node.pods_for(&first.selector).iter().filter(meant).count() as i64
    }

    /// Whether all terms, and at least one, mean the pod.
    pub(super) fn all_match(&self, terms: &[PodAffinityTerm], pod: &Pod) -> bool {
        !terms.is_empty() && terms.iter().enumerate().all(|(at, term)| self.matches(at, term, pod))
    }
}
