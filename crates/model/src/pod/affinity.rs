//! Affinity of a pod, compiled.

use crate::labels::{LabelSelector, Labels, SelectorError};
use crate::node_selector::{NodeSelector, NodeSelectorTerm};
use crate::{Atom, Pod, wire};

/// All kinds of affinity of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affinity {
    /// Required node affinity.
    pub node_required: Option<NodeSelector>,
    /// Preferred node affinity: weight and term, as written.
    pub node_preferred: Box<[(i32, NodeSelectorTerm)]>,
    /// `podAffinity` is present, even if empty.
    pub declares_pod_affinity: bool,
    /// `podAntiAffinity` is present, even if empty.
    pub declares_pod_anti_affinity: bool,
    /// Required pod affinity.
    pub required_affinity: Box<[PodAffinityTerm]>,
    /// Preferred pod affinity.
    pub preferred_affinity: Box<[WeightedPodAffinityTerm]>,
    /// Required pod anti-affinity.
    pub required_anti_affinity: Box<[PodAffinityTerm]>,
    /// Preferred pod anti-affinity.
    pub preferred_anti_affinity: Box<[WeightedPodAffinityTerm]>,
    /// Why some of the four lists could not be compiled, prefixed with the list's name; such a list is empty, as upstream.
    pub errors: Box<[SelectorError]>,
}

/// A pod affinity term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodAffinityTerm {
    /// Selects pods.
    pub selector: LabelSelector,
    /// Selected namespaces by name, sorted; the pod's own if neither names nor a selector are given.
    pub namespaces: Box<[Atom]>,
    /// Selected namespaces by label.
    pub namespace_selector: LabelSelector,
    /// Node label that defines the domains.
    pub topology_key: Atom,
}

/// A preferred pod affinity term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightedPodAffinityTerm {
    /// Weight.
    pub weight: i32,
    /// Term.
    pub term: PodAffinityTerm,
}

impl PodAffinityTerm {
    fn new(term: &wire::PodAffinityTerm, namespace: &Atom) -> Result<Self, SelectorError> {
        let mut namespaces: Vec<Atom> = term.namespaces.iter().map(|n| Atom::new(n)).collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.clone());
        }
        namespaces.sort();
        namespaces.dedup();
        Ok(Self {
            selector: LabelSelector::optional(term.label_selector.as_ref())?,
            namespaces: namespaces.into(),
            namespace_selector: LabelSelector::optional(term.namespace_selector.as_ref())?,
            topology_key: Atom::new(&term.topology_key),
        })
    }

    /// Whether the term selects the pod; `namespace_labels` are those of the pod's namespace.
    #[must_use]
    #[inline]
    pub fn matches(&self, pod: &Pod, namespace_labels: &Labels) -> bool {
        // Most terms concern other pods of the same namespace.
        self.selector.matches(&pod.labels)
            && (self.namespaces.contains(&pod.namespace) || self.namespace_selector.matches(namespace_labels))
    }
}

impl Affinity {
    pub(super) fn new(affinity: &wire::Affinity, namespace: &Atom) -> Self {
        let mut compiled = Self {
            declares_pod_affinity: affinity.pod_affinity.is_some(),
            declares_pod_anti_affinity: affinity.pod_anti_affinity.is_some(),
            ..Self::default()
        };
        if let Some(node) = &affinity.node_affinity {
            compiled.node_required = node.required.as_ref().map(NodeSelector::new);
            compiled.node_preferred =
                node.preferred.iter().map(|p| (p.weight, NodeSelectorTerm::new(&p.preference))).collect();
        }
        let mut errors = Vec::new();
        if let Some(terms) = &affinity.pod_affinity {
            compiled.required_affinity =
                kept("requiredAffinityTerms", required(&terms.required, namespace), &mut errors);
        }
        if let Some(terms) = &affinity.pod_anti_affinity {
            compiled.required_anti_affinity =
                kept("requiredAntiAffinityTerms", required(&terms.required, namespace), &mut errors);
        }
        if let Some(terms) = &affinity.pod_affinity {
            compiled.preferred_affinity =
                kept("preferredAffinityTerms", preferred(&terms.preferred, namespace), &mut errors);
        }
        if let Some(terms) = &affinity.pod_anti_affinity {
            compiled.preferred_anti_affinity =
                kept("preferredAntiAffinityTerms", preferred(&terms.preferred, namespace), &mut errors);
        }
        compiled.errors = errors.into();
        compiled
    }
}

/// The compiled list, or an empty one while the error is recorded.
fn kept<T: Default>(list: &str, result: Result<T, SelectorError>, errors: &mut Vec<SelectorError>) -> T {
    result.unwrap_or_else(|error| {
        errors.push(SelectorError(format!("{list}: {error}").into()));
        T::default()
    })
}

fn required(
    terms: &[wire::PodAffinityTerm],
    namespace: &Atom,
) -> Result<Box<[PodAffinityTerm]>, SelectorError> {
    terms.iter().map(|t| PodAffinityTerm::new(t, namespace)).collect()
}

fn preferred(
    terms: &[wire::WeightedPodAffinityTerm],
    namespace: &Atom,
) -> Result<Box<[WeightedPodAffinityTerm]>, SelectorError> {
    terms
        .iter()
        .map(|t| {
            let term = PodAffinityTerm::new(&t.pod_affinity_term, namespace)?;
            Ok(WeightedPodAffinityTerm { weight: t.weight, term })
        })
        .collect()
}
