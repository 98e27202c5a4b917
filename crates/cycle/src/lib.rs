//! The scheduling cycle: profiles, and the evaluation of one pod over the nodes of a frozen snapshot.
//!
//! A profile is made once, and everything else is the caller's (the snapshot, the nominations, the random numbers). The plain pass
//! holds no state of its own; the standing evaluation keeps what it found out about classes of pods, which changes no answer. Whoever wants to know where a pod would go asks an [`Evaluate`]: the scheduler, `explain`, the differential test
//! and the benchmarks. Explaining is the same pass with every node looked at and everything kept ([`Scope::Every`]). It must never know what becomes of the answer: queue, cache, bindings and effects are the core's.

mod evaluate;
pub mod evaluation;
pub mod note;
pub mod panics;
mod plain;
mod pre_enqueue;
pub mod probe;
mod profile;
mod random;
mod standing;

pub use evaluate::{Answer, Details, Evaluate, Outcome, Question, Rejection, Scope};
pub use plain::{NO_NODES, Plain};
pub use profile::{At, PluginLists, PluginRef, Profile, ProfileError, ProfileSpec, multi_point};
pub use random::Random;
pub use standing::{Standing, StandingCounts, StandingSettings, Why, hash_parts, same_parts};
