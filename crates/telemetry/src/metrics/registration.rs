//! All metrics with their names, labels, buckets and help texts.

use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use super::{
    CacheSize, ExtenderMetrics, GuardMetrics, Labelled, Metrics, POD, PollMetrics, PreemptionMetrics,
    QueuedPods, RestClientMetrics, ReviewMetrics, SLI_ATTEMPTS_MAX, ShadowMetrics, StandingMetrics, process,
};

/// Exponential buckets in seconds, as specified in kube-scheduler.
pub(super) fn buckets(start: f64, factor: f64, count: u16) -> Histogram {
    Histogram::new(exponential_buckets(start, factor, count))
}

/// A part of the registry that remembers what has been registered.
pub(super) struct Named<'a> {
    registry: &'a mut Registry,
    prefix: &'static str,
    names: &'a mut Vec<String>,
}

impl<'a> Named<'a> {
    fn new(root: &'a mut Registry, prefix: &'static str, names: &'a mut Vec<String>) -> Self {
        Self { registry: root.sub_registry_with_prefix(prefix), prefix, names }
    }

    pub(super) fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.names.push(format!("{}_{name}", self.prefix));
        self.registry.register(name, help, metric);
    }
}

impl Metrics {
    /// All metrics, at zero.
    #[expect(clippy::too_many_lines, reason = "one line of names and words for each metric")]
    pub fn new() -> Self {
        let mut root = Registry::default();
        let mut names = Vec::new();
        let mut registry = Named::new(&mut root, "scheduler", &mut names);

        let schedule_attempts = Labelled::counter(["result", "profile"]);
        registry.register(
            "schedule_attempts",
            "Number of attempts to schedule pods, by result",
            schedule_attempts.family(),
        );
        let scheduling_attempt_duration =
            Labelled::histogram(["result", "profile"], || buckets(0.001, 2.0, 15));
        registry.register(
            "scheduling_attempt_duration_seconds",
            "Latency in seconds of an attempt to schedule a pod, from leaving the queue to the end of binding",
            scheduling_attempt_duration.family(),
        );
        let scheduling_algorithm_duration = buckets(0.001, 2.0, 15);
        registry.register(
            "scheduling_algorithm_duration_seconds",
            "Latency in seconds of choosing a node",
            scheduling_algorithm_duration.clone(),
        );
        let pod_scheduling_sli_duration = Labelled::histogram(["attempts"], || buckets(0.01, 2.0, 20));
        registry.register(
            "pod_scheduling_sli_duration_seconds",
            "Latency in seconds from a pod's first entry into activeQ until it was scheduled, by number of attempts",
            pod_scheduling_sli_duration.family(),
        );
        let pod_scheduling_attempts = buckets(1.0, 2.0, 5);
        registry.register(
            "pod_scheduling_attempts",
            "Number of attempts it took to schedule a pod",
            pod_scheduling_attempts.clone(),
        );
        let pod_scheduled_after_flush = Counter::default();
        registry.register(
            "pod_scheduled_after_flush",
            "Number of pods scheduled only after the timeout for unschedulable pods had moved them back to the queue: a sign of a missed event",
            pod_scheduled_after_flush.clone(),
        );
        let framework_extension_point_duration =
            Labelled::histogram(["extension_point", "status", "profile"], || buckets(0.0001, 2.0, 12));
        registry.register(
            "framework_extension_point_duration_seconds",
            "Latency in seconds of running all plugins of an extension point",
            framework_extension_point_duration.family(),
        );
        let plugin_execution_duration =
            Labelled::histogram(["plugin", "extension_point", "status"], || buckets(0.000_01, 1.5, 20));
        registry.register(
            "plugin_execution_duration_seconds",
            "Latency in seconds of running one plugin at an extension point",
            plugin_execution_duration.family(),
        );
        let plugin_evaluation = Labelled::counter(["plugin", "extension_point", "profile"]);
        registry.register(
            "plugin_evaluation",
            "Number of calls to plugins at PreFilter, Filter, PreScore and Score",
            plugin_evaluation.family(),
        );
        let queue_incoming_pods = Labelled::counter(["queue", "event"]);
        registry.register(
            "queue_incoming_pods",
            "Number of pods added to the scheduling queues, by queue and event",
            queue_incoming_pods.family(),
        );
        let queue_incoming_entities = Labelled::counter(["queue", "event", "type"]);
        registry.register(
            "queue_incoming_entities",
            "Number of entities (here always pods) moved to another scheduling queue, by queue and event",
            queue_incoming_entities.family(),
        );
        let pending_pods = Labelled::gauge(["queue"]);
        // Members of pod groups, which do not exist here; upstream has these series from the start.
        for queue in ["incomplete", "pending"] {
            pending_pods.get([queue]).set(0);
        }
        registry.register("pending_pods", "Number of pending pods, by queue", pending_pods.family());
        let queued_entities = Labelled::gauge(["queue", "type"]);
        registry.register(
            "queued_entities",
            "Number of queued entities (here always pods), by queue",
            queued_entities.family(),
        );
        let unschedulable_pods = Labelled::gauge(["plugin", "profile"]);
        registry.register(
            "unschedulable_pods",
            "Number of unschedulable pods; a pod counts once for each plugin that rejected it",
            unschedulable_pods.family(),
        );
        let inflight_events = Labelled::gauge(["event"]);
        registry.register(
            "inflight_events",
            "Number of events remembered for pods that are being scheduled",
            inflight_events.family(),
        );
        let event_handling_duration = Labelled::histogram(["event"], || buckets(0.0001, 2.0, 12));
        registry.register(
            "event_handling_duration_seconds",
            "Latency in seconds of handling one cluster event",
            event_handling_duration.family(),
        );
        let queueing_hint_execution_duration =
            Labelled::histogram(["plugin", "event", "hint"], || buckets(0.000_01, 1.5, 20));
        registry.register(
            "queueing_hint_execution_duration_seconds",
            "Latency in seconds of running a plugin's queueing hint",
            queueing_hint_execution_duration.family(),
        );
        let preemption = PreemptionMetrics::register(&mut registry);
        let permit_wait_duration = Labelled::histogram(["result"], || buckets(0.001, 2.0, 15));
        registry.register(
            "permit_wait_duration_seconds",
            "Duration in seconds that pods waited on permit",
            permit_wait_duration.family(),
        );
        let cache_size = Labelled::gauge(["type"]);
        registry.register(
            "cache_size",
            "Number of nodes, pods and assumed pods in the scheduler cache",
            cache_size.family(),
        );
        let goroutines = Labelled::gauge(["operation"]);
        registry.register("goroutines", "Number of running tasks, by operation", goroutines.family());

        let leader_election_master_status = Labelled::gauge(["name"]);
        names.push("leader_election_master_status".to_owned());
        root.register(
            "leader_election_master_status",
            "Whether this process is the leader (1) or a standby (0), by name of the Lease",
            leader_election_master_status.family(),
        );
        let leader_election_slow_path = Labelled::counter(["name"]);
        names.push("leader_election_slowpath".to_owned());
        root.register(
            "leader_election_slowpath",
            "Number of renewals for which the Lease had to be read first because updating the last known version failed, by name of the Lease",
            leader_election_slow_path.family(),
        );
        let kubernetes_build_info =
            Labelled::gauge(["major", "minor", "git_version", "git_commit", "compiler", "platform"]);
        names.push("kubernetes_build_info".to_owned());
        root.register(
            "kubernetes_build_info",
            "Kubernetes version whose scheduler this program follows, and the program's own build; the value is always 1",
            kubernetes_build_info.family(),
        );
        let feature_enabled = Labelled::gauge(["name", "stage"]);
        names.push("kubernetes_feature_enabled".to_owned());
        root.register(
            "kubernetes_feature_enabled",
            "Whether a kube-scheduler feature that decides where pods go, or serves a page, is enabled, by feature gate and stage",
            feature_enabled.family(),
        );
        let rest_client = RestClientMetrics::register(&mut root, &mut names);
        let token_reviews = ReviewMetrics::register(&mut root, &mut names, "authn", "TokenReview");
        let access_reviews = ReviewMetrics::register(&mut root, &mut names, "authz", "SubjectAccessReview");
        root.register_collector(Box::new(process::ProcessCollector));

        let mut registry = Named::new(&mut root, "secondmate", &mut names);
        let build_info = Labelled::gauge(["version", "commit", "kubernetes"]);
        let help = "Version and commit of this program, and the Kubernetes version that it follows; the value is always 1";
        registry.register("build_info", help, build_info.family());
        let events_dropped = Counter::default();
        registry.register(
            "events_dropped",
            "Number of events about pods that were dropped because too many were waiting to be sent",
            events_dropped.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Number of log lines lost because too many were waiting (full) or writing to standard error failed (error)",
            crate::logging::dropped_lines().family(),
        );
        let http_connections_closed = Labelled::counter(["reason"]);
        registry.register(
            "http_connections_closed",
            "Number of connections for probes, metrics and debugging that were closed because they timed out or were too many, by reason",
            http_connections_closed.family(),
        );
        let pods_bound_by_others = Counter::default();
        registry.register(
            "pods_bound_by_others",
            "Number of pods with one of this scheduler's names that others bound while this process was the leader",
            pods_bound_by_others.clone(),
        );
        let pods_unserved = Gauge::default();
        registry.register(
            "pods_unserved",
            "Number of pods whose scheduler name nobody serves (no live Lease, no event); only one secondmate in the cluster looks for them, and all others report 0",
            pods_unserved.clone(),
        );
        let plugin_panics = Labelled::counter(["plugin", "extension_point", "profile"]);
        registry.register(
            "plugin_panics",
            "Number of plugin panics, each of which failed a scheduling attempt",
            plugin_panics.family(),
        );
        let guest_failures = Labelled::counter(["plugin", "profile"]);
        registry.register(
            "guest_failures",
            "Number of calls to WebAssembly guests that failed: a trap, no fuel left, or an address outside the guest's memory",
            guest_failures.family(),
        );
        let bind_conflicts = Labelled::counter(["reason"]);
        registry.register(
            "bind_conflicts",
            "Number of bindings that the API server refused or that others made impossible, by reason",
            bind_conflicts.family(),
        );
        let kubelet_rejections = Labelled::counter(["reason"]);
        registry.register(
            "kubelet_rejections",
            "Number of pods with one of this scheduler's names that a kubelet rejected after they were bound, by the kubelet's reason",
            kubelet_rejections.family(),
        );
        let preemptions_put_off = Labelled::counter(["reason"]);
        registry.register(
            "preemptions_put_off",
            "Number of preemptions that were found but put off, by reason",
            preemptions_put_off.family(),
        );
        let node_reads = Labelled::counter(["result"]);
        registry.register(
            "node_reads",
            "Number of times the pods of a nearly full node were read before binding to it, by result: nothing_new, new_pods, failed",
            node_reads.family(),
        );
        let budget_reads = Labelled::counter(["result"]);
        registry.register(
            "budget_reads",
            "Number of times the PodDisruptionBudgets that allow an eviction were read before it, by result: allowed, exhausted (and not evicted), failed",
            budget_reads.family(),
        );
        let bind_concurrency = Gauge::default();
        registry.register(
            "bind_concurrency",
            "Number of binding requests allowed in flight: as many as the API server handles without slowing down, at most --bind-concurrency",
            bind_concurrency.clone(),
        );
        let last_room_wait_duration = Labelled::histogram(["result"], || buckets(0.25, 2.0, 8));
        registry.register(
            "last_room_wait_duration_seconds",
            "Duration in seconds that pods waited before being bound to a node that other schedulers might have been about to fill, by result: quiet, time_is_up, room_taken, preempted",
            last_room_wait_duration.family(),
        );
        let binds_averted = Counter::default();
        registry.register(
            "binds_averted",
            "Number of pods not bound to a node because reading its pods showed that they do not fit; they are retried",
            binds_averted.clone(),
        );
        let attempts_repeated = Counter::default();
        registry.register(
            "attempts_repeated",
            "Number of attempts answered without evaluating nodes, because an equivalent pod had been rejected and nothing had changed since",
            attempts_repeated.clone(),
        );
        let rejections_not_kept = Counter::default();
        registry.register(
            "rejections_not_kept",
            "Number of rejections not remembered because 256 kinds of pods that fit nowhere were already known, or because the pod takes more than 64 KiB; such pods are tried one by one",
            rejections_not_kept.clone(),
        );
        let bind_requests = Labelled::counter(["code"]);
        registry.register(
            "bind_requests",
            "Number of binding requests, by HTTP status or, if there was no response, by error",
            bind_requests.family(),
        );
        let extenders = ExtenderMetrics::register(&mut registry);
        let polls = PollMetrics::register(&mut registry);
        let watch_restarts = Labelled::counter(["resource", "reason"]);
        registry.register(
            "watch_restarts",
            "Number of watch restarts, by resource and reason",
            watch_restarts.family(),
        );
        let object_rejected = Labelled::counter(["kind"]);
        registry.register(
            "object_rejected",
            "Number of objects from the API server that could not be decoded or were invalid, by kind",
            object_rejected.family(),
        );
        let cache_comparer_differences = Gauge::default();
        registry.register(
            "cache_comparer_differences",
            "Number of differences between the cache and the API server found by the last comparison",
            cache_comparer_differences.clone(),
        );
        let cache_comparer_runs = Counter::default();
        registry.register(
            "cache_comparer_runs",
            "Number of comparisons of the cache with the API server",
            cache_comparer_runs.clone(),
        );
        let standing = StandingMetrics::register(&mut registry);
        let queue_length = Labelled::gauge(["queue"]);
        registry.register(
            "queue_length",
            "Number of entries in an internal bounded queue",
            queue_length.family(),
        );
        let queue_limit = Labelled::gauge(["queue"]);
        registry.register(
            "queue_limit",
            "Maximum number of entries in an internal bounded queue",
            queue_limit.family(),
        );
        let queue_full = Labelled::counter(["queue"]);
        registry.register(
            "queue_full",
            "Number of entries for which an internal bounded queue had no room: they were rejected, or, in the queue inbox, their sender waited",
            queue_full.family(),
        );
        let guard = GuardMetrics::register(&mut registry);
        let shadow = ShadowMetrics::register(&mut registry);

        Self {
            guard,
            shadow,
            registry: Arc::new(root),
            names: names.into(),
            scheduling_algorithm_duration,
            pod_scheduling_attempts,
            pod_scheduled_after_flush,
            preemption,
            pending_pods: QueuedPods::of(|queue| pending_pods.get([queue.label()])),
            queued_entities: QueuedPods::of(|queue| queued_entities.get([queue.label(), POD])),
            cache_size: CacheSize {
                nodes: cache_size.get(["nodes"]),
                pods: cache_size.get(["pods"]),
                assumed_pods: cache_size.get(["assumed_pods"]),
            },
            binding_tasks: goroutines.get(["binding"]),
            schedule_attempts,
            scheduling_attempt_duration,
            framework_extension_point_duration,
            plugin_execution_duration,
            plugin_evaluation,
            unschedulable_pods,
            queue_incoming_pods,
            queue_incoming_entities,
            pod_scheduling_sli_duration,
            sli_by_attempts: Arc::new([const { OnceLock::new() }; SLI_ATTEMPTS_MAX]),
            event_handling_duration,
            queueing_hint_execution_duration,
            inflight_events,
            permit_wait_duration,
            goroutines,
            leader_election_master_status,
            leader_election_slow_path,
            kubernetes_build_info,
            rest_client,
            token_reviews,
            access_reviews,
            feature_enabled,
            build_info,
            events_dropped,
            cache_comparer_differences,
            cache_comparer_runs,
            standing,
            http_connections_closed,
            pods_bound_by_others,
            pods_unserved,
            plugin_panics,
            guest_failures,
            bind_conflicts,
            kubelet_rejections,
            preemptions_put_off,
            node_reads,
            budget_reads,
            last_room_wait_duration,
            bind_concurrency,
            binds_averted,
            attempts_repeated,
            rejections_not_kept,
            bind_requests,
            extenders,
            polls,
            watch_restarts,
            object_rejected,
            queue_length,
            queue_limit,
            queue_full,
        }
    }
}
