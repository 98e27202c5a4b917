//! Leader election on a Lease: client-go's algorithm, with the parts that keep two leaders from existing at once.
//!
//! One [`Election`] runs in one task and is the only writer of a [`Term`]; everybody else holds a
//! `watch::Receiver<Option<Term>>` and asks it before each write. The rules:
//!
//! * **Only the local, monotonic clock counts.** A standby remembers when it *saw* the record change and takes over when
//!   the record has not changed for `leaseDurationSeconds` since. The times in the record are for people; clocks of
//!   machines may differ by hours.
//! * **Every write carries the `resourceVersion` that was read.** Of two candidates that see an expired Lease one gets
//!   409 and stays a standby. A missing Lease is created, where 409 means the same; a standby that has seen a live holder
//!   waits for the end of that term first, even if the Lease was deleted.
//! * **Leadership ends by itself.** The renew deadline runs from the moment *before* the last successful write was sent.
//!   When it passes, for whatever reason (errors, an API server that never answers, a starved task), the term is
//!   withdrawn first and only then reported; [`Term::is_valid`] turns false even if this task does not run.
//! * **Every call has a time-out** of half the renew deadline, cut short by the deadline itself.
//! * **Release comes last**: whoever cancels the election has stopped its binders before. Holder "" and a duration of one
//!   second let a standby take over at its next look.
//!
//! A process that lost its lease must exit, as kube-scheduler does: the cache may be behind, and a fresh start is simpler
//! than to prove that it is not.
//!
//! # What this cannot do
//!
//! The Lease fences no other request. A bind that left this process just before its term ended may reach the API server
//! after another process leads. That is safe for the pod (the Binding needs an empty `nodeName` and the pod's UID: two
//! binds cannot both succeed) but can overcommit a node, which the kubelet then refuses.
//!
//! The monotonic clock of Linux does not advance while a machine is suspended. A virtual machine that sleeps through its
//! lease and wakes up believes in its term for up to the renew deadline.

mod api;
mod claim;
mod credentials;
mod election;
mod name;
mod term;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

pub use api::{CallError, KubeLease, LeaseApi};
pub use claim::{
    CONFIGURATION_ANNOTATION, Claim, Conflict, HOLDER_ANNOTATION, LEASE_LABEL, MAY_NOT_LIST_ANNOTATION,
    Observation, SCHEDULER_NAMES_ANNOTATION, identity,
};
pub(crate) use credentials::Credentials;
pub use election::{Election, ElectionConfig, ElectionConfigError, ElectionEnd, ElectionHandle, WallClock};
pub use name::{LeaseName, LeaseNameError, LeaseNameSources};
pub use term::Term;
