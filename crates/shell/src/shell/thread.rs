//! The scheduling thread: what it gets, its start, and what stops it.

use super::parts::Parts;
use crate::decisions::Decisions;
use crate::departed::Departed;
use crate::engine::{Engine, Progress, Writers};
use crate::heartbeat::Heartbeat;
use crate::inbox::{Inbox, Message};
use crate::observe::Observer;
use crate::options::{Options, StartError};
use crate::others::OtherBinders;
use crate::probe::{EventProbe, ProfileProbe};
use crate::rivals::Rivals;
use crate::tasks::Tasks;
use secondmate_core::Scheduler;
use secondmate_cycle::Profile;
use secondmate_framework::Extenders;
use secondmate_model::Atom;
use secondmate_telemetry::Probe;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{mpsc, watch as value};
use tokio_util::sync::CancellationToken;

/// Name of the check that the caches are in sync, as in kube-scheduler.
const SYNC: &str = "sched-handler-sync";
/// Name of the thread that owns the core.
const THREAD: &str = "scheduling thread";

/// What the scheduling thread gets besides the shared parts.
pub(super) struct Core {
    pub messages: mpsc::Receiver<Message>,
    pub writers: Writers,
    pub bindings: Arc<AtomicUsize>,
    pub heartbeat: Heartbeat,
    /// Names of the watches, by number.
    pub unsynced: BTreeMap<usize, String>,
    pub listed: CancellationToken,
    pub extenders: Extenders,
}

impl Parts {
    pub fn engine(&self, options: Options, core: Core) -> (Engine, value::Receiver<Progress>) {
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
pub(super) fn start_thread(mut engine: Engine, tasks: Tasks) -> Result<CancellationToken, StartError> {
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

/// Stops the scheduling thread when dropped.
pub(super) struct StopThread {
    pub stopping: Arc<AtomicBool>,
    pub inbox: Inbox,
}

impl Drop for StopThread {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.inbox.wake();
    }
}
