//! A probe whose clock jumps back and forth, and which times cycles arbitrarily.

use secondmate_cycle::PluginRef;
use secondmate_cycle::Random;
use secondmate_cycle::probe::{Moment, Point, Probe};
use secondmate_framework::{ClusterEvent, Code, Hint};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// The probe.
pub struct Odd {
    random: Mutex<Random>,
    told: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for Odd {
    fn default() -> Self {
        Self { random: Mutex::new(Random::new(99)), told: Mutex::default() }
    }
}

impl Odd {
    /// How often it was told each kind of fact.
    pub fn told(&self) -> BTreeMap<&'static str, u64> {
        self.told.lock().expect("nobody panics").clone()
    }

    fn next(&self) -> u64 {
        self.random.lock().expect("nobody panics").next_u64()
    }

    fn tell(&self, what: &'static str) {
        *self.told.lock().expect("nobody panics").entry(what).or_insert(0) += 1;
    }
}

impl Probe for Odd {
    fn now(&self) -> Moment {
        Moment(self.next())
    }
    fn times_cycle(&self) -> bool {
        self.next().is_multiple_of(2)
    }
    fn point_done(&self, _: Point, _: Code, _: Duration) {
        self.tell("point");
    }
    fn plugin_called(&self, _: &PluginRef, _: Point, _: Code, _: Duration) {
        self.tell("called");
    }
    fn plugin_evaluated(&self, _: &PluginRef, _: Point, _: u64) {
        self.tell("evaluated");
    }
    fn hint_given(&self, _: &PluginRef, _: &ClusterEvent, _: Hint, _: Duration) {
        self.tell("hint");
    }
    fn event_handled(&self, _: &'static str, _: Duration) {
        self.tell("event");
    }
}
