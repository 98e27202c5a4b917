//! The metrics that have the profile as a label.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Metrics;
use super::family::Labelled;

/// How an attempt to schedule a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The pod was bound.
    Scheduled,
    /// No node fits.
    Unschedulable,
    /// Something went wrong.
    Error,
}

impl AttemptResult {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// The code of a status, as used in labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusLabel {
    /// All is well.
    Success,
    /// Something went wrong.
    Error,
    /// Not on this node, unless pods leave it.
    Unschedulable,
    /// Not on this node, whichever pods leave it.
    UnschedulableAndUnresolvable,
    /// Wait on permit.
    Wait,
    /// The plugin has nothing to do for this pod.
    Skip,
    /// The plugin will say when the pod may be retried.
    Pending,
}

const STATUS_COUNT: usize = 7;

impl StatusLabel {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Error => "Error",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Wait => "Wait",
            Self::Skip => "Skip",
            Self::Pending => "Pending",
        }
    }
}

/// Attempts with one result: a counter and a histogram.
#[derive(Debug)]
struct Attempts {
    count: Counter,
    duration: Histogram,
}

/// The handles of one profile.
#[derive(Clone, Debug)]
pub struct ProfileMetrics {
    scheduler_name: Arc<str>,
    metrics: Metrics,
    attempts: Arc<[OnceLock<Attempts>; 3]>,
}

impl ProfileMetrics {
    pub(super) fn new(metrics: &Metrics, scheduler_name: &str) -> Self {
        Self {
            scheduler_name: scheduler_name.into(),
            metrics: metrics.clone(),
            attempts: Arc::new([const { OnceLock::new() }; 3]),
        }
    }

    /// Records an attempt: `schedule_attempts_total` and `scheduling_attempt_duration_seconds`.
    pub fn observe_attempt(&self, result: AttemptResult, duration: Duration) {
        let attempts = self.attempts[result as usize].get_or_init(|| {
            let labels = [result.label(), &*self.scheduler_name];
            Attempts {
                count: self.metrics.schedule_attempts.get(labels),
                duration: self.metrics.scheduling_attempt_duration.get(labels),
            }
        });
        attempts.count.inc();
        attempts.duration.observe(duration.as_secs_f64());
    }

    /// The handle for all plugins of an extension point (`PreFilter`, `Filter`, …) together.
    pub fn extension_point(&self, name: &'static str) -> ExtensionPointMetrics {
        ExtensionPointMetrics {
            name,
            scheduler_name: self.scheduler_name.clone(),
            family: self.metrics.framework_extension_point_duration.clone(),
            by_status: Arc::new([const { OnceLock::new() }; STATUS_COUNT]),
        }
    }

    /// The handles of one plugin at an extension point.
    pub fn plugin(&self, name: &str, extension_point: &'static str) -> PluginMetrics {
        PluginMetrics {
            name: name.into(),
            extension_point,
            scheduler_name: self.scheduler_name.clone(),
            evaluation: self.metrics.plugin_evaluation.clone(),
            execution: self.metrics.plugin_execution_duration.clone(),
            calls: Arc::default(),
            by_status: Arc::new([const { OnceLock::new() }; STATUS_COUNT]),
        }
    }

    /// Panics of a plugin (`secondmate_plugin_panics_total`).
    pub fn plugin_panics(&self, plugin: &str, extension_point: &str) -> Counter {
        self.metrics.plugin_panics.get([plugin, extension_point, &*self.scheduler_name])
    }

    /// Failures of a guest (`secondmate_guest_failures_total`).
    pub fn guest_failures(&self, plugin: &str) -> Counter {
        self.metrics.guest_failures.get([plugin, &*self.scheduler_name])
    }

    /// Unschedulable pods that a plugin rejected (`unschedulable_pods`).
    pub fn unschedulable_pods(&self, plugin: &str) -> Gauge {
        self.metrics.unschedulable_pods.get([plugin, &*self.scheduler_name])
    }
}

/// Duration of an extension point, by status.
#[derive(Clone, Debug)]
pub struct ExtensionPointMetrics {
    name: &'static str,
    scheduler_name: Arc<str>,
    family: Labelled<Histogram, 3>,
    by_status: Arc<[OnceLock<Histogram>; STATUS_COUNT]>,
}

impl ExtensionPointMetrics {
    /// Records one run.
    pub fn observe(&self, status: StatusLabel, duration: Duration) {
        self.by_status[status as usize]
            .get_or_init(|| self.family.get([self.name, status.label(), &*self.scheduler_name]))
            .observe(duration.as_secs_f64());
    }
}

/// One plugin at an extension point.
#[derive(Clone, Debug)]
pub struct PluginMetrics {
    name: Arc<str>,
    extension_point: &'static str,
    scheduler_name: Arc<str>,
    evaluation: Labelled<Counter, 3>,
    execution: Labelled<Histogram, 3>,
    calls: Arc<OnceLock<Counter>>,
    by_status: Arc<[OnceLock<Histogram>; STATUS_COUNT]>,
}

impl PluginMetrics {
    /// Records calls (`plugin_evaluation_total`).
    pub fn evaluated(&self, calls: u64) {
        self.calls
            .get_or_init(|| self.evaluation.get([&self.name, self.extension_point, &self.scheduler_name]))
            .inc_by(calls);
    }

    /// Records one timed call (`plugin_execution_duration_seconds`, which is shared by all profiles).
    pub fn observe(&self, status: StatusLabel, duration: Duration) {
        self.by_status[status as usize]
            .get_or_init(|| self.execution.get([&self.name, self.extension_point, status.label()]))
            .observe(duration.as_secs_f64());
    }
}
