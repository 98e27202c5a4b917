//! Pods by domain, for filters and scores by group: added up node by node, so that a node that changes changes its part of the sums.
//!
//! Nodes stand by the number of their domain, so that what comes to one node of it moves none of the others. Where a domain has a
//! single node (the host name) it stands by what counts there: so nodes of many such domains have few different places.

use super::why::Why;
use rustc_hash::FxHashMap;
use secondmate_framework::{Coordinate, Coordinates, DomainTotals, NodeIndex, Place};
use secondmate_model::Atom;
use std::collections::BTreeMap;

/// The domains at one coordinate.
#[derive(Debug, Default)]
struct Domains {
    numbers: FxHashMap<Atom, u32>,
    rows: Vec<Domain>,
    /// Domains without nodes, to be used again.
    vacant: Vec<u32>,
    /// Of the domains that count: how many have so many pods.
    tally: BTreeMap<i64, usize>,
    /// How many of them count.
    count: usize,
}

#[derive(Debug, Default)]
struct Domain {
    name: Atom,
    pods: i64,
    /// Nodes that are in it.
    nodes: u32,
    /// Nodes on whose account it counts.
    counting: u32,
    /// Positions of its nodes, one over the other (by exclusive or): where there is one, it is that.
    together: u32,
}

/// What a node brings to a coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Pods that count for the domain, or the number of the node's own.
    pods: i64,
    /// [`OWN`], [`NOWHERE`], or the number of a domain.
    domain: u32,
    mark: bool,
    counts: bool,
}

const NOWHERE: u32 = u32::MAX;
const OWN: u32 = u32::MAX - 1;
const NO_SHARE: Share = Share { pods: 0, domain: NOWHERE, mark: false, counts: false };

/// Bytes of a domain: its row, and its name in the map.
const DOMAIN_BYTES: usize = size_of::<Domain>() + 40;

/// Pods by domain, for each coordinate.
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
        let domains: usize = self.domains.iter().map(|domains| domains.rows.len()).sum();
        self.shares.len() * size_of::<Share>() + domains * DOMAIN_BYTES
    }

    /// Number of coordinates.
    pub(super) fn width(&self) -> usize {
        self.domains.len()
    }

    /// Takes over what a node brings now. The first `tallied` coordinates are those of filters, which read totals. Other nodes whose
    /// place changes with it are added to `moved`.
    ///
    /// # Errors
    /// The numbers are out of range, or there are not as many coordinates as before. The counts are of no use then.
    pub(super) fn set(
        &mut self,
        node: NodeIndex,
        coordinates: Coordinates,
        tallied: usize,
        moved: &mut Vec<NodeIndex>,
    ) -> Result<(), Why> {
        if self.domains.is_empty() {
            self.domains.resize_with(coordinates.len(), Domains::default);
            self.shares.resize(self.nodes * coordinates.len(), NO_SHARE);
        }
        let width = coordinates.len();
        if width != self.domains.len() {
            return Err(Why::Failed);
        }
        for (at, coordinate) in coordinates.into_iter().enumerate() {
            let (domains, tallied) = (&mut self.domains[at], at < tallied);
            let share = &mut self.shares[node.get() * width + at];
            let new = match coordinate {
                Coordinate::Own(number) => Share { pods: number, domain: OWN, ..NO_SHARE },
                Coordinate::Domain { name, mark, pods, counts } => {
                    let stays = share.domain < OWN && domains.rows[share.domain as usize].name == name;
                    let domain = if stays { share.domain } else { domains.number(name)? };
                    Share { pods, domain, mark, counts }
                }
            };
            if !(-PODS_MAX..=PODS_MAX).contains(&new.pods) {
                return Err(Why::Failed);
            }
            if *share != new {
                domains.change(node, *share, new, tallied, moved);
                *share = new;
            }
        }
        Ok(())
    }

    /// What tells the node's place at a coordinate from others: see [`DomainCounts::place`].
    pub(super) fn trait_of(&self, node: NodeIndex, coordinate: usize) -> i64 {
        let share = self.shares[node.get() * self.width() + coordinate];
        if share.domain >= OWN {
            return share.pods << 2;
        }
        let domain = &self.domains[coordinate].rows[share.domain as usize];
        let (kind, number) = if domain.nodes == 1 { (2, domain.pods) } else { (1, i64::from(share.domain)) };
        (number << 3) | (i64::from(share.mark) << 2) | kind
    }

    /// The place behind a trait.
    pub(super) fn place(&self, coordinate: usize, trait_: i64) -> Place {
        let (mark, number) = (trait_ & 4 != 0, trait_ >> 3);
        match trait_ & 3 {
            0 => Place::Own(trait_ >> 2),
            1 => {
                let domain = u32::try_from(number).expect("the number of a domain was written there");
                let pods = self.domains[coordinate].rows[domain as usize].pods;
                Place::Domain { domain, mark, pods }
            }
            _ => Place::Alone { mark, pods: number },
        }
    }

    /// The totals at a coordinate of a filter.
    pub(super) fn totals(&self, coordinate: usize) -> DomainTotals {
        let domains = &self.domains[coordinate];
        let pods = |entry: Option<(&i64, _)>| entry.map(|(pods, _)| *pods);
        DomainTotals {
            domains: domains.count,
            least: pods(domains.tally.first_key_value()),
            most: pods(domains.tally.last_key_value()),
        }
    }
}

/// Numbers up to this leave room for what a trait says beside them, also where they are added up over all nodes.
const PODS_MAX: i64 = 1 << 26;

impl Domains {
    fn number(&mut self, name: Atom) -> Result<u32, Why> {
        if let Some(known) = self.numbers.get(&name) {
            return Ok(*known);
        }
        let domain = Domain { name: name.clone(), ..Domain::default() };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.rows[number as usize] = domain;
                number
            }
            None => {
                self.rows.push(domain);
                let number = u32::try_from(self.rows.len() - 1).ok().filter(|number| *number < OWN);
                number.ok_or(Why::TooManyGroups)?
            }
        };
        self.numbers.insert(name, number);
        Ok(number)
    }

    /// A node brings something else than it did.
    fn change(&mut self, node: NodeIndex, old: Share, new: Share, tallied: bool, moved: &mut Vec<NodeIndex>) {
        if old.domain == new.domain && new.domain < OWN {
            let change = |domain: &mut Domain| {
                domain.pods += new.pods - old.pods;
                domain.counting = domain.counting + u32::from(new.counts) - u32::from(old.counts);
            };
            self.update(new.domain, tallied, change);
            return;
        }
        // The new one first: a domain that the node leaves may be gone afterwards.
        if new.domain < OWN {
            let before = &self.rows[new.domain as usize];
            if before.nodes == 1 {
                moved.push(NodeIndex(before.together));
            }
            self.update(new.domain, tallied, |domain| {
                domain.pods += new.pods;
                domain.counting += u32::from(new.counts);
                domain.nodes += 1;
                domain.together ^= node.0;
            });
        }
        if old.domain < OWN {
            self.update(old.domain, tallied, |domain| {
                domain.pods -= old.pods;
                domain.counting -= u32::from(old.counts);
                domain.nodes -= 1;
                domain.together ^= node.0;
            });
            let after = &mut self.rows[old.domain as usize];
            match after.nodes {
                0 => {
                    self.numbers.remove(&std::mem::take(&mut after.name));
                    self.vacant.push(old.domain);
                }
                1 => moved.push(NodeIndex(after.together)),
                _ => {}
            }
        }
    }

    fn update(&mut self, domain: u32, tallied: bool, change: impl FnOnce(&mut Domain)) {
        let row = &mut self.rows[domain as usize];
        let before = (row.counting > 0).then_some(row.pods);
        change(row);
        let after = (row.counting > 0).then_some(row.pods);
        if !tallied || before == after {
            return;
        }
        if let Some(pods) = before {
            self.count -= 1;
            if let Some(domains) = self.tally.get_mut(&pods) {
                *domains -= 1;
                if *domains == 0 {
                    self.tally.remove(&pods);
                }
            }
        }
        if let Some(pods) = after {
            self.count += 1;
            *self.tally.entry(pods).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, pods: i64) -> Coordinate {
        Coordinate::Domain { name: Atom::new(name), mark: false, pods, counts: true }
    }

    /// Counts at one coordinate, with what each step moves.
    struct Counts(DomainCounts);

    impl Counts {
        fn of(nodes: usize) -> Self {
            Self(DomainCounts::new(nodes))
        }

        fn set(&mut self, node: u32, coordinate: Coordinate) -> Vec<u32> {
            let mut moved = Vec::new();
            let coordinates = Coordinates::from_iter([coordinate]);
            self.0.set(NodeIndex(node), coordinates, 1, &mut moved).expect("few domains");
            moved.into_iter().map(|node| node.0).collect()
        }

        fn place(&self, node: u32) -> Place {
            self.0.place(0, self.0.trait_of(NodeIndex(node), 0))
        }

        fn totals(&self) -> (usize, Option<i64>, Option<i64>) {
            let DomainTotals { domains, least, most } = self.0.totals(0);
            (domains, least, most)
        }
    }

    fn alone(pods: i64) -> Place {
        Place::Alone { mark: false, pods }
    }

    fn domain(domain: u32, pods: i64) -> Place {
        Place::Domain { domain, mark: false, pods }
    }

    #[test]
    fn a_node_that_changes_moves_what_it_brings() {
        let mut counts = Counts::of(4);
        for (node, name, pods) in [(0, "a", 2), (1, "b", 5), (2, "b", 1), (3, "a", 0)] {
            counts.set(node, zone(name, pods));
        }
        assert_eq!(
            [0, 1, 2, 3].map(|node| counts.place(node)),
            [(0, 2), (1, 6), (1, 6), (0, 2)].map(|(d, n)| domain(d, n))
        );
        assert_eq!(counts.totals(), (2, Some(2), Some(6)));
        assert!(counts.set(0, zone("a", 9)).is_empty());
        assert_eq!((counts.place(3), counts.totals()), (domain(0, 9), (2, Some(6), Some(9))));
        counts.set(0, Coordinate::Own(-1));
        assert_eq!(
            (counts.place(0), counts.place(3), counts.totals()),
            (Place::Own(-1), alone(0), (2, Some(0), Some(6)))
        );
    }

    #[test]
    fn a_domain_with_a_single_node_stands_by_its_count_and_company_moves_the_node() {
        let mut counts = Counts::of(3);
        assert!(counts.set(1, zone("b", 5)).is_empty());
        assert_eq!(counts.place(1), alone(5));
        assert_eq!(counts.set(2, zone("b", 1)), [1]);
        assert_eq!(counts.place(1), domain(0, 6));
        assert_eq!(counts.set(1, zone("c", 4)), [2]);
        assert_eq!((counts.place(1), counts.place(2)), (alone(4), alone(1)));
        // A domain that nobody is in is forgotten.
        assert_eq!(counts.set(1, zone("b", 4)), [2]);
        assert_eq!((counts.totals(), counts.0.domains[0].numbers.len()), ((1, Some(5), Some(5)), 1));
        counts.set(1, zone("d", 0));
        assert_eq!(counts.0.domains[0].rows.len(), 2);
    }

    #[test]
    fn domains_that_no_node_makes_count_are_in_no_total() {
        let mut counts = Counts::of(2);
        let outside = |pods| Coordinate::Domain { name: Atom::new("a"), mark: true, pods, counts: false };
        counts.set(0, outside(0));
        assert_eq!(
            (counts.totals(), counts.place(0)),
            ((0, None, None), Place::Alone { mark: true, pods: 0 })
        );
        counts.set(1, zone("a", 3));
        assert_eq!(
            (counts.totals(), counts.place(0)),
            ((1, Some(3), Some(3)), Place::Domain { domain: 0, mark: true, pods: 3 })
        );
        counts.set(1, outside(0));
        assert_eq!(counts.totals(), (0, None, None));
    }
}
