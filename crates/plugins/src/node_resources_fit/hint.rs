//! Which events may make room for a pod.

use super::{Ignored, Needs, NodeResourcesFit};
use crate::device_classes;
use secondmate_framework::{EventObject, ObjectChange, Parity};
use secondmate_model::{Atom, Node, Pod, Resources};

impl NodeResourcesFit {
    /// Whether the change may make the pod fit.
    pub(super) fn is_worth_another_attempt(&self, pod: &Pod, change: &ObjectChange) -> bool {
        match (&change.old, &change.new) {
            (Some(EventObject::Pod(deleted)), None) => {
                deleted.node_name.is_some() || deleted.nominated_node_name.is_some()
            }
            (Some(EventObject::Pod(old)), Some(EventObject::Pod(new))) => is_scaled_down_for(pod, old, new),
            (old, Some(EventObject::Node(new))) => {
                let old = old.as_ref().and_then(EventObject::node);
                self.is_node_change_helpful(pod, old.map(AsRef::as_ref), new)
            }
            (old, Some(EventObject::Other(new))) => {
                let old =
                    old.as_ref().and_then(EventObject::other).and_then(|old| device_classes::of_object(old));
                device_classes::of_object(new)
                    .is_none_or(|(class, resource)| is_class_change_helpful(pod, old, class, resource))
            }
            _ => true,
        }
    }

    /// Whether the pod fits on the empty node, and did not before.
    ///
    /// Upstream also retries if a DeviceClass provides a resource that the node has none of; such nodes are not used here (see
    /// `DynamicResources`).
    fn is_node_change_helpful(&self, pod: &Pod, old: Option<&Node>, new: &Node) -> bool {
        let nothing_ignored = Ignored::default();
        // Here upstream disregards which resources the arguments ignore, so that a pod that requests one of these waits for the flush.
        let ignored = if self.parity == Parity::Strict { &nothing_ignored } else { &self.ignored };
        let needs = Needs::of(&pod.requests.filter, ignored, None);
        if !needs.shortage(&new.allocatable, &Resources::default(), 0).reasons.is_empty() {
            return false;
        }
        let Some(old) = old else { return true };
        let (before, now) = (&old.allocatable.resources, &new.allocatable.resources);
        new.allocatable.pods > old.allocatable.pods
            || (needs.milli_cpu > 0 && now.milli_cpu > before.milli_cpu)
            || (needs.memory > 0 && now.memory > before.memory)
            || (needs.ephemeral_storage > 0 && now.ephemeral_storage > before.ephemeral_storage)
            || needs
                .scalars
                .iter()
                .any(|need| now.scalar(&need.name).unwrap_or(0) > before.scalar(&need.name).unwrap_or(0))
    }
}

/// Whether a pod's requests have decreased: those of the waiting pod itself, or an assigned pod's request of something that the waiting pod
/// needs.
fn is_scaled_down_for(pod: &Pod, old: &Pod, new: &Pod) -> bool {
    if new.uid == pod.uid {
        return true;
    }
    if new.node_name.is_none() {
        return false;
    }
    let (wanted, before, now) = (&pod.requests.on_node, &old.requests.on_node, &new.requests.on_node);
    let freed = |wanted: i64, before: i64, now: i64| wanted != 0 && before.max(0) > now.max(0);
    freed(wanted.milli_cpu, before.milli_cpu, now.milli_cpu)
        || freed(wanted.memory, before.memory, now.memory)
        || freed(wanted.ephemeral_storage, before.ephemeral_storage, now.ephemeral_storage)
        || wanted.scalars.iter().any(|(name, wanted)| {
            freed(*wanted, before.scalar(name).unwrap_or(0), now.scalar(name).unwrap_or(0))
        })
}

/// Whether a DeviceClass newly provides an extended resource that the pod requests.
fn is_class_change_helpful(
    pod: &Pod,
    old: Option<(&Atom, Option<&Atom>)>,
    class: &Atom,
    resource: Option<&Atom>,
) -> bool {
    let requests = &pod.requests.filter;
    match old {
        Some((_, old_resource)) if old_resource == resource => return false,
        Some(_) => {}
        None => {
            let implicit = Atom::new(&device_classes::implicit_resource(class));
            if requests.scalar(&implicit).is_some() {
                return true;
            }
        }
    }
    resource.is_some_and(|resource| requests.scalar(resource).is_some())
}
