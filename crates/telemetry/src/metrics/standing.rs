//! The metrics of the standing evaluation.

use super::Named;
use super::family::Labelled;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// What the standing evaluation holds and does.
#[derive(Clone, Debug)]
pub struct StandingMetrics {
    /// Classes of pods that are held.
    pub classes: Gauge,
    /// Memory used by them, in bytes.
    pub bytes: Gauge,
    /// Pods that were answered from a class.
    pub hits: Counter,
    /// How many of these pods are of a kind not seen before.
    pub first_sights: Counter,
    /// Nodes for which plugins were called for them.
    pub nodes_evaluated: Counter,
    /// Groups of nodes that got verdicts and scores for them.
    pub groups_visited: Counter,
    /// Classes that were created.
    pub made: Counter,
    /// Classes for which every node was evaluated again.
    pub rebuilt: Counter,
    /// Classes that were dropped for lack of memory.
    pub dropped: Counter,
    /// Nodes on which preemption was tried out for a pod of a class.
    pub trials_made: Counter,
    /// Nodes for which the result was known from an earlier pod of the class.
    pub trials_known: Counter,
    asked: Labelled<Counter, 1>,
    plain: Labelled<Counter, 2>,
}

impl StandingMetrics {
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let classes = Gauge::default();
        registry.register(
            "standing_classes",
            "Number of classes of pods that the standing evaluation holds",
            classes.clone(),
        );
        let bytes = Gauge::default();
        registry.register(
            "standing_bytes",
            "Memory used by the standing evaluation, in bytes",
            bytes.clone(),
        );
        let hits = Counter::default();
        registry.register(
            "standing_hits",
            "Number of pods whose node was found by the standing evaluation",
            hits.clone(),
        );
        let first_sights = Counter::default();
        registry.register(
            "standing_first_sights",
            "Number of pods of a kind not seen before whose node was found by the standing evaluation, by evaluating every node in columns",
            first_sights.clone(),
        );
        let nodes_evaluated = Counter::default();
        registry.register(
            "standing_nodes_evaluated",
            "Number of nodes that the standing evaluation asked plugins about",
            nodes_evaluated.clone(),
        );
        let groups_visited = Counter::default();
        registry.register(
            "standing_groups_visited",
            "Number of node groups to which the standing evaluation gave verdicts and scores",
            groups_visited.clone(),
        );
        let changes = Labelled::counter(["change"]);
        registry.register(
            "standing_class_changes",
            "Number of classes of pods that were made, rebuilt (every node evaluated again), or dropped for lack of memory, by change",
            changes.family(),
        );
        let trials = Labelled::counter(["result"]);
        registry.register(
            "standing_trials",
            "Number of nodes on which preemption was tried for a class of pods (made), or for which the victims were already known from an earlier pod of the class (known)",
            trials.family(),
        );
        let asked = Labelled::counter(["plugin"]);
        registry.register(
            "standing_asked",
            "Number of pods whose node was found by the standing evaluation and for which this plugin was asked about each feasible node, because it does not declare what its score depends on",
            asked.family(),
        );
        let plain = Labelled::counter(["reason", "plugin"]);
        registry.register(
            "standing_plain",
            "Number of pods that the standing evaluation left to the plain pass, by reason and by the plugin that caused it, if any",
            plain.family(),
        );
        Self {
            classes,
            bytes,
            hits,
            first_sights,
            nodes_evaluated,
            groups_visited,
            made: changes.get(["made"]),
            rebuilt: changes.get(["rebuilt"]),
            dropped: changes.get(["dropped"]),
            trials_made: trials.get(["made"]),
            trials_known: trials.get(["known"]),
            asked,
            plain,
        }
    }

    /// Pods for which this plugin was called for each feasible node.
    pub fn asked(&self, plugin: &str) -> Counter {
        self.asked.get([plugin])
    }

    /// Pods that took the plain pass for this reason, because of this plugin (empty if it was not because of a plugin).
    pub fn plain(&self, reason: &str, plugin: &str) -> Counter {
        self.plain.get([reason, plugin])
    }
}
