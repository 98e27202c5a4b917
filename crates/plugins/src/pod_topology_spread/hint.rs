//! Which changes are worth another attempt for a pod that was rejected because of a hard constraint.
//!
//! A hint has no snapshot, so the selector of default constraints is not known here: if it would decide, the pod is queued. The worst that
//! can happen is that a pod is woken unnecessarily, and only if hard default constraints are configured.

use super::PodTopologySpread;
use super::constraints::{Constraints, own};
use secondmate_framework::{EventObject, Hint, ObjectChange};
use secondmate_model::{Labels, Node, Pod, WhenUnsatisfiable};

/// The hard constraints, as far as a hint knows them.
struct Known {
    constraints: Constraints,
    /// They are defaults, so their selectors are not known.
    defaults: bool,
}

impl Known {
    /// Whether a pod with these labels counts for some constraint, as far as this is known.
    fn counts(&self, labels: &Labels) -> bool {
        self.defaults || self.constraints.selectors.iter().any(|selector| selector.matches(labels))
    }
}

impl PodTopologySpread {
    pub(super) fn hint_of(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let known = if pod.spread_constraints.is_empty() {
            let constraints = self.defaults_of(WhenUnsatisfiable::DoNotSchedule);
            Known { defaults: !constraints.is_empty(), constraints }
        } else {
            match own(pod, WhenUnsatisfiable::DoNotSchedule) {
                Ok(constraints) => Known { constraints, defaults: false },
                Err(_) => return Hint::Queue,
            }
        };
        let worth = match (&change.old, &change.new) {
            (Some(EventObject::Node(old)), Some(EventObject::Node(new))) => node_changed(&known, old, new),
            (Some(EventObject::Node(node)), None) | (None, Some(EventObject::Node(node))) => {
                known.constraints.keys_on(&node.labels)
            }
            (Some(EventObject::Pod(old)), Some(EventObject::Pod(new))) => {
                involved(new, pod) && involved(old, pod) && pod_changed(&known, pod, old, new)
            }
            (Some(EventObject::Pod(other)), None) | (None, Some(EventObject::Pod(other))) => {
                involved(other, pod) && known.counts(&other.labels)
            }
            _ => true,
        };
        if worth { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod matters to the spreading of another: it is that pod, or it has a node, or at least a nominated one.
fn involved(other: &Pod, pod: &Pod) -> bool {
    other.uid == pod.uid
        || ((other.node_name.is_some() || other.nominated_node_name.is_some())
            && other.namespace == pod.namespace)
}

fn pod_changed(known: &Known, pod: &Pod, old: &Pod, new: &Pod) -> bool {
    let honors_taints = || known.constraints.list.iter().any(|constraint| constraint.honor_node_taints);
    if new.uid == pod.uid && new.tolerations != old.tolerations && honors_taints() {
        return true;
    }
    if new.labels == old.labels {
        return false;
    }
    known.defaults
        || known
            .constraints
            .selectors
            .iter()
            .any(|selector| selector.matches(&old.labels) != selector.matches(&new.labels))
}

fn node_changed(known: &Known, old: &Node, new: &Node) -> bool {
    let constraints = &known.constraints;
    let (before, after) = (constraints.keys_on(&old.labels), constraints.keys_on(&new.labels));
    if before != after {
        return true;
    }
    let moved = || constraints.list.iter().any(|c| old.labels.get(&c.key) != new.labels.get(&c.key));
    after && (moved() || old.taints != new.taints)
}

#[cfg(test)]
#[path = "hint_tests.rs"]
mod tests;
