//! CPU, memory and room for pods of a node in one line of memory: filters and scores that follow from these alone are worked out for many
//! nodes at a time.

use secondmate_model::NodeInfo;

/// Of CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuAndMemory {
    /// CPU, in thousandths.
    pub milli_cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
}

/// What changes about most nodes with every pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// What the node has.
    pub allocatable: CpuAndMemory,
    /// What its pods ask for.
    pub requested: CpuAndMemory,
    /// The same with the defaults for containers that name no CPU or memory.
    pub non_zero: CpuAndMemory,
    /// How many more pods it takes; negative where it has too many.
    pub pods_left: i64,
}

impl NodeRow {
    /// The row of a node.
    #[must_use]
    pub fn of(node: &NodeInfo) -> Self {
        let (allocatable, requested) = (&node.node().allocatable, node.requested());
        let pods = i64::try_from(node.pods().len()).unwrap_or(i64::MAX);
        Self {
            allocatable: CpuAndMemory {
                milli_cpu: allocatable.resources.milli_cpu,
                memory: allocatable.resources.memory,
            },
            requested: CpuAndMemory { milli_cpu: requested.milli_cpu, memory: requested.memory },
            non_zero: CpuAndMemory { milli_cpu: node.non_zero_milli_cpu(), memory: node.non_zero_memory() },
            pods_left: allocatable.pods.saturating_sub(pods),
        }
    }
}

/// A filter for one pod, where it follows from the nodes' rows. See [`Filter::by_row`](crate::Filter::by_row).
pub trait RowFilter {
    /// Sets `passes` to `false` for the nodes that the filter rejects. There is one for each row.
    fn filter(&self, rows: &[NodeRow], passes: &mut [bool]);
}

/// A score for one pod, where it follows from the nodes' rows. See [`Score::by_row`](crate::Score::by_row).
pub trait RowScore {
    /// The raw scores of the nodes that pass. There is one for each row; what stands there for other nodes does not matter.
    fn score(&self, rows: &[NodeRow], passes: &[bool], scores: &mut [i64]);
}
