//! The scheduling thread: it owns the core, and nothing else touches it.
//!
//! It takes what is in the inbox, lets the core schedule, hands the core's effects to the writers, and sleeps until something arrives or
//! the passing of time gives the core something to do. It never waits for the API server; for an extender it does wait, within a cycle and
//! for no longer than the extender's timeout. Inputs are taken at all times, so that a standby is warm; the core schedules only while this
//! process leads and all lists are complete.

use crate::clock::Clock;
use crate::decisions::Decisions;
use crate::departed::Departed;
use crate::extender::ExtenderBinder;
use crate::heartbeat::Heartbeat;
use crate::inbox::{INBOX_MESSAGES_MAX, Message};
use crate::observe::Observer;
use crate::others::OtherBinders;
use crate::write::{
    Binder, EventNote, EventSink, Evictor, Leading, NodeReader, PluginWriter, StatusChange, StatusWriter,
    Verifier, relied_on,
};
use secondmate_core::Scheduler;
use secondmate_core::port::Effect;
use secondmate_telemetry::Gauge;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Maximum number of messages taken before the core schedules again: a storm of changes must not stop scheduling.
const TAKEN_AT_ONCE: usize = 1024;
/// Maximum number of attempts before the inbox is checked again.
const STEPS_AT_ONCE: usize = 32;
/// The same as a duration, for when an extender or a guest makes attempts slow: what has happened in the meantime is taken in before the
/// next one.
const STEPS_AT_ONCE_FOR: Duration = Duration::from_millis(50);
/// Interval between two messages about incomplete lists.
const SAY_UNSYNCED_EVERY: Duration = Duration::from_secs(10);
/// Maximum sleep, and maximum time without publishing: the numbers for the metrics never get older than this.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// The bound on bindings and other answered writes that the core may have outstanding, as a multiple of the maximum number of concurrent
/// bindings.
const OUTSTANDING_PER_SLOT: usize = 2;

/// Where the core's effects go.
pub(crate) struct Writers {
    pub binder: Binder,
    pub extender_binder: ExtenderBinder,
    pub plugin_writer: PluginWriter,
    pub verifier: Verifier,
    pub node_reader: NodeReader,
    pub evictor: Evictor,
    pub status: StatusWriter,
    pub events: EventSink,
}

/// What can be seen of the scheduling thread from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All lists are complete.
    pub synced: bool,
    /// This process leads.
    pub leading: bool,
    /// The core's sizes.
    pub sizes: secondmate_core::Sizes,
    /// Outstanding bindings and other answered writes.
    pub outstanding: usize,
}

pub(crate) struct Engine {
    pub scheduler: Scheduler,
    pub inbox: mpsc::Receiver<Message>,
    /// The number of waiting messages, for the metrics.
    pub inbox_length: Gauge,
    pub writers: Writers,
    pub leading: Leading,
    pub clock: Clock,
    /// Whether it was said that the wall clock tells another time.
    pub clock_said: bool,
    pub observer: Observer,
    pub others: OtherBinders,
    pub departed: Departed,
    /// Watches whose first list is not complete, by number.
    pub unsynced: BTreeMap<usize, String>,
    /// Cancelled when the first list of every watch is in.
    pub listed: CancellationToken,
    /// When it was last said which lists are awaited.
    pub said: Instant,
    /// The log of decisions.
    pub decisions: Decisions,
    /// Set when the shell stops: no attempt begins any more, and the thread ends when nothing is outstanding, or this process does not
    /// lead.
    pub stopping: Arc<AtomicBool>,
    /// Bindings in progress, to which events give way.
    pub bindings: Arc<AtomicUsize>,
    pub progress: watch::Sender<Progress>,
    pub heartbeat: Heartbeat,
    pub outstanding: usize,
    pub outstanding_max: usize,
}

impl Engine {
    pub fn outstanding_max(bind_concurrency: usize) -> usize {
        bind_concurrency.saturating_mul(OUTSTANDING_PER_SLOT).min(INBOX_MESSAGES_MAX / 2)
    }

    /// Runs until stopped, or until all senders are gone.
    pub fn run(&mut self, runtime: &Handle) {
        // The writers start tasks, and the sleep below needs the runtime's timer.
        let _entered = runtime.enter();
        let mut published = Instant::now();
        loop {
            self.heartbeat.beat();
            let idle = self.take_messages();
            // Where leadership was lost, nobody is left to bring the answers.
            if self.is_stopping() && (self.outstanding == 0 || !self.leading.may_write()) {
                self.publish();
                return;
            }
            let busy = self.may_schedule() && self.schedule();
            let on = busy || !idle;
            if on && published.elapsed() < SLEEP_MAX {
                continue;
            }
            self.publish();
            published = Instant::now();
            if on {
                continue;
            }
            let wait = self.sleep_time();
            if wait.is_zero() {
                continue;
            }
            match runtime.block_on(async { tokio::time::timeout(wait, self.inbox.recv()).await }) {
                Ok(Some(message)) => self.take(message),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    /// Whether the shell is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn may_schedule(&self) -> bool {
        self.unsynced.is_empty() && !self.stopping.load(Ordering::Acquire) && self.leading.may_write()
    }

    /// Whether the writers keep up, so that an attempt now would soon lead to a binding.
    fn has_room_for_answers(&self) -> bool {
        self.outstanding < self.outstanding_max && self.writers.binder.takes_more()
    }

    /// Takes the waiting messages; returns whether the inbox is now empty.
    fn take_messages(&mut self) -> bool {
        for _ in 0..TAKEN_AT_ONCE {
            match self.inbox.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => return true,
            }
        }
        false
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Watched(input) => {
                let input = self.departed.sift(input);
                self.others.look(&input, &self.scheduler, self.unsynced.is_empty());
                self.scheduler.apply(input, now);
            }
            Message::Answered(input) => {
                let input = self.departed.sift(input);
                self.others.look(&input, &self.scheduler, self.unsynced.is_empty());
                self.outstanding = self.outstanding.saturating_sub(1);
                self.bindings.store(self.outstanding, Ordering::Relaxed);
                self.scheduler.apply(input, now);
            }
            Message::Synced(number) => {
                self.unsynced.remove(&number);
                if self.unsynced.is_empty() {
                    self.observer.synced();
                    self.listed.cancel();
                    self.publish();
                }
            }
            Message::Look(look) => look(&self.scheduler, now),
            // The order in which pods are shown does not matter here.
            Message::ListingPods(_) | Message::Wake => {}
        }
        self.hand_out();
    }

    /// Lets the core make attempts; returns whether it has more to do right now.
    fn schedule(&mut self) -> bool {
        let turn = Instant::now();
        for _ in 0..STEPS_AT_ONCE {
            if !self.has_room_for_answers() {
                return false;
            }
            if turn.elapsed() >= STEPS_AT_ONCE_FOR {
                break;
            }
            let began = self.clock.now();
            let Some(report) = self.scheduler.step(began) else {
                self.hand_out();
                // There is nothing to try, or the pod needed no attempt; in that case there may be another one behind it.
                return self.scheduler.queue().size().active > 0;
            };
            self.observer.attempt(&report, self.clock.now().since(began));
            self.hand_out();
        }
        true
    }

    fn sleep_time(&self) -> Duration {
        if !self.may_schedule() || !self.has_room_for_answers() {
            return SLEEP_MAX;
        }
        let next = self.scheduler.next_wakeup().map(|time| self.clock.until(time));
        next.map_or(SLEEP_MAX, |wait| wait.min(SLEEP_MAX))
    }

    fn publish(&mut self) {
        let progress = Progress {
            synced: self.unsynced.is_empty(),
            leading: self.leading.may_write(),
            sizes: self.scheduler.sizes(),
            outstanding: self.outstanding,
        };
        self.say_unsynced();
        self.say_drift();
        self.observer.numbers(&self.scheduler, &progress.sizes);
        self.inbox_length.set(i64::try_from(self.inbox.len()).unwrap_or(i64::MAX));
        self.decisions.settle(Instant::now());
        self.progress.send_if_modified(|old| std::mem::replace(old, progress) != progress);
    }

    /// Logs from time to time which lists are awaited: until they are complete, nothing is scheduled.
    fn say_unsynced(&mut self) {
        if self.unsynced.is_empty() || self.said.elapsed() < SAY_UNSYNCED_EVERY {
            return;
        }
        self.said = Instant::now();
        let names: Vec<&str> = self.unsynced.values().map(String::as_str).collect();
        info!("starting: waiting for the first list of {}", names.join(", "));
    }

    /// Says once that the wall clock tells another time than the clock.
    fn say_drift(&mut self) {
        if !self.clock_said
            && let Some(drift) = self.clock.drift()
        {
            warn!("{drift}");
            self.clock_said = true;
        }
    }

    /// Hands out what the core wants done. Never waits.
    fn hand_out(&mut self) {
        for effect in self.scheduler.take_effects() {
            let writers = &self.writers;
            let answered = match effect {
                Effect::Bind { pod, node, annotations } => {
                    writers.binder.bind(&pod, &node, &annotations);
                    true
                }
                Effect::BindByExtender { pod, node } => {
                    writers.extender_binder.bind(pod, node);
                    true
                }
                Effect::BindBy { pod, write } => {
                    writers.binder.bind_by(&pod, &write);
                    true
                }
                Effect::Write { pod, writes } => {
                    writers.plugin_writer.write(pod, writes);
                    true
                }
                Effect::Verify { pod } => {
                    writers.verifier.verify(&pod);
                    true
                }
                Effect::ReadNode { node } => {
                    writers.node_reader.read(node);
                    true
                }
                Effect::Evict { victim, preemptor, profile } => {
                    let relied_on = relied_on(self.scheduler.objects(), &victim);
                    writers.evictor.evict(victim, &preemptor, &profile, relied_on);
                    true
                }
                Effect::PatchStatus { pod, condition, nomination } => {
                    if let Some(condition) = &condition {
                        self.decisions.not_placed(&pod.full_name(), condition);
                    }
                    let flips = pod.scheduled_condition.as_deref().is_none_or(|c| &*c.status != "False");
                    writers.status.submit(StatusChange { pod: (&*pod).into(), condition, flips, nomination });
                    false
                }
                Effect::Event(event) => {
                    writers.events.submit(EventNote::from(event));
                    false
                }
                Effect::Observed(observation) => {
                    self.observer.observe(observation);
                    false
                }
            };
            if answered {
                self.outstanding += 1;
                self.bindings.store(self.outstanding, Ordering::Relaxed);
            }
        }
    }
}
