//! Write a WebAssembly guest in Rust: a plugin for secondmate, and for kube-scheduler with kube-scheduler-wasm-extension.
//!
//! A guest is a library of kind `cdylib` for `wasm32-unknown-unknown`. It implements the trait of each extension point at which it acts
//! and names itself and them once:
//!
//! ```
//! use secondmate_guest::{Cycle, PreScore, Score, Status};
//!
//! #[derive(Default)]
//! struct NodeNumber {
//!     /// Last digit of the pod's name: what the guest remembers between two extension points.
//!     digit: Option<char>,
//! }
//!
//! fn last_digit(name: &str) -> Option<char> {
//!     name.chars().last().filter(char::is_ascii_digit)
//! }
//!
//! impl PreScore for NodeNumber {
//!     fn pre_score(&mut self, cycle: &Cycle) -> Status {
//!         self.digit = last_digit(cycle.pod().name());
//!         Status::success()
//!     }
//! }
//!
//! impl Score for NodeNumber {
//!     fn score(&mut self, _cycle: &Cycle, node: &str) -> Result<i32, Status> {
//!         Ok(if last_digit(node) == self.digit { 10 } else { 0 })
//!     }
//! }
//!
//! secondmate_guest::guest!(NodeNumber: PreScore, Score);
//! # fn main() {}
//! ```
//!
//! The plugin is made by `Default` at the beginning of every scheduling cycle, so what it remembers is of this cycle; what is to last
//! longer goes into a `static`. `no_std`: there is nothing here but `alloc`. What the guest asks for is fetched when it asks, each time;
//! only the pod is kept for the cycle. A panic ends the attempt to schedule the pod, with the message in the pod's event.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[doc(hidden)]
pub mod abi;
mod cycle;
mod events;
mod export;
mod handle;
mod log;
mod objects;
mod plugin;
pub mod protobuf;
mod status;

pub use cycle::{Cycle, config};
pub use events::{ClusterEvent, Resource, action};
pub use handle::{EventType, event, reject_waiting_pod};
pub use log::{Severity, log};
pub use objects::{ImageState, Node, Pod, image_states, node, node_list};
pub use plugin::{
    Bind, Enqueue, Filter, NormalizeScore, Permit, PostBind, PostFilter, PreBind, PreFilter, PreScore,
    Reading, Reserve, Score,
};
pub use status::{Code, Status};
