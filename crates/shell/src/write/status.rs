//! The condition `PodScheduled` and the nominated node of waiting pods.
//!
//! One change a pod waits at most: a newer one is merged into it, so that a pod that is tried often costs one request when the
//! API server has time. Of one pod one change is on its way at a time, so that an older one cannot overtake a newer; and none
//! while the pod is bound ([`StatusWriter::settle`]). What comes while one is on its way waits behind the other pods.

use super::{Leading, PodRef, is_other_pod, wire_time};
use crate::call::{Call, CallError, Caller, Content};
use crate::heartbeat::Heartbeat;
use crate::outage::Outage;
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use dashmap::{DashMap, Entry};
use http::Method;
use secondmate_core::port::{NominationPatch, ScheduledCondition};
use secondmate_model::Uid;
use secondmate_telemetry::{Metrics, metrics::BoundedQueue};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

/// Maximum number of pods with a waiting change. At 300 bytes each, some 5 MB. At the bound, changes are dropped and counted: the core sees
/// from the pod's status that the change was not written, and requests it again after the next attempt.
const WAITING_MAX: usize = 16_384;
/// Maximum concurrent changes in flight.
const CONCURRENCY: usize = 8;

/// A change of a pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusChange {
    pub pod: PodRef,
    pub condition: Option<ScheduledCondition>,
    /// The change flips the condition to False: it was missing, or True.
    pub flips: bool,
    pub nomination: NominationPatch,
}

impl StatusChange {
    fn merge(&mut self, newer: Self) {
        self.pod = newer.pod;
        if newer.condition.is_some() {
            self.condition = newer.condition;
            self.flips = newer.flips;
        }
        if newer.nomination != NominationPatch::Keep {
            self.nomination = newer.nomination;
        }
    }

    fn call(&self) -> Call {
        let mut status = Map::new();
        if let Some(condition) = &self.condition {
            let mut written = json!({
                "type": "PodScheduled",
                "status": "False",
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": condition.observed_generation,
                "lastProbeTime": null,
            });
            if self.flips {
                written["lastTransitionTime"] = wire_time(jiff::Timestamp::now()).into();
            }
            status.insert("conditions".to_owned(), json!([written]));
        }
        match &self.nomination {
            NominationPatch::Keep => {}
            NominationPatch::Set(node) => {
                // Null removes the field, as in upstream's patch.
                let node = node.as_ref().map_or(Value::Null, |n| n.as_str().into());
                status.insert("nominatedNodeName".to_owned(), node);
            }
        }
        // The UID is a precondition: another pod with the same name is left alone.
        let body = json!({ "metadata": { "uid": self.pod.uid.as_str() }, "status": status });
        let path = format!("{}/status", self.pod.path());
        Call::new(Method::PATCH, path, Content::StrategicMergePatch, body.to_string().into_bytes())
    }
}

/// The state of a pod's change.
enum Slot {
    Waiting(StatusChange),
    /// In flight, with what has come in meanwhile.
    Sending(Option<StatusChange>),
    /// In flight for the last time: the binding of the pod waits for its end.
    Ending(oneshot::Sender<()>),
}

/// Writes the status of pods. Clones share the queue.
#[derive(Clone)]
pub(crate) struct StatusWriter {
    shared: Arc<Shared>,
}

struct Shared {
    caller: Caller,
    leading: Leading,
    /// Written by the scheduling thread and by every writer task: pods in different shards do not contend.
    slots: DashMap<Uid, Slot>,
    order: mpsc::Sender<Uid>,
    metrics: BoundedQueue,
    tasks: Tasks,
    heartbeat: Heartbeat,
    outage: Outage,
}

impl StatusWriter {
    pub fn start(caller: Caller, leading: Leading, metrics: &Metrics, tasks: Tasks, outage: Outage) -> Self {
        let (order, queue) = mpsc::channel(WAITING_MAX);
        let metrics = metrics.bounded_queue("status", WAITING_MAX);
        let heartbeat = Heartbeat::new();
        let shared =
            Shared { caller, leading, slots: DashMap::new(), order, metrics, tasks, heartbeat, outage };
        let shared = Arc::new(shared);
        shared.tasks.spawn_lasting("writer of status", work(Arc::clone(&shared), queue));
        Self { shared }
    }

    /// Checks that the writer takes what is waiting for it.
    ///
    /// # Errors
    /// It has taken nothing for too long.
    pub fn check(&self) -> Result<(), String> {
        self.shared.heartbeat.check_writer("status", self.shared.metrics.length.get())
    }

    /// Drops the change that waits for the pod, and returns when none is in flight: after the current attempt at the latest.
    pub async fn settle(&self, uid: &Uid) {
        let ended = match self.shared.slots.entry(uid.clone()) {
            Entry::Occupied(mut slot) => match slot.get() {
                // Its entry in the order remains, and will find nothing.
                Slot::Waiting(_) => {
                    slot.remove();
                    return;
                }
                Slot::Sending(_) | Slot::Ending(_) => {
                    let (end, ended) = oneshot::channel();
                    slot.insert(Slot::Ending(end));
                    ended
                }
            },
            Entry::Vacant(_) => return,
        };
        // This also ends if the writer has been stopped.
        let _ = ended.await;
    }

    /// Puts a change into the queue; never waits.
    pub fn submit(&self, change: StatusChange) {
        let uid = change.pod.uid.clone();
        match self.shared.slots.entry(uid.clone()) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Waiting(older) | Slot::Sending(Some(older)) => older.merge(change),
                Slot::Sending(next) => *next = Some(change),
                // The core does not report anything about a pod while it is being bound.
                Slot::Ending(_) => {}
            },
            Entry::Vacant(slot) => {
                if self.shared.order.try_send(uid).is_ok() {
                    slot.insert(Slot::Waiting(change));
                    self.shared.metrics.length.inc();
                } else {
                    self.shared.metrics.full.inc();
                }
            }
        }
    }
}

async fn work(shared: Arc<Shared>, mut queue: mpsc::Receiver<Uid>) {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    while let Some(uid) = queue.recv().await {
        shared.heartbeat.beat();
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        let shared = Arc::clone(&shared);
        let tasks = shared.tasks.clone();
        tasks.spawn("status of a pod", async move {
            shared.send(&uid).await;
            shared.metrics.length.dec();
            drop(slot);
        });
    }
}

impl Shared {
    /// Sends what waits for the pod.
    async fn send(&self, uid: &Uid) {
        let Some(change) = self.begin(uid) else { return };
        let call = change.call();
        let wanted = || !self.is_ending(uid);
        match retry::send_while(&self.caller, &call, RetryPolicy::STATUS, &self.leading, wanted).await {
            Ok(()) => {}
            // The pod is gone, or another one has its name, or somebody else changes it all the time.
            Err(Failure::Call(error))
                if is_other_pod(&error) || matches!(error, CallError::Answered { code: 409, .. }) =>
            {
                debug!(pod = change.pod.full_name(), "status not written: the pod is gone");
            }
            Err(Failure::NotLeading) => {}
            // Of an outage the watches tell, once.
            Err(Failure::Call(error)) if error.is_outage() && self.outage.is_on() => {
                debug!(pod = change.pod.full_name(), "cannot write the pod's status: {error}");
            }
            Err(Failure::Call(error)) => {
                warn!(pod = change.pod.full_name(), "cannot write the pod's status: {error}");
            }
        }
        // However it ended: where every change takes long, the next is taken late, and the writer is not stuck.
        self.heartbeat.beat();
        self.end(uid);
    }

    /// Takes the waiting change. An entry in the order that a binding has voided finds none, or finds one that another task is sending.
    fn begin(&self, uid: &Uid) -> Option<StatusChange> {
        let mut slot = self.slots.get_mut(uid).filter(|slot| matches!(**slot, Slot::Waiting(_)))?;
        match std::mem::replace(&mut *slot, Slot::Sending(None)) {
            Slot::Waiting(change) => Some(change),
            Slot::Sending(_) | Slot::Ending(_) => None,
        }
    }

    fn is_ending(&self, uid: &Uid) -> bool {
        self.slots.get(uid).is_some_and(|slot| matches!(*slot, Slot::Ending(_)))
    }

    /// What has come while the change was on its way goes to the end of the order, so that a pod whose changes take long keeps nobody
    /// else waiting; where nothing has, the pod leaves the queue.
    fn end(&self, uid: &Uid) {
        let Entry::Occupied(mut slot) = self.slots.entry(uid.clone()) else { return };
        match slot.insert(Slot::Sending(None)) {
            Slot::Waiting(change) | Slot::Sending(Some(change)) => {
                if self.order.try_send(uid.clone()).is_ok() {
                    slot.insert(Slot::Waiting(change));
                    self.metrics.length.inc();
                    return;
                }
                self.metrics.full.inc();
            }
            Slot::Sending(None) => {}
            // If the binding has been given up, nobody is waiting.
            Slot::Ending(end) => drop(end.send(())),
        }
        slot.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Term;
    use kube_client::client::Body;
    use secondmate_model::Atom;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    fn change(message: Option<&str>, nomination: NominationPatch) -> StatusChange {
        StatusChange {
            pod: PodRef {
                namespace: Atom::new("n"),
                name: "p".into(),
                uid: Uid::from("u"),
                resource_version: "1".into(),
            },
            condition: message.map(|m| ScheduledCondition {
                reason: "Unschedulable",
                message: m.to_owned(),
                observed_generation: 2,
            }),
            flips: false,
            nomination,
        }
    }

    #[test]
    fn a_newer_change_wins_and_keeps_what_it_does_not_say() {
        let mut waiting = change(Some("old"), NominationPatch::Set(Some(Atom::new("x"))));
        waiting.merge(change(Some("new"), NominationPatch::Keep));
        assert_eq!(waiting, change(Some("new"), NominationPatch::Set(Some(Atom::new("x")))));
        waiting.merge(change(None, NominationPatch::Set(None)));
        assert_eq!(waiting, change(Some("new"), NominationPatch::Set(None)));
    }

    /// A change of the pod with this name and UID.
    fn of(pod: &str) -> StatusChange {
        let mut change = change(Some("x"), NominationPatch::Keep);
        change.pod.name = pod.into();
        change.pod.uid = Uid::from(pod);
        change
    }

    /// A writer that leads for ever.
    fn writer(client: kube_client::Client) -> StatusWriter {
        let caller = Caller::new(client, None, Duration::from_secs(600));
        let (_, leading) = watch::channel(Some(Term::unlimited()));
        let (tasks, _) = Tasks::new(CancellationToken::new());
        StatusWriter::start(caller, Leading::new(leading), &Metrics::new(), tasks, Outage::default())
    }

    /// A webhook that fails only when its time is up: a change is given up after forty seconds, and the core has made a newer one by then.
    #[tokio::test(start_paused = true)]
    async fn pods_whose_changes_fail_slowly_keep_no_other_from_its_turn_and_the_writer_counts_as_alive() {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            asked.send(request.uri().path().to_owned()).expect("the test waits for it");
            async {
                sleep(Duration::from_secs(10)).await;
                let answer = http::Response::builder().status(500).body(Body::empty());
                Ok::<_, std::convert::Infallible>(answer.expect("a response"))
            }
        });
        let writer = writer(kube_client::Client::new(service, "default"));
        for second in 0..600 {
            for n in 0..CONCURRENCY {
                writer.submit(of(&n.to_string()));
            }
            if second == 30 {
                writer.submit(of("another"));
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(writer.check(), Ok(()), "after {second} s");
        }
        let mut tries = std::collections::BTreeMap::<String, usize>::new();
        while let Ok(path) = asks.try_recv() {
            *tries.entry(path).or_default() += 1;
        }
        let tries_of = |pod: &str| tries.get(&format!("/api/v1/namespaces/n/pods/{pod}/status")).copied();
        assert_eq!(tries_of("another"), Some(4), "one change, tried as often as any");
        assert!(tries_of("0").is_some_and(|count| count > 4), "the newer changes are sent, too: {tries:?}");
    }

    /// Two pods' bindings: of the second one a change waited, and was forgotten; the next one is on its way when the void place comes up.
    #[tokio::test(start_paused = true)]
    async fn a_place_that_a_binding_has_made_void_frees_nobody_elses() {
        let (asked, mut asks) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let (answer, answered) = oneshot::channel();
            asked.send(answer).expect("the test waits for it");
            async move {
                let _ = answered.await;
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
            }
        });
        let writer = writer(kube_client::Client::new(service, "default"));
        // As many are on their way as may be; what comes now waits.
        let mut first = Vec::new();
        for n in 0..CONCURRENCY {
            writer.submit(of(&n.to_string()));
            first.push(asks.recv().await.expect("it is sent"));
        }
        let bound = Uid::from("bound");
        writer.submit(of("bound"));
        writer.settle(&bound).await;
        // The binding is refused, and the pod is tried again.
        writer.submit(of("bound"));
        drop(first);
        let on_its_way = asks.recv().await.expect("the newer change is sent");
        // When everything that can be done has been done, the voided entry has come up.
        sleep(Duration::from_secs(1)).await;
        let settled = tokio::spawn({
            let writer = writer.clone();
            async move { writer.settle(&bound).await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!settled.is_finished(), "the next binding waits for what is on its way");
        drop(on_its_way);
        settled.await.expect("it is settled");
    }

    #[test]
    fn the_patch_is_upstreams() {
        let call = change(Some("0/1 nodes"), NominationPatch::Set(None)).call();
        assert_eq!(call.path, "/api/v1/namespaces/n/pods/p/status");
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "metadata": {"uid": "u"},
                "status": {
                    "conditions": [{
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                        "message": "0/1 nodes", "observedGeneration": 2, "lastProbeTime": null,
                    }],
                    "nominatedNodeName": null,
                },
            })
        );
    }
}
