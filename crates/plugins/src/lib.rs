//! The in-tree plugins, one module each, under their upstream names.
//!
//! A plugin holds its arguments and nothing else; what it computes for a pod it keeps in the cycle's state. What a plugin does
//! is what `k8s.io/kubernetes` 1.36 does in `pkg/scheduler/framework/plugins`, reasons and rounding included; the judge of
//! that is the real framework.

#[cfg(test)]
mod fixture;

use secondmate_framework::{PluginError, Registry};

/// A registry of all in-tree plugins.
///
/// # Errors
/// None in practice: a name that is registered twice is a mistake in this function.
pub fn registry() -> Result<Registry, PluginError> {
    let registry = Registry::new();
    Ok(registry)
}
