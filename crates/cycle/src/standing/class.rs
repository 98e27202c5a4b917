//! A class: what is kept across cycles for equivalent pods.

use super::columns::Sheet;
use super::domains::DomainCounts;
use super::key::Key;
use super::nominated::Nominated;
use super::plan::{Plan, Scorer};
use super::ranking::{NODE_BYTES, Ranking, Standing, Traits};
use super::why::Why;
use crate::evaluation::{FilterRunner, nominated_with};
use crate::panics::run;
use crate::plain::Pass;
use crate::probe::Point;
use secondmate_framework::{
    Code, Context, Coordinates, Cursor, CycleState, KeptTrials, MAX_NODE_SCORE, MIN_NODE_SCORE, NodeIndex,
    Normalization, RunFilters, Snapshot, Status,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Atom, NodeInfo};
use smallvec::SmallVec;

/// A class of pods, and the state of the nodes with respect to them.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) key: Key,
    /// When a pod of it was last tried, counted in pods.
    pub(super) used: u64,
    /// Set once a second pod of the class has come. Until then, the class is among the first to be dropped if memory is short.
    pub(super) proven: bool,
    /// Memory used, in bytes, as of the last use.
    pub(super) bytes: usize,
    /// The position in the changes of the nodes up to which it is current.
    cursor: Option<Cursor>,
    /// Epochs of the objects that the plugins read.
    epochs: Epochs,
    /// The nominated pods that are taken into account.
    nominated: Nominated,
    /// Nodes that are evaluated again for each pod: see [`Asker::unsettled`].
    unsettled: Vec<NodeIndex>,
    ranking: Ranking,
    domains: DomainCounts,
    /// The preemption trials of its pods, by node.
    trials: KeptTrials,
    /// Number of coordinates of each filter by group, followed by those of each score by group.
    widths: SmallVec<[usize; 2]>,
}

/// The work done to update a class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Nodes that the plugins were asked about.
    pub(super) nodes: u64,
    /// Those of them that were evaluated over columns alone.
    pub(super) by_row: u64,
    /// Every node was evaluated, because nothing that was known could be used any more.
    pub(super) rebuilt: bool,
}

/// One pod of a class in its cycle: which plugins to call, and with which state.
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

    /// All nodes with nominated pods that count for this one, ascending.
    pub(super) fn with_nominated(&self) -> Vec<NodeIndex> {
        let cx = self.cx();
        let nodes = cx.nominations.nodes();
        let counting = nodes.into_iter().filter(|name| self.has_nominated(name));
        let mut counting: Vec<NodeIndex> = counting.filter_map(|name| cx.snapshot.position(name)).collect();
        counting.sort_unstable();
        counting
    }

    fn has_nominated(&self, node: &Atom) -> bool {
        nominated_with(self.cx(), self.pass.pod, node).next().is_some()
    }

    /// Those of these nodes for which columns are not sufficient, in ascending order: pods nominated to them count, or this pod
    /// has volumes there.
    fn apart(&self, nodes: &[NodeIndex]) -> Vec<NodeIndex> {
        let (cx, particular) = (self.cx(), &self.plan.particular);
        if nodes.len() == cx.snapshot.nodes().len() {
            let mut apart = self.with_nominated();
            apart.extend(particular);
            apart.sort_unstable();
            return apart;
        }
        let is_apart = |at: &&NodeIndex| {
            particular.binary_search(at).is_ok() || self.has_nominated(cx.snapshot.at(**at).name())
        };
        nodes.iter().filter(is_apart).copied().collect()
    }

    /// Nodes whose verdict for this pod says nothing about the next one, in no particular order: the pod has volumes there, it is
    /// nominated to them itself, or pods nominated to them count and their effect depends on more than the node and its group.
    fn unsettled(&self) -> Vec<NodeIndex> {
        let cx = self.cx();
        let own = cx.nominations.node_of(&self.pass.pod.uid).and_then(|name| cx.snapshot.position(name));
        let mut unsettled = self.plan.particular.clone();
        unsettled.extend(own);
        if self.plan.reads_apart() {
            unsettled.append(&mut self.with_nominated());
        } else if !self.plan.apart.is_empty() {
            let mut nominated = self.with_nominated();
            nominated.retain(|at| self.concerns_groups(cx.snapshot.at(*at).name()));
            unsettled.append(&mut nominated);
        }
        unsettled
    }

    /// Whether a nominated pod that counts on the node can change the verdict of a filter by group; then the node's verdict is
    /// not that of its group.
    fn concerns_groups(&self, node: &Atom) -> bool {
        nominated_with(self.cx(), self.pass.pod, node).any(|nominated| {
            self.plan.group_filters.iter().any(|(filter, by_group)| {
                let ask = || by_group.is_concerned_by(nominated);
                run(&filter.name, Point::Filter.name(), Some(node), ask)
            })
        })
    }

    /// The verdict on a node, and how many filters by group come before it and were not asked. If nominated pods concern those
    /// filters, they were asked: a rejection is then final, and a node that passes, passes them both with and without those pods.
    fn filter(&self, node: &NodeInfo) -> (Status, usize) {
        let (cx, pod, state) = (self.cx(), self.pass.pod, &self.pass.state);
        let apart = &self.plan.apart;
        if apart.is_empty() {
            return (self.runner.run(cx, state, pod, node), 0);
        }
        if !self.has_nominated(node.name()) {
            return self.runner.run_without(cx, state, pod, node, apart);
        }
        if self.concerns_groups(node.name()) {
            return (self.runner.run(cx, state, pod, node), 0);
        }
        self.runner.run_beside_nominated(cx, state, pod, node, apart)
    }

    /// The standing of a node with these coordinates.
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

/// A score multiplied by its weight, if it is in range.
pub(super) fn weighted(score: i64, weight: i64) -> Result<i64, Why> {
    if !(MIN_NODE_SCORE..=MAX_NODE_SCORE).contains(&score) {
        return Err(Why::Failed);
    }
    score.checked_mul(weight).ok_or(Why::Failed)
}

/// The epochs of some kinds of objects.
pub(super) type Epochs = SmallVec<[(ObjectKind, u64); 8]>;

pub(super) fn epochs(kinds: &[ObjectKind], snapshot: &Snapshot) -> Epochs {
    kinds.iter().map(|kind| (*kind, snapshot.objects().epoch(*kind))).collect()
}

impl Class {
    /// Minimum memory that a class uses for this many nodes, in bytes.
    pub(super) fn bytes_at_least(nodes: usize) -> usize {
        size_of::<Self>() + nodes * NODE_BYTES
    }

    /// A class about which nothing is known yet.
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            used: 0,
            proven: false,
            bytes: 0,
            cursor: None,
            epochs: Epochs::new(),
            nominated: Nominated::default(),
            unsettled: Vec::new(),
            ranking: Ranking::new(0),
            domains: DomainCounts::default(),
            trials: KeptTrials::default(),
            widths: SmallVec::new(),
        }
    }

    /// The nodes that have to be evaluated, ascending; `None` if all have to be.
    pub(super) fn stale(&mut self, asker: &Asker<'_, '_>) -> Option<Vec<NodeIndex>> {
        let cx = asker.cx();
        let now = epochs(&asker.plan.reads.kinds, cx.snapshot);
        let known = std::mem::replace(&mut self.epochs, now) == self.epochs;
        let changes = self.changes(asker).filter(|_| known);
        let nominated = self.nominated.follow(cx, asker.pass.pod);
        let unsettled = std::mem::replace(&mut self.unsettled, asker.unsettled());
        let (mut stale, nominated) = (changes?, nominated?);
        stale.extend(nominated);
        stale.extend(unsettled);
        stale.extend(&self.unsettled);
        stale.sort_unstable();
        stale.dedup();
        Some(stale)
    }

    /// The nodes that changed since the class was last used; `None` if that is not known.
    fn changes(&self, asker: &Asker<'_, '_>) -> Option<Vec<NodeIndex>> {
        let (snapshot, cursor) = (asker.cx().snapshot, self.cursor.as_ref()?);
        let mut changes: Vec<NodeIndex> = snapshot.changes_since(cursor)?.collect();
        if asker.plan.storage {
            changes.extend(snapshot.storage_changes_since(cursor)?);
        }
        Some(changes)
    }

    /// Updates the class to the snapshot and the nominations by evaluating the [stale](Self::stale) nodes, over columns if there
    /// are any. The counts by domain may use this many bytes. If this fails, the class is no longer usable.
    pub(super) fn update(
        &mut self,
        asker: &Asker<'_, '_>,
        stale: Option<Vec<NodeIndex>>,
        sheet: Option<&Sheet<'_, '_>>,
        bytes_max: usize,
    ) -> Result<Work, Why> {
        let snapshot = asker.cx().snapshot;
        let rebuilt = stale.is_none();
        let mut stale = stale.unwrap_or_else(|| self.begin_anew(snapshot.nodes().len(), bytes_max));
        if rebuilt {
            self.trials.forget_all();
        }
        let mut moved = Vec::new();
        for node in &stale {
            self.trials.forget(*node);
            self.count(asker, *node, &mut moved)?;
            if rebuilt {
                // All of them are placed afterwards anyway.
                moved.clear();
            }
        }
        if rebuilt {
            self.domains.tally(self.widths.iter().take(asker.plan.group_filters.len()).sum());
        }
        if !moved.is_empty() {
            stale.append(&mut moved);
            stale.sort_unstable();
            stale.dedup();
        }
        let by_row = self.place_all(asker, &stale, sheet)?;
        self.cursor = Some(snapshot.cursor());
        self.bytes = self.count_bytes();
        Ok(Work { nodes: stale.len() as u64, by_row, rebuilt })
    }

    /// Forgets everything; all nodes have to be evaluated.
    fn begin_anew(&mut self, nodes: usize, bytes_max: usize) -> Vec<NodeIndex> {
        self.ranking = Ranking::new(nodes);
        self.domains = DomainCounts::new(nodes, bytes_max);
        (0..u32::try_from(nodes).expect("fewer than 2^32 nodes")).map(NodeIndex).collect()
    }

    /// Counts what the node contributes to the domains, whether it passes or not. Nodes whose place changes as a result are added
    /// to `moved`.
    fn count(&mut self, asker: &Asker<'_, '_>, at: NodeIndex, moved: &mut Vec<NodeIndex>) -> Result<(), Why> {
        let (plan, node) = (asker.plan, asker.cx().snapshot.at(at));
        let mut coordinates = Coordinates::new();
        self.widths.clear();
        let mut before = 0;
        for (filter, by_group) in &plan.group_filters {
            let look = || by_group.look(node, &mut coordinates);
            run(&filter.name, Point::Filter.name(), Some(node.name()), look);
            self.widths.push(coordinates.len() - before);
            before = coordinates.len();
        }
        for scorer in &plan.scorers {
            let Some(by_group) = &scorer.by_group else { continue };
            let look = || by_group.look(node, &mut coordinates);
            run(&scorer.plugin.name, Point::Score.name(), Some(node.name()), look);
            self.widths.push(coordinates.len() - before);
            before = coordinates.len();
        }
        if coordinates.is_empty() { Ok(()) } else { self.domains.set(at, &coordinates, moved) }
    }

    /// Places the nodes according to their current state; their contributions to the domains have already been counted. Returns
    /// how many were evaluated over columns alone.
    fn place_all(
        &mut self,
        asker: &Asker<'_, '_>,
        nodes: &[NodeIndex],
        sheet: Option<&Sheet<'_, '_>>,
    ) -> Result<u64, Why> {
        let Some(sheet) = sheet else {
            nodes.iter().try_for_each(|at| self.place(asker, *at))?;
            return Ok(0);
        };
        let (apart, mut by_row) = (asker.apart(nodes), 0);
        sheet.look(nodes, |at, found| {
            // The columns do not tell why a node does not pass.
            let Some((kind, own)) = found.filter(|_| apart.binary_search(&at).is_err()) else {
                return self.place(asker, at);
            };
            by_row += 1;
            let mut traits = self.coordinates(at);
            traits.extend_from_slice(&kind.raw);
            let own = i32::try_from(own).map_err(|_| Why::Failed)?;
            self.ranking.set(at, Standing::Fits { traits, own })
        })?;
        Ok(by_row)
    }

    /// Asks the plugins about the node and places it.
    fn place(&mut self, asker: &Asker<'_, '_>, at: NodeIndex) -> Result<(), Why> {
        self.ranking.set(at, asker.look(asker.cx().snapshot.at(at), self.coordinates(at))?)
    }

    fn coordinates(&self, at: NodeIndex) -> Traits {
        (0..self.domains.width()).map(|coordinate| self.domains.trait_of(at, coordinate)).collect()
    }

    fn count_bytes(&self) -> usize {
        size_of::<Self>()
            + self.key.bytes()
            + self.unsettled.capacity() * size_of::<NodeIndex>()
            + self.ranking.bytes()
            + self.domains.bytes()
            + self.trials.bytes()
    }

    /// The known trials, until they are [given back](Self::give_back). `None` if the trial on a node would not be the same for
    /// every pod of the class while the node is unchanged, or if an extender takes part.
    pub(super) fn lend_trials(&mut self, asker: &Asker<'_, '_>) -> Option<KeptTrials> {
        let (plan, pass) = (asker.plan, asker.pass);
        let asks_nobody =
            !pass.profile.extenders().interested(pass.pod).any(|extender| extender.verbs.preempt);
        (plan.judges_by_node_alone() && asks_nobody).then(|| std::mem::take(&mut self.trials))
    }

    /// See [`Class::lend_trials`].
    pub(super) fn give_back(&mut self, trials: KeptTrials) {
        self.trials = trials;
        self.bytes = self.count_bytes();
    }

    /// The ranking of the nodes.
    pub(super) fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Pods by domain.
    pub(super) fn domains(&self) -> &DomainCounts {
        &self.domains
    }

    /// Number of coordinates of each filter by group, followed by those of each score by group.
    pub(super) fn widths(&self) -> &[usize] {
        &self.widths
    }
}

/// Reports to the probe how often each plugin was called.
pub(super) fn tell(asker: &Asker<'_, '_>, sheet: Option<&Sheet<'_, '_>>, work: Work) {
    let probe = asker.pass.profile.probe();
    for scorer in &asker.plan.scorers {
        let nodes = if scorer.by_group.is_some() { work.nodes } else { work.nodes - work.by_row };
        if nodes > 0 {
            probe.plugin_evaluated(scorer.plugin, Point::Score, nodes);
        }
    }
    if let Some(sheet) = sheet {
        sheet.tell(asker, work.by_row);
    }
}
