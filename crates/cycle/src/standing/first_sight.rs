//! Pods of a kind that has not been seen before, and pods that are each alone: one look at every node, over columns.
//!
//! What pods on the nodes do not change is kept from pod to pod ([`Fixed`]); what they do change stands in a row for each node, and the
//! plugins that read it work through many rows at a time. So a pod costs no call and no allocation for each node. Where no node passes, the
//! plain pass tells why.

use super::class::{Asker, weighted};
use super::fixed::{Fixed, RawScores};
use super::key::Key;
use super::split::Split;
use super::why::Why;
use crate::probe::Point;
use secondmate_framework::{
    Cursor, MAX_NODE_SCORE, MIN_NODE_SCORE, NodeIndex, NodeRow, Normalization, RunFilters, Snapshot,
};
use std::ops::Range;

/// Rows at a time: their intermediate results stay in the nearest cache.
const ROWS: usize = 256;
/// Columns that are kept of what pods do not change. Where pods differ in more than what they ask for, they do so in few ways.
const FIXED_MAX: usize = 16;

/// What is kept for such pods.
#[derive(Debug, Default)]
pub(super) struct FirstSight {
    rows: Vec<NodeRow>,
    /// How far the rows have followed the nodes.
    cursor: Option<Cursor>,
    fixed: Vec<Fixed>,
    /// Counts the uses.
    clock: u64,
    /// The best nodes so far, by the number of their raw scores; kept to be filled again.
    best: Vec<Best>,
}

/// Nodes that pass and have the same raw scores.
#[derive(Debug, Default)]
struct Best {
    nodes: usize,
    /// The best sum of the other scores.
    own: i64,
    /// Positions of the nodes that have it, ascending.
    ties: Vec<u32>,
}

impl Best {
    fn clear(&mut self) {
        self.nodes = 0;
        self.ties.clear();
    }

    fn offer(&mut self, position: u32, own: i64) {
        if self.nodes == 0 || own > self.own {
            self.own = own;
            self.ties.clear();
        }
        if own == self.own {
            self.ties.push(position);
        }
        self.nodes += 1;
    }
}

/// The best of all nodes.
pub(super) struct BestOfAll {
    /// Their positions, ascending.
    ties: Vec<u32>,
    /// How many nodes pass.
    pub(super) feasible: usize,
}

impl BestOfAll {
    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.ties.len()
    }

    /// The `nth` of them, counted from the position `start` on and round the list.
    pub(super) fn nth_from(&self, start: usize, nth: usize) -> NodeIndex {
        let before = self.ties.partition_point(|position| (*position as usize) < start);
        NodeIndex(self.ties[(before + nth) % self.ties.len()])
    }
}

impl FirstSight {
    /// Memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let best: usize = self.best.iter().map(|best| best.ties.capacity() * size_of::<u32>()).sum();
        let fixed: usize = self.fixed.iter().map(Fixed::bytes).sum();
        self.rows.capacity() * size_of::<NodeRow>() + best + fixed
    }

    /// Memory that it takes at least, for so many nodes, in bytes.
    pub(super) fn bytes_at_least(nodes: usize) -> usize {
        nodes * (size_of::<NodeRow>() + size_of::<super::fixed::Slot>())
    }

    /// The best nodes for a pod, if any passes; and how many nodes plugins were asked about one by one. `None` where the pod's plugins need
    /// more than this knows.
    pub(super) fn best(&mut self, asker: &Asker<'_, '_>) -> Result<Option<(BestOfAll, u64)>, Why> {
        let Some(split) = Split::new(asker)? else { return Ok(None) };
        let key = Key::of(asker.pass.profile, &split.reads, asker.pass.pod);
        let at = self.fixed.iter().position(|fixed| fixed.key == key);
        let snapshot = asker.pass.cx.snapshot;
        let mut fixed = match at {
            Some(at) => self.fixed.swap_remove(at),
            None => Fixed::new(key, snapshot, &split),
        };
        let asked = fixed.refresh(asker, &split)?;
        tell(asker, &split, asked);
        self.refresh_rows(snapshot);
        let best = self.look(asker, &split, &fixed);
        self.clock += 1;
        fixed.used = self.clock;
        self.keep(fixed);
        Ok(Some((best?, asked)))
    }

    fn keep(&mut self, fixed: Fixed) {
        if self.fixed.len() == FIXED_MAX {
            let oldest = self.fixed.iter().enumerate().min_by_key(|(_, fixed)| fixed.used);
            if let Some((at, _)) = oldest {
                self.fixed.swap_remove(at);
            }
        }
        self.fixed.push(fixed);
    }

    fn refresh_rows(&mut self, snapshot: &Snapshot) {
        let changes = self.cursor.as_ref().and_then(|cursor| snapshot.changes_since(cursor));
        match changes {
            Some(changes) => changes.for_each(|at| self.rows[at.get()] = NodeRow::of(snapshot.at(at))),
            None => self.rows = snapshot.nodes().iter().map(|node| NodeRow::of(node)).collect(),
        }
        self.cursor = Some(snapshot.cursor());
    }

    /// Looks at every node.
    fn look(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>, fixed: &Fixed) -> Result<BestOfAll, Why> {
        self.best.iter_mut().for_each(Best::clear);
        self.best.resize_with(fixed.kinds().len(), Best::default);
        // Nodes to which pods are nominated are asked one by one.
        let cx = &asker.pass.cx;
        let nominated = cx.nominations.nodes();
        let mut nominated: Vec<NodeIndex> =
            nominated.into_iter().filter_map(|name| cx.snapshot.position(name)).collect();
        nominated.sort_unstable();
        for from in (0..self.rows.len()).step_by(ROWS) {
            let chunk = from..(from + ROWS).min(self.rows.len());
            let first = nominated.partition_point(|at| at.get() < chunk.start);
            let here = &nominated[first..];
            let here = &here[..here.partition_point(|at| at.get() < chunk.end)];
            self.look_at(asker, split, fixed, chunk, here)?;
        }
        self.best_of_all(split, fixed.kinds())
    }

    fn look_at(
        &mut self,
        asker: &Asker<'_, '_>,
        split: &Split<'_>,
        fixed: &Fixed,
        chunk: Range<usize>,
        nominated: &[NodeIndex],
    ) -> Result<(), Why> {
        let from = chunk.start;
        let (rows, slots) = (&self.rows[chunk.clone()], &fixed.slots()[chunk]);
        let mut passes = [false; ROWS];
        let passes = &mut passes[..rows.len()];
        passes.iter_mut().zip(slots).for_each(|(passes, slot)| *passes = slot.passes());
        for (_, filter) in &split.row_filters {
            filter.filter(rows, passes);
        }
        for at in nominated {
            let node = asker.pass.cx.snapshot.at(*at);
            let status = asker.runner.run(&asker.pass.cx, &asker.pass.state, asker.pass.pod, node);
            if !status.is_success() && !status.is_rejected() {
                return Err(Why::Failed);
            }
            passes[at.get() - from] = status.is_success();
        }
        let mut sums = [0_i64; ROWS];
        let sums = &mut sums[..rows.len()];
        sums.iter_mut().zip(slots).for_each(|(sum, slot)| *sum = i64::from(slot.own));
        let mut raw = [0_i64; ROWS];
        let raw = &mut raw[..rows.len()];
        for (_, score, weight) in &split.row_scores {
            score.score(rows, passes, raw);
            let mut in_range = true;
            for ((sum, raw), passes) in sums.iter_mut().zip(&*raw).zip(&*passes) {
                in_range &= !*passes || (MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(raw);
                *sum = sum.wrapping_add(raw.wrapping_mul(*weight));
            }
            if !in_range {
                return Err(Why::Failed);
            }
        }
        for (at, ((passes, slot), sum)) in passes.iter().zip(slots).zip(sums).enumerate() {
            if *passes {
                let position = u32::try_from(from + at).expect("fewer than 2^32 nodes");
                self.best[slot.kind()].offer(position, *sum);
            }
        }
        Ok(())
    }

    /// Normalises the raw scores over the nodes that pass, and puts the best together.
    fn best_of_all(&self, split: &Split<'_>, kinds: &[RawScores]) -> Result<BestOfAll, Why> {
        let mut all: Vec<(&Best, &RawScores, i64)> = self
            .best
            .iter()
            .zip(kinds)
            .filter(|(best, _)| best.nodes > 0)
            .map(|(best, raw)| (best, raw, best.own))
            .collect();
        let normalizing =
            split.scorers.iter().filter(|scorer| scorer.normalization != Normalization::Identity);
        for (at, scorer) in normalizing.enumerate() {
            let largest = all.iter().map(|(_, raw, _)| raw[at]).max().unwrap_or(0);
            for (_, raw, total) in &mut all {
                let score = weighted(scorer.normalization.of(raw[at], largest), scorer.weight)?;
                *total = total.checked_add(score).ok_or(Why::Failed)?;
            }
        }
        let feasible = all.iter().map(|(best, _, _)| best.nodes).sum();
        let most = all.iter().map(|(_, _, total)| *total).max();
        let best = all.iter().filter(|(_, _, total)| Some(*total) == most);
        let mut ties: Vec<u32> = best.flat_map(|(best, _, _)| &best.ties).copied().collect();
        if all.len() > 1 {
            ties.sort_unstable();
        }
        Ok(BestOfAll { ties, feasible })
    }
}

/// Tells the probe which plugins were asked about how many nodes.
fn tell(asker: &Asker<'_, '_>, split: &Split<'_>, asked: u64) {
    let probe = asker.pass.profile.probe();
    let all = asker.pass.cx.snapshot.nodes().len() as u64;
    let filters = split.filters.iter().map(|filter| (&***filter, asked));
    for (plugin, nodes) in filters.chain(split.row_filters.iter().map(|(plugin, _)| (*plugin, all))) {
        probe.plugin_evaluated(plugin, Point::Filter, nodes);
    }
    let scorers = split.scorers.iter().map(|scorer| (&**scorer.plugin, asked));
    for (plugin, nodes) in scorers.chain(split.row_scores.iter().map(|(plugin, _, _)| (*plugin, all))) {
        probe.plugin_evaluated(plugin, Point::Score, nodes);
    }
}
