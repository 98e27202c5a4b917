//! The core alone, without any API: random cluster histories under a simulated clock.
//!
//! A simulated API server holds the truth (`world/server.rs`). It reaches the core through watches that lag behind at random, are not
//! ordered relative to each other, fall silent, break, and are relisted, sometimes from a state older than what they have
//! shown. A simulated shell (`world/shell.rs`) carries out the effects: late, out of order, not at all, or without an answer. It loses
//! its leadership, and it crashes and restarts. Users (`world/users.rs`) create, change and delete pods with CPU, memory, a scalar
//! resource, host ports, gates and priorities, nodes that come, go, shrink and are cordoned, and budgets. A plugin makes pods wait on
//! permit and does work before they are bound; pods spread and repel each other.
//!
//! In a living cluster ([`Options::living`]) there are two other schedulers (`world/others.rs`), controllers and kubelets
//! (`world/workloads.rs`), and, depending on the options, tenants and the bind guard's books and rules (`world/guarded.rs`).
//!
//! After every input and every step, [`secondmate_core::Scheduler::check`] checks the core from inside. The world checks the rest from
//! outside: that the cache is what the core was told, that nothing is written without leadership, that tenants are kept apart,
//! budgets not overdrawn and evictions not repeated in a loop (`world/judge.rs`), that no kubelet rejects what the guard approved, and,
//! when the faults have ended, that every pod that fits is bound. The numbers in the messages are those of the invariants in
//! `ARCHITECTURE.md`.
//!
//! A history is a list of [`Step`]s and a seed. [`short()`] makes dense ones of some hundred steps, [`Life`] makes years. One that breaks
//! something is shrunk ([`shrink()`]) to a few steps and kept as a file in `histories`, which a test replays.

mod counts;
mod extender;
mod history;
mod odd;
mod options;
mod play;
mod short;
mod shrink;
mod slow;
mod world;
mod year;

pub use counts::Counts;
pub use history::{Action, History, Step};
pub use odd::Odd;
pub use options::{Log, Options};
pub use play::{Broken, Played, note_panics, play};
pub use short::short;
pub use shrink::shrink;
pub use world::World;
pub use year::{BURST, DAY, DAY_LENGTH, Life, days, options_of_life};
