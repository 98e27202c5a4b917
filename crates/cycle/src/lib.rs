//! The scheduling cycle: profiles, and the evaluation of one pod over the nodes of a frozen snapshot.
//!
//! A profile is created once; everything else (the snapshot, the nominations, the random numbers) belongs to the caller. The
//! plain pass holds no state of its own; the standing evaluation keeps what it has found out about classes of pods, which changes
//! no answer. To find out where a pod would go, use an [`Evaluate`], as the scheduler, `explain`, the differential test and the
//! benchmarks do. Explaining is the same pass, with every node looked at and all details kept ([`Scope::Every`]). The crate must
//! never know what happens with an answer: queue, cache, bindings and effects belong to the core.

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
