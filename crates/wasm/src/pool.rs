//! Reusable instances.

use crate::LoadError;
use crate::cycle::Step;
use crate::guest::Guest;
use crate::instance::Instance;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::{self, ThreadId};

/// Maximum number of instances of a plugin. Instances for pods that are being bound count too, if the guest is called during the binding.
const INSTANCES_MAX: usize = 256;
/// Maximum number of unused instances that are kept.
const FREE_MAX: usize = 16;
/// Cycles of a thread that keep their instance after the next one has begun, where the guest is not asked during bindings. A thread
/// evaluates one pod after the other, so the cycle that it is at is never among those that lose theirs.
const CYCLES_KEPT: usize = 8;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instances of one plugin.
pub(crate) struct Pool {
    pub guest: Guest,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    free: Vec<Instance>,
    /// Instances that are in slots.
    used: usize,
    /// Slots of the last cycles with the threads that began them, the oldest first. Those of what is tried out are not among them: they
    /// are gone before the cycle is over.
    slots: VecDeque<(ThreadId, Weak<Slot>)>,
}

/// Holds the instance that belongs to a cycle. It may be empty: at the beginning, after the guest has failed, and after the instance was
/// taken for another cycle. In that case the user brings a new instance to the same state.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    held: Mutex<Held>,
}

/// What a slot has.
pub(crate) struct Held {
    pub instance: Option<Instance>,
    /// What the instance was told since PreFilter, by all copies of the state that share it.
    pub told: Vec<Step>,
}

impl Slot {
    fn new(pool: &Arc<Pool>, told: Vec<Step>) -> Arc<Self> {
        Arc::new(Self { pool: Arc::clone(pool), held: Mutex::new(Held { instance: None, told }) })
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    /// A place for the instance of a copy of the state in which something is tried out, and which was told this.
    pub fn beside(&self, told: &[Step]) -> Arc<Self> {
        Self::new(&self.pool, told.to_vec())
    }
}

/// The cycle is over, and so is whatever followed it.
impl Drop for Slot {
    fn drop(&mut self) {
        let instance = self.held.get_mut().unwrap_or_else(PoisonError::into_inner).instance.take();
        if let Some(instance) = instance {
            self.pool.put(instance);
        }
    }
}

impl Inner {
    /// Adds the slot of a cycle that this thread begins; returns the one whose cycle is over for the guest, if there is one.
    fn add(&mut self, thread: ThreadId, slot: &Arc<Slot>) -> Option<Weak<Slot>> {
        self.slots.retain(|(_, slot)| slot.strong_count() > 0);
        self.slots.push_back((thread, Arc::downgrade(slot)));
        if self.slots.iter().filter(|(by, _)| *by == thread).count() <= CYCLES_KEPT {
            return None;
        }
        let oldest = self.slots.iter().position(|(by, _)| *by == thread)?;
        self.slots.remove(oldest).map(|(_, slot)| slot)
    }
}

impl Pool {
    /// A pool with one instance, so that a guest that cannot be instantiated is detected at once.
    pub fn new(guest: Guest) -> Result<Self, LoadError> {
        let first = Instance::new(&guest)?;
        let inner = Inner { free: vec![first], ..Inner::default() };
        Ok(Self { guest, inner: Mutex::new(inner) })
    }

    /// A slot for the instance of a cycle.
    pub fn slot(self: &Arc<Self>) -> Arc<Slot> {
        let slot = Slot::new(self, Vec::new());
        if !self.guest.compiled.exports.outlive_the_cycle() {
            let oldest = lock(&self.inner).add(thread::current().id(), &slot);
            if let Some(oldest) = oldest.and_then(|slot| slot.upgrade()) {
                self.take_back(&oldest);
            }
        }
        slot
    }

    /// Takes the instance of a cycle that is over as far as the guest is concerned, unless it is being used.
    fn take_back(&self, slot: &Slot) {
        let instance = match slot.held.try_lock() {
            Ok(mut held) => held.instance.take(),
            Err(TryLockError::Poisoned(held)) => held.into_inner().instance.take(),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(instance) = instance {
            self.put(instance);
        }
    }

    /// An instance in any state; if there can be none, the error says why.
    pub fn take(&self) -> Result<Instance, String> {
        let mut inner = lock(&self.inner);
        if inner.used >= INSTANCES_MAX {
            return Err(format!(
                "wasm: {INSTANCES_MAX} instances of the guest are held by pods that are being bound; the pod is tried again"
            ));
        }
        inner.used += 1;
        let free = inner.free.pop();
        drop(inner);
        match free {
            Some(instance) => Ok(instance),
            None => Instance::new(&self.guest).map_err(|error| {
                self.lost();
                error.to_string()
            }),
        }
    }

    /// Returns an instance that is no longer needed.
    pub fn put(&self, instance: Instance) {
        let mut inner = lock(&self.inner);
        inner.used -= 1;
        if self.guest.compiled.exports.forget() && inner.free.len() < FREE_MAX {
            inner.free.push(instance);
        }
    }

    /// Records that an instance that was taken is no longer usable.
    pub fn lost(&self) {
        lock(&self.inner).used -= 1;
    }
}
