//! VolumeZone: volumes with zone or region labels are used on nodes with the same labels.
//!
//! Source: `pkg/scheduler/framework/plugins/volumezone`.

use crate::pod_claims;
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Reading,
    Status, alike_by_key,
};
use secondmate_model::migration::{BETA_REGION, BETA_ZONE, REGION, ZONE, ZONE_DELIMITER};
use secondmate_model::objects::{Object, ObjectKind, Objects, PersistentVolume};
use secondmate_model::{Atom, Labels, NodeInfo, Pod};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name.
pub const NAME: &str = "VolumeZone";
const CONFLICT: &str = "node(s) had no available volume zone";

/// The plugin.
#[derive(Debug)]
pub struct VolumeZone {
    /// The labels that are considered, each with the label that replaced it.
    labels: [(Atom, Atom); 4],
}

/// A requirement of a volume: the node's label has one of the values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topology {
    key: Atom,
    /// The label that replaced `key`; it is used if the node does not have `key`.
    successor: Atom,
    values: BTreeSet<Atom>,
}

impl Topology {
    fn is_met_by(&self, node: &Labels) -> bool {
        let value = node.get(&self.key).or_else(|| node.get(&self.successor));
        value.is_some_and(|value| self.values.contains(value))
    }
}

/// The requirements of the pod's volumes.
#[derive(Clone, Debug)]
struct Topologies(Arc<[Topology]>);

impl Topologies {
    fn key(&self) -> &[Topology] {
        &self.0
    }
}

alike_by_key!(Topologies);

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let pair = |key: &str, successor: &str| (Atom::new(key), Atom::new(successor));
    Ok(Arc::new(VolumeZone {
        labels: [pair(BETA_ZONE, ZONE), pair(BETA_REGION, REGION), pair(ZONE, ZONE), pair(REGION, REGION)],
    }))
}

impl VolumeZone {
    /// The requirements of a volume. A label with an empty part is ignored.
    fn topologies<'a>(&'a self, volume: &'a PersistentVolume) -> impl Iterator<Item = Topology> + use<'a> {
        self.labels.iter().filter_map(|(key, successor)| {
            let parts: Vec<&str> =
                volume.labels.get(key)?.as_str().split(ZONE_DELIMITER).map(str::trim).collect();
            if parts.iter().any(|part| part.is_empty()) {
                return None;
            }
            let values = parts.into_iter().map(Atom::new).collect();
            Some(Topology { key: key.clone(), successor: successor.clone(), values })
        })
    }

    fn of_pod(&self, objects: &Objects, pod: &Pod) -> Result<Vec<Topology>, Status> {
        let mut topologies = Vec::new();
        for name in pod_claims::named(pod) {
            if name.is_empty() {
                return Err(Status::unresolvable("PersistentVolumeClaim had no name"));
            }
            let claim = pod_claims::claim(objects, pod, name)
                .ok_or_else(|| Status::unresolvable(pod_claims::claim_not_found(name)))?;
            if claim.volume_name.is_empty() {
                unbound(objects, claim.storage_class.as_ref())?;
                continue;
            }
            let volume = objects.volumes.get(&claim.volume_name).ok_or_else(|| {
                Status::unresolvable(format!("persistentvolume {:?} not found", claim.volume_name))
            })?;
            topologies.extend(self.topologies(volume));
        }
        Ok(topologies)
    }
}

/// A claim that is not bound is not this plugin's concern if its class waits for a consumer.
fn unbound(objects: &Objects, class: Option<&Atom>) -> Result<(), Status> {
    let Some(name) = class.filter(|name| !name.is_empty()) else {
        return Err(Status::unresolvable("PersistentVolumeClaim had no pv name and storageClass name"));
    };
    let Some(class) = objects.storage_classes.get(name) else {
        return Err(Status::unresolvable(format!(
            "storageclass.storage.k8s.io {:?} not found",
            name.as_str()
        )));
    };
    match class.wait_for_first_consumer {
        Some(true) => Ok(()),
        Some(false) => Err(Status::unresolvable("PersistentVolume had no name")),
        None => Err(Status::unresolvable(format!(
            "VolumeBindingMode not set for StorageClass {:?}",
            name.as_str()
        ))),
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::VOLUMES, NodeParts::LABELS).with_objects(&[
            ObjectKind::PersistentVolume,
            ObjectKind::PersistentVolumeClaim,
            ObjectKind::StorageClass,
        ])
    }

    fn reading(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        // Wherever the volumes are, pods that require the same zones are alike.
        state.read::<Topologies>().cloned().map(Reading::of)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        let add_or_update = ActionType::ADD | ActionType::UPDATE;
        vec![
            EventRegistration::new(EventResource::StorageClass, ActionType::ADD),
            EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
            EventRegistration::new(EventResource::PersistentVolumeClaim, add_or_update),
            EventRegistration::new(EventResource::PersistentVolume, add_or_update),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let other = |object: &'_ Option<secondmate_framework::EventObject>| {
            object.as_ref().and_then(|o| o.other()).map(Arc::clone)
        };
        let (old, new) = (other(&change.old), other(&change.new));
        let relevant = match (old.as_deref(), new.as_deref()) {
            (_, Some(Object::StorageClass(class))) => class.wait_for_first_consumer == Some(true),
            (_, Some(Object::PersistentVolumeClaim(claim))) => pod_claims::names(pod, claim),
            (Some(Object::PersistentVolume(old)), Some(Object::PersistentVolume(new))) => {
                !self.topologies(old).eq(self.topologies(new))
            }
            _ => true,
        };
        if relevant { Hint::Queue } else { Hint::Skip }
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node.map(NodeInfo::node) else {
            return pod_claims::facts(cx.snapshot.objects(), pod);
        };
        let demands = match state.read::<Topologies>() {
            Some(Topologies(demands)) => demands.to_vec(),
            None => self.of_pod(cx.snapshot.objects(), pod).unwrap_or_default(),
        };
        let unmet = demands.iter().filter(|topology| !topology.is_met_by(&node.labels));
        let fact = |topology: &Topology| {
            let (key, values) = (&topology.key, topology.values.iter().map(Atom::as_str).collect::<Vec<_>>());
            let text = format!("a volume of the pod is in {key} {}, the node is not", values.join(" or "));
            Fact::new(text).helped_by(format!("room on nodes in {key} {}", values.join(" or ")))
        };
        unmet.map(fact).collect()
    }
}

impl PreFilter for VolumeZone {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        match self.of_pod(cx.snapshot.objects(), pod) {
            Err(status) => status.into(),
            Ok(topologies) if topologies.is_empty() => Status::skip().into(),
            Ok(topologies) => {
                state.write(Topologies(topologies.into()));
                PreFilterOutcome::default()
            }
        }
    }
}

impl Filter for VolumeZone {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let labels = &node.node().labels;
        match state.read::<Topologies>() {
            Some(topologies) => self.check(&topologies.0, labels),
            // PreFilter is disabled in the profile: as upstream, the requirements are looked up for each node.
            None => match self.of_pod(cx.snapshot.objects(), pod) {
                Ok(topologies) => self.check(&topologies, labels),
                Err(status) => status,
            },
        }
    }
}

impl VolumeZone {
    /// A node without any of the labels belongs to a cluster without zones and takes every volume.
    fn check(&self, topologies: &[Topology], node: &Labels) -> Status {
        if !self.labels.iter().any(|(key, _)| node.get(key).is_some()) {
            return Status::SUCCESS;
        }
        if topologies.iter().all(|topology| topology.is_met_by(node)) {
            Status::SUCCESS
        } else {
            Status::unresolvable(CONFLICT)
        }
    }
}

#[cfg(test)]
mod tests;
