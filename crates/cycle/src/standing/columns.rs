//! Node data for pods of any kind, in columns: what pods on a node change is kept as a row per node, and the plugins that read it
//! process many rows at a time. What such pods do not change is kept once for all pods that are equivalent in that respect
//! ([`Fixed`]), whatever they request. So evaluating a node takes no call and no allocation.

use super::class::Asker;
use super::fixed::{Fixed, Kind, REJECTED, Slot};
use super::key::Key;
use super::split::Split;
use super::why::Why;
use crate::panics::run;
use crate::probe::Point;
use fearless_simd::{Level, Simd, dispatch};
use secondmate_framework::{
    Cursor, MAX_NODE_SCORE, MIN_NODE_SCORE, NodeIndex, NodeRow, NodeRows, NodeTable, Snapshot,
};

/// Rows processed at a time: their intermediate results stay in the L1 cache.
pub(super) const ROWS: usize = 256;
/// Rows processed at a time if they have to be gathered individually.
const PICKED: usize = 64;
/// Maximum number of [`Fixed`] columns, at two bytes per node. If pods differ in more than what they request, they do so in few
/// ways.
const FIXED_MAX: usize = 64;

/// The columns.
#[derive(Debug, Default)]
pub(super) struct Columns {
    rows: NodeTable,
    /// The position in the changes of the nodes up to which the rows are current.
    cursor: Option<Cursor>,
    fixed: Vec<Fixed>,
    /// Counts the uses.
    clock: u64,
}

impl Columns {
    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.fixed.iter().map(Fixed::bytes).sum::<usize>()
    }

    /// Minimum memory used for this many nodes, in bytes.
    pub(super) fn bytes_at_least(nodes: usize) -> usize {
        nodes * (size_of::<NodeRow>() + size_of::<Slot>())
    }

    /// The up-to-date columns for a pod. `None` if they would require evaluating every node, unless `make` says that they are
    /// worth that. The least recently used [`Fixed`] columns are dropped if there are too many, or if they use more than
    /// `bytes_max`.
    pub(super) fn sheet<'c, 's>(
        &'c mut self,
        asker: &Asker<'_, '_>,
        split: &'c Split<'s>,
        make: bool,
        bytes_max: usize,
    ) -> Result<Option<Sheet<'c, 's>>, Why> {
        let key = Key::of(asker.pass.profile, &split.reads, asker.pass.pod);
        let snapshot = asker.pass.cx.snapshot;
        let known = self.fixed.iter().position(|fixed| fixed.key == key);
        let of_use = known.filter(|at| make || !self.fixed[*at].is_outdated(snapshot, split));
        let mut fixed = match of_use {
            Some(at) => self.fixed.swap_remove(at),
            None if make => Fixed::new(key, snapshot, split),
            None => return Ok(None),
        };
        let asked = fixed.refresh(asker, split)?;
        self.refresh_rows(snapshot);
        self.clock += 1;
        fixed.used = self.clock;
        self.fixed.push(fixed);
        while self.fixed.len() > FIXED_MAX || (self.fixed.len() > 1 && self.bytes() > bytes_max) {
            self.drop_oldest();
        }
        let fixed = self.fixed.iter().find(|fixed| fixed.used == self.clock);
        Ok(fixed.map(|fixed| Sheet { rows: self.rows.rows(), fixed, split, asked }))
    }

    fn drop_oldest(&mut self) {
        let oldest = self.fixed.iter().enumerate().min_by_key(|(_, fixed)| fixed.used);
        if let Some((at, _)) = oldest {
            self.fixed.swap_remove(at);
        }
    }

    fn refresh_rows(&mut self, snapshot: &Snapshot) {
        let changes = self.cursor.as_ref().and_then(|cursor| snapshot.changes_since(cursor));
        match changes {
            Some(changes) => changes.for_each(|at| self.rows.set(at.get(), NodeRow::of(snapshot.at(at)))),
            None => self.rows = snapshot.nodes().iter().map(|node| NodeRow::of(node)).collect(),
        }
        self.cursor = Some(snapshot.cursor());
    }
}

/// The columns for one pod, and the plugins that use them.
pub(super) struct Sheet<'c, 's> {
    /// By position.
    pub(super) rows: NodeRows<'c>,
    pub(super) fixed: &'c Fixed,
    pub(super) split: &'c Split<'s>,
    /// Number of nodes that plugins were asked about one by one.
    pub(super) asked: u64,
}

impl Sheet<'_, '_> {
    /// Which of these nodes pass.
    pub(super) fn filter(&self, rows: NodeRows<'_>, slots: &[Slot], passes: &mut [bool]) {
        passes.iter_mut().zip(slots).for_each(|(passes, slot)| *passes = *slot != REJECTED);
        for (plugin, filter) in &self.split.row_filters {
            run(&plugin.name, Point::Filter.name(), None, || filter.filter(rows, passes));
        }
    }

    /// The weighted sums of those scores that need no normalisation, for the nodes that pass.
    pub(super) fn score(
        &self,
        rows: NodeRows<'_>,
        slots: &[Slot],
        passes: &[bool],
        sums: &mut [i64],
    ) -> Result<(), Why> {
        match self.fixed.kinds() {
            // For nodes that do not pass, any sum will do.
            [kind] => sums.fill(kind.own.into()),
            kinds => {
                let own = |slot: &Slot| kinds.get(usize::from(*slot)).map_or(0, |kind| i64::from(kind.own));
                sums.iter_mut().zip(slots).for_each(|(sum, slot)| *sum = own(slot));
            }
        }
        let mut raw = [0_i64; ROWS];
        let raw = &mut raw[..rows.len()];
        for (plugin, score, weight) in &self.split.row_scores {
            run(&plugin.name, Point::Score.name(), None, || score.score(rows, passes, raw));
            if !dispatch!(Level::new(), simd => add(simd, sums, raw, passes, *weight)) {
                return Err(Why::Failed);
            }
        }
        Ok(())
    }

    /// Reports how each of these nodes stands: its kind and the sum of its scores, or nothing if it does not pass. Pods nominated
    /// to the nodes are not considered.
    pub(super) fn look(
        &self,
        nodes: &[NodeIndex],
        mut tell: impl FnMut(NodeIndex, Option<(&Kind, i64)>) -> Result<(), Why>,
    ) -> Result<(), Why> {
        let (mut picked, mut slots) = (NodeTable::default(), Vec::new());
        let (mut passes, mut sums) = ([false; PICKED], [0_i64; PICKED]);
        for nodes in nodes.chunks(PICKED) {
            picked.clear();
            nodes.iter().for_each(|at| picked.push(self.rows.row(at.get())));
            let rows = picked.rows();
            slots.clear();
            slots.extend(nodes.iter().map(|at| self.fixed.slots()[at.get()]));
            let (passes, sums) = (&mut passes[..nodes.len()], &mut sums[..nodes.len()]);
            self.filter(rows, &slots, passes);
            self.score(rows, &slots, passes, sums)?;
            for (((at, slot), passes), sum) in nodes.iter().zip(&slots).zip(&*passes).zip(&*sums) {
                let kind = &self.fixed.kinds().get(usize::from(*slot)).filter(|_| *passes);
                tell(*at, kind.map(|kind| (kind, *sum)))?;
            }
        }
        Ok(())
    }

    /// Reports to the probe how many nodes each plugin was asked about, given that this many rows were evaluated.
    pub(super) fn tell(&self, asker: &Asker<'_, '_>, rows: u64) {
        let (probe, split) = (asker.pass.profile.probe(), self.split);
        let filters = split.filters.iter().map(|filter| (&***filter, self.asked));
        let by_row = split.row_filters.iter().map(|(plugin, _)| (*plugin, rows));
        let scorers = split.scorers.iter().map(|scorer| (&**scorer.plugin, self.asked));
        let scores_by_row = split.row_scores.iter().map(|(plugin, _, _)| (*plugin, rows));
        let tell = |point| {
            move |(plugin, nodes): (_, u64)| {
                if nodes > 0 {
                    probe.plugin_evaluated(plugin, point, nodes);
                }
            }
        };
        filters.chain(by_row).for_each(tell(Point::Filter));
        scorers.chain(scores_by_row).for_each(tell(Point::Score));
    }
}

/// Adds scores to sums; returns whether those of the passing nodes are in range. Written so that the compiler vectorises it with
/// what the processor offers.
#[inline(always)]
fn add<S: Simd>(_simd: S, sums: &mut [i64], raw: &[i64], passes: &[bool], weight: i64) -> bool {
    let mut in_range = true;
    for ((sum, raw), passes) in sums.iter_mut().zip(raw).zip(passes) {
        in_range &= !*passes | ((*raw >= MIN_NODE_SCORE) & (*raw <= MAX_NODE_SCORE));
        *sum = sum.wrapping_add(raw.wrapping_mul(weight));
    }
    in_range
}
