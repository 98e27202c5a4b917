//! What a pod needs from a node and what a node has, computed as a kubelet does.

use std::collections::BTreeMap;

use serde_json::Value;

use secondmate_admission::Quantity;

/// Amounts by resource name: milli-CPU for `cpu`, units for everything else.
pub(crate) type Amounts = BTreeMap<Box<str>, i64>;

/// A host port: address, protocol, number.
pub(crate) type HostPort = (Box<str>, Box<str>, i64);

/// What a pod uses of its node.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodNeeds {
    pub requests: Amounts,
    pub host_ports: Vec<HostPort>,
}

/// Reads a map of quantities.
pub(crate) fn amounts(quantities: &Value) -> Amounts {
    quantities
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, quantity)| {
            let quantity = Quantity::parse(quantity.as_str()?)?;
            let amount = if name == "cpu" { quantity.milli() } else { quantity.units() };
            Some((name.as_str().into(), amount))
        })
        .collect()
}

fn add(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let most = to.entry(name.clone()).or_default();
        *most = (*most).max(*amount);
    }
}

impl PodNeeds {
    /// Containers and sidecars together, or the peak during initialisation if that is more; pod-level
    /// requests replace these, and overhead is added.
    pub(crate) fn of(pod: &Value) -> PodNeeds {
        let spec = &pod["spec"];
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut requests = Amounts::new();
        for container in list("containers") {
            add(&mut requests, &amounts(&container["resources"]["requests"]));
        }
        let mut sidecars = Amounts::new();
        let mut initialising = Amounts::new();
        for container in list("initContainers") {
            let mut moment = amounts(&container["resources"]["requests"]);
            if container["restartPolicy"] == "Always" {
                add(&mut requests, &moment);
                add(&mut sidecars, &moment);
                moment = sidecars.clone();
            } else {
                add(&mut moment, &sidecars);
            }
            raise(&mut initialising, &moment);
        }
        raise(&mut requests, &initialising);
        for (name, amount) in amounts(&spec["resources"]["requests"]) {
            requests.insert(name, amount);
        }
        add(&mut requests, &amounts(&spec["overhead"]));
        let with_ports = list("containers")
            .iter()
            .chain(list("initContainers").iter().filter(|c| c["restartPolicy"] == "Always"));
        let host_ports = with_ports
            .flat_map(|c| c["ports"].as_array().map(Vec::as_slice).unwrap_or_default())
            .filter_map(|port| {
                let number = port["hostPort"].as_i64().filter(|n| *n > 0)?;
                let address = port["hostIP"].as_str().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
                Some((address.into(), port["protocol"].as_str().unwrap_or("TCP").into(), number))
            })
            .collect();
        PodNeeds { requests, host_ports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_sidecars_and_overhead_count_as_a_kubelet_counts_them() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let cpu = |spec: Value| PodNeeds::of(&json!({ "spec": spec })).requests["cpu"];
        assert_eq!(cpu(json!({"containers": [container("100m"), container("200m")]})), 300);
        // The init container alone needs more than the containers.
        assert_eq!(
            cpu(json!({"containers": [container("100m")], "initContainers": [container("500m")]})),
            500
        );
        // A sidecar runs alongside everything after it.
        assert_eq!(
            cpu(json!({
                "containers": [container("100m")],
                "initContainers": [container("450m"), sidecar("200m"), container("300m")]})),
            500
        );
        assert_eq!(
            cpu(json!({
                "containers": [container("100m")], "overhead": {"cpu": "50m"},
                "resources": {"requests": {"cpu": "1"}}})),
            1050
        );
    }
}
