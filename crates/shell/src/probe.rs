//! The core's probes: the clock that measures it, and the metrics that take the measurements.
//!
//! Handles are looked up once and kept. A plugin is identified by its number, and an event by the address of its label, so that no string
//! is hashed or compared while pods are scheduled.

use rustc_hash::FxHashMap;
use secondmate_cycle::panics::PluginPanic;
use secondmate_cycle::probe::{Moment, Point, Probe};
use secondmate_cycle::{PluginRef, Profile};
use secondmate_framework::{ClusterEvent, Code, Hint};
use secondmate_model::Pod;
use secondmate_telemetry::{
    ExtensionPointMetrics, Histogram, Metrics, PluginMetrics, ProfileMetrics, StatusLabel,
};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Individual calls are timed in one of this many cycles; kube-scheduler does the same, but picks cycles at random.
const CYCLES_PER_TIMED_CYCLE: u64 = 10;

/// The origin of the probes' time.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> Moment {
    let time = ORIGIN.elapsed();
    Moment(time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos())))
}

/// A static string, identified by its address. The same text at two addresses makes two keys, which share one metric.
#[derive(Clone, Copy, Debug)]
struct Address(&'static str);

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self.0).cast::<u8>().hash(state);
    }
}

/// Measures the plugins of one profile.
pub(crate) struct ProfileProbe {
    metrics: Metrics,
    profile: ProfileMetrics,
    cycles: AtomicU64,
    /// By the number of the extension point.
    points: Vec<ExtensionPointMetrics>,
    /// By the number of the plugin, then by that of the extension point.
    plugins: Vec<Vec<PluginMetrics>>,
    hints: Mutex<FxHashMap<(usize, Address, bool), Histogram>>,
}

impl ProfileProbe {
    pub fn new(metrics: &Metrics, profile: &Profile) -> Self {
        let labelled = metrics.profile(profile.name().as_str());
        let mut plugins: Vec<&PluginRef> = profile.plugins().iter().collect();
        plugins.sort_by_key(|plugin| plugin.number);
        Self {
            metrics: metrics.clone(),
            cycles: AtomicU64::new(0),
            points: Point::ALL.iter().map(|point| labelled.extension_point(point.name())).collect(),
            plugins: plugins
                .into_iter()
                .map(|plugin| {
                    let at = |point: &Point| labelled.plugin(plugin.name.as_str(), point.name());
                    Point::ALL.iter().map(at).collect()
                })
                .collect(),
            hints: Mutex::default(),
            profile: labelled,
        }
    }

    fn plugin(&self, plugin: &PluginRef, point: Point) -> &PluginMetrics {
        &self.plugins[plugin.number][point as usize]
    }
}

impl Probe for ProfileProbe {
    fn now(&self) -> Moment {
        now()
    }

    fn times_cycle(&self) -> bool {
        self.cycles.fetch_add(1, Ordering::Relaxed).is_multiple_of(CYCLES_PER_TIMED_CYCLE)
    }

    fn point_done(&self, point: Point, status: Code, took: Duration) {
        self.points[point as usize].observe(label(status), took);
    }

    fn plugin_called(&self, plugin: &PluginRef, point: Point, status: Code, took: Duration) {
        self.plugin(plugin, point).observe(label(status), took);
    }

    fn preemption_evaluated(&self, status: Code, took: Duration) {
        self.metrics.preemption.evaluated(label(status), took);
    }

    fn plugin_evaluated(&self, plugin: &PluginRef, point: Point, calls: u64) {
        self.plugin(plugin, point).evaluated(calls);
    }

    fn hint_given(&self, plugin: &PluginRef, event: &ClusterEvent, hint: Hint, took: Duration) {
        let queue = hint == Hint::Queue;
        // A panic in between leaves the map intact.
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        hints
            .entry((plugin.number, Address(event.label), queue))
            .or_insert_with(|| {
                let hint = if queue { "Queue" } else { "QueueSkip" };
                self.metrics.queueing_hint_execution_duration(plugin.name.as_str(), event.label, hint)
            })
            .observe(took.as_secs_f64());
    }

    fn plugin_panicked(&self, panic: &PluginPanic, pod: &Pod) {
        self.profile.plugin_panics(panic.plugin.as_str(), panic.point).inc();
        tracing::error!(
            plugin = panic.plugin.as_str(),
            extension_point = panic.point,
            pod = pod.full_name(),
            "the plugin {}; this attempt is given up, scheduling goes on",
            panic.what()
        );
    }
}

/// Measures how long the handling of events takes.
pub(crate) struct EventProbe {
    metrics: Metrics,
    events: Mutex<FxHashMap<Address, Histogram>>,
}

impl EventProbe {
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, events: Mutex::default() }
    }
}

impl Probe for EventProbe {
    fn now(&self) -> Moment {
        now()
    }

    fn event_handled(&self, event: &'static str, took: Duration) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .entry(Address(event))
            .or_insert_with(|| self.metrics.event_handling_duration(event))
            .observe(took.as_secs_f64());
    }
}

fn label(code: Code) -> StatusLabel {
    match code {
        Code::Success => StatusLabel::Success,
        Code::Error => StatusLabel::Error,
        Code::Unschedulable => StatusLabel::Unschedulable,
        Code::UnschedulableAndUnresolvable => StatusLabel::UnschedulableAndUnresolvable,
        Code::Wait => StatusLabel::Wait,
        Code::Skip => StatusLabel::Skip,
        Code::Pending => StatusLabel::Pending,
    }
}
