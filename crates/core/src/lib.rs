//! The deterministic core: cache, queue, binding, preemption, around the scheduling cycle of `secondmate-cycle`.
//!
//! The core is a state machine without I/O. It holds all state of the scheduler (one [`Scheduler`], written by one thread), takes
//! one [`Input`](port::Input) at a time, and returns [`Effect`](port::Effect)s. It has no clock, no network, no async runtime,
//! and no randomness except its seed: the same inputs, times and seed give the same effects.
//!
//! Bounds: the cache and the queue hold what the cluster has; everything else (events kept for pods in flight, bindings,
//! preemptions) belongs to pods in the queue and is removed with them.

pub mod cache;
mod changes;
pub mod heap;
mod nominations;
pub mod port;
pub mod queue;
mod scheduler;
pub mod shadow;
mod touched;

pub use nominations::Nominator;
pub use scheduler::{CacheDifference, CycleReport, EvaluationSettings, Scheduler, SchedulerConfig, Sizes};
