//! Pods by domain, for scores by group: added up node by node, so that a node that changes changes its part of the sums.

use super::ranking::Traits;
use super::why::Why;
use rustc_hash::FxHashMap;
use secondmate_framework::{Coordinate, Coordinates, NodeIndex, Place};
use secondmate_model::Atom;

/// Domains of one coordinate. More make no groups that are worth it.
const DOMAINS_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Domains {
    numbers: FxHashMap<Atom, u32>,
    pods: Vec<i64>,
}

/// What a node brings to a domain.
#[derive(Clone, Copy, Debug)]
struct Share {
    domain: u32,
    pods: i64,
}

const NOWHERE: Share = Share { domain: u32::MAX, pods: 0 };

/// Pods by domain, for each coordinate of the scores by group.
#[derive(Debug, Default)]
pub(super) struct DomainCounts {
    nodes: usize,
    domains: Vec<Domains>,
    /// What each node brings, a row of coordinates for each.
    shares: Vec<Share>,
}

impl DomainCounts {
    /// Of so many nodes, of which nothing is known yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// Memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let domains: usize = self.domains.iter().map(|domains| domains.pods.len()).sum();
        self.shares.len() * size_of::<Share>() + domains * 48
    }

    /// Takes over what a node brings now, and adds its coordinates to its traits.
    ///
    /// # Errors
    /// There are too many domains. The counts are of no use then.
    pub(super) fn set(
        &mut self,
        node: NodeIndex,
        coordinates: Coordinates,
        traits: &mut Traits,
    ) -> Result<(), Why> {
        if self.domains.is_empty() {
            self.domains.resize_with(coordinates.len(), Domains::default);
            self.shares.resize(self.nodes * coordinates.len(), NOWHERE);
        }
        if coordinates.len() != self.domains.len() {
            return Err(Why::Failed);
        }
        let row = &mut self.shares[node.get() * coordinates.len()..];
        for ((coordinate, domains), share) in coordinates.into_iter().zip(&mut self.domains).zip(row) {
            if share.domain != NOWHERE.domain {
                domains.pods[share.domain as usize] -= share.pods;
            }
            *share = NOWHERE;
            match coordinate {
                Coordinate::Own(number) => traits.push(own(number)?),
                Coordinate::Domain { name, mark, pods } => {
                    let domain = domains.number(name)?;
                    domains.pods[domain as usize] += pods;
                    *share = Share { domain, pods };
                    traits.push((i64::from(domain) << 2) | (i64::from(mark) << 1) | 1);
                }
            }
        }
        Ok(())
    }

    /// What stands behind a trait that [`DomainCounts::set`] added for a coordinate.
    pub(super) fn place(&self, coordinate: usize, trait_: i64) -> Place {
        if trait_ & 1 == 0 {
            return Place::Own(trait_ >> 1);
        }
        let domain = u32::try_from(trait_ >> 2).expect("the number of a domain was written there");
        let pods = self.domains[coordinate].pods[domain as usize];
        Place::Domain { domain, mark: trait_ & 2 != 0, pods }
    }
}

impl Domains {
    fn number(&mut self, name: Atom) -> Result<u32, Why> {
        if let Some(known) = self.numbers.get(&name) {
            return Ok(*known);
        }
        if self.pods.len() == DOMAINS_MAX {
            return Err(Why::TooManyGroups);
        }
        let number = u32::try_from(self.pods.len()).expect("few domains");
        self.numbers.insert(name, number);
        self.pods.push(0);
        Ok(number)
    }
}

/// The trait of a number, which leaves room for the bit that tells it from a domain.
fn own(number: i64) -> Result<i64, Why> {
    number.checked_mul(2).ok_or(Why::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, pods: i64) -> Coordinate {
        Coordinate::Domain { name: Atom::new(name), mark: false, pods }
    }

    #[test]
    fn a_node_that_changes_moves_what_it_brings() {
        let mut counts = DomainCounts::new(3);
        let set = |counts: &mut DomainCounts, node: u32, own: i64, zone: Coordinate| {
            let mut traits = Traits::new();
            let coordinates = Coordinates::from_iter([Coordinate::Own(own), zone]);
            counts.set(NodeIndex(node), coordinates, &mut traits).expect("few domains");
            traits
        };
        let a = set(&mut counts, 0, -1, zone("a", 2));
        let b = set(&mut counts, 1, 7, zone("b", 5));
        set(&mut counts, 2, 7, zone("b", 1));
        let pods = |counts: &DomainCounts, traits: &Traits| match counts.place(1, traits[1]) {
            Place::Domain { pods, .. } => pods,
            Place::Own(_) => panic!("a domain"),
        };
        assert_eq!((pods(&counts, &a), pods(&counts, &b)), (2, 6));
        assert_eq!([&a, &b].map(|traits| counts.place(0, traits[0])), [Place::Own(-1), Place::Own(7)]);
        set(&mut counts, 1, 0, zone("a", 3));
        assert_eq!((pods(&counts, &a), pods(&counts, &b)), (5, 1));
        set(&mut counts, 0, 0, Coordinate::Own(0));
        assert_eq!((pods(&counts, &a), pods(&counts, &b)), (3, 1));
    }

    #[test]
    fn marks_and_domains_are_told_apart() {
        let mut counts = DomainCounts::new(2);
        let mut places = Vec::new();
        for (node, mark) in [(0, false), (1, true)] {
            let mut traits = Traits::new();
            let coordinate = Coordinate::Domain { name: Atom::new(""), mark, pods: 1 };
            counts
                .set(NodeIndex(node), Coordinates::from_iter([coordinate]), &mut traits)
                .expect("one domain");
            places.push(traits[0]);
        }
        let expected = |mark| Place::Domain { domain: 0, mark, pods: 2 };
        assert_eq!(
            [counts.place(0, places[0]), counts.place(0, places[1])],
            [expected(false), expected(true)]
        );
    }
}
