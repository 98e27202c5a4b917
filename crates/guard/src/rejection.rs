//! What a kubelet reports when it rejects a pod that was bound to it (`status.reason` and `status.message` of the pod).
//!
//! Source: `admissionRejectionReasons` and `rejectPod` in `pkg/kubelet/kubelet.go` of `k8s.io/kubernetes` 1.37, and the errors of
//! its resource managers in `pkg/kubelet/cm`.

/// Prefix of the reason if the node has too little of a resource; followed by the resource's name.
const OUT_OF: &str = "OutOf";

/// The reason if a pod on the node has the same host port.
const NODE_PORTS: &str = "NodePorts";

/// The beginning of each rejection message.
const REJECTED: &str = "Pod was rejected: ";

/// All other known reasons. Four of them are the names of checks that scheduler and kubelet share.
const OTHERS: [&str; 21] = [
    NODE_PORTS,
    "NodeAffinity",
    "NodeName",
    "TaintToleration",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "PodOSNotSupported",
    "SupplementalGroupsPolicyNotSupported",
    "PodFeatureUnsupported",
    "PodLevelResourcesNotSupported",
    "InitContainerRestartPolicyForbidden",
    "AppArmor",
    "SysctlForbidden",
    "TopologyAffinityError",
    "SMTAlignmentError",
    "EmptyPodSharedPoolError",
    "VolumeAttachmentLimitExceeded",
    "NodeShutdown",
    "InvalidNodeInfo",
    "UnexpectedAdmissionError",
    "UnexpectedPredicateFailureType",
    "UnknownReason",
];

/// The reason of a pod that a kubelet did not accept because it was short of something, or stopped when it became so.
const EVICTED: &str = "Evicted";

/// The reason for which a kubelet rejected a pod, as the value of a metric label: extended resources share one value, and so do
/// unknown reasons, so that the label has few values whatever nodes offer and kubelets report. `None` for pods that failed in
/// another way.
#[must_use]
pub fn rejection(reason: &str, message: &str) -> Option<&'static str> {
    let is_rejected = message.starts_with(REJECTED);
    match reason.strip_prefix(OUT_OF) {
        Some("cpu") => Some("OutOfcpu"),
        Some("memory") => Some("OutOfmemory"),
        Some("ephemeral-storage") => Some("OutOfephemeral-storage"),
        Some("pods") => Some("OutOfpods"),
        Some(_) => Some("OutOfextended-resource"),
        None if reason == EVICTED => is_rejected.then_some(EVICTED),
        None => {
            let known = OTHERS.into_iter().find(|known| *known == reason);
            known.or(is_rejected.then_some("other"))
        }
    }
}

/// Whether this [cause](rejection) of a rejection means that others have taken the room.
#[must_use]
pub fn is_for_want_of_room(cause: &str) -> bool {
    cause.starts_with(OUT_OF) || cause == NODE_PORTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_resources_and_ports() {
        let of =
            |reason: &str| is_for_want_of_room(rejection(reason, "Pod was rejected: x").unwrap_or_default());
        for reason in ["OutOfcpu", "OutOfexample.com/gpu", "OutOfpods", "NodePorts"] {
            assert!(of(reason), "{reason}");
        }
        for reason in ["NodeAffinity", "TopologyAffinityError", "Evicted", "OfATimeToCome", ""] {
            assert!(!of(reason), "{reason}");
        }
    }

    #[test]
    fn only_what_a_kubelet_says_at_admission_counts() {
        for (reason, message, expected) in [
            ("OutOfcpu", "", Some("OutOfcpu")),
            ("OutOfexample.com/gpu", "", Some("OutOfextended-resource")),
            ("NodePorts", "", Some("NodePorts")),
            (
                "TopologyAffinityError",
                "Pod was rejected: Resources cannot be allocated",
                Some("TopologyAffinityError"),
            ),
            ("Evicted", "Pod was rejected: The node had condition: [MemoryPressure]. ", Some("Evicted")),
            ("Evicted", "The node was low on resource: memory. ", None),
            ("OfATimeToCome", "Pod was rejected: because", Some("other")),
            ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", None),
            ("Terminated", "Pod was terminated in response to imminent node shutdown.", None),
            ("", "", None),
        ] {
            assert_eq!(rejection(reason, message), expected, "{reason}");
        }
    }
}
