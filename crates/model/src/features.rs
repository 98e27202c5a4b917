//! Features that a pod needs its node to declare (NodeDeclaredFeatures).
//!
//! The list is that of Kubernetes 1.36 (`component-helpers/nodedeclaredfeatures`). Of its entries, these two follow from a pod's
//! spec at scheduling time, regardless of feature gates; the others concern updates of running pods.

use crate::{Atom, wire};

/// Declared by kubelets that can restart all containers of a pod when one of them exits.
const RESTART_ALL_CONTAINERS: &str = "RestartAllContainersOnContainerExits";

/// Declared by kubelets whose runtime supports pods that are in a user namespace and on the host's network at the same time.
const USER_NAMESPACES_HOST_NETWORK: &str = "UserNamespacesHostNetworkSupport";

/// The features that the pod needs, sorted.
#[must_use]
pub fn required(spec: &wire::PodSpec) -> Box<[Atom]> {
    let restarts_all = spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .flat_map(|c| &c.restart_policy_rules)
        .any(|rule| &*rule.action == "RestartAllContainers");
    let user_namespace_on_host_network = spec.host_network && spec.host_users == Some(false);
    [(restarts_all, RESTART_ALL_CONTAINERS), (user_namespace_on_host_network, USER_NAMESPACES_HOST_NETWORK)]
        .into_iter()
        .filter(|(needed, _)| *needed)
        .map(|(_, feature)| Atom::new(feature))
        .collect()
}
