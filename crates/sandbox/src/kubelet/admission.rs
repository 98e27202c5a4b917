//! The admission of a pod by a kubelet: resources, node affinity, ports, NoExecute taints.

use serde_json::Value;

use super::resources::{Amounts, HostPort, PodNeeds, amounts};

/// Why a kubelet rejects a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub reason: String,
    pub message: String,
}

/// A node as its kubelet sees it.
#[derive(Debug, Default)]
pub(crate) struct NodeState {
    name: String,
    present: bool,
    allocatable: Amounts,
    labels: Value,
    no_execute: Vec<Value>,
    used: Amounts,
    pods: i64,
    ports: Vec<HostPort>,
}

impl NodeState {
    pub(crate) fn new(node: &Value) -> NodeState {
        let mut state = NodeState::default();
        state.update(node);
        state
    }

    /// Updates what may change about a node; what runs on it stays counted.
    pub(crate) fn update(&mut self, node: &Value) {
        self.present = true;
        self.name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let status = &node["status"];
        let offered = if status["allocatable"].is_object() { "allocatable" } else { "capacity" };
        self.allocatable = amounts(&status[offered]);
        self.labels = node["metadata"]["labels"].clone();
        self.no_execute = node["spec"]["taints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|t| t["effect"] == "NoExecute")
            .cloned()
            .collect();
    }

    /// The node has been deleted.
    pub(crate) fn leave(&mut self) {
        self.present = false;
    }

    pub(crate) fn is_present(&self) -> bool {
        self.present
    }

    /// Whether no pod is counted on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.pods == 0
    }

    pub(crate) fn take(&mut self, needs: &PodNeeds) {
        self.pods += 1;
        for (name, amount) in &needs.requests {
            let used = self.used.entry(name.clone()).or_default();
            *used = used.saturating_add(*amount);
        }
        self.ports.extend(needs.host_ports.iter().cloned());
    }

    pub(crate) fn give_back(&mut self, needs: &PodNeeds) {
        self.pods -= 1;
        for (name, amount) in &needs.requests {
            if let Some(used) = self.used.get_mut(name) {
                *used -= amount;
            }
        }
        for port in &needs.host_ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
    }

    /// The resources of which more is used than there is.
    pub(crate) fn exceeded(&self) -> impl Iterator<Item = String> {
        let capacity = |name: &str| self.allocatable.get(name).copied().unwrap_or(0);
        let pods = (self.pods > capacity("pods")).then(|| "pods".to_owned());
        let others = self.used.iter().filter(move |(name, used)| {
            // As in admission, extended resources that the node does not know do not count.
            **used > capacity(name) && (!name.contains('/') || self.allocatable.contains_key(&***name))
        });
        pods.into_iter().chain(others.map(|(name, _)| name.to_string()))
    }

    /// The first reason that a kubelet would give, in its order.
    pub(crate) fn admit(&self, pod: &Value, needs: &PodNeeds) -> Result<(), Rejection> {
        self.check_resources(needs)?;
        let failed = |predicate: &str, why: &str| {
            Err(Rejection {
                reason: predicate.to_owned(),
                message: format!("Predicate {predicate} failed: {why}"),
            })
        };
        if !self.matches_affinity(&pod["spec"]) {
            return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
        }
        if self.port_conflict(needs) {
            return failed("NodePorts", "node(s) didn't have free ports for the requested pod ports");
        }
        if self.no_execute.iter().any(|taint| !tolerated(&pod["spec"]["tolerations"], taint)) {
            return failed("TaintToleration", "node(s) had taints that the pod didn't tolerate");
        }
        Ok(())
    }

    /// Whether a daemon with this spec belongs here, by its affinity and by the NoSchedule and NoExecute taints.
    pub(crate) fn fits_daemon(&self, spec: &Value, taints: &Value) -> bool {
        let repels = |taint: &&Value| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute";
        let taints = taints.as_array().map(Vec::as_slice).unwrap_or_default();
        self.matches_affinity(spec)
            && taints.iter().filter(repels).all(|t| tolerated(&spec["tolerations"], t))
    }

    fn check_resources(&self, needs: &PodNeeds) -> Result<(), Rejection> {
        let capacity = |name: &str| self.allocatable.get(name).copied().unwrap_or(0);
        let used = |name: &str| self.used.get(name).copied().unwrap_or(0);
        let short = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
            reason: format!("OutOf{name}"),
            message: format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        };
        if self.pods + 1 > capacity("pods") {
            return Err(short("pods", 1, self.pods, capacity("pods")));
        }
        let first = ["cpu", "memory", "ephemeral-storage"];
        let others = needs.requests.keys().map(|k| &**k).filter(|k| !first.contains(k));
        for name in first.into_iter().chain(others) {
            let requested = needs.requests.get(name).copied().unwrap_or(0);
            // A kubelet ignores extended resources that its node does not know.
            if name.contains('/') && !self.allocatable.contains_key(name) {
                continue;
            }
            if requested > 0 && requested > capacity(name).saturating_sub(used(name)) {
                return Err(short(name, requested, used(name), capacity(name)));
            }
        }
        Ok(())
    }

    fn port_conflict(&self, needs: &PodNeeds) -> bool {
        let any = "0.0.0.0";
        needs.host_ports.iter().any(|(ip, protocol, number)| {
            self.ports.iter().any(|(used_ip, used_protocol, used_number)| {
                number == used_number
                    && protocol == used_protocol
                    && (ip == used_ip || &**ip == any || &**used_ip == any)
            })
        })
    }

    fn matches_affinity(&self, spec: &Value) -> bool {
        let label = |key: &str| self.labels.get(key).and_then(Value::as_str);
        let selected = spec["nodeSelector"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(key, value)| label(key) == value.as_str());
        let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        selected
            && (!required.is_object()
                || required["nodeSelectorTerms"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|t| self.matches_term(t)))
    }

    /// Whether all expressions of a term hold; a term without any matches nothing.
    fn matches_term(&self, term: &Value) -> bool {
        let list = |field: &str| term[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
        if expressions.is_empty() && fields.is_empty() {
            return false;
        }
        let label = |key: &str| self.labels.get(key).and_then(Value::as_str);
        expressions.iter().all(|e| holds(e, label(e["key"].as_str().unwrap_or_default())))
            && fields
                .iter()
                .all(|e| holds(e, Some(self.name.as_str()).filter(|_| e["key"] == "metadata.name")))
    }
}

fn holds(expression: &Value, actual: Option<&str>) -> bool {
    let values = || expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let number = |text: &str| text.parse::<i64>().ok();
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => actual.is_some_and(|a| values().any(|v| v == a)),
        "NotIn" => actual.is_none_or(|a| values().all(|v| v != a)),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        operator @ ("Gt" | "Lt") => match (actual.and_then(number), values().next().and_then(number)) {
            (Some(a), Some(limit)) if operator == "Gt" => a > limit,
            (Some(a), Some(limit)) => a < limit,
            _ => false,
        },
        _ => false,
    }
}

fn tolerated(tolerations: &Value, taint: &Value) -> bool {
    let text = |v: &Value, field: &str| v[field].as_str().unwrap_or_default().to_owned();
    tolerations.as_array().into_iter().flatten().any(|toleration| {
        let (key, effect) = (text(toleration, "key"), text(toleration, "effect"));
        let key_fits = key.is_empty() || key == text(taint, "key");
        let effect_fits = effect.is_empty() || effect == text(taint, "effect");
        let value_fits = match toleration["operator"].as_str().unwrap_or_default() {
            "Exists" => true,
            "Lt" | "Gt" => {
                let number = |v: &Value| text(v, "value").parse::<i64>().ok();
                match (number(taint), number(toleration)) {
                    (Some(of_taint), Some(limit)) if toleration["operator"] == "Lt" => of_taint < limit,
                    (Some(of_taint), Some(limit)) => of_taint > limit,
                    _ => false,
                }
            }
            _ => text(toleration, "value") == text(taint, "value"),
        };
        key_fits && effect_fits && value_fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> NodeState {
        NodeState::new(&json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "size": "5"}},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2", "example.com/gpu": "1"}}}))
    }

    fn verdict(node: &NodeState, spec: Value) -> Result<(), Rejection> {
        let pod = json!({ "spec": spec });
        node.admit(&pod, &PodNeeds::of(&pod))
    }

    fn requests(requests: Value) -> Value {
        json!({"containers": [{"resources": {"requests": requests}}]})
    }

    #[test]
    fn each_shortage_has_its_reason_and_says_how_much() {
        let mut node = node();
        node.take(&PodNeeds::of(&json!({ "spec": requests(json!({"cpu": "600m"})) })));
        assert_eq!(
            verdict(&node, requests(json!({"cpu": "500m"}))),
            Err(Rejection {
                reason: "OutOfcpu".into(),
                message: "Node didn't have enough resource: cpu, requested: 500, used: 600, capacity: 1000"
                    .into(),
            })
        );
        assert_eq!(verdict(&node, requests(json!({"cpu": "400m", "memory": "1Gi"}))), Ok(()));
        assert_eq!(verdict(&node, requests(json!({"memory": "2Gi"}))).unwrap_err().reason, "OutOfmemory");
        assert_eq!(
            verdict(&node, requests(json!({"example.com/gpu": "2"}))).unwrap_err().reason,
            "OutOfexample.com/gpu"
        );
        // Unknown extended resources are not the kubelet's concern.
        assert_eq!(verdict(&node, requests(json!({"example.com/other": "2"}))), Ok(()));
        node.take(&PodNeeds::default());
        assert_eq!(verdict(&node, json!({})).unwrap_err().reason, "OutOfpods");
        node.give_back(&PodNeeds::default());
        assert_eq!(verdict(&node, json!({})), Ok(()));
    }

    #[test]
    fn affinity_ports_and_taints_are_checked() {
        let mut node = node();
        assert_eq!(
            verdict(&node, json!({"nodeSelector": {"zone": "b"}})).unwrap_err().reason,
            "NodeAffinity"
        );
        let affinity = |expression: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
        };
        for (expression, fits) in [
            (json!({"key": "zone", "operator": "In", "values": ["a"]}), true),
            (json!({"key": "zone", "operator": "NotIn", "values": ["a"]}), false),
            (json!({"key": "size", "operator": "Gt", "values": ["4"]}), true),
            (json!({"key": "size", "operator": "Lt", "values": ["4"]}), false),
            (json!({"key": "rack", "operator": "DoesNotExist"}), true),
        ] {
            assert_eq!(verdict(&node, affinity(expression.clone())).is_ok(), fits, "{expression}");
        }
        let port = |ip: &str| json!({"containers": [{"ports": [{"hostPort": 80, "hostIP": ip}]}]});
        node.take(&PodNeeds::of(&json!({ "spec": port("10.0.0.1") })));
        assert_eq!(verdict(&node, port("10.0.0.2")), Ok(()));
        assert_eq!(verdict(&node, port("")).unwrap_err().reason, "NodePorts");
        node.no_execute = vec![json!({"key": "k", "value": "v", "effect": "NoExecute"})];
        assert_eq!(verdict(&node, json!({})).unwrap_err().reason, "TaintToleration");
        assert_eq!(verdict(&node, json!({"tolerations": [{"key": "k", "operator": "Exists"}]})), Ok(()));
    }
}
