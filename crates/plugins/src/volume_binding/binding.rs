//! From a placement to bound volumes: what Reserve assumes, what PreBind writes, and what it then waits for.
//!
//! ```text
//! Reserved ─ write ─▶ Writing ─ all succeeded ─▶ Waiting until ─ all bound ─▶ Done
//!                                                   └ timed out, or undone ─▶ Fail
//! ```

use super::assumed::Assumed;
use super::claims::{SELECTED_NODE, fully_bound, is_bound_to};
use super::matching::{self, Placement};
use secondmate_framework::{ApiWrite, Context, PreBindStep, Status, WriteVerb};
use secondmate_model::objects::{CsiNode, ObjectName, Objects, PersistentVolume, PersistentVolumeClaim};
use secondmate_model::wire::ObjectReference;
use secondmate_model::{Atom, Node, Timestamp};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// What was decided for a pod's volumes on the chosen node.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    bindings: Vec<Binding>,
    provisions: Vec<Provision>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been written.
    Reserved,
    /// The writes are in progress.
    Writing,
    /// All have been written.
    Waiting { deadline: Timestamp },
}

/// A volume for a claim.
#[derive(Clone, Debug)]
struct Binding {
    /// The volume as it was on the API server.
    volume: Arc<PersistentVolume>,
    claim: Arc<PersistentVolumeClaim>,
    /// The volume as assumed, if that changed anything.
    assumed: Option<Arc<PersistentVolume>>,
    /// What the write changes.
    change: VolumeChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VolumeChange {
    claim_ref: bool,
    annotation: bool,
}

impl VolumeChange {
    /// What binding the volume to the claim changes. A volume that its owner reserved for the claim is not marked as bound by a controller.
    fn of(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Self {
        let complete = volume.claim_ref.as_ref().is_some_and(|claim_ref| *claim_ref == reference(claim));
        let annotation = !is_bound_to(volume, claim) && !volume.annotations.contains_key(BOUND_BY_CONTROLLER);
        Self { claim_ref: !complete, annotation }
    }

    fn any(self) -> bool {
        self.claim_ref || self.annotation
    }
}

/// A claim for which a volume is provisioned.
#[derive(Clone, Debug)]
struct Provision {
    /// The claim as it was on the API server.
    claim: Arc<PersistentVolumeClaim>,
    /// The claim as assumed, if that changed anything.
    assumed: Option<Arc<PersistentVolumeClaim>>,
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        namespace: claim.name.namespace.as_str().into(),
        name: claim.name.name.clone(),
        uid: claim.uid.clone(),
    }
}

impl Reservation {
    /// Adopts a placement as the decision, and assumes it for the following cycles.
    pub(super) fn make(
        objects: &Objects,
        assumed: &mut Assumed,
        placement: &Placement<'_>,
        node: &Atom,
    ) -> Self {
        assumed.sweep(objects);
        let bindings = placement.bindings.iter().map(|(effective, claim)| {
            let volume = Arc::clone(objects.volumes.get(&effective.name).unwrap_or(effective));
            // What others have assumed is not assumed again; what has to be written is relative to what the API server has.
            let assumed = VolumeChange::of(effective, claim).any().then(|| {
                let mut copy = PersistentVolume::clone(effective);
                copy.claim_ref = Some(reference(claim));
                let copy = Arc::new(copy);
                assumed.assume_volume(Arc::clone(&copy));
                copy
            });
            let change = VolumeChange::of(&volume, claim);
            Binding { volume, claim: Arc::clone(claim), assumed, change }
        });
        let bindings = bindings.collect();
        let chosen = |claim: &PersistentVolumeClaim| {
            claim.annotations.get(SELECTED_NODE).is_some_and(|chosen| **chosen == *node.as_str())
        };
        let provisions = placement.provisions.iter().map(|(unbound, _)| {
            let effective = &unbound.claim;
            let claim = Arc::clone(objects.claims.get(&effective.name).unwrap_or(effective));
            let assumed = (!chosen(effective)).then(|| {
                let mut copy = PersistentVolumeClaim::clone(effective);
                copy.annotations.insert(SELECTED_NODE.into(), node.as_str().into());
                let copy = Arc::new(copy);
                assumed.assume_claim(Arc::clone(&copy));
                copy
            });
            Provision { claim, assumed }
        });
        let provisions = provisions.collect();
        Self { bindings, provisions, phase: Phase::Reserved }
    }

    /// Takes back what was assumed. What was written stays assumed until the watches deliver it.
    ///
    /// If some of the writes failed, it is not known here which ones, so everything is taken back: should another pod choose a volume that
    /// was written after all, its own write is refused because of the old version.
    pub(super) fn revert(self, assumed: &mut Assumed) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        self.bindings.iter().filter_map(|b| b.assumed.as_ref()).for_each(|v| assumed.restore_volume(v));
        self.provisions.iter().filter_map(|p| p.assumed.as_ref()).for_each(|c| assumed.restore_claim(c));
    }

    /// Names of the volumes for the claims.
    #[cfg(test)]
    pub(super) fn volumes(&self) -> Vec<String> {
        self.bindings.iter().map(|binding| binding.volume.name.to_string()).collect()
    }

    /// The next step.
    pub(super) fn step(&mut self, cx: &Context<'_>, node: &Atom, timeout: Duration) -> PreBindStep {
        if self.phase == Phase::Reserved {
            self.phase = Phase::Writing;
            return PreBindStep::Write(self.writes(node));
        }
        let deadline = match self.phase {
            Phase::Waiting { deadline } => deadline,
            Phase::Reserved | Phase::Writing => cx.now + timeout,
        };
        self.phase = Phase::Waiting { deadline };
        let failed = |reason: &str| PreBindStep::Fail(Status::error(format!("binding volumes: {reason}")));
        match self.check(cx, node) {
            Ok(true) => PreBindStep::Done,
            Ok(false) if cx.now >= deadline => failed("context deadline exceeded"),
            Ok(false) => PreBindStep::Wait { deadline },
            Err(reason) => failed(&reason),
        }
    }

    /// Volumes first, then claims. Each write names the version that it was based on, so a conflict is refused.
    fn writes(&self, node: &Atom) -> Vec<ApiWrite> {
        let bindings = self.bindings.iter().map(Binding::write);
        let provisions = self.provisions.iter().map(|p| p.write(node));
        bindings.chain(provisions).collect()
    }

    /// Whether everything is bound.
    ///
    /// # Errors
    /// A binding was undone, or the volume cannot be used from the node after all: the pod must be scheduled again.
    fn check(&self, cx: &Context<'_>, node: &Atom) -> Result<bool, String> {
        let objects = cx.snapshot.objects();
        let Some(info) = cx.snapshot.node(node) else {
            return Err(format!("failed to get node {0:?}: node {0:?} not found", node.as_str()));
        };
        let place = Place { objects, node: info.node(), csi_node: objects.csi_nodes.get(node) };
        for binding in &self.bindings {
            if !binding.is_bound(&place)? {
                return Ok(false);
            }
        }
        for provision in &self.provisions {
            if !provision.is_bound(&place)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The node and the objects against which a binding is checked.
struct Place<'a> {
    objects: &'a Objects,
    node: &'a Node,
    csi_node: Option<&'a CsiNode>,
}

impl Place<'_> {
    fn claim(&self, name: &ObjectName) -> Result<&PersistentVolumeClaim, String> {
        let claim = self.objects.claims.get(name).map(AsRef::as_ref);
        claim.ok_or_else(|| format!("persistentvolumeclaims {:?} not found", name.to_string()))
    }

    fn check_affinity(&self, volume: &PersistentVolume) -> Result<Result<(), String>, String> {
        let affinity = matching::node_affinity(volume, self.csi_node)?;
        if matching::reaches(affinity, &self.node.labels) {
            return Ok(Ok(()));
        }
        let errors: Vec<_> = affinity
            .into_iter()
            .flat_map(|affinity| affinity.errors())
            .map(|(at, error)| format!("nodeSelectorTerms[{at}].{error}"))
            .collect();
        let why = match &*errors {
            [] => "no matching NodeSelectorTerms".to_owned(),
            [error] => error.clone(),
            errors => format!("[{}]", errors.join(", ")),
        };
        let (volume, node) = (&volume.name, self.node.name.as_str());
        Ok(Err(format!("pv {volume:?} node affinity doesn't match node {node:?}: {why}")))
    }
}

impl Binding {
    fn write(&self) -> ApiWrite {
        let mut metadata = precondition(&self.volume.uid, &self.volume.resource_version);
        if self.change.annotation {
            metadata.insert("annotations".to_owned(), json!({ BOUND_BY_CONTROLLER: "yes" }));
        }
        let mut body = json!({ "metadata": metadata });
        if self.change.claim_ref {
            let claim = &self.claim;
            body["spec"] = json!({ "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.name.namespace.as_str(),
                "name": claim.name.name,
                "uid": claim.uid,
                "resourceVersion": claim.resource_version,
            }});
        }
        let path = format!("/api/v1/persistentvolumes/{}", self.volume.name);
        ApiWrite { verb: WriteVerb::MergePatch, path, body }
    }

    fn is_bound(&self, place: &Place<'_>) -> Result<bool, String> {
        let missing = |what: String| format!("failed to check binding: {what}");
        let volume = place.objects.volumes.get(&self.volume.name);
        let volume =
            volume.ok_or_else(|| missing(format!("persistentvolumes {:?} not found", self.volume.name)))?;
        let claim = place.claim(&self.claim.name).map_err(missing)?;
        // The snapshot has not seen the write yet. A write that changed nothing cannot be seen.
        if self.change.any() && volume.resource_version == self.volume.resource_version {
            return Ok(false);
        }
        place.check_affinity(volume).map_err(|why| format!("failed to translate pv to csi: {why}"))??;
        if volume.claim_ref.as_ref().is_none_or(|claim_ref| claim_ref.uid.is_empty()) {
            return Err(format!("ClaimRef got reset for pv {:?}", volume.name));
        }
        Ok(fully_bound(claim))
    }
}

impl Provision {
    fn write(&self, node: &Atom) -> ApiWrite {
        let mut metadata = precondition(&self.claim.uid, &self.claim.resource_version);
        metadata.insert("annotations".to_owned(), json!({ SELECTED_NODE: node.as_str() }));
        let ObjectName { namespace, name } = &self.claim.name;
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
        ApiWrite { verb: WriteVerb::MergePatch, path, body: json!({ "metadata": metadata }) }
    }

    fn is_bound(&self, place: &Place<'_>) -> Result<bool, String> {
        let claim = place
            .claim(&self.claim.name)
            .map_err(|what| format!("failed to check provisioning pvc: {what}"))?;
        // The snapshot has not seen the write yet; or the write changed nothing, and then nothing has been bound since, either.
        if claim.resource_version == self.claim.resource_version {
            return Ok(false);
        }
        if claim.annotations.is_empty() {
            return Err(format!("selectedNode annotation reset for PVC {:?}", claim.name.name));
        }
        // A provisioner that fails removes the annotation.
        let selected = claim.annotations.get(SELECTED_NODE).map_or("", |selected| selected);
        if selected != place.node.name.as_str() {
            return Err(format!("provisioning failed for PVC {:?}", claim.name.name));
        }
        if !claim.volume_name.is_empty() {
            // The claim's watch may be ahead of the volume's.
            let Some(volume) = place.objects.volumes.get(&claim.volume_name) else { return Ok(false) };
            place.check_affinity(volume)??;
        }
        Ok(fully_bound(claim))
    }
}

/// The object and version that a write applies to.
fn precondition(uid: &str, resource_version: &str) -> Map<String, Value> {
    let fields = [("uid", uid), ("resourceVersion", resource_version)];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(field, value)| (field.to_owned(), value.into()))
        .collect()
}
