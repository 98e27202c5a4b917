//! What a kubelet says when it rejects a pod that was bound to it (`status.reason` of the pod).
//!
//! Source: `pkg/kubelet/lifecycle/predicate.go` and `handlers.go` in `k8s.io/kubernetes` 1.37.

/// Where the node has too little of a resource; the resource's name follows.
const OUT_OF: &str = "OutOf";

/// Every other reason. Four of them are the names of the checks that scheduler and kubelet have in common.
const OTHERS: [&str; 10] = [
    "NodePorts",
    "NodeAffinity",
    "NodeName",
    "TaintToleration",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "PodOSNotSupported",
    "SupplementalGroupsPolicyNotSupported",
    "PodFeatureUnsupported",
    "UnexpectedAdmissionError",
    "UnexpectedPredicateFailureType",
];

/// The reason with which a kubelet rejected a pod, as the label of a metric: extended resources are one, so that the label has few
/// values whatever the nodes offer. `None` for pods that failed otherwise.
#[must_use]
pub fn rejection(reason: &str) -> Option<&'static str> {
    match reason.strip_prefix(OUT_OF) {
        Some("cpu") => Some("OutOfcpu"),
        Some("memory") => Some("OutOfmemory"),
        Some("ephemeral-storage") => Some("OutOfephemeral-storage"),
        Some("pods") => Some("OutOfpods"),
        Some(_) => Some("OutOfextended-resource"),
        None => OTHERS.into_iter().find(|known| *known == reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kubelet_says_at_admission_counts() {
        for (reason, expected) in [
            ("OutOfcpu", Some("OutOfcpu")),
            ("OutOfexample.com/gpu", Some("OutOfextended-resource")),
            ("NodePorts", Some("NodePorts")),
            ("Evicted", None),
            ("DeadlineExceeded", None),
            ("", None),
        ] {
            assert_eq!(rejection(reason), expected, "{reason}");
        }
    }
}
