//! What a kubelet checks when a pod arrives, as far as other pods can affect it: resources, the number of pods, host ports.
//!
//! Upstream: `pkg/kubelet/lifecycle/predicate.go`, which calls the scheduler's own `Fits` of `noderesources` and `nodeports`,
//! after removing from the pod the extended resources that the node does not offer or that a claim provides. What other pods
//! cannot change (affinity, taints, the operating system) is not checked: a second scheduler cannot invalidate it.

use secondmate_model::resources::{ResourceKey, is_extended_resource_name};
use secondmate_model::{Atom, HostPort, NodeInfo, Pod, Resources};
use std::fmt;

/// What a node lacks for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// It accepts no more pods.
    Pods {
        /// Pods on it.
        bound: i64,
        /// Maximum number of pods.
        allocatable: i64,
    },
    /// A resource, in milli-CPU, bytes or units.
    Resource {
        /// The resource.
        resource: ResourceKey,
        /// The pod's request.
        asked: i64,
        /// Used by the pods on the node.
        bound: i64,
        /// What the node offers.
        allocatable: i64,
    },
    /// A host port is in use.
    Port(HostPort),
}

impl Shortage {
    /// Whether a pod on the node contributes to the shortage.
    pub(crate) fn is_due_to(&self, pod: &Pod) -> bool {
        match self {
            Self::Pods { .. } => true,
            Self::Resource { resource, .. } => held_by(pod).get(resource) > 0,
            Self::Port(port) => pod.host_ports.iter().any(|held| held.conflicts(port)),
        }
    }

    /// One word, for metrics: the resource, `pods` or `host-ports`. A resource that the node does not offer is `other`, since
    /// pods can name anything.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Pods { .. } => "pods",
            Self::Resource { resource: ResourceKey::Scalar(_), allocatable: 0, .. } => "other",
            Self::Resource { resource, .. } => resource.as_str(),
            Self::Port(_) => "host-ports",
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods { bound, allocatable } => write!(f, "Too many pods ({bound} of {allocatable} bound)"),
            Self::Resource { resource, asked, bound, allocatable } => {
                let amount = |amount| Amount { resource, amount };
                write!(
                    f,
                    "Insufficient {resource} ({} asked, {} of {} bound)",
                    amount(*asked),
                    amount(*bound),
                    amount(*allocatable)
                )
            }
            Self::Port(HostPort { ip, protocol, port }) if ip == "0.0.0.0" => {
                write!(f, "host port {port}/{protocol} is in use")
            }
            Self::Port(HostPort { ip, protocol, port }) => {
                write!(f, "host port {ip}:{port}/{protocol} is in use")
            }
        }
    }
}

/// An amount in the usual notation: `200m` of CPU, `3Gi` of memory.
struct Amount<'a> {
    resource: &'a ResourceKey,
    amount: i64,
}

impl fmt::Display for Amount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SUFFIXES: [(u32, &str); 4] = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
        let amount = self.amount;
        match self.resource {
            ResourceKey::Cpu => write!(f, "{amount}m"),
            ResourceKey::Memory | ResourceKey::EphemeralStorage => {
                let whole = |(shift, _): &&(u32, &str)| amount != 0 && amount % (1 << *shift) == 0;
                match SUFFIXES.iter().find(whole) {
                    Some((shift, suffix)) => write!(f, "{}{suffix}", amount >> *shift),
                    None => write!(f, "{amount}"),
                }
            }
            ResourceKey::Scalar(_) | ResourceKey::Other(_) => write!(f, "{amount}"),
        }
    }
}

/// What a pod on a node uses from the kubelet's point of view: during a resize, what is allocated or in effect.
fn held_by(pod: &Pod) -> &Resources {
    pod.requests.allocated.as_deref().unwrap_or(&pod.requests.on_node)
}

/// What the node lacks for one more pod, in the order in which a kubelet checks; empty if it would accept the pod.
pub(crate) fn shortages(pod: &Pod, node: &NodeInfo) -> Vec<Shortage> {
    let found = compare(pod, node, node.requested());
    // The sums that a scheduler keeps are never lower than the kubelet's, so if the former fit, the latter do too.
    if found.is_empty() || node.pods().iter().all(|on_node| on_node.requests.allocated.is_none()) {
        return found;
    }
    let mut held = Resources::default();
    for on_node in node.pods() {
        held.add_assign(held_by(on_node));
    }
    compare(pod, node, &held)
}

/// Prefix of the names of extended resources that a DeviceClass provides under its own name.
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

/// Whether a ResourceClaim may provide what the pod requests of a resource, so that the kubelet does not count it. A scheduler
/// creates the claim if the node itself has none of the resource, and writes it into the pod's status just before the bind, so
/// the known status may be out of date.
fn may_be_claimed(pod: &Pod, name: &Atom, offered: Option<i64>) -> bool {
    let name = name.as_str();
    let is_missing = offered.is_none_or(|amount| amount <= 0);
    name.starts_with(DEVICE_CLASS)
        || is_extended_resource_name(name) && (is_missing || pod.has_extended_resource_claim)
}

fn compare(pod: &Pod, node: &NodeInfo, held: &Resources) -> Vec<Shortage> {
    let mut found = Vec::new();
    let allocatable = &node.node().allocatable;
    let bound = i64::try_from(node.pods().len()).unwrap_or(i64::MAX);
    if bound >= allocatable.pods {
        found.push(Shortage::Pods { bound, allocatable: allocatable.pods });
    }
    let asked = &pod.requests.filter;
    let natives = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::EphemeralStorage];
    let scalars = asked
        .scalars
        .iter()
        .filter(|(name, _)| !may_be_claimed(pod, name, allocatable.resources.scalar(name)))
        .map(|(name, _)| ResourceKey::Scalar(name.clone()));
    for resource in natives.into_iter().chain(scalars) {
        let (asked, bound) = (asked.get(&resource), held.get(&resource));
        let allocatable = allocatable.resources.get(&resource);
        // Wraps like Go's arithmetic.
        if asked > 0 && asked > allocatable.wrapping_sub(bound) {
            found.push(Shortage::Resource { resource, asked, bound, allocatable });
        }
    }
    let taken = |port: &&HostPort| node.is_port_taken(port);
    found.extend(pod.host_ports.iter().filter(taken).cloned().map(Shortage::Port));
    found
}
