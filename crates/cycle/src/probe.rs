//! How the core is measured from outside, since it has no clock: a [`Probe`] is told what ran, and brings the clock with it.
//!
//! What a probe answers never decides anything: any probe, with any times, leaves the same effects.

use crate::panics::PluginPanic;
use crate::profile::PluginRef;
use secondmate_framework::{ClusterEvent, Code, Hint};
use secondmate_model::Pod;
use smallvec::SmallVec;
use std::time::Duration;

/// Nodes of a cycle on which the calls of filter and score plugins are timed one by one, where the cycle is timed at all. A plugin
/// often takes less time for a node than the clock does, and over the cycles these are enough to tell the plugins apart. With
/// 16 nodes a cycle over 1,000 nodes was 1 % slower on average; with 4 it cannot be felt.
pub(crate) const TIMED_NODES: u32 = 4;

/// An extension point, as the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the extension point of its name")]
pub enum Point {
    PreEnqueue,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    /// The part of Score that brings a plugin's scores into the common range.
    ScoreExtensionNormalize,
    Reserve,
    Unreserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    /// All of them, in order: a point's place here is its number.
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
    /// Time since an earlier moment; zero where the clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Somebody who measures. Each profile has one, and the scheduler has one; whatever a probe does not care for does nothing.
pub trait Probe: Send + Sync {
    /// The time.
    fn now(&self) -> Moment {
        Moment::default()
    }

    /// A cycle begins: whether the calls of its plugins are to be timed one by one, and told to [`Probe::plugin_called`].
    fn times_cycle(&self) -> bool {
        false
    }

    /// All plugins of an extension point have run for a pod, or as many of them as it took.
    fn point_done(&self, _point: Point, _status: Code, _took: Duration) {}

    /// A plugin answered, in a cycle that is timed.
    fn plugin_called(&self, _plugin: &PluginRef, _point: Point, _status: Code, _took: Duration) {}

    /// A plugin that may order evictions looked for pods to evict.
    fn preemption_evaluated(&self, _status: Code, _took: Duration) {}

    /// A plugin was asked so many times, at PreFilter, Filter, PreScore or Score.
    fn plugin_evaluated(&self, _plugin: &PluginRef, _point: Point, _calls: u64) {}

    /// A plugin said what an event means for a pod that it had rejected.
    fn hint_given(&self, _plugin: &PluginRef, _event: &ClusterEvent, _hint: Hint, _took: Duration) {}

    /// A plugin panicked while it was asked for the pod.
    fn plugin_panicked(&self, _panic: &PluginPanic, _pod: &Pod) {}

    /// A change that a watch showed was taken in.
    fn event_handled(&self, _event: &'static str, _took: Duration) {}
}

/// Measures nothing.
impl Probe for () {}

/// Calls a plugin, and tells how long it took where that is wanted.
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

/// Calls that follow each other at one point: the clock is read once for each. They are told when this is dropped, so that the
/// telling is in nobody's time.
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
