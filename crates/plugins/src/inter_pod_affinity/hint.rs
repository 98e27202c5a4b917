//! Which changes are worth another attempt for a pod that was rejected because of a required term.
//!
//! A hint knows no namespaces except the one that changed, so it cannot evaluate a namespace selector for a pod. Upstream evaluates it as
//! if the namespace had no labels, and does not register for changes of namespaces at all; it also ignores that a pod with affinity to
//! itself may go anywhere once no other pod of its kind is left, and that a new node helps a pod that others keep away. Such pods wait for
//! the flush of the unschedulable pods. `sensible` wakes them: if the plugin cannot know, the pod is retried.

use super::affinity;
use secondmate_framework::{EventObject, Hint, ObjectChange, Parity};
use secondmate_model::objects::Object;
use secondmate_model::{Labels, Node, Pod, PodAffinityTerm};

pub(super) fn hint(pod: &Pod, change: &ObjectChange, parity: Parity) -> Hint {
    let asked = Asked { pod, sensible: parity == Parity::Sensible };
    let worth = match (&change.old, &change.new) {
        // Terms of other pods may match its old labels, but not the new ones.
        (_, Some(EventObject::Pod(new))) if new.uid == pod.uid => true,
        (Some(EventObject::Pod(old)), Some(EventObject::Pod(new))) => {
            has_place(old) && has_place(new) && (unreadable(pod) || asked.pod_changed(old, new))
        }
        (None, Some(EventObject::Pod(added))) => {
            has_place(added) && (unreadable(pod) || asked.are_all_met_by(wanted(pod), added))
        }
        (Some(EventObject::Pod(deleted)), None) => {
            has_place(deleted) && (unreadable(pod) || asked.pod_gone(deleted))
        }
        (old @ (None | Some(EventObject::Node(_))), Some(EventObject::Node(new))) => {
            let old = old.as_ref().and_then(EventObject::node);
            unreadable(pod) || asked.node_changed(old.map(|node| &**node), new)
        }
        (old, Some(EventObject::Other(new))) => {
            namespace_changed(pod, old.as_ref().and_then(EventObject::other).map(|old| &**old), new)
        }
        _ => true,
    };
    if worth { Hint::Queue } else { Hint::Skip }
}

/// Whether the pod has a node, or at least a nominated one.
fn has_place(pod: &Pod) -> bool {
    pod.node_name.is_some() || pod.nominated_node_name.is_some()
}

/// If required terms cannot be evaluated, there is nothing to compare.
fn unreadable(pod: &Pod) -> bool {
    has_error(pod, "required")
}

/// Whether a list of terms whose name starts with this cannot be evaluated.
fn has_error(pod: &Pod, list: &str) -> bool {
    affinity(pod).is_some_and(|affinity| affinity.errors.iter().any(|error| error.0.starts_with(list)))
}

fn wanted(pod: &Pod) -> &[PodAffinityTerm] {
    affinity(pod).map_or(&[], |affinity| &affinity.required_affinity)
}

fn unwanted(pod: &Pod) -> &[PodAffinityTerm] {
    affinity(pod).map_or(&[], |affinity| &affinity.required_anti_affinity)
}

/// The rejected pod, and in which parity to answer.
struct Asked<'a> {
    pod: &'a Pod,
    sensible: bool,
}

impl Asked<'_> {
    /// Whether the term matches the pod, as far as a hint can tell.
    fn is_met_by(&self, term: &PodAffinityTerm, other: &Pod) -> bool {
        if self.sensible && !term.namespace_selector.is_nothing() {
            return term.selector.matches(&other.labels);
        }
        term.matches(other, &Labels::default())
    }

    /// Whether there are terms and all of them match the pod: affinity requires one and the same pod to match them all.
    fn are_all_met_by(&self, terms: &[PodAffinityTerm], other: &Pod) -> bool {
        !terms.is_empty() && terms.iter().all(|term| self.is_met_by(term, other))
    }

    /// Whether any term matches the pod: this makes anti-affinity fail.
    fn is_any_met_by(&self, terms: &[PodAffinityTerm], other: &Pod) -> bool {
        terms.iter().any(|term| self.is_met_by(term, other))
    }

    /// Whether the pod may go anywhere once no pod is left that matches its affinity.
    fn may_be_first_of_its_group(&self) -> bool {
        self.sensible && self.are_all_met_by(wanted(self.pod), self.pod)
    }

    /// Whether the other pod is wanted now, or no longer unwanted.
    fn pod_changed(&self, old: &Pod, new: &Pod) -> bool {
        let (wanted, unwanted) = (wanted(self.pod), unwanted(self.pod));
        let (before, now) = (self.are_all_met_by(wanted, old), self.are_all_met_by(wanted, new));
        (!before && now)
            || (self.is_any_met_by(unwanted, old) && !self.is_any_met_by(unwanted, new))
            || (before && !now && self.may_be_first_of_its_group())
    }

    fn pod_gone(&self, deleted: &Pod) -> bool {
        self.is_any_met_by(unwanted(self.pod), deleted)
            || has_error(deleted, "requiredAntiAffinityTerms")
            || self.is_any_met_by(unwanted(deleted), self.pod)
            || (self.are_all_met_by(wanted(self.pod), deleted) && self.may_be_first_of_its_group())
    }

    fn node_changed(&self, old: Option<&Node>, new: &Node) -> bool {
        if self.sensible {
            // Labels alone decide, also for the terms of existing pods about this one.
            return wanted(self.pod).iter().all(|term| new.labels.get(&term.topology_key).is_some())
                || self.may_be_first_of_its_group();
        }
        let joined = |term: &PodAffinityTerm| {
            let after = new.labels.get(&term.topology_key);
            after.is_some() && old.and_then(|node| node.labels.get(&term.topology_key)) != after
        };
        let left = |term: &PodAffinityTerm| {
            let Some(old) = old else { return true };
            let before = old.labels.get(&term.topology_key);
            before.is_some() && before != new.labels.get(&term.topology_key)
        };
        wanted(self.pod).iter().any(joined) || unwanted(self.pod).iter().any(left)
    }
}

/// Whether a namespace started or stopped matching the selectors of the pod's terms, or is the namespace whose labels let others select the
/// pod.
fn namespace_changed(pod: &Pod, old: Option<&Object>, new: &Object) -> bool {
    let Object::Namespace(name, after) = new else { return true };
    let before = old.and_then(|old| if let Object::Namespace(_, labels) = old { Some(labels) } else { None });
    if before == Some(after) {
        return false;
    }
    let selected = |term: &PodAffinityTerm, labels: Option<&Labels>| {
        labels.is_some_and(|labels| term.namespace_selector.matches(labels))
    };
    *name == pod.namespace
        || unreadable(pod)
        || wanted(pod)
            .iter()
            .chain(unwanted(pod))
            .any(|term| selected(term, before) != selected(term, Some(after)))
}

#[cfg(test)]
#[path = "hint_tests.rs"]
mod tests;
