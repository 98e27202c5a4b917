//! Answers what the scheduler would decide about pods, using a cluster from a file.
//!
//! [`read`] splits the text into objects, [`Cluster`] holds them in the form of the scheduler's cache and snapshot, and
//! [`Explainer`] evaluates pending pods against it, each on its own, with the scheduler's own code. It answers with an
//! [`Explanation`]: as one JSON object, or as text for people, with the facts that the plugins give. No pod is placed and nothing
//! is changed.
//!
//! State: one frozen cluster, written once by [`Cluster::load`], and bounded by the file. The crate must never know about
//! clients, runtimes and clocks; the same file always gives the same answer. If the profiles have extenders, they are asked: the
//! caller provides the way to call them, or their answers from a record.

mod answer;
mod classes;
mod cluster;
mod evaluate;
mod extenders;
mod facts;
mod filling;
mod gaps;
mod lines;
mod objects;
mod read;
mod table;

pub use answer::{Explanation, NodeAnswer, PostFilterAnswer, PreFilterRejection, ScoreAnswer, Verdict};
pub use classes::{Kinds, explain_kinds, write_json};
pub use cluster::{Cluster, NotPending};
pub use evaluate::Explainer;
pub use extenders::{AskedExtender, ExtenderAnswer, ExtenderCalls, ExtenderNotes};
pub use facts::{Facts, RejectedGroup};
pub use filling::FilledIn;
pub use gaps::gaps;
pub use objects::{Item, Keep, Place};
pub use read::{Ignored, Live, ReadError, ReadErrors, Reading, read, read_live, read_values};
pub use table::{Style, render};
