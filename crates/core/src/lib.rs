//! The deterministic core: cache, queue, cycle, binding, preemption.
//!
//! The core is a state machine without I/O. It holds all state of the scheduler (one [`Scheduler`], written by one thread),
//! takes an [`Input`](port::Input) at a time and returns [`Effect`](port::Effect)s. It knows no clock, no network, no async
//! runtime and no chance but its seed: the same inputs, times and seed give the same effects.
//!
//! What bounds it: the cache and the queue hold what the cluster has; everything else (events kept for pods in flight,
//! bindings, preemptions) belongs to pods in the queue and goes with them.

pub mod attempt;
pub mod cache;
mod changes;
pub mod evaluation;
pub mod heap;
mod nominations;
pub mod note;
pub mod port;
mod pre_enqueue;
pub mod probe;
mod profile;
pub mod queue;
mod random;
mod scheduler;

pub use nominations::Nominator;
pub use profile::{PluginLists, PluginRef, Profile, ProfileError, ProfileSpec};
pub use random::Random;
pub use scheduler::{CacheDifference, CycleReport, Scheduler, SchedulerConfig, Sizes};
