//! Fuzzing of every parser that reads what others write: objects, watch lines, configurations, kubeconfigs, files, requests.
//!
//! ```text
//!  seeds/TARGET/* ─▶ mutate (trees, texts, bytes; a seed and a number give the input) ─▶ target (parse, hold against its rules)
//!                                                                                          │
//!                            watchdog: too long, too much memory ─▶ campaign ◀─ panic, broken rule
//! ```
//!
//! A [`Target`] is a function of bytes that says which rule they break. A [`Campaign`] feeds it inputs made from the seeds of
//! its folder; each is known by the campaign's seed and its number, so a line is enough to have it again.
//!
//! What it holds: nothing between inputs, but what the parsers themselves keep (the table of atoms). What bounds it: the number of
//! inputs, a time for each, and the memory of the process. What it must never know: what an input means.

mod campaign;
mod mutate;
mod random;
mod seeds;
mod targets;
mod watchdog;

pub use campaign::{Campaign, Finding, Summary};
pub use mutate::Form;
pub use targets::{TARGETS, Target, target};
pub use watchdog::{Limits, Watchdog};
