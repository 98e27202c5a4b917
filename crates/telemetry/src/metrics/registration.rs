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
            "Attempts to schedule pods, by result",
            schedule_attempts.family(),
        );
        let scheduling_attempt_duration =
            Labelled::histogram(["result", "profile"], || buckets(0.001, 2.0, 15));
        registry.register(
            "scheduling_attempt_duration_seconds",
            "Time of an attempt to schedule a pod, from the queue to the end of binding",
            scheduling_attempt_duration.family(),
        );
        let scheduling_algorithm_duration = buckets(0.001, 2.0, 15);
        registry.register(
            "scheduling_algorithm_duration_seconds",
            "Time of the choice of a node",
            scheduling_algorithm_duration.clone(),
        );
        let pod_scheduling_sli_duration = Labelled::histogram(["attempts"], || buckets(0.01, 2.0, 20));
        registry.register(
            "pod_scheduling_sli_duration_seconds",
            "Time from a pod's first entry into the active queue until it was scheduled, by attempts",
            pod_scheduling_sli_duration.family(),
        );
        let pod_scheduling_attempts = buckets(1.0, 2.0, 5);
        registry.register(
            "pod_scheduling_attempts",
            "Attempts until a pod was scheduled",
            pod_scheduling_attempts.clone(),
        );
        let pod_scheduled_after_flush = Counter::default();
        registry.register(
            "pod_scheduled_after_flush",
            "Pods scheduled after the time-out of unschedulable pods had moved them: a sign of a missing event",
            pod_scheduled_after_flush.clone(),
        );
        let framework_extension_point_duration =
            Labelled::histogram(["extension_point", "status", "profile"], || buckets(0.0001, 2.0, 12));
        registry.register(
            "framework_extension_point_duration_seconds",
            "Time of all plugins of an extension point together",
            framework_extension_point_duration.family(),
        );
        let plugin_execution_duration =
            Labelled::histogram(["plugin", "extension_point", "status"], || buckets(0.000_01, 1.5, 20));
        registry.register(
            "plugin_execution_duration_seconds",
            "Time of one plugin at one extension point",
            plugin_execution_duration.family(),
        );
        let plugin_evaluation = Labelled::counter(["plugin", "extension_point", "profile"]);
        registry.register(
            "plugin_evaluation",
            "Calls of plugins at PreFilter, Filter, PreScore and Score",
            plugin_evaluation.family(),
        );
        let queue_incoming_pods = Labelled::counter(["queue", "event"]);
        registry.register(
            "queue_incoming_pods",
            "Pods added to the queues, by what brought them there",
            queue_incoming_pods.family(),
        );
        let queue_incoming_entities = Labelled::counter(["queue", "event", "type"]);
        registry.register(
            "queue_incoming_entities",
            "Entities (here always pods) that came into another queue, by what brought them there",
            queue_incoming_entities.family(),
        );
        let pending_pods = Labelled::gauge(["queue"]);
        // Members of pod groups, which do not exist here; upstream has these series from the start.
        for queue in ["incomplete", "pending"] {
            pending_pods.get([queue]).set(0);
        }
        registry.register("pending_pods", "Pods that wait, by queue", pending_pods.family());
        let queued_entities = Labelled::gauge(["queue", "type"]);
        registry.register(
            "queued_entities",
            "Entities (here always pods) that wait, by queue",
            queued_entities.family(),
        );
        let unschedulable_pods = Labelled::gauge(["plugin", "profile"]);
        registry.register(
            "unschedulable_pods",
            "Pods that are unschedulable, counted once for each plugin that rejected them",
            unschedulable_pods.family(),
        );
        let inflight_events = Labelled::gauge(["event"]);
        registry.register(
            "inflight_events",
            "Events remembered for pods that are being scheduled",
            inflight_events.family(),
        );
        let event_handling_duration = Labelled::histogram(["event"], || buckets(0.0001, 2.0, 12));
        registry.register(
            "event_handling_duration_seconds",
            "Time to handle one event of the cluster",
            event_handling_duration.family(),
        );
        let queueing_hint_execution_duration =
            Labelled::histogram(["plugin", "event", "hint"], || buckets(0.000_01, 1.5, 20));
        registry.register(
            "queueing_hint_execution_duration_seconds",
            "Time of a plugin's queueing hint",
            queueing_hint_execution_duration.family(),
        );
        let preemption = PreemptionMetrics::register(&mut registry);
        let permit_wait_duration = Labelled::histogram(["result"], || buckets(0.001, 2.0, 15));
        registry.register(
            "permit_wait_duration_seconds",
            "Time that pods waited on permit",
            permit_wait_duration.family(),
        );
        let cache_size = Labelled::gauge(["type"]);
        registry.register("cache_size", "Nodes, pods and assumed pods in the cache", cache_size.family());
        let goroutines = Labelled::gauge(["operation"]);
        registry.register("goroutines", "Tasks that run, by what they do", goroutines.family());

        let leader_election_master_status = Labelled::gauge(["name"]);
        names.push("leader_election_master_status".to_owned());
        root.register(
            "leader_election_master_status",
            "Whether this process leads, by name of the Lease: 0 is a standby, 1 the leader",
            leader_election_master_status.family(),
        );
        let leader_election_slow_path = Labelled::counter(["name"]);
        names.push("leader_election_slowpath".to_owned());
        root.register(
            "leader_election_slowpath",
            "Renewals for which the Lease had to be read first, since writing what was known of it failed, by name of the Lease",
            leader_election_slow_path.family(),
        );
        let kubernetes_build_info =
            Labelled::gauge(["major", "minor", "git_version", "git_commit", "compiler", "platform"]);
        names.push("kubernetes_build_info".to_owned());
        root.register(
            "kubernetes_build_info",
            "The version of Kubernetes whose scheduler this one follows, and the build that does",
            kubernetes_build_info.family(),
        );
        let feature_enabled = Labelled::gauge(["name", "stage"]);
        names.push("kubernetes_feature_enabled".to_owned());
        root.register(
            "kubernetes_feature_enabled",
            "Whether a feature of kube-scheduler's that decides where pods go, or serves a page, is there, by its gate and the gate's stage",
            feature_enabled.family(),
        );
        let rest_client = RestClientMetrics::register(&mut root, &mut names);
        let token_reviews = ReviewMetrics::register(&mut root, &mut names, "authn", "TokenReview");
        let access_reviews = ReviewMetrics::register(&mut root, &mut names, "authz", "SubjectAccessReview");
        root.register_collector(Box::new(process::ProcessCollector));

        let mut registry = Named::new(&mut root, "secondmate", &mut names);
        let build_info = Labelled::gauge(["version", "commit", "kubernetes"]);
        let help = "The version that runs, its commit, and the version of Kubernetes that it follows";
        registry.register("build_info", help, build_info.family());
        let events_dropped = Counter::default();
        registry.register(
            "events_dropped",
            "Events about pods that were dropped because too many were waiting to be sent",
            events_dropped.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the log that were lost, because too many were waiting (full) or standard error failed (error)",
            crate::logging::dropped_lines().family(),
        );
        let http_connections_closed = Labelled::counter(["reason"]);
        registry.register(
            "http_connections_closed",
            "Connections for probes, metrics and debugging that were closed because of their time or their number, by reason",
            http_connections_closed.family(),
        );
        let pods_bound_by_others = Counter::default();
        registry.register(
            "pods_bound_by_others",
            "Pods of this scheduler's names that somebody else bound while this process led",
            pods_bound_by_others.clone(),
        );
        let pods_unserved = Gauge::default();
        registry.register(
            "pods_unserved",
            "Pods whose scheduler name nobody serves: no live Lease, no event. One secondmate of the cluster looks for them; 0 in all others",
            pods_unserved.clone(),
        );
        let plugin_panics = Labelled::counter(["plugin", "extension_point", "profile"]);
        registry.register(
            "plugin_panics",
            "Panics of plugins, each of which failed an attempt",
            plugin_panics.family(),
        );
        let guest_failures = Labelled::counter(["plugin", "profile"]);
        registry.register(
            "guest_failures",
            "Calls of WebAssembly guests that did not return: a trap, no fuel left, a place outside of their memory",
            guest_failures.family(),
        );
        let bind_conflicts = Labelled::counter(["reason"]);
        registry.register(
            "bind_conflicts",
            "Bindings that the API server refused, or that somebody else made impossible, by reason",
            bind_conflicts.family(),
        );
        let kubelet_rejections = Labelled::counter(["reason"]);
        registry.register(
            "kubelet_rejections",
            "Pods of this scheduler's names that a kubelet rejected after they were bound, by the kubelet's reason",
            kubelet_rejections.family(),
        );
        let preemptions_put_off = Labelled::counter(["reason"]);
        registry.register(
            "preemptions_put_off",
            "Preemptions that were found and put off, by reason",
            preemptions_put_off.family(),
        );
        let node_reads = Labelled::counter(["result"]);
        registry.register(
            "node_reads",
            "Reads of a nearly full node's pods before pods are bound there, by result: nothing_new, new_pods, failed",
            node_reads.family(),
        );
        let bind_concurrency = Gauge::default();
        registry.register(
            "bind_concurrency",
            "Bindings that may be on their way at once: as many as the API server carries out without becoming slower, at most --bind-concurrency",
            bind_concurrency.clone(),
        );
        let last_room_wait_duration = Labelled::histogram(["result"], || buckets(0.25, 2.0, 8));
        registry.register(
            "last_room_wait_duration_seconds",
            "Time that pods waited before they were bound to a nearly full node to which others were binding pods, by result: quiet, time_is_up, room_taken",
            last_room_wait_duration.family(),
        );
        let binds_averted = Counter::default();
        registry.register(
            "binds_averted",
            "Pods that were not bound to a node since a read of its pods showed that they do not fit; they are tried again",
            binds_averted.clone(),
        );
        let attempts_repeated = Counter::default();
        registry.register(
            "attempts_repeated",
            "Attempts that were answered without a look at the nodes: a pod that is alike was rejected, and nothing had changed since",
            attempts_repeated.clone(),
        );
        let rejections_not_kept = Counter::default();
        registry.register(
            "rejections_not_kept",
            "Rejections that were not remembered, since 256 kinds of pods that fit nowhere were known or the pod takes more than 64 KiB: such pods are tried one by one",
            rejections_not_kept.clone(),
        );
        let bind_requests = Labelled::counter(["code"]);
        registry.register(
            "bind_requests",
            "Binding requests, by HTTP status or, without an answer, by the error",
            bind_requests.family(),
        );
        let extenders = ExtenderMetrics::register(&mut registry);
        let polls = PollMetrics::register(&mut registry);
        let watch_restarts = Labelled::counter(["resource", "reason"]);
        registry.register(
            "watch_restarts",
            "Watches that had to be started again, by resource and reason",
            watch_restarts.family(),
        );
        let object_rejected = Labelled::counter(["kind"]);
        registry.register(
            "object_rejected",
            "Objects of the API server that could not be understood, by kind",
            object_rejected.family(),
        );
        let cache_comparer_differences = Gauge::default();
        registry.register(
            "cache_comparer_differences",
            "Differences between cache and API server that the last comparison found",
            cache_comparer_differences.clone(),
        );
        let cache_comparer_runs = Counter::default();
        registry.register(
            "cache_comparer_runs",
            "Comparisons of the cache with the API server",
            cache_comparer_runs.clone(),
        );
        let standing = StandingMetrics::register(&mut registry);
        let queue_length = Labelled::gauge(["queue"]);
        registry.register("queue_length", "Entries in a bounded queue of the program", queue_length.family());
        let queue_limit = Labelled::gauge(["queue"]);
        registry.register("queue_limit", "Most entries that a bounded queue takes", queue_limit.family());
        let queue_full = Labelled::counter(["queue"]);
        registry.register(
            "queue_full",
            "Entries turned away because a bounded queue was full",
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
