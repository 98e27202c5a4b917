//! NodeAffinity: nodes must have, or preferably have, the labels that the pod asks for.

use crate::arguments;
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter, Handle,
    Hint, NodeParts, Normalization, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome,
    PreScore, Score, Status,
};
use secondmate_model::{Atom, Node, NodeInfo, NodeSelector, NodeSelectorTerm, Pod, wire};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodeAffinity";

const REASON_POD: &str = "node(s) didn't match Pod's node affinity/selector";
const REASON_ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
const REASON_CONFLICT: &str = "pod affinity terms conflict";

/// The plugin.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    /// What the configuration requires of each node, in addition to the pod's requirements.
    added_required: Option<NodeSelector>,
    /// What the configuration prefers, in addition to the pod's preferences.
    added_preferred: Box<[(i32, NodeSelectorTerm)]>,
}

/// The pod's preferences were found to be valid.
#[derive(Clone, Copy)]
struct Sound;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    added_affinity: Option<wire::NodeAffinity>,
}

/// Creates the plugin from `NodeAffinityArgs`.
///
/// # Errors
/// A term of `addedAffinity` cannot be evaluated.
pub fn new(args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = arguments::parse(NAME, args)?;
    let Some(added) = args.added_affinity else { return Ok(Arc::new(NodeAffinity::default())) };
    let added_required = added.required.as_ref().map(NodeSelector::new);
    if let Some((index, error)) = added_required.as_ref().and_then(|selector| selector.errors().next()) {
        return Err(arguments::refused(
            NAME,
            format!(
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]: {error}"
            ),
        ));
    }
    let added_preferred: Box<[_]> =
        added.preferred.iter().map(|term| (term.weight, NodeSelectorTerm::new(&term.preference))).collect();
    if let Some(error) = preference_error(&added_preferred) {
        return Err(arguments::refused(
            NAME,
            format!("addedAffinity.preferredDuringSchedulingIgnoredDuringExecution: {error}"),
        ));
    }
    Ok(Arc::new(NodeAffinity { added_required, added_preferred }))
}

/// Whether the node matches the pod's `nodeSelector` and its required node affinity.
#[must_use]
pub fn matches_required(pod: &Pod, node: &Node) -> bool {
    matches_node_selector(pod, node)
        && required(pod).is_none_or(|selector| selector.matches(&node.name, &node.labels))
}

fn matches_node_selector(pod: &Pod, node: &Node) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}

fn required(pod: &Pod) -> Option<&NodeSelector> {
    pod.affinity.as_ref().and_then(|affinity| affinity.node_required.as_ref())
}

fn preferred(pod: &Pod) -> &[(i32, NodeSelectorTerm)] {
    pod.affinity.as_ref().map_or(&[], |affinity| &affinity.node_preferred)
}

/// Why preferences cannot be evaluated, in upstream's words. Terms with weight 0 are not checked.
fn preference_error(terms: &[(i32, NodeSelectorTerm)]) -> Option<String> {
    let problems: Vec<String> = terms
        .iter()
        .enumerate()
        .filter(|(_, (weight, _))| *weight != 0)
        .flat_map(|(index, (_, term))| {
            term.problems.iter().map(move |problem| format!("[{index}].{problem}"))
        })
        .collect();
    match problems.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(format!("[{}]", problems.join(", "))),
    }
}

/// What the node has in place of a label that it should have.
fn has(node: &Node, key: &Atom) -> String {
    node.labels.get(key).map_or("has no such label".to_owned(), |value| format!("has {value}"))
}

/// The nodes that node affinity names.
fn named(selector: &NodeSelector) -> Fact {
    let of_term = |term: &NodeSelectorTerm| {
        let texts: Vec<String> = term.fields.iter().map(ToString::to_string).collect();
        texts.join(",")
    };
    let terms: Vec<String> = selector.terms.iter().map(of_term).collect();
    Fact::new(format!("node affinity wants {}, which no node can meet", terms.join(" or ")))
        .helped_by("a node affinity that some node can meet")
}

/// What a node lacks for each of the alternatives.
fn unmet(selector: &NodeSelector, node: &Node) -> String {
    let of_term = |term: &NodeSelectorTerm| {
        if let Some(error) = &term.error {
            return format!("what cannot be evaluated ({error})");
        }
        let labels = term.labels.iter().filter(|wanted| !wanted.matches(&node.labels));
        let fields = term.fields.iter().filter(|wanted| !wanted.matches(&node.name));
        let texts: Vec<String> =
            labels.map(ToString::to_string).chain(fields.map(ToString::to_string)).collect();
        if texts.is_empty() { "nothing, and so matches nothing".to_owned() } else { texts.join(",") }
    };
    let terms: Vec<String> = selector.terms.iter().map(of_term).collect();
    if terms.is_empty() { "nothing, and so matches nothing".to_owned() } else { terms.join(" or ") }
}

fn weight_of_matching(terms: &[(i32, NodeSelectorTerm)], node: &Node) -> i64 {
    terms
        .iter()
        .filter(|(_, term)| term.matches(&node.name, &node.labels))
        .map(|(weight, _)| i64::from(*weight))
        .sum()
}

impl NodeAffinity {
    fn is_enforced_met(&self, node: &Node) -> bool {
        self.added_required.as_ref().is_none_or(|selector| selector.matches(&node.name, &node.labels))
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::NODE_AFFINITY, NodeParts::NAME | NodeParts::LABELS).judged_at_admission()
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL)]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        let Some(node) = change.new.as_ref().and_then(|new| new.node()) else { return Hint::Queue };
        let old = change.old.as_ref().and_then(|old| old.node());
        // Where no term matches and one cannot be parsed, upstream gives up and tries the pod again, whatever the node was before.
        let is_error = || {
            matches_node_selector(pod, node)
                && required(pod).is_some_and(|selector| selector.errors().next().is_some())
        };
        let matches = if matches_required(pod, node) {
            old.is_none_or(|old| !matches_required(pod, old))
        } else {
            is_error()
        };
        let now_matches = self.is_enforced_met(node) && matches;
        if now_matches { Hint::Queue } else { Hint::Skip }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let Some(node) = node.map(NodeInfo::node) else {
            return required(pod).map(named).into_iter().collect();
        };
        let enforced = self.added_required.as_ref().filter(|_| !self.is_enforced_met(node));
        if let Some(selector) = enforced {
            return vec![Fact::new(format!(
                "the scheduler's configuration (addedAffinity) wants {}",
                unmet(selector, node)
            ))];
        }
        let lacking = pod.node_selector.iter().filter(|(key, value)| node.labels.get(key) != Some(value));
        let mut facts: Vec<Fact> = lacking
            .map(|(key, value)| {
                Fact::new(format!("nodeSelector wants {key}={value}, {}", has(node, key)))
                    .helped_by(format!("a node with the label {key}={value}"))
            })
            .collect();
        if let Some(selector) = required(pod).filter(|s| !s.matches(&node.name, &node.labels)) {
            let unmet = unmet(selector, node);
            let fact = Fact::new(format!("node affinity wants {unmet}"));
            let can_match = selector
                .terms
                .iter()
                .any(|term| term.error.is_none() && (!term.labels.is_empty() || !term.fields.is_empty()));
            facts.push(if can_match { fact.helped_by(format!("a node with {unmet}")) } else { fact });
        }
        facts
    }
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, _cx: &Context<'_>, _state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let required = required(pod);
        if required.is_none() && self.added_required.is_none() && pod.node_selector.is_empty() {
            return Status::skip().into();
        }
        let mut nodes: Option<BTreeSet<Atom>> = None;
        for term in required.map_or(&[][..], |selector| &selector.terms) {
            let Some((first, others)) = term.name_lists.split_first() else {
                // This alternative may match any node.
                return Status::SUCCESS.into();
            };
            let in_all = first.iter().filter(|name| others.iter().all(|list| list.contains(name)));
            nodes.get_or_insert_default().extend(in_all.cloned());
        }
        match nodes {
            Some(nodes) if nodes.is_empty() => Status::unresolvable(REASON_CONFLICT).into(),
            nodes => PreFilterOutcome { status: Status::SUCCESS, nodes },
        }
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _cx: &Context<'_>, _state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if !self.is_enforced_met(node.node()) {
            Status::unresolvable(REASON_ENFORCED)
        } else if !matches_required(pod, node.node()) {
            Status::unresolvable(REASON_POD)
        } else {
            Status::SUCCESS
        }
    }
}

impl PreScore for NodeAffinity {
    fn pre_score(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
    ) -> Status {
        let preferred = preferred(pod);
        if let Some(error) = preference_error(preferred) {
            return Status::error(error);
        }
        if preferred.is_empty() && self.added_preferred.is_empty() {
            return Status::skip();
        }
        state.write(Sound);
        Status::SUCCESS
    }
}

impl Score for NodeAffinity {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let preferred = preferred(pod);
        // If PreScore did not run for this plugin.
        if state.read::<Sound>().is_none()
            && let Some(error) = preference_error(preferred)
        {
            return Err(Status::error(error));
        }
        let node = node.node();
        Ok(weight_of_matching(&self.added_preferred, node) + weight_of_matching(preferred, node))
    }

    fn normalization(&self) -> Normalization {
        Normalization::ToMaximum
    }
}

#[cfg(test)]
mod tests;
