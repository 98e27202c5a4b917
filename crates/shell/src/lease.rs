//! Leader election on a Lease: client-go's algorithm, plus what is needed to keep two leaders from existing at once.
//!
//! One [`Election`] runs in one task and is the only writer of a [`Term`]; everything else holds a `watch::Receiver<Option<Term>>` and
//! checks it before each write. The rules:
//!
//! * **Only the local, monotonic clock counts.** A standby remembers when it *saw* the record change, and takes over when the record has
//!   not changed for `leaseDurationSeconds` since. The times in the record are for people; the clocks of machines may differ by hours.
//! * **Every write carries the `resourceVersion` that was read.** Of two candidates that see an expired Lease, one gets 409 and remains a
//!   standby. If the Lease is missing, it is created, where 409 means the same; a standby that has seen a live holder waits for the end of
//!   that term first, even if the Lease was deleted.
//! * **Leadership ends by itself.** The renew deadline runs from the moment *before* the last successful write was sent. When it passes,
//!   for whatever reason (errors, an API server that never answers, a starved task), the term is first withdrawn and only then reported as
//!   ended; [`Term::is_valid`] turns false even if this task does not run.
//! * **Every call has a timeout** of half the renew deadline, cut short by the deadline itself.
//! * **The release comes last**: whatever cancels the election has already stopped its binders. Holder "" and a duration of one second let
//!   a standby take over the next time it reads the Lease.
//!
//! A process that has lost its Lease must exit, as kube-scheduler does: the cache may be behind, and starting afresh is simpler than
//! proving that it is not.
//!
//! # Limitations
//!
//! The Lease does not fence other requests. A bind that left this process just before its term ended may reach the API server after another
//! process has become leader. That is safe for the pod (a Binding requires an empty `nodeName` and the pod's UID, so two binds cannot both
//! succeed), but it can overcommit a node, and the kubelet then rejects the pod.
//!
//! On Linux, the monotonic clock does not advance while a machine is suspended. A virtual machine that is suspended beyond the end of its
//! lease still considers its term valid for up to the renew deadline after it resumes.

mod api;
mod claim;
mod credentials;
mod election;
mod name;
mod program;
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
pub(crate) use credentials::{Credentials, are_read_once};
pub use election::{Election, ElectionConfig, ElectionConfigError, ElectionEnd, ElectionHandle, WallClock};
pub use name::{LeaseName, LeaseNameError, LeaseNameSources};
pub(crate) use program::Program;
pub use term::Term;
