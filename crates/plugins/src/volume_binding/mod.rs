//! VolumeBinding: the pod's claims are bound, or can be bound, to volumes that the node can reach.
//!
//! Source: `pkg/scheduler/framework/plugins/volumebinding` and `k8s.io/component-helpers/storage/volume`.
//!
//! ```text
//! PreFilter ─ claims ─▶ Filter ─ matching (per node) ─▶ Score ─ capacity ─▶ Reserve ─ assumed ─▶ PreBind ─ binding ─▶ written, then waits
//! ```
//!
//! The only thing that outlives a cycle is `assumed`: volumes and claims as they will be once the writes for pods in flight have come back
//! through the watches.

mod assumed;
mod binding;
mod by_label;
mod claims;
mod facts;
mod matching;
mod reading;
mod score;

use crate::shape::{PointArgs, Shape};
use crate::{arguments, pod_claims};
use assumed::Assumed;
use binding::Reservation;
use claims::PodClaims;
use rustc_hash::FxHashMap;
use secondmate_framework::{
    ActionType, Code, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter,
    Handle, Hint, NodeParts, Normalization, ObjectChange, Plugin, PluginError, PodParts, PreBind,
    PreBindStep, PreFilter, PreFilterOutcome, PreScore, Reach, Reading, Reason, Reserve, Right, Score,
    Status,
};
use secondmate_model::objects::{Object, ObjectKind};
use secondmate_model::{Atom, NodeInfo, Pod, VolumeSource};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name.
pub const NAME: &str = "VolumeBinding";
const UNBOUND_IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";
const NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const NOT_ENOUGH_SPACE: &str = "node(s) did not have enough free storage";
const VOLUME_MISSING: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The plugin.
#[derive(Debug)]
pub struct VolumeBinding {
    /// Maximum wait for volumes to be bound.
    bind_timeout: Duration,
    /// Maps the used share of a storage class's capacity to a score.
    shape: Shape,
    assumed: Mutex<Assumed>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    bind_timeout_seconds: i64,
    shape: Option<Vec<PointArgs>>,
}

/// The shape if the arguments do not set one: the more is left, the better.
const MOST_LEFT: [PointArgs; 2] =
    [PointArgs { utilization: 0, score: 10 }, PointArgs { utilization: 100, score: 0 }];

impl Default for Arguments {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600, shape: None }
    }
}

/// Creates the plugin.
///
/// # Errors
/// A negative `bindTimeoutSeconds`, an invalid `shape`, or an unknown field.
pub fn new(args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Arguments = arguments::parse(NAME, args)?;
    let seconds = u64::try_from(args.bind_timeout_seconds).map_err(|_| {
        arguments::refused(NAME, "bindTimeoutSeconds must not be negative; 0 means no waiting")
    })?;
    let points = args.shape.filter(|points| !points.is_empty());
    let shape = Shape::new(points.as_deref().unwrap_or(&MOST_LEFT))
        .map_err(|wrong| arguments::refused(NAME, format!("shape: {wrong}")))?;
    let bind_timeout = Duration::from_secs(seconds);
    Ok(Arc::new(VolumeBinding { bind_timeout, shape, assumed: Mutex::default() }))
}

/// What the plugin keeps for a pod from PreFilter to the end of its binding.
#[derive(Clone, Debug, Default)]
struct PodState {
    /// The pod's claims; `None` if it has none.
    claims: Option<Arc<PodClaims>>,
    /// Scores of nodes that passed the filter, if they are not 0.
    scores: Arc<Mutex<FxHashMap<Atom, i64>>>,
    /// Nothing is left to bind on the chosen node.
    all_bound: bool,
    /// What Reserve assumed and PreBind has to write.
    reservation: Option<Reservation>,
}

impl VolumeBinding {
    fn assumed(&self) -> MutexGuard<'_, Assumed> {
        lock(&self.assumed)
    }
}

/// The maps are consistent between any two operations, so a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// PreFilter is disabled in the profile: as upstream, the other extension points then fail every pod.
fn no_state() -> Status {
    Status::error("not found")
}

fn no_volumes_for(node: &Atom) -> Status {
    Status::error(format!("no pod volume found for node {:?}", node.as_str()))
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // What has been promised to other pods counts, wherever they go.
        Declaration::of(PodParts::VOLUMES, NodeParts::NAME | NodeParts::LABELS)
            .reaching(Reach::Cluster)
            .with_objects(&[
                ObjectKind::PersistentVolume,
                ObjectKind::PersistentVolumeClaim,
                ObjectKind::StorageClass,
                ObjectKind::CsiNode,
                ObjectKind::CsiDriver,
                ObjectKind::StorageCapacity,
            ])
            .with_writes(&[
                Right { verb: "patch", group: "", resource: "persistentvolumes" },
                Right { verb: "patch", group: "", resource: "persistentvolumeclaims" },
            ])
    }
    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
    fn as_reserve(self: Arc<Self>) -> Option<Arc<dyn Reserve>> {
        Some(self)
    }
    fn as_pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBind>> {
        Some(self)
    }

    fn reading(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        match &state.read::<PodState>()?.claims {
            None => Some(Reading::nothing()),
            Some(claims) => reading::of(claims),
        }
    }

    fn events(&self) -> Vec<EventRegistration> {
        let add_or_update = ActionType::ADD | ActionType::UPDATE;
        vec![
            EventRegistration::new(EventResource::StorageClass, add_or_update),
            EventRegistration::new(EventResource::PersistentVolumeClaim, add_or_update),
            EventRegistration::new(EventResource::PersistentVolume, add_or_update),
            EventRegistration::new(EventResource::CsiNode, add_or_update),
            EventRegistration::new(EventResource::CsiDriver, ActionType::UPDATE),
            EventRegistration::new(EventResource::CsiStorageCapacity, add_or_update),
            EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let old = change.old.as_ref().and_then(|o| o.other()).map(AsRef::as_ref);
        let new = change.new.as_ref().and_then(|o| o.other()).map(AsRef::as_ref);
        let relevant = match (old, new) {
            (_, Some(Object::PersistentVolumeClaim(claim))) => pod_claims::uses(pod, claim),
            (Some(Object::StorageClass(old)), Some(Object::StorageClass(new))) => {
                old.allowed_topologies != new.allowed_topologies
            }
            (Some(Object::CsiNode(_, old)), Some(Object::CsiNode(_, new))) => {
                old.migrated_plugins != new.migrated_plugins
            }
            (Some(Object::CsiDriver(_, old)), Some(Object::CsiDriver(name, new))) => {
                let inline = |volume: &secondmate_model::Volume| matches!(&volume.source, VolumeSource::Csi { driver } if driver == name);
                old.publishes_capacity && !new.publishes_capacity && pod.volumes.iter().any(inline)
            }
            (Some(Object::StorageCapacity(_, old)), Some(Object::StorageCapacity(_, new))) => {
                match (old.limit, new.limit) {
                    (Some(old), Some(new)) => new.value() > old.value(),
                    (None, Some(_)) => true,
                    (_, None) => false,
                }
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
        let objects = cx.snapshot.objects();
        let claims = state.read::<PodState>().and_then(|state| state.claims.as_ref());
        match (node, claims) {
            (Some(node), Some(claims)) => claims.facts(objects, pod, node.node()),
            _ => pod_claims::facts(objects, pod),
        }
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let objects = cx.snapshot.objects();
        match claims::usable(objects, pod) {
            Err(reason) => return Status::unresolvable(reason).into(),
            Ok(false) => {
                state.write(PodState::default());
                return Status::skip().into();
            }
            Ok(true) => {}
        }
        match PodClaims::of(objects, &self.assumed(), pod) {
            Err(reason) => Status::error(reason).into(),
            Ok(None) => Status::unresolvable(UNBOUND_IMMEDIATE).into(),
            Ok(Some(claims)) => {
                state.write(PodState { claims: Some(Arc::new(claims)), ..PodState::default() });
                PreFilterOutcome::default()
            }
        }
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(state) = state.read::<PodState>() else { return no_state() };
        let Some(claims) = &state.claims else { return Status::SUCCESS };
        let placement = match claims.on_node(cx.snapshot.objects(), node.node()) {
            Ok(placement) => placement,
            Err(reason) => return Status::error(reason),
        };
        let conflicts = placement.conflicts;
        if conflicts.none() {
            let score = score::of(&placement, &self.shape);
            if score != 0 {
                lock(&state.scores).insert(node.name().clone(), score);
            }
            return Status::SUCCESS;
        }
        let reasons = [
            (conflicts.node_affinity, NODE_CONFLICT),
            (conflicts.no_volume, BIND_CONFLICT),
            (conflicts.no_space, NOT_ENOUGH_SPACE),
            (conflicts.volume_missing, VOLUME_MISSING),
        ];
        let reasons = reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| Reason::from(reason));
        Status::with_reasons(Code::UnschedulableAndUnresolvable, reasons)
    }
}

impl PreScore for VolumeBinding {
    fn pre_score(
        &self,
        _: &Context<'_>,
        state: &mut CycleState,
        _: &Arc<Pod>,
        _: &[Arc<NodeInfo>],
    ) -> Status {
        // As upstream, pods without claims are scored too; the score is then 0.
        if state.read::<PodState>().is_some() { Status::SUCCESS } else { no_state() }
    }
}

impl Score for VolumeBinding {
    fn score(
        &self,
        _: &Context<'_>,
        state: &CycleState,
        _: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let Some(state) = state.read::<PodState>() else { return Err(no_state()) };
        if state.claims.is_none() {
            return Ok(0);
        }
        // If the filter is disabled in the profile, nothing is known about any node.
        Ok(lock(&state.scores).get(node.name()).copied().unwrap_or(0))
    }

    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, cx: &Context<'_>, state: &mut CycleState, _pod: &Arc<Pod>, node: &Atom) -> Status {
        let Some(state) = state.get_mut::<PodState>() else { return no_state() };
        state.all_bound = true;
        let Some(claims) = state.claims.as_ref().filter(|claims| !claims.all_bound()) else {
            return Status::SUCCESS;
        };
        let objects = cx.snapshot.objects();
        let placement = cx.snapshot.node(node).and_then(|info| claims.on_node(objects, info.node()).ok());
        // A node that is not suitable for these volumes gets here if the filter is disabled in the profile. As upstream, which then knows
        // of no volumes to bind, the pod goes there without them.
        let Some(placement) = placement.filter(|placement| placement.conflicts.none()) else {
            return Status::SUCCESS;
        };
        state.all_bound = false;
        state.reservation = Some(Reservation::make(objects, &mut self.assumed(), &placement, node));
        Status::SUCCESS
    }

    fn unreserve(&self, state: &mut CycleState, _pod: &Arc<Pod>, _node: &Atom) {
        let reservation = state.get_mut::<PodState>().and_then(|state| state.reservation.take());
        if let Some(reservation) = reservation {
            reservation.revert(&mut self.assumed());
        }
    }
}

impl PreBind for VolumeBinding {
    fn pre_flight(&self, state: &CycleState, _pod: &Arc<Pod>, _node: &Atom) -> bool {
        // Without a state, there is something to do: to fail.
        state.read::<PodState>().is_none_or(|state| !state.all_bound)
    }

    fn pre_bind(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        node: &Atom,
    ) -> PreBindStep {
        let Some(state) = state.get_mut::<PodState>() else { return PreBindStep::Fail(no_state()) };
        if state.all_bound {
            return PreBindStep::Done;
        }
        match &mut state.reservation {
            Some(reservation) => reservation.step(cx, node, self.bind_timeout),
            None => PreBindStep::Fail(no_volumes_for(node)),
        }
    }
}

#[cfg(test)]
mod tests;
