//! The plugins' answers about those properties of nodes that pods on them do not change: taints, labels, images. They are kept
//! for all pods that are equivalent in what those plugins read, whatever else they request.

use super::class::{Asker, Epochs, epochs, weighted};
use super::key::Key;
use super::split::Split;
use super::why::Why;
use crate::panics::run;
use crate::probe::Point;
use rustc_hash::FxHashMap;
use secondmate_framework::{Code, Cursor, NodeIndex, Normalization, Snapshot, Status};
use smallvec::SmallVec;

/// Maximum number of kinds of nodes. There are few: they depend on which images are present, which preferences of the pod a node
/// meets, and which taints the pod does not tolerate.
const KINDS_MAX: usize = 1024;

/// Number of a node's kind, or [`REJECTED`].
pub(super) type Slot = u16;
/// The kind of nodes that do not pass.
pub(super) const REJECTED: Slot = Slot::MAX;

/// Raw scores of the plugins that normalise them, in the plugins' order.
pub(super) type RawScores = SmallVec<[i64; 2]>;

/// The scores of a kind of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Weighted sum of the scores that need no normalisation.
    pub(super) own: i32,
    /// The others.
    pub(super) raw: RawScores,
}

/// How the nodes stand for pods that are equivalent in this respect.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) key: Key,
    /// Memory used by the key, in bytes.
    key_bytes: usize,
    /// When it was last used, counted in uses.
    pub(super) used: u64,
    cursor: Cursor,
    epochs: Epochs,
    slots: Vec<Slot>,
    kinds: Vec<Kind>,
    numbers: FxHashMap<Kind, Slot>,
}

impl Fixed {
    /// Without any knowledge yet.
    pub(super) fn new(key: Key, snapshot: &Snapshot, split: &Split<'_>) -> Self {
        Self {
            key_bytes: key.bytes(),
            key,
            used: 0,
            cursor: snapshot.cursor(),
            epochs: epochs(&split.reads.kinds, snapshot),
            slots: Vec::new(),
            kinds: Vec::new(),
            numbers: FxHashMap::default(),
        }
    }

    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + 2 * self.kinds.len() * size_of::<Kind>()
            + self.key_bytes
            + size_of::<Self>()
    }

    /// The kind of each node, by position.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The distinct kinds, by number.
    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Whether every node has to be evaluated before it can be used.
    pub(super) fn is_outdated(&self, snapshot: &Snapshot, split: &Split<'_>) -> bool {
        self.slots.len() != snapshot.nodes().len()
            || self.epochs != epochs(&split.reads.kinds, snapshot)
            || snapshot.changes_beyond_pods_since(&self.cursor).is_none()
    }

    /// Updates it; returns how many nodes were evaluated. If this fails, it is no longer usable.
    pub(super) fn refresh(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>) -> Result<u64, Why> {
        let snapshot = asker.pass.cx.snapshot;
        let looked_at = if self.is_outdated(snapshot, split) {
            self.look_at_all(asker, split)?
        } else {
            let changes = snapshot.changes_beyond_pods_since(&self.cursor);
            let mut changes: Vec<NodeIndex> = changes.into_iter().flatten().collect();
            changes.sort_unstable();
            changes.dedup();
            match changes.iter().try_for_each(|at| self.set(asker, split, *at)) {
                // A full evaluation drops kinds that no node has any more.
                Err(Why::TooManyGroups) => self.look_at_all(asker, split)?,
                set => set.map(|()| changes.len())?,
            }
        };
        (self.cursor, self.epochs) = (snapshot.cursor(), epochs(&split.reads.kinds, snapshot));
        Ok(looked_at as u64)
    }

    fn look_at_all(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>) -> Result<usize, Why> {
        let nodes = asker.pass.cx.snapshot.nodes().len();
        self.slots = vec![REJECTED; nodes];
        self.kinds.clear();
        self.numbers.clear();
        let all = 0..u32::try_from(nodes).expect("fewer than 2^32 nodes");
        all.map(NodeIndex).try_for_each(|at| self.set(asker, split, at))?;
        Ok(nodes)
    }

    fn set(&mut self, asker: &Asker<'_, '_>, split: &Split<'_>, at: NodeIndex) -> Result<(), Why> {
        let (cx, pod, node) = (&asker.pass.cx, asker.pass.pod, asker.pass.cx.snapshot.at(at));
        for filter in &split.filters {
            let ask = || filter.point.filter(cx, &asker.pass.state, pod, node);
            let status: Status = run(&filter.name, Point::Filter.name(), Some(node.name()), ask);
            match status.code() {
                Code::Success => {}
                Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                    self.slots[at.get()] = REJECTED;
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
        self.slots[at.get()] = self.number(Kind { own, raw: raw_scores })?;
        Ok(())
    }

    fn number(&mut self, kind: Kind) -> Result<Slot, Why> {
        if let Some(number) = self.numbers.get(&kind) {
            return Ok(*number);
        }
        if self.kinds.len() == KINDS_MAX {
            return Err(Why::TooManyGroups);
        }
        let number = Slot::try_from(self.kinds.len()).expect("few kinds");
        self.kinds.push(kind.clone());
        self.numbers.insert(kind, number);
        Ok(number)
    }
}
