//! Nodes that no tenant may use, and tenants that have no nodes.

use super::{Doctor, LISTED_MAX, NAMED_MAX, Severity, check};
use crate::dump::{AtMost, Kept, PAGE_OBJECTS, paged};
use secondmate_config::Tenant;
use secondmate_model::{LabelSelector, Labels, wire};
use serde_json::Value;

/// The label that kubeadm and others put on control-plane nodes: no tenant is meant to use these.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A node, reduced to what is needed here.
struct Node {
    name: String,
    labels: Labels,
    of_control_plane: bool,
}

impl Node {
    fn read(value: Value) -> Option<Self> {
        let wire::MetadataOnly { metadata } = serde_json::from_value(value).ok()?;
        let of_control_plane = metadata.labels.contains_key(CONTROL_PLANE);
        Some(Self { name: metadata.name.into(), labels: Labels::new(&metadata.labels), of_control_plane })
    }
}

/// Selects the nodes that the tenant's pods may use; `None` if that is all of them.
fn selector(tenant: &Tenant) -> Option<LabelSelector> {
    let wire: wire::LabelSelector =
        serde_json::from_value(tenant.nodes.as_ref()?.selector.clone()).unwrap_or_default();
    // The configuration has already been validated.
    LabelSelector::new(&wire).ok()
}

impl Doctor {
    /// Checks that each tenant has nodes, and that each node has a tenant; does nothing if the configuration has no tenants.
    pub(super) async fn tenants(&mut self) {
        if self.options.tenants.is_empty() {
            return;
        }
        let base = format!("/api/v1/nodes?limit={PAGE_OBJECTS}");
        let at_most = AtMost::keep(self.options.limits.nodes);
        let Kept { kept: nodes, cut } = match paged(&self.caller, &base, at_most, Node::read).await {
            Ok(nodes) => nodes,
            Err(error) => return self.unknown(check::TENANTS, "nodes", &error),
        };
        if cut {
            let not_judged = "tenants may have nodes among the others, and some of those may be nobody's";
            self.cut(check::TENANTS, "nodes", at_most, not_judged);
        }
        let selectors: Vec<(String, Option<LabelSelector>)> = self
            .options
            .tenants
            .iter()
            .map(|tenant| (tenant.scheduler_name.clone(), selector(tenant)))
            .collect();
        for (name, selector) in &selectors {
            let Some(selector) = selector else { continue };
            if !cut && !nodes.iter().any(|node| selector.matches(&node.labels)) {
                let wanted: Vec<String> = selector.requirements().iter().map(ToString::to_string).collect();
                self.found(
                    Severity::Fault,
                    check::TENANTS,
                    format!("tenant {name:?}"),
                    format!(
                        "no node has the labels that its `nodes` select ({}): its pods fit nowhere",
                        wanted.join(",")
                    ),
                    "label nodes for it, or correct `tenants` in the SecondmateConfiguration",
                );
            }
        }
        let usable = |node: &Node| {
            selectors.iter().any(|(_, selector)| selector.as_ref().is_none_or(|s| s.matches(&node.labels)))
        };
        let idle: Vec<&str> = nodes
            .iter()
            .filter(|node| !node.of_control_plane && !usable(node))
            .map(|node| node.name.as_str())
            .collect();
        if idle.is_empty() {
            return;
        }
        let (object, them) = match idle.len() {
            1 => ("1 node".to_owned(), "it"),
            count => (format!("{count} nodes"), "them"),
        };
        let mut names = idle[..idle.len().min(NAMED_MAX)].join(", ");
        if idle.len() > NAMED_MAX {
            names += &format!(" and {} more", idle.len() - NAMED_MAX);
        }
        let listed = idle.iter().take(LISTED_MAX).map(ToString::to_string).collect();
        self.found(
            Severity::Warning,
            check::TENANTS,
            object,
            format!("no tenant may use {them}: {names}"),
            format!("label {them} for a tenant, or leave {them} to schedulers that this configuration is not about"),
        )
        .nodes = listed;
    }
}
