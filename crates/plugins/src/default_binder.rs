//! DefaultBinder: binds with a Binding that names the pod's UID.

use secondmate_framework::{
    Bind, BindStep, CycleState, Declaration, EventRegistration, Handle, NodeParts, Plugin, PluginError,
    PodParts, Right,
};
use secondmate_model::{Atom, Pod};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "DefaultBinder";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct DefaultBinder;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(DefaultBinder))
}

impl Plugin for DefaultBinder {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NONE, NodeParts::NONE).with_writes(&[Right {
            verb: "create",
            group: "",
            resource: "pods/binding",
        }])
    }

    fn as_bind(self: Arc<Self>) -> Option<Arc<dyn Bind>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        Vec::new()
    }
}

impl Bind for DefaultBinder {
    fn bind(&self, _state: &CycleState, _pod: &Arc<Pod>, _node: &Atom) -> BindStep {
        BindStep::Binding { annotations: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::pod;
    use serde_json::json;

    #[test]
    fn every_pod_is_bound_without_annotations() {
        let step = DefaultBinder.bind(&CycleState::new(), &pod(json!({})), &Atom::new("n"));
        assert!(matches!(step, BindStep::Binding { annotations } if annotations.is_empty()));
    }
}
