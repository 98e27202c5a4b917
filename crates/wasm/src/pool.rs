//! Reusable instances.

use crate::LoadError;
use crate::guest::Guest;
use crate::instance::Instance;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

/// Maximum number of instances of a plugin. Instances for pods that are being bound count too, if the guest is called during the binding.
const INSTANCES_MAX: usize = 256;
/// Maximum number of unused instances that are kept.
const FREE_MAX: usize = 16;
/// How many cycles keep their instance after the next one has begun, if the guest is not called during bindings. More than one, for callers
/// that evaluate several pods side by side.
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
    /// Slots of the most recent cycles, oldest first.
    slots: VecDeque<Weak<Slot>>,
}

/// Holds the instance that belongs to a cycle. It may be empty: at the beginning, after the guest has failed, and after the instance was
/// taken for another cycle. In that case the user brings a new instance to the same state.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    instance: Mutex<Option<Instance>>,
}

impl Slot {
    pub fn instance(&self) -> MutexGuard<'_, Option<Instance>> {
        lock(&self.instance)
    }
}

/// The cycle is over, and so is whatever followed it.
impl Drop for Slot {
    fn drop(&mut self) {
        let instance = self.instance.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(instance) = instance {
            self.pool.put(instance);
        }
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
        let slot = Arc::new(Slot { pool: Arc::clone(self), instance: Mutex::new(None) });
        if !self.guest.compiled.exports.outlive_the_cycle() {
            let oldest = {
                let mut inner = lock(&self.inner);
                inner.slots.push_back(Arc::downgrade(&slot));
                if inner.slots.len() > CYCLES_KEPT { inner.slots.pop_front() } else { None }
            };
            if let Some(oldest) = oldest.and_then(|slot| slot.upgrade()) {
                self.take_back(&oldest);
            }
        }
        slot
    }

    /// Takes the instance of a cycle that is over as far as the guest is concerned, unless it is being used.
    fn take_back(&self, slot: &Slot) {
        let instance = match slot.instance.try_lock() {
            Ok(mut held) => held.take(),
            Err(TryLockError::Poisoned(held)) => held.into_inner().take(),
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
        if inner.free.len() < FREE_MAX {
            inner.free.push(instance);
        }
    }

    /// Records that an instance that was taken is no longer usable.
    pub fn lost(&self) {
        lock(&self.inner).used -= 1;
    }
}
