//! Pods by domain, for filters and scores by group. Sums are updated node by node, so a node that changes only changes its
//! contribution.
//!
//! A node's place is the number of its domain, so a change on one node does not move the other nodes of the domain. If a domain
//! has a single node (as with the host name), the place is what counts there instead; so the nodes of many such domains have only
//! a few different places.

use super::why::Why;
use hashbrown::HashTable;
use secondmate_framework::{Coordinate, DomainTotals, NodeIndex, Place, hash_of};
use secondmate_model::Atom;
use std::collections::BTreeMap;

/// The domains at one coordinate.
#[derive(Debug, Default)]
struct Domains {
    /// The numbers of the domains that have nodes, by name. The names themselves are stored only in the rows, since there are as
    /// many host names as nodes.
    numbers: HashTable<u32>,
    rows: Vec<Domain>,
    /// Domains without nodes, for reuse.
    vacant: Vec<u32>,
    /// Among the domains that count, how many have a given number of pods.
    tally: BTreeMap<i64, usize>,
    /// Number of domains that count.
    count: usize,
}

#[derive(Debug, Default)]
struct Domain {
    name: Atom,
    pods: i64,
    /// Number of nodes in it.
    nodes: u32,
    /// Number of nodes that make it count.
    counting: u32,
    /// Positions of its nodes, combined by exclusive or: if there is only one node, this is its position.
    together: u32,
}

/// What a node contributes at a coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Pods that count for the domain, or the node's own number.
    pods: i32,
    /// [`OWN`], [`NOWHERE`], or the number of a domain with the [flags](MARK).
    whose: u32,
}

/// The node has a mark.
const MARK: u32 = 1 << 31;
/// The node makes the domain count.
const COUNTS: u32 = 1 << 30;
const FLAGS: u32 = MARK | COUNTS;
const NOWHERE: u32 = !FLAGS;
const OWN: u32 = NOWHERE - 1;
const NO_SHARE: Share = Share { pods: 0, whose: NOWHERE };

impl Share {
    /// The number of the domain, or [`OWN`], or [`NOWHERE`].
    fn domain(self) -> u32 {
        self.whose & !FLAGS
    }

    fn has(self, flag: u32) -> bool {
        self.whose & flag != 0
    }
}

/// Memory per domain in bytes: its row, and its number in the table.
const DOMAIN_BYTES: usize = size_of::<Domain>() + 10;

/// Pods by domain, for each coordinate.
#[derive(Debug, Default)]
pub(super) struct DomainCounts {
    nodes: usize,
    /// Memory that it may take, in bytes.
    bytes_max: usize,
    domains: Vec<Domains>,
    /// What each node contributes, one row of coordinates per node.
    shares: Vec<Share>,
    /// For how many of the first coordinates totals are kept.
    tallied: usize,
}

impl DomainCounts {
    /// For this many nodes, about which nothing is known yet, in at most this many bytes.
    pub(super) fn new(nodes: usize, bytes_max: usize) -> Self {
        Self { nodes, bytes_max, ..Self::default() }
    }

    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let domains: usize = self.domains.iter().map(|domains| domains.rows.len()).sum();
        self.shares.len() * size_of::<Share>() + domains * DOMAIN_BYTES
    }

    /// Number of coordinates.
    pub(super) fn width(&self) -> usize {
        self.domains.len()
    }

    /// From now on, keeps the totals of the first `tallied` coordinates: those of filters, which read them.
    pub(super) fn tally(&mut self, tallied: usize) {
        self.tallied = tallied.min(self.domains.len());
        self.domains[..self.tallied].iter_mut().for_each(Domains::tally_all);
    }

    /// Records what a node contributes now. Other nodes whose place changes as a result are added to `moved`.
    ///
    /// # Errors
    /// If the numbers are out of range, the number of coordinates has changed, or the counts would use too much memory. They are then no
    /// longer usable.
    pub(super) fn set(
        &mut self,
        node: NodeIndex,
        coordinates: &[Coordinate<'_>],
        moved: &mut Vec<NodeIndex>,
    ) -> Result<(), Why> {
        if self.domains.is_empty() {
            let bytes = self.nodes.saturating_mul(coordinates.len()).saturating_mul(size_of::<Share>());
            if bytes > self.bytes_max {
                return Err(Why::TooLarge);
            }
            self.domains.resize_with(coordinates.len(), Domains::default);
            self.shares.resize(self.nodes * coordinates.len(), NO_SHARE);
        }
        let width = coordinates.len();
        if width != self.domains.len() {
            return Err(Why::Failed);
        }
        for (at, coordinate) in coordinates.iter().enumerate() {
            let (domains, tallied) = (&mut self.domains[at], at < self.tallied);
            let share = &mut self.shares[node.get() * width + at];
            let pods = |pods: i64| {
                let few = i32::try_from(pods).ok().filter(|pods| (-PODS_MAX..=PODS_MAX).contains(pods));
                few.ok_or(Why::Failed)
            };
            let new = match *coordinate {
                Coordinate::Own(number) => Share { pods: pods(number)?, whose: OWN },
                Coordinate::Domain { name, mark, pods: brought, counts } => {
                    let old = share.domain();
                    let stays = old < OWN && domains.rows[old as usize].name == *name;
                    let domain = if stays { old } else { domains.number(name)? };
                    let flags = if mark { MARK } else { 0 } | if counts { COUNTS } else { 0 };
                    Share { pods: pods(brought)?, whose: domain | flags }
                }
            };
            if *share != new {
                domains.change(node, *share, new, tallied, moved);
                *share = new;
            }
        }
        if self.bytes() > self.bytes_max { Err(Why::TooLarge) } else { Ok(()) }
    }

    /// A number that identifies the node's place at a coordinate: see [`DomainCounts::place`].
    pub(super) fn trait_of(&self, node: NodeIndex, coordinate: usize) -> i64 {
        let share = self.shares[node.get() * self.width() + coordinate];
        if share.domain() >= OWN {
            return i64::from(share.pods) << 2;
        }
        let domain = &self.domains[coordinate].rows[share.domain() as usize];
        let (kind, number) =
            if domain.nodes == 1 { (2, domain.pods) } else { (1, i64::from(share.domain())) };
        (number << 3) | (i64::from(share.has(MARK)) << 2) | kind
    }

    /// The place that a trait stands for.
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

/// Numbers up to this leave room for the other parts of a trait, even when they are summed over all nodes.
const PODS_MAX: i32 = 1 << 26;

impl Domains {
    fn number(&mut self, name: &Atom) -> Result<u32, Why> {
        let hash = hash_of(name);
        if let Some(known) = self.numbers.find(hash, |number| self.rows[*number as usize].name == *name) {
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
        let rows = &self.rows;
        self.numbers.insert_unique(hash, number, |number| hash_of(&rows[*number as usize].name));
        Ok(number)
    }

    /// A node's contribution has changed.
    fn change(&mut self, node: NodeIndex, old: Share, new: Share, tallied: bool, moved: &mut Vec<NodeIndex>) {
        let (from, to) = (old.domain(), new.domain());
        let counts = |share: Share| u32::from(share.has(COUNTS));
        let (less, more) = (i64::from(old.pods), i64::from(new.pods));
        if from == to && to < OWN {
            let change = |domain: &mut Domain| {
                domain.pods += more - less;
                domain.counting = domain.counting + counts(new) - counts(old);
            };
            self.update(to, tallied, change);
            return;
        }
        // The new domain first: the one that the node leaves may be gone afterwards.
        if to < OWN {
            let before = &self.rows[to as usize];
            if before.nodes == 1 {
                moved.push(NodeIndex(before.together));
            }
            self.update(to, tallied, |domain| {
                domain.pods += more;
                domain.counting += counts(new);
                domain.nodes += 1;
                domain.together ^= node.0;
            });
        }
        if from < OWN {
            self.update(from, tallied, |domain| {
                domain.pods -= less;
                domain.counting -= counts(old);
                domain.nodes -= 1;
                domain.together ^= node.0;
            });
            let after = &mut self.rows[from as usize];
            match after.nodes {
                0 => {
                    let name = std::mem::take(&mut after.name);
                    if let Ok(entry) = self.numbers.find_entry(hash_of(&name), |number| *number == from) {
                        entry.remove();
                    }
                    self.vacant.push(from);
                }
                1 => moved.push(NodeIndex(after.together)),
                _ => {}
            }
        }
    }

    /// Recomputes the totals.
    fn tally_all(&mut self) {
        self.tally.clear();
        self.count = 0;
        for row in self.rows.iter().filter(|row| row.counting > 0) {
            self.count += 1;
            *self.tally.entry(row.pods).or_insert(0) += 1;
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

    fn zone(name: &str, pods: i64) -> Coordinate<'static> {
        Coordinate::Domain { name: leaked(name), mark: false, pods, counts: true }
    }

    fn leaked(name: &str) -> &'static Atom {
        Box::leak(Box::new(Atom::new(name)))
    }

    /// Counts at one coordinate, together with the nodes that each step moves.
    struct Counts(DomainCounts);

    impl Counts {
        /// For nodes that are not placed yet.
        fn of(nodes: usize) -> Self {
            let mut counts = Self(DomainCounts::new(nodes, usize::MAX));
            counts.set(0, Coordinate::Own(0));
            counts.0.tally(1);
            counts
        }

        fn set(&mut self, node: u32, coordinate: Coordinate<'_>) -> Vec<u32> {
            let mut moved = Vec::new();
            self.0.set(NodeIndex(node), &[coordinate], &mut moved).expect("few domains");
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
        // A domain without nodes is forgotten.
        assert_eq!(counts.set(1, zone("b", 4)), [2]);
        assert_eq!((counts.totals(), counts.0.domains[0].numbers.len()), ((1, Some(5), Some(5)), 1));
        counts.set(1, zone("d", 0));
        assert_eq!(counts.0.domains[0].rows.len(), 2);
    }

    #[test]
    fn what_would_take_too_much_memory_is_refused() {
        let own = |coordinates: usize| vec![Coordinate::Own(0); coordinates];
        let mut moved = Vec::new();
        // Before there is room for any of it.
        let mut wide = DomainCounts::new(1000, 1000 * 64 * size_of::<Share>());
        assert_eq!(wide.set(NodeIndex(0), &own(65), &mut moved), Err(Why::TooLarge));
        assert_eq!((wide.bytes(), wide.width()), (0, 0));
        assert_eq!(wide.set(NodeIndex(0), &own(64), &mut moved), Ok(()));
        // Domains of which each node has its own.
        let mut many = DomainCounts::new(10, 10 * size_of::<Share>() + 3 * DOMAIN_BYTES);
        let set = (0..4).map(|at| many.set(NodeIndex(at), &[zone(&format!("{at}"), 1)], &mut moved));
        assert_eq!(set.collect::<Vec<_>>(), [Ok(()), Ok(()), Ok(()), Err(Why::TooLarge)]);
    }

    #[test]
    fn domains_that_no_node_makes_count_are_in_no_total() {
        let mut counts = Counts::of(2);
        let outside = |pods| Coordinate::Domain { name: leaked("a"), mark: true, pods, counts: false };
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
