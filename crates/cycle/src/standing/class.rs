//! A class: what outlives the cycle of a pod, for pods that are alike.

use super::domains::DomainCounts;
use super::key::Key;
use super::plan::{Plan, Scorer};
use super::ranking::{NODE_BYTES, Ranking, Standing, Traits};
use super::why::Why;
use crate::evaluation::{FilterRunner, nominated_with};
use crate::panics::run;
use crate::plain::Pass;
use crate::probe::Point;
use secondmate_framework::{
    Code, Context, Coordinates, Cursor, CycleState, MAX_NODE_SCORE, MIN_NODE_SCORE, NodeIndex, Normalization,
    RunFilters, Snapshot, Status,
};
use secondmate_model::NodeInfo;
use secondmate_model::objects::ObjectKind;
use smallvec::SmallVec;

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
    epochs: Epochs,
    /// Nodes whose verdict depends on more than the class: on the pods that are nominated to them, or on volumes that the pod asked about last
    /// has there.
    unsettled: Vec<NodeIndex>,
    ranking: Ranking,
    domains: DomainCounts,
    /// Number of coordinates of each filter by group, and then of each score by group.
    widths: SmallVec<[usize; 2]>,
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

    /// The verdict on a node, and how many filters by group come before it and were not asked. Where nominated pods count they were: a
    /// rejection is final then, and what passes both with and without those pods passes them.
    fn filter(&self, node: &NodeInfo) -> (Status, usize) {
        let (cx, pod, state) = (self.cx(), self.pass.pod, &self.pass.state);
        if self.plan.apart.is_empty() || nominated_with(cx, pod, node.name()).next().is_some() {
            return (self.runner.run(cx, state, pod, node), 0);
        }
        self.runner.run_without(cx, state, pod, node, &self.plan.apart)
    }

    /// How a node stands at these coordinates.
    fn look(&self, node: &NodeInfo, coordinates: Traits) -> Result<Standing, Why> {
        let (cx, pod) = (self.cx(), self.pass.pod);
        let (status, after) = self.filter(node);
        match status.code() {
            Code::Success => {}
            Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending => {
                return Ok(match u8::try_from(after).map_err(|_| Why::TooManyPlugins)? {
                    0 => Standing::Rejected(status),
                    after => Standing::RejectedLate { traits: coordinates, status, after },
                });
            }
            Code::Error | Code::Wait | Code::Skip => return Err(Why::Failed),
        }
        let (mut traits, mut own) = (coordinates, 0_i64);
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
        Ok(Standing::Fits { traits, own: i32::try_from(own).map_err(|_| Why::Failed)? })
    }
}

/// A score that is in range, weighed.
pub(super) fn weighted(score: i64, weight: i64) -> Result<i64, Why> {
    if !(MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(&score) {
        return Err(Why::Failed);
    }
    score.checked_mul(weight).ok_or(Why::Failed)
}

/// State of the objects of some kinds.
pub(super) type Epochs = SmallVec<[(ObjectKind, u64); 8]>;

pub(super) fn epochs(kinds: &[ObjectKind], snapshot: &Snapshot) -> Epochs {
    kinds.iter().map(|kind| (*kind, snapshot.objects().epoch(*kind))).collect()
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
            epochs: epochs(&asker.plan.reads.kinds, snapshot),
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
        let now = epochs(&asker.plan.reads.kinds, cx.snapshot);
        let changes = self.changes(asker).filter(|_| now == self.epochs);
        let Some(mut stale) = changes else {
            self.epochs = now;
            return self.rebuild(asker);
        };
        stale.append(&mut self.unsettled);
        stale.extend(&asker.plan.particular);
        let nominated = cx.nominations.nodes();
        stale.extend(nominated.into_iter().filter_map(|name| cx.snapshot.position(name)));
        stale.sort_unstable();
        stale.dedup();
        let mut moved = Vec::new();
        for node in &stale {
            self.count(asker, *node, &mut moved)?;
        }
        if !moved.is_empty() {
            stale.append(&mut moved);
            stale.sort_unstable();
            stale.dedup();
        }
        for node in &stale {
            self.place(asker, *node)?;
        }
        self.cursor = cx.snapshot.cursor();
        self.bytes = self.count_bytes();
        Ok(Work { nodes: stale.len() as u64, rebuilt: false })
    }

    /// The nodes that changed since the class was last used; `None` where that is not known.
    fn changes(&self, asker: &Asker<'_, '_>) -> Option<Vec<NodeIndex>> {
        let snapshot = asker.cx().snapshot;
        let mut changes: Vec<NodeIndex> = snapshot.changes_since(&self.cursor)?.collect();
        if asker.plan.storage {
            changes.extend(snapshot.storage_changes_since(&self.cursor)?);
        }
        Some(changes)
    }

    fn rebuild(&mut self, asker: &Asker<'_, '_>) -> Result<Work, Why> {
        let snapshot = asker.cx().snapshot;
        let nodes = snapshot.nodes().len();
        self.ranking = Ranking::new(nodes);
        self.unsettled.clear();
        let all = || (0..u32::try_from(nodes).expect("fewer than 2^32 nodes")).map(NodeIndex);
        self.domains = DomainCounts::new(nodes);
        // All of them find their places afterwards, whichever moved.
        let mut moved = Vec::new();
        for node in all() {
            self.count(asker, node, &mut moved)?;
            moved.clear();
        }
        for node in all() {
            self.place(asker, node)?;
        }
        self.cursor = snapshot.cursor();
        self.bytes = self.count_bytes();
        Ok(Work { nodes: nodes as u64, rebuilt: true })
    }

    /// Counts what the node brings to the domains, whether it passes or not. Nodes whose place changes with it are added to `moved`.
    fn count(&mut self, asker: &Asker<'_, '_>, at: NodeIndex, moved: &mut Vec<NodeIndex>) -> Result<(), Why> {
        let (plan, node) = (asker.plan, asker.cx().snapshot.at(at));
        let mut coordinates = Coordinates::new();
        self.widths.clear();
        for (filter, by_group) in &plan.group_filters {
            let ask = || by_group.look(node);
            let own = run(&filter.name, Point::Filter.name(), Some(node.name()), ask);
            self.widths.push(own.len());
            coordinates.extend(own);
        }
        let tallied = coordinates.len();
        for scorer in &plan.scorers {
            let Some(by_group) = &scorer.by_group else { continue };
            let ask = || by_group.look(node);
            let own = run(&scorer.plugin.name, Point::Score.name(), Some(node.name()), ask);
            self.widths.push(own.len());
            coordinates.extend(own);
        }
        if coordinates.is_empty() { Ok(()) } else { self.domains.set(at, coordinates, tallied, moved) }
    }

    /// Puts the node where it stands now; what all nodes bring to the domains has been counted.
    fn place(&mut self, asker: &Asker<'_, '_>, at: NodeIndex) -> Result<(), Why> {
        let node = asker.cx().snapshot.at(at);
        let nominated = !asker.cx().nominations.on_node(node.name()).is_empty();
        if nominated || asker.plan.particular.binary_search(&at).is_ok() {
            self.unsettled.push(at);
        }
        let traits = (0..self.domains.width()).map(|coordinate| self.domains.trait_of(at, coordinate));
        self.ranking.set(at, asker.look(node, traits.collect())?)
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

    /// Pods by domain.
    pub(super) fn domains(&self) -> &DomainCounts {
        &self.domains
    }

    /// Number of coordinates of each filter by group, and then of each score by group.
    pub(super) fn widths(&self) -> &[usize] {
        &self.widths
    }
}

/// Tells the probe how often each plugin was asked for a score.
pub(super) fn tell_scores(asker: &Asker<'_, '_>, nodes: u64) {
    let probe = asker.pass.profile.probe();
    for scorer in asker.plan.scorers.iter().filter(|_| nodes > 0) {
        probe.plugin_evaluated(scorer.plugin, Point::Score, nodes);
    }
}
