//! NodePorts: the host ports that the pod requests must be free.

use crate::facts;
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Status,
};
use secondmate_model::{HostPort, NodeInfo, Pod};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodePorts";

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";
const NO_STATE: &str = "reading \"PreFilterNodePorts\" from cycleState: not found";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct NodePorts;

/// PreFilter has run; without it, upstream's filter fails.
#[derive(Clone, Copy)]
struct Prepared;

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(NodePorts))
}

fn conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    wanted.iter().any(|port| used.iter().any(|other| port.conflicts(other)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::HOST_PORTS, NodeParts::HOST_PORTS)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::AssignedPod, ActionType::DELETE),
            EventRegistration::new(EventResource::Node, ActionType::ADD),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        match change.old.as_ref().and_then(|old| old.pod()) {
            // A change of a node.
            None => Hint::Queue,
            Some(deleted) => {
                let had_room = deleted.node_name.is_some() || deleted.nominated_node_name.is_some();
                if had_room && conflict(&pod.host_ports, &deleted.host_ports) {
                    Hint::Queue
                } else {
                    Hint::Skip
                }
            }
        }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node else { return Vec::new() };
        let mut found = Vec::new();
        for port in &pod.host_ports {
            let has_it = |other: &&Arc<Pod>| conflict(std::slice::from_ref(port), &other.host_ports);
            let owners = node.pods().iter().filter(has_it).map(AsRef::as_ref);
            if let Some(names) = facts::list(owners, pod) {
                found.push(
                    Fact::new(format!("host port {port} is taken by {names}"))
                        .helped_by(format!("another host port than {port}, or none")),
                );
            }
        }
        found
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, _cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        if pod.host_ports.is_empty() {
            return Status::skip().into();
        }
        state.write(Prepared);
        Status::SUCCESS.into()
    }
}

impl Filter for NodePorts {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if state.read::<Prepared>().is_none() {
            return Status::error(NO_STATE);
        }
        if pod.host_ports.iter().any(|port| node.is_port_taken(port)) {
            Status::unschedulable(REASON)
        } else {
            Status::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{added, context, deleted, node, pod};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    /// A port such as `80`, `80/UDP`, `10.0.0.1:80`.
    fn port(text: &str) -> Value {
        let (address, protocol) = text.split_once('/').unwrap_or((text, ""));
        let (ip, port) = address.split_once(':').unwrap_or(("", address));
        json!({"hostPort": port.parse::<i32>().expect("a port"), "hostIP": ip, "protocol": protocol})
    }

    fn with_ports(ports: &[&str]) -> Arc<Pod> {
        let ports: Vec<Value> = ports.iter().map(|text| port(text)).collect();
        pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": ports}]}}))
    }

    fn verdict(wanted: &Arc<Pod>, node: &NodeInfo) -> Status {
        let snapshot = Snapshot::default();
        let cx = context(&snapshot);
        let mut state = CycleState::new();
        let outcome = NodePorts.pre_filter(&cx, &mut state, wanted);
        if outcome.status.is_success() { NodePorts.filter(&cx, &state, wanted, node) } else { outcome.status }
    }

    #[test]
    fn ports_conflict_by_number_protocol_and_address() {
        for (wanted, used, fits) in [
            (&["80"][..], &["8080"][..], true),
            (&["80"], &["80"], false),
            (&["80"], &["80/TCP"], false),
            (&["80"], &["80/UDP"], true),
            (&["80"], &["10.0.0.1:80"], false),
            (&["10.0.0.1:80"], &["80"], false),
            (&["10.0.0.1:80"], &["0.0.0.0:80"], false),
            (&["10.0.0.1:80"], &["10.0.0.2:80"], true),
            (&["10.0.0.1:80"], &["10.0.0.1:80"], false),
            (&["10.0.0.1:80"], &["10.0.0.1:80/SCTP"], true),
            (&["81", "82"], &["83", "82"], false),
            (&["80"], &[], true),
        ] {
            let mut node = node(json!({"metadata": {"name": "n"}}));
            node.add_pod(with_ports(used));
            let expected = if fits { Status::SUCCESS } else { Status::unschedulable(REASON) };
            assert_eq!(verdict(&with_ports(wanted), &node), expected, "{wanted:?} beside {used:?}");
        }
    }

    #[test]
    fn pods_without_host_ports_are_skipped_and_sidecars_count() {
        let node = node(json!({"metadata": {"name": "n"}}));
        assert_eq!(verdict(&with_ports(&["0"]), &node), Status::skip());
        let init = |restart: Value| {
            pod(json!({"spec": {"initContainers": [{"ports": [port("80")], "restartPolicy": restart}]}}))
        };
        assert_eq!(verdict(&init(Value::Null), &node), Status::skip());
        assert_eq!(verdict(&init(json!("Always")), &node), Status::SUCCESS);
    }

    #[test]
    fn without_pre_filter_there_is_no_verdict() {
        let snapshot = Snapshot::default();
        let node = node(json!({"metadata": {"name": "n"}}));
        assert_eq!(
            NodePorts.filter(&context(&snapshot), &CycleState::new(), &with_ports(&["80"]), &node),
            Status::error("reading \"PreFilterNodePorts\" from cycleState: not found")
        );
    }

    #[test]
    fn hints() {
        let waiting = with_ports(&["80"]);
        let gone = |node_name: &str, nominated: &str, text: &str| {
            deleted(&pod(json!({"metadata": {"name": "q"},
                "spec": {"nodeName": node_name, "containers": [{"ports": [port(text)]}]},
                "status": {"nominatedNodeName": nominated}})))
        };
        for (change, expected) in [
            (gone("n", "", "80"), Hint::Queue),
            (gone("", "n", "10.0.0.1:80"), Hint::Queue),
            (gone("", "", "80"), Hint::Skip),
            (gone("n", "", "81"), Hint::Skip),
            (gone("n", "", "0"), Hint::Skip),
            (added(&node(json!({"metadata": {"name": "n"}}))), Hint::Queue),
        ] {
            assert_eq!(NodePorts.hint(&waiting, &change), expected, "{change:?}");
        }
    }
}
