//! Metrics that have been used.

use secondmate_telemetry::{AttemptResult, Metrics, Queue, StatusLabel};
use std::time::Duration;

/// Touches every metric once: series appear when they are first used.
pub fn touch(metrics: &Metrics) {
    let profile = metrics.profile("my-scheduler");
    profile.observe_attempt(AttemptResult::Scheduled, Duration::from_millis(3));
    profile.observe_attempt(AttemptResult::Scheduled, Duration::from_millis(5));
    profile.observe_attempt(AttemptResult::Unschedulable, Duration::from_millis(1));
    profile.extension_point("Filter").observe(StatusLabel::Success, Duration::from_micros(150));
    profile.plugin("NodeName", "Filter").evaluated(7);
    profile.unschedulable_pods("NodeResourcesFit").inc();
    profile.plugin_panics("NodeNumber", "Score").inc();
    profile.guest_failures("NodeNumber").inc();
    metrics.scheduling_algorithm_duration.observe(0.002);
    metrics.pod_scheduling_attempts.observe(2.0);
    for attempts in [1, 1, 14, 15, 400] {
        metrics.observe_pod_scheduling_sli(attempts, Duration::from_millis(20));
    }
    metrics.pending_pods.gated.set(4);
    metrics.cache_size.assumed_pods.set(9);
    metrics.binding_tasks.inc();
    metrics.queue_incoming_pods(Queue::Active, "UnscheduledPodAdd").inc();
    metrics.queue_incoming_entities(Queue::Active, "UnscheduledPodAdd").inc();
    metrics.preemption.attempts.inc();
    metrics.preemption.victims.observe(3.0);
    metrics.preemption.violates_budgets(1);
    metrics.preemption.evaluated(StatusLabel::Success, Duration::from_millis(2));
    metrics.preemption.carried_out(true, Duration::from_millis(20));
    metrics.leader_election_master_status("my-scheduler").set(1);
    metrics.leader_election_slow_path("my-scheduler").inc();
    metrics.bind_conflicts("already_bound").inc();
    metrics.kubelet_rejections("OutOfcpu").inc();
    metrics.preemptions_put_off("victims_came_back").inc();
    metrics.node_reads("nothing_new").inc();
    metrics.budget_reads("allowed").inc();
    metrics.last_room_wait_duration("quiet").observe(1.5);
    metrics.set_build("0.1.0", "abc", "1.37");
    metrics.set_feature("PodLevelResources", "beta", true);
    let requests = &metrics.rest_client;
    requests.requests("201", "POST", "api:6443").inc();
    requests.retries("503", "POST", "api:6443").inc();
    for seconds in [requests.duration("POST", "api:6443"), requests.rate_limiter("POST", "api:6443")] {
        seconds.observe(0.001);
    }
    for bytes in [requests.request_size("POST", "api:6443"), requests.response_size("POST", "api:6443")] {
        bytes.observe(300.0);
    }
    metrics.token_reviews.answered("201", Duration::from_millis(1));
    metrics.access_reviews.answered("201", Duration::from_millis(1));
    metrics.watch_restarts("pods", "gone").inc_by(2);
    metrics.object_rejected("Node").inc();
    metrics.guard.binds("default-scheduler", "approved").inc();
    metrics.guard.refused("cpu", "default-scheduler").inc();
    metrics.guard.settled("seen").inc();
    metrics.guard.connections_failed("tls").inc();
    metrics.shadow.decisions("worse").inc();
    metrics.shadow.difference.observe(7.0);
    metrics.shadow.worse_by("NodeAffinity").inc();
    metrics.events_dropped.inc();
    let queue = metrics.bounded_queue("events", 1000);
    queue.length.set(12);
    queue.full.inc();
    metrics.bind_requests("201").inc();
    metrics.extenders.calls("http://gpu", "filter", "ok").inc();
    metrics.extenders.duration("http://gpu", "filter").observe(0.001);
    metrics.extenders.suspended("http://gpu").set(1);
    metrics.polls.polls("NodeUse", "metrics.k8s.io", "ok").inc();
    metrics.polls.expired("NodeUse", "metrics.k8s.io").set(0);
    metrics.polls.left_out("NodeUse", "metrics.k8s.io").set(1);
    metrics.standing.asked("NodeNumber").inc();
    metrics.standing.plain("filter", "PodTopologySpread").inc();
    metrics.event_handling_duration("NodeAdd").observe(0.001);
    metrics.queueing_hint_execution_duration("NodeName", "NodeAdd", "Queue").observe(0.001);
    profile.plugin("NodeName", "Filter").observe(StatusLabel::Success, Duration::from_millis(1));
    metrics.permit_wait_duration(StatusLabel::Success).observe(0.001);
    metrics.inflight_events("NodeAdd").inc();
}
