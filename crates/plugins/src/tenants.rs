//! Tenants: which namespaces may use a scheduler name, and which nodes its pods may use.
//!
//! kube-scheduler has nothing like this. The `tenants` of the SecondmateConfiguration add the plugins to a profile, in front of all others,
//! so that this is the only reason reported for a node outside the tenant. A pod that may not use the name is rejected openly instead of
//! being held back, so that its event says who may use it; it is retried when its namespace changes.

pub mod namespaces;
pub mod nodes;

use secondmate_framework::{PluginError, Registry};

/// Adds the tenant plugins to a registry.
///
/// # Errors
/// A name is already taken.
pub fn register(registry: &mut Registry) -> Result<(), PluginError> {
    registry.register(namespaces::NAME, namespaces::new)?;
    registry.register(nodes::NAME, nodes::new)
}
