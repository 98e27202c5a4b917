//! The facts behind a verdict, for people: told by the plugin that gave it, in the world in which it did.

use super::FilterRunner;
use crate::profile::Profile;
use secondmate_framework::{Context, CycleState, Fact};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::sync::Arc;

/// What the plugin tells about its rejection of the node, or (without one) of the pod as a whole. `state` is the cycle's, as the
/// filters left it. Where pods are nominated to the node the filter has seen it with them, so the facts are asked for in that world
/// first.
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
