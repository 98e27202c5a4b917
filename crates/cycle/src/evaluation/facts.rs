//! The facts behind a verdict, for people: given by the plugin that gave the verdict, in the same state of the cluster.

use super::FilterRunner;
use crate::profile::Profile;
use secondmate_framework::{Context, CycleState, Fact};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;

/// The plugin's facts about its rejection of the node, or, if `node` is `None`, of the whole pod. `state` is the cycle's, as the
/// filters left it. If pods are nominated to the node, the filter saw it with them, so the facts are first requested in that
/// state.
#[must_use]
pub fn facts(
    profile: &Profile,
    cx: &Context<'_>,
    state: &CycleState,
    pod: &Arc<Pod>,
    plugin: &Atom,
    node: Option<&NodeInfo>,
) -> Vec<Fact> {
    let Some(plugin) = profile.plugins().iter().find(|known| known.name == *plugin) else {
        return Vec::new();
    };
    if let Some(node) = node
        && let Ok(Some((node, state))) =
            FilterRunner::new(profile, state).with_nominated(cx, state, pod, node)
    {
        let facts = plugin.plugin.facts(cx, &state, pod, Some(&node));
        if !facts.is_empty() {
            return facts;
        }
    }
    plugin.plugin.facts(cx, state, pod, node)
}
