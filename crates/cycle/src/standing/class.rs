//! A class: what outlives the cycle of a pod, for pods that are alike.

use super::domains::DomainCounts;
use super::key::Key;
use super::plan::{Plan, Scorer};
use super::ranking::{Best, NODE_BYTES, Ranking, Standing, Traits};
use super::why::Why;
use crate::evaluation::FilterRunner;
use crate::panics::run;
use crate::plain::Pass;
use crate::probe::Point;
use secondmate_framework::{
    Code, Context, Coordinates, Cursor, CycleState, GroupScore, MAX_NODE_SCORE, MIN_NODE_SCORE, NodeGroup,
    NodeIndex, Normalization, Place, RunFilters, Snapshot,
};
use secondmate_model::NodeInfo;
use secondmate_model::objects::ObjectKind;
use smallvec::SmallVec;
use std::ops::Range;

/// A class of pods, and how the nodes stand for them.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) key: Key,
    /// When a pod of it was tried last, counted in pods.
    pub(super) used: u64,
    /// Memory that it takes, in bytes; as of its last use.
    pub(super) bytes: usize,
    cursor: Cursor,
    /// State of the objects that the plugins read.
    epochs: SmallVec<[(ObjectKind, u64); 8]>,
    /// Nodes whose verdict depends on the pods that are nominated to them, and so on more than the class.
    unsettled: Vec<NodeIndex>,
    ranking: Ranking,
    domains: DomainCounts,
    /// Number of coordinates of each score by group.
    widths: SmallVec<[usize; 1]>,
}

/// What was done to bring a class up to date.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Nodes that the plugins were asked about.
    pub(super) nodes: u64,
    /// Every node was looked at, since what was known had become worthless.
    pub(super) rebuilt: bool,
}

/// One pod of a class in its cycle: whom to ask, and with which state.
pub(super) struct Asker<'a, 'p> {
    pub(super) pass: &'a Pass<'p>,
    pub(super) plan: &'a Plan<'p>,
    pub(super) runner: &'a FilterRunner<'a>,
    pub(super) scoring: &'a CycleState,
}

impl Asker<'_, '_> {
    fn cx(&self) -> &Context<'_> {
        &self.pass.cx
    }

    /// How a node stands, where these are its coordinates as traits.
    fn look(&self, node: &NodeInfo, coordinates: &Traits) -> Result<Standing, Why> {
        let (cx, pod) = (self.cx(), self.pass.pod);
        let status = self.runner.run(cx, &self.pass.state, pod, node);
        match status.code() {
            Code::Success => {}
            Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                return Ok(Standing::Rejected(status));
            }
            Code::Error | Code::Wait | Code::Skip => return Err(Why::Failed),
        }
        let (mut traits, mut own) = (Traits::new(), 0_i64);
        for Scorer { plugin, weight, normalization, by_group } in &self.plan.scorers {
            if by_group.is_some() {
                continue;
            }
            let ask = || plugin.point.score(cx, self.scoring, pod, node);
            let raw = run(&plugin.name, Point::Score.name(), Some(node.name()), ask);
            let raw = raw.map_err(|_| Why::Failed)?;
            if *normalization == Normalization::Identity {
                own = own.checked_add(weighted(raw, *weight)?).ok_or(Why::Failed)?;
            } else {
                traits.push(raw);
            }
        }
        traits.extend_from_slice(coordinates);
        Ok(Standing::Fits { traits, own: i32::try_from(own).map_err(|_| Why::Failed)? })
    }
}

/// A score that is in range, weighed.
fn weighted(score: i64, weight: i64) -> Result<i64, Why> {
    if !(MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(&score) {
        return Err(Why::Failed);
    }
    score.checked_mul(weight).ok_or(Why::Failed)
}

fn epochs(plan: &Plan<'_>, snapshot: &Snapshot) -> SmallVec<[(ObjectKind, u64); 8]> {
    plan.kinds.iter().map(|kind| (*kind, snapshot.objects().epoch(*kind))).collect()
}

impl Class {
    /// Memory that a class takes at least, for so many nodes, in bytes.
    pub(super) fn bytes_at_least(nodes: usize) -> usize {
        size_of::<Self>() + nodes * NODE_BYTES
    }

    /// A class of which nothing is known yet.
    pub(super) fn new(key: Key, asker: &Asker<'_, '_>) -> Result<(Self, Work), Why> {
        let snapshot = asker.cx().snapshot;
        let mut class = Self {
            key,
            used: 0,
            bytes: 0,
            cursor: snapshot.cursor(),
            epochs: epochs(asker.plan, snapshot),
            unsettled: Vec::new(),
            ranking: Ranking::new(0),
            domains: DomainCounts::default(),
            widths: SmallVec::new(),
        };
        let work = class.rebuild(asker)?;
        Ok((class, work))
    }

    /// Brings it up to date with the snapshot and the nominations. Where this fails the class is of no use any more.
    pub(super) fn refresh(&mut self, asker: &Asker<'_, '_>) -> Result<Work, Why> {
        let cx = asker.cx();
        let changes = cx.snapshot.changes_since(&self.cursor);
        let now = epochs(asker.plan, cx.snapshot);
        let Some(changes) = changes.filter(|_| now == self.epochs) else {
            self.epochs = now;
            return self.rebuild(asker);
        };
        let mut stale: Vec<NodeIndex> = changes.collect();
        stale.append(&mut self.unsettled);
        let nominated = cx.nominations.nodes();
        stale.extend(nominated.into_iter().filter_map(|name| cx.snapshot.position(name)));
        stale.sort_unstable();
        stale.dedup();
        for node in &stale {
            self.look(asker, *node)?;
        }
        self.cursor = cx.snapshot.cursor();
        self.bytes = self.count_bytes();
        Ok(Work { nodes: stale.len() as u64, rebuilt: false })
    }

    fn rebuild(&mut self, asker: &Asker<'_, '_>) -> Result<Work, Why> {
        let snapshot = asker.cx().snapshot;
        let nodes = snapshot.nodes().len();
        self.ranking = Ranking::new(nodes);
        self.domains = DomainCounts::new(nodes);
        self.unsettled.clear();
        for node in 0..u32::try_from(nodes).expect("fewer than 2^32 nodes") {
            self.look(asker, NodeIndex(node))?;
        }
        self.cursor = snapshot.cursor();
        self.bytes = self.count_bytes();
        Ok(Work { nodes: nodes as u64, rebuilt: true })
    }

    fn look(&mut self, asker: &Asker<'_, '_>, at: NodeIndex) -> Result<(), Why> {
        let node = asker.cx().snapshot.at(at);
        if !asker.cx().nominations.on_node(node.name()).is_empty() {
            self.unsettled.push(at);
        }
        // Of nodes that do not pass as well: their pods count.
        let mut coordinates = Coordinates::new();
        self.widths.clear();
        for scorer in &asker.plan.scorers {
            let Some(by_group) = &scorer.by_group else { continue };
            let ask = || by_group.look(node);
            let own = run(&scorer.plugin.name, Point::Score.name(), Some(node.name()), ask);
            self.widths.push(own.len());
            coordinates.extend(own);
        }
        let mut traits = Traits::new();
        if !coordinates.is_empty() {
            self.domains.set(at, coordinates, &mut traits)?;
        }
        self.ranking.set(at, asker.look(node, &traits)?)
    }

    fn count_bytes(&self) -> usize {
        size_of::<Self>()
            + self.unsettled.capacity() * size_of::<NodeIndex>()
            + self.ranking.bytes()
            + self.domains.bytes()
    }

    /// How the nodes stand.
    pub(super) fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// The best of the nodes that pass.
    pub(super) fn best(&self, plan: &Plan<'_>) -> Result<Best<'_>, Why> {
        Ok(self.ranking.best(&self.group_scores(plan)?))
    }

    /// Each group's part of the score, by its number.
    pub(super) fn group_scores(&self, plan: &Plan<'_>) -> Result<Vec<i64>, Why> {
        let mut scores = vec![0_i64; self.ranking.group_count()];
        let mut normalized = 0;
        for scorer in &plan.scorers {
            if scorer.by_group.is_none() && scorer.normalization != Normalization::Identity {
                self.add_normalized(scorer, normalized, &mut scores)?;
                normalized += 1;
            }
        }
        // The coordinates stand behind them.
        let mut from = 0;
        let by_group = plan.scorers.iter().filter_map(|scorer| Some((scorer, scorer.by_group.as_deref()?)));
        for ((scorer, by_group), width) in by_group.zip(&self.widths) {
            self.add_by_group(scorer, by_group, normalized, from..from + width, &mut scores)?;
            from += width;
        }
        Ok(scores)
    }

    /// Adds a score that is normalised over the feasible nodes; the raw score is this trait.
    fn add_normalized(&self, scorer: &Scorer<'_>, at: usize, scores: &mut [i64]) -> Result<(), Why> {
        let largest = self.ranking.groups().map(|(_, traits, _)| traits[at]).max().unwrap_or(0);
        for (group, traits, _) in self.ranking.groups() {
            add(&mut scores[group], scorer.normalization.of(traits[at], largest), scorer.weight)?;
        }
        Ok(())
    }

    /// Adds a score by group, which has these of the coordinates. They stand in the traits behind `skipped` others.
    fn add_by_group(
        &self,
        scorer: &Scorer<'_>,
        by_group: &dyn GroupScore,
        skipped: usize,
        coordinates: Range<usize>,
        scores: &mut [i64],
    ) -> Result<(), Why> {
        if coordinates.is_empty() {
            return Err(Why::Failed);
        }
        let places: Vec<Place> = self
            .ranking
            .groups()
            .flat_map(|(_, traits, _)| coordinates.clone().map(move |at| (at, traits[skipped + at])))
            .map(|(at, trait_)| self.domains.place(at, trait_))
            .collect();
        let groups: Vec<NodeGroup<'_>> = places
            .chunks_exact(coordinates.len())
            .zip(self.ranking.groups())
            .map(|(places, (_, _, nodes))| NodeGroup { places, nodes })
            .collect();
        let ask = || by_group.score(&groups);
        let by_group = run(&scorer.plugin.name, Point::Score.name(), None, ask);
        if by_group.len() != groups.len() {
            return Err(Why::Failed);
        }
        for ((group, _, _), score) in self.ranking.groups().zip(by_group) {
            add(&mut scores[group], score, scorer.weight)?;
        }
        Ok(())
    }
}

/// Adds a score that is in range, weighed.
fn add(sum: &mut i64, score: i64, weight: i64) -> Result<(), Why> {
    *sum = sum.checked_add(weighted(score, weight)?).ok_or(Why::Failed)?;
    Ok(())
}

/// Tells the probe how often each plugin was asked for a score.
pub(super) fn tell_scores(asker: &Asker<'_, '_>, nodes: u64) {
    let probe = asker.pass.profile.probe();
    for scorer in asker.plan.scorers.iter().filter(|_| nodes > 0) {
        probe.plugin_evaluated(scorer.plugin, Point::Score, nodes);
    }
}
