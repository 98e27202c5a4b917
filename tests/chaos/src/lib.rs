//! Scenes in which the control plane, or the way to it, breaks while the scheduler binds pods, and the judge of how they end.
//!
//! What it holds: a cluster ([`Arena`]) for as many scenes as end well, and of each scene its scheduler, its namespace and its
//! pods. Who writes it: one scene at a time. What bounds it: every wait has a deadline, the load and the faults end with the
//! scene. What it must never know: the crates of the scheduler under test, which is a program here; what it did is told by the API
//! server's audit log and objects, never by its own word.

mod arena;
mod judge;
mod modes;
mod proxy;
mod report;
mod scenes;

pub use arena::{Arena, Scale};
pub use report::{Row, print};
pub use scenes::{play, scene_names};
