//! Counts of pods per pair of label and value, and how placements that are tried out change them.

use rustc_hash::FxHashMap;
use secondmate_model::{Atom, Labels, Node};
use smallvec::SmallVec;
use std::sync::Arc;

/// Numbers by label value, for a few labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(Vec<(Atom, FxHashMap<Atom, i64>)>);

impl Pairs {
    /// Adds to the pair of this label and the node's value; a node without the label has no pair.
    pub(super) fn add(&mut self, key: &Atom, node: &Node, number: i64) {
        let Some(value) = node.labels.get(key) else { return };
        let at = self.0.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.0.push((key.clone(), FxHashMap::default()));
            self.0.len() - 1
        });
        let values = &mut self.0[at].1;
        match values.get_mut(value) {
            Some(total) => *total += number,
            None => {
                values.insert(value.clone(), number);
            }
        }
    }

    /// Whether nothing was ever added to any pair.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum over the pairs that these labels form.
    pub(super) fn sum(&self, labels: &Labels) -> i64 {
        let of = |(key, values): &(Atom, FxHashMap<Atom, i64>)| values.get(labels.get(key)?).copied();
        self.0.iter().filter_map(of).sum()
    }

    fn get(&self, key: &Atom, value: &Atom) -> i64 {
        let values = self.0.iter().find(|(known, _)| known == key);
        values.and_then(|(_, values)| values.get(value)).copied().unwrap_or(0)
    }
}

/// Counts for the snapshot, shared by the clones of a cycle's state, and the few changes that are specific to each state.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    counted: Arc<Pairs>,
    changes: SmallVec<[(Atom, Atom, i64); 2]>,
    /// Number of pairs with a count that is not 0.
    live: usize,
}

impl Counts {
    pub(super) fn new(counted: Pairs) -> Self {
        let live =
            counted.0.iter().flat_map(|(_, values)| values.values()).filter(|count| **count != 0).count();
        Self { counted: Arc::new(counted), changes: SmallVec::new(), live }
    }

    /// Whether no pod is counted anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The number of pods counted for the pair.
    pub(super) fn get(&self, key: &Atom, value: &Atom) -> i64 {
        let counted = self.counted.get(key, value);
        let changed = self.changes.iter().find(|(k, v, _)| k == key && v == value);
        changed.map_or(counted, |(_, _, delta)| counted + delta)
    }

    /// Adds `delta` to the count for the pair of this label and the node's value.
    pub(super) fn change(&mut self, key: &Atom, node: &Node, delta: i64) {
        let Some(value) = node.labels.get(key) else { return };
        let before = self.get(key, value);
        match self.changes.iter_mut().find(|(k, v, _)| k == key && v == value) {
            Some((_, _, known)) => *known += delta,
            None => self.changes.push((key.clone(), value.clone(), delta)),
        }
        match (before, before + delta) {
            (0, after) if after != 0 => self.live += 1,
            (before, 0) if before != 0 => self.live -= 1,
            _ => {}
        }
    }

    /// Whether one of the labels forms a pair with a count.
    pub(super) fn any(&self, labels: &Labels) -> bool {
        let counted = |key: &Atom| labels.get(key).is_some_and(|value| self.get(key, value) > 0);
        !self.is_empty()
            && (self.counted.0.iter().any(|(key, _)| counted(key))
                || self.changes.iter().any(|(key, _, _)| counted(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::json;

    fn node(zone: &str) -> Arc<Node> {
        let info = fixture::node(json!({"metadata": {"name": "n", "labels": {"zone": zone, "host": "n"}}}));
        Arc::clone(info.node())
    }

    #[test]
    fn counts_come_and_go_and_a_clone_keeps_its_own() {
        let (zone, rack) = (Atom::new("zone"), Atom::new("rack"));
        let mut pairs = Pairs::default();
        pairs.add(&zone, &node("1"), 1);
        pairs.add(&rack, &node("1"), 1);
        let mut counts = Counts::new(pairs);
        let before = counts.clone();
        assert_eq!(counts.get(&zone, &Atom::new("1")), 1);
        assert_eq!(counts.get(&zone, &Atom::new("2")), 0);
        counts.change(&zone, &node("2"), 1);
        counts.change(&rack, &node("2"), 1);
        assert!(counts.any(&node("2").labels));
        counts.change(&zone, &node("2"), -1);
        assert!(!counts.any(&node("2").labels));
        assert!(!counts.is_empty());
        counts.change(&zone, &node("1"), -1);
        assert!(counts.is_empty(), "no pod is left");
        assert!(before.any(&node("1").labels));
    }

    #[test]
    fn a_label_that_only_a_change_has_counts() {
        let mut counts = Counts::default();
        assert!(!counts.any(&node("1").labels));
        counts.change(&Atom::new("host"), &node("1"), 1);
        assert!(counts.any(&node("2").labels));
    }
}
