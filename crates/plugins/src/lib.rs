//! The in-tree plugins, one module each, under their upstream names, and those for [tenants], which upstream does not have.
//!
//! A plugin holds its arguments and no other state (except VolumeBinding, which remembers what it has assumed); what it computes for a pod
//! is kept in the cycle's state. A plugin does what `k8s.io/kubernetes` 1.37 does in `pkg/scheduler/framework/plugins`, reasons and
//! rounding included; this is verified against the real framework.

mod allocation;
mod arguments;
pub mod default_binder;
pub mod default_preemption;
mod device_classes;
pub mod dynamic_resources;
mod facts;
#[cfg(test)]
mod fixture;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_declared_features;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod node_volume_limits;
mod pod_claims;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod scheduling_gates;
mod shape;
pub mod taint_toleration;
pub mod tenants;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

#[cfg(test)]
mod event_tests;

use secondmate_framework::{PluginError, Registry};

/// A registry of all in-tree plugins, and of those that a configuration with tenants adds to a profile.
///
/// # Errors
/// None in practice: it would be a mistake in this function to register a name twice.
pub fn registry() -> Result<Registry, PluginError> {
    let mut registry = Registry::new();
    registry.register(default_binder::NAME, default_binder::new)?;
    registry.register(default_preemption::NAME, default_preemption::new)?;
    registry.register(dynamic_resources::NAME, dynamic_resources::new)?;
    registry.register(image_locality::NAME, image_locality::new)?;
    registry.register(inter_pod_affinity::NAME, inter_pod_affinity::new)?;
    registry.register(node_affinity::NAME, node_affinity::new)?;
    registry.register(node_declared_features::NAME, node_declared_features::new)?;
    registry.register(node_name::NAME, node_name::new)?;
    registry.register(node_ports::NAME, node_ports::new)?;
    registry.register(node_resources_balanced_allocation::NAME, node_resources_balanced_allocation::new)?;
    registry.register(node_resources_fit::NAME, node_resources_fit::new)?;
    registry.register(node_unschedulable::NAME, node_unschedulable::new)?;
    registry.register(pod_topology_spread::NAME, pod_topology_spread::new)?;
    registry.register(priority_sort::NAME, priority_sort::new)?;
    registry.register(scheduling_gates::NAME, scheduling_gates::new)?;
    registry.register(taint_toleration::NAME, taint_toleration::new)?;
    registry.register(node_volume_limits::NAME, node_volume_limits::new)?;
    registry.register(volume_binding::NAME, volume_binding::new)?;
    registry.register(volume_restrictions::NAME, volume_restrictions::new)?;
    registry.register(volume_zone::NAME, volume_zone::new)?;
    tenants::register(&mut registry)?;
    Ok(registry)
}
