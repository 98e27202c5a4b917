//! Events about pods (`events.k8s.io/v1`), in kube-scheduler's words. Nothing waits for them: when the queue is full, events are dropped
//! and counted, and while bindings are in flight, events give way.

use super::series::{Correlator, EventKind, Stored, Write};
use super::{Leading, PodRef, wire_micro_time};
use crate::call::{Call, CallError, Caller, Content};
use crate::heartbeat::Heartbeat;
use crate::outage::Outage;
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use http::Method;
use secondmate_core::port::{EventType, PodEvent};
use secondmate_cycle::note;
use secondmate_framework::Parity;
use secondmate_model::Atom;
use secondmate_telemetry::{Metrics, metrics::BoundedQueue};
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, warn};

/// Maximum number of waiting events. At some 300 bytes each, about 5 MB. At the bound, events are dropped and counted.
const QUEUE_MAX: usize = 16_384;
/// Above this length, the queue is emptied even while bindings are in flight.
const QUEUE_HIGH: usize = QUEUE_MAX / 2;
/// Maximum concurrent requests.
const CONCURRENCY: usize = 4;
/// How long an event gives way to bindings at most; this limits the events sent beside them to less than a hundred a second.
const HOLD_BACK: Duration = Duration::from_millis(10);
/// Maximum length of an object's name.
const NAME_BYTES_MAX: usize = 253;
const SWEEP: Duration = Duration::from_secs(60);

/// An event to be written.
#[derive(Clone, Debug)]
pub(crate) struct EventNote {
    pub regarding: PodRef,
    pub related: Option<PodRef>,
    pub kind: EventType,
    pub reason: Cow<'static, str>,
    pub action: Cow<'static, str>,
    pub note: String,
    /// In whose name it is written.
    pub controller: Atom,
    pub time: jiff::Timestamp,
}

impl From<PodEvent> for EventNote {
    fn from(event: PodEvent) -> Self {
        Self {
            regarding: PodRef::from(&*event.regarding),
            related: event.related.as_deref().map(PodRef::from),
            kind: event.kind,
            reason: event.reason,
            action: event.action,
            note: event.note,
            controller: event.profile,
            time: jiff::Timestamp::now(),
        }
    }
}

/// How events are written.
#[derive(Clone, Debug)]
pub(crate) struct EventSinkConfig {
    /// Whether a `%` in the text of a failure is mangled as upstream's formatter does.
    pub parity: Parity,
    /// The second part of `reportingInstance`.
    pub host: String,
    /// An outage is reported by the watches.
    pub outage: Outage,
}

/// Accepts events. Clones share the queue.
#[derive(Clone)]
pub(crate) struct EventSink {
    queue: mpsc::Sender<EventNote>,
    metrics: Metrics,
    bounded: BoundedQueue,
    heartbeat: Heartbeat,
    /// The number of events that have not been written yet.
    unwritten: Arc<AtomicUsize>,
}

impl EventSink {
    /// Starts the writer task. `bindings` is the number of bindings in flight.
    pub fn start(
        caller: Caller,
        leading: Leading,
        metrics: &Metrics,
        config: EventSinkConfig,
        bindings: Arc<AtomicUsize>,
        tasks: Tasks,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let bounded = metrics.bounded_queue("events", QUEUE_MAX);
        let unwritten = Arc::new(AtomicUsize::new(0));
        let heartbeat = Heartbeat::new();
        let writer = Writer {
            caller,
            leading,
            config,
            unwritten: Arc::clone(&unwritten),
            tasks: tasks.clone(),
            heartbeat: heartbeat.clone(),
        };
        tasks.spawn_lasting("writer of events", work(Arc::new(writer), receiver, bounded.clone(), bindings));
        Self { queue, metrics: metrics.clone(), bounded, heartbeat, unwritten }
    }

    /// Checks that the writer takes what is waiting for it.
    ///
    /// # Errors
    /// It has taken nothing for too long.
    pub fn check(&self) -> Result<(), String> {
        self.heartbeat.check_writer("events", self.bounded.length.get())
    }

    /// Puts an event into the queue; never waits.
    pub fn submit(&self, event: EventNote) {
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(event).is_ok() {
            self.bounded.length.inc();
        } else {
            self.unwritten.fetch_sub(1, Ordering::Relaxed);
            self.metrics.events_dropped.inc();
            self.bounded.full.inc();
        }
    }

    /// Waits until all events have been written, but no longer than this.
    pub async fn flush(&self, at_most: Duration) {
        let end = Instant::now() + at_most;
        while self.unwritten.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Writer {
    caller: Caller,
    leading: Leading,
    config: EventSinkConfig,
    unwritten: Arc<AtomicUsize>,
    tasks: Tasks,
    heartbeat: Heartbeat,
}

async fn work(
    writer: Arc<Writer>,
    mut queue: mpsc::Receiver<EventNote>,
    bounded: BoundedQueue,
    bindings: Arc<AtomicUsize>,
) {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    let mut correlator = Correlator::default();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_name = 0;
    loop {
        let (writes, counted) = tokio::select! {
            event = queue.recv() => {
                let Some(event) = event else { return };
                writer.heartbeat.beat();
                bounded.length.dec();
                if bindings.load(Ordering::Relaxed) > 0 && queue.len() < QUEUE_HIGH {
                    hold_back(&bindings).await;
                }
                let (kind, stored) = writer.prepare(event, &mut last_name);
                // A pod is bound only once: nothing repeats, so nothing is remembered.
                let write = if kind.reason == "Scheduled" {
                    Some(Write::Create(kind, stored))
                } else {
                    correlator.add(kind, stored, Instant::now())
                };
                if write.is_none() {
                    writer.unwritten.fetch_sub(1, Ordering::Relaxed);
                }
                (write.into_iter().collect(), true)
            }
            _ = sweep.tick() => (correlator.sweep(Instant::now()), false),
        };
        for write in writes {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            let writer = Arc::clone(&writer);
            let tasks = writer.tasks.clone();
            tasks.spawn("event", async move {
                writer.write(write).await;
                if counted {
                    writer.unwritten.fetch_sub(1, Ordering::Relaxed);
                }
                drop(slot);
            });
        }
    }
}

async fn hold_back(bindings: &AtomicUsize) {
    let end = Instant::now() + HOLD_BACK;
    while bindings.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        sleep(HOLD_BACK / 5).await;
    }
}

impl Writer {
    fn prepare(&self, event: EventNote, last_name: &mut i128) -> (EventKind, Stored) {
        // Two events in the same nanosecond need different names.
        *last_name = event.time.as_nanosecond().max(*last_name + 1);
        let suffix = format!(".{last_name:x}");
        let mut name = event.regarding.name.to_string();
        name.truncate(NAME_BYTES_MAX - suffix.len());
        let note = if event.reason == "FailedScheduling" {
            note::failure_note(&event.note, self.config.parity)
        } else {
            event.note
        };
        // Notes that the formatter made too long are cut once more, and so are all others: the API server would reject them.
        let note = note::cut(note);
        let kind = EventKind {
            warning: event.kind == EventType::Warning,
            reason: event.reason,
            action: event.action,
            controller: event.controller,
            regarding: event.regarding,
            related: event.related,
        };
        (kind, Stored { name: name + &suffix, note, first: event.time })
    }

    async fn write(&self, write: Write) {
        let (kind, stored) = match &write {
            Write::Create(kind, stored) | Write::Series(kind, stored, ..) => (kind, stored),
        };
        let series = match &write {
            Write::Create(..) => None,
            Write::Series(_, _, count, last) => Some((*count, *last)),
        };
        let result = match series {
            None => self.send(&self.create(kind, stored, None)).await,
            Some(series) => match self.send(&patch(kind, stored, series)).await {
                // Events live for an hour: the first of the series may be gone.
                Err(Failure::Call(CallError::Answered { code: 404, .. })) => {
                    self.send(&self.create(kind, stored, Some(series))).await
                }
                result => result,
            },
        };
        match result {
            Ok(()) | Err(Failure::NotLeading) => {}
            // The namespace is being deleted, or the event was created by an attempt whose answer was lost.
            Err(Failure::Call(CallError::Answered { code: 403 | 404 | 409, message, .. })) => {
                debug!(pod = kind.regarding.full_name(), "event not written: {message}");
            }
            Err(Failure::Call(error)) if error.is_outage() && self.config.outage.is_on() => {
                debug!(pod = kind.regarding.full_name(), "event not written: {error}");
            }
            Err(Failure::Call(error)) => {
                warn!(
                    pod = kind.regarding.full_name(),
                    reason = &*kind.reason,
                    "cannot write an event: {error}"
                );
            }
        }
    }

    async fn send(&self, call: &Call) -> retry::Result {
        retry::send(&self.caller, call, RetryPolicy::EVENT, &self.leading).await
    }

    fn create(&self, kind: &EventKind, stored: &Stored, series: Option<(u32, jiff::Timestamp)>) -> Call {
        let pod = |pod: &PodRef| Reference {
            kind: "Pod",
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            api_version: "v1",
            resource_version: pod.resource_version.to_string(),
        };
        let event = Event {
            api_version: "events.k8s.io/v1",
            kind: "Event",
            metadata: Metadata { name: &stored.name, namespace: kind.regarding.namespace.as_str() },
            event_time: wire_micro_time(stored.first),
            series: series.map(|(count, last)| Series { count, last_observed_time: wire_micro_time(last) }),
            reporting_controller: kind.controller.as_str(),
            reporting_instance: format!("{}-{}", kind.controller, self.config.host),
            action: &kind.action,
            reason: &kind.reason,
            regarding: pod(&kind.regarding),
            related: kind.related.as_ref().map(pod),
            note: &stored.note,
            r#type: if kind.warning { "Warning" } else { "Normal" },
        };
        let body = serde_json::to_vec(&event).expect("texts and numbers can be written as JSON");
        Call::new(Method::POST, events_path(kind), Content::Json, body)
    }
}

fn events_path(kind: &EventKind) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events", kind.regarding.namespace)
}

fn patch(kind: &EventKind, stored: &Stored, (count, last): (u32, jiff::Timestamp)) -> Call {
    let body = json!({ "series": { "count": count, "lastObservedTime": wire_micro_time(last) } });
    let path = format!("{}/{}", events_path(kind), stored.name);
    Call::new(Method::PATCH, path, Content::StrategicMergePatch, body.to_string().into_bytes())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    event_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Series>,
    reporting_controller: &'a str,
    reporting_instance: String,
    action: &'a str,
    reason: &'a str,
    regarding: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<Reference>,
    note: &'a str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    count: u32,
    last_observed_time: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    api_version: &'static str,
    resource_version: String,
}
