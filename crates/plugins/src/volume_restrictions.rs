//! VolumeRestrictions: disks that only one pod may write to, and claims that only one pod may use.
//!
//! Source: `pkg/scheduler/framework/plugins/volumerestrictions`.

use crate::{facts, pod_claims};
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Parity, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Reach,
    Reading, Status, alike_by_key,
};
use secondmate_model::objects::{Object, ObjectKind};
use secondmate_model::{NodeInfo, Pod, Volume, VolumeSource};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name.
pub const NAME: &str = "VolumeRestrictions";
const DISK_CONFLICT: &str = "node(s) had no available disk";
const CLAIM_CONFLICT: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

/// The plugin.
#[derive(Debug)]
pub struct VolumeRestrictions {
    parity: Parity,
}

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(VolumeRestrictions { parity: handle.parity }))
}

/// What PreFilter found out about claims that only one pod may use.
#[derive(Clone, Debug)]
struct ExclusiveClaims {
    /// The pod's own such claims.
    claims: Arc<BTreeSet<Box<str>>>,
    /// How often other pods use one of them.
    in_use: i64,
}

impl ExclusiveClaims {
    /// The number of another pod's references to the claims.
    ///
    /// Upstream compares names but disregards the namespace, so that a nominated pod or a victim in another namespace with a claim of the
    /// same name counts; strict parity does the same.
    fn references(&self, parity: Parity, pod: &Pod, other: &Pod) -> i64 {
        if parity == Parity::Sensible && pod.namespace != other.namespace {
            return 0;
        }
        let count = pod_claims::named(other).filter(|name| self.claims.contains(*name)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// The pods that use them.
    fn facts(&self, nodes: &[Arc<NodeInfo>], pod: &Pod) -> Vec<Fact> {
        let of_claim = |name: &str| {
            let full = format!("{}/{name}", pod.namespace);
            let using = nodes.iter().filter(|node| node.claims().any(|claim| claim == full));
            let uses = |other: &&Arc<Pod>| {
                other.namespace == pod.namespace && pod_claims::named(other).any(|claim| claim == name)
            };
            let users = facts::list(using.flat_map(|node| node.pods()).filter(uses).map(AsRef::as_ref), pod)?;
            let text = format!("claim {full} is for one pod only (ReadWriteOncePod), in use by {users}");
            Some(Fact::new(text).helped_by(format!("an end of {users}, or another access mode")))
        };
        self.claims.iter().filter_map(|name| of_claim(name)).collect()
    }
}

/// What the verdicts depend on, besides the pods on a node.
#[derive(Debug)]
struct Held {
    /// A claim that only one pod may use is in use, on any node.
    claim_in_use: bool,
    /// The pod's disks that conflict with the same disks of other pods.
    disks: Box<[VolumeSource]>,
}

impl Held {
    fn key(&self) -> (bool, &[VolumeSource]) {
        (self.claim_in_use, &self.disks)
    }
}

alike_by_key!(Held);

/// Whether the volume's source conflicts with the same source on the same node.
fn is_exclusive_disk(volume: &Volume) -> bool {
    matches!(
        volume.source,
        VolumeSource::GcePersistentDisk { .. }
            | VolumeSource::AwsElasticBlockStore { .. }
            | VolumeSource::Rbd { .. }
            | VolumeSource::Iscsi { .. }
    )
}

/// Whether two volumes are the same disk and one of them is written to. An EBS volume cannot be shared at all.
fn conflict(a: &VolumeSource, b: &VolumeSource) -> bool {
    use VolumeSource::{AwsElasticBlockStore, GcePersistentDisk, Iscsi, Rbd};
    match (a, b) {
        (
            GcePersistentDisk { name, read_only },
            GcePersistentDisk { name: other, read_only: other_read_only },
        ) => name == other && !(*read_only && *other_read_only),
        (AwsElasticBlockStore { id }, AwsElasticBlockStore { id: other }) => id == other,
        (Iscsi { iqn, read_only }, Iscsi { iqn: other, read_only: other_read_only }) => {
            iqn == other && !(*read_only && *other_read_only)
        }
        (
            Rbd { monitors, pool, image, read_only },
            Rbd {
                monitors: other_monitors,
                pool: other_pool,
                image: other_image,
                read_only: other_read_only,
            },
        ) => {
            monitors.iter().any(|m| other_monitors.contains(m))
                && pool == other_pool
                && image == other_image
                && !(*read_only && *other_read_only)
        }
        _ => false,
    }
}

/// Whether a disk of the pod conflicts with one of the other pod's.
fn disks_conflict(pod: &Pod, other: &Pod) -> bool {
    pod.volumes
        .iter()
        .filter(|v| is_exclusive_disk(v))
        .any(|volume| other.volumes.iter().any(|existing| conflict(&volume.source, &existing.source)))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // A claim that only one pod may use is looked for on every node.
        Declaration::of(PodParts::VOLUMES | PodParts::PRIORITY, NodeParts::VOLUMES)
            .reaching(Reach::Cluster)
            .with_objects(&[ObjectKind::PersistentVolumeClaim])
    }

    fn reading(&self, _cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>) -> Option<Reading> {
        let claim_in_use = state.read::<ExclusiveClaims>()?.in_use > 0;
        let disks = pod.volumes.iter().filter(|volume| is_exclusive_disk(volume));
        Some(Reading::of(Held { claim_in_use, disks: disks.map(|disk| disk.source.clone()).collect() }))
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::AssignedPod, ActionType::DELETE),
            EventRegistration::new(EventResource::Node, ActionType::ADD),
            EventRegistration::new(EventResource::PersistentVolumeClaim, ActionType::ADD),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        if let Some(deleted) = change.old.as_ref().and_then(|o| o.pod()) {
            let shares_claim =
                || pod_claims::named(pod).any(|name| pod_claims::named(deleted).any(|other| other == name));
            let relevant =
                deleted.namespace == pod.namespace && (disks_conflict(pod, deleted) || shares_claim());
            return if relevant { Hint::Queue } else { Hint::Skip };
        }
        match change.new.as_ref().and_then(|o| o.other()).map(AsRef::as_ref) {
            Some(Object::PersistentVolumeClaim(claim)) if !pod_claims::names(pod, claim) => Hint::Skip,
            _ => Hint::Queue,
        }
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node else { return pod_claims::facts(cx.snapshot.objects(), pod) };
        let has_disk = |other: &&Arc<Pod>| disks_conflict(pod, other);
        let users = facts::list(node.pods().iter().filter(has_disk).map(AsRef::as_ref), pod);
        let disk = users.map(|users| {
            Fact::new(format!("a disk of the pod is in use by {users}"))
                .helped_by(format!("an end of {users}"))
        });
        let claims = state.read::<ExclusiveClaims>().map(|claims| claims.facts(cx.snapshot.nodes(), pod));
        disk.into_iter().chain(claims.unwrap_or_default()).collect()
    }
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let objects = cx.snapshot.objects();
        let mut claims = BTreeSet::new();
        for name in pod_claims::named(pod) {
            let Some(claim) = pod_claims::claim(objects, pod, name) else {
                return Status::unresolvable(pod_claims::claim_not_found(name)).into();
            };
            if claim.access_modes.iter().any(|mode| *mode == "ReadWriteOncePod") {
                claims.insert(Box::from(name));
            }
        }
        let in_use = claims
            .iter()
            .filter(|name| cx.snapshot.claim_in_use(&format!("{}/{name}", pod.namespace)))
            .count();
        if in_use == 0 && !pod.volumes.iter().any(is_exclusive_disk) {
            return Status::skip().into();
        }
        let in_use = i64::try_from(in_use).unwrap_or(i64::MAX);
        state.write(ExclusiveClaims { claims: Arc::new(claims), in_use });
        PreFilterOutcome::default()
    }

    fn add_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        _node: &NodeInfo,
    ) -> Status {
        let Some(claims) = state.get_mut::<ExclusiveClaims>() else { return no_state() };
        claims.in_use += claims.references(self.parity, pod, added);
        Status::SUCCESS
    }

    fn remove_pod(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        _node: &NodeInfo,
    ) -> Status {
        let Some(claims) = state.get_mut::<ExclusiveClaims>() else { return no_state() };
        claims.in_use -= claims.references(self.parity, pod, removed);
        Status::SUCCESS
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if pod.volumes.iter().any(is_exclusive_disk) && node.pods().iter().any(|p| disks_conflict(pod, p)) {
            return Status::unschedulable(DISK_CONFLICT);
        }
        let Some(claims) = state.read::<ExclusiveClaims>() else { return no_state() };
        if claims.in_use > 0 { Status::unschedulable(CLAIM_CONFLICT) } else { Status::SUCCESS }
    }
}

/// The filter is enabled but PreFilter is not: with such a configuration, upstream gives this answer for every pod.
fn no_state() -> Status {
    Status::error("cannot read \"PreFilterVolumeRestrictions\" from cycleState")
}

#[cfg(test)]
mod tests;
