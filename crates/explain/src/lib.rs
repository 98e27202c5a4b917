//! What the scheduler would say about pods, asked of a cluster that stands in a file.
//!
//! [`read`] takes the text apart into objects, [`Cluster`] holds them as the scheduler's cache and snapshot do, [`Explainer`]
//! evaluates pending pods against it, each on its own, with the code that schedules, and answers with an [`Explanation`]: as one
//! JSON object, or as text for people, with the facts that the plugins tell. Nothing is placed and nothing is changed.
//!
//! What it holds: one frozen cluster. Who writes it: [`Cluster::load`], once. What bounds it: the file. What it must never know:
//! clients, runtimes and clocks; the same file gives the same answer every day. Extenders are asked where the profiles have any: the caller
//! knows how, or has their answers from a record.

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
