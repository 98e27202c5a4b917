//! How the core is measured from outside, since it has no clock: a [`Probe`] is notified of what ran, and provides the clock.
//!
//! A probe's answers never influence any decision: with any probe and any times, the effects are the same.

use crate::panics::PluginPanic;
use crate::profile::PluginRef;
use secondmate_framework::{ClusterEvent, Code, Hint};
use secondmate_model::Pod;
use smallvec::SmallVec;
use std::time::Duration;

/// Number of nodes per cycle for which the calls of filter and score plugins are timed individually, if the cycle is timed at
/// all. A plugin often takes less time for a node than reading the clock, and over many cycles this many are enough to tell the
/// plugins apart. With 16 nodes, a cycle over 1,000 nodes was 1 % slower on average; with 4, there is no measurable difference.
pub(crate) const TIMED_NODES: u32 = 4;

/// An extension point, as named in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the extension point of its name")]
pub enum Point {
    PreEnqueue,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    /// The part of Score that normalises a plugin's scores.
    ScoreExtensionNormalize,
    Reserve,
    Unreserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    /// All of them, in order: the index here is the point's number.
    pub const ALL: [Self; 13] = [
        Self::PreEnqueue,
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::ScoreExtensionNormalize,
        Self::Reserve,
        Self::Unreserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
    ];

    /// Upstream's name of the point.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreEnqueue => "PreEnqueue",
            Self::PreFilter => "PreFilter",
            Self::Filter => "Filter",
            Self::PostFilter => "PostFilter",
            Self::PreScore => "PreScore",
            Self::Score => "Score",
            Self::ScoreExtensionNormalize => "ScoreExtensionNormalize",
            Self::Reserve => "Reserve",
            Self::Unreserve => "Unreserve",
            Self::Permit => "Permit",
            Self::PreBind => "PreBind",
            Self::Bind => "Bind",
            Self::PostBind => "PostBind",
        }
    }
}

/// A moment on a probe's clock, in nanoseconds since an origin of its choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since an earlier moment; zero if the clock went backwards.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Something that measures. Each profile has a probe, and so does the scheduler; the default methods do nothing.
pub trait Probe: Send + Sync {
    /// The time.
    fn now(&self) -> Moment {
        Moment::default()
    }

    /// A cycle begins. Returns whether the calls of its plugins are to be timed individually and reported to
    /// [`Probe::plugin_called`].
    fn times_cycle(&self) -> bool {
        false
    }

    /// All plugins of an extension point have run for a pod, or as many as were needed.
    fn point_done(&self, _point: Point, _status: Code, _took: Duration) {}

    /// A plugin returned, in a cycle that is timed.
    fn plugin_called(&self, _plugin: &PluginRef, _point: Point, _status: Code, _took: Duration) {}

    /// A plugin that may evict pods searched for victims.
    fn preemption_evaluated(&self, _status: Code, _took: Duration) {}

    /// A plugin was called this many times, at PreFilter, Filter, PreScore or Score.
    fn plugin_evaluated(&self, _plugin: &PluginRef, _point: Point, _calls: u64) {}

    /// A plugin gave a hint about an event, for a pod that it had rejected.
    fn hint_given(&self, _plugin: &PluginRef, _event: &ClusterEvent, _hint: Hint, _took: Duration) {}

    /// A plugin panicked while it was called for the pod.
    fn plugin_panicked(&self, _panic: &PluginPanic, _pod: &Pod) {}

    /// A change from a watch was processed.
    fn event_handled(&self, _event: &'static str, _took: Duration) {}
}

/// Measures nothing.
impl Probe for () {}

/// Calls a plugin, and reports how long it took if that is wanted.
pub fn call<T>(
    probe: &dyn Probe,
    timed: bool,
    plugin: &PluginRef,
    point: Point,
    ask: impl FnOnce() -> T,
    code: impl FnOnce(&T) -> Code,
) -> T {
    if !timed {
        return ask();
    }
    let began = probe.now();
    let answer = ask();
    probe.plugin_called(plugin, point, code(&answer), probe.now().since(began));
    answer
}

/// Consecutive calls at one extension point: the clock is read once per call. The times are reported when this is dropped, so
/// that no call's time includes the reporting.
pub(crate) struct Laps<'a> {
    probe: &'a dyn Probe,
    point: Point,
    began: Moment,
    laps: SmallVec<[(&'a PluginRef, Code, Moment); 16]>,
}

impl<'a> Laps<'a> {
    /// The first call begins.
    pub(crate) fn begin(probe: &'a dyn Probe, point: Point) -> Self {
        Self { probe, point, began: probe.now(), laps: SmallVec::new() }
    }

    /// A call has ended, and the next one begins.
    pub(crate) fn lap(&mut self, plugin: &'a PluginRef, code: Code) {
        self.laps.push((plugin, code, self.probe.now()));
    }
}

impl Drop for Laps<'_> {
    fn drop(&mut self) {
        let mut began = self.began;
        for (plugin, code, ended) in &self.laps {
            self.probe.plugin_called(plugin, self.point, *code, ended.since(began));
            began = *ended;
        }
    }
}
