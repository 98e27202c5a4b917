//! The plain evaluation of one pod over the nodes of a snapshot: the extension points from PreFilter to NormalizeScore.
//!
//! It is the reference: one node after the other through the plugin traits, as the extension points say. Cycle, preemption and
//! `explain` all use it.

mod feasible;
mod post_filter;
mod score;

pub use feasible::{
    Feasible, FilterRunner, PreFiltered, Search, find_feasible, node_count_to_find, pre_filter,
};
pub use post_filter::post_filter;
pub use score::{PluginScores, Scored, score};

use secondmate_framework::Status;
use secondmate_model::Atom;

/// A plugin failed: the whole attempt fails with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The plugin.
    pub plugin: Atom,
    /// The text, in upstream's words.
    pub message: String,
}

impl Failure {
    /// A failure of a plugin.
    #[must_use]
    pub fn new(plugin: &Atom, message: String) -> Self {
        Self { plugin: plugin.clone(), message }
    }

    /// As a status.
    #[must_use]
    pub fn into_status(self) -> Status {
        Status::error(self.message).by(&self.plugin)
    }
}
