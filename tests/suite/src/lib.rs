//! What the tests on the real control plane share: a cluster that one file's tests use together, a stretch of it that
//! one test has for itself, objects to create and what the schedulers said about them.
//!
//! What it holds: a [`Stage`] per test file, for as long as the test process lives. Who writes it: the tests, one
//! [`World`] at a time where the number of nodes shows in what schedulers say. What bounds it: every wait has
//! [`DEADLINE`]; nothing sleeps for a fixed time. What it must never know: the crates of the scheduler under test, which
//! is a program here.

mod audit;
mod board;
mod objects;
mod observed;
mod stage;
mod world;

pub use audit::{Audit, Bindings};
pub use board::{Query, labels_by_metric, queries_side_by_side};
pub use objects::{bound_volume, claim, deployment, merge, node, object, pod, requests};
pub use observed::{Event, Verdict, condition, described_events, events, node_of, over_allocatable, verdict};
pub use stage::{SharedStage, Stage, repository};
pub use world::World;

use std::time::Duration;

/// For whatever is waited for: seconds on two idle cores, more where programs are built beside.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// The scheduler under test.
pub const OWN: &str = "my-scheduler";

/// kube-scheduler.
pub const DEFAULT: &str = "default-scheduler";

/// Both, in the order in which results are compared: kube-scheduler's is what is expected.
pub const BOTH: [&str; 2] = [DEFAULT, OWN];
