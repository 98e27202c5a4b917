//! Counts of pods per domain of one constraint, and how placements that are tried out change them.

use rustc_hash::FxHashMap;
use secondmate_model::Atom;
use smallvec::SmallVec;

/// Upstream's stand-in for the smallest count if there is no domain.
pub(super) const NO_DOMAIN: i64 = i32::MAX as i64;

/// The counts for the snapshot.
#[derive(Debug, Default)]
pub(super) struct Domains {
    /// Index into `counts` by label value.
    positions: FxHashMap<Atom, u32>,
    counts: Vec<i64>,
    /// The two smallest counts with their positions: enough to know the smallest of the others when one of them changes.
    least: SmallVec<[(u32, i64); 2]>,
}

impl Domains {
    /// Adds to the domain, which exists from then on, even with a count of 0.
    pub(super) fn add(&mut self, value: &Atom, count: i64) {
        if let Some(&at) = self.positions.get(value) {
            self.counts[at as usize] += count;
            return;
        }
        let at = u32::try_from(self.counts.len()).expect("fewer than 2^32 nodes, so fewer domains");
        self.positions.insert(value.clone(), at);
        self.counts.push(count);
    }

    /// To be called when everything has been counted.
    pub(super) fn finish(&mut self) {
        self.least.clear();
        for (at, &count) in (0..).zip(&self.counts) {
            match self.least.as_slice() {
                [] => self.least.push((at, count)),
                [first, ..] if count < first.1 => self.least.insert(0, (at, count)),
                [_] => self.least.push((at, count)),
                [_, second, ..] if count < second.1 => self.least[1] = (at, count),
                _ => {}
            }
            self.least.truncate(2);
        }
    }

    fn position(&self, value: &Atom) -> Option<u32> {
        self.positions.get(value).copied()
    }

    /// The number of domains.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }
}

/// A domain whose count was changed in a cycle's state.
#[derive(Clone, Debug)]
struct Change {
    constraint: usize,
    value: Atom,
    delta: i64,
}

/// Changes of the counts, for all constraints of a pod: trying out a placement concerns one node, so there are few.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(SmallVec<[Change; 2]>);

impl Changes {
    /// Adds `delta` to the count of a domain.
    pub(super) fn add(&mut self, constraint: usize, value: &Atom, delta: i64) {
        match self.0.iter_mut().find(|c| c.constraint == constraint && c.value == *value) {
            Some(change) => change.delta += delta,
            None => self.0.push(Change { constraint, value: value.clone(), delta }),
        }
    }

    fn of(&self, constraint: usize) -> impl Iterator<Item = &Change> {
        self.0.iter().filter(move |c| c.constraint == constraint)
    }

    /// The number of pods in a domain.
    pub(super) fn count(&self, domains: &Domains, constraint: usize, value: &Atom) -> i64 {
        let counted = domains.position(value).map_or(0, |at| domains.counts[at as usize]);
        if self.0.is_empty() {
            return counted;
        }
        counted + self.of(constraint).find(|c| c.value == *value).map_or(0, |c| c.delta)
    }

    /// The smallest count of a domain; 0 if there are fewer domains than `min_domains`.
    pub(super) fn minimum(&self, domains: &Domains, constraint: usize, min_domains: i32) -> i64 {
        let mut new = 0;
        let mut changed: SmallVec<[u32; 2]> = SmallVec::new();
        let mut least = NO_DOMAIN;
        for change in self.of(constraint) {
            match domains.position(&change.value) {
                Some(at) => {
                    changed.push(at);
                    least = least.min(domains.counts[at as usize] + change.delta);
                }
                None => {
                    new += 1;
                    least = least.min(change.delta);
                }
            }
        }
        if i64::try_from(domains.len() + new).unwrap_or(i64::MAX) < i64::from(min_domains) {
            return 0;
        }
        let unchanged = match changed.as_slice() {
            [] => domains.least.first().map(|l| l.1),
            [one] => domains.least.iter().find(|l| l.0 != *one).map(|l| l.1),
            // Does not occur in practice, since the changes concern one node.
            many => (0..).zip(&domains.counts).filter(|(at, _)| !many.contains(at)).map(|(_, c)| *c).min(),
        };
        least.min(unchanged.unwrap_or(NO_DOMAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(counts: &[(&str, i64)]) -> Domains {
        let mut domains = Domains::default();
        for (value, count) in counts {
            domains.add(&Atom::new(value), *count);
        }
        domains.finish();
        domains
    }

    #[test]
    fn the_smallest_count_follows_each_change() {
        let domains = domains(&[("a", 3), ("b", 1), ("c", 2), ("b", 0)]);
        let mut changes = Changes::default();
        assert_eq!(changes.minimum(&domains, 0, 1), 1);
        for (value, delta, expected) in
            [("c", -1, 1), ("c", -1, 0), ("c", 3, 1), ("b", 1, 2), ("b", 2, 3), ("a", -4, -1)]
        {
            changes.add(0, &Atom::new(value), delta);
            // Changes for another constraint do not matter.
            changes.add(1, &Atom::new(value), -100);
            assert_eq!(changes.minimum(&domains, 0, 1), expected, "{value} {delta}");
        }
        assert_eq!(changes.count(&domains, 0, &Atom::new("a")), -1);
        assert_eq!(changes.count(&domains, 0, &Atom::new("nowhere")), 0);
    }

    #[test]
    fn the_smallest_of_the_others_is_known_whichever_domain_changes() {
        let counts = [("a", 3), ("b", 1), ("c", 2), ("d", 5)];
        let domains = domains(&counts);
        for (changed, _) in counts {
            let mut changes = Changes::default();
            changes.add(0, &Atom::new(changed), 100);
            let others = counts.iter().filter(|(value, _)| *value != changed).map(|(_, count)| *count).min();
            assert_eq!(Some(changes.minimum(&domains, 0, 1)), others, "{changed}");
        }
    }

    #[test]
    fn too_few_domains_make_the_smallest_count_zero() {
        let two = domains(&[("a", 3), ("b", 2)]);
        let changes = Changes::default();
        assert_eq!(changes.minimum(&two, 0, 2), 2);
        assert_eq!(changes.minimum(&two, 0, 3), 0);
        assert_eq!(changes.minimum(&domains(&[]), 0, 1), 0);
        assert_eq!(changes.minimum(&domains(&[]), 0, 0), NO_DOMAIN);
    }

    #[test]
    fn a_domain_that_was_not_counted_is_one_when_pods_come_to_it() {
        let two = domains(&[("a", 3), ("b", 2)]);
        let mut changes = Changes::default();
        changes.add(0, &Atom::new("c"), 1);
        assert_eq!([1, 3, 4].map(|wanted| changes.minimum(&two, 0, wanted)), [1, 1, 0]);
        changes.add(0, &Atom::new("d"), 4);
        assert_eq!([1, 3, 4, 5].map(|wanted| changes.minimum(&two, 0, wanted)), [1, 1, 1, 0]);
    }

    #[test]
    fn domains_that_do_not_change_count_beside_several_that_do() {
        let four = domains(&[("a", 1), ("b", 1), ("c", 5), ("d", 9)]);
        let mut changes = Changes::default();
        changes.add(0, &Atom::new("a"), 10);
        changes.add(0, &Atom::new("b"), 9);
        assert_eq!(changes.minimum(&four, 0, 1), 5);
    }

    #[test]
    fn equal_counts_are_two_domains() {
        let equal = domains(&[("a", 1), ("b", 1), ("c", 5)]);
        let mut changes = Changes::default();
        changes.add(0, &Atom::new("a"), 3);
        assert_eq!(changes.minimum(&equal, 0, 1), 1);
        changes.add(0, &Atom::new("b"), 2);
        assert_eq!(changes.minimum(&equal, 0, 1), 3);
    }
}
