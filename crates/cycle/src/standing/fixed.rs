//! What plugins say about the nodes that pods on them do not change: taints, labels, images. It is kept for pods that are alike in what
//! those plugins read, whatever else they ask for.

use super::class::{Asker, Epochs, epochs, weighted};
use super::key::Key;
use super::split::Split;
use super::why::Why;
use crate::panics::run;
use crate::probe::Point;
use secondmate_framework::{Code, Cursor, NodeIndex, Normalization, Snapshot, Status};
use smallvec::SmallVec;

/// Different raw scores of a column. They are few: preferences of the pod that a node meets, taints that it does not tolerate.
const KINDS_MAX: usize = 256;
/// The kind of nodes that do not pass.
const REJECTED: u16 = u16::MAX;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Weighted sum of the scores that need no normalisation.
    pub(super) own: i32,
    /// Number of its raw scores of the other plugins, or [`REJECTED`].
    kind: u16,
}

impl Slot {
    const UNKNOWN: Self = Self { own: 0, kind: REJECTED };

    /// Whether the node passes.
    pub(super) fn passes(self) -> bool {
        self.kind != REJECTED
    }

    /// The number of the node's raw scores, where it passes.
    pub(super) fn kind(self) -> usize {
        usize::from(self.kind)
    }
}

/// Raw scores of the plugins that normalise them, in the plugins' order.
pub(super) type RawScores = SmallVec<[i64; 2]>;

/// How the nodes stand for pods that are alike in this.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) key: Key,
    /// When it was used last, counted in uses.
    pub(super) used: u64,
    cursor: Cursor,
    epochs: Epochs,
    slots: Vec<Slot>,
    kinds: Vec<RawScores>,
}

impl Fixed {
    /// Of which nothing is known yet.
    pub(super) fn new(key: Key, snapshot: &Snapshot, split: &Split<'_>) -> Self {
        let (cursor, epochs) = (snapshot.cursor(), epochs(&split.reads.kinds, snapshot));
        Self { key, used: 0, cursor, epochs, slots: Vec::new(), kinds: Vec::new() }
    }

    /// Memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.kinds.len() * size_of::<RawScores>()
            + size_of::<Self>()
    }

    /// How the nodes stand, by position.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The different raw scores, by number.
    pub(super) fn kinds(&self) -> &[RawScores] {
        &self.kinds
    }

    /// Brings it up to date; says how many nodes were looked at. Where this fails it is of no use any more.
    pub(super) fn refresh(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>) -> Result<u64, Why> {
        let snapshot = asker.pass.cx.snapshot;
        let now = epochs(&split.reads.kinds, snapshot);
        let known = self.slots.len() == snapshot.nodes().len() && now == self.epochs;
        let changes = snapshot.changes_since(&self.cursor).filter(|_| known);
        let changes = changes.map(|changes| {
            let mut changes: Vec<NodeIndex> = changes.collect();
            changes.sort_unstable();
            changes.dedup();
            changes
        });
        let looked_at = match changes {
            Some(changes) => {
                changes.iter().try_for_each(|at| self.set(asker, split, *at))?;
                changes.len()
            }
            None => {
                self.slots = vec![Slot::UNKNOWN; snapshot.nodes().len()];
                self.kinds.clear();
                let all = 0..u32::try_from(self.slots.len()).expect("fewer than 2^32 nodes");
                all.map(NodeIndex).try_for_each(|at| self.set(asker, split, at))?;
                self.slots.len()
            }
        };
        (self.cursor, self.epochs) = (snapshot.cursor(), now);
        Ok(looked_at as u64)
    }

    fn set(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>, at: NodeIndex) -> Result<(), Why> {
        let (cx, pod, node) = (&asker.pass.cx, asker.pass.pod, asker.pass.cx.snapshot.at(at));
        for filter in &split.filters {
            let ask = || filter.point.filter(cx, &asker.pass.state, pod, node);
            let status: Status = run(&filter.name, Point::Filter.name(), Some(node.name()), ask);
            match status.code() {
                Code::Success => {}
                Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                    self.slots[at.get()] = Slot::UNKNOWN;
                    return Ok(());
                }
                Code::Error | Code::Wait | Code::Skip => return Err(Why::Failed),
            }
        }
        let (mut raw_scores, mut own) = (RawScores::new(), 0_i64);
        for scorer in &split.scorers {
            let ask = || scorer.plugin.point.score(cx, asker.scoring, pod, node);
            let raw = run(&scorer.plugin.name, Point::Score.name(), Some(node.name()), ask);
            let raw = raw.map_err(|_| Why::Failed)?;
            if scorer.normalization == Normalization::Identity {
                own = own.checked_add(weighted(raw, scorer.weight)?).ok_or(Why::Failed)?;
            } else {
                raw_scores.push(raw);
            }
        }
        let own = i32::try_from(own).map_err(|_| Why::Failed)?;
        self.slots[at.get()] = Slot { own, kind: self.kind(raw_scores)? };
        Ok(())
    }

    fn kind(&mut self, raw_scores: RawScores) -> Result<u16, Why> {
        let known = self.kinds.iter().position(|known| *known == raw_scores);
        let kind = known.unwrap_or(self.kinds.len());
        if known.is_none() {
            if kind == KINDS_MAX {
                return Err(Why::TooManyGroups);
            }
            self.kinds.push(raw_scores);
        }
        Ok(u16::try_from(kind).expect("few kinds"))
    }
}
