//! The core of the bind guard: may this pod be bound to this node now?
//!
//! Several schedulers on the same nodes each decide based on what they have seen, so two of them can give away the last room.
//! Every bind of every scheduler is a request that an admission webhook can refuse, so one [`Guard`] is asked about all of them,
//! one after the other. It keeps track of the nodes, the pods on them (no matter who placed them), the waiting pods, and its
//! approvals that have not been seen yet. It refuses what the node's kubelet would reject (see [`Shortage`]), and nothing else:
//! when in doubt, it lets a bind pass.
//!
//! ```text
//!            ┌───── refused: nothing is kept
//! request ───┼───── passed, not counted: what is not known, and what the API server will refuse by itself
//!            └───── approved, or passed and counted ──▶ unseen ──▶ seen on its node (the watch shows it)
//!                                                         ├──────▶ not carried out (a look at the pod says so): given back
//!                                                         └──────▶ expired (nobody could say): given back
//! ```
//!
//! It holds what the cluster has: each pod is kept once, as waiting, approved, or seen; and for each node a few names of the
//! latest arrivals. It has a single owner, uses neither clock nor network, and iterates in a defined order: the same calls with
//! the same times give the same answers.

mod approvals;
mod books;
mod rejection;
mod room;
mod verdict;
mod waiting;

pub use approvals::{Found, Look, Settled, Times};
pub use books::Guard;
pub use rejection::{is_for_want_of_room, rejection};
pub use room::Shortage;
pub use verdict::{Bind, CRITICAL_PRIORITY, Decision, First, Pass, Refusal, Standing, Verdict};
