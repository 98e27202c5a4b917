//! Which nodes are at a place, and the choice among them.

use roaring::RoaringBitmap;
use secondmate_framework::NodeIndex;
use smallvec::SmallVec;
use std::cell::OnceCell;

/// Maximum number of nodes that are listed. If there are more, they are determined only once the choice falls on the place: most
/// places are never chosen from.
const LISTED_MAX: usize = 4;

/// The nodes at a place.
#[derive(Debug)]
pub(super) enum Members {
    /// In no particular order.
    Listed(SmallVec<[u32; 4]>),
    /// Maintained from the time they were first determined.
    Many(OnceCell<RoaringBitmap>),
}

impl Default for Members {
    fn default() -> Self {
        Self::Listed(SmallVec::new())
    }
}

impl Members {
    pub(super) fn insert(&mut self, node: NodeIndex) {
        match self {
            Self::Listed(nodes) if nodes.len() < LISTED_MAX => nodes.push(node.0),
            Self::Listed(_) => *self = Self::Many(OnceCell::new()),
            Self::Many(nodes) => {
                if let Some(nodes) = nodes.get_mut() {
                    nodes.insert(node.0);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, node: NodeIndex) {
        match self {
            Self::Listed(nodes) => {
                if let Some(at) = nodes.iter().position(|known| *known == node.0) {
                    nodes.swap_remove(at);
                }
            }
            Self::Many(nodes) => {
                if let Some(nodes) = nodes.get_mut() {
                    nodes.remove(node.0);
                }
            }
        }
    }

    /// The nodes, given that this is the place with this number.
    pub(super) fn at<'a>(&'a self, place: u32, slots: &Slots) -> Set<'a> {
        match self {
            Self::Listed(nodes) => {
                let mut nodes: SmallVec<[u32; LISTED_MAX]> = nodes.iter().copied().collect();
                nodes.sort_unstable();
                Set::Listed(nodes)
            }
            Self::Many(nodes) => Set::Many(nodes.get_or_init(|| slots.nodes_at(place))),
        }
    }
}

/// Positions of nodes, ascending.
#[derive(Debug)]
pub(super) enum Set<'a> {
    Listed(SmallVec<[u32; LISTED_MAX]>),
    Many(&'a RoaringBitmap),
}

impl Set<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Listed(nodes) => nodes.len() as u64,
            Self::Many(nodes) => nodes.len(),
        }
    }

    /// How many of them come before a position.
    fn before(&self, position: u32) -> u64 {
        match self {
            Self::Listed(nodes) => nodes.partition_point(|node| *node < position) as u64,
            Self::Many(nodes) => position.checked_sub(1).map_or(0, |last| nodes.rank(last)),
        }
    }

    fn nth(&self, nth: u64) -> Option<u32> {
        match self {
            Self::Listed(nodes) => nodes.get(usize::try_from(nth).ok()?).copied(),
            Self::Many(nodes) => nodes.select(u32::try_from(nth).ok()?),
        }
    }
}

/// The nodes among which the choice is made.
#[derive(Debug)]
pub(super) struct Best<'a> {
    /// The sets are disjoint.
    pub(super) sets: SmallVec<[Set<'a>; 2]>,
}

impl Best<'_> {
    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.sets.iter().map(Set::len).sum::<u64>()).unwrap_or(usize::MAX)
    }

    fn before(&self, position: u32) -> u64 {
        self.sets.iter().map(|set| set.before(position)).sum()
    }

    /// The `nth` of them, counted from the position `start` on, wrapping around the list of `nodes` nodes.
    pub(super) fn nth_from(&self, start: u32, nth: usize, nodes: u32) -> NodeIndex {
        let (before, all) = (self.before(start), self.len() as u64);
        let nth = nth as u64;
        let wanted = if nth < all - before { before + nth } else { nth - (all - before) };
        if let [one] = self.sets.as_slice() {
            return NodeIndex(one.nth(wanted).expect("the number is below that of the best nodes"));
        }
        // Finds the last position with at most `nth` of them before it.
        let (mut low, mut high) = (0, nodes);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.before(middle) <= wanted { low = middle } else { high = middle }
        }
        NodeIndex(low)
    }
}

/// The number of each node's place: two bytes per node, or four if there are too many places for that.
#[derive(Clone, Debug)]
pub(super) enum Slots {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

/// The place of nodes about which nothing is known.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Slots {
    /// For this many nodes, without places yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self::Narrow(vec![u16::MAX; nodes])
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Narrow(places) => places.len(),
            Self::Wide(places) => places.len(),
        }
    }

    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Narrow(places) => size_of_val(&**places),
            Self::Wide(places) => size_of_val(&**places),
        }
    }

    pub(super) fn get(&self, node: NodeIndex) -> u32 {
        match self {
            Self::Narrow(places) => widened(places[node.get()]),
            Self::Wide(places) => places[node.get()],
        }
    }

    pub(super) fn set(&mut self, node: NodeIndex, place: u32) {
        match self {
            Self::Narrow(places) => match u16::try_from(place) {
                Ok(place) if place != u16::MAX => places[node.get()] = place,
                _ => {
                    let mut wide: Vec<u32> = places.iter().copied().map(widened).collect();
                    wide[node.get()] = place;
                    *self = Self::Wide(wide);
                }
            },
            Self::Wide(places) => places[node.get()] = place,
        }
    }

    /// All places, by node position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, u32)> + '_ {
        (0..self.len()).map(|at| {
            let node = NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"));
            (node, self.get(node))
        })
    }

    /// The nodes at a place.
    fn nodes_at(&self, place: u32) -> RoaringBitmap {
        match self {
            Self::Narrow(places) => {
                u16::try_from(place).map_or_else(|_| RoaringBitmap::new(), |p| find(places, p))
            }
            Self::Wide(places) => find(places, place),
        }
    }
}

fn widened(place: u16) -> u32 {
    if place == u16::MAX { NOWHERE } else { u32::from(place) }
}

/// Positions of a number in a list.
fn find<T: Copy + PartialEq>(list: &[T], wanted: T) -> RoaringBitmap {
    /// This many are compared at once.
    const AT_ONCE: usize = 64;
    let mut found = RoaringBitmap::new();
    for (from, part) in (0..).step_by(AT_ONCE).zip(list.chunks(AT_ONCE)) {
        if part.iter().fold(false, |found, one| found | (*one == wanted)) {
            let here = (from..).zip(part).filter(|(_, one)| **one == wanted);
            here.for_each(|(at, _)| {
                found.insert(at);
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_whether_they_are_listed_looked_up_or_kept_up() {
        const NODES: u32 = 300;
        let mut slots = Slots::new(300);
        let mut places = [Members::default(), Members::default()];
        let mut most = 0;
        for step in 0..4_000_u32 {
            let node = NodeIndex(step * 7 % NODES);
            let (old, new) = (slots.get(node), u32::from(!(step / 250).is_multiple_of(3)));
            if old != new {
                places[new as usize].insert(node);
                if old != NOWHERE {
                    places[old as usize].remove(node);
                }
                slots.set(node, new);
            }
            // Not every time, so that some are determined late.
            if step > 500 && step % 5 == 0 {
                let best = Best { sets: SmallVec::from_iter([places[0].at(0, &slots)]) };
                let start = step % NODES;
                let found: Vec<u32> = (0..best.len()).map(|nth| best.nth_from(start, nth, NODES).0).collect();
                let there = slots.iter().filter(|(_, place)| *place == 0).map(|(node, _)| node.0);
                let (before, after): (Vec<u32>, Vec<u32>) = there.partition(|node| *node < start);
                assert_eq!(found, [after, before].concat(), "step {step}");
                most = most.max(found.len());
            }
        }
        assert!(most > 2 * LISTED_MAX, "{most}");
    }

    #[test]
    fn more_places_than_two_bytes_tell_apart_take_four() {
        let mut slots = Slots::new(3);
        slots.set(NodeIndex(0), u32::from(u16::MAX) - 1);
        assert_eq!(slots.bytes(), 6);
        slots.set(NodeIndex(1), u32::from(u16::MAX));
        assert_eq!(slots.bytes(), 12);
        let places: Vec<u32> = slots.iter().map(|(_, place)| place).collect();
        assert_eq!(places, [u32::from(u16::MAX) - 1, u32::from(u16::MAX), NOWHERE]);
        assert_eq!(slots.nodes_at(u32::from(u16::MAX)).iter().collect::<Vec<_>>(), [1]);
    }
}
