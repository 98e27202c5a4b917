//! Tenants: which namespaces may use a scheduler name, and which nodes its pods may use.
//!
//! kube-scheduler has nothing like it. The plugins come into a profile by the `tenants` of the SecondmateConfiguration, in front of all
//! others, so that a node outside of the tenant counts as that and nothing else. A pod that may not use the name is rejected in the open,
//! instead of being held back, so that its event says who may; it is looked at again when its namespace changes.

pub mod namespaces;
pub mod nodes;

use secondmate_framework::{PluginError, Registry};

/// Adds the plugins of tenants to a registry.
///
/// # Errors
/// A name is taken.
pub fn register(registry: &mut Registry) -> Result<(), PluginError> {
    registry.register(namespaces::NAME, namespaces::new)?;
    registry.register(nodes::NAME, nodes::new)
}
