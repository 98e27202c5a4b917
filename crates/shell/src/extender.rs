//! HTTP extenders: the calls that the core makes in the middle of a cycle, and those that bind a pod.
//!
//! The scheduling thread waits for an answer no longer than the extender's timeout, and keeps its heartbeat going meanwhile. An extender
//! that is ignorable and keeps failing is not called for a while ([`breaker`]). Field names, errors and the meaning of `null` are
//! upstream's (`pkg/scheduler/extender.go`).

pub(crate) mod answer;
mod breaker;
pub(crate) mod error;
mod go_json;
mod http;
mod request;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod without_http;

use crate::connect::in_time;
use crate::heartbeat::Heartbeat;
use crate::inbox::{Inbox, Message};
use crate::options::StartError;
use crate::tasks::Tasks;
use crate::write::{EventNote, EventSink, Leading, PodRef, StatusWriter};
use breaker::{Breaker, Change, FAILURES_MAX, PAUSE};
use error::AskError;
pub use error::ExtenderConfigError;
use http::Http;
use secondmate_core::port::{BindOutcome, EventType, Input};
use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict, ExtenderVictims,
    Extenders, PreemptionCandidate,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use secondmate_telemetry::Metrics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// Interval between two heartbeats while waiting for an answer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Maximum wait for the TLS files.
const FILES_TIMEOUT: Duration = Duration::from_secs(30);

/// An extender that can be called.
pub(crate) struct Client {
    configured: secondmate_config::Extender,
    http: Http,
}

/// Builds the clients of the configured extenders. Nothing is called yet.
///
/// # Errors
/// A URL is invalid, certificates and keys cannot be used, or reading them takes too long.
pub(crate) async fn clients(configured: &[secondmate_config::Extender]) -> Result<Vec<Client>, StartError> {
    if configured.is_empty() {
        return Ok(Vec::new());
    }
    // A certificate may be a FIFO that nobody writes to, so no runtime task waits for it.
    let (runtime, configured) = (Handle::current(), configured.to_vec());
    let what = "the certificates of the extenders".to_owned();
    in_time(what, FILES_TIMEOUT, move || runtime.block_on(clients_of(&configured))).await?
}

async fn clients_of(configured: &[secondmate_config::Extender]) -> Result<Vec<Client>, StartError> {
    let mut clients = Vec::new();
    for (number, extender) in configured.iter().enumerate() {
        let http = Http::new(extender).await.map_err(|source| StartError::Extender {
            number,
            url: extender.bare_url(),
            source,
        })?;
        clients.push(Client { configured: extender.clone(), http });
    }
    Ok(clients)
}

/// What extenders share with the rest of the shell.
#[derive(Clone)]
pub(crate) struct Context {
    pub runtime: Handle,
    /// The heartbeat of the scheduling thread, which waits for answers.
    pub heartbeat: Heartbeat,
    pub metrics: Metrics,
    /// Where it is reported that an extender is suspended; if `None`, this is only logged.
    pub events: Option<EventSink>,
}

/// The extenders as the core calls them, and the one that binds.
pub(crate) fn extenders(clients: Vec<Client>, context: &Context) -> (Extenders, Option<Arc<HttpExtender>>) {
    let mut binder = None;
    let mut all = Vec::new();
    for Client { configured, http } in clients {
        let http = Arc::new(HttpExtender {
            name: configured.bare_url().into(),
            breaker: configured.ignorable.then(Breaker::default),
            configured,
            http,
            context: context.clone(),
        });
        let extender = as_configured(&http.configured, Arc::new(Calls(Arc::clone(&http))));
        if extender.verbs.bind {
            binder.get_or_insert(http);
        }
        all.push(extender);
    }
    (Extenders::new(all), binder)
}

/// The configured extenders, for evaluating pods without scheduling any: they are asked exactly what the scheduler would ask them, but none
/// is told to bind. The tasks that call them run on the caller's runtime.
///
/// # Errors
/// A URL is invalid, or certificates and keys cannot be used. Nothing is called yet.
pub async fn extenders_to_ask(configured: &[secondmate_config::Extender]) -> Result<Extenders, StartError> {
    let context = Context {
        runtime: Handle::current(),
        heartbeat: Heartbeat::new(),
        metrics: Metrics::new(),
        events: None,
    };
    Ok(extenders(clients(configured).await?, &context).0)
}

/// The configured extenders, with calls made in the given way.
///
/// # Errors
/// What `calls` returns.
pub fn extenders_called_by<E>(
    configured: &[secondmate_config::Extender],
    calls: impl Fn(&secondmate_config::Extender) -> Result<Arc<dyn CallExtender>, E>,
) -> Result<Extenders, E> {
    let each = configured.iter().map(|extender| Ok(as_configured(extender, calls(extender)?)));
    Ok(Extenders::new(each.collect::<Result<_, E>>()?))
}

/// An extender with calls made in the given way.
fn as_configured(configured: &secondmate_config::Extender, calls: Arc<dyn CallExtender>) -> Extender {
    Extender {
        name: configured.bare_url().into(),
        ignorable: configured.ignorable,
        weight: configured.weight,
        managed_resources: configured.managed_resources.iter().map(|r| Atom::new(&r.name)).collect(),
        verbs: ExtenderVerbs {
            filter: !configured.filter_verb.is_empty(),
            prioritize: !configured.prioritize_verb.is_empty(),
            preempt: !configured.preempt_verb.is_empty(),
            bind: !configured.bind_verb.is_empty(),
        },
        wants_objects: !configured.node_cache_capable,
        calls,
    }
}

/// The requests made to an extender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Filter,
    Prioritize,
    Preempt,
    Bind,
}

impl Verb {
    fn label(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
            Self::Preempt => "preempt",
            Self::Bind => "bind",
        }
    }
}

/// One extender.
pub(crate) struct HttpExtender {
    name: Arc<str>,
    configured: secondmate_config::Extender,
    http: Http,
    /// Only for an ignorable extender.
    breaker: Option<Breaker>,
    context: Context,
}

impl HttpExtender {
    fn path(&self, verb: Verb) -> &str {
        match verb {
            Verb::Filter => &self.configured.filter_verb,
            Verb::Prioritize => &self.configured.prioritize_verb,
            Verb::Preempt => &self.configured.preempt_verb,
            Verb::Bind => &self.configured.bind_verb,
        }
    }

    /// Sends a request, and reads the answer.
    async fn ask<T>(
        &self,
        verb: Verb,
        pod: &Pod,
        body: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, AskError>,
    ) -> Result<T, AskError> {
        let metrics = &self.context.metrics.extenders;
        let count = |result| metrics.calls(&self.name, verb.label(), result).inc();
        if let Some(breaker) = &self.breaker
            && let Err(reason) = breaker.admit()
        {
            count("skipped");
            return Err(reason);
        }
        let began = Instant::now();
        let answer = self.http.post(self.path(verb), body).await;
        metrics.duration(&self.name, verb.label()).observe(began.elapsed().as_secs_f64());
        let result = answer.and_then(|answer| read(&answer));
        let failure = result.as_ref().err().filter(|error| error.is_failure());
        self.note_failure(pod, failure.map(AskError::to_string).as_deref());
        count(if result.is_ok() { "ok" } else { "error" });
        if let Err(error) = &result
            && (self.configured.ignorable || verb == Verb::Prioritize)
        {
            info!(
                extender = &*self.name,
                pod = pod.full_name(),
                "{} goes on without this extender's answer: {error}",
                verb.label()
            );
        }
        result
    }

    fn note_failure(&self, pod: &Pod, error: Option<&str>) {
        let Some(change) = self.breaker.as_ref().and_then(|breaker| breaker.record(error)) else { return };
        let suspended = self.context.metrics.extenders.suspended(&self.name);
        match change {
            Change::Recovered => {
                suspended.set(0);
                info!(extender = &*self.name, "the extender answers again");
            }
            Change::Suspended => {
                suspended.set(1);
                let note = format!(
                    "Extender {} has failed {FAILURES_MAX} times in a row and may be ignored; until it answers again, it is asked once every {PAUSE:?}: {}",
                    self.name,
                    error.unwrap_or_default()
                );
                warn!(extender = &*self.name, "{note}");
                let Some(events) = &self.context.events else { return };
                events.submit(EventNote {
                    regarding: PodRef::from(pod),
                    related: None,
                    kind: EventType::Warning,
                    reason: "ExtenderSuspended".into(),
                    action: "Scheduling".into(),
                    note,
                    controller: pod.scheduler_name.clone(),
                    time: jiff::Timestamp::now(),
                });
            }
        }
    }
}

/// The core sees only the text, which is part of what is recorded.
impl From<AskError> for ExtenderError {
    fn from(error: AskError) -> Self {
        Self(error.to_string())
    }
}

/// The core's calls.
struct Calls(Arc<HttpExtender>);

impl Calls {
    /// Sends a request without waiting; the returned closure waits for the answer.
    fn begin<T: Send + 'static>(
        &self,
        verb: Verb,
        pod: &Arc<Pod>,
        body: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, AskError> + Send + 'static,
    ) -> Box<dyn FnOnce() -> Result<T, ExtenderError>> {
        let (sender, answer) = sync_channel(1);
        let (extender, pod) = (Arc::clone(&self.0), Arc::clone(pod));
        let heartbeat = extender.context.heartbeat.clone();
        let runtime = extender.context.runtime.clone();
        runtime.spawn(async move {
            // If the scheduling thread has ended, nobody is waiting any more.
            let _ = sender.send(extender.ask(verb, &pod, body, read).await);
        });
        Box::new(move || {
            loop {
                match answer.recv_timeout(SIGN_OF_LIFE) {
                    Ok(answer) => return Ok(answer?),
                    Err(RecvTimeoutError::Timeout) => heartbeat.beat(),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(ExtenderError(
                            "the call of the extender was broken off: the process ends".to_owned(),
                        ));
                    }
                }
            }
        })
    }

    fn sends_objects(&self) -> bool {
        !self.0.configured.node_cache_capable
    }
}

impl CallExtender for Calls {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let whole = self.sends_objects();
        let body = request::about_nodes(pod, nodes, whole);
        self.begin(Verb::Filter, pod, body, move |body| answer::filtered(body, !whole))()
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        let body = request::about_nodes(pod, nodes, self.sends_objects());
        self.begin(Verb::Prioritize, pod, body, |body| Ok(answer::priorities(body)?))
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let body = request::about_victims(pod, candidates, self.sends_objects());
        self.begin(Verb::Preempt, pod, body, |body| Ok(answer::preempted(body)?))()
    }
}

/// Lets the extender with the bind verb bind pods. Clones share the slots.
#[derive(Clone)]
pub(crate) struct ExtenderBinder {
    extender: Option<Arc<HttpExtender>>,
    leading: Leading,
    inbox: Inbox,
    tasks: Tasks,
    /// A binding must not overtake a change of the pod's status.
    status: StatusWriter,
    /// One per binding in progress.
    slots: Arc<Semaphore>,
}

impl ExtenderBinder {
    pub fn new(
        extender: Option<Arc<HttpExtender>>,
        leading: Leading,
        inbox: Inbox,
        tasks: Tasks,
        status: StatusWriter,
        concurrency: usize,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(concurrency.max(1)));
        Self { extender, leading, inbox, tasks, status, slots }
    }

    /// Asks the extender to bind the pod to the node.
    pub fn bind(&self, pod: Arc<Pod>, node: Atom) {
        let this = self.clone();
        self.tasks.spawn("binding by an extender", async move {
            this.status.settle(&pod.uid).await;
            let _slot = this.slots.acquire().await.expect("the semaphore is never closed");
            let outcome = match &this.extender {
                Some(extender) if this.leading.may_write() => {
                    let body = request::binding(&pod, &node);
                    tokio::select! {
                        biased;
                        // The extender may have got it already.
                        () = this.leading.ended() => BindOutcome::ExtenderFailed {
                            message: "leadership ended while the extender was asked".to_owned(),
                            ignorable: false,
                        },
                        answer = extender.ask(Verb::Bind, &pod, body, answer::bound) => match answer {
                            Ok(()) => BindOutcome::Bound,
                            Err(error) => BindOutcome::ExtenderFailed {
                                message: error.to_string(),
                                ignorable: extender.configured.ignorable,
                            },
                        },
                    }
                }
                _ => BindOutcome::NotSent,
            };
            let answer = Message::Answered(Input::BindFinished(pod.uid.clone(), outcome));
            // If the scheduling thread has ended, nobody is waiting for the answer.
            let _ = this.inbox.send(answer).await;
        });
    }
}
