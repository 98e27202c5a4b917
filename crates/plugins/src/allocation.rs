//! What the two plugins that score resources have in common: which resources they look at, and how much of them is allocated.

use secondmate_framework::{AmountColumns, NodeRow, NodeRows};
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

/// A resource as given in arguments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceArgs {
    name: String,
    #[serde(default)]
    weight: i64,
}

/// Compiles the list of resources; without a list these are CPU and memory, and the default weight is 1.
///
/// # Errors
/// A weight is not within 1 to 100.
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

/// A pod's request of each scored resource, in the resources' order.
pub(crate) type ScoredRequests = SmallVec<[i64; 4]>;

/// Picks the scored resources out of a vector.
pub(crate) fn requests_of(resources: &[ScoredResource], requests: &Resources) -> ScoredRequests {
    resources.iter().map(|resource| requests.get(&resource.key)).collect()
}

/// Which sum over the node's pods is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The pods' requests.
    Requested,
    /// The same, with defaults for containers that do not request CPU or memory.
    NonZeroRequested,
}

/// A resource of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The node's allocatable amount; not 0.
    pub(crate) allocatable: i64,
    /// The amount allocated to its pods.
    pub(crate) allocated: i64,
    /// The amount allocated with the incoming pod added.
    pub(crate) requested: i64,
}

impl Allocation {
    /// The allocation of a resource, or `None` if the resource does not count: the node has none, or it is a scalar resource that the pod
    /// does not request.
    ///
    /// Devices of dynamic resource allocation behind an extended resource are not counted: a pod that requests them is rejected on a node
    /// where they would count (see `DynamicResources`), and for other pods they do not count.
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

/// CPU or memory, with a pod's request for it: computes its allocation from a node's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowAllocation {
    is_memory: bool,
    pod_request: i64,
    taken: Taken,
}

impl RowAllocation {
    /// Like [`Allocation::of`].
    pub(crate) fn on(&self, row: &NodeRow) -> Option<Allocation> {
        let allocation = self.amounts(row);
        (allocation.allocatable != 0).then_some(allocation)
    }

    /// The same, whether the resource counts or not.
    pub(crate) fn amounts(&self, row: &NodeRow) -> Allocation {
        let taken = if self.taken == Taken::NonZeroRequested { &row.non_zero } else { &row.requested };
        let (allocatable, allocated) = if self.is_memory {
            (row.allocatable.memory, taken.memory)
        } else {
            (row.allocatable.milli_cpu, taken.milli_cpu)
        };
        let requested = allocated.wrapping_add(self.pod_request);
        Allocation { allocatable, allocated, requested }
    }
}

impl RowAllocation {
    /// The allocatable amounts of these nodes, and the amounts allocated to their pods.
    pub(crate) fn columns<'a>(&self, rows: &NodeRows<'a>) -> (&'a [i64], &'a [i64]) {
        let taken = if self.taken == Taken::NonZeroRequested { &rows.non_zero } else { &rows.requested };
        let column =
            |columns: &AmountColumns<'a>| if self.is_memory { columns.memory } else { columns.milli_cpu };
        (column(&rows.allocatable), column(taken))
    }

    /// The pod's request.
    pub(crate) fn pod_request(&self) -> i64 {
        self.pod_request
    }
}

/// Converts an integer from 0 to below 2^52 to floating point, exactly. Unlike `as`, this is vectorised on every processor.
#[inline(always)]
pub(crate) fn exactly(integer: i64) -> f64 {
    f64::from_bits(BITS_OF_LARGE | integer as u64) - LARGE
}

/// Truncates a number from 0 to 100 to an integer; vectorised as well. The result for other numbers is meaningless.
#[inline(always)]
pub(crate) fn whole_percent(percent: f64) -> i64 {
    let nearest = percent + LARGE - LARGE;
    let whole = if nearest > percent { nearest - 1.0 } else { nearest };
    ((whole + LARGE).to_bits() & 0x7f) as i64
}

/// 2^52. From there up to 2^53, the lowest bit of a float counts ones, so adding a smaller number rounds it to an integer.
const LARGE: f64 = f64::from_bits(BITS_OF_LARGE);
const BITS_OF_LARGE: u64 = (1023 + 52) << 52;

/// How many rows of intermediate results are kept at a time, so that the processor can divide several at once; how many that are is
/// determined at run time (`dispatch!`).
pub(crate) const ROWS_AT_ONCE: usize = 64;

/// The allocations of these resources by row; `None` if one of the resources is not in the rows.
pub(crate) fn row_allocations(
    resources: &[ScoredResource],
    requests: &[i64],
    taken: Taken,
) -> Option<SmallVec<[RowAllocation; 2]>> {
    let allocation = |(resource, pod_request): (&ScoredResource, &i64)| {
        let is_memory = match resource.key {
            ResourceKey::Cpu => false,
            ResourceKey::Memory => true,
            _ => return None,
        };
        Some(RowAllocation { is_memory, pod_request: *pod_request, taken })
    };
    resources.iter().zip(requests).map(allocation).collect()
}

/// The quotient of two integers, truncated towards zero.
///
/// Small integers are divided in floating point, which takes a fraction of the time and gives the same result: below 2^52, the quotient
/// differs from the next integer by more than the rounding error.
pub(crate) fn quotient(dividend: i64, divisor: i64) -> i64 {
    const EXACT: u64 = 1 << 52;
    // As unsigned numbers, negative ones are large as well.
    if (dividend as u64) < EXACT && (divisor as u64) < EXACT {
        (dividend as f64 / divisor as f64) as i64
    } else {
        dividend.wrapping_div(divisor)
    }
}

/// Rows of nodes with CPU and memory, with little, much or too much of it allocated; some of them nearly full to a whole percent.
#[cfg(test)]
pub(crate) fn usual_rows(count: usize) -> Vec<NodeRow> {
    use secondmate_framework::CpuAndMemory;
    let mut seed = 7_u64;
    let mut below = |bound: i64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as i64 % bound
    };
    let row = |_| {
        let has = CpuAndMemory { milli_cpu: 1 + below(64_000), memory: 1 + (below(1 << 30) << 7) };
        let mut taken = || {
            let percent = below(104);
            CpuAndMemory {
                milli_cpu: has.milli_cpu * percent / 100,
                memory: below(has.memory + has.memory / 8 + 1),
            }
        };
        NodeRow { allocatable: has, requested: taken(), non_zero: taken(), pods_left: 1 }
    };
    (0..count).map(row).collect()
}

/// The same, but some of them lack CPU or memory, or have amounts that no node has.
#[cfg(test)]
pub(crate) fn some_rows(count: usize) -> Vec<NodeRow> {
    let mut rows = usual_rows(count);
    for (at, row) in rows.iter_mut().enumerate() {
        match at % 90 {
            0 => row.allocatable.milli_cpu = 0,
            1 => row.allocatable.memory = 0,
            2 => row.allocatable = secondmate_framework::CpuAndMemory::default(),
            3 => row.requested.memory = i64::MAX - 3,
            4 => row.non_zero.memory = -(1 << 40),
            5 => row.requested.milli_cpu = -7,
            6 => row.allocatable.memory = i64::MAX,
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_turned_into_others_as_by_a_cast() {
        for integer in [0, 1, 99, 1 << 31, (1 << 52) - 1] {
            assert_eq!(exactly(integer).to_bits(), (integer as f64).to_bits(), "{integer}");
        }
        for hundredths in 0..=10_000 {
            let percent = f64::from(hundredths) / 100.0;
            for percent in [percent, percent.next_up(), percent.next_down().max(0.0)] {
                assert_eq!(whole_percent(percent), percent as i64, "{percent}");
            }
        }
    }

    #[test]
    fn quotients_are_those_of_integers() {
        // Multiples and their neighbours, up to beyond the range in which floating point is used; a simple generator makes the rest.
        let mut seed = 1_u64;
        for at in 0..200_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let divisor = ((seed >> 11) as i64 >> (at % 52)).max(1);
            let multiple = divisor.saturating_mul(i64::from(at % 130));
            for dividend in [multiple - 1, multiple, multiple + 1, (seed >> 3) as i64, -multiple] {
                assert_eq!(
                    quotient(dividend, divisor),
                    dividend.wrapping_div(divisor),
                    "{dividend} / {divisor}"
                );
            }
        }
        for edge in [(1 << 52) - 1, 1 << 52, (1 << 53) + 1, i64::MAX] {
            for divisor in [1, 2, 3, edge - 1, edge] {
                assert_eq!(quotient(edge, divisor), edge / divisor, "{edge} / {divisor}");
                assert_eq!(quotient(-edge, divisor), -edge / divisor, "-{edge} / {divisor}");
            }
        }
        assert_eq!(quotient(i64::MIN, -1), i64::MIN);
        assert_eq!(quotient(7, -2), -3);
    }
}
