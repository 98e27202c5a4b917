//! The plain evaluation of one pod over the nodes of a snapshot: the extension points from PreFilter to NormalizeScore.
//!
//! The rules of each extension point and for combining the answers of its plugins. [`Plain`](crate::Plain) calls them in order.

mod extenders;
mod facts;
mod feasible;
mod filters;
mod last_look;
mod post_filter;
mod score;

pub use extenders::{confirm_preemption, filter_by_extenders, prioritize_by_extenders};
pub use facts::facts;
pub use feasible::{Feasible, PreFiltered, Search, find_feasible, node_count_to_find, pre_filter};
pub use filters::{FilterRunner, nominated_with};
pub use last_look::{still_admitted, still_fits};
pub use post_filter::post_filter;
pub(crate) use score::Scorers;
pub use score::{PluginScores, Scored, score};

use secondmate_model::Atom;

/// A plugin failed, so the whole attempt fails with this message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The plugin.
    pub plugin: Atom,
    /// The message, in upstream's words.
    pub message: String,
}

impl Failure {
    /// A failure of a plugin.
    #[must_use]
    pub fn new(plugin: &Atom, message: String) -> Self {
        Self { plugin: plugin.clone(), message }
    }
}
