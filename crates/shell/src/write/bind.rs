//! Bindings: with the pod's UID as precondition, a bounded number at a time, and a clear outcome for each.
//!
//! A binding must not overtake a change of the pod's status: a change that arrived after it would mark a bound pod as unschedulable. So a
//! waiting change is dropped, and a change in flight is awaited.

use super::pace::Pace;
use super::{Leading, PodRef, StatusWriter};
use crate::call::{Call, CallError, Caller, Content};
use crate::inbox::{Inbox, Message};
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use http::Method;
use secondmate_core::port::{BindOutcome, Input};
use secondmate_framework::ApiWrite;
use secondmate_model::{Atom, Pod, Uid};
use secondmate_telemetry::Metrics;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bindings the core may have handed over, for each that can be in flight. More would only wait in line while the choice of the
/// node gets stale; fewer would leave connections idle.
const HANDED_OVER_PER_SLOT: usize = 2;

/// Sends bindings. Clones share the slots.
#[derive(Clone)]
pub(crate) struct Binder {
    shared: Arc<Shared>,
}

struct Shared {
    caller: Caller,
    leading: Leading,
    inbox: Inbox,
    metrics: Metrics,
    tasks: Tasks,
    status: StatusWriter,
    /// One slot for each binding in flight; each has its own connection (HTTP/1.1).
    pace: Pace,
    /// Bindings that wait for a slot or are in flight.
    handed_over: AtomicUsize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Binding<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    target: Target<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
}

impl Binder {
    pub fn new(
        caller: Caller,
        leading: Leading,
        inbox: Inbox,
        metrics: Metrics,
        tasks: Tasks,
        status: StatusWriter,
        concurrency: usize,
    ) -> Self {
        let pace = Pace::new(concurrency, metrics.bind_concurrency.clone());
        let handed_over = AtomicUsize::new(0);
        Self {
            shared: Arc::new(Shared { caller, leading, inbox, metrics, tasks, status, pace, handed_over }),
        }
    }

    /// Whether another binding would soon be sent.
    pub fn takes_more(&self) -> bool {
        let handed_over = self.shared.handed_over.load(Ordering::Relaxed);
        handed_over < self.shared.pace.limit().saturating_mul(HANDED_OVER_PER_SLOT)
    }

    /// Binds the pod to the node with a Binding.
    pub fn bind(&self, pod: &Pod, node: &Atom, annotations: &BTreeMap<String, String>) {
        let path = format!("{}/binding", PodRef::from(pod).path());
        let binding = Binding {
            api_version: "v1",
            kind: "Binding",
            metadata: Metadata {
                name: &pod.name,
                namespace: pod.namespace.as_str(),
                uid: pod.uid.as_str(),
                annotations,
            },
            target: Target { api_version: "v1", kind: "Node", name: node.as_str() },
        };
        let body = serde_json::to_vec(&binding).expect("texts and maps of texts can be written as JSON");
        let call = Call::new(Method::POST, path, Content::Json, body);
        self.send(pod.uid.clone(), call, RetryPolicy::BIND);
    }

    /// Binds the pod with a plugin's own write; it is not known what making that write twice would do.
    pub fn bind_by(&self, pod: &Pod, write: &ApiWrite) {
        self.send(pod.uid.clone(), super::plugin::call(write), RetryPolicy::ONCE);
    }

    fn send(&self, uid: Uid, call: Call, policy: RetryPolicy) {
        let shared = Arc::clone(&self.shared);
        let tasks = shared.tasks.clone();
        shared.handed_over.fetch_add(1, Ordering::Relaxed);
        tasks.spawn("binding", async move {
            shared.status.settle(&uid).await;
            let slot = shared.pace.slot().await;
            shared.metrics.binding_tasks.inc();
            let result = retry::send(&shared.caller, &call, policy, &shared.leading).await;
            shared.metrics.binding_tasks.dec();
            shared.pace.done(slot, went_well(&result));
            shared.handed_over.fetch_sub(1, Ordering::Relaxed);
            shared.count(&result);
            let answer = Message::Answered(Input::BindFinished(uid, outcome(result)));
            // If the scheduling thread has ended, nobody is waiting for the answer.
            let _ = shared.inbox.send(answer).await;
        });
    }
}

impl Shared {
    fn count(&self, result: &retry::Result) {
        let code;
        let label = match result {
            Ok(()) => "201",
            Err(Failure::NotLeading) => "not_sent",
            Err(Failure::Call(CallError::NotSent(_))) => "no_connection",
            Err(Failure::Call(CallError::Lost(_))) => "no_answer",
            Err(Failure::Call(CallError::Answered { code: answered, .. })) => {
                code = answered.to_string();
                &code
            }
        };
        self.metrics.bind_requests(label).inc();
    }
}

/// Whether the API server was working: it answered, and did not say that it is too busy or broken. `None` if it was not asked.
fn went_well(result: &retry::Result) -> Option<bool> {
    match result {
        Ok(()) => Some(true),
        Err(Failure::NotLeading) => None,
        Err(Failure::Call(CallError::Answered { code, .. })) => Some(*code < 500 && *code != 429),
        Err(Failure::Call(CallError::NotSent(_) | CallError::Lost(_))) => Some(false),
    }
}

/// What the result of a call means for the pod.
fn outcome(result: retry::Result) -> BindOutcome {
    match result {
        Ok(()) => BindOutcome::Bound,
        Err(Failure::NotLeading) => BindOutcome::NotSent,
        Err(Failure::Call(CallError::Answered { code, message, .. })) if code < 500 => {
            BindOutcome::Refused { code, message }
        }
        // A gateway's 5xx says nothing about what the API server did.
        Err(Failure::Call(error)) => BindOutcome::Unknown { message: error.to_string() },
    }
}
