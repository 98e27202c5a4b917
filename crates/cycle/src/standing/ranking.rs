//! Where the nodes stand for a class: those that pass in groups of equal traits, ranked inside a group by what is the node's own;
//! those that do not, by their verdict.

use super::why::Why;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use secondmate_framework::{NodeIndex, Status};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Groups of a class. Above this number choosing among the groups costs as much as a pass over the nodes of a fair cluster.
const GROUPS_MAX: usize = 4096;
/// Different verdicts of a class.
const VERDICTS_MAX: usize = 1024;

/// Bytes of a node in a class: its slot, and its share of a bucket's bitmap (an array of 2-byte numbers at most).
pub(super) const NODE_BYTES: usize = size_of::<Slot>() + 2;
/// Bytes of a bucket: its node in the map and one container of its bitmap.
const BUCKET_BYTES: usize = 128;
/// Bytes of a group without its buckets, in the list and in the map.
const GROUP_BYTES: usize = size_of::<Group>() + size_of::<Traits>() + 32;

/// What the nodes of a group have in common: raw scores that are brought into their range over all feasible nodes.
pub(super) type Traits = SmallVec<[i64; 4]>;

/// How a node stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It passes the filters.
    Fits {
        /// The traits that it shares with its group.
        traits: Traits,
        /// Weighted sum of the scores that are its own.
        own: i32,
    },
    /// It does not.
    Rejected(Status),
}

/// A node's place: the number of a group, or that of a verdict above [`REJECTED`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    place: u32,
    own: i32,
}

const REJECTED: u32 = 1 << 31;
const NOWHERE: Slot = Slot { place: u32::MAX, own: 0 };

#[derive(Debug, Default)]
struct Group {
    traits: Traits,
    nodes: usize,
    /// Positions of the nodes by their own score.
    buckets: BTreeMap<i32, RoaringBitmap>,
}

/// The nodes of a snapshot as they stand for a class.
#[derive(Debug)]
pub(super) struct Ranking {
    slots: Vec<Slot>,
    groups: Vec<Group>,
    /// Groups without nodes, to be used again.
    vacant: Vec<u32>,
    by_traits: FxHashMap<Traits, u32>,
    /// Verdicts with the number of nodes that have them; a verdict that no node has is used again.
    verdicts: Vec<(Status, u32)>,
    feasible: usize,
}

impl Ranking {
    /// So many nodes, of which nothing is known yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            slots: vec![NOWHERE; nodes],
            groups: Vec::new(),
            vacant: Vec::new(),
            by_traits: FxHashMap::default(),
            verdicts: Vec::new(),
            feasible: 0,
        }
    }

    /// Number of nodes that pass.
    pub(super) fn feasible(&self) -> usize {
        self.feasible
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
                if old.place < REJECTED && old.own == own && self.groups[old.place as usize].traits == traits
                {
                    return Ok(());
                }
                Slot { place: self.group(traits)?, own }
            }
            Standing::Rejected(status) => Slot { place: REJECTED | self.verdict(status)?, own: 0 },
        };
        // In this order a node that is alone in its group and only moves inside of it does not make the group vacant meanwhile.
        self.insert(node, new);
        self.remove(node, old);
        self.slots[node.get()] = new;
        Ok(())
    }

    /// The group with these traits.
    fn group(&mut self, traits: Traits) -> Result<u32, Why> {
        if let Some(known) = self.by_traits.get(&traits) {
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
        self.groups[at as usize].traits = traits.clone();
        self.by_traits.insert(traits, at);
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
        self.feasible += 1;
    }

    fn remove(&mut self, node: NodeIndex, slot: Slot) {
        if slot.place == NOWHERE.place {
            return;
        }
        if slot.place & REJECTED != 0 {
            self.verdicts[(slot.place & !REJECTED) as usize].1 -= 1;
            return;
        }
        self.feasible -= 1;
        let group = &mut self.groups[slot.place as usize];
        group.nodes -= 1;
        if let Some(bucket) = group.buckets.get_mut(&slot.own) {
            bucket.remove(node.0);
            if bucket.is_empty() {
                group.buckets.remove(&slot.own);
            }
        }
        if group.buckets.is_empty() {
            self.by_traits.remove(&std::mem::take(&mut group.traits));
            self.vacant.push(slot.place);
        }
    }

    /// How many groups there are, vacant ones included: their numbers are below this.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The groups that have nodes: number, traits, how many nodes.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, &Traits, usize)> {
        let groups = self.groups.iter().enumerate();
        groups.filter(|(_, group)| group.nodes > 0).map(|(at, group)| (at, &group.traits, group.nodes))
    }

    /// The best nodes, where each group's part of the score is this, by the number of the group.
    pub(super) fn best(&self, scores: &[i64]) -> Best<'_> {
        let mut best = Best { total: i64::MIN, buckets: SmallVec::new() };
        for (group, score) in self.groups.iter().zip(scores) {
            let Some((own, bucket)) = group.buckets.last_key_value() else { continue };
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
        (0..).map(NodeIndex).zip(&self.slots).map(|(at, slot)| {
            let standing = if slot.place & REJECTED != 0 {
                Err(&self.verdicts[(slot.place & !REJECTED) as usize].0)
            } else {
                Ok((slot.place as usize, slot.own))
            };
            (at, standing)
        })
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

    /// The best nodes, in the order from a position on.
    fn best_from(ranking: &Ranking, start: u32) -> (i64, Vec<u32>) {
        let mut scores = vec![0; ranking.group_count()];
        ranking.groups().for_each(|(at, traits, _)| scores[at] = traits[0]);
        let best = ranking.best(&scores);
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
        assert_eq!(ranking.feasible(), 7);
        assert_eq!(ranking.groups().map(|(_, _, nodes)| nodes).collect::<Vec<_>>(), [3, 2, 2]);
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
        assert_eq!((ranking.feasible(), ranking.groups().count()), (1, 1));
    }

    #[test]
    fn a_node_that_changes_nothing_but_its_bucket_stays_in_its_group() {
        let mut ranking = Ranking::new(1);
        for own in [1, 1, 2, 0] {
            ranking.set(NodeIndex(0), fits(7, own)).expect("one group");
            assert_eq!(best_from(&ranking, 0), (7 + i64::from(own), vec![0]));
            assert_eq!(ranking.feasible(), 1);
        }
        assert_eq!(ranking.groups.len(), 1);
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
