//! Which changes are worth another attempt for a pod that a required term rejected.
//!
//! As upstream, a changed pod is compared with all terms of a list together, although the filter looks at anti-affinity
//! terms one by one; and namespace selectors are evaluated without labels. A pod may so miss a change that would have
//! helped, and wait for the flush of the unschedulable pods.

use super::affinity;
use crate::node_events::is_taint_update;
use secondmate_framework::{EventObject, Hint, ObjectChange};
use secondmate_model::{Labels, Node, Pod, PodAffinityTerm};

pub(super) fn hint(pod: &Pod, change: &ObjectChange) -> Hint {
    let worth = match (&change.old, &change.new) {
        (Some(EventObject::Pod(old)), Some(EventObject::Pod(new))) => {
            new.uid == pod.uid
                || (has_place(old) && has_place(new) && (unreadable(pod) || pod_changed(pod, old, new)))
        }
        (None, Some(EventObject::Pod(added))) => {
            has_place(added) && (unreadable(pod) || all_mean(wanted(pod), added))
        }
        (Some(EventObject::Pod(deleted)), None) => {
            has_place(deleted) && (unreadable(pod) || pod_gone(pod, deleted))
        }
        (old @ (None | Some(EventObject::Node(_))), Some(EventObject::Node(new))) => {
            let old = old.as_ref().and_then(EventObject::node);
            is_taint_update(change) || unreadable(pod) || node_changed(pod, old.map(|node| &**node), new)
        }
        _ => true,
    };
    if worth { Hint::Queue } else { Hint::Skip }
}

/// Whether the pod has a node, if only a promised one.
fn has_place(pod: &Pod) -> bool {
    pod.node_name.is_some() || pod.nominated_node_name.is_some()
}

/// Required terms that cannot be evaluated leave nothing to compare with.
fn unreadable(pod: &Pod) -> bool {
    has_error(pod, "required")
}

/// Whether a list of terms with this beginning of its name cannot be evaluated.
fn has_error(pod: &Pod, list: &str) -> bool {
    affinity(pod).is_some_and(|affinity| affinity.errors.iter().any(|error| error.0.starts_with(list)))
}

fn wanted(pod: &Pod) -> &[PodAffinityTerm] {
    affinity(pod).map_or(&[], |affinity| &affinity.required_affinity)
}

fn unwanted(pod: &Pod) -> &[PodAffinityTerm] {
    affinity(pod).map_or(&[], |affinity| &affinity.required_anti_affinity)
}

/// Whether all terms, and at least one, mean the pod.
fn all_mean(terms: &[PodAffinityTerm], pod: &Pod) -> bool {
    let unknown = Labels::default();
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, &unknown))
}

/// It is wanted now, or unwanted no more.
fn pod_changed(pod: &Pod, old: &Pod, new: &Pod) -> bool {
    (!all_mean(wanted(pod), old) && all_mean(wanted(pod), new))
        || (all_mean(unwanted(pod), old) && !all_mean(unwanted(pod), new))
}

fn pod_gone(pod: &Pod, deleted: &Pod) -> bool {
    all_mean(unwanted(pod), deleted)
        || has_error(deleted, "requiredAntiAffinityTerms")
        || all_mean(unwanted(deleted), pod)
}

fn node_changed(pod: &Pod, old: Option<&Node>, new: &Node) -> bool {
    let joined = |term: &PodAffinityTerm| {
        let after = new.labels.get(&term.topology_key);
        after.is_some() && old.and_then(|node| node.labels.get(&term.topology_key)) != after
    };
    let left = |term: &PodAffinityTerm| {
        let Some(old) = old else { return true };
        let before = old.labels.get(&term.topology_key);
        before.is_some() && before != new.labels.get(&term.topology_key)
    };
    wanted(pod).iter().any(joined) || unwanted(pod).iter().any(left)
}

#[cfg(test)]
#[path = "hint_tests.rs"]
mod tests;
