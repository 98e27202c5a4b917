//! Evictions: a victim is marked as disrupted and then deleted.

use super::{Leading, PodRef, is_other_pod, wire_time};
use crate::call::{Call, CallError, Caller, Content};
use crate::inbox::{Inbox, Message};
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use http::Method;
use secondmate_core::port::{EvictError, Evicted, Input};
use secondmate_model::{Atom, Pod};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Maximum concurrent evictions.
const CONCURRENCY: usize = 16;

/// Evicts pods.
#[derive(Clone)]
pub(crate) struct Evictor {
    caller: Caller,
    leading: Leading,
    inbox: Inbox,
    tasks: Tasks,
    slots: Arc<Semaphore>,
}

impl Evictor {
    pub fn new(caller: Caller, leading: Leading, inbox: Inbox, tasks: Tasks) -> Self {
        Self { caller, leading, inbox, tasks, slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    pub fn evict(&self, victim: &Pod, preemptor: &Pod, profile: &Atom) {
        let this = self.clone();
        let (pod, preemptor, profile) = (PodRef::from(victim), preemptor.uid.clone(), profile.clone());
        let mark = (!victim.preempted_by_scheduler).then(|| mark(&pod, &profile, victim.generation));
        let tasks = self.tasks.clone();
        tasks.spawn("eviction", async move {
            let _slot = this.slots.acquire().await.expect("the semaphore is never closed");
            let result = this.evict_now(&pod, mark).await;
            let answer = Input::EvictFinished { preemptor, victim: pod.uid, result };
            let _ = this.inbox.send(Message::Answered(answer)).await;
        });
    }

    /// Like upstream's `preemptPod`: the condition comes first, so that a Job does not count the pod as failed.
    async fn evict_now(&self, pod: &PodRef, mark: Option<Call>) -> Result<Evicted, EvictError> {
        if let Some(mark) = mark {
            match self.send(&mark).await {
                Ok(()) => {}
                Err(Failure::Call(error)) if is_other_pod(&error) => return Ok(Evicted::Gone),
                Err(failure) => return Err(EvictError::NotDone(words(pod, "mark", failure))),
            }
        }
        match self.send(&delete(pod)).await {
            Ok(()) => Ok(Evicted::Deleted),
            // It is already gone (perhaps because of an earlier attempt whose answer was lost), or another pod has taken its name.
            Err(Failure::Call(CallError::Answered { code: 404 | 409, .. })) => Ok(Evicted::Gone),
            Err(failure) => Err(not_deleted(pod, failure)),
        }
    }

    async fn send(&self, call: &Call) -> retry::Result {
        retry::send(&self.caller, call, RetryPolicy::STATUS, &self.leading).await
    }
}

/// Why a deletion was given up. Unless the API server refused it, it may have been carried out, by an earlier attempt if not by the
/// last one.
fn not_deleted(pod: &PodRef, failure: Failure) -> EvictError {
    let is_refused = match &failure {
        Failure::NotLeading => true,
        Failure::Call(CallError::Answered { code, .. }) => *code < 500,
        Failure::Call(CallError::NotSent(_) | CallError::Lost(_)) => false,
    };
    let message = words(pod, "delete", failure);
    if is_refused { EvictError::NotDone(message) } else { EvictError::Unknown(message) }
}

fn words(pod: &PodRef, what: &str, failure: Failure) -> String {
    match failure {
        Failure::NotLeading => "this scheduler is not the leader any more".to_owned(),
        Failure::Call(error) => format!("cannot {what} pod {}: {error}", pod.full_name()),
    }
}

fn mark(pod: &PodRef, profile: &Atom, generation: i64) -> Call {
    let now = wire_time(jiff::Timestamp::now());
    let body = json!({
        "metadata": { "uid": pod.uid.as_str() },
        "status": { "conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{profile}: preempting to accommodate a higher priority pod"),
            "lastTransitionTime": now,
            "observedGeneration": generation,
        }] },
    });
    let path = format!("{}/status", pod.path());
    Call::new(Method::PATCH, path, Content::StrategicMergePatch, body.to_string().into_bytes())
}

fn delete(pod: &PodRef) -> Call {
    let body = json!({ "preconditions": { "uid": pod.uid.as_str() } });
    Call::new(Method::DELETE, pod.path(), Content::Json, body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodRef {
        PodRef {
            namespace: Atom::new("n"),
            name: "p".into(),
            uid: secondmate_model::Uid::from("u"),
            resource_version: "1".into(),
        }
    }

    #[test]
    fn a_deletion_that_nobody_refused_may_have_been_carried_out() {
        let answered = |code| {
            let error = CallError::Answered { code, message: "no".to_owned(), retry_after: None };
            not_deleted(&pod(), Failure::Call(error))
        };
        let not_done = |message: &str| EvictError::NotDone(message.to_owned());
        let unknown = |message: &str| EvictError::Unknown(format!("cannot delete pod n/p: {message}"));
        assert_eq!(answered(403), not_done("cannot delete pod n/p: no"));
        assert_eq!(answered(500), unknown("no"));
        let lost = Failure::Call(CallError::Lost("time-out".to_owned()));
        assert_eq!(not_deleted(&pod(), lost), unknown("no answer from the API server: time-out"));
        // An attempt before that may have been lost.
        let not_sent = Failure::Call(CallError::NotSent("refused".to_owned()));
        assert_eq!(not_deleted(&pod(), not_sent), unknown("cannot connect to the API server: refused"));
        let not_leading = "this scheduler is not the leader any more";
        assert_eq!(not_deleted(&pod(), Failure::NotLeading), not_done(not_leading));
    }

    #[test]
    fn the_mark_is_upstreams() {
        let pod = pod();
        let call = mark(&pod, &Atom::new("my-scheduler"), 3);
        assert_eq!(call.path, "/api/v1/namespaces/n/pods/p/status");
        let mut body: serde_json::Value = serde_json::from_slice(&call.body).expect("JSON");
        let condition = &mut body["status"]["conditions"][0];
        assert!(condition["lastTransitionTime"].take().is_string());
        assert_eq!(
            *condition,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": "my-scheduler: preempting to accommodate a higher priority pod",
                "lastTransitionTime": null, "observedGeneration": 3,
            })
        );
    }
}
