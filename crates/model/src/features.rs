//! Features that a pod needs its node to declare (NodeDeclaredFeatures).
//!
//! The list is that of Kubernetes 1.37 (`component-helpers/nodedeclaredfeatures`): of its entries these three follow from a pod's
//! spec at scheduling time, whatever the feature gates are; the others concern updates of running pods.

use crate::{Atom, wire};

/// Declared by kubelets that can restart all containers of a pod when one of them exits.
const RESTART_ALL_CONTAINERS: &str = "RestartAllContainersOnContainerExits";

/// Declared by kubelets whose runtime supports pods that are in a user namespace and on the host's network at the same time.
const USER_NAMESPACES_HOST_NETWORK: &str = "UserNamespacesHostNetworkSupport";

/// Declared by kubelets whose runtime takes options for bind mounts.
const VOLUME_BIND_MOUNT_OPTIONS: &str = "VolumeBindMountOptions";

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
    let of_containers = spec.containers.iter().chain(&spec.init_containers).map(|c| &c.volume_mounts);
    let mut mounts = of_containers.chain(spec.ephemeral_containers.iter().map(|c| &c.volume_mounts));
    let bind_mount_options = mounts.any(|mounts| mounts.have_bind_options);
    [
        (restarts_all, RESTART_ALL_CONTAINERS),
        (user_namespace_on_host_network, USER_NAMESPACES_HOST_NETWORK),
        (bind_mount_options, VOLUME_BIND_MOUNT_OPTIONS),
    ]
    .into_iter()
    .filter(|(needed, _)| *needed)
    .map(|(_, feature)| Atom::new(feature))
    .collect()
}
