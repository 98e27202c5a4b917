//! What plugins keep between the extension points of one cycle.

use secondmate_model::Atom;
use smallvec::SmallVec;
use std::any::{Any, TypeId};

/// A value in the [`CycleState`]: any type that can be cloned, since preemption and nominated pods are tried out on a clone.
pub trait State: Any + Send + Sync {
    /// A copy.
    fn clone_box(&self) -> Box<dyn State>;
}

impl<T: Any + Clone + Send + Sync> State for T {
    fn clone_box(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }
}

/// The state of one scheduling cycle, by type. A plugin stores its own type there; plugins that share state share a type.
#[derive(Default)]
pub struct CycleState {
    // Only a handful of entries: a linear search is faster than hashing.
    entries: Vec<(TypeId, Box<dyn State>)>,
    /// Plugins whose filter was disabled by PreFilter.
    skipped_filters: SmallVec<[Atom; 12]>,
    timed: bool,
    counts_later: bool,
}

impl CycleState {
    /// An empty state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether individual plugin calls are timed in this cycle (upstream: `ShouldRecordPluginMetrics`).
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// Enables or disables timing of individual plugin calls from here on.
    pub fn set_timed(&mut self, timed: bool) {
        self.timed = timed;
    }

    /// Whether PreFilter defers work that looks at every node until its result is needed, because the evaluation may already know
    /// what follows from it.
    #[must_use]
    pub fn counts_later(&self) -> bool {
        self.counts_later
    }

    /// For the evaluation: see [`CycleState::counts_later`].
    pub fn count_later(&mut self) {
        self.counts_later = true;
    }

    /// For the evaluation: the plugin filters nothing in this cycle (its PreFilter returned `Skip`).
    pub fn skip_filter(&mut self, plugin: &Atom) {
        self.skipped_filters.push(plugin.clone());
    }

    /// Whether the plugin's filter is disabled in this cycle.
    #[must_use]
    pub fn skips_filter(&self, plugin: &Atom) -> bool {
        self.skipped_filters.contains(plugin)
    }

    /// Stores a value, replacing the one of the same type.
    pub fn write<T: Any + Clone + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        let boxed: Box<dyn State> = Box::new(value);
        match self.entries.iter_mut().find(|(i, _)| *i == id) {
            Some((_, old)) => *old = boxed,
            None => self.entries.push((id, boxed)),
        }
    }

    /// The value of a type.
    #[must_use]
    pub fn read<T: Any>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let (_, value) = self.entries.iter().find(|(i, _)| *i == id)?;
        (&**value as &dyn Any).downcast_ref()
    }

    /// Mutable access to the value of a type.
    #[must_use]
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let id = TypeId::of::<T>();
        let (_, value) = self.entries.iter_mut().find(|(i, _)| *i == id)?;
        (&mut **value as &mut dyn Any).downcast_mut()
    }
}

impl std::fmt::Debug for CycleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CycleState of {} entries", self.entries.len())
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.iter().map(|(id, value)| (*id, (**value).clone_box())).collect(),
            skipped_filters: self.skipped_filters.clone(),
            timed: self.timed,
            counts_later: self.counts_later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut state = CycleState::new();
        state.write(1_u32);
        let clone = state.clone();
        *state.get_mut::<u32>().expect("written") = 2;
        assert_eq!((state.read::<u32>(), clone.read::<u32>()), (Some(&2), Some(&1)));
        assert_eq!(state.read::<u64>(), None);
    }
}
