//! Endpoints that are polled on behalf of plugins, outside the scheduling cycle.
//!
//! Each has its own task, which decodes the answers and sends them to the scheduling thread like objects from a watch; an answer that is
//! too old is reported as gone. Nothing waits for an endpoint: until it has answered, the plugin has no value.

mod ask;

pub(crate) use ask::{Asker, Failure};

use crate::clock::Clock;
use crate::inbox::{Closed, Inbox, Message};
use crate::tasks::Tasks;
use crate::watch;
use kube_client::Client;
use secondmate_core::port::Input;
use secondmate_framework::{ObjectKind, POLL_EVERY_MIN, Poll};
use secondmate_model::Atom;
use secondmate_model::objects::{Object, ObjectName};
use secondmate_telemetry::Metrics;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

/// What is to be polled, and with what.
pub(crate) struct Polls {
    polls: Vec<Poll>,
    client: Client,
    inbox: Inbox,
    metrics: Metrics,
    tasks: Tasks,
    clock: Clock,
}

impl Polls {
    /// With what the watches have, and the core's clock.
    pub fn new(polls: Vec<Poll>, context: &watch::Context, clock: Clock) -> Self {
        Self {
            polls,
            client: context.client.clone(),
            inbox: context.inbox.clone(),
            metrics: context.metrics.clone(),
            tasks: context.tasks.clone(),
            clock,
        }
    }

    /// Starts a task for each poll.
    pub fn start(&self) {
        for poll in &self.polls {
            let task = Polling {
                asker: Asker::new(poll.endpoint.clone(), self.client.clone(), poll.timeout),
                poll: poll.clone(),
                inbox: self.inbox.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock,
                answered: None,
                said: None,
            };
            self.tasks.spawn_lasting(format!("poll of {poll:?}"), async move {
                let Err(Closed) = task.run().await;
            });
        }
    }
}

/// One endpoint, from the first request to the end of the process.
struct Polling {
    poll: Poll,
    asker: Asker,
    inbox: Inbox,
    metrics: Metrics,
    /// By which the plugin judges, too.
    clock: Clock,
    /// When the answer that stands came.
    answered: Option<Instant>,
    /// The last problem that was logged; it is not repeated until all is well.
    said: Option<String>,
}

impl Polling {
    async fn run(mut self) -> Result<std::convert::Infallible, Closed> {
        // Until there is an answer, none counts.
        self.expired(true);
        loop {
            // An answer can also expire while waiting for the next one.
            let asked = match self.answered.map(|at| at + self.poll.keep_for) {
                None => self.asker.ask().await,
                Some(end) => {
                    let mut asking = std::pin::pin!(self.asker.ask());
                    match timeout_at(end, &mut asking).await {
                        Ok(asked) => asked,
                        Err(_) => {
                            Self::withdraw(&self.poll, &self.inbox, &self.metrics, &mut self.answered)
                                .await?;
                            asking.await
                        }
                    }
                }
            };
            match asked {
                Ok(json) => self.answer(&json).await?,
                Err(Failure::TimedOut) => {
                    self.failed("timeout", &format!("no answer within {:?}", self.poll.timeout));
                }
                Err(Failure::Error(reason)) => self.failed("error", &reason),
            }
            self.pause().await?;
        }
    }

    /// Waits until the next request; withdraws the answer if it expires in the meantime.
    async fn pause(&mut self) -> Result<(), Closed> {
        let next = Instant::now() + self.poll.every.max(POLL_EVERY_MIN);
        if let Some(end) = self.answered.map(|at| at + self.poll.keep_for).filter(|end| *end <= next) {
            tokio::time::sleep_until(end).await;
            Self::withdraw(&self.poll, &self.inbox, &self.metrics, &mut self.answered).await?;
        }
        sleep(next.saturating_duration_since(Instant::now())).await;
        if self.inbox.is_closed() { Err(Closed) } else { Ok(()) }
    }

    async fn answer(&mut self, json: &str) -> Result<(), Closed> {
        let kind = self.poll.kind;
        let object = match kind.answered(&self.poll.name, json, self.clock.now()) {
            Ok(object) => object,
            Err(error) => {
                self.failed("undecodable", &format!("the answer cannot be understood: {error}"));
                return Ok(());
            }
        };
        if let Some(left_out) = &self.poll.left_out {
            let parts = i64::try_from(left_out(&object)).unwrap_or(i64::MAX);
            self.metrics.polls.left_out(kind.api().kind, &self.poll.name).set(parts);
        }
        self.count("ok");
        self.answered = Some(Instant::now());
        if self.said.take().is_some() {
            info!(poll = ?self.poll, "answers again");
        }
        self.expired(false);
        self.inbox.send(Message::Watched(Input::Object(Object::Own(object)))).await
    }

    /// Withdraws an answer that is too old to count.
    async fn withdraw(
        poll: &Poll,
        inbox: &Inbox,
        metrics: &Metrics,
        answered: &mut Option<Instant>,
    ) -> Result<(), Closed> {
        *answered = None;
        metrics.polls.expired(poll.kind.api().kind, &poll.name).set(1);
        warn!(poll = ?poll, "the last answer is older than {:?} and no longer counts", poll.keep_for);
        let name = ObjectName::new(&Atom::default(), &poll.name);
        inbox.send(Message::Watched(Input::ObjectGone(ObjectKind::Own(poll.kind), name))).await
    }

    fn failed(&mut self, result: &str, reason: &str) {
        self.count(result);
        if self.said.as_deref() != Some(reason) {
            warn!(poll = ?self.poll, "{reason}; asking again every {:?}", self.poll.every);
            self.said = Some(reason.to_owned());
        }
    }

    fn count(&self, result: &str) {
        self.metrics.polls.polls(self.poll.kind.api().kind, &self.poll.name, result).inc();
    }

    fn expired(&self, expired: bool) {
        self.metrics.polls.expired(self.poll.kind.api().kind, &self.poll.name).set(i64::from(expired));
    }
}
