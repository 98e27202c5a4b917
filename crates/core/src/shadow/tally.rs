//! Statistics of all comparisons so far, and the latest disagreements.

use super::verdict::{Agreement, Comparison};
use std::collections::{BTreeMap, VecDeque};

/// Maximum number of disagreements that are kept; older ones only count in the statistics.
const KEPT_MAX: usize = 1000;

/// Statistics of all comparisons so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<Agreement, u64>,
    by_plugin: BTreeMap<String, u64>,
    difference_max: i64,
    difference_sum: i64,
    disagreements: VecDeque<Comparison>,
}

impl Tally {
    /// Adds a comparison.
    pub fn add(&mut self, comparison: Comparison) {
        *self.counts.entry(comparison.agreement).or_default() += 1;
        if comparison.agreement == Agreement::Worse {
            self.difference_max = self.difference_max.max(comparison.difference);
            self.difference_sum = self.difference_sum.saturating_add(comparison.difference);
            if let Some(plugin) = comparison.main_plugin() {
                *self.by_plugin.entry(plugin.to_string()).or_default() += 1;
            }
        }
        if comparison.agreement.is_compared() && !comparison.agreement.agrees() {
            if self.disagreements.len() >= KEPT_MAX {
                self.disagreements.pop_front();
            }
            self.disagreements.push_back(comparison);
        }
    }

    /// How often this was the result.
    #[must_use]
    pub fn count(&self, agreement: Agreement) -> u64 {
        self.counts.get(&agreement).copied().unwrap_or(0)
    }

    /// Number of decisions that were compared.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.sum(Agreement::is_compared)
    }

    /// Number of those in which both schedulers would have done equally well.
    #[must_use]
    pub fn agreed(&self) -> u64 {
        self.sum(Agreement::agrees)
    }

    fn sum(&self, of: fn(Agreement) -> bool) -> u64 {
        self.counts.iter().filter(|(agreement, _)| of(**agreement)).map(|(_, count)| count).sum()
    }

    /// For worse nodes: the maximum difference, and the average difference.
    #[must_use]
    pub fn differences(&self) -> (i64, f64) {
        let worse = self.count(Agreement::Worse).max(1);
        (self.difference_max, self.difference_sum as f64 / worse as f64)
    }

    /// For worse nodes: how often each plugin was the one that preferred our node most; the most frequent first.
    #[must_use]
    pub fn by_plugin(&self) -> Vec<(&str, u64)> {
        let mut list: Vec<(&str, u64)> =
            self.by_plugin.iter().map(|(plugin, count)| (plugin.as_str(), *count)).collect();
        list.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        list
    }

    /// The latest thousand disagreements, oldest first.
    pub fn disagreements(&self) -> impl ExactSizeIterator<Item = &Comparison> {
        self.disagreements.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::PluginDifference;
    use super::*;
    use secondmate_model::Atom;

    fn comparison(agreement: Agreement, plugins: &[(&str, i64)]) -> Comparison {
        let plugin = |(name, difference): &(&str, i64)| PluginDifference {
            plugin: Atom::new(name),
            theirs: 0,
            ours: *difference,
        };
        let plugins: Vec<PluginDifference> = plugins.iter().map(plugin).collect();
        Comparison {
            pod: "default/a".to_owned(),
            agreement,
            theirs: None,
            ours: None,
            best: 1,
            difference: plugins.iter().map(PluginDifference::difference).sum(),
            plugins,
            reason: String::new(),
        }
    }

    #[test]
    fn numbers_and_the_latest_disagreements() {
        let mut tally = Tally::default();
        tally.add(comparison(Agreement::Same, &[]));
        tally.add(comparison(Agreement::NotCompared, &[]));
        tally.add(comparison(Agreement::Worse, &[("B", 7), ("A", -2)]));
        for _ in 0..2 {
            tally.add(comparison(Agreement::Worse, &[("A", 1)]));
        }
        assert_eq!((tally.compared(), tally.agreed(), tally.count(Agreement::Worse)), (4, 1, 3));
        assert_eq!(tally.by_plugin(), [("A", 2), ("B", 1)]);
        assert_eq!(tally.differences(), (5, 7.0 / 3.0));
        assert_eq!(tally.disagreements().len(), 3);
        for _ in 0..2 * KEPT_MAX {
            tally.add(comparison(Agreement::Unfit, &[]));
        }
        assert_eq!(tally.disagreements().len(), KEPT_MAX);
        assert_eq!(tally.compared(), 4 + 2 * KEPT_MAX as u64);
    }
}
