//! What an operator reads at `/metrics`: every family has values, and the counts are right. Durations are not checked.

use crate::fixture::*;
use anyhow::Result;
use secondmate_config::make_profiles;
use secondmate_config::{Configuration, EnabledPlugin};
use secondmate_core::EvaluationSettings;
use secondmate_cycle::Profile;
use secondmate_framework::{Context, CycleState, Permit, Plugin, Status};
use secondmate_model::{Atom, Pod};
use secondmate_sandbox::{Fault, Target, Verb, When};
use secondmate_shell::Options;
use secondmate_shell::lease::{Claim, ElectionConfig, LeaseName};
use secondmate_telemetry::Metrics;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The value of a series, given its name and labels as they appear in the text.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.encode();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The sum over all series of a family whose labels contain this text; for histograms, of their counts.
fn sum(metrics: &Metrics, family: &str, labels: &str) -> f64 {
    let text = metrics.encode();
    let of_family = |line: &&str| {
        let series = line.split([' ', '{']).next().unwrap_or_default();
        let plain = series.strip_suffix("_total").or_else(|| series.strip_suffix("_count")).unwrap_or(series);
        plain == family && line.contains(labels)
    };
    text.lines().filter(of_family).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_and_extension_points_are_counted_exactly_and_one_cycle_in_ten_is_timed() -> Result<()> {
    const NODES: usize = 3;
    const PODS: usize = 20;
    let sandbox = sandbox(NODES).await;
    let mut options = options(&sandbox);
    // The standing evaluation calls plugins as rarely as it can.
    options.scheduler.evaluation = EvaluationSettings::Plain;
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    create_pods(&sandbox, "p", PODS, "10m");
    until_bound(&sandbox, PODS).await;
    until("the answers are in", || sum(&metrics, "scheduler_pod_scheduling_attempts", "") == PODS as f64)
        .await;
    let (pods, calls) = (PODS as f64, (PODS * NODES) as f64);
    for (plugin, point, expected) in [
        ("NodeUnschedulable", "Filter", Some(calls)),
        ("NodeName", "Filter", Some(calls)),
        ("TaintToleration", "Filter", Some(calls)),
        ("NodeResourcesFit", "Filter", Some(calls)),
        ("NodeResourcesFit", "PreFilter", Some(pods)),
        ("NodeResourcesFit", "PreScore", Some(pods)),
        ("NodeResourcesFit", "Score", Some(calls)),
        ("ImageLocality", "Score", Some(calls)),
        // These have nothing to do for a pod without host ports and volumes.
        ("NodePorts", "PreFilter", None),
        ("NodePorts", "Filter", None),
        ("VolumeBinding", "Filter", None),
    ] {
        let labels = format!("{{plugin=\"{plugin}\",extension_point=\"{point}\",profile=\"{NAME}\"}}");
        let series = format!("scheduler_plugin_evaluation_total{labels}");
        assert_eq!(value(&metrics, &series), expected, "{series}");
    }
    for point in
        ["PreFilter", "Filter", "PreScore", "Score", "Reserve", "Permit", "PreBind", "Bind", "PostBind"]
    {
        let labels = format!("{{extension_point=\"{point}\",status=\"Success\",profile=\"{NAME}\"}}");
        let series = format!("scheduler_framework_extension_point_duration_seconds_count{labels}");
        assert_eq!(value(&metrics, &series), Some(pods), "{series}");
    }
    // The first and the eleventh cycle.
    for (plugin, point, status, expected) in [
        ("NodeResourcesFit", "PreFilter", "Success", 2.0),
        ("NodePorts", "PreFilter", "Skip", 2.0),
        ("NodeResourcesFit", "Filter", "Success", 2.0 * NODES as f64),
        ("NodeResourcesFit", "Score", "Success", 2.0 * NODES as f64),
        ("NodeResourcesFit", "ScoreExtensionNormalize", "Success", 2.0),
        ("DefaultBinder", "Bind", "Success", 2.0),
    ] {
        let labels = format!("{{plugin=\"{plugin}\",extension_point=\"{point}\",status=\"{status}\"}}");
        let series = format!("scheduler_plugin_execution_duration_seconds_count{labels}");
        assert_eq!(value(&metrics, &series), Some(expected), "{series}");
    }
    for (event, times) in [("NodeAdd", NODES), ("UnscheduledPodAdd", PODS), ("AssignedPodAdd", PODS)] {
        let series = format!("scheduler_event_handling_duration_seconds_count{{event=\"{event}\"}}");
        until(&series, || value(&metrics, &series) == Some(times as f64)).await;
    }
    until("nothing is in flight", || {
        value(&metrics, "scheduler_inflight_events{event=\"PodPopped\"}") == Some(0.0)
    })
    .await;
    shell.stop().await;
    Ok(())
}

/// Makes some pods wait for something that never happens.
struct Patience;

impl Plugin for Patience {
    fn name(&self) -> &str {
        "Patience"
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        Some(self)
    }
}

impl Permit for Patience {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        let patience = match &*pod.name {
            "patient" => Duration::from_millis(10),
            "stubborn" => Duration::from_secs(600),
            _ => return (Status::SUCCESS, Duration::ZERO),
        };
        (Status::wait("in vain"), patience)
    }
}

fn profile_with_permit() -> Result<Profile> {
    let mut registry = secondmate_plugins::registry()?;
    registry.register("Patience", |_, _| Ok(Arc::new(Patience) as Arc<dyn Plugin>))?;
    let mut configuration = Configuration::for_scheduler_names(&[NAME])?;
    let patience = EnabledPlugin { name: "Patience".to_owned(), weight: 0 };
    configuration.profiles[0].plugins.permit.push(patience);
    Ok(make_profiles(&configuration, &registry)?.remove(0))
}

/// What a run of some seconds cannot move from zero, and what could.
const STAY_AT_ZERO: &[(&str, &str)] = &[
    (
        "scheduler_pod_scheduled_after_flush",
        "five minutes among the unschedulable pods, and no event that helps",
    ),
    ("secondmate_events_dropped", "more than 16,384 events that wait to be written"),
    ("secondmate_build_info", "the program says what it is"),
    ("kubernetes_build_info", "the same"),
    ("secondmate_log_lines_dropped", "a log that nobody reads"),
    ("secondmate_http_connections_closed", "ports for probes and debugging that are not served here"),
    ("secondmate_pods_bound_by_others", "another scheduler of the same name"),
    ("secondmate_pods_unserved", "pods whose scheduler name nobody serves"),
    ("secondmate_kubelet_rejections", "another scheduler that takes the same room"),
    ("secondmate_node_reads", "another scheduler that binds pods"),
    ("secondmate_budget_reads", "a preemption that a PodDisruptionBudget allows"),
    ("secondmate_last_room_wait_duration_seconds", "another scheduler that binds pods to the same node"),
    ("secondmate_binds_averted", "the same, and a watch that lags"),
    ("scheduler_preemption_pdb_violations", "a preemption against a PodDisruptionBudget"),
    ("leader_election_slowpath", "a Lease that another process holds"),
    ("kubernetes_feature_enabled", "the program says which features it has"),
    ("rest_client_request_retries", "an API server that fails"),
    ("rest_client_rate_limiter_duration_seconds", "a limit on requests"),
    ("apiserver_delegated_authn_request", "HTTPS with delegated authentication"),
    ("apiserver_delegated_authn_request_duration_seconds", "the same"),
    ("apiserver_delegated_authz_request", "HTTPS with delegated authorization"),
    ("apiserver_delegated_authz_request_duration_seconds", "the same"),
    ("secondmate_rejections_not_kept", "hundreds of pods, each of its own kind, that fit nowhere"),
    ("secondmate_attempts_repeated", "many pods that are alike and fit nowhere"),
    ("secondmate_preemptions_put_off", "room made by evictions that others take again and again"),
    ("secondmate_plugin_panics", "a plugin that panics"),
    ("secondmate_guest_failures", "a guest that fails"),
    ("secondmate_standing_asked", "a plugin that does not say what its score follows from"),
    ("secondmate_extender_calls", "an extender"),
    ("secondmate_extender_call_duration_seconds", "an extender"),
    ("secondmate_extender_suspended", "an extender that fails"),
    ("secondmate_polls", "a plugin that polls"),
    ("secondmate_poll_expired", "a plugin that polls, and no answer"),
    ("secondmate_poll_left_out", "a plugin that polls, and leaves out what is too old"),
    ("secondmate_queue_length", "events or statuses that come faster than they are written"),
    ("secondmate_queue_full", "the same, and as many statuses"),
    ("secondmate_cache_comparer_differences", "a cache that differs from the cluster, which is a bug"),
    (
        "secondmate_object_rejected",
        "an object that the API server takes and the scheduler does not understand",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_filled_by_a_run_with_all_that_happens_to_pods() -> Result<()> {
    let sandbox = sandbox(2).await;
    let lease = LeaseName { namespace: "kube-system".to_owned(), name: NAME.to_owned() };
    let options = Options {
        profiles: vec![profile_with_permit()?],
        election: Some(ElectionConfig::new(lease, "one", Claim::new(&[NAME], "same"))),
        bind_timeout: Duration::from_secs(5),
        ..options(&sandbox)
    };
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;

    // A success, a binding that is refused, and pods that fill the nodes.
    sandbox.faults().inject(Target::bind(), Fault::Conflict, When::Next(1));
    create_pods(&sandbox, "p", 2, "3");
    until_bound(&sandbox, 2).await;
    // No room, room by preemption, a gate, and a wait for something that never happens.
    sandbox.objects().create(pod("big", "5"))?;
    let mut gated = pod("gated", "10m");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    sandbox.objects().create(gated)?;
    sandbox.objects().create(pod("patient", "10m"))?;
    sandbox.objects().create(pod("stubborn", "10m"))?;
    until_core(&shell, "big waits, gated is held back", |core| {
        core.queue().size().unschedulable > 0 && core.queue().size().gated > 0
    })
    .await;
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000});
    sandbox.objects().create(class)?;
    let mut urgent = pod("urgent", "3");
    urgent["spec"]["priorityClassName"] = json!("high");
    urgent["spec"]["priority"] = json!(1000);
    sandbox.objects().create(urgent)?;
    until("one made room", || {
        sandbox.objects().get("pods", "default", "urgent").is_some_and(|p| p["spec"]["nodeName"].is_string())
    })
    .await;
    // A restarted watch, and a comparison.
    // The watch of nodes: not every watch counts, and the first to come takes the fault.
    sandbox.faults().inject(Target::of(Verb::Watch, "nodes"), Fault::ServiceUnavailable, When::Next(1));
    sandbox.faults().break_watches();
    compare_cache(&shell).await?;
    // A binding that hangs.
    sandbox.faults().inject(Target::bind(), Fault::BlackHole, When::Always);
    sandbox.objects().create(pod("late", "10m"))?;

    let filled = |name: &String| sum(&metrics, name, "") > 0.0;
    // The bind guard's metrics are written by the bind guard, and a shadow's by a shadow.
    let expected_at_zero = |name: &String| {
        let of_another = ["secondmate_guard_", "secondmate_shadow_"];
        of_another.iter().any(|prefix| name.starts_with(prefix))
            || STAY_AT_ZERO.iter().any(|(zero, _)| zero == name)
    };
    let empty = || {
        let empty = metrics.names().iter().filter(|name| !filled(name) && !expected_at_zero(name));
        empty.cloned().collect::<Vec<_>>()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !empty().is_empty() {
        assert!(std::time::Instant::now() < end, "without a number: {:?}", empty());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Panics for one pod.
struct Fragile;

impl Plugin for Fragile {
    fn name(&self) -> &str {
        "Fragile"
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        Some(self)
    }
}

impl Permit for Fragile {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        assert!(!pod.name.starts_with("bad"), "not this one");
        (Status::SUCCESS, Duration::ZERO)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_plugin_is_counted_and_other_pods_are_bound() -> Result<()> {
    let sandbox = sandbox(2).await;
    let mut registry = secondmate_plugins::registry()?;
    registry.register("Fragile", |_, _| Ok(Arc::new(Fragile) as Arc<dyn Plugin>))?;
    let mut configuration = Configuration::for_scheduler_names(&[NAME])?;
    let fragile = EnabledPlugin { name: "Fragile".to_owned(), weight: 0 };
    configuration.profiles[0].plugins.permit.push(fragile);
    let options = Options { profiles: make_profiles(&configuration, &registry)?, ..options(&sandbox) };
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    create_pods(&sandbox, "bad", 1, "10m");
    let series = format!(
        "secondmate_plugin_panics_total{{plugin=\"Fragile\",extension_point=\"Permit\",profile=\"{NAME}\"}}"
    );
    until("the panic is counted", || value(&metrics, &series).is_some_and(|count| count >= 1.0)).await;
    create_pods(&sandbox, "good", 5, "10m");
    until_bound(&sandbox, 5).await;
    shell.stop().await;
    Ok(())
}
