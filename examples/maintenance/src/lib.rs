//! Maintenance: a custom resource names nodes that get no new pods, and says why.
//!
//! Unlike a cordon it says so for many nodes at once, under a name, and is gone when it is deleted. The plugin reads the resource as the
//! type [`Maintenance`]; `crd.yaml` defines it for the API server.

use secondmate_framework::{
    ActionType, ApiResource, Context, CycleState, Declaration, EventRegistration, EventResource, Filter,
    Hint, NodeInfo, NodeParts, ObjectChange, ObjectKind, Plugin, PluginObject, Pod, PodParts, PreFilter,
    PreFilterOutcome, Status,
};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "Maintenance";

/// The custom resource, as far as the plugin reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Maintenance {
    spec: Spec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Spec {
    nodes: BTreeSet<String>,
    #[serde(default)]
    reason: String,
}

impl PluginObject for Maintenance {
    const API: ApiResource = ApiResource {
        group: "example.secondmate.dev",
        version: "v1",
        kind: "Maintenance",
        plural: "maintenances",
        namespaced: false,
    };
}

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct MaintenanceFilter;

impl Plugin for MaintenanceFilter {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NONE, NodeParts::NAME).with_objects(&[ObjectKind::own::<Maintenance>()])
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(
                EventResource::own::<Maintenance>(),
                ActionType::UPDATE | ActionType::DELETE,
            ),
            EventRegistration::new(EventResource::Node, ActionType::ADD),
        ]
    }

    /// Worth another try where a node was left out and is no more.
    fn hint(&self, _: &Pod, change: &ObjectChange) -> Hint {
        match change.own::<Maintenance>() {
            (Some(old), Some(new)) if old.spec.nodes.is_subset(&new.spec.nodes) => Hint::Skip,
            _ => Hint::Queue,
        }
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
}

impl PreFilter for MaintenanceFilter {
    fn pre_filter(&self, cx: &Context<'_>, _: &mut CycleState, _: &Arc<Pod>) -> PreFilterOutcome {
        if cx.snapshot.objects().own::<Maintenance>().is_empty() {
            return Status::skip().into();
        }
        PreFilterOutcome::default()
    }
}

impl Filter for MaintenanceFilter {
    fn filter(&self, cx: &Context<'_>, _: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Status {
        let all = cx.snapshot.objects().own::<Maintenance>();
        let mut names = all.iter().filter(|(_, found)| found.spec.nodes.contains(node.name().as_str()));
        match names.next() {
            None => Status::SUCCESS,
            Some((name, found)) => {
                let reason = match found.spec.reason.as_str() {
                    "" => String::new(),
                    reason => format!(" ({reason})"),
                };
                Status::unresolvable(format!("node(s) were under maintenance {}{reason}", name.name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_read_as_the_api_server_has_it() {
        let text = serde_json::json!({
            "apiVersion": "example.secondmate.dev/v1", "kind": "Maintenance", "metadata": { "name": "rack-7" },
            "spec": { "nodes": ["n1", "n2"], "reason": "new power supply" },
        });
        let read = Maintenance::decode(&text.to_string()).expect("one");
        assert_eq!(read.spec.nodes.iter().map(String::as_str).collect::<Vec<_>>(), ["n1", "n2"]);
        assert_eq!(read.spec.reason, "new power supply");
        assert!(Maintenance::decode(r#"{"metadata": {"name": "x"}, "spec": {"nodes": "n1"}}"#).is_err());
    }
}
