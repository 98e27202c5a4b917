//! Pods, compiled: everything that plugins may read, in a form that is cheap to read.

mod affinity;
mod size;
mod spread;
mod volumes;

pub use affinity::{Affinity, PodAffinityTerm, WeightedPodAffinityTerm};
pub use spread::{SpreadConstraint, WhenUnsatisfiable};
pub use volumes::{Volume, VolumeSource};

use crate::labels::Labels;
use crate::resources::{PodRequests, ResourceError};
use crate::taints::Toleration;
use crate::time::Timestamp;
use crate::trimmed::placed;
use crate::{Atom, wire};
use size::Bytes;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The scheduler name of a pod that does not specify one.
pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// UID of an object: distinguishes a pod from a later one with the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Arc<str>);

impl Uid {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host port that a pod wants or has. They are ordered by port, protocol and address: those that may conflict stand together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Address; `0.0.0.0` if none is given.
    pub ip: Atom,
    /// Protocol; `TCP` if none is given.
    pub protocol: Atom,
    /// Port.
    pub port: i32,
}

impl HostPort {
    /// Whether two ports conflict: same protocol and number, and the same address or one of them `0.0.0.0`.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ALL || other.ip == ALL)
    }
}

impl Ord for HostPort {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = ((self.port, &self.protocol, &self.ip), (other.port, &other.protocol, &other.ip));
        one.cmp(&other)
    }
}

impl PartialOrd for HostPort {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `8080/TCP`, prefixed with the address if one is given.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ip != "0.0.0.0" {
            write!(f, "{}:", self.ip)?;
        }
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// The controller that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// API version.
    pub api_version: Atom,
    /// Kind.
    pub kind: Atom,
    /// Name.
    pub name: Atom,
    /// UID.
    pub uid: Box<str>,
}

/// A condition of the pod's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodCondition {
    /// `True`, `False`, `Unknown`.
    pub status: Box<str>,
    /// Reason.
    pub reason: Box<str>,
    /// Message.
    pub message: Box<str>,
}

/// A pod that could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pod {namespace}/{name}: {error}")]
pub struct PodError {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What is wrong with it.
    pub error: ResourceError,
}

/// A compiled pod. Immutable: each change of the object produces a new one. Clones share nearly all of it, so placing a pod on a
/// node ([`Pod::on_node`]) copies little; the shared fields are read through `Deref`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Node, once bound.
    pub node_name: Option<Atom>,
    // These are read for every pod on every node, so they are stored inline.
    /// Namespace.
    pub namespace: Atom,
    /// Labels.
    pub labels: Labels,
    /// Being deleted.
    pub deleting: bool,
    content: Arc<PodContent>,
}

impl Deref for Pod {
    type Target = PodContent;

    fn deref(&self) -> &PodContent {
        &self.content
    }
}

impl DerefMut for Pod {
    /// Copies the content if a clone shares it.
    fn deref_mut(&mut self) -> &mut PodContent {
        Arc::make_mut(&mut self.content)
    }
}

/// The rest of a [`Pod`], shared between clones.
#[derive(Clone, Debug, PartialEq)]
pub struct PodContent {
    /// UID.
    pub uid: Uid,
    /// Name.
    pub name: Box<str>,
    /// Resource version of the object that this was compiled from.
    pub resource_version: Box<str>,
    /// `metadata.generation`, for the condition's `observedGeneration`.
    pub generation: i64,
    /// The managing controller.
    pub controller: Option<Box<Owner>>,
    /// Phase Succeeded or Failed.
    pub terminal: bool,
    /// The scheduler that the pod specifies.
    pub scheduler_name: Atom,
    /// Node that the pod is nominated to.
    pub nominated_node_name: Option<Atom>,
    /// Priority.
    pub priority: i32,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// When the kubelet accepted it.
    pub start_time: Option<Timestamp>,
    /// Resource requests.
    pub requests: PodRequests,
    /// The same with amounts clamped, present only if one exceeds the bound; see [`Pod::bounded`].
    pub bounded_requests: Option<Box<PodRequests>>,
    /// `spec.nodeSelector`, sorted by key.
    pub node_selector: Labels,
    /// Affinity and anti-affinity, if any is given.
    pub affinity: Option<Box<Affinity>>,
    /// Tolerations.
    pub tolerations: Box<[Toleration]>,
    /// Topology spread constraints that the pod itself declares.
    pub spread_constraints: Box<[SpreadConstraint]>,
    /// Names of the scheduling gates.
    pub scheduling_gates: Box<[Atom]>,
    /// Host ports of app containers and sidecars.
    pub host_ports: Box<[HostPort]>,
    /// Images of app containers, init containers and image volumes; `:latest` is added if no tag was written.
    pub images: Box<[Atom]>,
    /// Volumes with a source that scheduling reads.
    pub volumes: Box<[Volume]>,
    /// Uses resource claims.
    pub has_resource_claims: bool,
    /// A hash of the generated claims in the status, which are compared but not read.
    pub claim_statuses_hash: u64,
    /// A claim provides some of its extended resources (`status.extendedResourceClaimStatus`).
    pub has_extended_resource_claim: bool,
    /// Features that the node must declare (see NodeDeclaredFeatures).
    pub required_features: Box<[Atom]>,
    /// The `PodScheduled` condition of the status.
    pub scheduled_condition: Option<Box<PodCondition>>,
    /// The status says that a scheduler is preempting it: `DisruptionTarget=True`, reason `PreemptionByScheduler`.
    pub preempted_by_scheduler: bool,
    /// The complete object as JSON, kept only if a plugin or an extender asks for it, since it is larger than everything else
    /// together.
    pub json: Option<Arc<str>>,
    /// See [`Pod::bytes`]; without the JSON.
    bytes: Bytes,
}

impl Pod {
    /// The pod with no requested amount beyond [`AMOUNT_MAX`](crate::resources::AMOUNT_MAX). Beyond it, upstream's integers
    /// overflow: sums become negative, scores leave their range, and a request that fits nowhere becomes no request at all.
    #[must_use]
    pub fn bounded(self: Arc<Self>) -> Arc<Self> {
        let Some(requests) = &self.bounded_requests else { return self };
        let mut bounded = Self::clone(&self);
        bounded.requests = PodRequests::clone(requests);
        bounded.bounded_requests = None;
        Arc::new(bounded)
    }

    /// Compiles a pod.
    ///
    /// # Errors
    /// A quantity that does not parse. The API server rejects those, so this happens only with objects from files.
    pub fn new(pod: &wire::Pod) -> Result<Self, PodError> {
        let meta = &pod.metadata;
        let spec = &pod.spec;
        let status = &pod.status;
        let (requests, bounded_requests) = PodRequests::read(pod).map_err(|error| PodError {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            error,
        })?;
        let namespace = Atom::new(if meta.namespace.is_empty() { "default" } else { &meta.namespace });
        let labels = Labels::new(&meta.labels);
        let condition = |kind: &str| status.conditions.iter().find(|c| &*c.kind == kind);
        let name_of = |name: &str| (!name.is_empty()).then(|| Atom::new(name));
        let mut content = PodContent {
            uid: Uid::from(&*meta.uid),
            name: meta.name.clone(),
            resource_version: meta.resource_version.clone(),
            generation: meta.generation,
            controller: meta.owner_references.iter().find(|o| o.controller).map(|o| {
                Box::new(Owner {
                    api_version: Atom::new(&o.api_version),
                    kind: Atom::new(&o.kind),
                    name: Atom::new(&o.name),
                    uid: o.uid.clone(),
                })
            }),
            terminal: matches!(&*status.phase, "Succeeded" | "Failed"),
            scheduler_name: name_of(&spec.scheduler_name)
                .unwrap_or_else(|| Atom::new(DEFAULT_SCHEDULER_NAME)),
            nominated_node_name: name_of(&status.nominated_node_name),
            priority: spec.priority.unwrap_or(0),
            never_preempts: &*spec.preemption_policy == "Never",
            start_time: status.start_time.as_deref().and_then(Timestamp::parse),
            requests,
            bounded_requests,
            node_selector: Labels::new(&spec.node_selector),
            affinity: spec.affinity.as_ref().map(|a| Box::new(Affinity::new(a, &namespace))),
            tolerations: spec.tolerations.iter().map(Toleration::new).collect(),
            spread_constraints: spec
                .topology_spread_constraints
                .iter()
                .map(|c| SpreadConstraint::new(c, &labels))
                .collect(),
            scheduling_gates: spec.scheduling_gates.iter().map(|g| Atom::new(&g.name)).collect(),
            host_ports: host_ports(spec),
            images: images(spec),
            volumes: spec.volumes.iter().filter_map(Volume::new).collect(),
            has_resource_claims: !spec.resource_claims.is_empty(),
            claim_statuses_hash: crate::node::hash(&(
                &status.resource_claim_statuses,
                &status.extended_resource_claim_status,
            )),
            has_extended_resource_claim: status
                .extended_resource_claim_status
                .as_ref()
                .is_some_and(|claim| !claim.request_mappings.is_empty()),
            required_features: crate::features::required(spec),
            scheduled_condition: condition("PodScheduled").map(|c| {
                Box::new(PodCondition {
                    status: c.status.clone(),
                    reason: c.reason.clone(),
                    message: c.message.clone(),
                })
            }),
            preempted_by_scheduler: condition("DisruptionTarget")
                .is_some_and(|c| &*c.status == "True" && &*c.reason == "PreemptionByScheduler"),
            json: None,
            bytes: Bytes(0),
        };
        content.bytes = Bytes(size::of(&labels, &content));
        Ok(Self {
            node_name: name_of(&spec.node_name),
            namespace,
            labels,
            deleting: meta.deletion_timestamp.is_some(),
            content: Arc::new(content),
        })
    }

    /// The same pod with the complete object attached.
    #[must_use]
    pub fn with_json(mut self, json: &str) -> Self {
        self.json = Some(json.into());
        self
    }

    /// Memory that it takes beyond what every pod does, in bytes: an estimate of the lists and texts that may be long, as of when it was
    /// compiled.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.0 + self.json.as_ref().map_or(0, |json| json.len())
    }

    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The same pod, assigned to a node.
    #[must_use]
    pub fn on_node(&self, node: &Atom) -> Self {
        Self { node_name: Some(node.clone()), ..self.clone() }
    }

    /// The same pod as if nobody had placed it: on no node and nominated to none, in the object in full too.
    #[must_use]
    pub fn off_its_node(&self) -> Self {
        let mut pod = Self { node_name: None, ..self.clone() };
        // What is shared is copied where something changes only.
        if pod.nominated_node_name.is_some() {
            pod.nominated_node_name = None;
        }
        if let Some(json) = self.json.as_deref().and_then(without_node) {
            pod.json = Some(json.into());
        }
        pod
    }

    /// The object in full, where it is at hand, with the node on which the pod is assumed: until the API server has bound it, its text names
    /// none.
    #[must_use]
    pub fn whole(&self) -> Option<Cow<'_, str>> {
        let text = self.json.as_deref()?;
        let placed = self.node_name.as_ref().and_then(|node| placed(text, node.as_str()));
        Some(placed.map_or(Cow::Borrowed(text), Cow::Owned))
    }

    /// Name of the claim behind a volume of this pod: given, or `POD-VOLUME` for a generic ephemeral volume.
    #[must_use]
    pub fn claim_name(&self, volume: &Volume) -> Option<Box<str>> {
        match &volume.source {
            VolumeSource::Claim { name, .. } => Some(name.clone()),
            VolumeSource::Ephemeral => Some(format!("{}-{}", self.name, volume.name).into()),
            _ => None,
        }
    }

    /// Whether the pod declares pod affinity or anti-affinity at all, even without terms.
    #[must_use]
    pub fn has_pod_affinity(&self) -> bool {
        self.affinity.as_ref().is_some_and(|a| a.declares_pod_affinity || a.declares_pod_anti_affinity)
    }

    /// Whether the pod has a required anti-affinity term.
    #[must_use]
    pub fn has_required_anti_affinity(&self) -> bool {
        self.affinity.as_ref().is_some_and(|a| !a.required_anti_affinity.is_empty())
    }
}

/// The text of a pod without the node that it is on or nominated to, where it names one.
fn without_node(json: &str) -> Option<String> {
    let mut object: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut is_changed = false;
    for (part, field) in [("spec", "nodeName"), ("status", "nominatedNodeName")] {
        let fields = object.get_mut(part).and_then(serde_json::Value::as_object_mut);
        is_changed |= fields.is_some_and(|fields| fields.remove(field).is_some());
    }
    is_changed.then(|| object.to_string())
}

/// Sidecars are init containers that go on running.
fn is_sidecar(container: &wire::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn host_ports(spec: &wire::PodSpec) -> Box<[HostPort]> {
    let sidecars = spec.init_containers.iter().filter(|c| is_sidecar(c));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| &c.ports)
        .filter(|p| p.host_port > 0)
        .map(|p| HostPort {
            ip: Atom::new(if p.host_ip.is_empty() { "0.0.0.0" } else { &p.host_ip }),
            protocol: Atom::new(if p.protocol.is_empty() { "TCP" } else { &p.protocol }),
            port: p.host_port,
        })
        .collect()
}

fn images(spec: &wire::PodSpec) -> Box<[Atom]> {
    let volumes = spec.volumes.iter().filter_map(|v| v.image.as_ref()).map(|i| &*i.reference);
    spec.containers
        .iter()
        .map(|c| &*c.image)
        .chain(spec.init_containers.iter().map(|c| &*c.image))
        .chain(volumes)
        .map(|image| {
            // A tag follows a colon in the last part of the path; without one, `latest` is implied.
            let last_part = image.rsplit('/').next().unwrap_or(image);
            if last_part.contains(':') { Atom::new(image) } else { Atom::new(&format!("{image}:latest")) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_off_its_node_names_it_nowhere() {
        let compiled = |text: &str| {
            let wire: wire::Pod = serde_json::from_str(text).expect("a pod");
            Pod::new(&wire).expect("it compiles").with_json(text)
        };
        let placed = compiled(
            r#"{"metadata":{"name":"a"},"spec":{"nodeName":"n1","priority":7},"status":{"nominatedNodeName":"n2","phase":"Running"}}"#,
        );
        let waiting =
            compiled(r#"{"metadata":{"name":"a"},"spec":{"priority":7},"status":{"phase":"Running"}}"#);
        assert_eq!(placed.off_its_node(), waiting);
        assert_eq!(waiting.off_its_node(), waiting);
    }
}
