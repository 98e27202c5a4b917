//! Topology spread constraints, compiled.

use crate::labels::{LabelSelector, Labels, Requirement, SelectorError};
use crate::{Atom, wire};

/// What to do if a constraint cannot be satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenUnsatisfiable {
    /// Reject the node.
    DoNotSchedule,
    /// Score the node lower.
    ScheduleAnyway,
    /// Neither: no API server stores such a value, and the constraint has no effect.
    Unknown,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// Largest skew allowed.
    pub max_skew: i32,
    /// Node label that defines the domains.
    pub topology_key: Atom,
    /// Hard or soft.
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Pods to count, with `matchLabelKeys` merged in; or why the selector is invalid.
    pub selector: Result<LabelSelector, SelectorError>,
    /// Minimum number of domains; 1 if absent.
    pub min_domains: i32,
    /// Nodes that the pod's node affinity excludes do not count (the default).
    pub honor_node_affinity: bool,
    /// Nodes with taints that the pod does not tolerate do not count.
    pub honor_node_taints: bool,
}

impl SpreadConstraint {
    /// Compiles a constraint of a pod with these labels.
    #[must_use]
    pub fn new(constraint: &wire::TopologySpreadConstraint, pod_labels: &Labels) -> Self {
        let by_keys = constraint.match_label_keys.iter().filter_map(|key| {
            let key = Atom::new(key);
            let value = pod_labels.get(&key)?.clone();
            Some(Requirement::In(key, Box::new([value])))
        });
        Self {
            max_skew: constraint.max_skew,
            topology_key: Atom::new(&constraint.topology_key),
            when_unsatisfiable: match &*constraint.when_unsatisfiable {
                "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
                "DoNotSchedule" => WhenUnsatisfiable::DoNotSchedule,
                _ => WhenUnsatisfiable::Unknown,
            },
            selector: LabelSelector::optional(constraint.label_selector.as_ref()).map(|s| s.and(by_keys)),
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_node_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_node_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}
