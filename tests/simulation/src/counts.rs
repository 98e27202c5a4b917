//! What happened, in numbers.

use std::collections::BTreeMap;

/// In the order in which they are printed.
pub(crate) const KINDS: [&str; 27] = [
    "events from outside",
    "turns",
    "inputs to the core",
    "pods created",
    "pods bound by secondmate",
    "pods bound by others",
    "pods evicted by secondmate",
    "pods evicted by others",
    "pods that a kubelet rejected",
    "preemptions put off",
    "evictions repeated too soon",
    "binds that failed or were lost",
    "binds refused with a conflict",
    "binds refused by the guard",
    "binds approved by the guard",
    "binds that the guard let pass",
    "binds past the guard",
    "crashes",
    "leaderships lost",
    "waits for the last room",
    "watches listed anew",
    "watches silent",
    "guard outages",
    "nodes removed",
    "calms",
    "checks of the invariants",
    "checks of everything",
];

/// Counts by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, kind: &'static str, count: u64) {
        debug_assert!(KINDS.contains(&kind), "{kind} is no kind");
        *self.0.entry(kind).or_default() += count;
    }

    /// How often something happened; 0 if never.
    #[must_use]
    pub fn get(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// Adds the counts of another world.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            self.add(kind, *count);
        }
    }

    /// Kinds and counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.iter().map(|kind| (*kind, self.get(kind)))
    }
}
