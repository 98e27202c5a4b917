//! NodeVolumeLimits: no more volumes of a CSI driver on a node than the node can attach, and no volumes of a driver that must be installed
//! on the node and is not.
//!
//! Source: `pkg/scheduler/framework/plugins/nodevolumelimits`.

mod attachable;
mod brought;
mod reading;

use crate::pod_claims;
use attachable::{Attachable, Attachables, OwnedAttachable};
use brought::Brought;
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Parity, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome,
    Reading, Status,
};
use secondmate_model::objects::{CsiNode, Object, ObjectKind, Objects};
use secondmate_model::{Atom, NodeInfo, Pod, Volume, VolumeSource};
use serde_json::Value;
use smallvec::SmallVec;
use std::sync::Arc;

/// Name.
pub const NAME: &str = "NodeVolumeLimits";
const EXCEEDED: &str = "node(s) exceed max volume count";

/// The plugin.
#[derive(Debug)]
pub struct NodeVolumeLimits {
    parity: Parity,
}

/// The volumes that the pod adds, in its order.
#[derive(Clone, Debug)]
struct NewVolumes {
    volumes: Arc<[NewVolume]>,
    /// Why the volumes after these could not be determined.
    failure: Option<Status>,
    /// The same volumes, as they are counted on each node.
    brought: Arc<Brought>,
}

#[derive(Clone, Debug)]
enum NewVolume {
    Attachable(OwnedAttachable),
    /// An inline volume that cannot be translated for its CSI driver; an error on nodes that have a CSINode.
    Untranslatable(String),
}

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(NodeVolumeLimits { parity: handle.parity }))
}

/// Whether the volume may count against a limit.
fn may_attach(volume: &Volume) -> bool {
    matches!(volume.source, VolumeSource::Claim { .. } | VolumeSource::Ephemeral)
        || volume.migration.is_some()
}

fn untranslatable(volume: &Volume, reason: &str) -> String {
    format!("converting volume({}) from inline to csi: {reason}", volume.name)
}

impl NewVolumes {
    fn of(objects: &Objects, pod: &Pod) -> Self {
        let mut volumes = Vec::new();
        let mut failure = None;
        for volume in &pod.volumes {
            match new_volume(objects, pod, volume) {
                Ok(None) => {}
                Ok(Some(found)) => volumes.push(found),
                Err(status) => {
                    failure = Some(status);
                    break;
                }
            }
        }
        Self { brought: Arc::new(Brought::of(&volumes)), volumes: volumes.into(), failure }
    }
}

fn new_volume(objects: &Objects, pod: &Pod, volume: &Volume) -> Result<Option<NewVolume>, Status> {
    let of_claim = pod_claims::with_claim_name(pod, volume, |kind, name| {
        if name.is_empty() {
            return Err(Status::error("PersistentVolumeClaim had no name"));
        }
        let Some(claim) = pod_claims::claim(objects, pod, name) else {
            let why = pod_claims::claim_not_found(name);
            return Err(Status::unresolvable(format!("looking up PVC {}/{name}: {why}", pod.namespace)));
        };
        if kind == pod_claims::ClaimKind::Ephemeral {
            pod_claims::is_for_pod(pod, claim).map_err(Status::error)?;
        }
        Ok(Attachable::of_claim(objects, claim).map(|found| NewVolume::Attachable(found.to_owned())))
    });
    if let Some(result) = of_claim {
        return result;
    }
    Ok(match Attachable::of_inline(volume) {
        None => None,
        Some(Ok(found)) => Some(NewVolume::Attachable(found.to_owned())),
        Some(Err(reason)) => Some(NewVolume::Untranslatable(untranslatable(volume, reason))),
    })
}

/// Adds the volumes of a pod that is on a node with a CSINode, if they belong to the drivers of the incoming pod's volumes. If it cannot be
/// determined what a volume attaches, that is an error in strict parity, as upstream, and makes the attempts of other pods fail; otherwise
/// the volume is not counted.
fn existing<'a>(
    objects: &'a Objects,
    pod: &'a Pod,
    brought: &Brought,
    parity: Parity,
    result: &mut Attachables<'a>,
) -> Result<(), Status> {
    for volume in &pod.volumes {
        let found = match existing_volume(objects, pod, volume) {
            Err(_) if parity == Parity::Sensible => None,
            found => found?,
        };
        if let Some(found) = found.filter(|found| brought.place(found.driver).is_some()) {
            result.insert(found);
        }
    }
    Ok(())
}

fn existing_volume<'a>(
    objects: &'a Objects,
    pod: &'a Pod,
    volume: &'a Volume,
) -> Result<Option<Attachable<'a>>, Status> {
    let of_claim = pod_claims::with_claim_name(pod, volume, |kind, name| {
        if name.is_empty() {
            return Err(Status::error("PersistentVolumeClaim had no name"));
        }
        // A claim that no longer exists says nothing about what is attached.
        let Some(claim) = pod_claims::claim(objects, pod, name) else { return Ok(None) };
        if kind == pod_claims::ClaimKind::Ephemeral {
            pod_claims::is_for_pod(pod, claim).map_err(Status::error)?;
        }
        Ok(Attachable::of_claim(objects, claim))
    });
    if let Some(found) = of_claim {
        return found;
    }
    match Attachable::of_inline(volume) {
        None => Ok(None),
        Some(Ok(found)) => Ok(Some(found)),
        Some(Err(reason)) => Err(Status::error(untranslatable(volume, reason))),
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::VOLUMES, NodeParts::NAME | NodeParts::ALLOCATABLE | NodeParts::VOLUMES)
            .with_objects(&[
                ObjectKind::PersistentVolume,
                ObjectKind::PersistentVolumeClaim,
                ObjectKind::StorageClass,
                ObjectKind::CsiNode,
                ObjectKind::CsiDriver,
                ObjectKind::VolumeAttachment,
            ])
    }

    fn reading(&self, cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        reading::of(cx.snapshot, state.read::<NewVolumes>()?)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let (Some(new), Some(node)) = (state.read::<NewVolumes>(), node) else { return Vec::new() };
        let tallies = self.tallies(cx.snapshot.objects(), new, node).unwrap_or_default();
        tallies.iter().filter(|tally| tally.is_exceeded()).map(|tally| tally.fact(node.name())).collect()
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::CsiNode, ActionType::ADD),
            EventRegistration::new(EventResource::CsiNode, ActionType::UPDATE),
            EventRegistration::new(EventResource::AssignedPod, ActionType::DELETE),
            EventRegistration::new(EventResource::PersistentVolumeClaim, ActionType::ADD),
            EventRegistration::new(EventResource::VolumeAttachment, ActionType::DELETE),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        if let Some(deleted) = change.old.as_ref().and_then(|o| o.pod()) {
            let had_room = deleted.node_name.is_some() || deleted.nominated_node_name.is_some();
            let relevant = had_room && deleted.volumes.iter().any(may_attach);
            return if relevant { Hint::Queue } else { Hint::Skip };
        }
        let old = change.old.as_ref().and_then(|o| o.other()).map(AsRef::as_ref);
        let new = change.new.as_ref().and_then(|o| o.other()).map(AsRef::as_ref);
        let relevant = match (old, new) {
            (Some(Object::CsiNode(_, old)), Some(Object::CsiNode(_, new))) => some_limit_grew(old, new),
            (_, Some(Object::PersistentVolumeClaim(claim))) => pod_claims::uses(pod, claim),
            (Some(Object::VolumeAttachment(_, attachment)), None) => pod.volumes.iter().any(|volume| {
                matches!(volume.source, VolumeSource::Claim { .. })
                    || volume.migration.as_ref().is_some_and(|m| m.driver == attachment.attacher)
            }),
            _ => true,
        };
        if relevant { Hint::Queue } else { Hint::Skip }
    }
}

/// As upstream, a driver without a limit is treated as having limit 0.
fn some_limit_grew(old: &CsiNode, new: &CsiNode) -> bool {
    new.drivers.iter().any(|(driver, limit)| {
        let before = old.drivers.iter().rfind(|(d, _)| d == driver).and_then(|(_, limit)| *limit);
        limit.unwrap_or(0) > before.unwrap_or(0)
    })
}

/// Whether a driver that must be installed is missing.
fn is_missing(objects: &Objects, driver: &Atom, csi_node: Option<&CsiNode>) -> bool {
    objects.csi_drivers.get(driver).is_some_and(|driver| driver.must_be_installed)
        && !csi_node.is_some_and(|node| node.drivers.iter().any(|(name, _)| name == driver))
}

/// The volumes of a driver on a node.
struct Tally {
    driver: Atom,
    attached: usize,
    /// By the pod.
    added: usize,
    limit: i32,
}

impl Tally {
    fn is_exceeded(&self) -> bool {
        let sum = i64::try_from(self.attached + self.added).unwrap_or(i64::MAX);
        self.added > 0 && sum > i64::from(self.limit)
    }

    fn fact(&self, node: &Atom) -> Fact {
        let Self { driver, attached, added, limit } = self;
        let limit = usize::try_from(*limit).unwrap_or(0);
        let free = limit.saturating_sub(*attached);
        let volumes = if *added == 1 { "volume" } else { "volumes" };
        let fact = Fact::new(format!("attaches {added} {volumes} of {driver}, {free} of {limit} free"));
        if *added > limit {
            return fact;
        }
        let more = added - free;
        let volumes = if more == 1 { "volume" } else { "volumes" };
        fact.helped_by(format!("room for {more} more {volumes} of {driver} on {node}"))
    }
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        if !pod.volumes.iter().any(may_attach) {
            return Status::skip().into();
        }
        state.write(NewVolumes::of(cx.snapshot.objects(), pod));
        PreFilterOutcome::default()
    }
}

impl Filter for NodeVolumeLimits {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let objects = cx.snapshot.objects();
        match state.read::<NewVolumes>() {
            Some(new) => self.check(objects, new, node),
            // PreFilter is disabled in the profile: as upstream, the volumes are looked up for each node.
            None => self.check(objects, &NewVolumes::of(objects, pod), node),
        }
    }
}

impl NodeVolumeLimits {
    fn check(&self, objects: &Objects, pod: &NewVolumes, node: &NodeInfo) -> Status {
        match self.tallies(objects, pod, node) {
            Err(status) => status,
            Ok(tallies) if tallies.iter().any(Tally::is_exceeded) => Status::unschedulable(EXCEEDED),
            Ok(_) => Status::SUCCESS,
        }
    }

    /// What the node would have of each driver that has a limit there.
    fn tallies(&self, objects: &Objects, pod: &NewVolumes, node: &NodeInfo) -> Result<Vec<Tally>, Status> {
        let csi_node = objects.csi_nodes.get(node.name());
        let brought = &*pod.brought;
        if let Some(reason) = brought.untranslatable.as_ref().filter(|_| csi_node.is_some()) {
            return Err(Status::error(reason.clone()));
        }
        if let Some(failure) = &pod.failure {
            return Err(failure.clone());
        }
        // In-tree volumes are the driver's on nodes with a CSINode only.
        let drivers = if csi_node.is_some() { &brought.drivers } else { &brought.csi_drivers };
        if let Some(missing) = drivers.iter().find(|driver| is_missing(objects, driver, csi_node)) {
            let why = format!("{missing} CSI driver is not installed on the node");
            return Err(Status::unschedulable(why));
        }
        let Some(csi_node) = csi_node else { return Ok(Vec::new()) };
        if brought.is_empty() || csi_node.drivers.iter().all(|(_, limit)| limit.is_none()) {
            return Ok(Vec::new());
        }
        let mut attached = Attachables::default();
        for pod in node.pods() {
            existing(objects, pod, brought, self.parity, &mut attached)?;
        }
        // For each driver, how many volumes are attached, and how many the pod adds.
        let mut counts: SmallVec<[(usize, usize); 4]> =
            brought.counts.iter().map(|added| (0, *added)).collect();
        for volume in attached.iter() {
            if let Some(place) = brought.place(volume.driver) {
                counts[place].0 += 1;
                counts[place].1 -= usize::from(brought.contains(volume));
            }
        }
        for volume in self.attachments(objects, node, brought, &attached).iter() {
            if let Some(place) = brought.place(volume.driver) {
                counts[place].0 += 1;
            }
        }
        let tally = |(driver, (attached, added)): (&Atom, (usize, usize))| {
            // As in a map of drivers: of two entries for a driver, the last counts.
            let limit = csi_node.drivers.iter().rfind(|(d, limit)| d == driver && limit.is_some())?.1?;
            Some(Tally { driver: driver.clone(), attached, added, limit })
        };
        Ok(brought.drivers.iter().zip(counts).filter_map(tally).collect())
    }

    /// What is attached to the node without being used by any of its pods.
    ///
    /// Upstream also counts a volume of the incoming pod that is still attached, and then counts it again as new; strict parity does too.
    fn attachments<'a>(
        &self,
        objects: &'a Objects,
        node: &NodeInfo,
        brought: &Brought,
        attached: &Attachables<'a>,
    ) -> Attachables<'a> {
        let mut result = Attachables::default();
        for attachment in objects.attachments_to(node.name()) {
            if brought.place(&attachment.attacher).is_none() {
                continue;
            }
            let volume = attachment.volume.as_ref().and_then(|name| objects.volumes.get(name));
            let Some((_, handle)) = volume.and_then(|v| v.csi.as_ref()) else { continue };
            let found = Attachable::of_handle(&attachment.attacher, handle);
            let counted_as_new = self.parity == Parity::Sensible && brought.contains(&found);
            if !attached.contains(&found) && !counted_as_new {
                result.insert(found);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
