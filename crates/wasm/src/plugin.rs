//! A guest as a plugin.

mod points;

use crate::LoadError;
use crate::cycle::{Cycle, Cycles, Edit};
use crate::exports::Export;
use crate::guest::Guest;
use crate::host::{CallContext, Results};
use crate::instance::{CallError, Given, Instance};
use crate::pool::{Pool, lock};
use crate::status::{default_events, event};
use secondmate_framework::{Context, CycleState, EventRegistration, ExtensionPoint, Status};
use secondmate_model::{Atom, Pod, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::{debug, warn};

/// A plugin whose work is done by a guest.
pub struct GuestPlugin {
    name: Atom,
    pool: Arc<Pool>,
    points: Vec<ExtensionPoint>,
    events: Vec<EventRegistration>,
    /// The cycle of a pod for which the guest is asked without its PreFilter, which the profile has not got.
    loose: Mutex<Option<Loose>>,
    failures: AtomicU64,
}

struct Loose {
    pod: Arc<Pod>,
    now: Timestamp,
    cycle: Cycle,
}

impl GuestPlugin {
    pub(crate) fn new(guest: Guest) -> Result<Self, LoadError> {
        let name = guest.shared.name.clone();
        let points = guest.exports().points();
        let pool = Arc::new(Pool::new(guest)?);
        let mut instance = pool.take().map_err(LoadError::Instantiate)?;
        let none = CallContext::default();
        let asked =
            instance.call(Export::Enqueue, &pool.guest, Given { context: &none, now: Timestamp::default() });
        let Results { events: registered, .. } =
            asked.map_err(|error| LoadError::Enqueue(error.to_string()))?;
        pool.put(instance);
        let mut events = Vec::new();
        for (resource, action) in &registered {
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
        Ok(Self { name, pool, points, events, loose: Mutex::default(), failures: AtomicU64::new(0) })
    }

    fn guest(&self) -> &Guest {
        &self.pool.guest
    }

    fn has(&self, export: Export) -> bool {
        self.guest().exports().has(export)
    }

    /// Begins the guest's part of a cycle.
    fn begin(&self, cx: &Context<'_>) -> Cycle {
        if self.guest().compiled.imports.nodes {
            lock(&self.guest().shared.mirror).follow(cx.snapshot);
        }
        Cycle::new(self.pool.slot())
    }

    /// The guest's part of the cycle, to be changed; it begins now where nobody has begun it.
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

    /// Does something with the guest's part of a cycle that cannot be changed here. Where nobody has begun it, it is kept aside for
    /// the calls that follow.
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

    /// The guest's part of a cycle whose context is gone: the pod is being bound.
    fn after<T>(&self, state: &CycleState, pod: &Arc<Pod>, act: impl FnOnce(&Cycle) -> T) -> T {
        match state.read::<Cycles>().and_then(|cycles| cycles.get(&self.name)) {
            Some(cycle) => act(cycle),
            None => act(&self.take_loose(pod, None).unwrap_or_else(|| Cycle::new(self.pool.slot()))),
        }
    }

    /// Calls the guest in a cycle. After an error its instance is thrown away: who knows in what state it is.
    fn call<T>(
        &self,
        cycle: &Cycle,
        pod: &Arc<Pod>,
        now: Timestamp,
        call: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, Status> {
        let mut held = cycle.slot.instance();
        let called = match held.take() {
            Some(instance) => Ok(instance),
            None => self.replay(cycle, pod, now),
        };
        let called = called.and_then(|mut instance| match call(&mut instance) {
            Ok(result) => {
                *held = Some(instance);
                Ok(result)
            }
            Err(error) => {
                self.pool.lost();
                Err(error.to_string())
            }
        });
        called.map_err(|text| self.failed(pod, text))
    }

    /// An instance in the state of the cycle.
    fn replay(&self, cycle: &Cycle, pod: &Arc<Pod>, now: Timestamp) -> Result<Instance, String> {
        let mut instance = self.pool.take()?;
        let replayed = (|| {
            let mut context = CallContext { pod: Some(Arc::clone(pod)), ..CallContext::default() };
            // Upstream's SDK forgets the last cycle in PreFilter, and only there.
            instance.call_narrow(Export::PreFilter, self.guest(), Given { context: &context, now })?;
            for Edit { added, target, node } in &cycle.edits {
                let export = if *added { Export::AddPod } else { Export::RemovePod };
                (context.target, context.node) = (Some(Arc::clone(target)), Some(node.clone()));
                instance.call_narrow(export, self.guest(), Given { context: &context, now })?;
            }
            Ok::<_, CallError>(())
        })();
        match replayed {
            Ok(()) => Ok(instance),
            Err(error) => {
                self.pool.lost();
                Err(error.to_string())
            }
        }
    }

    /// A guest that keeps failing fills no log: each doubling of the number of failures is told.
    fn failed(&self, pod: &Arc<Pod>, text: String) -> Status {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let pod = pod.full_name();
        if failures.is_power_of_two() {
            warn!(guest = %self.name, pod, failures, "the guest failed: {text}");
        } else {
            debug!(guest = %self.name, pod, failures, "the guest failed: {text}");
        }
        Status::error(text)
    }
}
