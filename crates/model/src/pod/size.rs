//! How much memory a pod takes, for what keeps pods within a budget.

use super::{Affinity, PodAffinityTerm, PodContent, SpreadConstraint, Volume, VolumeSource};
use crate::labels::{LabelSelector, Labels, Requirement, SelectorError};
use crate::node_selector::NodeSelectorTerm;
use crate::resources::{PodRequests, Resources};
use crate::taints::Toleration;
use crate::{Atom, HostPort};
use std::fmt;

/// Of an atom beside its text. Most texts are shared by many pods, and the first one that is kept pays for them.
const ATOM_BYTES: usize = 32;

/// A number of bytes that is worked out from the rest of a pod, and by other ways of writing the same pod comes out otherwise: it is
/// neither compared nor shown.
#[derive(Clone, Copy)]
pub(super) struct Bytes(pub(super) usize);

impl PartialEq for Bytes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

fn atom(atom: &Atom) -> usize {
    ATOM_BYTES + atom.as_str().len()
}

fn atoms(list: &[Atom]) -> usize {
    list.iter().map(atom).sum()
}

fn labels(labels: &Labels) -> usize {
    labels.iter().map(|(key, value)| atom(key) + atom(value)).sum()
}

fn requirement(requirement: &Requirement) -> usize {
    let key_and_values = match requirement {
        Requirement::In(key, values) | Requirement::NotIn(key, values) => atom(key) + atoms(values),
        Requirement::Exists(key)
        | Requirement::DoesNotExist(key)
        | Requirement::Gt(key, _)
        | Requirement::Lt(key, _) => atom(key),
    };
    size_of::<Requirement>() + key_and_values
}

fn selector(selector: &LabelSelector) -> usize {
    selector.requirements().iter().map(requirement).sum()
}

fn error(error: &SelectorError) -> usize {
    error.0.len()
}

fn node_term(term: &NodeSelectorTerm) -> usize {
    let labels: usize = term.labels.iter().map(requirement).sum();
    let fields: usize = term.fields.iter().map(|field| atom(&field.field) + atom(&field.value)).sum();
    let names: usize = term.name_lists.iter().map(|names| atoms(names)).sum();
    let problems: usize = term.problems.iter().map(|problem| problem.len()).sum();
    size_of::<NodeSelectorTerm>() + labels + fields + names + problems + term.error.as_ref().map_or(0, error)
}

fn pod_term(term: &PodAffinityTerm) -> usize {
    size_of::<PodAffinityTerm>()
        + selector(&term.selector)
        + selector(&term.namespace_selector)
        + atoms(&term.namespaces)
        + atom(&term.topology_key)
}

fn affinity(affinity: &Affinity) -> usize {
    let required_nodes = affinity.node_required.iter().flat_map(|selector| &selector.terms);
    let nodes = required_nodes.chain(affinity.node_preferred.iter().map(|(_, term)| term));
    let required = affinity.required_affinity.iter().chain(&affinity.required_anti_affinity);
    let preferred = affinity.preferred_affinity.iter().chain(&affinity.preferred_anti_affinity);
    let pods = required.chain(preferred.map(|weighted| &weighted.term));
    nodes.map(node_term).sum::<usize>()
        + pods.map(pod_term).sum::<usize>()
        + affinity.errors.iter().map(error).sum::<usize>()
}

fn spread(constraint: &SpreadConstraint) -> usize {
    let selector = constraint.selector.as_ref().map_or_else(error, selector);
    size_of::<SpreadConstraint>() + atom(&constraint.topology_key) + selector
}

fn toleration(toleration: &Toleration) -> usize {
    size_of::<Toleration>() + toleration.key.as_ref().map_or(0, atom) + atom(&toleration.value)
}

fn port(port: &HostPort) -> usize {
    size_of::<HostPort>() + port.ip.as_str().len()
}

fn volume(volume: &Volume) -> usize {
    let source = match &volume.source {
        VolumeSource::Claim { name, .. } | VolumeSource::GcePersistentDisk { name, .. } => name.len(),
        VolumeSource::Ephemeral | VolumeSource::OtherInTree => 0,
        VolumeSource::Csi { driver } => atom(driver),
        VolumeSource::AwsElasticBlockStore { id }
        | VolumeSource::Cinder { id }
        | VolumeSource::Portworx { id } => id.len(),
        VolumeSource::AzureDisk { name, uri } => name.len() + uri.len(),
        VolumeSource::Rbd { monitors, pool, image, .. } => {
            monitors.iter().map(|monitor| monitor.len()).sum::<usize>() + pool.len() + image.len()
        }
        VolumeSource::Iscsi { iqn, .. } => iqn.len(),
    };
    size_of::<Volume>() + volume.name.len() + source
}

fn resources(resources: &Resources) -> usize {
    size_of_val(&*resources.scalars)
}

fn requests(requests: &PodRequests) -> usize {
    let PodRequests { filter, on_node, allocated, scoring, .. } = requests;
    [filter, on_node, scoring].into_iter().chain(allocated.as_deref()).map(resources).sum()
}

/// What the lists and texts of a pod's spec take that may be long, in bytes. Its status does not count: pods of one template differ in
/// nothing else.
pub(super) fn of(own: &Labels, content: &PodContent) -> usize {
    let bounded = content.bounded_requests.as_deref();
    labels(own)
        + labels(&content.node_selector)
        + content.affinity.as_deref().map_or(0, affinity)
        + content.tolerations.iter().map(toleration).sum::<usize>()
        + content.spread_constraints.iter().map(spread).sum::<usize>()
        + atoms(&content.scheduling_gates)
        + content.host_ports.iter().map(port).sum::<usize>()
        + atoms(&content.images)
        + content.volumes.iter().map(volume).sum::<usize>()
        + atoms(&content.required_features)
        + requests(&content.requests)
        + bounded.map_or(0, requests)
}

#[cfg(test)]
mod tests {
    use crate::{Pod, wire};
    use serde_json::{Value, json};

    fn bytes(spec: Value) -> usize {
        let pod = json!({"metadata": {"name": "p", "uid": "p"}, "spec": spec});
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        Pod::new(&wire).expect("a pod that compiles").bytes()
    }

    #[test]
    fn whatever_may_be_long_is_counted() {
        let text = "x".repeat(60);
        let many = |of: &dyn Fn(String) -> Value| -> Value {
            (0..1000).map(|at| of(format!("{text}{at:03}"))).collect()
        };
        let named = |name: String| -> (String, Value) { (name, "v".into()) };
        let map: Value = (0..1000).map(|at| named(format!("{text}{at:03}"))).collect();
        let term = |name: String| json!({"topologyKey": name, "labelSelector": {}});
        let expression = |name: String| json!({"key": "k", "operator": "In", "values": [name]});
        let node_term = |name: String| json!({"matchExpressions": [expression(name)]});
        let container = |name: String| json!({"name": name, "image": name});
        let requests: Value = (0..1000).map(|at| (format!("{text}.io/{at}"), json!("1"))).collect();
        for (what, spec) in [
            ("node selector", json!({"nodeSelector": map})),
            ("tolerations", json!({"tolerations": many(&|name| json!({"key": name}))})),
            ("gates", json!({"schedulingGates": many(&|name| json!({"name": name}))})),
            ("images", json!({"containers": many(&container)})),
            (
                "volumes",
                json!({"volumes": many(&|name| json!({"name": name, "emptyDir": {}, "ephemeral": {}}))}),
            ),
            (
                "spread",
                json!({"topologySpreadConstraints": many(&|name| json!({"topologyKey": name, "maxSkew": 1}))}),
            ),
            (
                "pod affinity",
                json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": many(&term)}}}),
            ),
            (
                "preferred anti-affinity",
                json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                    many(&|name| json!({"weight": 1, "podAffinityTerm": term(name)}))}}}),
            ),
            (
                "node affinity",
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": many(&node_term)}}}}),
            ),
        ] {
            let found = bytes(spec);
            assert!((60_000..500_000).contains(&found), "{what}: {found}");
        }
        let asking = json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
        assert!(bytes(asking) > 3 * 1000 * size_of::<(crate::Atom, i64)>());
        assert!(bytes(json!({"containers": [{"name": "c", "image": "i"}]})) < 100);
    }

    #[test]
    fn the_object_in_full_comes_on_top() {
        let pod = json!({"metadata": {"name": "p", "uid": "p", "labels": {"a": "b"}}});
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        let pod = Pod::new(&wire).expect("a pod that compiles");
        let before = pod.bytes();
        assert!(before > 0, "its labels");
        assert_eq!(pod.with_json(&"x".repeat(1000)).bytes(), before + 1000);
    }
}
