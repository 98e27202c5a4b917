//! The simulated cluster around the core: who does what, and when.

mod calm;
mod check;
mod guarded;
mod judge;
mod objects;
mod others;
mod registers;
mod schedulers;
mod server;
mod shell;
mod users;
mod workloads;

use crate::odd::Odd;
use crate::{Action, Counts, Log, Options, Step, slow};
use check::Judged;
use guarded::{Guarded, UnderWay};
use judge::Judge;
use objects::{Needs, StoredPod, is_our_name};
use others::Other;
use schedulers::{NAMESPACES, OTHER_NAMES, OUR_NAMES, POOLS, may_evict, may_use, new_scheduler};
use secondmate_core::Scheduler;
use secondmate_core::port::{Effect, Input, PodWatch};
use secondmate_cycle::Random;
use secondmate_model::{Atom, Pod, PodCondition, Timestamp, Uid};
use serde_json::{Value, json};
use server::Truth;
use shell::Told;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use workloads::{Survey, Workload};

/// Name of a pod or node.
type Name = Arc<str>;

/// A stream with its own delay; the core has seen everything that was taken from the front.
#[derive(Default)]
struct Stream(VecDeque<Input>);

/// Indexes of the streams. The first ones are the pod watches.
const PODS: usize = 4;
const NODES: usize = PODS;
const OBJECTS: usize = NODES + 1;
const ANSWERS: usize = OBJECTS + 1;
const STREAMS: usize = ANSWERS + 1;

/// The start of a history.
const BEGAN: Timestamp = Timestamp::from_secs(1_000_000);
/// Maximum time between two turns while anything is in progress.
const TURN_MS: usize = 400;

/// A cluster with its schedulers, from the first step of a history to the last.
pub struct World {
    options: Options,
    random: Random,
    seed: u64,
    now: Timestamp,
    truth: Truth,
    scheduler: Scheduler,
    slow: slow::Shared,
    /// The measurements.
    pub probe: Arc<Odd>,
    streams: [Stream; STREAMS],
    /// The time until which each stream shows nothing.
    silent: [Timestamp; STREAMS],
    /// Effects that the core wants and that have not been carried out yet.
    outbox: VecDeque<Effect>,
    /// What the core has been told.
    told: Told,
    leading: bool,
    /// Number of pods that schedulers before the current one answered from a class.
    earlier_hits: u64,
    others: Vec<Other>,
    guarded: Option<Guarded>,
    /// Binds that the API server has admitted but not stored yet.
    under_way: Vec<UnderWay>,
    workloads: BTreeMap<Name, Workload>,
    surveyed: Survey,
    judge: Judge,
    judged: Judged,
    /// The step that creates names, and how many it has created.
    naming: (u64, u64),
    calm: bool,
    /// What was logged.
    pub log: Vec<String>,
    /// Counts of what happened.
    pub counts: Counts,
}

impl World {
    /// A cluster in which nothing has happened yet.
    #[must_use]
    pub fn new(seed: u64, options: Options) -> Self {
        let (slow, probe) = (slow::Shared::default(), Arc::new(Odd::default()));
        let mut world = Self {
            options,
            random: Random::new(seed),
            seed,
            now: BEGAN,
            truth: Truth::default(),
            scheduler: new_scheduler(seed, options, &slow, &probe),
            probe,
            slow,
            streams: Default::default(),
            silent: [BEGAN; STREAMS],
            outbox: VecDeque::new(),
            told: Told::default(),
            leading: true,
            earlier_hits: 0,
            others: OTHER_NAMES.into_iter().filter(|_| options.living).map(Other::new).collect(),
            guarded: options.guard.then(|| Guarded::new(BEGAN)),
            under_way: Vec::new(),
            workloads: BTreeMap::new(),
            surveyed: Survey::default(),
            judge: Judge::default(),
            judged: Judged::new(),
            naming: (0, 0),
            calm: false,
            log: Vec::new(),
            counts: Counts::default(),
        };
        for _ in 0..if options.nodes == 0 { 4 } else { options.nodes } {
            world.add_node();
        }
        world
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.below(from.len())].clone())
    }

    /// A new name, derived from the step, so that what a step creates has the same name without the steps before it.
    fn name(&mut self, prefix: &str) -> Name {
        let (step, given) = self.naming;
        self.naming.1 += 1;
        let name = if given == 0 { format!("{prefix}{step}") } else { format!("{prefix}{step}x{given}") };
        name.into()
    }

    fn log(&mut self, level: Log, line: impl FnOnce() -> String) {
        if self.options.log == level {
            let line = line();
            self.log.push(line);
        }
    }

    /// Number of pods that the schedulers answered from a class.
    #[must_use]
    pub fn standing_hits(&self) -> u64 {
        self.earlier_hits + self.scheduler.standing().map_or(0, |counts| counts.hits)
    }

    /// Simulated time since the history began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.since(BEGAN)
    }

    /// Lets time pass until the step's, and then carries out the step.
    ///
    /// # Panics
    /// An invariant is broken; the message says which.
    pub fn perform(&mut self, step: &Step) {
        self.pass_until(BEGAN + Duration::from_millis(step.at));
        self.random = step.random(self.seed);
        self.naming = (step.number + 1, 0);
        self.counts.add("events from outside", 1);
        let now = self.now;
        self.log(Log::Story, || format!("{} ## {:?}", clock(now), step.action));
        self.act(step.action);
        self.turn();
    }

    /// While something is in progress, there is a turn every few hundred milliseconds; otherwise time jumps to when something is due.
    fn pass_until(&mut self, until: Timestamp) {
        let turn = Duration::from_millis(TURN_MS as u64);
        while self.now + turn < until {
            let next = if self.is_quiet() {
                self.next_wakeup().map_or(until, |due| due.max(self.now + turn))
            } else {
                self.now + Duration::from_millis(1 + self.random.below(TURN_MS) as u64)
            };
            if next >= until {
                break;
            }
            self.now = next;
            self.turn();
        }
        self.now = self.now.max(until);
    }

    /// Whether nothing happens until the next external event, except for what is due at a certain time.
    fn is_quiet(&self) -> bool {
        let shows = |at: usize| self.silent[at] <= self.now && !self.streams[at].0.is_empty();
        self.outbox.is_empty()
            && self.under_way.is_empty()
            && !(0..STREAMS).any(shows)
            && (!self.leading || self.scheduler.is_idle())
            && self.others_are_quiet()
            && self.controllers_are_quiet()
            && self.guarded.as_ref().is_none_or(|guarded| guarded.is_quiet(self.now))
            && self.slow.books().waiting.is_empty()
    }

    /// The next time at which something is due.
    fn next_wakeup(&self) -> Option<Timestamp> {
        let core = self.scheduler.next_wakeup().filter(|_| self.leading);
        let shown = (0..STREAMS).filter(|at| !self.streams[*at].0.is_empty()).map(|at| self.silent[at]);
        let guard = self.guarded.as_ref().and_then(|guarded| guarded.next_wakeup(self.now));
        core.into_iter().chain(shown).chain(guard).filter(|due| *due > BEGAN).min()
    }

    fn act(&mut self, action: Action) {
        let most_nodes = if self.options.living { 16 } else { 8 };
        match action {
            Action::Nothing => {}
            Action::CreatePod => {
                let name = OUR_NAMES[if self.options.living { self.random.below(2) } else { 0 }];
                self.create_pod(name);
            }
            Action::CreateForeignPod => {
                let name = OTHER_NAMES[if self.options.living { self.random.below(2) } else { 0 }];
                self.create_pod(name);
            }
            Action::DeletePod => self.delete_pod(),
            Action::ChangePod => self.change_pod(),
            Action::FinishPod => self.finish_pod(),
            Action::CreateWorkload => self.create_workload(),
            Action::ScaleWorkload => self.scale_workload(),
            Action::DeleteWorkload => self.delete_workload(),
            Action::CreateRivals => self.create_rivals(),
            Action::AddNode if self.truth.nodes.len() < most_nodes => self.add_node(),
            Action::AddNode => {}
            Action::ChangeNode => self.change_node(),
            Action::RemoveNode => self.remove_node(),
            Action::ForeignBind => self.foreign_bind(),
            Action::OtherReplicaBinds if self.leading => {}
            Action::OtherReplicaBinds => self.other_replica_binds(),
            Action::ChangeBudget => self.change_budget(),
            Action::Relist => self.relist(),
            Action::SilentWatch => self.silence(),
            Action::Crash => self.crash(),
            Action::ChangeLeadership if self.leading => self.lose_leadership(),
            Action::ChangeLeadership | Action::Lead => self.leading = true,
            Action::LoseLeadership => self.lose_leadership(),
            Action::GuardGone => self.guard_goes(),
            Action::GuardBack => self.guard_comes_back(),
            Action::CalmDown => self.calm_down(),
        }
    }

    fn lose_leadership(&mut self) {
        self.leading = false;
        self.counts.add("leaderships lost", 1);
    }

    /// Gives everybody a turn.
    fn turn(&mut self) {
        self.counts.add("turns", 1);
        if self.options.slow_plugins && self.one_in(2) {
            self.decide_on_permit();
        }
        self.store_binds();
        if self.options.living {
            self.controllers_act();
            self.others_act();
        }
        self.guard_acts();
        self.deliver();
        for _ in 0..2 {
            // A standby keeps its cache warm but makes no attempts.
            let mut tried = false;
            if self.leading {
                tried = self.scheduler.step(self.now).is_some();
                self.check();
            }
            self.take_effects();
            if !tried && self.options.living {
                break;
            }
        }
        self.check_whole_if_due();
    }

    /// The plugin decides about pods that wait on permit: it allows most, rejects some, and forgets some.
    fn decide_on_permit(&mut self) {
        let waiting = std::mem::take(&mut self.slow.books().waiting);
        let Some(handle) = self.slow.books().handle.clone() else { return };
        for pod in waiting {
            let taken = match if self.calm { 2 } else { self.random.below(8) } {
                0 => handle.reject(&pod, slow::NAME, "changed its mind"),
                1 => true,
                _ => handle.allow(&pod, slow::NAME),
            };
            assert!(taken, "few commands wait");
        }
    }
}

/// A time as days, hours, minutes and seconds since the history began.
fn clock(now: Timestamp) -> String {
    let since = now.since(BEGAN);
    let secs = since.as_secs();
    format!(
        "{}d {:02}:{:02}:{:02}.{:03}",
        secs / 86_400,
        secs / 3_600 % 24,
        secs / 60 % 60,
        secs % 60,
        since.subsec_millis()
    )
}
