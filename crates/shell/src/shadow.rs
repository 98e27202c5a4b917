//! A shadow as a service: the watches feed it, and it writes nothing. It has no writers, takes no Lease, and needs no permissions other
//! than to list and watch.
//!
//! What is compared, and on which state, is decided in the core ([`secondmate_core::shadow`]).

use crate::call::Caller;
use crate::clock::Clock;
use crate::connect;
use crate::heartbeat::WatchHeartbeats;
use crate::inbox::{Inbox, Message};
use crate::options::StartError;
use crate::patience;
use crate::tasks::{Failure, Failures, Tasks};
use crate::watch;
use futures::FutureExt;
use futures::future::BoxFuture;
use secondmate_core::shadow::{Agreement, Comparison, Shadow, Tally};
use secondmate_cycle::Profile;
use secondmate_telemetry::{Admin, DebugResponse, HealthFlag, Metrics, Probe};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

/// Maximum wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of messages taken before other tasks may run: each can trigger an evaluation of every node.
const TAKEN_AT_ONCE: usize = 16;
/// Interval between two checks for pods that are due to be evaluated again.
const TURN: Duration = Duration::from_secs(1);

/// How to run a shadow.
pub struct ShadowOptions {
    /// The cluster.
    pub cluster: kube_client::Config,
    /// How we would decide; its name is the other scheduler's.
    pub profile: Profile,
    /// Seed for choosing among equally good nodes.
    pub seed: u64,
    /// How long a pod that the other scheduler rejected, and we would not, may keep waiting before that counts as a disagreement; usually
    /// [`CONFIRM_AFTER`](secondmate_core::shadow::CONFIRM_AFTER).
    pub confirm_after: Duration,
    /// Metrics, health and debug endpoints.
    pub admin: Admin,
}

/// A running shadow; it ends when dropped.
pub struct ShadowService {
    failures: Failures,
    tally: Arc<Mutex<Tally>>,
    _tasks: DropGuard,
}

impl std::fmt::Debug for ShadowService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShadowService").finish_non_exhaustive()
    }
}

impl ShadowService {
    /// Connects, checks permissions, and starts it on the current tokio runtime.
    ///
    /// # Errors
    /// There is no cluster, or it may not list and watch what it needs.
    pub fn start(options: ShadowOptions) -> BoxFuture<'static, Result<Self, StartError>> {
        Self::begin(options).boxed()
    }

    async fn begin(options: ShadowOptions) -> Result<Self, StartError> {
        let ShadowOptions { cluster, profile, seed, confirm_after, admin } = options;
        let end = CancellationToken::new();
        let (tasks, failures) = Tasks::new(end.clone());
        // If startup fails, what has been started is ended.
        let guard = end.drop_guard();
        let heartbeats = WatchHeartbeats::new();
        let metrics = admin.metrics.clone();
        let client = connect::client(&cluster, &metrics, Some(heartbeats.api.clone())).await?;
        let caller = Caller::new(client.clone(), None, CALL_TIMEOUT);
        let server = cluster.cluster_url.to_string();
        let watches = watch::watches(std::slice::from_ref(&profile), false);
        patience::with_access(&caller, &server, &watch::to_watch(&watches)).await?;

        if !watch::polls(std::slice::from_ref(&profile)).is_empty() {
            warn!(
                "the endpoints of plugins are not polled by a shadow: these plugins decide as without an answer"
            );
        }
        let (inbox, messages) = Inbox::new(&metrics);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let synced = admin.health.flag("sched-handler-sync", Probe::Ready, "waiting for caches to sync");
        let watched = heartbeats.clone();
        admin.health.register("watches", Probe::Live, move || watched.check());
        mount(&admin, profile.name().as_str(), &tally);
        let context = watch::Context::new(client, inbox, metrics.clone(), tasks.clone(), heartbeats);
        let unsynced = watches.iter().map(ToString::to_string).enumerate().collect();
        for (number, watch) in watches.into_iter().enumerate() {
            watch::spawn(context.clone(), watch, number);
        }
        let follower = Follower {
            shadow: Shadow::new(profile, seed, confirm_after),
            clock: Clock::start(),
            unsynced,
            tally: Arc::clone(&tally),
            metrics,
            synced,
        };
        tasks.spawn_lasting("shadow", follower.run(messages));
        Ok(Self { failures, tally, _tasks: guard })
    }

    /// Waits until a part of it fails, which should never happen: the process must then exit.
    pub async fn failed(&mut self) -> Failure {
        self.failures.next().await
    }

    /// The results of the comparisons so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Follower {
    shadow: Shadow,
    clock: Clock,
    /// Watches whose first list is not complete, by number.
    unsynced: BTreeMap<usize, String>,
    tally: Arc<Mutex<Tally>>,
    metrics: Metrics,
    synced: HealthFlag,
}

impl Follower {
    /// Follows the watches until they end.
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            let is_due = self.shadow.is_due(self.clock.now());
            tokio::select! {
                count = messages.recv_many(&mut batch, TAKEN_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    batch.drain(..).for_each(|message| self.take(message));
                    self.numbers();
                    // However many messages arrive, some pods are evaluated.
                    self.ask_due();
                    tokio::task::yield_now().await;
                }
                _ = turn.tick() => {}
                // Between any two evaluations, the watches are followed.
                () = tokio::task::yield_now(), if is_due => self.ask_due(),
            }
        }
    }

    fn ask_due(&mut self) {
        let compared = self.shadow.ask_due(self.clock.now());
        self.tell(compared);
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Watched(input) => {
                let compared = self.shadow.apply(input, now);
                self.tell(compared);
            }
            Message::Synced(number) => {
                let before = self.unsynced.len();
                self.unsynced.remove(&number);
                if before > 0 && self.unsynced.is_empty() {
                    let [waiting, pods, nodes] = self.shadow.sizes();
                    info!(nodes, pods, waiting, name = %self.shadow.name(), "caches synced; decisions are compared from now on");
                    self.synced.pass();
                    self.shadow.synced(now);
                }
            }
            Message::ListingPods(listing) => self.shadow.listing_pods(listing),
            // Nothing else writes to this inbox.
            Message::Answered(_) | Message::Look(_) | Message::Wake => {}
        }
    }

    /// Copies the numbers that the core keeps itself. A shadow binds nothing, so it assumes no pods.
    fn numbers(&self) {
        let [_, pods, nodes] = self.shadow.sizes();
        self.metrics.cache_size.set(nodes, pods, 0);
    }

    fn tell(&self, compared: impl IntoIterator<Item = Comparison>) {
        for comparison in compared {
            self.metrics.shadow.decisions(comparison.agreement.label()).inc();
            if comparison.agreement == Agreement::Worse {
                self.metrics.shadow.difference.observe(comparison.difference as f64);
                if let Some(plugin) = comparison.main_plugin() {
                    self.metrics.shadow.worse_by(plugin.as_str()).inc();
                }
            }
            if comparison.agreement.is_compared() && !comparison.agreement.agrees() {
                info!(
                    pod = comparison.pod,
                    theirs = comparison.theirs.as_ref().map(ToString::to_string),
                    ours = comparison.ours.as_ref().map(ToString::to_string),
                    difference = comparison.difference,
                    "decided otherwise: {}",
                    comparison.agreement.label()
                );
            }
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(comparison);
        }
    }
}

fn mount(admin: &Admin, name: &str, tally: &Arc<Mutex<Tally>>) {
    let (name, tally) = (name.to_owned(), Arc::clone(tally));
    let help = "what the other scheduler decided against what this one would have decided";
    admin.mount("shadow", help, move |_| {
        let shown = shown(&name, &tally.lock().unwrap_or_else(PoisonError::into_inner));
        async move { DebugResponse::json(&shown) }
    });
}

fn shown(name: &str, tally: &Tally) -> Value {
    let counts: serde_json::Map<String, Value> = Agreement::ALL
        .iter()
        .map(|agreement| (agreement.label().to_owned(), tally.count(*agreement).into()))
        .collect();
    let plugins: serde_json::Map<String, Value> =
        tally.by_plugin().into_iter().map(|(plugin, count)| (plugin.to_owned(), count.into())).collect();
    let disagreements: Vec<Value> = tally.disagreements().map(disagreement).collect();
    json!({
        "schedulerName": name,
        "compared": tally.compared(),
        "agreed": tally.agreed(),
        "decisions": counts,
        "worseBy": plugins,
        "disagreements": disagreements,
    })
}

fn disagreement(comparison: &Comparison) -> Value {
    let plugins: Vec<Value> = comparison
        .plugins
        .iter()
        .map(|plugin| json!({ "plugin": plugin.plugin.as_str(), "theirs": plugin.theirs, "ours": plugin.ours }))
        .collect();
    json!({
        "pod": comparison.pod,
        "decision": comparison.agreement.label(),
        "theirs": comparison.theirs.as_ref().map(ToString::to_string),
        "ours": comparison.ours.as_ref().map(ToString::to_string),
        "best": comparison.best,
        "difference": comparison.difference,
        "plugins": plugins,
        "reason": comparison.reason,
    })
}
