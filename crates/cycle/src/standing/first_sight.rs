//! Pods of a kind that was not seen before, and pods that are the only ones of their kind: one pass over all nodes, over columns.
//! If no node passes, the plain pass determines why.

use super::class::{Asker, weighted};
use super::columns::{ROWS, Sheet};
use super::fixed::Kind;
use super::why::Why;
use fearless_simd::{Level, Simd, dispatch};
use secondmate_framework::{NodeIndex, Normalization, RunFilters};
use std::ops::Range;

/// Buffers that are kept for such pods.
#[derive(Debug, Default)]
pub(super) struct FirstSight {
    /// The best nodes so far, by the number of their kind; reused from one pod to the next.
    best: Vec<Best>,
}

/// The passing nodes of one kind.
#[derive(Debug, Default)]
struct Best {
    nodes: usize,
    /// The best sum of the scores that need no normalisation.
    own: i64,
    /// Positions of the nodes that have this sum, ascending.
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

    /// Like [`Self::offer`], for those of these consecutive nodes that pass.
    fn offer_all(&mut self, from: usize, passes: &[bool], sums: &[i64]) {
        let (passing, most) = dispatch!(Level::new(), simd => survey(simd, passes, sums));
        if passing > 0 && (self.nodes == 0 || most >= self.own) {
            if self.nodes == 0 || most > self.own {
                self.own = most;
                self.ties.clear();
            }
            let ties =
                passes.iter().zip(sums).enumerate().filter(|(_, (passes, sum))| **passes & (**sum == most));
            self.ties.extend(ties.map(|(at, _)| u32::try_from(from + at).expect("fewer than 2^32 nodes")));
        }
        self.nodes += passing;
    }
}

/// How many nodes pass, and the largest sum among them.
#[inline(always)]
fn survey<S: Simd>(_simd: S, passes: &[bool], sums: &[i64]) -> (usize, i64) {
    let (mut passing, mut most) = (0, i64::MIN);
    for (passes, sum) in passes.iter().zip(sums) {
        passing += usize::from(*passes);
        most = most.max(if *passes { *sum } else { i64::MIN });
    }
    (passing, most)
}

/// The best of all nodes.
pub(super) struct BestOfAll {
    /// Their positions, ascending.
    ties: Vec<u32>,
    /// Number of nodes that pass.
    pub(super) feasible: usize,
}

impl BestOfAll {
    /// Number of best nodes.
    pub(super) fn len(&self) -> usize {
        self.ties.len()
    }

    /// The `nth` of them, counted from the position `start` on, wrapping around the list.
    pub(super) fn nth_from(&self, start: usize, nth: usize) -> NodeIndex {
        let before = self.ties.partition_point(|position| (*position as usize) < start);
        NodeIndex(self.ties[(before + nth) % self.ties.len()])
    }
}

impl FirstSight {
    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.best.iter().map(|best| best.ties.capacity() * size_of::<u32>()).sum()
    }

    /// The best nodes for a pod on which no plugin acts by group.
    pub(super) fn best(&mut self, asker: &Asker<'_, '_>, sheet: &Sheet<'_, '_>) -> Result<BestOfAll, Why> {
        self.best.iter_mut().for_each(Best::clear);
        self.best.resize_with(sheet.fixed.kinds().len(), Best::default);
        // Nodes on which nominated pods count are evaluated one by one.
        let nominated = asker.with_nominated();
        for from in (0..sheet.rows.len()).step_by(ROWS) {
            let chunk = from..(from + ROWS).min(sheet.rows.len());
            let first = nominated.partition_point(|at| at.get() < chunk.start);
            let here = &nominated[first..];
            let here = &here[..here.partition_point(|at| at.get() < chunk.end)];
            self.look_at(asker, sheet, chunk, here)?;
        }
        sheet.tell(asker, sheet.rows.len() as u64);
        self.best_of_all(sheet)
    }

    fn look_at(
        &mut self,
        asker: &Asker<'_, '_>,
        sheet: &Sheet<'_, '_>,
        chunk: Range<usize>,
        nominated: &[NodeIndex],
    ) -> Result<(), Why> {
        let from = chunk.start;
        let (rows, slots) = (sheet.rows.part(chunk.clone()), &sheet.fixed.slots()[chunk]);
        let (mut passes, mut sums) = ([false; ROWS], [0_i64; ROWS]);
        let (passes, sums) = (&mut passes[..rows.len()], &mut sums[..rows.len()]);
        sheet.filter(rows, slots, passes);
        for at in nominated {
            let node = asker.pass.cx.snapshot.at(*at);
            let status = asker.runner.run(&asker.pass.cx, &asker.pass.state, asker.pass.pod, node);
            if !status.is_success() && !status.is_rejected() {
                return Err(Why::Failed);
            }
            passes[at.get() - from] = status.is_success();
        }
        sheet.score(rows, slots, passes, sums)?;
        if let [best] = self.best.as_mut_slice() {
            best.offer_all(from, passes, sums);
            return Ok(());
        }
        for (at, ((passes, slot), sum)) in passes.iter().zip(slots).zip(sums).enumerate() {
            if *passes {
                let position = u32::try_from(from + at).expect("fewer than 2^32 nodes");
                self.best[usize::from(*slot)].offer(position, *sum);
            }
        }
        Ok(())
    }

    /// Normalises the raw scores over the passing nodes, and combines the best nodes of all kinds.
    fn best_of_all(&self, sheet: &Sheet<'_, '_>) -> Result<BestOfAll, Why> {
        let kinds = sheet.fixed.kinds();
        let mut all: Vec<(&Best, &Kind, i64)> = self
            .best
            .iter()
            .zip(kinds)
            .filter(|(best, _)| best.nodes > 0)
            .map(|(best, kind)| (best, kind, best.own))
            .collect();
        let normalizing =
            sheet.split.scorers.iter().filter(|scorer| scorer.normalization != Normalization::Identity);
        for (at, scorer) in normalizing.enumerate() {
            let largest = all.iter().map(|(_, kind, _)| kind.raw[at]).max().unwrap_or(0);
            for (_, kind, total) in &mut all {
                let score = weighted(scorer.normalization.of(kind.raw[at], largest), scorer.weight)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn nodes_offered_in_a_row_end_as_those_offered_one_by_one() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let (mut each, mut all, mut from) = (Best::default(), Best::default(), 0);
            for _ in 0..random.below(6) {
                let rows = random.below(ROWS + 1);
                // Few distinct sums, so that several nodes are best.
                let sums: Vec<i64> = (0..rows)
                    .map(|_| 100 - i64::try_from(random.below(4)).expect("a small number"))
                    .collect();
                let most = random.below(3);
                let passes: Vec<bool> = (0..rows).map(|_| random.below(3) <= most).collect();
                for (at, sum) in sums.iter().enumerate().filter(|(at, _)| passes[*at]) {
                    each.offer(u32::try_from(from + at).expect("a small number"), *sum);
                }
                all.offer_all(from, &passes, &sums);
                from += rows;
            }
            assert_eq!((each.nodes, each.own, each.ties), (all.nodes, all.own, all.ties), "seed {seed}");
        }
    }
}
