//! Finds items that are usable only on some nodes, by a label of the node.
//!
//! With local storage, there are as many volumes and capacities as nodes, each for one of them. Checking every one for every node would
//! take time quadratic in the size of the cluster.

use rustc_hash::FxHashMap;
use secondmate_model::{Atom, LabelSelector, Labels, NodeSelector, Requirement};

/// Up to this many are simply checked one after another.
const LOOK_AT_ALL: usize = 32;

/// Positions in a list, by the label values required of a node. What is found still has to be checked completely.
#[derive(Debug, Default)]
pub(super) struct ByLabel {
    /// Positions for which no single label decides.
    open: Vec<u32>,
    /// Label keys, each with positions by value.
    keys: Vec<(Atom, FxHashMap<Atom, Vec<u32>>)>,
}

impl ByLabel {
    /// An index over a list; the iterator returns, for each element, the values that a label must have.
    pub(super) fn new<'a>(needs: impl ExactSizeIterator<Item = Option<(&'a Atom, &'a [Atom])>>) -> Self {
        let few = needs.len() <= LOOK_AT_ALL;
        let mut index = Self::default();
        for (at, need) in (0_u32..).zip(needs) {
            match need {
                Some((key, values)) if !few => {
                    let known = index.keys.iter().position(|(k, _)| k == key);
                    let slot = known.unwrap_or_else(|| {
                        index.keys.push((key.clone(), FxHashMap::default()));
                        index.keys.len() - 1
                    });
                    for value in values {
                        let positions = index.keys[slot].1.entry(value.clone()).or_default();
                        // A value that is listed twice is one value.
                        if positions.last() != Some(&at) {
                            positions.push(at);
                        }
                    }
                }
                _ => index.open.push(at),
            }
        }
        index
    }

    /// The first position that passes the check, among those that are possible for a node with these labels.
    pub(super) fn first(&self, labels: &Labels, passes: impl Fn(usize) -> bool) -> Option<usize> {
        let by_key =
            self.keys.iter().filter_map(|(key, by_value)| by_value.get(labels.get(key)?)).map(Vec::as_slice);
        std::iter::once(self.open.as_slice())
            .chain(by_key)
            .filter_map(|positions| positions.iter().map(|at| *at as usize).find(|at| passes(*at)))
            .min()
    }
}

/// The most selective label among requirements that must all hold.
fn narrowest(requirements: &[Requirement]) -> Option<(&Atom, &[Atom])> {
    let values = requirements.iter().filter_map(|requirement| match requirement {
        Requirement::In(key, values) => Some((key, &**values)),
        _ => None,
    });
    values.min_by_key(|(_, values)| values.len())
}

/// The values that a node affinity requires of a label, if it has only one term.
pub(super) fn of_affinity(affinity: Option<&NodeSelector>) -> Option<(&Atom, &[Atom])> {
    match &*affinity?.terms {
        [term] => narrowest(&term.labels),
        _ => None,
    }
}

/// The values that a selector requires of a label.
pub(super) fn of_selector(selector: &LabelSelector) -> Option<(&Atom, &[Atom])> {
    narrowest(selector.requirements())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_passes_is_found_among_many_as_among_few() {
        let (host, zone) = (Atom::new("host"), Atom::new("zone"));
        let name = |n: usize| Atom::new(&format!("n{n}"));
        // A third need one host, a third one of two zones, a third nothing.
        let needs: Vec<Option<(Atom, Vec<Atom>)>> = (0..90)
            .map(|at| match at % 3 {
                0 => Some((host.clone(), vec![name(at)])),
                1 => Some((zone.clone(), vec![name(at % 4), name(at % 5), name(at % 4)])),
                _ => None,
            })
            .collect();
        let index = |len: usize| {
            ByLabel::new(needs[..len].iter().map(|need| need.as_ref().map(|(key, values)| (key, &**values))))
        };
        let (many, few) = (index(90), index(LOOK_AT_ALL));
        assert_eq!((many.open.len(), many.keys.len(), few.open.len()), (30, 2, LOOK_AT_ALL));
        for (on_host, in_zone) in [(0, 0), (3, 1), (60, 2), (7, 9)] {
            let labels: Labels =
                [("host", format!("n{on_host}")), ("zone", format!("n{in_zone}"))].into_iter().collect();
            let meets = |at: usize| {
                needs[at]
                    .as_ref()
                    .is_none_or(|(key, values)| labels.get(key).is_some_and(|value| values.contains(value)))
            };
            for from in 0..90 {
                let passes = |at: usize| at >= from && meets(at);
                assert_eq!(many.first(&labels, passes), (0..90).find(|at| passes(*at)), "from {from}");
                assert_eq!(
                    few.first(&labels, passes),
                    (0..LOOK_AT_ALL).find(|at| passes(*at)),
                    "from {from}"
                );
            }
        }
        assert_eq!(many.first(&Labels::default(), |at| at % 3 == 2), Some(2));
    }
}
