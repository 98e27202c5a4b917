//! Features that a pod needs its node to declare (NodeDeclaredFeatures).
//!
//! The list is that of Kubernetes 1.36 (`component-helpers/nodedeclaredfeatures`): of its entries only this one follows from
//! a pod's spec at scheduling time by default; the others concern updates of running pods or gates that are off.

use crate::{Atom, wire};

/// Declared by kubelets that can restart all containers of a pod when one of them exits.
const RESTART_ALL_CONTAINERS: &str = "RestartAllContainersOnContainerExits";

/// The features that the pod needs, sorted.
#[must_use]
pub fn required(spec: &wire::PodSpec) -> Box<[Atom]> {
    let restarts_all = spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .flat_map(|c| &c.restart_policy_rules)
        .any(|rule| &*rule.action == "RestartAllContainers");
    if restarts_all { Box::new([Atom::new(RESTART_ALL_CONTAINERS)]) } else { Box::default() }
}
