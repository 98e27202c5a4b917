//! Starting and stopping: connects the watches, the scheduling thread and the writers.

use crate::access;
use crate::call::Caller;
use crate::clock::Clock;
use crate::compare::{self, CompareError, Comparer};
use crate::connect;
use crate::debug;
use crate::decisions::Decisions;
use crate::departed::Departed;
use crate::elect::{self, Elected};
use crate::engine::{Engine, Progress, Writers};
use crate::extender::{self, ExtenderBinder};
use crate::heartbeat::{Heartbeat, WatchHeartbeats};
use crate::inbox::{Inbox, Message};
use crate::kubelets::Rejections;
use crate::lease::ElectionEnd;
use crate::limit::RateLimit;
use crate::observe::Observer;
use crate::options::{End, Options, StartError};
use crate::others::OtherBinders;
use crate::outage::Outage;
use crate::owners;
use crate::patience;
use crate::poll::Polls;
use crate::probe::{EventProbe, ProfileProbe};
use crate::requests::server_host;
use crate::resources;
use crate::rivals::Rivals;
use crate::state;
use crate::tasks::{Failures, Tasks, panicked};
use crate::unserved::report::Report;
use crate::watch::{self, Currency, Originals, UnfitObjects, Watch};
use crate::write::{
    Binder, EventSink, EventSinkConfig, Evictor, Leading, NodeReader, PluginWriter, StatusWriter, Verifier,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use secondmate_core::{CacheDifference, Scheduler};
use secondmate_cycle::Profile;
use secondmate_framework::{Extenders, Parity};
use secondmate_model::{Atom, Timestamp};
use secondmate_telemetry::{Admin, Metrics, Probe};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch as value};
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
/// Name of the check that the caches are in sync, as in kube-scheduler.
const SYNC: &str = "sched-handler-sync";
/// Name of the thread that owns the core.
const THREAD: &str = "scheduling thread";

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

/// Stops the scheduling thread when dropped.
struct StopThread {
    stopping: Arc<AtomicBool>,
    inbox: Inbox,
}

impl Drop for StopThread {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.inbox.wake();
    }
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
        let (watches, polls) = (watch::watches(&options.profiles), watch::polls(&options.profiles));
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

/// What the parts of a shell share.
struct Parts {
    metrics: Metrics,
    /// For reads, which the limit on writes must not delay.
    reader: Caller,
    leading: Leading,
    inbox: Inbox,
    tasks: Tasks,
    stopping: Arc<AtomicBool>,
    unfit: Arc<UnfitObjects>,
    outage: Outage,
    currency: Currency,
    /// The core's.
    clock: Clock,
}

/// What the scheduling thread gets besides the shared parts.
struct Core {
    messages: mpsc::Receiver<Message>,
    writers: Writers,
    bindings: Arc<AtomicUsize>,
    heartbeat: Heartbeat,
    /// Names of the watches, by number.
    unsynced: BTreeMap<usize, String>,
    listed: CancellationToken,
    extenders: Extenders,
}

impl Parts {
    /// Starts the watches and polls: at once, or when leadership begins.
    fn start_watches(&self, context: watch::Context, watches: Vec<Watch>, polls: Polls, delayed: bool) {
        let start = move || {
            polls.start();
            for (number, watch) in watches.into_iter().enumerate() {
                watch::spawn(context.clone(), watch, number);
            }
        };
        if !delayed {
            return start();
        }
        let mut leading = self.leading.clone();
        self.tasks.spawn("start of the watches", async move {
            if !leading.may_write() {
                info!("caches are filled when this process leads (delayCacheUntilActive)");
            }
            while !leading.may_write() {
                leading.changed().await;
            }
            start();
        });
    }

    fn start_writers(
        &self,
        client: &kube_client::Client,
        options: &Options,
        bindings: &Arc<AtomicUsize>,
        (clients, heartbeat): (Vec<extender::Client>, &Heartbeat),
    ) -> (Writers, Extenders) {
        let limit = || {
            let limit = options.write_limit?;
            RateLimit::new(limit.per_second, limit.burst).map(Arc::new)
        };
        // As in kube-scheduler, events have their own limit, so that they take nothing from bindings.
        let server = server_host(&options.cluster.cluster_url);
        let calls =
            |limit, timeout| Caller::new(client.clone(), limit, timeout).telling(&self.metrics, server);
        let event_caller = calls(limit(), CALL_TIMEOUT);
        let limit = limit();
        let binding_caller = calls(limit.clone(), options.bind_timeout);
        let caller = calls(limit, CALL_TIMEOUT);
        // All profiles come from one configuration, and have the same parity.
        let parity = options.profiles.first().map_or_else(Parity::default, |profile| profile.handle().parity);
        let (leading, inbox, tasks) = (&self.leading, &self.inbox, &self.tasks);
        let status = StatusWriter::start(
            caller.clone(),
            leading.clone(),
            &self.metrics,
            tasks.clone(),
            self.outage.clone(),
        );
        let events = EventSink::start(
            event_caller,
            leading.clone(),
            &self.metrics,
            EventSinkConfig { parity, host: host(), outage: self.outage.clone() },
            Arc::clone(bindings),
            tasks.clone(),
        );
        let context = extender::Context {
            runtime: tokio::runtime::Handle::current(),
            heartbeat: heartbeat.clone(),
            metrics: self.metrics.clone(),
            events: Some(events.clone()),
        };
        let (extenders, binder) = extender::extenders(clients, &context);
        let writers = Writers {
            binder: Binder::new(
                binding_caller,
                leading.clone(),
                inbox.clone(),
                self.metrics.clone(),
                tasks.clone(),
                status.clone(),
                options.bind_concurrency,
            ),
            extender_binder: ExtenderBinder::new(
                binder,
                leading.clone(),
                inbox.clone(),
                tasks.clone(),
                status.clone(),
                options.bind_concurrency,
            ),
            plugin_writer: PluginWriter::new(caller.clone(), leading.clone(), inbox.clone(), tasks.clone()),
            verifier: Verifier::new(self.reader.clone(), inbox.clone(), tasks.clone()),
            node_reader: NodeReader::new(
                self.reader.clone(),
                inbox.clone(),
                tasks.clone(),
                Originals::for_extenders(extenders.clone())
                    .or_all(watch::reads_whole_objects(&options.profiles)),
            ),
            evictor: Evictor::new(caller, leading.clone(), inbox.clone(), tasks.clone()),
            status,
            events,
        };
        (writers, extenders)
    }

    /// Starts what is not part of a pod's way: owners of unfit pods are informed, changes of leadership wake the thread, the cache is
    /// compared, the debug endpoints are mounted.
    fn start_helpers(&self, options: &Options, writers: &Writers) -> Comparer {
        let (leading, inbox) = (&self.leading, &self.inbox);
        self.tasks.spawn_lasting(
            "owners of unfit pods",
            owners::tell(
                Arc::clone(&self.unfit),
                leading.clone(),
                writers.status.clone(),
                writers.events.clone(),
            ),
        );
        self.tasks.spawn("wake-up at elections", wake_on_change(leading.clone(), inbox.clone()));
        let comparer = Comparer {
            caller: self.reader.clone(),
            inbox: inbox.clone(),
            metrics: self.metrics.clone(),
            currency: self.currency.clone(),
            unfit: Arc::clone(&self.unfit),
        };
        if let Some(every) = options.compare_every {
            let (comparer, mut leading) = (comparer.clone(), self.leading.clone());
            let delayed = options.delay_watches;
            self.tasks.spawn("cache comparer", async move {
                // Before the watches begin, there is no cache to compare.
                while delayed && !leading.may_write() {
                    leading.changed().await;
                }
                compare::periodically(comparer, every).await;
            });
        }
        debug::mount(&options.admin, inbox, &comparer, &self.unfit);
        resources::mount(&options.admin, self.reader.clone(), leading.clone());
        comparer
    }

    /// Watches for pods of ours that kubelets rejected, with one task for each scheduler name.
    fn look_for_rejections(&self, client: &kube_client::Client, options: &Options, events: &EventSink) {
        for profile in &options.profiles {
            let rejections = Rejections {
                client: client.clone(),
                leading: self.leading.clone(),
                events: events.clone(),
                inbox: self.inbox.clone(),
                metrics: self.metrics.clone(),
                name: profile.name().clone(),
            };
            self.tasks.spawn_lasting(format!("rejected pods of {}", profile.name()), rejections.run());
        }
    }

    /// Looks for pods whose scheduler name nobody serves, while this process leads.
    fn look_for_unserved(&self, options: &Options, events: &EventSink) {
        let Some(first) = options.profiles.first() else { return };
        let election = options.election.as_ref();
        let report = Report {
            caller: self.reader.clone(),
            leading: self.leading.clone(),
            events: events.clone(),
            own: election.map(|election| election.lease.clone()),
            may_not_list: election.map(|election| election.may_not_list.clone()).unwrap_or_default(),
            names: options.profiles.iter().map(|profile| profile.name().to_string()).collect(),
            controller: first.name().clone(),
            gauge: self.metrics.pods_unserved.clone(),
            pace: options.unserved,
        };
        self.tasks.spawn("look for unserved scheduler names", report.run());
    }

    /// Registers the checks that kube-scheduler has too, and one for each part that could get stuck.
    fn register_checks(
        &self,
        admin: &Admin,
        heartbeat: &Heartbeat,
        watches: &WatchHeartbeats,
        writers: &Writers,
    ) {
        let (heartbeat, watches) = (heartbeat.clone(), watches.clone());
        let (leading, stopping) = (self.leading.clone(), Arc::clone(&self.stopping));
        let (status, events) = (writers.status.clone(), writers.events.clone());
        admin.health.register("scheduling-thread", Probe::Live, move || heartbeat.check_thread());
        admin.health.register("watches", Probe::Live, move || watches.check());
        admin.health.register("writers", Probe::Live, move || status.check().and_then(|()| events.check()));
        admin.health.register("leaderElection", Probe::Live, move || {
            if leading.is_overdue() {
                return Err("the lease has run out and was not given up".to_owned());
            }
            Ok(())
        });
        admin.health.register("shutdown", Probe::Ready, move || {
            if stopping.load(Ordering::Acquire) {
                Err("the scheduler is stopping".to_owned())
            } else {
                Ok(())
            }
        });
    }

    fn engine(&self, options: Options, core: Core) -> (Engine, value::Receiver<Progress>) {
        let metrics = &self.metrics;
        let synced = options.admin.health.flag(SYNC, Probe::Ready, "waiting for caches to sync");
        if options.delay_watches {
            // If a standby were not ready, no rollout would get past it, and no drain past the leader.
            let (synced, leading) = (synced.clone(), self.leading.clone());
            let check = move || if leading.may_write() { synced.get() } else { Ok(()) };
            options.admin.health.register(SYNC, Probe::Ready, check);
        }
        let names: Vec<Atom> = options.profiles.iter().map(|p| p.name().clone()).collect();
        let (rivals, sightings) = Rivals::new(
            self.reader.clone(),
            options.election.as_ref().map(|election| election.lease.clone()),
            names.iter().map(ToString::to_string),
        );
        self.tasks.spawn("look for other leaders", rivals.run());
        let measured = |profile: Profile| {
            let probe = Arc::new(ProfileProbe::new(metrics, &profile));
            profile.with_probe(probe).with_extenders(core.extenders.clone())
        };
        let profiles = options.profiles.into_iter().map(measured).collect();
        let scheduler = Scheduler::new(options.scheduler, profiles)
            .with_probe(Arc::new(EventProbe::new(metrics.clone())));
        let (progress_sender, progress) = value::channel(Progress::default());
        let engine = Engine {
            inbox: core.messages,
            inbox_length: metrics.bounded_queue("inbox", crate::inbox::INBOX_MESSAGES_MAX).length,
            writers: core.writers,
            departed: Departed::default(),
            others: OtherBinders::new(
                names.clone(),
                self.leading.clone(),
                sightings,
                metrics.pods_bound_by_others.clone(),
            ),
            leading: self.leading.clone(),
            clock: self.clock,
            clock_said: false,
            observer: Observer::new(metrics.clone(), names.into_iter(), synced),
            unsynced: core.unsynced,
            listed: core.listed,
            decisions: Decisions::new(),
            said: Instant::now(),
            stopping: Arc::clone(&self.stopping),
            bindings: core.bindings,
            progress: progress_sender,
            heartbeat: core.heartbeat,
            outstanding: 0,
            outstanding_max: Engine::outstanding_max(options.bind_concurrency),
            scheduler,
        };
        (engine, progress)
    }
}

/// Starts the scheduling thread; the token is cancelled when it ends.
fn start_thread(mut engine: Engine, tasks: Tasks) -> Result<CancellationToken, StartError> {
    let ended = CancellationToken::new();
    let end = ended.clone().drop_guard();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("scheduling".to_owned())
        .spawn(move || {
            let _end = end;
            // The writers to which it hands effects spawn tasks.
            let _context = runtime.enter();
            // Reported before the engine is dropped, which also ends the watches: the first failure is the one that counts.
            if tasks.run_in_thread(THREAD, || engine.run(&runtime)) && !engine.is_stopping() {
                tasks.tell(THREAD.to_owned(), "ended by itself".to_owned());
            }
        })
        .map_err(|error| StartError::Other {
            what: "cannot start the scheduling thread",
            reason: error.to_string(),
        })?;
    Ok(ended)
}

async fn wake_on_change(mut leading: Leading, inbox: Inbox) {
    loop {
        leading.changed().await;
        if leading.may_write() {
            info!("became leader; scheduling started");
        }
        if inbox.send(Message::Wake).await.is_err() {
            return;
        }
    }
}

/// The name of this machine, as client-go puts it into `reportingInstance`.
fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
