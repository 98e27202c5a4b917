//! A guest as a plugin.

mod points;

use crate::LoadError;
use crate::cycle::{Cycle, Cycles, Step};
use crate::exports::{Export, Exports};
use crate::guest::{Guest, Imports};
use crate::host::{self, About, Done};
use crate::instance::{CallError, Instance, Reply};
use crate::pool::{Pool, Slot, lock};
use crate::record::{self, Answer, Described, GuestAnswers, Outcome, Question};
use crate::status::{default_events, event};
use secondmate_framework::{Context, CycleState, EventRegistration, ExtensionPoint, Handle, Status};
use secondmate_model::{Atom, Pod, Timestamp};
use secondmate_record::Recorder;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tracing::{debug, warn};

/// A plugin implemented by a guest.
pub struct GuestPlugin {
    name: Atom,
    source: Source,
    exports: Exports,
    imports: Imports,
    handle: Handle,
    points: Vec<ExtensionPoint>,
    events: Vec<EventRegistration>,
    /// The cycle of a pod for which the guest is called without its PreFilter, because the profile does not enable it.
    loose: Mutex<Option<Loose>>,
    /// The feasible nodes that were last passed on.
    told: Mutex<Told>,
}

/// Where answers come from.
enum Source {
    /// The guest; its answers are recorded if there is a recorder.
    Guest(Arc<Pool>, Option<Arc<Recorder>>),
    /// A record of what it answered.
    Record(Arc<GuestAnswers>),
}

/// Names of nodes, and the JSON list of them.
#[derive(Default)]
struct Told {
    names: Vec<Atom>,
    list: Arc<str>,
}

struct Loose {
    pod: Arc<Pod>,
    now: Timestamp,
    cycle: Cycle,
}

/// A pool with an instance, and resource and action of each event that the guest registers.
type Started = (Arc<Pool>, Vec<(u32, u32)>);

/// Creates the guest's first instance and asks it for its events.
pub(crate) fn start(guest: Guest) -> Result<Started, LoadError> {
    let pool = Arc::new(Pool::new(guest)?);
    let mut instance = pool.take().map_err(LoadError::Instantiate)?;
    let asked = instance.call(Export::Enqueue, &pool.guest, &About::default());
    let events = asked.map_err(|error| LoadError::Enqueue(error.to_string()))?.results.events;
    pool.put(instance);
    Ok((pool, events))
}

impl GuestPlugin {
    /// A plugin for the guest; with a recorder, and the arguments to put in the record, its answers are recorded.
    pub(crate) fn new(guest: Guest, recorder: Option<(Arc<Recorder>, &Value)>) -> Result<Self, LoadError> {
        let (exports, imports) = (guest.compiled.exports, guest.compiled.imports);
        let (name, handle) = (guest.shared.name.clone(), guest.shared.handle.clone());
        let (pool, events) = start(guest)?;
        if let Some((recorder, args)) = &recorder {
            record::describe(
                recorder,
                &Described {
                    profile: handle.profile.to_string(),
                    name: name.to_string(),
                    args: (*args).clone(),
                    exports,
                    imports,
                    events: events.clone(),
                },
            );
        }
        let source = Source::Guest(pool, recorder.map(|(recorder, _)| recorder));
        Ok(Self::make(name, source, (exports, imports), &events, handle))
    }

    /// A plugin that gives the guest's recorded answers.
    pub(crate) fn of_record(guest: &Described, record: Arc<GuestAnswers>, handle: &Handle) -> Self {
        let kind = (guest.exports, guest.imports);
        Self::make(Atom::new(&guest.name), Source::Record(record), kind, &guest.events, handle.clone())
    }

    fn make(
        name: Atom,
        source: Source,
        (exports, imports): (Exports, Imports),
        registered: &[(u32, u32)],
        handle: Handle,
    ) -> Self {
        let mut events = Vec::new();
        for (resource, action) in registered {
            match event(*resource, *action) {
                Some(event) => events.push(event),
                None => {
                    warn!(guest = %name, "the guest registers events of resource {resource}, which is not known")
                }
            }
        }
        if registered.is_empty() {
            events = default_events();
        }
        Self {
            name,
            source,
            exports,
            imports,
            handle,
            points: exports.points(),
            events,
            loose: Mutex::default(),
            told: Mutex::default(),
        }
    }

    fn has(&self, export: Export) -> bool {
        self.exports.has(export)
    }

    /// A slot for an instance, if there are instances.
    fn slot(&self) -> Option<Arc<Slot>> {
        match &self.source {
            Source::Guest(pool, _) => Some(pool.slot()),
            Source::Record(_) => None,
        }
    }

    /// Begins the guest's part in a cycle.
    fn begin(&self, cx: &Context<'_>) -> Cycle {
        if self.imports.nodes
            && let Source::Guest(pool, _) = &self.source
        {
            lock(&pool.guest.shared.mirror).follow(cx.snapshot);
        }
        Cycle::new(self.slot())
    }

    /// The guest's part in the cycle, mutably; it begins now if it has not begun yet.
    fn enter<'s>(&self, cx: &Context<'_>, state: &'s mut CycleState, pod: &Arc<Pod>) -> &'s mut Cycle {
        if state.read::<Cycles>().and_then(|cycles| cycles.get(&self.name)).is_none() {
            let cycle = self.take_loose(pod, Some(cx.now)).unwrap_or_else(|| self.begin(cx));
            self.keep(state, cycle);
        }
        let cycles = state.get_mut::<Cycles>().expect("written above or before");
        cycles.get_mut(&self.name).expect("kept above or before")
    }

    fn keep(&self, state: &mut CycleState, cycle: Cycle) {
        match state.get_mut::<Cycles>() {
            Some(cycles) => cycles.set(&self.name, cycle),
            None => {
                let mut cycles = Cycles::default();
                cycles.set(&self.name, cycle);
                state.write(cycles);
            }
        }
    }

    fn take_loose(&self, pod: &Arc<Pod>, now: Option<Timestamp>) -> Option<Cycle> {
        let mut loose = lock(&self.loose);
        let same = |l: &Loose| Arc::ptr_eq(&l.pod, pod) && now.is_none_or(|now| l.now == now);
        if loose.as_ref().is_some_and(same) { loose.take().map(|l| l.cycle) } else { None }
    }

    /// Does something with the guest's part in a cycle that cannot be modified here. If it has not begun yet, it is kept aside for the
    /// calls that follow.
    fn within<T>(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        act: impl FnOnce(&Cycle) -> T,
    ) -> T {
        if let Some(cycle) = state.read::<Cycles>().and_then(|cycles| cycles.get(&self.name)) {
            return act(cycle);
        }
        let cycle = self.take_loose(pod, Some(cx.now)).unwrap_or_else(|| self.begin(cx));
        let result = act(&cycle);
        *lock(&self.loose) = Some(Loose { pod: Arc::clone(pod), now: cx.now, cycle });
        result
    }

    /// The guest's part in a cycle that has no context any more: the pod is being bound.
    fn after<T>(&self, state: &CycleState, pod: &Arc<Pod>, act: impl FnOnce(&Cycle) -> T) -> T {
        match state.read::<Cycles>().and_then(|cycles| cycles.get(&self.name)) {
            Some(cycle) => act(cycle),
            None => act(&self.take_loose(pod, None).unwrap_or_else(|| Cycle::new(self.slot()))),
        }
    }

    /// Calls an export in a cycle.
    fn call(&self, export: Export, cycle: &Cycle, of: &About<'_>) -> Result<Reply, Status> {
        let question = || Question::new(&self.handle.profile, &self.name, export, of);
        let outcome = match &self.source {
            Source::Guest(pool, recorder) => {
                let mut done = Vec::new();
                let called = self.call_instance(pool, export, cycle, of, &mut done);
                let outcome = called.map_or_else(Outcome::Failed, Outcome::Returned);
                if let Some(recorder) = recorder {
                    record::note(recorder, question(), Answer { outcome: outcome.clone(), done });
                }
                outcome
            }
            Source::Record(record) => {
                let Answer { outcome, done } = record.answer(&question());
                let tried_out = cycle.told.iter().filter_map(Step::target);
                let pods: Vec<_> = [of.pod, of.target].into_iter().flatten().chain(tried_out).collect();
                done.into_iter().for_each(|done| host::repeat(done, &self.handle, &self.name, &pods));
                outcome
            }
        };
        match outcome {
            Outcome::Returned(reply) => Ok(reply),
            Outcome::Failed(text) => Err(self.failed(of.pod, text)),
        }
    }

    /// [Calls](Self::call) an export of which only the result and the reason matter; used for the calls made for each node.
    fn number(&self, export: Export, cycle: &Cycle, of: &About<'_>) -> Result<(i64, String), Status> {
        if let (Source::Guest(pool, None), Some(slot)) = (&self.source, &cycle.slot) {
            let mut held = slot.held();
            if let Some(instance) = held.instance.as_mut() {
                return instance.number(export, &pool.guest, of).map_err(|error| {
                    held.instance = None;
                    pool.lost();
                    self.failed(of.pod, error.to_string())
                });
            }
        }
        let Reply { value, results, .. } = self.call(export, cycle, of)?;
        Ok((value, results.reason))
    }

    /// Calls the instance of a cycle. After an error the instance is discarded, since its state is unknown.
    fn call_instance(
        &self,
        pool: &Pool,
        export: Export,
        cycle: &Cycle,
        of: &About<'_>,
        done: &mut Vec<Done>,
    ) -> Result<Reply, String> {
        let slot = cycle.slot.as_ref().expect("a cycle of a plugin with instances has a place for one");
        let mut held = slot.held();
        let mut instance = match held.instance.take() {
            Some(instance) => instance,
            // It begins a cycle, so its previous state does not matter.
            None if export == Export::PreFilter => pool.take()?,
            None => self.restore(pool, &held.told, of, done)?,
        };
        let called = instance.call(export, &pool.guest, of);
        done.append(&mut instance.take_done());
        match called {
            Ok(reply) => {
                held.instance = Some(instance);
                Ok(reply)
            }
            Err(error) => {
                pool.lost();
                Err(error.to_string())
            }
        }
    }

    /// An instance in the state of one that was told this.
    fn restore(
        &self,
        pool: &Pool,
        told: &[Step],
        of: &About<'_>,
        done: &mut Vec<Done>,
    ) -> Result<Instance, String> {
        let mut instance = pool.take()?;
        let restored = (|| {
            let begin = About { now: of.now, pod: of.pod, ..About::default() };
            // Upstream's SDK forgets the last cycle in PreFilter, and only there.
            instance.call(Export::PreFilter, &pool.guest, &begin)?;
            for step in told {
                instance.call(step.export, &pool.guest, &step.again(&begin))?;
            }
            Ok::<_, CallError>(())
        })();
        done.append(&mut instance.take_done());
        match restored {
            Ok(()) => Ok(instance),
            Err(error) => {
                pool.lost();
                Err(error.to_string())
            }
        }
    }

    /// Records a failure. To keep a guest that fails repeatedly from flooding the log, one is logged each time the number of failures has
    /// doubled.
    fn failed(&self, pod: Option<&Arc<Pod>>, text: String) -> Status {
        let failures = self.handle.count_failure(&self.name);
        let pod = pod.map(|pod| pod.full_name()).unwrap_or_default();
        if failures.is_power_of_two() {
            warn!(guest = %self.name, pod, failures, "the guest failed: {text}");
        } else {
            debug!(guest = %self.name, pod, failures, "the guest failed: {text}");
        }
        Status::error(text)
    }
}
