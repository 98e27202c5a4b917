//! Everything that is written to the API server, with one module for each kind of write.
//!
//! All of them ask [`Leading`] before each request, and give a request up when the term ends: a process that does not lead, or is not sure
//! to, writes nothing. Bindings,
//! plugins' writes, looks at pods, reads of nodes and evictions are answered to the core; the core makes no more of them than
//! the engine allows. The status of pods and events are not answered: they have bounded queues of their own.

mod bind;
mod budgets;
mod events;
mod evict;
mod pace;
mod plugin;
mod read_node;
mod series;
mod status;
mod verify;

pub(crate) use bind::Binder;
pub(crate) use budgets::{BudgetReader, relied_on};
pub(crate) use events::{EventNote, EventSink, EventSinkConfig};
pub(crate) use evict::Evictor;
pub(crate) use plugin::PluginWriter;
pub(crate) use read_node::NodeReader;
pub(crate) use status::{StatusChange, StatusWriter};
pub(crate) use verify::Verifier;

use crate::call::CallError;
use crate::lease::Term;
use secondmate_model::{Atom, Pod, Uid};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep_until;

/// How long after a change of leaders a watch may still show what the earlier one did: the API server works on its last request for half a
/// minute at most, and the watch is late.
const LAST_WORK_OF_A_LEADER: Duration = Duration::from_secs(45);

/// The right to write.
#[derive(Clone, Debug)]
pub(crate) struct Leading(watch::Receiver<Option<Term>>);

impl Leading {
    pub fn new(term: watch::Receiver<Option<Term>>) -> Self {
        Self(term)
    }

    /// Whether this process may write now.
    pub fn may_write(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(Term::is_valid)
    }

    /// Returns when this process may not write any more; at once if it may not now. The clock is asked each time this is polled, so that
    /// whatever it is raced against makes no step after the end of the term.
    pub async fn ended(&self) {
        let mut term = self.0.clone();
        let mut told = pin!(async move {
            loop {
                let end = match &*term.borrow_and_update() {
                    Some(term) if term.is_valid() => term.ends_at(),
                    _ => return,
                };
                let over = async {
                    match end {
                        Some(end) => sleep_until(end).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = over => {}
                    Ok(()) = term.changed() => {}
                }
            }
        });
        std::future::poll_fn(|cx| if self.may_write() { told.as_mut().poll(cx) } else { Poll::Ready(()) })
            .await;
    }

    /// Whether nothing that an earlier leader sent can still be on its way: this process leads, and has for a while where there was
    /// one before.
    pub fn is_settled(&self) -> bool {
        let settled = |term: &Term| {
            term.is_valid() && (term.transitions() == 0 || term.acquired().elapsed() > LAST_WORK_OF_A_LEADER)
        };
        self.0.borrow().as_ref().is_some_and(settled)
    }

    /// Whether the term has expired without having been withdrawn: the election is stuck.
    pub fn is_overdue(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|term| !term.is_valid())
    }

    /// Returns when leadership has begun or ended; never returns once the election is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What identifies a pod in a write. Smaller than the pod itself, since a queue may hold many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PodRef {
    pub namespace: Atom,
    pub name: Box<str>,
    pub uid: Uid,
    pub resource_version: Box<str>,
}

impl PodRef {
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl From<&Pod> for PodRef {
    fn from(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
        }
    }
}

/// Whether a pod is gone, or another pod has taken its name: a patch with the UID of the first would change an immutable field.
pub(crate) fn is_other_pod(error: &CallError) -> bool {
    match error {
        CallError::Answered { code: 404, .. } => true,
        CallError::Answered { code: 422, message, .. } => message.contains("metadata.uid: Invalid value"),
        _ => false,
    }
}

/// A point in time in the format of `metav1.Time`.
pub(crate) fn wire_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A point in time in the format of `metav1.MicroTime`.
pub(crate) fn wire_micro_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_was_made_again_is_another_pod() {
        let answered = |code, message: &str| CallError::Answered {
            code,
            message: message.to_owned(),
            retry_after: None,
        };
        assert!(is_other_pod(&answered(404, "pods \"a\" not found")));
        assert!(is_other_pod(&answered(
            422,
            "Pod \"a\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable"
        )));
        assert!(!is_other_pod(&answered(
            422,
            "Pod \"a\" is invalid: status.nominatedNodeName: Invalid value"
        )));
        assert!(!is_other_pod(&answered(503, "")));
    }
}
