//! The metrics of a scheduler, as handles.
//!
//! A handle is an atomic: incrementing it takes a few nanoseconds. Looking one up by its labels takes a lock and hashes strings, so do that
//! once and keep the handle; everything on the hot path is laid out so that no lookup is needed.

mod disabled;
mod exposition;
mod extender;
mod family;
mod guard;
mod poll;
mod preemption;
mod process;
mod profile;
mod queues;
mod registration;
mod rest_client;
mod review;
mod shadow;
mod standing;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use disabled::without;
pub(crate) use exposition::Exposition;
pub use extender::ExtenderMetrics;
pub(crate) use family::Labelled;
pub use guard::GuardMetrics;
pub use poll::PollMetrics;
pub use preemption::PreemptionMetrics;
pub use profile::{AttemptResult, ExtensionPointMetrics, PluginMetrics, ProfileMetrics, StatusLabel};
use queues::POD;
pub use queues::{BoundedQueue, CacheSize, Queue, QueuedPods};
use registration::{Named, buckets};
pub use rest_client::RestClientMetrics;
pub use review::ReviewMetrics;
pub use shadow::ShadowMetrics;
pub use standing::StandingMetrics;

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a process. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    names: Arc<[String]>,

    // kube-scheduler's.
    /// Time that one scheduling cycle takes up to the choice of the node, in seconds.
    pub scheduling_algorithm_duration: Histogram,
    /// Attempts that a pod needed until it was scheduled.
    pub pod_scheduling_attempts: Histogram,
    /// Pods that were scheduled after the timeout of unschedulable pods had moved them.
    pub pod_scheduled_after_flush: Counter,
    /// Preemptions.
    pub preemption: PreemptionMetrics,
    /// Pods waiting, by queue.
    pub pending_pods: QueuedPods,
    /// Entities waiting, by queue. Here, each pod is one entity.
    pub queued_entities: QueuedPods,
    /// Objects in the cache.
    pub cache_size: CacheSize,
    /// Binding tasks currently running (`goroutines{operation="binding"}`).
    pub binding_tasks: Gauge,
    /// The maximum number of concurrent bindings.
    pub bind_concurrency: Gauge,
    schedule_attempts: Labelled<Counter, 2>,
    scheduling_attempt_duration: Labelled<Histogram, 2>,
    framework_extension_point_duration: Labelled<Histogram, 3>,
    plugin_execution_duration: Labelled<Histogram, 3>,
    plugin_evaluation: Labelled<Counter, 3>,
    unschedulable_pods: Labelled<Gauge, 2>,
    queue_incoming_pods: Labelled<Counter, 2>,
    queue_incoming_entities: Labelled<Counter, 3>,
    pod_scheduling_sli_duration: Labelled<Histogram, 1>,
    /// By attempts: 1 to 14, then `15+`.
    sli_by_attempts: Arc<[OnceLock<Histogram>; SLI_ATTEMPTS_MAX]>,
    event_handling_duration: Labelled<Histogram, 1>,
    queueing_hint_execution_duration: Labelled<Histogram, 3>,
    inflight_events: Labelled<Gauge, 1>,
    permit_wait_duration: Labelled<Histogram, 1>,
    goroutines: Labelled<Gauge, 1>,
    leader_election_master_status: Labelled<Gauge, 1>,
    leader_election_slow_path: Labelled<Counter, 1>,
    kubernetes_build_info: Labelled<Gauge, 6>,
    /// Requests to the API server.
    pub rest_client: RestClientMetrics,
    /// Reviews of tokens, for the HTTPS port.
    pub token_reviews: ReviewMetrics,
    /// Access reviews, for the HTTPS port.
    pub access_reviews: ReviewMetrics,
    feature_enabled: Labelled<Gauge, 2>,

    // Our own.
    /// Events about pods that were dropped because the queue of events was full.
    pub events_dropped: Counter,
    /// Pods with our own scheduler names that something else bound while this process led.
    pub pods_bound_by_others: Counter,
    /// Pods that were not bound to a node because a read of the node's pods showed that they do not fit.
    pub binds_averted: Counter,
    /// Attempts answered like that of a similar pod, because nothing had changed.
    pub attempts_repeated: Counter,
    /// Rejections that were not remembered for similar pods, for lack of room.
    pub rejections_not_kept: Counter,
    /// Pods whose scheduler name nobody serves, if this process looks for them.
    pub pods_unserved: Gauge,
    /// The bind guard's metrics.
    pub guard: GuardMetrics,
    /// A shadow's metrics.
    pub shadow: ShadowMetrics,
    /// Differences found by the last run of the cache comparer.
    pub cache_comparer_differences: Gauge,
    /// Runs of the cache comparer.
    pub cache_comparer_runs: Counter,
    /// What the standing evaluation holds and does.
    pub standing: StandingMetrics,
    build_info: Labelled<Gauge, 3>,
    pub(crate) http_connections_closed: Labelled<Counter, 1>,
    plugin_panics: Labelled<Counter, 3>,
    guest_failures: Labelled<Counter, 2>,
    bind_conflicts: Labelled<Counter, 1>,
    kubelet_rejections: Labelled<Counter, 1>,
    preemptions_put_off: Labelled<Counter, 1>,
    node_reads: Labelled<Counter, 1>,
    budget_reads: Labelled<Counter, 1>,
    last_room_wait_duration: Labelled<Histogram, 1>,
    bind_requests: Labelled<Counter, 1>,
    /// Calls of HTTP extenders.
    pub extenders: ExtenderMetrics,
    /// Endpoints that are polled for plugins.
    pub polls: PollMetrics,
    watch_restarts: Labelled<Counter, 2>,
    object_rejected: Labelled<Counter, 1>,
    queue_length: Labelled<Gauge, 1>,
    queue_limit: Labelled<Gauge, 1>,
    queue_full: Labelled<Counter, 1>,
}

const SLI_ATTEMPTS_MAX: usize = 15;

impl Metrics {
    /// The handles for one profile. Keep them: series appear when they are first touched.
    pub fn profile(&self, scheduler_name: &str) -> ProfileMetrics {
        ProfileMetrics::new(self, scheduler_name)
    }

    /// Records the time from a pod's first entry into the active queue until it was scheduled, and in which attempt that was.
    pub fn observe_pod_scheduling_sli(&self, attempts: u32, duration: Duration) {
        let index = usize::try_from(attempts).unwrap_or(usize::MAX).clamp(1, SLI_ATTEMPTS_MAX) - 1;
        self.sli_by_attempts[index]
            .get_or_init(|| {
                let label =
                    if index + 1 == SLI_ATTEMPTS_MAX { "15+".to_owned() } else { (index + 1).to_string() };
                self.pod_scheduling_sli_duration.get([&label])
            })
            .observe(duration.as_secs_f64());
    }

    /// Pods that entered a queue for this reason: a cluster event's label, `ScheduleAttemptFailure`, `BackoffComplete`,
    /// `PopFromBackoffQ`, `ForceActivate`, `UnschedulableTimeout`.
    pub fn queue_incoming_pods(&self, queue: Queue, event: &str) -> Counter {
        self.queue_incoming_pods.get([queue.label(), event])
    }

    /// Pods moved to another queue by the event, counted as entities as upstream does.
    pub fn queue_incoming_entities(&self, queue: Queue, event: &str) -> Counter {
        self.queue_incoming_entities.get([queue.label(), event, POD])
    }

    /// Time to handle events with this label.
    pub fn event_handling_duration(&self, event: &str) -> Histogram {
        self.event_handling_duration.get([event])
    }

    /// Duration of a queueing hint; `hint` is `Queue`, `QueueSkip` or `Error`.
    pub fn queueing_hint_execution_duration(&self, plugin: &str, event: &str, hint: &str) -> Histogram {
        self.queueing_hint_execution_duration.get([plugin, event, hint])
    }

    /// Events with this label that are kept for pods in flight (`PodPopped` for the pods themselves).
    pub fn inflight_events(&self, event: &str) -> Gauge {
        self.inflight_events.get([event])
    }

    /// How long pods waited on permit, by the status that ended the wait.
    pub fn permit_wait_duration(&self, result: StatusLabel) -> Histogram {
        self.permit_wait_duration.get([result.label()])
    }

    /// Tasks running for this purpose.
    pub fn tasks(&self, operation: &str) -> Gauge {
        self.goroutines.get([operation])
    }

    /// 1 while this process leads with the Lease of this name.
    pub fn leader_election_master_status(&self, lease: &str) -> Gauge {
        self.leader_election_master_status.get([lease])
    }

    /// Renewals of the Lease of this name for which the Lease had to be read first.
    pub fn leader_election_slow_path(&self, lease: &str) -> Counter {
        self.leader_election_slow_path.get([lease])
    }

    /// Sets what is running: the version, the commit it was built from, and the Kubernetes version that it follows (`1.37`).
    pub fn set_build(&self, version: &str, commit: &str, kubernetes: &str) {
        self.build_info.get([version, commit, kubernetes]).set(1);
        let (major, minor) = kubernetes.split_once('.').unwrap_or((kubernetes, ""));
        let git_version = format!("v{kubernetes}.0+secondmate-{version}");
        // Go's names, which every other component uses.
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let platform = format!("{}/{arch}", std::env::consts::OS);
        self.kubernetes_build_info.get([major, minor, &git_version, commit, "rustc", &platform]).set(1);
    }

    /// Sets whether a feature of kube-scheduler is available, with its gate and the gate's stage (`alpha`, `beta`, `ga`, `deprecated`).
    pub fn set_feature(&self, gate: &str, stage: &str, enabled: bool) {
        // As written by Kubernetes' components.
        let stage = if stage == "ga" { String::new() } else { stage.to_uppercase() };
        self.feature_enabled.get([gate, &stage]).set(enabled.into());
    }

    /// Bindings that failed for this reason.
    pub fn bind_conflicts(&self, reason: &str) -> Counter {
        self.bind_conflicts.get([reason])
    }

    /// Preemptions that were postponed for this reason.
    pub fn preemptions_put_off(&self, reason: &str) -> Counter {
        self.preemptions_put_off.get([reason])
    }

    /// Reads of a node's pods before a binding with this result.
    pub fn node_reads(&self, result: &str) -> Counter {
        self.node_reads.get([result])
    }

    /// Reads of the budgets that allow an eviction, with this result.
    pub fn budget_reads(&self, result: &str) -> Counter {
        self.budget_reads.get([result])
    }

    /// How long pods waited for the last room of a node, with this result (`quiet`, `time_is_up`, `room_taken`).
    pub fn last_room_wait_duration(&self, result: &str) -> Histogram {
        self.last_room_wait_duration.get([result])
    }

    /// Pods that a kubelet rejected for this reason (`OutOfcpu`).
    pub fn kubelet_rejections(&self, reason: &str) -> Counter {
        self.kubelet_rejections.get([reason])
    }

    /// Binding requests with this outcome (`201`, `409`, `timeout`).
    pub fn bind_requests(&self, code: &str) -> Counter {
        self.bind_requests.get([code])
    }

    /// Watches of a resource that were restarted for this reason (`closed`, `gone`, `error`).
    pub fn watch_restarts(&self, resource: &str, reason: &str) -> Counter {
        self.watch_restarts.get([resource, reason])
    }

    /// Objects of this kind that could not be understood.
    pub fn object_rejected(&self, kind: &str) -> Counter {
        self.object_rejected.get([kind])
    }

    /// The handles for a bounded queue inside the program.
    pub fn bounded_queue(&self, name: &str, limit: usize) -> BoundedQueue {
        self.queue_limit.get([name]).set(i64::try_from(limit).unwrap_or(i64::MAX));
        BoundedQueue { length: self.queue_length.get([name]), full: self.queue_full.get([name]) }
    }

    /// The names of all metrics, including those that have no series yet and are therefore not in [`Metrics::encode`]'s text; without the
    /// `_total` of counters, and without the process metrics (`process_`).
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Everything as OpenMetrics text ([`CONTENT_TYPE`]).
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        text::encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
