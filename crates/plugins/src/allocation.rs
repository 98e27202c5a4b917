//! What the two plugins that score resources have in common: which resources they look at, and how much of them is taken.

use secondmate_model::NodeInfo;
use secondmate_model::resources::{ResourceKey, Resources};
use serde::Deserialize;
use smallvec::SmallVec;

/// A resource that counts for a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScoredResource {
    pub(crate) key: ResourceKey,
    pub(crate) weight: i64,
}

/// A resource as arguments have it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceArgs {
    name: String,
    #[serde(default)]
    weight: i64,
}

/// Compiles the list of resources; without any it is CPU and memory, and a weight that is not given is 1.
///
/// # Errors
/// A weight outside of 1 to 100.
pub(crate) fn scored_resources(args: Option<Vec<ResourceArgs>>) -> Result<Box<[ScoredResource]>, String> {
    let args = args.unwrap_or_default();
    if args.is_empty() {
        return Ok([ResourceKey::Cpu, ResourceKey::Memory]
            .map(|key| ScoredResource { key, weight: 1 })
            .into());
    }
    let scored = args.into_iter().map(|resource| {
        let weight = if resource.weight == 0 { 1 } else { resource.weight };
        if !(1..=100).contains(&weight) {
            return Err(format!("weight {weight} of resource {:?} is not between 1 and 100", resource.name));
        }
        Ok(ScoredResource { key: ResourceKey::new(&resource.name), weight })
    });
    scored.collect()
}

/// How much a pod asks for of each scored resource, in their order.
pub(crate) type ScoredRequests = SmallVec<[i64; 4]>;

/// Picks the scored resources out of a vector.
pub(crate) fn requests_of(resources: &[ScoredResource], requests: &Resources) -> ScoredRequests {
    resources.iter().map(|resource| requests.get(&resource.key)).collect()
}

/// Which sum of the node's pods is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// What the pods ask for.
    Requested,
    /// The same with the defaults for containers that name no CPU or memory.
    NonZeroRequested,
}

/// A resource of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// How much the node has; not 0.
    pub(crate) allocatable: i64,
    /// How much its pods take.
    pub(crate) allocated: i64,
    /// How much they and the incoming pod would take.
    pub(crate) requested: i64,
}

impl Allocation {
    /// The allocation of a resource, or `None` where it does not count: the node has none, or it is a scalar resource that the
    /// pod does not ask for.
    ///
    /// Devices of dynamic resource allocation that stand behind an extended resource are not counted: on a node where they would
    /// be, a pod that asks for them is rejected (see `DynamicResources`), and for other pods they do not count.
    pub(crate) fn of(key: &ResourceKey, pod_request: i64, node: &NodeInfo, taken: Taken) -> Option<Self> {
        if pod_request == 0 && key.is_scalar() {
            return None;
        }
        let allocatable = node.node().allocatable.resources.get(key);
        if allocatable == 0 {
            return None;
        }
        let allocated = match (taken, key) {
            (Taken::NonZeroRequested, ResourceKey::Cpu) => node.non_zero_milli_cpu(),
            (Taken::NonZeroRequested, ResourceKey::Memory) => node.non_zero_memory(),
            _ => node.requested().get(key),
        };
        Some(Self { allocatable, allocated, requested: allocated.wrapping_add(pod_request) })
    }
}
