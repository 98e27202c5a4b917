//! Where the nodes stand for a class: those that pass in groups of equal traits, ranked inside a group by what is the node's own;
//! those that do not, by their verdict. Where filters by group come before the verdict, the group has it: theirs may come first.

use super::why::Why;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use secondmate_framework::{KeptVerdicts, NodeIndex, Status};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups of a class. Above this number choosing among the groups costs as much as a pass over the nodes of a fair cluster.
const GROUPS_MAX: usize = 4096;
/// Different verdicts of a class.
const VERDICTS_MAX: usize = 1024;

/// Bytes of a node in a class: its slot, and its share of a bucket's bitmap (an array of 2-byte numbers at most).
pub(super) const NODE_BYTES: usize = size_of::<Slot>() + 2;
/// Bytes of a bucket: its node in the map and one container of its bitmap.
const BUCKET_BYTES: usize = 128;
/// Bytes of a group without its buckets, in the list and in the map.
const GROUP_BYTES: usize = size_of::<Group>() + size_of::<Kind>() + 32;

/// What the nodes of a group have in common: their coordinates, and the raw scores that are brought into their range over all
/// feasible nodes.
pub(super) type Traits = SmallVec<[i64; 4]>;

/// How a node stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It passes the filters that look no further than the node.
    Fits {
        /// The traits that it shares with its group.
        traits: Traits,
        /// Weighted sum of the scores that are its own.
        own: i32,
    },
    /// It does not, and no filter by group comes first.
    Rejected(Status),
    /// It does not; but filters by group come first.
    RejectedLate {
        /// Its coordinates.
        traits: Traits,
        status: Status,
        /// How many of them come first.
        after: u8,
    },
}

/// A node's place: the number of a group, or that of a verdict above [`REJECTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    place: u32,
    own: i32,
}

const REJECTED: u32 = 1 << 31;
const NOWHERE: Slot = Slot { place: u32::MAX, own: 0 };

/// What tells a group from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Kind {
    traits: Traits,
    /// The verdict of the nodes that filters by group let pass, by number, and how many such filters come first.
    late: Option<(u32, u8)>,
}

#[derive(Debug, Default)]
struct Group {
    kind: Kind,
    nodes: usize,
    /// Positions of the nodes by their own score.
    buckets: BTreeMap<i32, RoaringBitmap>,
}

/// The nodes of a snapshot as they stand for a class.
#[derive(Debug)]
pub(super) struct Ranking {
    /// Shared with verdicts that were handed out.
    slots: Arc<Vec<Slot>>,
    groups: Vec<Group>,
    /// Groups without nodes, to be used again.
    vacant: Vec<u32>,
    by_kind: FxHashMap<Kind, u32>,
    /// Verdicts with the number of nodes that have them; a verdict that no node has is used again.
    verdicts: Vec<(Status, u32)>,
}

impl Ranking {
    /// So many nodes, of which nothing is known yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            slots: Arc::new(vec![NOWHERE; nodes]),
            groups: Vec::new(),
            vacant: Vec::new(),
            by_kind: FxHashMap::default(),
            verdicts: Vec::new(),
        }
    }

    /// Memory that it takes, at most, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let buckets: usize = self.groups.iter().map(|group| group.buckets.len()).sum();
        self.slots.len() * NODE_BYTES
            + buckets * BUCKET_BYTES
            + self.groups.len() * GROUP_BYTES
            + self.verdicts.len() * 256
    }

    /// Puts a node where it stands now.
    ///
    /// # Errors
    /// There are too many groups or verdicts. The ranking is of no use then.
    pub(super) fn set(&mut self, node: NodeIndex, standing: Standing) -> Result<(), Why> {
        let old = self.slots[node.get()];
        let new = match standing {
            Standing::Fits { traits, own } => {
                if old.place < REJECTED && old.own == own {
                    let kind = &self.groups[old.place as usize].kind;
                    if kind.traits == traits && kind.late.is_none() {
                        return Ok(());
                    }
                }
                Slot { place: self.group(Kind { traits, late: None })?, own }
            }
            Standing::Rejected(status) => Slot { place: REJECTED | self.verdict(status)?, own: 0 },
            Standing::RejectedLate { traits, status, after } => {
                let late = Some((self.verdict(status)?, after));
                Slot { place: self.group(Kind { traits, late })?, own: 0 }
            }
        };
        if new == old {
            return Ok(());
        }
        // In this order a node that is alone in its group and only moves inside of it does not make the group vacant meanwhile.
        self.insert(node, new);
        self.remove(node, old);
        Arc::make_mut(&mut self.slots)[node.get()] = new;
        Ok(())
    }

    /// The group of this kind.
    fn group(&mut self, kind: Kind) -> Result<u32, Why> {
        if let Some(known) = self.by_kind.get(&kind) {
            return Ok(*known);
        }
        let at = match self.vacant.pop() {
            Some(at) => at,
            None if self.groups.len() < GROUPS_MAX => {
                self.groups.push(Group::default());
                u32::try_from(self.groups.len() - 1).expect("few groups")
            }
            None => return Err(Why::TooManyGroups),
        };
        self.groups[at as usize].kind = kind.clone();
        self.by_kind.insert(kind, at);
        Ok(at)
    }

    fn verdict(&mut self, status: Status) -> Result<u32, Why> {
        let mut unused = None;
        for (at, (known, nodes)) in (0..).zip(&self.verdicts) {
            if *known == status {
                return Ok(at);
            }
            if *nodes == 0 {
                unused = Some(at);
            }
        }
        match unused {
            Some(at) => self.verdicts[at as usize].0 = status,
            None if self.verdicts.len() < VERDICTS_MAX => self.verdicts.push((status, 0)),
            None => return Err(Why::TooManyVerdicts),
        }
        Ok(unused.unwrap_or_else(|| u32::try_from(self.verdicts.len() - 1).expect("few verdicts")))
    }

    fn insert(&mut self, node: NodeIndex, slot: Slot) {
        if slot.place & REJECTED != 0 {
            self.verdicts[(slot.place & !REJECTED) as usize].1 += 1;
            return;
        }
        let group = &mut self.groups[slot.place as usize];
        group.buckets.entry(slot.own).or_default().insert(node.0);
        group.nodes += 1;
        if let Some((verdict, _)) = group.kind.late {
            self.verdicts[verdict as usize].1 += 1;
        }
    }

    fn remove(&mut self, node: NodeIndex, slot: Slot) {
        if slot.place == NOWHERE.place {
            return;
        }
        if slot.place & REJECTED != 0 {
            self.verdicts[(slot.place & !REJECTED) as usize].1 -= 1;
            return;
        }
        let group = &mut self.groups[slot.place as usize];
        group.nodes -= 1;
        if let Some((verdict, _)) = group.kind.late {
            self.verdicts[verdict as usize].1 -= 1;
        }
        if let Some(bucket) = group.buckets.get_mut(&slot.own) {
            bucket.remove(node.0);
            if bucket.is_empty() {
                group.buckets.remove(&slot.own);
            }
        }
        if group.buckets.is_empty() {
            self.by_kind.remove(&std::mem::take(&mut group.kind));
            self.vacant.push(slot.place);
        }
    }

    /// The groups that have nodes, by number.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, GroupRef<'_>)> {
        let groups = self.groups.iter().enumerate().filter(|(_, group)| group.nodes > 0);
        groups.map(|(at, group)| {
            let late = group.kind.late;
            let late = late.map(|(verdict, after)| (&self.verdicts[verdict as usize].0, usize::from(after)));
            (at, GroupRef { traits: &group.kind.traits, late, nodes: group.nodes })
        })
    }

    /// The verdicts of all nodes, of which none passes: these are those of the groups, by number.
    pub(super) fn verdicts(&self, of_groups: impl Iterator<Item = (usize, Status)>) -> Verdicts {
        let mut groups = vec![(Status::SUCCESS, 0); self.groups.len()];
        for (group, status) in of_groups {
            groups[group] = (status, self.groups[group].nodes);
        }
        let late = |group: &Group| group.kind.late.map(|(verdict, _)| (verdict, group.nodes));
        // Those of late verdicts stand with their groups.
        let mut alone: Vec<(Status, usize)> =
            self.verdicts.iter().map(|(status, nodes)| (status.clone(), *nodes as usize)).collect();
        for (verdict, nodes) in self.groups.iter().filter(|group| group.nodes > 0).filter_map(late) {
            alone[verdict as usize].1 -= nodes;
        }
        Verdicts { slots: Arc::clone(&self.slots), groups, alone }
    }

    /// The best nodes of these groups, each with its part of the score.
    pub(super) fn best(&self, scores: impl Iterator<Item = (usize, i64)>) -> Best<'_> {
        let mut best = Best { total: i64::MIN, buckets: SmallVec::new() };
        for (group, score) in scores {
            let Some((own, bucket)) = self.groups[group].buckets.last_key_value() else { continue };
            let total = score + i64::from(*own);
            if total > best.total {
                best.total = total;
                best.buckets.clear();
            }
            if total == best.total {
                best.buckets.push(bucket);
            }
        }
        best
    }

    /// Each node with what it has: the number of its group and its own score, or its verdict.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeIndex, Result<(usize, i32), &Status>)> {
        (0..).map(NodeIndex).zip(&*self.slots).map(|(at, slot)| {
            let standing = if slot.place & REJECTED != 0 {
                Err(&self.verdicts[(slot.place & !REJECTED) as usize].0)
            } else {
                Ok((slot.place as usize, slot.own))
            };
            (at, standing)
        })
    }
}

/// A group that has nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupRef<'a> {
    pub(super) traits: &'a Traits,
    /// The verdict of its nodes, where they do not pass, and how many filters by group come before it.
    pub(super) late: Option<(&'a Status, usize)>,
    /// How many they are.
    pub(super) nodes: usize,
}

/// The verdicts of all nodes, as they stand.
#[derive(Debug)]
pub(super) struct Verdicts {
    slots: Arc<Vec<Slot>>,
    /// By group, with the number of nodes.
    groups: Vec<(Status, usize)>,
    /// Of nodes in no group, by number, likewise.
    alone: Vec<(Status, usize)>,
}

impl KeptVerdicts for Verdicts {
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn get(&self, node: NodeIndex) -> &Status {
        let place = self.slots[node.get()].place;
        if place & REJECTED != 0 {
            return &self.alone[(place & !REJECTED) as usize].0;
        }
        &self.groups[place as usize].0
    }

    fn tally(&self) -> Vec<(&Status, usize)> {
        let all = self.groups.iter().chain(&self.alone);
        all.filter(|(_, nodes)| *nodes > 0).map(|(status, nodes)| (status, *nodes)).collect()
    }
}

/// The nodes among which the choice is made.
#[derive(Debug)]
pub(super) struct Best<'a> {
    /// Their score.
    pub(super) total: i64,
    /// Their positions; no node is in two of them.
    buckets: SmallVec<[&'a RoaringBitmap; 2]>,
}

impl Best<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.buckets.iter().map(|bucket| bucket.len()).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// How many of them stand before a position.
    fn before(&self, position: u32) -> u64 {
        let Some(last) = position.checked_sub(1) else { return 0 };
        self.buckets.iter().map(|bucket| bucket.rank(last)).sum()
    }

    /// The `nth` of them, counted from the position `start` on and round the list of `nodes` nodes.
    pub(super) fn nth_from(&self, start: u32, nth: usize, nodes: u32) -> NodeIndex {
        let (before, all) = (self.before(start), self.len() as u64);
        let nth = nth as u64;
        let wanted = if nth < all - before { before + nth } else { nth - (all - before) };
        if let [one] = self.buckets.as_slice() {
            let found = u32::try_from(wanted).ok().and_then(|wanted| one.select(wanted));
            return NodeIndex(found.expect("the number is below that of the best nodes"));
        }
        // The last position with no more of them before it than wanted.
        let (mut low, mut high) = (0, nodes);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.before(middle) <= wanted { low = middle } else { high = middle }
        }
        NodeIndex(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn fits(trait_: i64, own: i32) -> Standing {
        Standing::Fits { traits: smallvec![trait_], own }
    }

    fn feasible(ranking: &Ranking) -> usize {
        ranking.groups().filter(|(_, group)| group.late.is_none()).map(|(_, group)| group.nodes).sum()
    }

    /// The best nodes, in the order from a position on.
    fn best_from(ranking: &Ranking, start: u32) -> (i64, Vec<u32>) {
        let best = ranking.best(ranking.groups().map(|(at, group)| (at, group.traits[0])));
        let nodes = u32::try_from(ranking.slots.len()).expect("few nodes");
        (best.total, (0..best.len()).map(|nth| best.nth_from(start, nth, nodes).0).collect())
    }

    #[test]
    fn the_best_of_several_groups_are_counted_round_the_list() {
        let mut ranking = Ranking::new(8);
        for (at, standing) in (0..).zip([
            fits(10, 5),
            fits(5, 10),
            fits(10, 4),
            Standing::Rejected(Status::unschedulable("full")),
            fits(5, 10),
            fits(10, 5),
            fits(0, 14),
            fits(0, 15),
        ]) {
            ranking.set(NodeIndex(at), standing).expect("few groups");
        }
        assert_eq!(feasible(&ranking), 7);
        assert_eq!(ranking.groups().map(|(_, group)| group.nodes).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(best_from(&ranking, 0), (15, vec![0, 1, 4, 5, 7]));
        assert_eq!(best_from(&ranking, 4), (15, vec![4, 5, 7, 0, 1]));
        assert_eq!(best_from(&ranking, 6), (15, vec![7, 0, 1, 4, 5]));
        ranking.set(NodeIndex(2), fits(10, 6)).expect("few groups");
        assert_eq!(best_from(&ranking, 6), (16, vec![2]));
    }

    #[test]
    fn groups_and_verdicts_that_no_node_has_are_used_again() {
        let mut ranking = Ranking::new(2);
        ranking.set(NodeIndex(0), fits(0, 0)).expect("few groups");
        for step in 0..10_000 {
            ranking.set(NodeIndex(1), fits(step, 0)).expect("two groups at most");
            let verdict = Standing::Rejected(Status::unschedulable(format!("{step}")));
            ranking.set(NodeIndex(1), verdict).expect("one verdict at most");
        }
        assert!(ranking.groups.len() <= 2 && ranking.verdicts.len() <= 2, "{ranking:?}");
        assert_eq!((feasible(&ranking), ranking.groups().count()), (1, 1));
    }

    #[test]
    fn a_node_that_changes_nothing_but_its_bucket_stays_in_its_group() {
        let mut ranking = Ranking::new(1);
        for own in [1, 1, 2, 0] {
            ranking.set(NodeIndex(0), fits(7, own)).expect("one group");
            assert_eq!(best_from(&ranking, 0), (7 + i64::from(own), vec![0]));
            assert_eq!(feasible(&ranking), 1);
        }
        assert_eq!(ranking.groups.len(), 1);
    }

    #[test]
    fn a_late_verdict_belongs_to_the_group_and_is_kept_as_long_as_a_node_has_it() {
        let mut ranking = Ranking::new(3);
        let late = |status: &'static str| Standing::RejectedLate {
            traits: smallvec![1],
            status: Status::unschedulable(status),
            after: 1,
        };
        ranking.set(NodeIndex(0), fits(1, 5)).expect("few groups");
        ranking.set(NodeIndex(1), late("full")).expect("few groups");
        ranking.set(NodeIndex(2), late("full")).expect("few groups");
        ranking.set(NodeIndex(2), late("full")).expect("few groups");
        let groups = |ranking: &Ranking| -> Vec<_> {
            let groups = ranking.groups();
            groups.map(|(_, g)| (g.late.map(|(status, after)| (status.message(), after)), g.nodes)).collect()
        };
        let full = || Some(("full".to_owned(), 1));
        assert_eq!((feasible(&ranking), groups(&ranking)), (1, vec![(None, 1), (full(), 2)]));
        ranking.set(NodeIndex(1), Standing::Rejected(Status::unschedulable("other"))).expect("few verdicts");
        assert_eq!((feasible(&ranking), groups(&ranking)), (1, vec![(None, 1), (full(), 1)]));
        ranking.set(NodeIndex(2), fits(1, 0)).expect("few groups");
        assert_eq!((feasible(&ranking), groups(&ranking)), (2, vec![(None, 2)]));
        assert_eq!(ranking.verdicts.iter().map(|(_, nodes)| *nodes).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn too_many_groups_are_told() {
        let mut ranking = Ranking::new(GROUPS_MAX + 1);
        let set = |ranking: &mut Ranking, at: usize| {
            ranking.set(NodeIndex(u32::try_from(at).expect("few nodes")), fits(at as i64, 0))
        };
        for at in 0..GROUPS_MAX {
            set(&mut ranking, at).expect("as many groups as there may be");
        }
        assert_eq!(set(&mut ranking, GROUPS_MAX), Err(Why::TooManyGroups));
    }
}
