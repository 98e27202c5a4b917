//! How the nodes stand for a class: those that pass are in groups of equal traits, ranked inside a group by the node's own score;
//! those that do not pass are kept by verdict. If filters by group come before the one that gave the verdict, the group keeps it,
//! because theirs may come first.

use super::members::{Best, Members, NOWHERE, Slots};
use super::why::Why;
use rustc_hash::FxHashMap;
use secondmate_framework::{Code, KeptVerdicts, NodeIndex, Status};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of groups of a class. Above this, choosing among the groups costs as much as a pass over the nodes of a fairly
/// large cluster.
const GROUPS_MAX: usize = 4096;
/// Maximum number of distinct verdicts of a class.
const VERDICTS_MAX: usize = 1024;

/// Maximum number of places of a class.
const PLACES_MAX: usize = 1 << 20;

/// Minimum memory per node in a class, in bytes: the number of its place, and its share of a bitmap of the nodes among which the
/// choice is made (an array of 2-byte numbers at most).
pub(super) const NODE_BYTES: usize = size_of::<u16>() + 2;
/// Memory per place, in the list and in its group, in bytes.
const PLACE_BYTES: usize = size_of::<Place>() + 24;
/// Memory per group without its places, in the list and in the map, in bytes.
const GROUP_BYTES: usize = size_of::<Group>() + size_of::<Kind>() + 32;
/// Memory per verdict, in bytes.
const VERDICT_BYTES: usize = 256;

/// Up to this many traits are stored in the group itself.
const TRAITS_INLINE: usize = 4;

/// What the nodes of a group have in common: their coordinates, and the raw scores that are normalised over all feasible nodes.
pub(super) type Traits = SmallVec<[i64; TRAITS_INLINE]>;

/// How a node stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It passes the filters that look only at the node.
    Fits {
        /// The traits that it shares with its group.
        traits: Traits,
        /// Weighted sum of the node's own scores.
        own: i32,
    },
    /// It is rejected, and no filter by group comes first.
    Rejected(Status),
    /// It is rejected, but filters by group come first.
    RejectedLate {
        /// Its coordinates.
        traits: Traits,
        status: Status,
        /// How many of those come first.
        after: u8,
    },
}

/// A place for nodes that are equivalent: the number of their group with the sum of their own scores, or the number of their
/// verdict above [`REJECTED`].
#[derive(Debug)]
struct Place {
    standing: u32,
    own: i32,
    /// Number of nodes.
    nodes: u32,
    members: Members,
}

const REJECTED: u32 = 1 << 31;

/// What distinguishes a group from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Kind {
    traits: Traits,
    /// The verdict that the nodes get if the filters by group let them pass, by number, and how many such filters come first.
    late: Option<(u32, u8)>,
}

#[derive(Debug, Default)]
struct Group {
    kind: Kind,
    nodes: usize,
    /// The numbers of its places, by the nodes' own score.
    places: BTreeMap<i32, u32>,
}

/// A verdict on nodes, with the number of nodes that have it.
#[derive(Debug)]
struct Verdict {
    status: Status,
    nodes: u32,
    /// The place of those nodes that are in no group.
    place: Option<u32>,
}

/// The standing of all nodes of a snapshot for a class.
#[derive(Debug)]
pub(super) struct Ranking {
    /// Shared with verdicts that were handed out.
    slots: Arc<Slots>,
    places: Vec<Place>,
    /// Places without nodes, for reuse.
    vacant_places: Vec<u32>,
    groups: Vec<Group>,
    /// Groups without nodes, for reuse.
    vacant: Vec<u32>,
    by_kind: FxHashMap<Kind, u32>,
    /// The largest number of traits of any group so far.
    traits_most: usize,
    /// Verdicts that no node has are reused.
    verdicts: Vec<Verdict>,
}

impl Ranking {
    /// For this many nodes, about which nothing is known yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            slots: Arc::new(Slots::new(nodes)),
            places: Vec::new(),
            vacant_places: Vec::new(),
            groups: Vec::new(),
            vacant: Vec::new(),
            by_kind: FxHashMap::default(),
            traits_most: 0,
            verdicts: Vec::new(),
        }
    }

    /// Maximum memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        // In the list and in the map.
        let spilled =
            if self.traits_most > TRAITS_INLINE { 2 * self.traits_most * size_of::<i64>() } else { 0 };
        self.slots.bytes()
            + self.slots.len() * 2
            + self.places.len() * PLACE_BYTES
            + self.groups.len() * (GROUP_BYTES + spilled)
            + self.verdicts.len() * VERDICT_BYTES
    }

    /// Places a node according to its current standing.
    ///
    /// # Errors
    /// If there are too many groups, places or verdicts. The ranking is then no longer usable.
    pub(super) fn set(&mut self, node: NodeIndex, standing: Standing) -> Result<(), Why> {
        let old = self.slots.get(node);
        let new = match standing {
            Standing::Fits { traits, own } => {
                let group = match self.group_at(old) {
                    Some((at, kind)) if kind.late.is_none() && kind.traits == traits => at,
                    _ => self.group(Kind { traits, late: None })?,
                };
                self.place_in(group, own)?
            }
            Standing::Rejected(status) => {
                let verdict = self.verdict(status)?;
                match self.verdicts[verdict as usize].place {
                    Some(place) => place,
                    None => {
                        let place = self.new_place(REJECTED | verdict, 0)?;
                        self.verdicts[verdict as usize].place = Some(place);
                        place
                    }
                }
            }
            Standing::RejectedLate { traits, status, after } => {
                let late = Some((self.verdict(status)?, after));
                let group = self.group(Kind { traits, late })?;
                self.place_in(group, 0)?
            }
        };
        if new == old {
            return Ok(());
        }
        // In this order, a node that is alone in its group and only moves inside of it does not make the group vacant in between.
        self.insert(node, new);
        if old != NOWHERE {
            self.remove(node, old);
        }
        Arc::make_mut(&mut self.slots).set(node, new);
        Ok(())
    }

    /// The group of a place.
    fn group_at(&self, place: u32) -> Option<(u32, &Kind)> {
        let standing = self.places.get(place as usize)?.standing;
        (standing & REJECTED == 0).then(|| (standing, &self.groups[standing as usize].kind))
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
        self.traits_most = self.traits_most.max(kind.traits.len());
        self.groups[at as usize].kind = kind.clone();
        self.by_kind.insert(kind, at);
        Ok(at)
    }

    /// The place in the group for nodes with this score of their own.
    fn place_in(&mut self, group: u32, own: i32) -> Result<u32, Why> {
        if let Some(place) = self.groups[group as usize].places.get(&own) {
            return Ok(*place);
        }
        let place = self.new_place(group, own)?;
        self.groups[group as usize].places.insert(own, place);
        Ok(place)
    }

    fn new_place(&mut self, standing: u32, own: i32) -> Result<u32, Why> {
        let place = Place { standing, own, nodes: 0, members: Members::default() };
        if let Some(at) = self.vacant_places.pop() {
            self.places[at as usize] = place;
            return Ok(at);
        }
        if self.places.len() == PLACES_MAX {
            return Err(Why::TooManyGroups);
        }
        self.places.push(place);
        Ok(u32::try_from(self.places.len() - 1).expect("few places"))
    }

    fn verdict(&mut self, status: Status) -> Result<u32, Why> {
        let mut unused = None;
        for (at, known) in (0..).zip(&self.verdicts) {
            if known.status == status {
                return Ok(at);
            }
            if known.nodes == 0 {
                unused = Some(at);
            }
        }
        match unused {
            Some(at) => self.verdicts[at as usize].status = status,
            None if self.verdicts.len() < VERDICTS_MAX => {
                self.verdicts.push(Verdict { status, nodes: 0, place: None });
            }
            None => return Err(Why::TooManyVerdicts),
        }
        Ok(unused.unwrap_or_else(|| u32::try_from(self.verdicts.len() - 1).expect("few verdicts")))
    }

    /// The number of the verdict on the nodes at a place, if it does not depend on the filters by group.
    fn verdict_of(&self, standing: u32) -> Option<u32> {
        if standing & REJECTED != 0 {
            return Some(standing & !REJECTED);
        }
        self.groups[standing as usize].kind.late.map(|(verdict, _)| verdict)
    }

    fn insert(&mut self, node: NodeIndex, at: u32) {
        let place = &mut self.places[at as usize];
        place.nodes += 1;
        place.members.insert(node);
        let standing = place.standing;
        if standing & REJECTED == 0 {
            self.groups[standing as usize].nodes += 1;
        }
        if let Some(verdict) = self.verdict_of(standing) {
            self.verdicts[verdict as usize].nodes += 1;
        }
    }

    fn remove(&mut self, node: NodeIndex, at: u32) {
        let place = &mut self.places[at as usize];
        place.nodes -= 1;
        place.members.remove(node);
        let (standing, own, is_vacant) = (place.standing, place.own, place.nodes == 0);
        if let Some(verdict) = self.verdict_of(standing) {
            self.verdicts[verdict as usize].nodes -= 1;
        }
        if is_vacant {
            self.places[at as usize].members = Members::default();
            self.vacant_places.push(at);
        }
        if standing & REJECTED != 0 {
            if is_vacant {
                self.verdicts[(standing & !REJECTED) as usize].place = None;
            }
            return;
        }
        let group = &mut self.groups[standing as usize];
        group.nodes -= 1;
        if is_vacant {
            group.places.remove(&own);
        }
        if group.nodes == 0 {
            self.by_kind.remove(&std::mem::take(&mut group.kind));
            self.vacant.push(standing);
        }
    }

    /// The groups that have nodes, by number.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, GroupRef<'_>)> {
        let groups = self.groups.iter().enumerate().filter(|(_, group)| group.nodes > 0);
        groups.map(|(at, group)| {
            let late = group.kind.late;
            let status = |verdict: u32| &self.verdicts[verdict as usize].status;
            let late = late.map(|(verdict, after)| (status(verdict), usize::from(after)));
            (at, GroupRef { traits: &group.kind.traits, late, nodes: group.nodes })
        })
    }

    /// The verdicts on all nodes, if none passes; `of_groups` are those of the groups, by number.
    pub(super) fn verdicts(&self, of_groups: impl Iterator<Item = (usize, Status)>) -> Verdicts {
        let mut groups = vec![(Status::SUCCESS, 0); self.groups.len()];
        for (group, status) in of_groups {
            groups[group] = (status, self.groups[group].nodes);
        }
        // Nodes with late verdicts are counted with their groups.
        let in_no_group = |verdict: &Verdict| verdict.place.map_or(0, |at| self.places[at as usize].nodes);
        let alone =
            self.verdicts.iter().map(|verdict| (verdict.status.clone(), in_no_group(verdict) as usize));
        Verdicts {
            slots: Arc::clone(&self.slots),
            standings: self.places.iter().map(|place| place.standing).collect(),
            groups,
            alone: alone.collect(),
        }
    }

    /// The best nodes of these groups, each given with its part of the score; and the best score.
    pub(super) fn best(&self, scores: impl Iterator<Item = (usize, i64)>) -> (i64, Best<'_>) {
        let (mut best, mut places) = (i64::MIN, SmallVec::<[u32; 2]>::new());
        for (group, score) in scores {
            let Some((own, place)) = self.groups[group].places.last_key_value() else { continue };
            let total = score + i64::from(*own);
            if total > best {
                best = total;
                places.clear();
            }
            if total == best {
                places.push(*place);
            }
        }
        let set = |place: &u32| self.places[*place as usize].members.at(*place, &self.slots);
        (best, Best { sets: places.iter().map(set).collect() })
    }

    /// Each node with its values: the number of its group and its own score, or its verdict.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeIndex, Result<(usize, i32), &Status>)> {
        self.slots.iter().map(|(at, place)| {
            let Place { standing, own, .. } = self.places[place as usize];
            let standing = if standing & REJECTED != 0 {
                Err(&self.verdicts[(standing & !REJECTED) as usize].status)
            } else {
                Ok((standing as usize, own))
            };
            (at, standing)
        })
    }
}

/// A group that has nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupRef<'a> {
    pub(super) traits: &'a Traits,
    /// The verdict on its nodes, if they do not pass, and how many filters by group come before it.
    pub(super) late: Option<(&'a Status, usize)>,
    /// Number of nodes.
    pub(super) nodes: usize,
}

/// The current verdicts on all nodes.
#[derive(Debug)]
pub(super) struct Verdicts {
    slots: Arc<Slots>,
    /// What each place stands for.
    standings: Vec<u32>,
    /// By group, with the number of nodes.
    groups: Vec<(Status, usize)>,
    /// Verdicts on nodes in no group, by number, with the number of nodes.
    alone: Vec<(Status, usize)>,
}

impl Verdicts {
    fn status_of(&self, standing: u32) -> &Status {
        if standing & REJECTED != 0 {
            return &self.alone[(standing & !REJECTED) as usize].0;
        }
        &self.groups[standing as usize].0
    }
}

impl KeptVerdicts for Verdicts {
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn get(&self, node: NodeIndex) -> &Status {
        self.status_of(self.standings[self.slots.get(node) as usize])
    }

    fn with_code(&self, code: Code) -> Vec<NodeIndex> {
        // There are many nodes, but few things that they can stand for.
        let has_code: Vec<bool> =
            self.standings.iter().map(|standing| self.status_of(*standing).code() == code).collect();
        self.slots.iter().filter(|(_, place)| has_code[*place as usize]).map(|(at, _)| at).collect()
    }

    fn tally(&self) -> Vec<(&Status, usize)> {
        let all = self.groups.iter().chain(&self.alone);
        all.filter(|(_, nodes)| *nodes > 0).map(|(status, nodes)| (status, *nodes)).collect()
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

    /// The best nodes, in order from a position on.
    fn best_from(ranking: &Ranking, start: u32) -> (i64, Vec<u32>) {
        let (total, best) = ranking.best(ranking.groups().map(|(at, group)| (at, group.traits[0])));
        let nodes = u32::try_from(ranking.slots.len()).expect("few nodes");
        (total, (0..best.len()).map(|nth| best.nth_from(start, nth, nodes).0).collect())
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
        assert!(ranking.places.len() <= 3, "{ranking:?}");
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
        assert_eq!(ranking.verdicts.iter().map(|verdict| verdict.nodes).collect::<Vec<_>>(), [0, 1]);
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
