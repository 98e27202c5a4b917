//! Evictions: the budgets that allow it are looked at, and the victim is marked as disrupted and then deleted.

use super::{BudgetReader, Leading, PodRef, is_other_pod, wire_time};
use crate::call::{Call, CallError, Caller, Content};
use crate::inbox::{Inbox, Message};
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use http::Method;
use secondmate_core::port::{EvictError, Evicted, Input};
use secondmate_model::objects::ObjectName;
use secondmate_model::{Atom, Pod};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Maximum concurrent evictions.
const CONCURRENCY: usize = 16;
/// How long the answer is held back if a budget allows no disruption any more. The preemptor is retried at once, and until the watch shows that
/// budget, it would choose the same victim again.
const UNTIL_SHOWN: Duration = Duration::from_secs(1);

/// Evicts pods.
#[derive(Clone)]
pub(crate) struct Evictor {
    caller: Caller,
    leading: Leading,
    inbox: Inbox,
    tasks: Tasks,
    budgets: BudgetReader,
    slots: Arc<Semaphore>,
}

impl Evictor {
    pub fn new(caller: Caller, leading: Leading, inbox: Inbox, tasks: Tasks, budgets: BudgetReader) -> Self {
        Self { caller, leading, inbox, tasks, budgets, slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    /// Evicts the victim, unless one of the budgets that it relies on allows no disruption any more.
    pub fn evict(&self, victim: Arc<Pod>, preemptor: &Pod, profile: &Atom, relied_on: Vec<ObjectName>) {
        let this = self.clone();
        let (pod, preemptor) = (PodRef::from(&*victim), preemptor.uid.clone());
        let mark = (!victim.preempted_by_scheduler).then(|| mark(&pod, profile, victim.generation));
        let tasks = self.tasks.clone();
        tasks.spawn("eviction", async move {
            let slot = this.slots.acquire().await.expect("the semaphore is never closed");
            let result = match this.budgets.exhausted(&victim, &relied_on).await {
                None => this.evict_now(&pod, mark).await,
                Some(budget) => {
                    drop(slot);
                    let why = format!("PodDisruptionBudget {budget} allows no disruption any more");
                    tracing::info!(pod = pod.full_name(), "not evicted: {why}");
                    sleep(UNTIL_SHOWN).await;
                    Err(EvictError::NotDone(why))
                }
            };
            let answer = Input::EvictFinished { preemptor, victim: pod.uid, result };
            let _ = this.inbox.send(Message::Answered(answer)).await;
        });
    }

    /// Like upstream's `preemptPod`: the condition comes first, so that a Job does not count the pod as failed.
    async fn evict_now(&self, pod: &PodRef, mark: Option<Call>) -> Result<Evicted, EvictError> {
        if let Some(mark) = mark {
            match self.send(&mark, RetryPolicy::STATUS).await {
                Ok(()) => {}
                Err(Failure::Call(error)) if is_other_pod(&error) => return Ok(Evicted::Gone),
                Err(failure) => return Err(EvictError::NotDone(words(pod, "mark", failure))),
            }
        }
        match self.send(&delete(pod), RetryPolicy::DELETION).await {
            Ok(()) => Ok(Evicted::Deleted),
            // It is already gone (perhaps because of an earlier attempt whose answer was lost), or another pod has taken its name.
            Err(Failure::Call(CallError::Answered { code: 404 | 409, .. })) => Ok(Evicted::Gone),
            Err(failure) => Err(not_deleted(pod, failure)),
        }
    }

    async fn send(&self, call: &Call, policy: RetryPolicy) -> retry::Result {
        retry::send(&self.caller, call, policy, &self.leading).await
    }
}

/// Why a deletion was given up. If it was refused or not sent, no earlier attempt can have carried it out either: otherwise, the failure
/// would be the one of that attempt.
fn not_deleted(pod: &PodRef, failure: Failure) -> EvictError {
    let is_not_done = match &failure {
        Failure::NotLeading | Failure::Call(CallError::NotSent(_)) => true,
        Failure::Call(CallError::Answered { code, .. }) => *code < 500,
        Failure::Call(CallError::Lost(_)) => false,
    };
    let message = words(pod, "delete", failure);
    if is_not_done { EvictError::NotDone(message) } else { EvictError::Unknown(message) }
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
    use crate::lease::Term;
    use http::{Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use secondmate_telemetry::Metrics;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

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
        let not_sent = Failure::Call(CallError::NotSent("refused".to_owned()));
        let cannot_connect = "cannot delete pod n/p: cannot connect to the API server: refused";
        assert_eq!(not_deleted(&pod(), not_sent), not_done(cannot_connect));
        let not_leading = "this scheduler is not the leader any more";
        assert_eq!(not_deleted(&pod(), Failure::NotLeading), not_done(not_leading));
    }

    /// Evicts a pod that has its mark; the API server answers the attempts with these codes in turn, with the last one for ever.
    async fn evicted(codes: &'static [u16]) -> &'static str {
        let tries = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let at = tries.fetch_add(1, Ordering::Relaxed).min(codes.len() - 1);
            let answer = Response::builder().status(codes[at]).body(Body::empty()).expect("a response");
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(60));
        let (_sender, term) = watch::channel(Some(Term::unlimited()));
        let (inbox, _messages) = Inbox::new(&Metrics::new());
        let (tasks, _failures) = Tasks::new(CancellationToken::new());
        let budgets = BudgetReader::new(caller.clone(), Metrics::new());
        let evictor = Evictor::new(caller, Leading::new(term), inbox, tasks, budgets);
        match evictor.evict_now(&pod(), None).await {
            Ok(Evicted::Deleted) => "deleted",
            Ok(Evicted::Gone) => "gone",
            Err(EvictError::NotDone(_)) => "not done",
            Err(EvictError::Unknown(_)) => "unknown",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_after_an_attempt_that_may_have_deleted_the_pod_does_not_say_that_it_stays() {
        for (codes, said) in [
            (&[200][..], "deleted"),
            (&[500, 200], "deleted"),
            (&[403], "not done"),
            (&[429], "not done"),
            (&[500, 403], "unknown"),
            (&[500, 429], "unknown"),
            (&[404], "gone"),
            (&[500, 404], "gone"),
            // Another pod has its name.
            (&[500, 409], "gone"),
        ] {
            assert_eq!(evicted(codes).await, said, "{codes:?}");
        }
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
