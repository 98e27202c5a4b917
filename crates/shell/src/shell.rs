//! Starting and stopping: connects the watches, the scheduling thread and the writers.

mod parts;
mod thread;

use crate::access;
use crate::call::Caller;
use crate::clock::Clock;
use crate::compare::{CompareError, Comparer};
use crate::connect;
use crate::elect::{self, Elected};
use crate::engine::Progress;
use crate::extender;
use crate::heartbeat::{Heartbeat, WatchHeartbeats};
use crate::inbox::Inbox;
use crate::lease::ElectionEnd;
use crate::options::{End, Options, StartError};
use crate::outage::Outage;
use crate::patience;
use crate::poll::Polls;
use crate::state;
use crate::tasks::{Failures, Tasks, panicked};
use crate::watch::{self, Currency, Originals};
use crate::write::{EventSink, Leading};
use futures::FutureExt;
use futures::future::BoxFuture;
use parts::Parts;
use secondmate_core::{CacheDifference, Scheduler};
use secondmate_model::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use thread::{Core, StopThread, start_thread};
use tokio::sync::{Semaphore, watch as value};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

/// Longest wait for bindings that are on their way, when the shell stops. Shorter than that for an answer: by default a kubelet kills a pod 30 s
/// after it was told to end, and the Lease is to be given back before.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for the scheduling thread to notice that it shall end, where nothing is waited for: it may be in the middle of a cycle.
const THREAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for events that are not written, when the shell stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum wait for the answer to a read, an event or a status.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A running scheduler.
pub struct Shell {
    inbox: Inbox,
    progress: value::Receiver<Progress>,
    leading: Leading,
    stopping: Arc<AtomicBool>,
    thread_ended: CancellationToken,
    election: Option<JoinHandle<ElectionEnd>>,
    failures: Failures,
    events: EventSink,
    comparer: Comparer,
    tasks: Tasks,
    /// Held while cache and queue are being written to the log.
    dump: Arc<Semaphore>,
    ends: Ends,
}

/// What ends the tasks, in the order in which they are ended; all are ended when the shell is dropped.
struct Ends {
    watches: DropGuard,
    tasks: DropGuard,
    election: DropGuard,
    _thread: StopThread,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl Shell {
    /// Connects, checks the scheduler's permissions, and starts it on the current tokio runtime.
    ///
    /// # Errors
    /// There is no cluster, a permission is missing, or the election's times contradict each other.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Self, StartError>> {
        Self::begin(options).boxed()
    }

    async fn begin(options: Options) -> Result<Self, StartError> {
        let (end_of_watches, end_of_tasks, end_of_election) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (inbox, messages) = Inbox::new(&options.admin.metrics);
        let stopping = Arc::new(AtomicBool::new(false));
        // If startup fails, what has been started is ended.
        let ends = Ends {
            watches: end_of_watches.clone().drop_guard(),
            tasks: end_of_tasks.clone().drop_guard(),
            election: end_of_election.clone().drop_guard(),
            _thread: StopThread { stopping: Arc::clone(&stopping), inbox: inbox.clone() },
        };
        let extenders = extender::clients(&options.extenders).await?;
        let heartbeats = WatchHeartbeats::new();
        let client =
            connect::client(&options.cluster, &options.admin.metrics, Some(heartbeats.api.clone())).await?;
        let reader = Caller::new(client.clone(), None, CALL_TIMEOUT);
        let (watches, polls) = (
            watch::watches(&options.profiles, !options.scheduler.yield_last_room.is_zero()),
            watch::polls(&options.profiles),
        );
        let lease = options.election.as_ref().map(|election| &election.lease);
        let needed = access::needed(&options.profiles, &watches, lease);
        patience::with_access(&reader, &options.cluster.cluster_url.to_string(), &needed).await?;

        let (tasks, failures) = Tasks::new(end_of_tasks);
        let listed = CancellationToken::new();
        // A standby that lists nothing before it leads stands for election without a cache.
        let stands_after = (!options.delay_watches).then(|| listed.clone());
        let Elected { election, term } =
            elect::start(&options, &heartbeats.api, &end_of_election, &tasks, stands_after).await?;
        let leading = Leading::new(term);
        let parts = Parts {
            metrics: options.admin.metrics.clone(),
            reader,
            leading,
            inbox,
            tasks,
            stopping,
            unfit: Arc::default(),
            outage: Outage::default(),
            currency: Currency::default(),
            clock: Clock::start(),
        };
        let delay_watches = options.delay_watches;
        let bindings = Arc::new(AtomicUsize::new(0));
        let heartbeat = Heartbeat::new();
        let (writers, extenders) = parts.start_writers(&client, &options, &bindings, (extenders, &heartbeat));
        let comparer = parts.start_helpers(&options, &writers);
        parts.look_for_rejections(&client, &options, &writers.events);
        parts.look_for_unserved(&options, &writers.events);
        let events = writers.events.clone();
        let unsynced = watches.iter().map(ToString::to_string).enumerate().collect();
        parts.register_checks(&options.admin, &heartbeat, &heartbeats, &writers);
        let (engine, progress) = parts.engine(
            options,
            Core { messages, writers, bindings, heartbeat, unsynced, listed, extenders: extenders.clone() },
        );
        let thread_ended = start_thread(engine, parts.tasks.clone())?;
        let context = watch::Context {
            client,
            inbox: parts.inbox.clone(),
            metrics: parts.metrics.clone(),
            unfit: Arc::clone(&parts.unfit),
            tasks: parts.tasks.until(end_of_watches),
            heartbeats,
            outage: parts.outage.clone(),
            originals: Originals::for_extenders(extenders),
            currency: parts.currency.clone(),
        };
        let polls = Polls::new(polls, &context, parts.clock);
        parts.start_watches(context, watches, polls, delay_watches);
        let Parts { inbox, leading, stopping, tasks, .. } = parts;
        Ok(Self {
            inbox,
            progress,
            leading,
            stopping,
            thread_ended,
            election,
            failures,
            events,
            comparer,
            tasks,
            dump: Arc::new(Semaphore::new(1)),
            ends,
        })
    }

    /// The scheduler's progress, as it changes.
    #[must_use]
    pub fn progress(&self) -> value::Receiver<Progress> {
        self.progress.clone()
    }

    /// Looks at the core between two cycles; `None` if the core has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        at: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        self.inbox.look(at).await
    }

    /// Starts writing cache and queue to the log, after a comparison with the cluster. Only one dump is written at a time: while one is
    /// being written, this does nothing.
    pub fn log_state(&self) {
        let Ok(turn) = Arc::clone(&self.dump).try_acquire_owned() else {
            return info!("cache and queue are being written to the log already");
        };
        let (inbox, comparer) = (self.inbox.clone(), self.comparer.clone());
        self.tasks.spawn("dump to the log", async move {
            state::log(inbox, comparer).await;
            drop(turn);
        });
    }

    /// Compares the cache with fresh lists; returns the differences that persist.
    ///
    /// # Errors
    /// A list failed, a watch is behind, or the scheduler has ended.
    pub async fn compare_cache(&self) -> Result<Vec<CacheDifference>, CompareError> {
        self.comparer.compare().await
    }

    /// Waits until the scheduler ends by itself, which should never happen: see [`End`]. Then call [`Self::stop`], so that what still works
    /// ends in an orderly way and the Lease is released.
    pub async fn ended(&mut self) -> End {
        let election = async {
            match &mut self.election {
                Some(election) => election.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            failure = self.failures.next() => End::Failed(failure),
            end = election => {
                self.election = None;
                match end {
                    Ok(ElectionEnd::Lost { reason }) => End::LeadershipLost { reason },
                    Ok(_) => End::LeadershipLost { reason: "the election ended".to_owned() },
                    Err(error) => {
                        let reason = error.try_into_panic().map_or_else(
                            |error| error.to_string(),
                            |panic| format!("the election {}", panicked(&*panic)),
                        );
                        End::LeadershipLost { reason }
                    }
                }
            }
        }
    }

    /// Stops: begins no attempt any more, waits for the bindings that are on their way (bounded), writes what events there are
    /// (bounded), and gives the lease back last. Where leadership is lost, before or meanwhile, nothing is waited for: whatever is on its
    /// way ends at once.
    pub fn stop(self) -> BoxFuture<'static, End> {
        self.wind_down().boxed()
    }

    async fn wind_down(mut self) -> End {
        self.stopping.store(true, Ordering::Release);
        drop(self.ends.watches);
        self.inbox.wake();
        let drained = tokio::select! {
            biased;
            () = self.leading.ended() => None,
            drained = timeout(DRAIN_TIMEOUT, self.thread_ended.cancelled()) => Some(drained),
        };
        if let Some(drained) = &drained {
            if drained.is_err() {
                error!(
                    "bindings were still on their way after {DRAIN_TIMEOUT:?}: the next scheduler finds out what became of them"
                );
            }
            self.events.flush(FLUSH_TIMEOUT).await;
        }
        drop(self.ends.tasks);
        if drained.is_none() {
            // It is told to end, and what it still does reaches nobody.
            let _ = timeout(THREAD_TIMEOUT, self.thread_ended.cancelled()).await;
        }
        drop(self.ends.election);
        match self.election.take() {
            Some(election) => match election.await {
                Ok(ElectionEnd::Lost { reason }) => End::LeadershipLost { reason },
                _ => End::Stopped,
            },
            None => End::Stopped,
        }
    }
}
