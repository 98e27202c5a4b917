//! A node together with the pods on it, as aggregated for the plugins.

use crate::label_summary::LabelSummary;
use crate::resources::Resources;
use crate::{Atom, HostPort, LabelSelector, Node, Pod, Volume, VolumeSource};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image on a node, as used by ImageLocality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageState {
    /// Size in bytes, as given by the first node that reported the name.
    pub size_bytes: i64,
    /// Number of nodes that have the image, as of the last update of this node in the snapshot.
    pub node_count: usize,
}

/// How pods on a node use a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ClaimUse {
    /// Volumes that name it.
    named: u32,
    /// Generic ephemeral volumes that the claim belongs to.
    ephemeral: u32,
}

impl ClaimUse {
    fn count(&mut self, source: &VolumeSource) -> &mut u32 {
        if matches!(source, VolumeSource::Ephemeral) { &mut self.ephemeral } else { &mut self.named }
    }
}

/// A node, its pods and their sums.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    node: Arc<Node>,
    pods: Vec<Arc<Pod>>,
    pod_labels: LabelSummary,
    pods_with_affinity: Vec<Arc<Pod>>,
    pods_with_required_anti_affinity: Vec<Arc<Pod>>,
    used_ports: Vec<HostPort>,
    requested: Resources,
    non_zero_milli_cpu: i64,
    non_zero_memory: i64,
    /// Claims in use (`namespace/name`), with the number of volumes that use each.
    claims: BTreeMap<Box<str>, ClaimUse>,
    /// Number of inline volumes that count toward a CSI driver's limit.
    inline_attachable: u32,
    images: Arc<[(Atom, ImageState)]>,
    /// The lowest priority of the pods.
    lowest_priority: Option<i32>,
    generation: u64,
}

impl NodeInfo {
    /// A node without pods.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            pods: Vec::new(),
            pod_labels: LabelSummary::default(),
            pods_with_affinity: Vec::new(),
            pods_with_required_anti_affinity: Vec::new(),
            used_ports: Vec::new(),
            requested: Resources::default(),
            non_zero_milli_cpu: 0,
            non_zero_memory: 0,
            claims: BTreeMap::new(),
            inline_attachable: 0,
            images: Arc::new([]),
            lowest_priority: None,
            generation: 0,
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Name of the node.
    #[must_use]
    pub fn name(&self) -> &Atom {
        &self.node.name
    }

    /// All pods on the node, terminating and assumed ones included.
    #[must_use]
    pub fn pods(&self) -> &[Arc<Pod>] {
        &self.pods
    }

    /// The pods on the node that the selector may match: all of them, or none if that is known without looking at them.
    #[must_use]
    #[inline]
    pub fn pods_for(&self, selector: &LabelSelector) -> &[Arc<Pod>] {
        if self.pod_labels.may_match(selector) { &self.pods } else { &[] }
    }

    /// Pods that declare pod affinity or anti-affinity.
    #[must_use]
    pub fn pods_with_affinity(&self) -> &[Arc<Pod>] {
        &self.pods_with_affinity
    }

    /// Pods that have a required anti-affinity term.
    #[must_use]
    pub fn pods_with_required_anti_affinity(&self) -> &[Arc<Pod>] {
        &self.pods_with_required_anti_affinity
    }

    /// Host ports in use, without duplicates, sorted.
    #[must_use]
    pub fn used_ports(&self) -> &[HostPort] {
        &self.used_ports
    }

    /// Whether the port, or one with which it [conflicts](HostPort::conflicts), is in use.
    #[must_use]
    pub fn is_port_taken(&self, port: &HostPort) -> bool {
        let wanted = (port.port, &port.protocol);
        let from = self.used_ports.partition_point(|used| (used.port, &used.protocol) < wanted);
        let mut alike =
            self.used_ports[from..].iter().take_while(|used| (used.port, &used.protocol) == wanted);
        alike.any(|used| used.conflicts(port))
    }

    /// Sum of the pods' requests. Scalar resources of which they request 0 are not named.
    #[must_use]
    pub fn requested(&self) -> &Resources {
        &self.requested
    }

    /// Sum of the pods' CPU requests in milli-CPU, with the default for containers that have none.
    #[must_use]
    pub fn non_zero_milli_cpu(&self) -> i64 {
        self.non_zero_milli_cpu
    }

    /// Sum of the pods' memory requests in bytes, with the default for containers that have none.
    #[must_use]
    pub fn non_zero_memory(&self) -> i64 {
        self.non_zero_memory
    }

    /// Claims that pods on the node use by name, as `namespace/name`.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.all_claims().filter(|(_, named)| *named).map(|(claim, _)| claim)
    }

    /// Claims in use by pods on the node, as `namespace/name`, sorted. `true`: by name; `false`: only through generic ephemeral
    /// volumes.
    pub fn all_claims(&self) -> impl Iterator<Item = (&str, bool)> {
        self.claims.iter().map(|(claim, volumes)| (&**claim, volumes.named > 0))
    }

    /// Whether pods on the node have inline volumes that count toward a CSI driver's limit.
    #[must_use]
    pub fn has_inline_attachable(&self) -> bool {
        self.inline_attachable > 0
    }

    /// The lowest priority of the pods on the node; `None` without pods.
    #[must_use]
    pub fn lowest_priority(&self) -> Option<i32> {
        self.lowest_priority
    }

    /// The image's state, if the node has it.
    #[must_use]
    pub fn image(&self, name: &Atom) -> Option<ImageState> {
        let at = self.images.binary_search_by(|(n, _)| n.cmp(name)).ok()?;
        Some(self.images[at].1)
    }

    /// Images on the node with their states, sorted by name.
    pub fn images(&self) -> impl Iterator<Item = &(Atom, ImageState)> {
        self.images.iter()
    }

    /// Whether both have the same node object and image states, so that at most their pods differ.
    #[must_use]
    pub fn differs_by_pods_only(&self, other: &Self) -> bool {
        let same_images = Arc::ptr_eq(&self.images, &other.images) || self.images == other.images;
        same_images && Arc::ptr_eq(&self.node, &other.node)
    }

    /// Stamp of the last change: greater than that of any change before it, on any node.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Stamps a change.
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Replaces the node object.
    pub fn set_node(&mut self, node: Arc<Node>) {
        self.node = node;
    }

    /// Replaces the image states; they must be sorted by name.
    pub fn set_images(&mut self, images: Arc<[(Atom, ImageState)]>) {
        debug_assert!(images.is_sorted_by(|a, b| a.0 < b.0), "image states are searched by name");
        self.images = images;
    }

    /// Adds a pod.
    pub fn add_pod(&mut self, pod: Arc<Pod>) {
        if pod.has_pod_affinity() {
            self.pods_with_affinity.push(Arc::clone(&pod));
        }
        if pod.has_required_anti_affinity() {
            self.pods_with_required_anti_affinity.push(Arc::clone(&pod));
        }
        self.lowest_priority = Some(self.lowest_priority.map_or(pod.priority, |low| low.min(pod.priority)));
        let requests = &pod.requests;
        self.requested.add_assign(&requests.on_node);
        self.requested.drop_zeros();
        self.non_zero_milli_cpu = self.non_zero_milli_cpu.wrapping_add(requests.non_zero_milli_cpu);
        self.non_zero_memory = self.non_zero_memory.wrapping_add(requests.non_zero_memory);
        for port in &pod.host_ports {
            if let Err(at) = self.used_ports.binary_search(port) {
                self.used_ports.insert(at, port.clone());
            }
        }
        for volume in &pod.volumes {
            if let Some(claim) = full_claim_name(&pod, volume) {
                *self.claims.entry(claim).or_default().count(&volume.source) += 1;
            }
            self.inline_attachable += u32::from(volume.is_attachable_inline());
        }
        self.pod_labels.add(&pod.labels);
        self.pods.push(pod);
    }

    /// Recomputes the host ports in use from the pods. [`NodeInfo::remove_pod`] alone frees a port even if another pod still uses
    /// it, as upstream does; two pods can have the same port if different schedulers placed them.
    pub fn recount_ports(&mut self) {
        self.used_ports = self.pods.iter().flat_map(|pod| pod.host_ports.iter().cloned()).collect();
        self.used_ports.sort_unstable();
        self.used_ports.dedup();
    }

    /// Removes the pod with this UID and returns it, with the requests that it added to the sums.
    ///
    /// The last pod takes its place, as upstream, so the pods are not in order of arrival.
    pub fn remove_pod(&mut self, uid: &crate::Uid) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|p| p.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        for list in [&mut self.pods_with_affinity, &mut self.pods_with_required_anti_affinity] {
            if let Some(at) = list.iter().position(|p| p.uid == *uid) {
                list.swap_remove(at);
            }
        }
        self.pod_labels.remove(self.pods.iter().map(|pod| &pod.labels));
        if self.lowest_priority == Some(pod.priority) {
            self.lowest_priority = self.pods.iter().map(|pod| pod.priority).min();
        }
        let requests = &pod.requests;
        self.requested.sub_assign(&requests.on_node);
        self.requested.drop_zeros();
        self.non_zero_milli_cpu = self.non_zero_milli_cpu.wrapping_sub(requests.non_zero_milli_cpu);
        self.non_zero_memory = self.non_zero_memory.wrapping_sub(requests.non_zero_memory);
        // A set, as upstream: of two pods with the same port, the first to leave frees it.
        for port in &pod.host_ports {
            if let Ok(at) = self.used_ports.binary_search(port) {
                self.used_ports.remove(at);
            }
        }
        for volume in &pod.volumes {
            self.inline_attachable -= u32::from(volume.is_attachable_inline());
            let Some(claim) = full_claim_name(&pod, volume) else { continue };
            if let Some(volumes) = self.claims.get_mut(&claim) {
                *volumes.count(&volume.source) -= 1;
                if *volumes == ClaimUse::default() {
                    self.claims.remove(&claim);
                }
            }
        }
        Some(pod)
    }
}

impl NodeInfo {
    /// The node without the pod with this UID. Unlike after [`Self::remove_pod`], a host port that another pod uses too stays in
    /// use.
    #[must_use]
    pub fn without_pod(&self, uid: &crate::Uid) -> Self {
        let mut without = self.clone();
        without.remove_pod(uid);
        without.recount_ports();
        without
    }

    /// Whether this is `other` with exactly one more pod, the one with this UID, added last.
    #[must_use]
    pub fn is_with_pod(&self, other: &Self, uid: &crate::Uid) -> bool {
        let Some((last, others)) = self.pods.split_last() else { return false };
        let same = |(one, other): (&Arc<Pod>, &Arc<Pod>)| Arc::ptr_eq(one, other);
        last.uid == *uid
            && others.len() == other.pods.len()
            && others.iter().zip(&other.pods).all(same)
            && self.differs_by_pods_only(other)
    }
}

fn full_claim_name(pod: &Pod, volume: &Volume) -> Option<Box<str>> {
    pod.claim_name(volume).map(|name| format!("{}/{name}", pod.namespace).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Uid, wire};
    use serde_json::json;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority, "containers": []}});
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        Arc::new(Pod::new(&wire).expect("a pod that compiles"))
    }

    #[test]
    fn a_node_with_one_more_pod_is_the_other_without_it() {
        let node: wire::Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        let node = Arc::new(Node::new(&node).expect("a node that compiles"));
        let mut before = NodeInfo::new(Arc::clone(&node));
        before.add_pod(pod("a", 3));
        let mut with = before.clone();
        with.add_pod(pod("b", 1));
        let [a, b] = ["a", "b"].map(Uid::from);
        assert!(with.is_with_pod(&before, &b) && !with.is_with_pod(&before, &a));
        assert!(!before.is_with_pod(&before, &a), "it was there before");
        assert_eq!(with.without_pod(&b), before);
        let mut others = before.clone();
        others.add_pod(pod("c", 1));
        assert!(!with.is_with_pod(&others, &b), "another one went");
        let mut instead = NodeInfo::new(Arc::clone(&node));
        instead.add_pod(pod("c", 3));
        assert!(!with.is_with_pod(&instead, &b), "another one came in its place");
        let mut relabelled = before.clone();
        relabelled.set_node(Arc::new(Node::clone(&node)));
        assert!(!with.is_with_pod(&relabelled, &b), "the node changed");
    }

    #[test]
    fn no_pod_that_a_selector_means_is_left_out_whoever_comes_and_goes() {
        let node: wire::Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        let mut info = NodeInfo::new(Arc::new(Node::new(&node).expect("a node that compiles")));
        let app = |at: usize| format!("app-{}", at % 40);
        for at in 0..400 {
            let pod = json!({"metadata": {"name": "p", "uid": format!("{at}"), "labels": {"app": app(at)}}});
            let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
            info.add_pod(Arc::new(Pod::new(&wire).expect("a pod that compiles")));
            if at >= 30 {
                // Sometimes the oldest one, sometimes one in the middle.
                info.remove_pod(&Uid::from(&*format!("{}", at - 30 + at % 7)))
                    .map_or_else(|| info.remove_pod(&Uid::from(&*format!("{}", at - 30))), Some);
            }
            for selected in 0..40 {
                let selector = LabelSelector::from_map(&[("app".into(), app(selected).into())].into());
                let meant =
                    |pods: &[Arc<Pod>]| pods.iter().filter(|pod| selector.matches(&pod.labels)).count();
                assert_eq!(meant(info.pods_for(&selector)), meant(info.pods()), "{selector} at {at}");
            }
        }
        let none = LabelSelector::from_map(&[("app".into(), "another".into())].into());
        assert!(info.pods_for(&none).is_empty() && !info.pods().is_empty());
    }

    #[test]
    fn a_port_is_taken_where_one_that_is_in_use_conflicts_with_it() {
        let port =
            |ip: &str, protocol: &str, port: i32| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        let node: wire::Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        let mut info = NodeInfo::new(Arc::new(Node::new(&node).expect("a node that compiles")));
        // Thousands, of every kind, by address and for all addresses.
        let all: Vec<HostPort> = (1..=4000)
            .flat_map(|number| {
                let ip = ["0.0.0.0", "10.0.0.1", "10.0.0.2"][number as usize % 3];
                let protocol = ["TCP", "UDP"][number as usize % 2];
                [port(ip, protocol, number), port("10.0.0.3", "TCP", number * 3)]
            })
            .collect();
        let ports: Vec<_> = all
            .iter()
            .map(|p| json!({"hostPort": p.port, "hostIP": p.ip.as_str(), "protocol": p.protocol.as_str()}))
            .collect();
        let pod = json!({"metadata": {"name": "p", "uid": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]}});
        let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
        info.add_pod(Arc::new(Pod::new(&wire).expect("a pod that compiles")));
        assert!(info.used_ports().is_sorted());
        for ip in ["0.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.4"] {
            for protocol in ["TCP", "UDP", "SCTP"] {
                for number in (1..13_000).step_by(37) {
                    let wanted = port(ip, protocol, number);
                    let conflicts = all.iter().any(|used| used.conflicts(&wanted));
                    assert_eq!(info.is_port_taken(&wanted), conflicts, "{wanted}");
                }
            }
        }
    }

    #[test]
    fn names_of_which_nobody_asks_for_anything_do_not_stay_in_the_sum() {
        let asking = |name: &str, amounts: serde_json::Value| {
            let pod = json!({"metadata": {"name": name, "uid": name},
                "spec": {"containers": [{"name": "c", "resources": {"requests": amounts}}]}});
            let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
            Arc::new(Pod::new(&wire).expect("a pod that compiles"))
        };
        let node: wire::Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        let mut info = NodeInfo::new(Arc::new(Node::new(&node).expect("a node that compiles")));
        let named = |info: &NodeInfo| -> Vec<(String, i64)> {
            let scalars = info.requested().scalars.iter();
            scalars.map(|(name, amount)| (name.to_string(), *amount)).collect()
        };
        info.add_pod(asking("a", json!({"x.y/gpu": "2", "x.y/nothing": "0"})));
        info.add_pod(asking("b", json!({"x.y/gpu": "1", "x.y/card": "4"})));
        assert_eq!(named(&info), [("x.y/card".to_owned(), 4), ("x.y/gpu".to_owned(), 3)]);
        info.remove_pod(&Uid::from("b"));
        assert_eq!(named(&info), [("x.y/gpu".to_owned(), 2)]);
        info.remove_pod(&Uid::from("a"));
        assert_eq!(info.requested(), &Resources::default());
    }

    #[test]
    fn the_lowest_priority_is_that_of_the_pods_that_are_there() {
        let node: wire::Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        let mut info = NodeInfo::new(Arc::new(Node::new(&node).expect("a node that compiles")));
        assert_eq!(info.lowest_priority(), None);
        for (name, priority, lowest) in [("a", 5, 5), ("b", 9, 5), ("c", -1, -1), ("d", -1, -1)] {
            info.add_pod(pod(name, priority));
            assert_eq!(info.lowest_priority(), Some(lowest), "{name}");
        }
        for (name, lowest) in [("b", Some(-1)), ("c", Some(-1)), ("x", Some(-1)), ("d", Some(5)), ("a", None)]
        {
            info.remove_pod(&Uid::from(name));
            assert_eq!(info.lowest_priority(), lowest, "{name}");
        }
    }
}
