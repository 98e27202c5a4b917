//! The scheduler: inputs in, effects out.
//!
//! [`Scheduler::apply`] takes one input; [`Scheduler::step`] makes at most one attempt to place a pod; what has to be done
//! outside is returned by [`Scheduler::take_effects`]. The time is passed in with each call. Nothing here waits.

mod asked;
mod audit;
mod binding;
mod bindings;
mod budgets;
mod check;
mod commands;
mod drive;
mod failed;
mod inputs;
mod lingering;
mod loops;
mod neighbours;
mod others_waiting;
mod postponed;
mod preemptions;
mod reads;
mod reserve;
mod running;
mod settings;

pub use check::CacheDifference;
pub use settings::{EvaluationSettings, SchedulerConfig};

use crate::cache::{Cache, CacheSize};
use crate::changes;
use crate::nominations::Nominator;
use crate::port::{Effect, EventType, PodEvent};
use crate::queue::{Profiles, Queue, QueueContext, QueueSize};
use asked::AskedNominations;
use audit::Audit;
use bindings::Bindings;
use budgets::Budgets;
use failed::FailedAttempt;
use lingering::Lingering;
use loops::Loops;
use others_waiting::OthersWaiting;
use postponed::Postponed;
use preemptions::Preemptions;
use reads::Reads;
use secondmate_cycle::probe::Probe;
use secondmate_cycle::{
    Answer, Evaluate, Outcome, Profile, Question, Random, Rejection, Scope, StandingCounts,
};
use secondmate_framework::{
    ClusterEvent, Code, Context, EventObject, Nomination, ObjectChange, Parity, Snapshot,
};
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a step did, for metrics and logs.
#[derive(Clone, Debug)]
pub struct CycleReport {
    /// The pod that was tried.
    pub pod: Arc<Pod>,
    /// The node that was chosen, if any.
    pub node: Option<Atom>,
    /// `scheduled`, `unschedulable` or `error`, as in the metrics: `scheduled` means that a node was chosen.
    pub result: &'static str,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Cache.
    pub cache: CacheSize,
    /// Queue.
    pub queue: QueueSize,
    /// Pods that have been assigned a node but have not been seen there yet.
    pub bindings: usize,
    /// Nominated pods.
    pub nominations: usize,
    /// Pods of other schedulers that may have been assigned to a node that is not known yet.
    pub others_waiting: usize,
    /// Events kept for pods in flight.
    pub in_flight_events: usize,
    /// Total number of events dropped because too many were kept; see [`crate::queue::IN_FLIGHT_EVENTS_MAX`].
    pub in_flight_events_dropped: u64,
    /// Total number of refused commands about waiting pods; see [`secondmate_framework::COMMANDS_MAX`].
    pub commands_refused: u64,
    /// Unfinished preemptions.
    pub preemptions: usize,
}

/// The deterministic core of the scheduler.
pub struct Scheduler {
    config: SchedulerConfig,
    profiles: Profiles,
    cache: Cache,
    snapshot: Snapshot,
    queue: Queue,
    nominator: Nominator,
    asked: AskedNominations,
    bindings: Bindings,
    lingering: Lingering,
    reads: Reads,
    others_waiting: OthersWaiting,
    preemptions: Preemptions,
    loops: Loops,
    budgets: Budgets,
    postponed: Postponed,
    evaluation: Box<dyn Evaluate + Send>,
    random: Random,
    next_start: usize,
    /// The state of the cluster that attempts look at: change counts of the cache, of objects and of nominations.
    world: [u64; 3],
    /// Attempts whose rejection was known in advance.
    attempts_repeated: u64,
    effects: Vec<Effect>,
    probe: Arc<dyn Probe>,
    /// Whether amounts of pods and nodes are clamped where upstream lets them overflow: under sensible parity.
    bounds_amounts: bool,
    /// Events that the current input turned out to be, for the probe.
    handled: Vec<&'static str>,
    /// Only in tests.
    audit: Option<Box<Audit>>,
}

impl Scheduler {
    /// A scheduler without nodes or pods.
    #[must_use]
    pub fn new(config: SchedulerConfig, profiles: Vec<Profile>) -> Self {
        let bounds_amounts = profiles.iter().any(|profile| profile.handle().parity == Parity::Sensible);
        let weights = if profiles.iter().any(|profile| profile.weight().is_some()) {
            profiles.iter().map(|p| (p.name().clone(), p.weight().unwrap_or(1))).collect()
        } else {
            BTreeMap::new()
        };
        Self {
            config,
            bounds_amounts,
            profiles: profiles.into_iter().map(|p| (p.name().clone(), Arc::new(p))).collect(),
            cache: Cache::new(),
            snapshot: Snapshot::default(),
            queue: Queue::new(config.queue).shared(&weights),
            nominator: Nominator::default(),
            asked: AskedNominations::default(),
            bindings: Bindings::default(),
            lingering: Lingering::default(),
            reads: Reads::default(),
            others_waiting: OthersWaiting::default(),
            preemptions: Preemptions::default(),
            loops: Loops::default(),
            budgets: Budgets::default(),
            postponed: Postponed::default(),
            evaluation: config.evaluation.make(),
            random: Random::new(config.seed),
            next_start: 0,
            world: [0; 3],
            attempts_repeated: 0,
            effects: Vec::new(),
            probe: Arc::new(()),
            handled: Vec::new(),
            audit: None,
        }
    }

    /// Sets the probe that measures event handling. Profiles have probes of their own.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = probe;
        self
    }

    /// The profiles by scheduler name.
    #[must_use]
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The cache, for inspection.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The queue, for inspection.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The objects other than pods and nodes.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        self.snapshot.objects()
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            cache: self.cache.size(),
            queue: self.queue.size(),
            bindings: self.bindings.len(),
            nominations: self.nominator.len(),
            others_waiting: self.others_waiting.len(),
            in_flight_events: self.queue.in_flight_events(),
            in_flight_events_dropped: self.queue.in_flight_events_dropped(),
            commands_refused: self.profiles.values().map(|p| p.handle().commands_refused()).sum(),
            preemptions: self.preemptions.len(),
        }
    }

    /// Statistics of the standing evaluation, if it is used.
    #[must_use]
    pub fn standing(&self) -> Option<&StandingCounts> {
        self.evaluation.standing()
    }

    /// Total number of attempts that were answered without looking at the nodes, because an equivalent pod had been rejected and
    /// nothing had changed since.
    #[must_use]
    pub fn attempts_repeated(&self) -> u64 {
        self.attempts_repeated
    }

    /// Total number of guest failures: profile, plugin and count.
    pub fn guest_failures(&self) -> impl Iterator<Item = (&Atom, Atom, u64)> {
        self.profiles.iter().flat_map(|(profile, of)| {
            of.handle().failures().into_iter().map(move |(plugin, count)| (profile, plugin, count))
        })
    }

    /// What has to be done outside, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.audit_effects_taken();
        std::mem::take(&mut self.effects)
    }

    /// Whether a step would find no pod to try. After a change that it has not looked at yet, a step may find none even if this
    /// returns false.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let has_changed = self.world != self.world_now();
        !(self.queue.has_ready() || has_changed && self.queue.has_backing_off())
    }

    /// When the mere passing of time next gives the core something to do, if ever: call [`Scheduler::step`] then.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let preemption = self.postponed.next().into_iter().chain(self.budgets.next());
        let times = self.queue.next_tick().into_iter().chain(self.bindings.next_deadline());
        let times = times.chain(self.reads.next_deadline());
        times.chain(preemption).min()
    }

    /// Processes what has become due, and tries the next pod if there is one.
    pub fn step(&mut self, now: Timestamp) -> Option<CycleReport> {
        self.run_plugin_commands(now);
        let (queue, cx) = self.queue_at(now);
        queue.tick(cx);
        let none_is_left = self.tick_bindings(now);
        self.tick_reads(now);
        self.tick_postponed(now);
        self.asked.tick(now);
        if none_is_left {
            self.audit_deadlines(now);
        }
        let report = self.next_pod(now).map(|pod| self.try_pod(pod, now));
        // What plugins decided about waiting pods while this one was tried.
        self.run_plugin_commands(now);
        self.audit_effects();
        report
    }

    /// The next pod that is worth an attempt.
    fn next_pod(&mut self, now: Timestamp) -> Option<Arc<Pod>> {
        self.look_for_changes();
        loop {
            let is_promised = |uid: &Uid| self.nominator.node_of(uid).is_some();
            let pod = self.queue.pop(&self.profiles, &is_promised)?.pod;
            if !pod.deleting {
                return Some(self.asked.applied(pod));
            }
            self.event(&pod, EventType::Warning, "FailedScheduling", "Scheduling", skip_deleting(&pod));
            let (queue, cx) = self.queue_at(now);
            queue.park(&pod.uid, cx);
        }
    }

    /// Checks whether something has changed that may make attempts end differently.
    fn look_for_changes(&mut self) {
        let world = self.world_now();
        if std::mem::replace(&mut self.world, world) != world {
            self.queue.world_changed();
        }
    }

    /// Change counts of everything that attempts look at.
    fn world_now(&self) -> [u64; 3] {
        [self.cache.changes(), self.snapshot.objects().changes(), self.nominator.changes()]
    }

    fn try_pod(&mut self, pod: Arc<Pod>, now: Timestamp) -> CycleReport {
        let profile = self.profiles.get(&pod.scheduler_name);
        let profile = Arc::clone(profile.expect("only pods of a profile are queued"));
        let is_promised = self.nominator.node_of(&pod.uid).is_some();
        if let Some(known) = self.queue.known_rejection(&pod).filter(|_| !is_promised) {
            self.attempts_repeated += 1;
            self.audit_repeated(&profile, &pod, &known, now);
            self.reject(&profile, &pod, Rejection::clone(&known), now);
            return CycleReport { pod, node: None, result: "unschedulable" };
        }
        self.cache.refresh(&mut self.snapshot);
        let question = Question {
            profile: &profile,
            snapshot: &self.snapshot,
            nominations: &self.nominator,
            now,
            pod: &pod,
            scope: Scope::Sample { start: self.next_start },
        };
        let Answer { outcome, looked_at, .. } = self.evaluation.evaluate(&question, &mut self.random);
        self.next_start = (self.next_start + looked_at) % self.snapshot.nodes().len().max(1);
        let (node, result) = match outcome {
            Outcome::Placed { node, state } => {
                let name = node.name().clone();
                self.audit_choice(&profile, &pod, &name, now);
                match self.begin_binding(&profile, &pod, &name, state, now) {
                    Ok(()) => (Some(name), "scheduled"),
                    Err(status) => {
                        let result = if status.is_rejected() { "unschedulable" } else { "error" };
                        self.fail_after_choice(&profile, &pod, &status, now);
                        (None, result)
                    }
                }
            }
            Outcome::Rejected(rejection) => {
                if !is_promised && profile.rejects_alike() && finds_nothing(&rejection) {
                    self.queue.remember_rejection(&pod, Arc::new(rejection.clone()));
                }
                self.reject(&profile, &pod, rejection, now);
                (None, "unschedulable")
            }
            Outcome::Failed(failure) => {
                self.fail(&profile, &pod, FailedAttempt::error(failure.message), now);
                (None, "error")
            }
        };
        CycleReport { pod, node, result }
    }

    fn event(
        &mut self,
        pod: &Arc<Pod>,
        kind: EventType,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) {
        self.effects.push(Effect::Event(PodEvent {
            regarding: Arc::clone(pod),
            related: None,
            kind,
            reason: reason.into(),
            action: action.into(),
            note,
            profile: pod.scheduler_name.clone(),
        }));
    }

    /// The queue, and what it needs when it moves pods.
    fn queue_at(&mut self, now: Timestamp) -> (&mut Queue, QueueContext<'_>) {
        (
            &mut self.queue,
            QueueContext {
                now,
                profiles: &self.profiles,
                gates: &self.preemptions,
                promises: &self.nominator,
            },
        )
    }

    /// Notifies the queue of a change.
    fn announce(
        &mut self,
        event: &ClusterEvent,
        change: &ObjectChange,
        except: Option<&Uid>,
        now: Timestamp,
    ) {
        let (queue, cx) = self.queue_at(now);
        queue.on_event(event, change, except, cx);
    }

    /// Room became free on a node: an assigned or assumed pod is gone.
    fn announce_pod_gone(&mut self, pod: &Arc<Pod>, except: Option<&Uid>, now: Timestamp) {
        let change = ObjectChange { old: Some(EventObject::Pod(Arc::clone(pod))), new: None };
        self.announce(&changes::ASSIGNED_POD_DELETE, &change, except, now);
    }

    /// A nomination ended. The pod had counted as present on its node for pods of at most the same priority.
    fn announce_nomination_gone(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        let change = ObjectChange { old: Some(EventObject::Pod(Arc::clone(pod))), new: None };
        let concerns = |other: &Pod| other.priority <= pod.priority;
        let (queue, cx) = self.queue_at(now);
        queue.on_event_for(&changes::ASSIGNED_POD_DELETE, &change, &concerns, cx);
    }
}

/// Whether PostFilter, if it ran, neither found a way nor failed.
fn finds_nothing(rejection: &Rejection) -> bool {
    let found = &rejection.post_filter;
    found.victims.is_empty()
        && !matches!(found.nomination, Some(Nomination::Node(_)))
        && !(rejection.post_filter_ran && found.status.code() != Code::Unschedulable)
}

fn skip_deleting(pod: &Pod) -> String {
    format!("skip schedule deleting pod: {}", pod.full_name())
}

/// The context for plugins that are called after the choice of a node.
fn plain_context<'a>(snapshot: &'a Snapshot, nominator: &'a Nominator, now: Timestamp) -> Context<'a> {
    Context { snapshot, now, nominations: nominator }
}
