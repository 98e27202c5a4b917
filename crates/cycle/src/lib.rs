//! The scheduling cycle: profiles, and the evaluation of one pod over the nodes of a frozen snapshot.
//!
//! It holds no state of its own: a profile is made once, and everything else is the caller's (the snapshot, the nominations, the
//! random numbers). Whoever wants to know where a pod would go calls this crate: the scheduler, `explain`, the differential test and
//! the benchmarks. It must never know what becomes of the answer: queue, cache, bindings and effects are the core's.

pub mod attempt;
pub mod evaluation;
pub mod note;
mod pre_enqueue;
pub mod probe;
mod profile;
mod random;

pub use profile::{PluginLists, PluginRef, Profile, ProfileError, ProfileSpec};
pub use random::Random;
