//! Starting and stopping: connects the watches, the scheduling thread and the writers.

use crate::access;
use crate::call::{CallError, Caller};
use crate::clock::Clock;
use crate::compare::{self, CompareError, Comparer};
use crate::connect::{self, ConnectError};
use crate::debug;
use crate::engine::{Engine, Progress, Writers};
use crate::heartbeat::Heartbeat;
use crate::inbox::{INBOX_MESSAGES_MAX, Inbox, Message};
use crate::lease::{Election, ElectionEnd, KubeLease, Observation, Term};
use crate::limit::RateLimit;
use crate::observe::Observer;
use crate::options::{End, Options, StartError};
use crate::others::OtherBinders;
use crate::probe::{EventProbe, ProfileProbe};
use crate::rivals::Rivals;
use crate::unfit::{UnfitObjects, tell_owners};
use crate::watch::{self, Permission};
use crate::write::{
    Binder, EventSink, EventSinkConfig, Evictor, Leading, PluginWriter, StatusWriter, Verifier,
};
use secondmate_core::{CacheDifference, Scheduler};
use secondmate_cycle::Profile;
use secondmate_framework::Parity;
use secondmate_model::{Atom, Timestamp};
use secondmate_telemetry::{Admin, Probe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch as value};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Longest wait for bindings that are on their way, when the shell stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for events that are not written, when the shell stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the answer to a read, an event or a status.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A running scheduler.
pub struct Shell {
    inbox: Inbox,
    progress: value::Receiver<Progress>,
    stopping: Arc<AtomicBool>,
    thread_ended: oneshot::Receiver<()>,
    election: Option<JoinHandle<ElectionEnd>>,
    cancel: CancellationToken,
    events: EventSink,
    comparer: Comparer,
    tasks: JoinSet<()>,
    watches: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

/// Lets the scheduling thread look at the core, between two cycles; `None` where it has ended.
pub(crate) async fn look<T: Send + 'static>(
    inbox: &Inbox,
    at: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let look = move |scheduler: &Scheduler, now: Timestamp| {
        // Whoever asked may have gone.
        let _ = answer.send(at(scheduler, now));
    };
    inbox.send(Message::Look(Box::new(look))).await.ok()?;
    answered.await.ok()
}

impl Shell {
    /// Connects, checks what the scheduler may do, and starts it on the current tokio runtime.
    ///
    /// # Errors
    /// There is no cluster, a permission is missing, or the election's times contradict each other.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { cluster, profiles, admin, .. } = &options;
        let metrics = admin.metrics.clone();
        let client = connect::client(cluster)?;
        let reader = Caller::new(client.clone(), None, CALL_TIMEOUT);
        connect::check(&reader, &cluster.cluster_url.to_string()).await?;
        let watches = watch::watches(profiles);
        check_access(&reader, &options, &watches).await?;

        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (election, term) = start_election(&options, &cancel, &mut tasks)?;
        let leading = Leading::new(term);
        let limit = || {
            let limit = options.write_limit?;
            RateLimit::new(limit.per_second, limit.burst).map(Arc::new)
        };
        // As in kube-scheduler, events have a limit of their own: they take nothing from bindings.
        let event_caller = Caller::new(client.clone(), limit(), CALL_TIMEOUT);
        let limit = limit();
        let binding_caller = Caller::new(client.clone(), limit.clone(), options.bind_timeout);
        let caller = Caller::new(client.clone(), limit, CALL_TIMEOUT);
        let (inbox, receiver) = mpsc::channel(INBOX_MESSAGES_MAX);
        let bindings = Arc::new(AtomicUsize::new(0));
        // All profiles are of one configuration, and have one parity.
        let parity = profiles.first().map_or_else(Parity::default, |profile| profile.handle().parity);
        let events = EventSink::start(
            event_caller,
            leading.clone(),
            &metrics,
            EventSinkConfig { parity, host: host() },
            Arc::clone(&bindings),
        );
        let status = StatusWriter::start(caller.clone(), leading.clone(), &metrics);
        let unfit = Arc::new(UnfitObjects::default());
        tasks.spawn(tell_owners(Arc::clone(&unfit), leading.clone(), status.clone(), events.clone()));
        tasks.spawn(wake_on_change(leading.clone(), inbox.clone()));
        let comparer = Comparer { caller: reader.clone(), inbox: inbox.clone(), metrics: metrics.clone() };
        if let Some(every) = options.compare_every {
            tasks.spawn(compare::periodically(comparer.clone(), every));
        }
        debug::mount(admin, &inbox, &comparer, &unfit);

        let synced = admin.health.flag("sched-handler-sync", Probe::Ready, "not every list is in yet");
        let names: Vec<Atom> = profiles.iter().map(|p| p.name().clone()).collect();
        let (rivals, sightings) = Rivals::new(
            reader.clone(),
            options.election.as_ref().map(|election| election.lease.clone()),
            names.iter().map(ToString::to_string),
        );
        tasks.spawn(rivals.run());
        let (progress_sender, progress) = value::channel(Progress::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let heartbeat = Heartbeat::new();
        register_checks(admin, &heartbeat, &leading, &stopping);
        let writers = Writers {
            binder: Binder::new(
                binding_caller,
                leading.clone(),
                inbox.clone(),
                metrics.clone(),
                options.bind_concurrency,
            ),
            plugin_writer: PluginWriter::new(caller.clone(), leading.clone(), inbox.clone()),
            verifier: Verifier::new(reader, inbox.clone()),
            evictor: Evictor::new(caller, leading.clone(), inbox.clone()),
            status,
            events: events.clone(),
        };
        let measured = |profile: Profile| {
            let probe = Arc::new(ProfileProbe::new(&metrics, &profile));
            profile.with_probe(probe)
        };
        let profiles = options.profiles.into_iter().map(measured).collect();
        let scheduler = Scheduler::new(options.scheduler, profiles)
            .with_probe(Arc::new(EventProbe::new(metrics.clone())));
        let engine = Engine {
            inbox: receiver,
            writers,
            others: OtherBinders::new(
                names.clone(),
                leading.clone(),
                sightings,
                metrics.pods_bound_by_others.clone(),
            ),
            leading,
            clock: Clock::start(),
            observer: Observer::new(metrics.clone(), names.into_iter(), synced),
            unsynced: (0..watches.len()).collect(),
            stopping: Arc::clone(&stopping),
            bindings,
            progress: progress_sender,
            heartbeat,
            outstanding: 0,
            outstanding_max: Engine::outstanding_max(options.bind_concurrency),
            scheduler,
        };
        let thread_ended = start_thread(engine)?;
        let context = watch::Context { client, inbox: inbox.clone(), metrics, unfit };
        let watches = watches
            .into_iter()
            .enumerate()
            .map(|(number, watch)| watch::spawn(context.clone(), watch, number))
            .collect();
        Ok(Self {
            inbox,
            progress,
            stopping,
            thread_ended,
            election,
            cancel,
            events,
            comparer,
            tasks,
            watches,
        })
    }

    /// What the scheduler does, as it changes.
    #[must_use]
    pub fn progress(&self) -> value::Receiver<Progress> {
        self.progress.clone()
    }

    /// Looks at the core between two cycles; `None` where it has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        at: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        look(&self.inbox, at).await
    }

    /// Compares the cache with fresh lists; returns the differences that last.
    ///
    /// # Errors
    /// A list failed, or the scheduler has ended.
    pub async fn compare_cache(&self) -> Result<Vec<CacheDifference>, CompareError> {
        self.comparer.compare().await
    }

    /// Waits until the scheduler ends by itself, which it never should: see [`End`].
    pub async fn ended(&mut self) -> End {
        let election = async {
            match &mut self.election {
                Some(election) => election.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut self.thread_ended => End::Crashed,
            end = election => {
                self.election = None;
                match end {
                    Ok(ElectionEnd::Lost { reason }) => End::LeadershipLost { reason },
                    Ok(_) => End::LeadershipLost { reason: "the election ended".to_owned() },
                    Err(_) => End::LeadershipLost { reason: "the election failed: this is a bug".to_owned() },
                }
            }
        }
    }

    /// Stops: begins no attempt any more, waits for the bindings that are on their way (bounded), writes what events there are
    /// (bounded), and gives the lease back last.
    pub async fn stop(mut self) -> End {
        self.stopping.store(true, Ordering::Release);
        for watch in &self.watches {
            watch.abort();
        }
        // Where the inbox is full the thread is awake anyway.
        let _ = self.inbox.try_send(Message::Wake);
        if timeout(DRAIN_TIMEOUT, &mut self.thread_ended).await.is_err() {
            error!(
                "bindings were still on their way after {DRAIN_TIMEOUT:?}: the next scheduler finds out what became of them"
            );
        }
        self.events.flush(FLUSH_TIMEOUT).await;
        self.tasks.abort_all();
        self.cancel.cancel();
        match self.election.take() {
            Some(election) => match election.await {
                Ok(ElectionEnd::Lost { reason }) => End::LeadershipLost { reason },
                _ => End::Stopped,
            },
            None => End::Stopped,
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.inbox.try_send(Message::Wake);
        self.cancel.cancel();
        for watch in &self.watches {
            watch.abort();
        }
    }
}

/// The checks that kube-scheduler has too, and one for the scheduling thread.
fn register_checks(admin: &Admin, heartbeat: &Heartbeat, leading: &Leading, stopping: &Arc<AtomicBool>) {
    let (heartbeat, leading, stopping) = (heartbeat.clone(), leading.clone(), Arc::clone(stopping));
    admin.health.register("scheduling-thread", Probe::Live, move || heartbeat.check());
    admin.health.register("leaderElection", Probe::Live, move || {
        if leading.is_overdue() {
            return Err("the lease has run out and was not given up".to_owned());
        }
        Ok(())
    });
    admin.health.register("shutdown", Probe::Ready, move || {
        if stopping.load(Ordering::Acquire) { Err("the scheduler is stopping".to_owned()) } else { Ok(()) }
    });
}

async fn check_access(
    caller: &Caller,
    options: &Options,
    watches: &[watch::Watch],
) -> Result<(), StartError> {
    let mut needed = watch::permissions(&options.profiles, watches);
    needed.insert(Permission {
        group: "coordination.k8s.io".to_owned(),
        resource: "leases",
        subresource: "",
        verb: "list",
        namespace: String::new(),
        name: String::new(),
    });
    if let Some(election) = &options.election {
        let lease = |verb, name: &str| Permission {
            group: "coordination.k8s.io".to_owned(),
            resource: "leases",
            subresource: "",
            verb,
            namespace: election.lease.namespace.clone(),
            name: name.to_owned(),
        };
        needed.extend([
            lease("create", ""),
            lease("get", &election.lease.name),
            lease("update", &election.lease.name),
        ]);
    }
    match access::missing(caller, &needed).await {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(StartError::Access { missing: missing.iter().map(ToString::to_string).collect() }),
        Err(CallError::Answered { code: 401, message, .. }) => {
            Err(StartError::Connect(ConnectError::Unauthorized {
                server: options.cluster.cluster_url.to_string(),
                reason: message,
            }))
        }
        Err(error) => Err(StartError::AccessUnknown { reason: error.to_string() }),
    }
}

type Elected = (Option<JoinHandle<ElectionEnd>>, value::Receiver<Option<Term>>);

fn start_election(
    options: &Options,
    cancel: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Elected, StartError> {
    let Some(config) = &options.election else {
        let (sender, term) = value::channel(Some(Term::unlimited()));
        // The term ends with the shell.
        tasks.spawn(async move { sender.closed().await });
        return Ok((None, term));
    };
    let lease = KubeLease::connect(options.cluster.clone(), &config.lease).map_err(|error| {
        StartError::Other { what: "cannot make a client for the Lease", reason: crate::call::chain(&error) }
    })?;
    let (claim, name) = (config.claim.clone(), config.lease.name.clone());
    let (election, handle) = Election::new(lease, config.clone())?;
    tasks.spawn(report_conflicts(handle.observation.clone(), claim));
    let gauge = options.admin.metrics.leader_election_master_status(&name);
    let mut term = handle.term.clone();
    tasks.spawn(async move {
        loop {
            gauge.set(i64::from(term.borrow_and_update().is_some()));
            if term.changed().await.is_err() {
                gauge.set(0);
                return;
            }
        }
    });
    Ok((Some(tokio::spawn(election.run(cancel.clone()))), handle.term))
}

/// Says it when another live process holds the Lease for something else; once for each holder.
async fn report_conflicts(mut observation: value::Receiver<Option<Observation>>, claim: crate::lease::Claim) {
    let mut reported = None;
    loop {
        let conflict = observation.borrow_and_update().as_ref().and_then(|o| o.conflict(&claim));
        if let Some(conflict) = conflict
            && reported.as_ref() != Some(&conflict)
        {
            error!("{conflict}");
            reported = Some(conflict);
        }
        if observation.changed().await.is_err() {
            return;
        }
    }
}

fn start_thread(engine: Engine) -> Result<oneshot::Receiver<()>, StartError> {
    let (ended, thread_ended) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("scheduling".to_owned())
        .spawn(move || {
            // Dropped when the thread ends, by a panic too.
            let _ended: oneshot::Sender<()> = ended;
            // The writers that it hands effects to spawn tasks.
            let _context = runtime.enter();
            engine.run(&runtime);
        })
        .map_err(|error| StartError::Other {
            what: "cannot start the scheduling thread",
            reason: error.to_string(),
        })?;
    Ok(thread_ended)
}

async fn wake_on_change(mut leading: Leading, inbox: Inbox) {
    loop {
        leading.changed().await;
        if leading.may_write() {
            info!("this process leads: scheduling");
        }
        if inbox.send(Message::Wake).await.is_err() {
            return;
        }
    }
}

/// Name of this machine, as client-go puts it into `reportingInstance`.
fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
