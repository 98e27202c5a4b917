//! The shadow's metrics: another scheduler's decisions compared with those that this one would have made.

use super::Named;
use super::family::Labelled;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What a shadow counts.
#[derive(Clone, Debug)]
pub struct ShadowMetrics {
    /// How much higher our score of our node is than our score of theirs, if it is.
    pub difference: Histogram,
    decisions: Labelled<Counter, 1>,
    worse_by: Labelled<Counter, 1>,
}

impl ShadowMetrics {
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let decisions = Labelled::counter(["decision"]);
        registry.register(
            "shadow_decisions",
            "Number of decisions of the shadowed scheduler, compared with ours: same, equally_good, both_unschedulable, worse, unfit, unschedulable_here, unschedulable_there, failed, not_compared",
            decisions.family(),
        );
        let difference = Histogram::new(exponential_buckets(1.0, 2.0, 11));
        registry.register(
            "shadow_score_difference",
            "Difference between our score of our node and our score of the node that the shadowed scheduler chose, where ours is higher",
            difference.clone(),
        );
        let worse_by = Labelled::counter(["plugin"]);
        registry.register(
            "shadow_worse_nodes",
            "Number of nodes chosen by the shadowed scheduler that score lower than ours, by the plugin that prefers ours most",
            worse_by.family(),
        );
        Self { difference, decisions, worse_by }
    }

    /// Decisions with this result of the comparison.
    pub fn decisions(&self, decision: &str) -> Counter {
        self.decisions.get([decision])
    }

    /// Worse nodes, by the plugin that prefers our node the most.
    pub fn worse_by(&self, plugin: &str) -> Counter {
        self.worse_by.get([plugin])
    }
}
