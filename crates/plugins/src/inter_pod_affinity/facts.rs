//! Which pods, and which of the terms, are behind a rejection.

use super::filter::{Counted, FilterState, meaning};
use crate::facts::{list, named};
use secondmate_framework::{CycleState, Fact, Snapshot};
use secondmate_model::{Atom, NodeInfo, Pod};

/// The terms that the node does not satisfy, with the pods that they are about.
pub(super) fn facts(snapshot: &Snapshot, state: &CycleState, pod: &Pod, node: &NodeInfo) -> Vec<Fact> {
    let Some(state) = state.read::<FilterState>() else { return Vec::new() };
    let mut facts = Vec::new();
    let counted = state.counted(snapshot);
    if !counted.meets_affinity(&state.incoming, &node.node().labels) {
        affinity(&mut facts, state, counted, node);
    }
    anti_affinity(&mut facts, snapshot, state, pod, node);
    if counted.existing_anti_affinity.any(&node.node().labels) {
        existing_anti_affinity(&mut facts, snapshot, state, pod, node);
    }
    facts
}

fn affinity(facts: &mut Vec<Fact>, state: &FilterState, counted: &Counted, node: &NodeInfo) {
    for term in state.incoming.affinity() {
        let (key, selector) = (&term.topology_key, &term.selector);
        let Some(value) = node.node().labels.get(key) else {
            let help = format!("the label {key} on {}", node.name());
            facts.push(Fact::new(format!("has no label {key}, which pod affinity names")).helped_by(help));
            continue;
        };
        if counted.affinity.get(key, value) > 0 {
            continue;
        }
        // Only pods that match all terms are counted.
        let others = if state.incoming.affinity().len() > 1 { " and the other terms" } else { "" };
        let text = format!("affinity wants a pod {selector}{others} in {key}={value}, none is there");
        facts.push(Fact::new(text).helped_by(format!("a pod {selector} in {key}={value}")));
    }
}

fn anti_affinity(
    facts: &mut Vec<Fact>,
    snapshot: &Snapshot,
    state: &FilterState,
    pod: &Pod,
    node: &NodeInfo,
) {
    for (at, term) in state.incoming.anti_affinity().iter().enumerate() {
        let key = &term.topology_key;
        let Some(value) = node.node().labels.get(key) else { continue };
        if state.counted(snapshot).anti_affinity.get(key, value) <= 0 {
            continue;
        }
        let namespaces = &state.incoming.anti_affinity_namespaces;
        let unwanted = domain(snapshot, node, key, value).filter(|other| namespaces.matches(at, term, other));
        if let Some(names) = list(unwanted, pod) {
            let text =
                format!("anti-affinity keeps it from pods {} in {key}={value}: {names}", term.selector);
            facts.push(Fact::new(text).helped_by(format!("a {key} without pods {}", term.selector)));
        }
    }
}

fn existing_anti_affinity(
    facts: &mut Vec<Fact>,
    snapshot: &Snapshot,
    state: &FilterState,
    pod: &Pod,
    node: &NodeInfo,
) {
    let with_terms = snapshot.nodes_with_required_anti_affinity().filter(|other| other.name() != node.name());
    for info in with_terms.map(AsRef::as_ref).chain([node]) {
        for existing in info.pods_with_required_anti_affinity() {
            for term in meaning(existing, pod, &state.incoming.namespace_labels) {
                let key = &term.topology_key;
                let labels = &info.node().labels;
                let Some(value) = labels.get(key).filter(|value| node.node().labels.get(key) == Some(*value))
                else {
                    continue;
                };
                let text = format!(
                    "pod {} wants no pod {} in its {key}={value}",
                    named(existing, pod),
                    term.selector
                );
                facts.push(Fact::new(text).helped_by(format!("a {key} without such pods")));
                // A single one is enough to keep the pod away.
                return;
            }
        }
    }
}

/// The pods in a node's domain; the node itself is taken as given, since it may hold more pods than in the snapshot.
fn domain<'a>(
    snapshot: &'a Snapshot,
    node: &'a NodeInfo,
    key: &'a Atom,
    value: &'a Atom,
) -> impl Iterator<Item = &'a Pod> {
    let in_domain = move |other: &&'a NodeInfo| {
        other.name() != node.name() && other.node().labels.get(key) == Some(value)
    };
    let others = snapshot.nodes().iter().map(AsRef::as_ref).filter(in_domain);
    std::iter::once(node).chain(others).flat_map(NodeInfo::pods).map(AsRef::as_ref)
}
