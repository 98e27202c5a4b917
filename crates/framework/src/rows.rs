//! CPU, memory and free pod slots of many nodes in separate columns, so that filters and scores that depend only on these can be
//! computed for several nodes at a time.

use secondmate_model::NodeInfo;
use std::ops::Range;

/// An amount of CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuAndMemory {
    /// CPU, in thousandths.
    pub milli_cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
}

/// The values of a node that change with nearly every pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// The node's allocatable.
    pub allocatable: CpuAndMemory,
    /// Sum of its pods' requests.
    pub requested: CpuAndMemory,
    /// The same, with the defaults for containers without a CPU or memory request.
    pub non_zero: CpuAndMemory,
    /// How many more pods it accepts; negative if it has too many.
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

/// Columns of CPU and memory.
#[derive(Clone, Copy, Debug)]
pub struct AmountColumns<'a> {
    /// CPU, in thousandths.
    pub milli_cpu: &'a [i64],
    /// Memory, in bytes.
    pub memory: &'a [i64],
}

/// Rows of several nodes, stored by column; [`NodeRow`] describes the contents. All columns have the same length.
#[derive(Clone, Copy, Debug)]
pub struct NodeRows<'a> {
    /// The nodes' allocatable.
    pub allocatable: AmountColumns<'a>,
    /// Sums of their pods' requests.
    pub requested: AmountColumns<'a>,
    /// The same, with the defaults for containers without a CPU or memory request.
    pub non_zero: AmountColumns<'a>,
    /// How many more pods they accept.
    pub pods_left: &'a [i64],
}

impl<'a> NodeRows<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods_left.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at an index.
    ///
    /// # Panics
    /// If the index is out of range.
    #[must_use]
    pub fn row(&self, at: usize) -> NodeRow {
        let amounts = |columns: &AmountColumns<'_>| CpuAndMemory {
            milli_cpu: columns.milli_cpu[at],
            memory: columns.memory[at],
        };
        NodeRow {
            allocatable: amounts(&self.allocatable),
            requested: amounts(&self.requested),
            non_zero: amounts(&self.non_zero),
            pods_left: self.pods_left[at],
        }
    }

    /// The rows in a range.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        let amounts = |columns: &AmountColumns<'a>| AmountColumns {
            milli_cpu: &columns.milli_cpu[range.clone()],
            memory: &columns.memory[range.clone()],
        };
        Self {
            allocatable: amounts(&self.allocatable),
            requested: amounts(&self.requested),
            non_zero: amounts(&self.non_zero),
            pods_left: &self.pods_left[range.clone()],
        }
    }
}

#[derive(Clone, Debug, Default)]
struct AmountTable {
    milli_cpu: Vec<i64>,
    memory: Vec<i64>,
}

impl AmountTable {
    fn push(&mut self, amounts: CpuAndMemory) {
        self.milli_cpu.push(amounts.milli_cpu);
        self.memory.push(amounts.memory);
    }

    fn set(&mut self, at: usize, amounts: CpuAndMemory) {
        (self.milli_cpu[at], self.memory[at]) = (amounts.milli_cpu, amounts.memory);
    }

    fn clear(&mut self) {
        self.milli_cpu.clear();
        self.memory.clear();
    }

    fn columns(&self) -> AmountColumns<'_> {
        AmountColumns { milli_cpu: &self.milli_cpu, memory: &self.memory }
    }
}

/// An owned table of rows.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    allocatable: AmountTable,
    requested: AmountTable,
    non_zero: AmountTable,
    pods_left: Vec<i64>,
}

impl NodeTable {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> NodeRows<'_> {
        NodeRows {
            allocatable: self.allocatable.columns(),
            requested: self.requested.columns(),
            non_zero: self.non_zero.columns(),
            pods_left: &self.pods_left,
        }
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: NodeRow) {
        self.allocatable.push(row.allocatable);
        self.requested.push(row.requested);
        self.non_zero.push(row.non_zero);
        self.pods_left.push(row.pods_left);
    }

    /// Replaces a row.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn set(&mut self, at: usize, row: NodeRow) {
        self.allocatable.set(at, row.allocatable);
        self.requested.set(at, row.requested);
        self.non_zero.set(at, row.non_zero);
        self.pods_left[at] = row.pods_left;
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.allocatable.clear();
        self.requested.clear();
        self.non_zero.clear();
        self.pods_left.clear();
    }

    /// Memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pods_left.capacity() * size_of::<NodeRow>()
    }
}

impl FromIterator<NodeRow> for NodeTable {
    fn from_iter<T: IntoIterator<Item = NodeRow>>(rows: T) -> Self {
        let mut table = Self::default();
        rows.into_iter().for_each(|row| table.push(row));
        table
    }
}

/// A filter for one pod that depends only on the nodes' rows. See [`Filter::by_row`](crate::Filter::by_row).
pub trait RowFilter {
    /// Sets `passes` to `false` for the nodes that the filter rejects. `passes` has one entry per row.
    fn filter(&self, rows: NodeRows<'_>, passes: &mut [bool]);
}

/// A score for one pod that depends only on the nodes' rows. See [`Score::by_row`](crate::Score::by_row).
pub trait RowScore {
    /// Sets the raw scores of the nodes that pass. `scores` has one entry per row; entries of other nodes do not matter.
    fn score(&self, rows: NodeRows<'_>, passes: &[bool], scores: &mut [i64]);
}
