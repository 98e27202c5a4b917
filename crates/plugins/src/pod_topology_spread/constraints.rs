//! The constraints that apply to a pod: its own, or the defaults with the selector of its services and owner.

use super::PodTopologySpread;
use crate::node_affinity::matches_required;
use crate::taint_toleration::tolerates_node;
use secondmate_model::objects::{ObjectName, Objects, Workload};
use secondmate_model::{
    Atom, LabelSelector, Labels, Node, NodeInfo, Pod, Requirement, SelectorError, SpreadConstraint,
    WhenUnsatisfiable,
};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// One constraint, prepared for the loops over nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Constraint {
    pub(super) key: Atom,
    /// The domains are single nodes, whose pods are counted when the node is scored.
    pub(super) is_hostname: bool,
    pub(super) max_skew: i32,
    pub(super) min_domains: i32,
    pub(super) honor_node_affinity: bool,
    pub(super) honor_node_taints: bool,
    /// Index into [`Constraints::selectors`].
    pub(super) selector: usize,
}

/// The constraints of one kind that apply to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Constraints {
    pub(super) list: SmallVec<[Constraint; 2]>,
    /// The distinct selectors: usually one, so that a node's pods are counted once for all constraints.
    pub(super) selectors: SmallVec<[LabelSelector; 1]>,
}

impl Constraints {
    fn add(&mut self, constraint: &SpreadConstraint, selector: &LabelSelector) {
        let at = self.selectors.iter().position(|known| known == selector).unwrap_or_else(|| {
            self.selectors.push(selector.clone());
            self.selectors.len() - 1
        });
        self.list.push(Constraint {
            key: constraint.topology_key.clone(),
            is_hostname: constraint.topology_key == HOSTNAME,
            max_skew: constraint.max_skew,
            min_domains: constraint.min_domains,
            honor_node_affinity: constraint.honor_node_affinity,
            honor_node_taints: constraint.honor_node_taints,
            selector: at,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn selector(&self, constraint: &Constraint) -> &LabelSelector {
        &self.selectors[constraint.selector]
    }

    /// Whether the node has the labels of all constraints.
    pub(super) fn keys_on(&self, labels: &Labels) -> bool {
        self.list.iter().all(|constraint| labels.get(&constraint.key).is_some())
    }

    /// The number of pods on a node that count, per selector; `counts` caches the numbers already known for this node.
    pub(super) fn count(
        &self,
        constraint: &Constraint,
        node: &NodeInfo,
        namespace: &Atom,
        counts: &mut SmallVec<[Option<i64>; 2]>,
    ) -> i64 {
        if let [selector] = &*self.selectors {
            if let Some(Some(known)) = counts.first() {
                return *known;
            }
            let counted = count(node, selector, namespace);
            counts.push(Some(counted));
            return counted;
        }
        if counts.is_empty() {
            counts.resize(self.selectors.len(), None);
        }
        *counts[constraint.selector]
            .get_or_insert_with(|| count(node, &self.selectors[constraint.selector], namespace))
    }
}

/// The number of pods on the node and in the namespace that match the selector and are not terminating. An empty selector counts none.
pub(super) fn count(node: &NodeInfo, selector: &LabelSelector, namespace: &Atom) -> i64 {
    if selector.is_everything() {
        return 0;
    }
    let counts =
        |pod: &&Arc<Pod>| !pod.deleting && pod.namespace == *namespace && selector.matches(&pod.labels);
    // A node holds at most a few hundred pods.
    node.pods_for(selector).iter().filter(counts).count() as i64
}

/// Whether a node takes part in a pod's spreading; computed at most once per node.
pub(super) struct Inclusion<'a> {
    pod: &'a Pod,
    node: &'a Node,
    affinity: Option<bool>,
    taints: Option<bool>,
}

impl<'a> Inclusion<'a> {
    pub(super) fn new(pod: &'a Pod, node: &'a Node) -> Self {
        Self { pod, node, affinity: None, taints: None }
    }

    /// Whether the node counts for the constraint.
    pub(super) fn admits(&mut self, constraint: &Constraint) -> bool {
        let (pod, node) = (self.pod, self.node);
        if constraint.honor_node_affinity
            && !*self.affinity.get_or_insert_with(|| matches_required(pod, node))
        {
            return false;
        }
        !constraint.honor_node_taints || *self.taints.get_or_insert_with(|| tolerates_node(pod, node))
    }
}

impl PodTopologySpread {
    /// The pod's own constraints of a kind, or the defaults if it has none of either kind.
    ///
    /// # Errors
    /// A selector is not valid.
    pub(super) fn constraints(
        &self,
        pod: &Pod,
        objects: &Objects,
        kind: WhenUnsatisfiable,
    ) -> Result<Constraints, SelectorError> {
        if !pod.spread_constraints.is_empty() {
            return own(pod, kind);
        }
        let mut constraints = Constraints::default();
        let mut defaults = self.defaults.iter().filter(|c| c.when_unsatisfiable == kind).peekable();
        if defaults.peek().is_some() {
            let selector = default_selector(pod, objects);
            if !selector.is_everything() {
                defaults.for_each(|constraint| constraints.add(constraint, &selector));
            }
        }
        Ok(constraints)
    }

    /// The default constraints of a kind.
    pub(super) fn defaults_of(&self, kind: WhenUnsatisfiable) -> Constraints {
        let mut constraints = Constraints::default();
        for constraint in self.defaults.iter().filter(|c| c.when_unsatisfiable == kind) {
            constraints.add(constraint, &LabelSelector::nothing());
        }
        constraints
    }
}

/// The constraints that the pod declares.
pub(super) fn own(pod: &Pod, kind: WhenUnsatisfiable) -> Result<Constraints, SelectorError> {
    let mut constraints = Constraints::default();
    for constraint in pod.spread_constraints.iter().filter(|c| c.when_unsatisfiable == kind) {
        constraints.add(constraint, constraint.selector.as_ref().map_err(Clone::clone)?);
    }
    Ok(constraints)
}

/// Selects the pods that belong with this one: by the labels that its services select, and by the selector of its ReplicationController,
/// ReplicaSet or StatefulSet. If there are none of these, the selector is empty.
fn default_selector(pod: &Pod, objects: &Objects) -> LabelSelector {
    let mut requirements: Vec<Requirement> = Vec::new();
    for service in in_namespace(&objects.services, &pod.namespace) {
        let Ok(selector) = &service.selector else { continue };
        if service.has_selector && selector.matches(&pod.labels) {
            requirements.extend(selector.requirements().iter().cloned());
        }
    }
    if let Some(owner) = &pod.controller {
        let name = ObjectName { namespace: pod.namespace.clone(), name: owner.name.as_str().into() };
        let found = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                let found = objects.replication_controllers.get(&name);
                if let Some(Ok(selector)) = found.map(|workload| &workload.selector) {
                    // Both are maps: if both have a key, the controller's value counts.
                    let taken =
                        |r: &Requirement| selector.requirements().iter().any(|own| key(own) == key(r));
                    requirements.retain(|r| !taken(r));
                }
                found
            }
            ("apps/v1", "ReplicaSet") => objects.replica_sets.get(&name),
            ("apps/v1", "StatefulSet") => objects.stateful_sets.get(&name),
            _ => None,
        };
        // A selector that is invalid, or that matches nothing, adds no requirements.
        if let Some(Ok(selector)) = found.map(|workload| &workload.selector) {
            requirements.extend(selector.requirements().iter().cloned());
        }
    }
    LabelSelector::everything().and(requirements)
}

fn key(requirement: &Requirement) -> &Atom {
    match requirement {
        Requirement::In(key, _)
        | Requirement::NotIn(key, _)
        | Requirement::Exists(key)
        | Requirement::DoesNotExist(key)
        | Requirement::Gt(key, _)
        | Requirement::Lt(key, _) => key,
    }
}

fn in_namespace<'a>(
    objects: &'a BTreeMap<ObjectName, Workload>,
    namespace: &'a Atom,
) -> impl Iterator<Item = &'a Workload> {
    let first = ObjectName { namespace: namespace.clone(), name: Box::default() };
    objects
        .range((Bound::Included(first), Bound::Unbounded))
        .take_while(|(name, _)| name.namespace == *namespace)
        .map(|(_, workload)| workload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::{Value, json};

    fn service(namespace: &str, name: &str, selector: Value) -> Value {
        json!({"kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {"selector": selector}})
    }

    fn owned_by(api_version: &str, kind: &str) -> Arc<Pod> {
        fixture::pod(json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web", "tier": "front"},
                "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": "owner", "controller": true}]},
            "spec": {"containers": []},
        }))
    }

    fn matches(selector: &LabelSelector, labels: &[(&str, &str)]) -> bool {
        selector.matches(&labels.iter().copied().collect())
    }

    #[test]
    fn services_that_select_the_pod_are_united() {
        let snapshot = fixture::snapshot(vec![
            service("ns", "a", json!({"app": "web"})),
            service("ns", "b", json!({"tier": "front"})),
            service("ns", "not", json!({"tier": "back"})),
            service("ns", "without", Value::Null),
            service("other", "a", json!({"tier": "front", "app": "web", "x": "y"})),
        ]);
        let selector = default_selector(&owned_by("v1", "Node"), snapshot.objects());
        assert_eq!(selector.requirements().len(), 2);
        assert!(matches(&selector, &[("app", "web"), ("tier", "front")]));
        assert!(!matches(&selector, &[("app", "web")]));
    }

    #[test]
    fn the_owner_adds_its_selector() {
        let owner = |kind: &str, selector: Value| json!({"kind": kind, "metadata": {"name": "owner", "namespace": "ns"}, "spec": {"selector": selector}});
        let service = service("ns", "a", json!({"app": "web"}));
        for (api_version, kind, spec, requirements) in [
            ("apps/v1", "ReplicaSet", json!({"matchLabels": {"hash": "1"}}), 2),
            ("apps/v1", "StatefulSet", json!({"matchExpressions": [{"key": "k", "operator": "Exists"}]}), 2),
            ("apps/v1", "ReplicaSet", json!({}), 1),
            ("apps/v1", "ReplicaSet", Value::Null, 1),
            ("apps/v1", "ReplicaSet", json!({"matchExpressions": [{"key": "k", "operator": "Near"}]}), 1),
            ("extensions/v1beta1", "ReplicaSet", json!({"matchLabels": {"hash": "1"}}), 1),
            // The controller's value replaces the service's.
            ("v1", "ReplicationController", json!({"app": "other", "x": "y"}), 2),
            ("v1", "ReplicationController", json!({"app": "other"}), 1),
        ] {
            let snapshot = fixture::snapshot(vec![service.clone(), owner(kind, spec.clone())]);
            let selector = default_selector(&owned_by(api_version, kind), snapshot.objects());
            assert_eq!(selector.requirements().len(), requirements, "{api_version} {kind} {spec}");
            if kind == "ReplicationController" {
                assert!(matches(&selector, &[("app", "other"), ("x", "y")]));
            }
        }
    }

    #[test]
    fn a_pod_that_nothing_selects_has_no_default_constraints() {
        let plugin = PodTopologySpread {
            defaults: super::super::args::defaults(&Value::Null).expect("defaults").0,
            system_defaults: true,
        };
        let pod = owned_by("v1", "Node");
        let of = |snapshot: &secondmate_framework::Snapshot, kind| {
            plugin.constraints(&pod, snapshot.objects(), kind).expect("no selector is invalid").list.len()
        };
        assert_eq!(of(&fixture::snapshot(vec![]), WhenUnsatisfiable::ScheduleAnyway), 0);
        let selected = fixture::snapshot(vec![service("ns", "a", json!({"app": "web"}))]);
        assert_eq!(of(&selected, WhenUnsatisfiable::ScheduleAnyway), 2);
        assert_eq!(of(&selected, WhenUnsatisfiable::DoNotSchedule), 0);
    }
}
