//! NodeNumber: a score plugin that prefers the node whose name ends with the digit with which the pod's name ends.

use secondmate_framework::{
    Context, CycleState, MAX_NODE_SCORE, NodeInfo, Plugin, PluginError, Pod, Score, Status, serde_json,
};
use std::sync::Arc;

/// The plugin. Its argument `reverse: true` prefers all other nodes instead.
pub struct NodeNumber {
    reverse: bool,
}

impl NodeNumber {
    /// From the `args` of its `pluginConfig`.
    ///
    /// # Errors
    /// `reverse` is there and not a boolean.
    pub fn new(args: &serde_json::Value) -> Result<Self, PluginError> {
        let reverse = match args.get("reverse") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| PluginError::Arguments {
                plugin: "NodeNumber".to_owned(),
                reason: format!("reverse: {value} is not a boolean"),
            })?,
        };
        Ok(Self { reverse })
    }
}

impl Plugin for NodeNumber {
    fn name(&self) -> &str {
        "NodeNumber"
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl Score for NodeNumber {
    fn score(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        let digit = |name: &str| name.chars().last().filter(char::is_ascii_digit);
        let equal = digit(&pod.name).is_some_and(|d| digit(node.name().as_str()) == Some(d));
        Ok(if equal != self.reverse { MAX_NODE_SCORE } else { 0 })
    }
}
